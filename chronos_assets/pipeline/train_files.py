"""The files under `train/` that there are, as they are listed.

Elsewhere: which of them are imported (`planning.listing`), reading them (`timeseries.dataset`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.planning.listing import described, is_train_file, spread_within, trusted_times
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import TRAIN_KEY

if TYPE_CHECKING:
    from chronos_assets.timeseries.dataset.train_files import TrainFile


def train_files(group: Group) -> list[ObjectInfo]:
    """The data files under `train/`, in order of their keys."""
    return sorted((info for info in group.store.list(TRAIN_KEY) if is_train_file(info)), key=lambda info: info.key)


def files_to_sample(group: Group, found: Sequence[ObjectInfo]) -> list[TrainFile]:
    """The files on this machine, dated as the import takes them: one from the future is the oldest, not the newest.

    No more of them than this machine would import by itself.
    """
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    trusted, _ = trusted_times(found, datetime.now(UTC))
    chosen = spread_within(trusted, group.settings.import_job_bytes)
    return [TrainFile(group.store.fetch(info.key), info.key, info.last_modified) for info in chosen]


def no_train_files(group: Group) -> StepError:
    """The failure of an import that finds nothing to import."""
    ignored = described(group.store.list(TRAIN_KEY))
    return StepError(
        f"no train files in {group.place(TRAIN_KEY)}: put *.csv, *.csv.gz or *.parquet files there and run again"
        + (f" ({ignored})" if ignored else "")
    )
