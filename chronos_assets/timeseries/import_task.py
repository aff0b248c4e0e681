"""One import as a task with an outcome, so that the process which plans and publishes it need not be the one that does it.

Here: what an import is told beside its files, whatever it makes of them, what it leaves in its two folders, and how much disk
it takes. Elsewhere: the imports themselves (`dataset.importing`, `dataset.related_importing`, `dataset.metadata_importing`),
planning and publishing them (`pipeline.imports`), the job (`workloads.import_dataset`).

```
dataset/       shards, or a table of items, and the manifest, to be published as they are
report/        what the publisher needs beside them:
  import.json      the outcome
  memory.npz       for the next import, see `dataset.import_memory` and `dataset.related_memory`; item metadata have none
  rejected/        bad rows that were set aside
```
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.covariate_files import (
    CovariateSource,
    metadata_source,
    related_source,
    target_source,
)
from chronos_assets.timeseries.dataset.dataset_before import Before
from chronos_assets.timeseries.dataset.file_changes import likely_read
from chronos_assets.timeseries.dataset.import_memory import ImportMemory, recipe_of
from chronos_assets.timeseries.dataset.import_report import ImportReport
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.incremental import TargetReport
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest
from chronos_assets.timeseries.dataset.metadata_importing import import_metadata
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.related_changes import related_recipe
from chronos_assets.timeseries.dataset.related_importing import import_related
from chronos_assets.timeseries.dataset.related_memory import RelatedMemory
from chronos_assets.timeseries.dataset.resources import Progress, Resources, no_progress
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, manifest_in
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

PROGRESS_SECONDS = 3.0

Table = Literal["target_time_series", "related_time_series", "item_metadata"]


@dataclass(frozen=True)
class DiskShares:
    """How disk grows with files. expansion: bytes of text for each byte of a compressed file.

    dataset, own: disk for each byte of text that the dataset takes, and what the import writes in all at its worst.
    """

    expansion: float
    dataset: float
    own: float


# Measured with random values, which no format makes small: text 1, gzip 5.3, Parquet 7; dataset 0.2, own 0.8.
LEAST_SHARES, LIKELY_SHARES = DiskShares(4.0, 0.0, 0.7), DiskShares(15.0, 0.4, 2.0)

# Channels of the job: what it reads, and what it leaves.
TRAIN, BESIDE, BEFORE, MEMORY = "train", "beside", "before", "memory"
DATASET, REPORT = "dataset", "report"
OUTCOME_FILE, MEMORY_FILE, REJECTED_FOLDER = "import.json", "memory.npz", "rejected"


class ImportRefusedError(ChronosAssetsError):
    """The files can't be imported as they are; the message is that of the import's `ImportFailure`."""


class MoreFilesNeededError(ChronosAssetsError):
    """The import has to read files that it wasn't given; the message names one."""


@dataclass(frozen=True)
class ImportTask:
    """What an import is told beside its files.

    Attributes:
        params: as `params.json` has them.
        memory_limit: of DuckDB.
        table: what is made.
        min_shards: see `import_target_time_series`.
        unpacked: the bytes that a compressed file may unpack to.
        notes: sentences for the user, found before the import.
        only_changes: see `import_related`.
    """

    params: ForecastParams
    memory_limit: str
    table: Table = "target_time_series"
    min_shards: int = 1
    unpacked: int | None = None
    notes: tuple[str, ...] = ()
    only_changes: bool = False


@dataclass(frozen=True)
class ImportFiles:
    """What an import reads; the files come to this machine once they are read.

    Attributes:
        files: of the table alone; of covariates, none are read where no schema is declared for them.
        train_files: of which columns are covariates, where such are declared.
        dataset: that covariates stand beside.
        before: the table that is there; what has not changed is taken over from it.
    """

    files: Sequence[TrainFile]
    train_files: Sequence[TrainFile] = ()
    dataset: ShardFiles | None = None
    before: Before | None = None

    def beside(self) -> ShardFiles:
        """The dataset that covariates stand beside."""
        assert self.dataset is not None  # noqa: S101 - whoever imports covariates names it
        return self.dataset


def save_outcome(made: ImportReport[Any, Any], report: Path) -> None:
    """Write what an import did into the folder of its report, but for what the next one needs."""
    document = {
        "manifest": made.manifest.to_json(),
        "rows_read": made.rows_read,
        "rejected": {key: path.name for key, path in made.rejected_files.items()},
        "kept_files": sorted(made.kept_files),
        "kept_shards": sorted(made.kept_shards),
        "extended_shards": sorted(made.extended_shards),
        "elsewhere": dict(made.elsewhere),
        "reason": made.reason,
    }
    _save_report(report, document)


def load_outcome(report: Path, table: Table) -> ImportReport[Any, None]:
    """What `save_outcome` wrote of an import that makes this table.

    Raises:
        ImportRefusedError: the import refused the files.
        MoreFilesNeededError: it needs others, too.
    """
    document: dict[str, Any] = json.loads((report / OUTCOME_FILE).read_text(encoding="utf-8"))
    if "needed" in document:
        raise MoreFilesNeededError(document["needed"])
    if "refused" in document:
        raise ImportRefusedError(document["refused"])
    return ImportReport(
        manifest=_MANIFESTS[table].from_json(document["manifest"].encode()),
        rows_read=document["rows_read"],
        rejected_files={key: report / REJECTED_FOLDER / name for key, name in document["rejected"].items()},
        memory=None,
        kept_files=frozenset(document["kept_files"]),
        kept_shards=frozenset(document["kept_shards"]),
        extended_shards=frozenset(document["extended_shards"]),
        elsewhere=document["elsewhere"],
        reason=document["reason"],
    )


def save_refusal(report: Path, reason: str) -> None:
    """Leave the reason why the files can't be imported in place of an outcome."""
    _save_report(report, {"refused": reason})


def save_need(report: Path, reason: str) -> None:
    """Leave what else the import has to read in the place of an outcome."""
    _save_report(report, {"needed": reason})


def _save_report(report: Path, document: Mapping[str, Any]) -> None:
    report.mkdir(parents=True, exist_ok=True)
    (report / OUTCOME_FILE).write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


def run_import(
    task: ImportTask, files: ImportFiles, *, dataset: Path, report: Path, progress: Progress = no_progress
) -> ImportReport[Any, Any]:
    """Import files into two folders; see the module's docstring.

    Args:
        task: what to make of them.
        files: to read.
        dataset: folder for the dataset; temporary files lie beside it.
        report: folder for the rest.
        progress: see `Resources`.

    Raises:
        ImportFailure: something is wrong with the files.
        FullImportNeededError: see `import_related`.
    """
    resources = Resources(memory_limit=task.memory_limit, unpacked=task.unpacked, progress=progress)
    made = _IMPORTS[task.table](task, files, dataset, report / REJECTED_FOLDER, resources)
    report.mkdir(parents=True, exist_ok=True)
    if made.memory is not None:
        made.memory.save(report / MEMORY_FILE)
    save_outcome(made, report)
    return made


def files_likely_read(task: ImportTask, files: ImportFiles, dataset: Manifest | None) -> list[TrainFile]:
    """The files that an import reads, as far as the notes of the last one tell that.

    Args:
        task: of the import.
        files: to read.
        dataset: manifest of the dataset that covariates stand beside.
    """
    if files.before is None:
        return [*files.files, *files.train_files]
    if dataset is None:
        return likely_read(files.before, ImportMemory, recipe_of(task.params, task.unpacked), [files.files])
    params = dataset.placing(task.params)
    sources = [source.ordered for source in _sources(params, files, is_related=True)]
    return likely_read(files.before, RelatedMemory, related_recipe(params, dataset, task.unpacked), sources)


def _import_target(
    task: ImportTask, files: ImportFiles, output: Path, rejected: Path, resources: Resources
) -> TargetReport:
    made = import_target_time_series(
        files.files,
        task.params,
        output=output,
        rejected=rejected,
        resources=resources,
        min_shards=task.min_shards,
        before=files.before,
    )
    notes = [*task.notes, *_formula_notes(task, made)]
    if not notes:
        return made
    manifest = replace(made.manifest, notes=(*notes, *made.manifest.notes))
    (output / DATASET_MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return replace(made, manifest=manifest)


def _import_covariates(
    task: ImportTask, files: ImportFiles, output: Path, rejected: Path, resources: Resources
) -> ImportReport[Any, Any]:
    dataset = files.beside()
    params, is_related = manifest_in(dataset).placing(task.params), task.table == "related_time_series"
    sources = list(_sources(params, files, is_related=is_related))
    if not is_related:
        return import_metadata(sources, dataset, output=output, rejected=rejected, resources=resources)
    return import_related(
        sources,
        params,
        dataset,
        output=output,
        rejected=rejected,
        resources=resources,
        before=files.before,
        only_changes=task.only_changes,
        found=params.alignment != task.params.alignment,
    )


_IMPORTS: Mapping[Table, Callable[[ImportTask, ImportFiles, Path, Path, Resources], ImportReport[Any, Any]]] = {
    "target_time_series": _import_target,
    "related_time_series": _import_covariates,
    "item_metadata": _import_covariates,
}


_MANIFESTS: Mapping[Table, type[Manifest | RelatedManifest | MetadataManifest]] = {
    "target_time_series": Manifest,
    "related_time_series": RelatedManifest,
    "item_metadata": MetadataManifest,
}


def _sources(params: ForecastParams, files: ImportFiles, *, is_related: bool) -> Iterator[CovariateSource]:
    """What is read of covariates, as far as it is declared."""
    declared = params.related if is_related else params.metadata
    if declared is None:
        return
    source = (related_source if is_related else metadata_source)(files.files, params) if files.files else None
    own = target_source(files.train_files, params, declared.columns) if files.train_files else None
    yield from (found for found in (source, own) if found is not None)


def _formula_notes(task: ImportTask, made: TargetReport) -> list[str]:
    """What to tell the user of names that a spreadsheet would run."""
    if task.params.quote_formulas:
        return []
    return [
        f"{made.formulas:,} series have names that a spreadsheet runs as a formula (they begin with =, +, - or @): set "
        '"Chronos": {"QuoteFormulas": true} if forecast.csv is opened in one'
    ] * bool(made.formulas)


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that an import takes on disk. inputs: files; own: what it writes."""

    inputs: int
    own: int

    @property
    def total(self) -> int:
        """Both."""
        return self.inputs + self.own


def disk_needed(given: Mapping[str, int], shares: DiskShares, every: Mapping[str, int] | None = None) -> DiskNeed:
    """The disk that an import takes which gets these files, by their keys, with their sizes.

    Shards are read without coming to the disk, but every one of them may be written. every: all files of the dataset, where
    others are given.
    """
    text = _text(given, shares)
    dataset = shares.dataset * (text if every is None else _text(every, shares))
    return DiskNeed(sum(given.values()), int(dataset + shares.own * text))


def _text(sizes: Mapping[str, int], shares: DiskShares) -> float:
    """Bytes of text in files of these sizes."""
    return sum(size * (1.0 if key.casefold().endswith(".csv") else shares.expansion) for key, size in sizes.items())


def progress_lines(say: Callable[[str], object]) -> Progress:
    """Progress as lines of a log, few enough to read."""
    last = time.monotonic()

    def progress(what: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            say(f"{what}: {share:.0%}")

    return progress
