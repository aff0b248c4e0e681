"""What an evaluation asks for, and the windows that it is made over: those of the dataset, or of synthetic series.

Here: reading the request, and which past and which actual values make a window. Elsewhere: forecasting and
scoring them (`workloads.evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import PlainValidator

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.container.contract import WorkloadError, Workspace
from chronos_assets.container.parameters import Count, CountOrNone, FrequencyText, SomeLevels, checked, read_parameters
from chronos_assets.models.quantiles import is_integral
from chronos_assets.params.predictor import PredictorParams
from chronos_assets.predictors.covariates import open_covariates
from chronos_assets.predictors.dataset_request import SeriesRequest
from chronos_assets.predictors.members.base import COVARIATE_REACH, Covariates
from chronos_assets.predictors.members.regression import REACH
from chronos_assets.predictors.opening import Network, learn_as_of
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.filling import context_as_of
from chronos_assets.timeseries.dataset.gluonts_arrow import read_arrow, read_data_version
from chronos_assets.timeseries.dataset.holdout import periods_known, plan_holdout, window_actuals
from chronos_assets.timeseries.dataset.related import RelatedSeries
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shards import Manifest, Series, iter_series, list_shards
from chronos_assets.timeseries.scoring.baselines import Past
from chronos_assets.timeseries.scoring.gate import APPROVED, BASE, CANDIDATE
from chronos_assets.timeseries.scoring.metrics import season_error

MODELS = (CANDIDATE, BASE, APPROVED)


@checked
@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(SeriesRequest):
    """The parameters, checked. models: name -> reference, without the approved version where there is none."""

    models: Annotated[Mapping[str, str], PlainValidator(parse_models)]
    quantiles: SomeLevels
    frequency: FrequencyText | None = None
    season: Count | None = None
    baseline_season: Count | None = None
    non_negative: bool | None = None
    integers: bool = False
    zero_shot: PredictorParams | None = None
    validation_windows: CountOrNone = 2
    test_windows: Count = 2
    max_series: Count | None = None

    def __post_init__(self) -> None:
        _ = self.grid  # refuses an alignment that is impossible

    @cached_property
    def grid(self) -> Grid | None:
        """The dataset's grid; None where no frequency is given."""
        return None if self.frequency is None else Grid(self.frequency, self.alignment)

    @property
    def seasonality(self) -> int:
        """Periods of the season that errors are scaled by."""
        return self.season or (self.frequency.seasonality if self.frequency else 1)


def parse_request(document: Mapping[str, Any]) -> EvaluateRequest:
    """Check the parameters.

    Raises:
        WorkloadError: one is missing, unknown or impossible.
    """
    return read_parameters(EvaluateRequest, "evaluation", document)


@dataclass(frozen=True)
class WindowTask:
    """One window of one series.

    Attributes:
        key: item id and dimensions; window: from 0.
        history: (n,) everything before the window, filled as of then.
        actual: (horizon,) what was observed in it, NaN elsewhere.
        season_error: of the observed history, what MASE divides by.
        lowest: observed value of the history.
        covariates: as they were known before the window; empty without any.
        integral: whether the history's observations are whole numbers.
    """

    key: Key
    window: int
    history: Floats
    actual: Floats
    season_error: float
    lowest: float
    covariates: Covariates = field(default_factory=Covariates)
    integral: bool = False


class EvaluationData(Protocol):
    """Held-out windows of some series."""

    @property
    def categories(self) -> Mapping[str, Mapping[str, str]]:
        """Of the items, see `Predictor.of_categories`."""

    def eligible(self) -> Iterator[tuple[Key, int]]:
        """The series that have windows that count, and how many."""

    def tasks(self, chosen: set[Key]) -> Iterator[WindowTask]:
        """The windows of the chosen series, in the order of the files."""

    def pasts(self, chosen: set[Key]) -> Iterator[Past]:
        """What was known of the chosen series before their first window."""

    def learn(self, network: Network, log: Callable[[str], None]) -> Predictor | None:
        """The zero-shot predictor around a base model, from what was known before the windows; None where there is no past."""

    def to_document(self) -> dict[str, Any]:
        """What the windows are, JSON values."""


class DatasetWindows:
    """The test windows of a dataset.

    Raises:
        WorkloadError: the parameters have no frequency.
        DatasetError: it can't be read, or is not the one that the parameters describe.
        HoldoutError: it is too short.
    """

    def __init__(self, folder: Path, request: EvaluateRequest, workspace: Workspace) -> None:
        self._folder, self._request = folder, request
        if request.grid is None:
            raise WorkloadError("parameters of the evaluation: frequency not given, which the channel dataset needs")
        self._grid = request.grid
        self._manifest = Manifest.read(folder)
        self._manifest.check("evaluation", self._grid.frequency, request.dimensions)
        self._covariates = open_covariates(workspace, self._grid, self._manifest, request.holidays)
        self._holdout = plan_holdout(
            *self._manifest.span(self._grid),
            request.horizon,
            validation_windows=request.validation_windows,
            test_windows=request.test_windows,
        )

    @property
    def categories(self) -> Mapping[str, Mapping[str, str]]:
        """See `Data.categories`."""
        return self._covariates.categories if self._covariates is not None else {}

    def eligible(self) -> Iterator[tuple[Key, int]]:
        """See `Data.eligible`."""
        counted = ((series.key, sum(1 for _ in self._windows(series))) for series in self._series())
        return (pair for pair in counted if pair[1])

    def tasks(self, chosen: set[Key]) -> Iterator[WindowTask]:
        """See `Data.tasks`."""
        for series, related in self._with_related():
            if series.key not in chosen:
                continue
            observed = series.known
            for window, cut, actual in self._windows(series):
                yield WindowTask(
                    key=series.key,
                    window=window,
                    history=context_as_of(series, cut, cut, self._request.filling),
                    actual=actual,
                    season_error=season_error(observed[:cut], self._request.seasonality),
                    lowest=float(np.nanmin(observed[:cut])),
                    covariates=self._known_beside(series, related, cut),
                    integral=is_integral(observed[:cut]),
                )

    def pasts(self, chosen: set[Key]) -> Iterator[Past]:
        """See `Data.pasts`."""
        for series in self._series():
            first = next(self._windows(series), None) if series.key in chosen else None
            if first is not None:
                cut = first[1]
                yield Past(context_as_of(series, cut, cut, self._request.filling), series.known[:cut])

    def to_document(self) -> dict[str, Any]:
        """See `Data.to_document`."""
        return {
            "source": "dataset",
            "data_version": self._manifest.data_version,
            "frequency": str(self._grid.frequency),
            "holdout": self._holdout.to_document(self._grid),
        }

    def learn(self, network: Network, log: Callable[[str], None]) -> Predictor | None:
        """See `Data.learn`."""
        origin = self._holdout.test[0]
        request = self._request
        if request.zero_shot is None:
            return None
        shards, version = list_shards(self._folder), self._manifest.data_version
        reading = request.reading(self._grid, request.zero_shot, self._covariates)
        return learn_as_of(
            shards,
            reading,
            network,
            {"the gate": origin},
            data_version=version,
            log=log,
            covariates=self._covariates,
            anchor=origin,  # as a version's predictor: what differs is what the training has brought
        )["the gate"]

    def _known_beside(self, series: Series, related: RelatedSeries | None, cut: int) -> Covariates:
        """What was known beside a series before its first `cut` periods were over."""
        if self._covariates is None:
            return Covariates()
        horizon, first = self._request.horizon, self._grid.number_of(series.timestamps[0])
        return self._covariates.as_of(
            series.key, related, first + cut - 1, min(cut, max(REACH + horizon, COVARIATE_REACH)), horizon
        )

    def _with_related(self) -> Iterator[tuple[Series, RelatedSeries | None]]:
        for shard in list_shards(self._folder):
            beside = self._covariates.beside(shard.name) if self._covariates is not None else None
            for series in iter_series(shard, self._request.dimensions):
                yield series, beside.of(series.key) if beside is not None else None

    def _series(self) -> Iterator[Series]:
        for shard in list_shards(self._folder):
            yield from iter_series(shard, self._request.dimensions)

    def _windows(self, series: Series) -> Iterator[tuple[int, int, Floats]]:
        """Of each window that counts: its number, how many periods of the series are before it, its actuals."""
        first, last = self._grid.ordinal(series.timestamps[[0, -1]]).tolist()
        if last - first != len(series.timestamps) - 1:
            raise WorkloadError(
                f"series {' / '.join(series.key)} is not on a regular grid of {self._grid.frequency}: "
                "materialize target_time_series again"
            )
        observed = series.observed
        for window, origin in enumerate(self._holdout.test):
            cut = periods_known(first, origin)
            actual = window_actuals(series.target, series.filled, first, origin, self._request.horizon)
            if observed[:cut].any() and np.isfinite(actual).any():
                yield window, cut, actual


class SyntheticWindows:
    """The last periods of the synthetic test series."""

    def __init__(self, folder: Path, request: EvaluateRequest) -> None:
        self._folder, self._request = folder, request

    @property
    def categories(self) -> Mapping[str, Mapping[str, str]]:
        """There are none."""
        return {}

    def eligible(self) -> Iterator[tuple[Key, int]]:
        """See `Data.eligible`."""
        return ((task.key, 1) for task in self._all())

    def tasks(self, chosen: set[Key]) -> Iterator[WindowTask]:
        """See `Data.tasks`."""
        return (task for task in self._all() if task.key in chosen)

    def pasts(self, chosen: set[Key]) -> Iterator[Past]:
        """See `Data.pasts`."""
        return (Past(task.history, task.history) for task in self.tasks(chosen))

    def to_document(self) -> dict[str, Any]:
        """See `Data.to_document`."""
        version = read_data_version(self._folder)
        return {"source": "synthetic", "data_version": version, "frequency": None, "holdout": None}

    def learn(self, network: Network, log: Callable[[str], None]) -> Predictor | None:
        """See `Data.learn`."""
        return None

    def _all(self) -> Iterator[WindowTask]:
        horizon = self._request.horizon
        for item, _, target in read_arrow(self._folder / "test.arrow"):
            history, actual = target[:-horizon], target[-horizon:]
            if np.isfinite(history).any() and np.isfinite(actual).any():
                scale, lowest = season_error(history, self._request.seasonality), float(np.nanmin(history))
                yield WindowTask((item,), 0, history, actual, scale, lowest, integral=is_integral(history))


def open_data(workspace: Workspace, request: EvaluateRequest) -> EvaluationData:
    """The dataset if the job has one, else the synthetic series."""
    if workspace.optional_input("dataset") is not None:
        return DatasetWindows(workspace.input("dataset"), request, workspace)
    if workspace.optional_input("synthetic") is not None:
        return SyntheticWindows(workspace.input("synthetic"), request)
    raise WorkloadError(
        f"nothing to evaluate on: there is neither a channel dataset nor synthetic in {workspace.inputs}"
    )


def parse_models(value: Any) -> dict[str, str]:
    """The models to compare, by their part: the candidate and what it is compared with."""
    if not isinstance(value, dict) or not set(value) <= set(MODELS):
        raise ValueError(f"give an object of {', '.join(MODELS)}")
    models = {name: value[name] for name in MODELS if value.get(name) is not None}
    for name in (CANDIDATE, BASE):
        if name not in models:
            raise ValueError(f"models names no {name}")
    for name, reference in models.items():
        if not isinstance(reference, str) or not reference.strip():
            raise ValueError(f"models.{name} is {reference!r}: it must be a reference of a model")
    return models
