"""Importing the train files, and what the dataset in the store says about itself.

Here: reading `params.json`, fetching files, the import, the manifest. Elsewhere: how rows become series
(`timeseries.dataset`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inferred import infer_again
from chronos_assets.pipeline.staging import as_datetime, materialization_values, staging
from chronos_assets.pipeline.state import GroupState, no_train_files, train_files
from chronos_assets.planning.forecasts import DatasetState
from chronos_assets.planning.imports import ImportRecord
from chronos_assets.planning.listing import listing_digest, trusted_times
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import DATASET_KEY, IMPORT_MEMORY_KEY, PARAMS_KEY, REJECTED_KEY

if TYPE_CHECKING:
    import numpy as np

    from chronos_assets.timeseries.dataset.importing import ImportReport, TrainFile
    from chronos_assets.timeseries.dataset.incremental import Before
    from chronos_assets.timeseries.dataset.shards import Manifest, Series

PROGRESS_SECONDS = 3.0
# So that instances which share a dataset get equal shares, whatever series a shard happens to hold.
SHARDS_PER_INSTANCE = 4
FETCHES = 8  # train files fetched at once from a store that isn't on this machine


# --- dataset ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportResult:
    """What an import made: its report, and from what."""

    report: ImportReport
    params: ForecastParams
    train_digest: str

    @property
    def manifest(self) -> Manifest:
        """Manifest of the published dataset."""
        return self.report.manifest


def import_dataset(state: GroupState, log: Any) -> ImportResult:
    """Import the train files and publish the dataset; on failure the one that was there stays.

    Files and shards that haven't changed since the last import are taken over where that is possible; the result is the same.

    Raises:
        dg.Failure: no files, bad parameters or bad rows; the description says which.
    """
    from chronos_assets.timeseries.dataset.importing import ImportFailure, import_target_time_series

    group = state.group
    files = train_files(group)
    if not files:
        raise no_train_files(group)
    group.jobs.expect("forecast")
    inferred = infer_again(group)
    params = (GroupState(group) if inferred else state).written_params
    if inferred:
        log.warning(inferred)
    for note in params.notes:
        log.info(f"{PARAMS_KEY}: {note}")
    log.info(f"importing {len(files)} files, {sum(info.size for info in files):,} bytes")
    trusted, doubts = trusted_times(files, datetime.now(UTC))
    for doubt in doubts:
        log.warning(doubt)
    with staging(group) as folder:
        staged = folder / "dataset"
        try:
            report = import_target_time_series(
                fetch_files(group, trusted),
                params,
                output=staged,
                rejected=folder / REJECTED_KEY,
                memory_limit=group.settings.memory_limit,
                min_shards=_least_shards(group),
                unpacked=group.settings.max_unpacked,
                progress=throttled(log),
                before=_before(group, files),
            )
        except ImportFailure as error:
            raise dg.Failure(str(error)) from error
        formulas = _formula_note(group, staged, params, report)
        report = _with_notes(report, staged, [*([inferred] if inferred else []), *doubts, *formulas])
        keep_rejected(group, [info for info in files if info.key not in report.kept_files], report.rejected_files)
        known = {name: sha256 for shard in report.manifest.shards for name, sha256 in shard.files.items()}
        group.store.publish(DATASET_KEY, staged, data="*.parquet", known=known)
        report.memory.save(folder / IMPORT_MEMORY_KEY)
        group.store.put_file(IMPORT_MEMORY_KEY, folder / IMPORT_MEMORY_KEY)
    manifest = report.manifest
    log.info(_what_was_read(report))
    log.info(
        f"imported {report.rows_read:,} rows: {manifest.series:,} series from {manifest.first} to {manifest.last}, "
        f"{manifest.observed:,} periods observed, {manifest.filled:,} filled, {manifest.duplicates:,} duplicates "
        f"resolved, {sum(manifest.rejected.values()):,} bad rows set aside"
    )
    return ImportResult(report, params, listing_digest(files))


def _before(group: Group, files: Sequence[ObjectInfo]) -> Before | None:
    """The dataset that is there, for an import of what has changed; None without one."""
    from chronos_assets.timeseries.dataset.bad_rows import rejected_name
    from chronos_assets.timeseries.dataset.incremental import Before

    if group.store.shown(DATASET_KEY) is None or not group.store.exists(IMPORT_MEMORY_KEY):
        return None
    memory = group.store.fetch(IMPORT_MEMORY_KEY)
    there = {info.key for info in group.store.list(REJECTED_KEY)}
    set_aside = frozenset(info.key for info in files if f"{REJECTED_KEY}/{rejected_name(info.key)}" in there)
    return Before(partial(group.store.snapshot, DATASET_KEY), memory, set_aside)


def _what_was_read(report: ImportReport) -> str:
    """What an import took over, and why it took over nothing."""
    files, shards = len(report.files), len(report.manifest.shards)
    if report.reason:
        return f"all {files:,} files read, all {shards:,} shards written: {report.reason}"
    read, written = files - len(report.kept_files), shards - len(report.kept_shards)
    extended = len(report.extended_shards)
    tails = f", {extended:,} with a new tail only" if extended else ""
    return (
        f"{read:,} of {files:,} files read, {len(report.kept_files):,} unchanged; {written - extended:,} of {shards:,} shards "
        f"rewritten{tails}, {len(report.kept_shards):,} kept"
    )


def _formula_note(group: Group, staged: Path, params: ForecastParams, report: ImportReport) -> list[str]:
    """What to tell the user of names that a spreadsheet would run."""
    from chronos_assets.timeseries.forecast.csv_export import count_formulas

    if params.quote_formulas:
        return []
    files = [staged / list(shard.files)[-1] for shard in report.manifest.shards]
    found = count_formulas(staged.parent, ("item_id", *params.dimensions), files, group.settings.memory_limit)
    return [
        f"{found:,} series have names that a spreadsheet runs as a formula (they begin with =, +, - or @): set "
        '"Chronos": {"QuoteFormulas": true} if forecast.csv is opened in one'
    ] * bool(found)


def _with_notes(report: ImportReport, staged: Path, notes: Sequence[str]) -> ImportReport:
    """The report, and the manifest in `staged`, with more to tell the user."""
    from chronos_assets.timeseries.dataset.shards import MANIFEST

    if not notes:
        return report
    manifest = replace(report.manifest, notes=(*notes, *report.manifest.notes))
    (staged / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return replace(report, manifest=manifest, notes=manifest.notes)


def _least_shards(group: Group) -> int:
    instances = group.settings.aws.forecast_instances
    return SHARDS_PER_INSTANCE * instances if instances > 1 else 1


def _too_few_shards(group: Group, manifest: Manifest) -> str:
    """Why the dataset has to be cut finer, as an import does; empty if it is fine enough."""
    if manifest.n_shards >= _least_shards(group):
        return ""
    return (
        f"CHRONOS_FORECAST_INSTANCES={group.settings.aws.forecast_instances} takes {_least_shards(group)} shards, the "
        f"dataset has {manifest.n_shards}"
    )


def fetch_files(group: Group, files: Sequence[ObjectInfo]) -> list[TrainFile]:
    """The train files on this machine."""
    from chronos_assets.timeseries.dataset.importing import TrainFile

    with ThreadPoolExecutor(FETCHES) as pool:
        paths = list(pool.map(group.store.fetch, [info.key for info in files]))
    return [TrainFile(path, info.key, info.last_modified, info.etag) for path, info in zip(paths, files, strict=True)]


def keep_rejected(group: Group, files: Sequence[ObjectInfo], rejected: Mapping[str, Path]) -> None:
    """Keep nothing in `rejected/` of these files but their present bad rows."""
    from chronos_assets.timeseries.dataset.bad_rows import rejected_name

    for info in files:
        key = f"{REJECTED_KEY}/{rejected_name(info.key)}"
        if info.key in rejected:
            group.store.put_file(key, rejected[info.key])
        else:
            group.store.delete(key)


def throttled(log: Any) -> Callable[[str, float], None]:
    """Progress as log lines, few enough to read."""
    last = time.monotonic()

    def progress(what: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            log.info(f"{what}: {share:.0%}")

    return progress


def first_series(state: GroupState, params: ForecastParams) -> Series:
    """The first series of the dataset that has an observation: an example for people and for a new endpoint."""
    import numpy as np

    from chronos_assets.timeseries.dataset.shards import iter_series

    for shard in state.require_manifest().shards:

        def only(_: Manifest, name: str = shard.name) -> set[str]:
            return {name}

        _, shards = _shown_shards(state, only)
        for series in chain.from_iterable(iter_series(path, params.dimensions) for path in shards.values()):
            if np.isfinite(series.target).any():
                return series
    raise dg.Failure("no series of the dataset has an observation")


def shards_of(state: GroupState, keys: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], Path]:
    """The shards that hold some series, if they are there at all, by their keys."""
    from chronos_assets.timeseries.dataset.shards import shard_name, shard_number

    def names(manifest: Manifest) -> dict[tuple[str, ...], str]:
        return {key: shard_name(shard_number(key, manifest.n_shards)) for key in keys}

    if not keys:
        return {}
    manifest, shards = _shown_shards(state, lambda manifest: set(names(manifest).values()))
    return {key: shards[name] for key, name in names(manifest).items() if name in shards}


def _shown_shards(state: GroupState, names: Callable[[Manifest], Collection[str]]) -> tuple[Manifest, dict[str, Path]]:
    """Shards of the dataset on this machine, by name, and the manifest beside them; a store elsewhere is asked for no other.

    The dataset may have been imported again, and cut into other shards, since the state was read: what is chosen by one
    manifest is taken only from the folder that has it.

    Args:
        state: of the group.
        names: of the shards that are wanted, by the manifest.
    """
    from chronos_assets.timeseries.dataset.shards import MANIFEST, read_manifest

    manifest = state.require_manifest()
    while True:
        wanted = names(manifest)
        shards = [shard for shard in manifest.shards if shard.name in wanted]
        folder = state.group.store.snapshot(
            DATASET_KEY, [MANIFEST, *chain.from_iterable(shard.files for shard in shards)]
        )
        beside = read_manifest(folder)
        if beside == manifest:
            return manifest, {shard.name: folder / shard.name for shard in shards}
        manifest = beside


def last_observations(state: GroupState, keys: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """When some series were observed last, ISO 8601; those that never were are left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from chronos_assets.timeseries.dataset.shards import shard_files

    names, found = ("item_id", *state.require_manifest().dimensions), {}
    for key, shard in shards_of(state, keys).items():
        filters = [*((name, "=", part) for name, part in zip(names, key, strict=True)), ("filled", "=", False)]
        rows = pq.read_table(shard_files(shard), columns=["timestamp"], filters=filters)
        last = pc.max(rows.column("timestamp")).as_py()
        if last is not None:
            found[key] = last.isoformat()
    return found


def dataset_is_current(state: GroupState, instance: dg.DagsterInstance) -> bool:
    """Whether the last import saw just the train files and parameters that are there now, and its result stands."""
    group = state.group
    imported = last_import(state, instance)
    return imported is not None and imported.is_of(listing_digest(train_files(group)), state.params_digest)


def last_import(state: GroupState, instance: dg.DagsterInstance) -> ImportRecord | None:
    """What the dataset that is there now was made from, by its materialization; None if that is not known."""
    group = state.group
    event = instance.get_latest_materialization_event(group.key("target_time_series"))
    manifest = state.manifest
    if event is None or event.asset_materialization is None or manifest is None:
        return None
    seen = materialization_values(event.asset_materialization)
    if seen.get("data_version") != manifest.data_version:
        return None
    return ImportRecord(
        content=str(seen["train_digest"]),
        id=event.run_id,
        params=str(seen["params_digest"]),
        outdated=_too_few_shards(group, manifest),
    )


def dataset_state(state: GroupState, instance: dg.DagsterInstance) -> DatasetState | None:
    """The dataset as `plan_new_data` wants to know it; None if there is none."""
    imported = last_import(state, instance)
    manifest = state.manifest
    if imported is None or manifest is None:
        return None
    first, last = as_datetime(manifest.first_timestamp), as_datetime(last_instant(state.params, manifest))
    return DatasetState(id=imported.id, data_version=manifest.data_version, first=first, last=last)


def last_instant(params: ForecastParams, manifest: Manifest) -> np.datetime64:
    """When the last value is known: at its row's timestamp; at its period's end where finer rows make it up."""
    import numpy as np

    lag = known_after(params, manifest)
    if lag is not None:
        return manifest.last_timestamp + lag
    following = params.grid.ordinal(np.array([manifest.last_timestamp])) + 1
    end: np.datetime64 = params.grid.start(following)[0]
    return end - np.timedelta64(1, "us")


def known_after(params: ForecastParams, manifest: Manifest) -> np.timedelta64 | None:
    """How long after its start a period's value is known; None if only once it is over.

    A period made up of finer rows may hold some from after the as-of.
    """
    return None if params.data_frequency != params.frequency else manifest.lag


def reading_parameters(params: ForecastParams) -> dict[str, Any]:
    """What every workload that reads the dataset gets: its grid, the columns of its keys, how gaps are filled."""
    return {
        "frequency": str(params.frequency),
        "alignment": asdict(params.alignment),
        "dimensions": list(params.dimensions),
        "filling": asdict(params.filling),
    }
