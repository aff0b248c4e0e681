"""Parameters that the workloads which read a dataset have in common."""

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
from chronos_assets.predictors.covariates import read_holidays


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
