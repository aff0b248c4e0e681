"""Values that the sections of `params.json` are read into, before they are compared with each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Frequency
from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.params.attributes import Attribute
from chronos_assets.params.document import MISSING, Section
from chronos_assets.params.exports import BacktestParams
from chronos_assets.params.options import ChronosOptions

# Columns of the project's own files beside an input's dimensions; DuckDB compares names without regard to case.
RESERVED = {"item_id", "timestamp", "target", "filled", "type", "mean", "as_of", "level", "metric", "value"}
RESERVED |= {"seasonal_naive", "baseline", "points", "excluded", "reason", "segment_by", "segment_value"}
RESERVED |= {"member", "best_member", "member_rank", "member_weight", "wql", "mase", "coverage_80"}
RESERVED |= {"band_low", "band_middle", "band_high", "deviation"}
RESERVED |= {"scenario", "difference", "attribute", "impact", "impact_units", "weight"}
RESERVED_PATTERN = re.compile(r"p\d+|baseline_(p\d+|mean)")

KEEP_ONE = "keep one of them"
BAD_NAME = (
    "this is not a name that can be used",
    "write a letter, then letters, digits and _, at most 63 of them",
)


@dataclass(frozen=True)
class DatasetSection:
    """A dataset of the file, as far as it could be read."""

    section: Section
    attributes: tuple[Attribute, ...]
    data_frequency: Frequency | None
    timestamp_format: str | None


@dataclass(frozen=True)
class DatasetSections:
    """The datasets of the file, by type."""

    target: DatasetSection | None = None
    related: DatasetSection | None = None
    metadata: DatasetSection | None = None


@dataclass(frozen=True)
class ChronosCovariates:
    """What the `Chronos` section says about covariates: columns of the train files, and holidays."""

    related: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    known_in_advance: tuple[tuple[str, bool], ...] = ()
    holidays: HolidayCalendar | None = None


@dataclass(frozen=True)
class Columns:
    """Columns of the schema, by role; `item` is None when the files have no item column."""

    item: str | None
    timestamp: str
    target: str


@dataclass(frozen=True)
class ChronosSection:
    """The `Chronos` section: its options, and what is compared with other sections before it counts."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    anchor: str | None = None
    covariates: ChronosCovariates = field(default_factory=ChronosCovariates)
    options: ChronosOptions = field(default_factory=ChronosOptions)


@dataclass(frozen=True)
class PredictorSection:
    """The `Predictor` section, with both the older FeaturizationConfig and the AutoPredictor spelling."""

    frequency: Frequency | None = None
    horizon: int | None = None
    dimensions: tuple[tuple[str, str], ...] = ()  # (path, name)
    alignment: Alignment = DEFAULT_ALIGNMENT
    transformations: tuple[tuple[str, str, Section], ...] = ()  # (path, attribute, parameters)
    types: Any = MISSING
    metric: str | None = None
    algorithm: tuple[str, ...] = ()  # members that answer it
    holidays: tuple[str, ...] = ()  # codes of countries
    backtest: BacktestParams = field(default_factory=BacktestParams)
