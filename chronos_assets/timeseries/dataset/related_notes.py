"""What an import of related time series tells the user, in sentences.

Here: the words. Elsewhere: what is counted (`related_importing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import numpy as np

from chronos_assets.calendar.rhythm import shown_moment
from chronos_assets.calendar.time_zones import zones_that_repeat
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.look_alikes import named_alike
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.repeats import Repeats
from chronos_assets.timeseries.dataset.series_keys import Key, series_name
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.wording import first_of

_NAMED = 3  # series in a sentence


def related_notes(
    made: RelatedManifest,
    dataset: Manifest,
    files: Sequence[str],
    *,
    uncovered: Sequence[Key],
    strange: Sequence[Key],
    strays: Mapping[str, tuple[int, int]],
    sparse: Mapping[str, float],
    patchy: Mapping[str, float],
    repeats: Sequence[str],
) -> Iterator[str]:
    """What a user should know, one sentence each.

    Args:
        made: what was imported.
        dataset: that it is beside.
        files: what is to be said of the files.
        uncovered: series of the dataset without related time series.
        strange: series that the dataset doesn't have.
        strays: attributes that lie beyond the target's end for too few series: for how many, and of how many.
        sparse: attributes that most periods have no value of: the share of those that have one.
        patchy: attributes that have one value, but not in all periods: the share of those that have it.
        repeats: what is to be said of rows that repeat a timestamp of their series.
    """
    yield from files
    if made.rejected:
        yield f"bad rows of covariates set aside: {sum(made.rejected.values()):,}"
    if uncovered:
        part = f"{len(uncovered):,} of {dataset.series:,}"
        yield f"series of the dataset without related time series: {part} ({_named(uncovered)})"
    if uncovered and strange:  # whose names may be the others', spelled otherwise
        yield f"related time series of series that the dataset doesn't have: {len(strange):,} ({_named(strange)})"
        if alike := named_alike(strange, uncovered):
            yield alike
    yield from repeats
    for name, count in made.items_without_future.items():
        yield (
            f"{name} is known in advance, but ends before the horizon for {count:,} series: supply it, or set its futurefill"
        )
    for name in made.constant:
        if name in patchy:
            yield (
                f"{name} has the same value in all periods that have one, {patchy[name]:.0%} from the first to the last of "
                "each series; nothing is known of the others: write the other value, such as 0, or set its fillings"
            )
        else:
            yield f"{name} has the same value everywhere: it explains nothing"
    for name in made.empty:
        yield f"{name} has no value at all"
    for name, (ahead, series) in strays.items():
        yield (
            f"{name} reaches beyond the target's end for {ahead:,} of {series:,} series only, so it is not taken to be known "
            "in advance: Chronos.KnownInAdvance would say otherwise"
        )
    for name, share in sparse.items():
        yield (
            f"{name} has a value in {share:.0%} of the periods from the first to the last of each series; nothing is known of "
            "the others: repeat it in each period that it holds for, or set its middlefill"
        )


_BECOME = {
    "avg": "their mean is taken",
    "mode": "the most frequent text is taken",
    "sum": "they are added up",
    "min": "the smallest is taken",
    "max": "the largest is taken",
    "first": "the first is taken",
}


def repeat_note(name: str, repeats: Repeats, texts: Sequence[str] | None, method: str) -> str:
    """What became of rows of an attribute that repeat a timestamp of their series; empty where it makes no difference."""
    if not repeats.rows or (method != "sum" and not repeats.differing):
        return ""
    differ = f", with other values at {repeats.differing:,} of the times ({_shown(repeats, texts)})"
    count = "1 row has" if repeats.rows == 1 else f"{repeats.rows:,} rows have"
    return (
        f"{name}: {count} the timestamp of another row of the same series{differ if repeats.differing else ''}: "
        f"{_BECOME[method]}; keep one row for each, or declare the column that tells them apart"
    )


def refuse_contradictions(name: str, repeats: Repeats, texts: Sequence[str]) -> None:
    """Refuse rows of one series and timestamp that have different texts, but in hours that clocks show twice.

    Raises:
        ImportFailure: there are such rows; texts have no mean, and none of them is the right one.
    """
    moments = [datetime.fromisoformat(str(np.datetime64(instant, "us"))) for instant in repeats.instants]
    if not moments or zones_that_repeat(moments):
        return
    reason = (
        f"rows of a series that share a timestamp (timestamps: {repeats.differing:,}) differ in {name}, such as "
        f"{_shown(repeats, texts)}"
    )
    fix = "keep one row for each series and timestamp, or declare the column that tells them apart as a dimension"
    raise ImportFailure([FileProblem("related/", reason, fix)], what="related time series")


def _shown(repeats: Repeats, texts: Sequence[str] | None) -> str:
    """The values of the first timestamp whose rows differ, and whose they are."""
    example = repeats.example
    if example is None:
        return ""
    values = (example.low, example.high)
    low, high = (f"{value:g}" for value in values) if texts is None else (repr(texts[int(each)]) for each in values)
    return f"{low} and {high} for {series_name(example.key)} at {shown_moment(np.datetime64(example.instant, 'us'))}"


def _named(keys: Sequence[Key]) -> str:
    """The first of some series, in quotes, which show blanks around a name."""
    return first_of([repr(series_name(key)) for key in keys], _NAMED)
