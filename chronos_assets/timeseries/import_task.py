"""One import as a task with an outcome, so that the process which plans and publishes it need not be the one that does it.

Here: what an import is told beside its files, what it leaves in its two folders, and how much disk it takes. Elsewhere: the
import itself (`dataset.importing`), planning and publishing it (`pipeline.dataset_import`), the job
(`workloads.import_dataset`).

```
dataset/       shards and manifest, to be published as they are
report/        what the publisher needs beside them:
  import.json      the outcome
  memory.npz       for the next import, see `dataset.import_memory`
  rejected/        bad rows that were set aside
```
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.shards import MANIFEST, Manifest

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams
    from chronos_assets.timeseries.dataset.dataset_before import Before
    from chronos_assets.timeseries.dataset.import_notes import ImportReport
    from chronos_assets.timeseries.dataset.import_passes import Progress
    from chronos_assets.timeseries.dataset.train_files import TrainFile

PROGRESS_SECONDS = 3.0


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
TRAIN, BEFORE, MEMORY = "train", "before", "memory"
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
        params: of the dataset.
        memory_limit: of DuckDB. min_shards, unpacked: see `import_target_time_series`.
        notes: sentences for the user, found before the import.
    """

    params: ForecastParams
    memory_limit: str
    min_shards: int = 1
    unpacked: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportOutcome:
    """What an import did.

    Attributes:
        manifest: of the dataset, as it lies beside the shards.
        rows_read, kept_files, kept_shards, extended_shards, reason: see `ImportReport`.
        elsewhere: URLs of files of the dataset that were taken over and don't lie in its folder, by name.
        rejected: key of a file with bad rows -> name of the file in `rejected/` that has them.
    """

    manifest: Manifest
    rows_read: int
    rejected: Mapping[str, str]
    kept_files: frozenset[str]
    kept_shards: frozenset[str]
    extended_shards: frozenset[str]
    elsewhere: Mapping[str, str]
    reason: str

    @property
    def known(self) -> dict[str, str]:
        """SHA-256 of the dataset's files but the manifest, by name."""
        return {name: sha256 for shard in self.manifest.shards for name, sha256 in shard.files.items()}

    def save(self, report: Path) -> None:
        """Write it into the folder of the report."""
        document = {
            "manifest": self.manifest.to_json(),
            "rows_read": self.rows_read,
            "rejected": dict(self.rejected),
            "kept_files": sorted(self.kept_files),
            "kept_shards": sorted(self.kept_shards),
            "extended_shards": sorted(self.extended_shards),
            "elsewhere": dict(self.elsewhere),
            "reason": self.reason,
        }
        save_report(report, document)

    @classmethod
    def load(cls, report: Path) -> ImportOutcome:
        """What `save` wrote.

        Raises:
            ImportRefusedError: the import refused the files.
            MoreFilesNeededError: it needs others, too.
        """
        document = load_report(report)
        return cls(
            manifest=Manifest.from_json(document["manifest"].encode()),
            rows_read=document["rows_read"],
            rejected=document["rejected"],
            kept_files=frozenset(document["kept_files"]),
            kept_shards=frozenset(document["kept_shards"]),
            extended_shards=frozenset(document["extended_shards"]),
            elsewhere=document["elsewhere"],
            reason=document["reason"],
        )


def save_refusal(report: Path, reason: str) -> None:
    """Leave the reason why the files can't be imported in place of an outcome."""
    save_report(report, {"refused": reason})


def save_need(report: Path, reason: str) -> None:
    """Leave what else the import has to read in the place of an outcome."""
    save_report(report, {"needed": reason})


def run_import(
    task: ImportTask,
    files: Sequence[TrainFile],
    *,
    dataset: Path,
    report: Path,
    before: Before | None = None,
    progress: Progress | None = None,
) -> ImportOutcome:
    """Import files into two folders; see the module's docstring.

    Args:
        task: what to make of them.
        files: those that are read come to this machine.
        dataset: folder for the dataset; temporary files lie beside it.
        report: folder for the rest.
        before: the dataset that is there; what has not changed is taken over from it.
        progress: see `import_target_time_series`.

    Raises:
        ImportFailure: something is wrong with the files.
    """
    report.mkdir(parents=True, exist_ok=True)
    made = import_target_time_series(
        files,
        task.params,
        output=dataset,
        rejected=report / REJECTED_FOLDER,
        memory_limit=task.memory_limit,
        min_shards=task.min_shards,
        unpacked=task.unpacked,
        progress=progress,
        before=before,
    )
    manifest = _with_notes(made.manifest, dataset, [*task.notes, *_formula_notes(task, made)])
    made.memory.save(report / MEMORY_FILE)
    outcome = ImportOutcome(
        manifest=manifest,
        rows_read=made.rows_read,
        rejected={key: path.name for key, path in made.rejected_files.items()},
        kept_files=made.kept_files,
        kept_shards=made.kept_shards,
        extended_shards=made.extended_shards,
        elsewhere=made.elsewhere,
        reason=made.reason,
    )
    outcome.save(report)
    return outcome


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


def _formula_notes(task: ImportTask, made: ImportReport) -> list[str]:
    """What to tell the user of names that a spreadsheet would run."""
    if task.params.quote_formulas:
        return []
    return [
        f"{made.formulas:,} series have names that a spreadsheet runs as a formula (they begin with =, +, - or @): set "
        '"Chronos": {"QuoteFormulas": true} if forecast.csv is opened in one'
    ] * bool(made.formulas)


def _with_notes(manifest: Manifest, dataset: Path, notes: Sequence[str]) -> Manifest:
    """The manifest, here and in the dataset's folder, with more to tell the user."""
    if not notes:
        return manifest
    noted = replace(manifest, notes=(*notes, *manifest.notes))
    (dataset / MANIFEST).write_text(noted.to_json(), encoding="utf-8")
    return noted


def save_report(report: Path, document: Mapping[str, Any]) -> None:
    """Write an outcome into the folder of its report."""
    report.mkdir(parents=True, exist_ok=True)
    (report / OUTCOME_FILE).write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


def load_report(report: Path) -> dict[str, Any]:
    """What `save_report` wrote.

    Raises:
        ImportRefusedError: the import refused the files.
        MoreFilesNeededError: it needs others, too.
    """
    document: dict[str, Any] = json.loads((report / OUTCOME_FILE).read_text(encoding="utf-8"))
    if "needed" in document:
        raise MoreFilesNeededError(document["needed"])
    if "refused" in document:
        raise ImportRefusedError(document["refused"])
    return document
