"""What a training reads of its channels: series to draw windows from, and windows that were held out."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.container.contract import WorkloadError
from chronos_assets.models.finetuning_data import TrainingSeries
from chronos_assets.models.finetuning_validation import ValidationWindow
from chronos_assets.timeseries.dataset.filling import context_as_of, fill
from chronos_assets.timeseries.dataset.gluonts_arrow import read_arrow
from chronos_assets.timeseries.dataset.holdout import periods_known, plan_holdout, window_actuals
from chronos_assets.timeseries.dataset.shards import (
    Manifest,
    Series,
    iter_series,
    list_shards,
    seeded_digest,
)
from chronos_assets.training.request import TrainRequest, given


class TargetDataset:
    """The channel `target`."""

    def __init__(self, folder: Path, request: TrainRequest) -> None:
        missing = [name for name in ("horizon", "frequency") if getattr(request, name) is None]
        if missing:
            raise WorkloadError(
                f"parameters of the training: {' and '.join(missing)} not given, which the channel target needs"
            )
        self.folder, self.request = folder, request
        self.manifest: Manifest = Manifest.read(folder)
        self.grid = Grid(given(request.frequency), request.alignment)
        self.manifest.check("training", self.grid.frequency, request.dimensions)
        self.holdout = plan_holdout(
            *self.manifest.span(self.grid),
            given(request.horizon),
            validation_windows=request.validation_windows,
            test_windows=request.test_windows,
            training_periods=(request.min_past or 1) + 1,
        )

    def read(self, context_length: int, limit: int) -> tuple[list[TrainingSeries], list[ValidationWindow]]:
        """The series to train on, and the validation windows of at most `limit` of them."""
        chosen = list(self._chosen(self.request.max_training_series))
        training = [item for series in chosen if (item := self._training(series)) is not None]
        validated = [
            self._window(series, origin, context_length)
            for series in chosen[:limit]
            for origin in self.holdout.validation
            if periods_known(self._first(series), origin)
        ]
        return training, validated

    def _chosen(self, limit: int) -> Iterator[Series]:
        """At most `limit` series, in an order that depends on the seed and their keys alone."""
        until = self.grid.instant(self.holdout.validation_end + 1)
        ranked = (
            (seeded_digest(self.request.seed, *series.key), series)
            for shard in list_shards(self.folder)
            for series in iter_series(shard, self.request.dimensions, until=until)
        )
        yield from (series for _, series in heapq.nsmallest(limit, ranked, key=lambda pair: pair[0]))

    def _first(self, series: Series) -> int:
        return self.grid.number_of(series.timestamps[0])

    def _training(self, series: Series) -> TrainingSeries | None:
        """The part of a series that training may see; None if it begins later."""
        cut = periods_known(self._first(series), self.holdout.training_end)
        if not cut:
            return None
        observed = series.observed[:cut]
        return TrainingSeries(fill(series.target[:cut], observed, self.request.filling), observed)

    def _window(self, series: Series, origin: int, context_length: int) -> ValidationWindow:
        first = self._first(series)
        cut = periods_known(first, origin)
        return ValidationWindow(
            context_as_of(series, cut, context_length, self.request.filling),
            window_actuals(series.target, series.filled, first, origin, self.holdout.horizon),
        )


def read_synthetic(path: Path) -> list[TrainingSeries]:
    """All series of a file."""
    return [TrainingSeries(target, np.isfinite(target)) for _, _, target in read_arrow(path)]


def synthetic_windows(path: Path, horizon: int, limit: int, seed: int) -> list[ValidationWindow]:
    """The last `horizon` periods of at most `limit` series, and what comes before.

    Raises:
        WorkloadError: no series is longer than that.
    """
    series = [(seeded_digest(seed, item), target) for item, _, target in read_arrow(path)]
    usable = [pair for pair in series if len(pair[1]) > horizon]
    if not usable:
        raise WorkloadError(
            f"{path.name} holds {len(series)} series, none of them longer than prediction_length, which is {horizon}: "
            "materialize synthetic_dataset with more or longer series"
        )
    chosen = heapq.nsmallest(limit, usable, key=lambda pair: pair[0])
    return [ValidationWindow(target[:-horizon], target[-horizon:]) for _, target in chosen]
