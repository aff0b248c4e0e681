"""What every import reports, and how each goes: by what has changed where that tells all, by everything where it doesn't.

Here: the frame. What is read and written in it belongs to `importing` and `incremental` for the target, to `related_importing`,
`related_changes` and `metadata_importing` for covariates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, Protocol, Self, TypeVar

from chronos_assets.system import made_folder
from chronos_assets.timeseries.dataset.dataset_before import Before, FullImportNeededError, TakenOver
from chronos_assets.timeseries.dataset.import_notes import FileReport
from chronos_assets.timeseries.dataset.shards import Shard
from chronos_assets.timeseries.published_files import DATASET_MANIFEST


class _Noted(Protocol):
    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def shards(self) -> Sequence[Shard]: ...


ManifestT = TypeVar("ManifestT", bound=_Noted)
MemoryT = TypeVar("MemoryT")


@dataclass(frozen=True)
class ImportReport(Generic[ManifestT, MemoryT]):
    """What an import did.

    Attributes:
        manifest: as written beside the data.
        rows_read: good and bad, of files that were taken over too.
        rejected_files: where bad rows were set aside, by the key of their file.
        memory: for the next import; None of item metadata, which are always imported from everything.
        kept_files: keys of files that were not read.
        kept_shards: names of those that were taken over as they were.
        extended_shards: names of those of which only the tail was written.
        elsewhere: URLs of files that were taken over and aren't in the folder, by name.
        reason: why everything was read; empty where it was not.
        files: of the target, from the oldest to the newest.
        formulas: see `Summary`.
    """

    manifest: ManifestT
    rows_read: int
    rejected_files: dict[str, Path]
    memory: MemoryT
    kept_files: frozenset[str] = frozenset()
    kept_shards: frozenset[str] = frozenset()
    extended_shards: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    files: tuple[FileReport, ...] = ()
    formulas: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences a user should read."""
        return self.manifest.notes

    @property
    def known(self) -> dict[str, str]:
        """SHA-256 of the shards' files, by name."""
        return {name: sha256 for shard in self.manifest.shards for name, sha256 in shard.files.items()}

    def beside(self, taken: TakenOver, kept_files: frozenset[str]) -> Self:
        """Of an import that took over files of what is there, and didn't read some of users'."""
        return replace(
            self,
            kept_files=kept_files,
            kept_shards=frozenset(taken.kept),
            extended_shards=frozenset(taken.extended),
            elsewhere=taken.elsewhere,
        )


def import_into(
    output: Path,
    before: Before | None,
    changes: Callable[[Before, Path], ImportReport[ManifestT, MemoryT]],
    everything: Callable[[Path], ImportReport[ManifestT, MemoryT]],
    *,
    only_changes: bool = False,
) -> ImportReport[ManifestT, MemoryT]:
    """Import into a folder, of which nothing stays when that fails.

    Args:
        output: what an earlier import left there is removed; temporary files lie beside it.
        before: what is there now; None where it is of no use.
        changes: imports what has changed since, with a folder for temporary files.
        everything: imports all files, likewise.
        only_changes: whether nothing is to be done where changes alone don't tell all.

    Raises:
        FullImportNeededError: everything has to be imported, and only changes are to be.
    """
    output.mkdir(parents=True, exist_ok=True)
    _clear(output)
    reason = "there is no earlier import to build on"
    with TemporaryDirectory(prefix=".import-", dir=output.parent) as folder:
        try:
            if before is not None:
                try:
                    return changes(before, made_folder(Path(folder, "changes")))
                except FullImportNeededError as error:
                    if only_changes:
                        raise
                    reason = str(error)
                    _clear(output)
            elif only_changes:
                raise FullImportNeededError(reason)
            return replace(everything(made_folder(Path(folder, "all"))), reason=reason)
        except BaseException:
            _clear(output)
            raise


def _clear(output: Path) -> None:
    for path in [*output.glob("part-*.parquet"), *output.glob("tail-*.parquet"), output / DATASET_MANIFEST]:
        path.unlink(missing_ok=True)
