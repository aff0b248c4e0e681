"""What a job was asked for that forecasts a dataset as of time windows: its parameters, checked, and what each may read.

Here belong the document's meaning and the arithmetic of as-ofs, which the workloads `forecast` and `learn` share; the document
itself is described in `workloads.forecast`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PlainValidator

from chronos_assets.container.contract import WorkloadError
from chronos_assets.container.parameters import Count, CountOrNone, Levels, Text, checked, read_parameters
from chronos_assets.models.checkpoints import BUNDLED
from chronos_assets.params.forecast import quantile_name
from chronos_assets.params.predictor import PredictorParams
from chronos_assets.predictors.dataset_request import DatasetRequest
from chronos_assets.predictors.scenario import Scenario
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.forecast.files import ForecastLayout
from chronos_assets.wording import some_of

_WINDOW_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,127}")


@checked
@dataclass(frozen=True)
class LiveRecord:
    """How a partition's forecast stands to what came of earlier ones. A forecast that is made again keeps it.

    Attributes:
        in_time: whether the forecast was first made before its horizon was observed; None where that isn't known yet.
        width: by how much its bands are widened, since published ones were found to need it.
        partitions: how many published ones that is learned from.
    """

    in_time: bool | None = None
    width: Annotated[float, Field(gt=0)] = 1.0
    partitions: CountOrNone = 0

    def known(self, *, in_time: bool) -> LiveRecord:
        """The same, with whether it is made in time where it is made for the first time."""
        return self if self.in_time is not None else replace(self, in_time=in_time)


@dataclass(frozen=True)
class ForecastWindow:
    """One time window.

    Attributes:
        key: name of the partition.
        end: the window's end, exclusive.
        context_end: start of the last period that its forecast reads.
        ordinal: the number of that period on the grid.
        behind: whole periods between the dataset's last one and the last one that the window would allow.
        live: what is recorded of how its forecast stands to published ones, see `LiveRecord`.
    """

    key: str
    end: np.datetime64
    context_end: np.datetime64
    ordinal: int
    behind: int
    live: LiveRecord


@checked
@dataclass(frozen=True, kw_only=True)
class ForecastRequest(DatasetRequest):
    """The parameters of the workload, checked."""

    windows: Annotated[tuple[tuple[str, np.datetime64], ...], PlainValidator(_parse_windows)]
    quantiles: Levels
    mean: bool = False
    model: Text = BUNDLED
    complete_periods: bool = False
    min_observations: Count = 1
    non_negative: bool | None = None
    integers: bool = False
    params_digest: str | None = None
    trained_until: Annotated[np.datetime64 | None, PlainValidator(_timestamp)] = None
    zero_shot: PredictorParams | None = None
    covariates_digest: str | None = None
    live: dict[str, LiveRecord] = field(default_factory=dict)
    scenario: Annotated[Scenario | None, PlainValidator(Scenario.from_document)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.columns:
            raise ValueError("neither a quantile nor the mean is asked for")

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels to forecast: those asked for, and the median, which the examples draw."""
        return tuple(sorted({*self.quantiles, 0.5}))

    @property
    def columns(self) -> tuple[str, ...]:
        """Forecast columns of the files."""
        return (*(["mean"] if self.mean else []), *(quantile_name(level) for level in self.quantiles))

    @property
    def layout(self) -> ForecastLayout:
        """Of the files."""
        return ForecastLayout(self.dimensions, self.columns, self.horizon)


def parse_request(document: Mapping[str, Any]) -> ForecastRequest:
    """Check the parameters.

    Raises:
        WorkloadError: one is missing, unknown or impossible.
        ScenarioError: the scenario can't be read.
    """
    return read_parameters(ForecastRequest, "forecast", document)


def known_after(request: ForecastRequest, dataset: Manifest) -> np.timedelta64 | None:
    """How long after its start a period's value is known; None if only once it is over."""
    return None if request.complete_periods else dataset.lag


def plan_windows(request: ForecastRequest, dataset: Manifest) -> list[ForecastWindow]:
    """The windows with the last period that each may read.

    Raises:
        WorkloadError: a window ends before the data begin. None is forecast then, so that a range either has all of its
            partitions or says at once which to leave out.
    """
    first, last = dataset.span(request.grid)
    ends = np.array([end for _, end in request.windows], dtype="datetime64[us]")
    lag = known_after(request, dataset)
    allowed = request.grid.last_known(ends, lag)
    too_early = [key for (key, _), ordinal in zip(request.windows, allowed, strict=True) if ordinal < first]
    if too_early:
        since = request.grid.iso(first + 1 if lag is None else first)
        raise WorkloadError(
            f"no data before the end of window {some_of(too_early, 3)}: the dataset begins at {dataset.first}; "
            f"choose partitions whose window ends after {since}, or add older train files"
        )
    ordinals = np.minimum(allowed, last)
    return [
        ForecastWindow(
            key,
            end,
            context_end,
            int(ordinal),
            int(limit - ordinal),
            request.live.get(key, LiveRecord()).known(in_time=bool(last < ordinal + request.horizon)),
        )
        for (key, end), context_end, ordinal, limit in zip(
            request.windows, request.grid.start(ordinals), ordinals, allowed, strict=True
        )
    ]


def _parse_windows(value: Any) -> tuple[tuple[str, np.datetime64], ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("give a list of objects with key and end")
    windows: dict[str, np.datetime64] = {}
    for window in value:
        if not isinstance(window, dict) or set(window) != {"key", "end"}:
            raise ValueError(f"window {window!r} must have key and end")
        key = str(window["key"])
        if not _WINDOW_KEY.fullmatch(key):
            raise ValueError(f"window key {key!r} can't be the name of a folder")
        if key in windows:
            raise ValueError(f"window {key} is given twice")
        windows[key] = _timestamp(str(window["end"]))
    return tuple(windows.items())


def _timestamp(text: str) -> np.datetime64:
    """An ISO time as the dataset has it: naive, or converted to UTC if it has an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


def iso(timestamp: np.datetime64) -> str:
    """A time as documents have it."""
    return str(timestamp.astype("datetime64[us]").astype(datetime).isoformat())
