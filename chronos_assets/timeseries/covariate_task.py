"""One import of covariates as a task with an outcome, as `import_task` has it for the target.

Here: which files are read for which columns, and what the import leaves in its two folders. Elsewhere: the imports themselves
(`dataset.related_importing`, `dataset.metadata_importing`), planning and publishing them (`pipeline.covariate_imports`), the
job (`workloads.import_dataset`).

```
dataset/       what is published: shards or a table, and the manifest
report/        what the publisher needs beside them:
  import.json      the outcome
  memory.npz       of related time series, for the next import, see `dataset.related_memory`
  rejected/        bad rows that were set aside
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chronos_assets.timeseries.dataset.covariate_files import (
    CovariateSource,
    metadata_source,
    related_source,
    target_source,
)
from chronos_assets.timeseries.dataset.metadata_importing import import_metadata
from chronos_assets.timeseries.dataset.related import MetadataManifest, RelatedManifest
from chronos_assets.timeseries.dataset.related_importing import import_related
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, manifest_in
from chronos_assets.timeseries.import_task import MEMORY_FILE, REJECTED_FOLDER, load_report, save_report

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams
    from chronos_assets.timeseries.dataset.dataset_before import Before
    from chronos_assets.timeseries.dataset.import_passes import Progress
    from chronos_assets.timeseries.dataset.train_files import TrainFile


@dataclass(frozen=True)
class CovariateTask:
    """What an import of covariates is told beside its files.

    Attributes:
        params: as `params.json` has them.
        is_related: whether they are related time series; else item metadata.
        memory_limit: of DuckDB. unpacked: the bytes that a compressed file may unpack to.
        only_changes: see `import_related`.
    """

    params: ForecastParams
    is_related: bool
    memory_limit: str
    unpacked: int | None = None
    only_changes: bool = False


@dataclass(frozen=True)
class CovariateOutcome:
    """What an import did. manifest: as it lies beside the data. The rest: see `import_task.ImportOutcome`."""

    manifest: RelatedManifest | MetadataManifest
    rejected: Mapping[str, str]
    kept_files: frozenset[str] = frozenset()
    kept_shards: frozenset[str] = frozenset()
    extended_shards: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def known(self) -> dict[str, str]:
        """SHA-256 of what was written, as far as the manifest has them."""
        shards = self.manifest.shards if isinstance(self.manifest, RelatedManifest) else ()
        return {name: sha256 for shard in shards for name, sha256 in shard.files.items()}

    @classmethod
    def load(cls, report: Path, *, is_related: bool) -> CovariateOutcome:
        """What `run_covariate_import` left.

        Raises:
            ImportRefusedError: the import refused the files.
        """
        document = load_report(report)
        manifest: type[RelatedManifest | MetadataManifest] = RelatedManifest if is_related else MetadataManifest
        return cls(manifest.from_json(document["manifest"]), document["rejected"], reason=document["reason"])


def run_covariate_import(
    task: CovariateTask,
    files: Sequence[TrainFile],
    train_files: Sequence[TrainFile],
    dataset: ShardFiles,
    *,
    output: Path,
    report: Path,
    progress: Progress = lambda _stage, _done: None,
    before: Before | None = None,
) -> CovariateOutcome:
    """Import covariates into two folders; see the module's docstring.

    Args:
        task: what to make of them.
        files: of covariates alone; none are read where no schema is declared for them.
        train_files: of which columns are read, where such are declared.
        dataset: that they stand beside.
        output: folder for them; temporary files lie beside it.
        report: folder for the rest.
        progress: see `import_related`.
        before: likewise.

    Raises:
        ImportFailure: something is wrong with the files.
        FullImportNeededError: see `import_related`.
    """
    params = manifest_in(dataset).resolve(task.params)
    sources = list(_sources(params, files, train_files, is_related=task.is_related))
    rejected, limit = report / REJECTED_FOLDER, task.memory_limit
    if task.is_related:
        made = import_related(
            sources,
            params,
            dataset,
            output=output,
            rejected=rejected,
            memory_limit=limit,
            unpacked=task.unpacked,
            progress=progress,
            before=before,
            only_changes=task.only_changes,
        )
        outcome = CovariateOutcome(
            made.manifest,
            _names(made.rejected_files),
            made.kept_files,
            made.kept_shards,
            made.extended_shards,
            made.elsewhere,
            made.reason,
        )
        report.mkdir(parents=True, exist_ok=True)
        made.memory.save(report / MEMORY_FILE)
    else:
        table = import_metadata(
            sources, dataset, output=output, rejected=rejected, memory_limit=limit, unpacked=task.unpacked
        )
        outcome = CovariateOutcome(table.manifest, _names(table.rejected_files))
    document = {"manifest": outcome.manifest.to_json(), "rejected": dict(outcome.rejected), "reason": outcome.reason}
    save_report(report, document)
    return outcome


def _names(rejected: Mapping[str, Path]) -> dict[str, str]:
    return {key: path.name for key, path in rejected.items()}


def _sources(
    params: ForecastParams, files: Sequence[TrainFile], train_files: Sequence[TrainFile], *, is_related: bool
) -> Iterator[CovariateSource]:
    """What is read, as far as it is declared."""
    declared = params.related if is_related else params.metadata
    if declared is None:
        return
    source = (related_source if is_related else metadata_source)(files, params) if files else None
    own = target_source(train_files, params, declared.columns) if train_files else None
    yield from (found for found in (source, own) if found is not None)
