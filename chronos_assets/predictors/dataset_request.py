"""Parameters that the workloads which read a dataset have in common, and what they tell of it to who learns from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from pydantic import PlainValidator

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Grid
from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.container.parameters import Count, FrequencyText, Seed, checked
from chronos_assets.params.attributes import Filling
from chronos_assets.params.options import BF16, Precision
from chronos_assets.params.predictor import PredictorParams
from chronos_assets.predictors.covariates import CovariateFolders, read_holidays


@dataclass(frozen=True)
class Reading:
    """What a workload knows of the dataset that it reads: the grid, how gaps are filled, the options of the predictor."""

    grid: Grid
    horizon: int
    filling: Filling
    dimensions: tuple[str, ...]
    context_length: int | None
    seed: int
    zero_shot: PredictorParams
    covariates: str | None = None  # digest of what there is beside it


@checked
@dataclass(frozen=True, kw_only=True)
class SeriesRequest:
    """What is read of series: how far they are forecast, how their periods lie, what is beside them."""

    horizon: Count
    alignment: Alignment = DEFAULT_ALIGNMENT
    filling: Filling = field(default_factory=Filling)
    dimensions: tuple[str, ...] = ()
    context_length: Count | None = None
    batch_size: Count | None = None
    precision: Precision = BF16
    seed: Seed = 0
    holidays: Annotated[HolidayCalendar | None, PlainValidator(read_holidays)] = None

    def reading(self, grid: Grid, predictor: PredictorParams | None, covariates: CovariateFolders | None) -> Reading:
        """What learning a predictor has to know of a dataset.

        Args:
            grid: the dataset's.
            predictor: its options; None for the default ones.
            covariates: what there is beside the dataset; None where there is nothing.
        """
        digest = covariates.digest if covariates is not None else None
        return Reading(
            grid,
            self.horizon,
            self.filling,
            self.dimensions,
            self.context_length,
            self.seed,
            predictor or PredictorParams(),
            digest,
        )


@checked
@dataclass(frozen=True, kw_only=True)
class DatasetRequest(SeriesRequest):
    """The same of a dataset, which has a frequency.

    Raises:
        ValueError: periods of this frequency can't be aligned like that.
    """

    frequency: FrequencyText

    def __post_init__(self) -> None:
        _ = self.grid  # refuses an alignment that is impossible

    @cached_property
    def grid(self) -> Grid:
        """The dataset's grid."""
        return Grid(self.frequency, self.alignment)
