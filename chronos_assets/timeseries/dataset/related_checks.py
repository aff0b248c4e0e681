"""Checks of related time series and item metadata."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from chronos_assets.timeseries.checks import MAX_ROWS, CheckOutcome, Row
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest, read_item_metadata
from chronos_assets.timeseries.dataset.related import RelatedManifest, iter_related
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.dataset.shards import Manifest, shard_number

_FIX = """What is published is not what the import wrote, or it was made for another version of the dataset.

1. Materialize {asset}: it is rebuilt from the files, and published only when it is whole.
2. If the same rows fail again, look at the disk, and report a bug with these rows."""

_COVER_FIX = """Forecasts are made all the same, without what is missing.

1. Add the rows that are missing: {where}.
2. For numbers that are zero, or stay as they are, set `futurefill` (and `backfill`) of the attribute in `params.json`.
3. An attribute that nobody knows in advance is marked by `"Chronos": {{"KnownInAdvance": {{"<name>": false}}}}`."""

_SILENT_FIX = """A column that says the same everywhere can't explain anything.

1. See whether the column is the one that you meant, and whether its values are read (an empty text is a missing value).
2. Leave it out of the schema."""


def check_related_rows(folder: Path, manifest: RelatedManifest, dataset: Manifest) -> CheckOutcome:
    """Is there one row for each series and period, in the shard that the series belongs to, for this dataset?"""
    problems = list(_row_problems(folder, manifest, dataset))
    return _outcome(
        problems,
        f"{manifest.rows:,} rows of {manifest.series:,} series, one for each period.",
        _FIX.format(asset="`related_time_series`"),
        severity="error",
        numbers={"series": manifest.series, "rows": manifest.rows},
    )


def _row_problems(folder: Path, manifest: RelatedManifest, dataset: Manifest) -> Iterator[Row]:
    if (manifest.dataset_version, manifest.n_shards) != (dataset.data_version, dataset.n_shards):
        yield {"what": "manifest", "problem": "made for another version of the dataset"}
        return
    rows = series = 0
    for number in range(manifest.n_shards):
        shard = manifest.shard(folder, number)
        if shard is None:
            continue
        before: tuple[str, ...] | None = None
        for one in iter_related(shard, manifest):
            rows, series = rows + len(one), series + 1
            if before is not None and one.key <= before:
                yield {"what": series_name(one.key), "problem": "is not after the series before it"}
            if shard_number(one.key, manifest.n_shards) != number:
                yield {"what": series_name(one.key), "problem": f"does not belong to shard {number}"}
            before = one.key
    if (rows, series) != (manifest.rows, manifest.series):
        yield {
            "what": "manifest",
            "problem": f"says {manifest.rows} rows of {manifest.series} series, there are {rows}",
        }


def check_related_cover(manifest: RelatedManifest, dataset: Manifest) -> CheckOutcome:
    """Has every series related values, and are those that are known in advance there to the end of the horizon?"""
    problems: list[Row] = []
    if manifest.uncovered:
        problems.append(
            {"what": "series", "problem": f"{manifest.uncovered:,} of {dataset.series:,} have no related values"}
        )
    for name, count in manifest.items_without_future.items():
        problems.append(
            {"what": name, "problem": f"known in advance, but ends before the horizon for {count:,} series"}
        )
    return _outcome(
        problems,
        f"All {dataset.series:,} series have related values up to the horizon, where they are known in advance.",
        _COVER_FIX.format(where="one for each period of each series, up to the end of the horizon"),
    )


def check_metadata_rows(folder: Path, manifest: MetadataManifest) -> CheckOutcome:
    """Is there one row for each item?"""
    items = read_item_metadata(folder).items
    problems: list[Row] = [
        {"what": item, "problem": "has several rows, or is out of order"}
        for item, following in pairwise(items)
        if following <= item
    ]
    if len(items) != manifest.items:
        problems.append({"what": "manifest", "problem": f"says {manifest.items} items, there are {len(items)}"})
    return _outcome(
        problems, f"{len(items):,} items, one row each.", _FIX.format(asset="`item_metadata`"), severity="error"
    )


def check_metadata_cover(manifest: MetadataManifest) -> CheckOutcome:
    """Has every item of the dataset a row?"""
    problems: list[Row] = []
    if manifest.uncovered:
        problems.append({"what": "items", "problem": f"{manifest.uncovered:,} items of the dataset have no metadata"})
    return _outcome(problems, "Every item of the dataset has metadata.", _COVER_FIX.format(where="one for each item"))


def check_informative(manifest: RelatedManifest | MetadataManifest) -> CheckOutcome:
    """Does every attribute have values, and more than one?"""
    problems: list[Row] = [{"what": name, "problem": "has the same value everywhere"} for name in manifest.constant]
    problems += [{"what": name, "problem": "has no value at all"} for name in manifest.empty]
    return _outcome(problems, f"{len(manifest.attributes)} attributes, each with several values.", _SILENT_FIX)


def nothing_to_check(what: str) -> CheckOutcome:
    """The outcome where nothing is declared."""
    return CheckOutcome(passed=True, severity="warn", description=f"There are no {what}: none are declared.")


def _outcome(
    problems: list[Row], good: str, fix: str, *, severity: str = "warn", numbers: dict[str, float] | None = None
) -> CheckOutcome:
    reported = "; ".join(f"{row['what']} {row['problem']}" for row in problems[:3])
    return CheckOutcome(
        passed=not problems,
        severity="error" if severity == "error" else "warn",
        description=good if not problems else f"{reported}{'; …' if len(problems) > 3 else ''}.",
        failing_rows=tuple(problems[:MAX_ROWS]),
        failing=len(problems),
        fix=fix if problems else "",
        numbers=numbers or {},
    )
