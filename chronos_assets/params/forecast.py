"""The parameters of a forecast, as `params.json` has them: the types, and the document that they make.

Here: the domains with their columns' names, quantiles, horizon, what follows from all of it. Elsewhere: reading the file
(`params.reader`), options that only this project has (`params.options`), training (`params.training`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chronos_assets.calendar.frequencies import DAY_NAMES, DEFAULT_ALIGNMENT, MONTH_NAMES, Alignment, Frequency, Grid
from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.calendar.time_zones import changes_clock
from chronos_assets.calendar.timestamp_format import DEFAULT_FORMAT, has_offset
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.attributes import Aggregation, Attribute, Filling, MetadataParams, RelatedParams
from chronos_assets.params.covariate_documents import (
    attributes_document,
    chronos_covariates_document,
    datasets_documents,
    featurization_document,
    related_featurizations,
)
from chronos_assets.params.declared_options import options_document
from chronos_assets.params.document import Problem
from chronos_assets.params.exports import BacktestParams
from chronos_assets.params.options import ANOMALY_THRESHOLD, ChronosOptions
from chronos_assets.params.predictor import DEFAULT_METRIC, PredictorParams
from chronos_assets.params.training import TrainingParams
from chronos_assets.system import text_digest
from chronos_assets.wording import counted

TARGET, RELATED, METADATA = "TARGET_TIME_SERIES", "RELATED_TIME_SERIES", "ITEM_METADATA"


@dataclass(frozen=True)
class Domain:
    """The names that a domain of the service requires in its target time series."""

    item: str
    timestamp: str
    target: str


# "Predefined Dataset Domains and Dataset Types" of the developer guide.
DOMAINS: dict[str, Domain] = {
    "RETAIL": Domain("item_id", "timestamp", "demand"),
    "CUSTOM": Domain("item_id", "timestamp", "target_value"),
    "INVENTORY_PLANNING": Domain("item_id", "timestamp", "demand"),
    "EC2_CAPACITY": Domain("instance_type", "timestamp", "number_of_instances"),
    "WORK_FORCE": Domain("workforce_type", "timestamp", "workforce_demand"),
    "WEB_TRAFFIC": Domain("item_id", "timestamp", "value"),
    "METRICS": Domain("metric_name", "timestamp", "metric_value"),
}

DEFAULT_QUANTILES = (0.1, 0.5, 0.9)
# Ten years of hours fit; more is a slip of the keyboard that would exhaust the memory, or the calendar.
HORIZON_LIMIT = 100_000
# How a draft marks what the user must choose; no key takes such a value.
CHOOSE = "CHOOSE: "
NAME_PATTERN = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,62}")


@dataclass(frozen=True, kw_only=True)
class ForecastParams(ChronosOptions):
    """Everything params.json says, checked: the options of `Chronos`, and the following. Made by `parse_params`, `load_params`.

    attributes: columns of the train files, in schema order. Those that are neither item, timestamp, target nor
        dimension are read over: rows that differ only in them are aggregated together, as in the service.
    item_column, timestamp_column, target_column: names within the schema; the domain's own (`DOMAINS`) unless
        `Chronos.Columns` says otherwise. `item_column` is None when the files hold a single series and have no such
        column; its item id is then `constant_item`.
    dimensions: ForecastDimensions, in schema order; each combination with the item is a series.
    horizon: periods to forecast, 1 to `HORIZON_LIMIT`; more than the service's 500 are allowed, and noted.
    quantiles: ascending, in hundredths from 0.01 to 0.99. May be empty when only the mean was asked for.
    timestamp_format: the service's tokens as written, see `calendar.timestamp_format`.
    backtest: which past windows the backtest export shows.
    related, metadata, holidays: where covariates come from; None where they are not declared.
    known_in_advance: by attribute, whether a forecast may read it beyond its as-of; of others their reach decides.
    notes: one sentence for each key that was accepted without effect, or whose effect may surprise. Not compared.
    """

    dataset_group: str
    domain: str
    attributes: tuple[Attribute, ...]
    item_column: str | None
    timestamp_column: str
    target_column: str
    dimensions: tuple[str, ...] = ()
    data_frequency: Frequency
    frequency: Frequency
    alignment: Alignment = DEFAULT_ALIGNMENT
    horizon: int
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    mean: bool = False
    timestamp_format: str = DEFAULT_FORMAT
    aggregation: Aggregation = "sum"
    filling: Filling = field(default_factory=Filling)
    perform_delete: bool = False
    backtest: BacktestParams = field(default_factory=BacktestParams)
    related: RelatedParams | None = None
    metadata: MetadataParams | None = None
    holidays: HolidayCalendar | None = None
    known_in_advance: tuple[tuple[str, bool], ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def grid(self) -> Grid:
        """The regular grid of the forecast frequency."""
        return Grid(self.frequency, self.alignment)

    @property
    def clock(self) -> str | None:
        """Zone of the dataset's and the forecasts' timestamps, None for UTC: `time_zone`, but UTC where that has gaps.

        Hours and minutes of rows with offsets stay apart in UTC when clocks are put back, and none is missing when they
        are put forward; forecast.csv has them on the clock of `time_zone`, with their offsets.
        """
        uneven = (
            self.time_zone is not None
            and self.frequency.approximate_seconds <= 3600
            and has_offset(self.timestamp_format)
            and changes_clock(self.time_zone)
        )
        return "UTC" if uneven else self.time_zone

    @property
    def in_utc(self) -> bool:
        """Whether the dataset's and the forecasts' timestamps are UTC, by the offsets of the rows."""
        return has_offset(self.timestamp_format) and self.clock in (None, "UTC")

    @property
    def constant_item(self) -> str | None:
        """The item id of every row when the files have no item column (the dataset group's name), else None."""
        return self.dataset_group if self.item_column is None else None

    @property
    def package_group(self) -> str:
        """Name of the model package group: the dataset group's, with hyphens for underscores, as SageMaker wants it."""
        return self.dataset_group.replace("_", "-").rstrip("-")

    @property
    def digest(self) -> str:
        """SHA-256, in canonical form, of what the dataset and a forecast by a given model depend on.

        Equal for files that mean the same, and for those that differ only in how models are trained and forecasts judged.
        """
        forecasting = replace(
            self,
            training=TrainingParams(),
            anomaly_threshold=ANOMALY_THRESHOLD,
            backtest=BacktestParams(),
            perform_delete=False,
        )
        document = to_document(forecasting)
        if self.clock != self.time_zone:
            document["clock"] = self.clock
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return text_digest(text)


class ParamsError(ChronosAssetsError, ValueError):
    """A parameter file that can't be used; `problems` holds everything wrong with it, and the text lists it all."""

    def __init__(self, problems: Sequence[Problem], source: str = "params.json") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = counted(len(self.problems), "problem")
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems, self.source)


def quantile_name(level: float) -> str:
    """The column of a quantile: 0.1 -> "p10", 0.01 -> "p01".

    Raises:
        ValueError: for a level that is not one of the service's hundredths, 0.01 to 0.99.
    """
    percent = round(level * 100)
    if not 1 <= percent <= 99 or abs(level * 100 - percent) > 1e-6:
        raise ValueError(f"{level!r} is not a quantile level of the service: hundredths from 0.01 to 0.99")
    return f"p{percent:02d}"


def to_document(params: ForecastParams) -> dict[str, Any]:
    """The JSON value of a parameter file that reads back as `params` (its notes aside)."""
    filling = {"aggregation": params.aggregation, "frontfill": "none"}
    filling |= {"middlefill": params.filling.middlefill, "backfill": params.filling.backfill}
    for key, value in (
        ("middlefill_value", params.filling.middlefill_value),
        ("backfill_value", params.filling.backfill_value),
    ):
        if value is not None:
            filling[key] = repr(value)
    featurizations = [
        featurization_document(params.target_column, filling),
        *related_featurizations(params.related),
    ]
    config: dict[str, Any] = {"ForecastFrequency": str(params.frequency), "Featurizations": featurizations}
    if params.dimensions:
        config["ForecastDimensions"] = list(params.dimensions)
    predictor: dict[str, Any] = {"ForecastHorizon": params.horizon, "FeaturizationConfig": config}
    if boundary := _boundary_document(params.alignment):
        predictor["TimeAlignmentBoundary"] = boundary
    if params.predictor.metric != DEFAULT_METRIC:
        predictor["OptimizationMetric"] = params.predictor.metric
    if evaluation := options_document(BacktestParams, params.backtest):
        predictor["EvaluationParameters"] = evaluation
    document: dict[str, Any] = {
        "DatasetGroup": {"DatasetGroupName": params.dataset_group, "Domain": params.domain},
        "Predictor": predictor,
        "Forecast": {"ForecastTypes": [f"{level:.2f}" for level in params.quantiles] + ["mean"] * params.mean},
        "TimestampFormat": params.timestamp_format,
        "Datasets": [
            {
                "Domain": params.domain,
                "DatasetType": TARGET,
                "DataFrequency": str(params.data_frequency),
                "Schema": {"Attributes": attributes_document(params.attributes)},
            },
            *datasets_documents(params.domain, params.related, params.metadata),
        ],
        "PerformDelete": params.perform_delete,
    }
    if chronos := _chronos_document(params):
        document["Chronos"] = chronos
    return document


def _boundary_document(alignment: Alignment) -> dict[str, Any]:
    boundary: dict[str, Any] = {}
    if alignment.month is not None:
        boundary["Month"] = MONTH_NAMES[alignment.month - 1]
    if alignment.day_of_month is not None:
        boundary["DayOfMonth"] = alignment.day_of_month
    if alignment.day_of_week is not None:
        boundary["DayOfWeek"] = DAY_NAMES[alignment.day_of_week]
    if alignment.hour is not None:
        boundary["Hour"] = alignment.hour
    return boundary


def _chronos_document(params: ForecastParams) -> dict[str, Any]:
    """The `Chronos` section: only what differs from the defaults."""
    names = DOMAINS[params.domain]
    columns = {
        field_name: column
        for field_name, column in (
            (names.item, params.item_column),
            (names.timestamp, params.timestamp_column),
            (names.target, params.target_column),
        )
        if field_name != column
    }
    options: dict[str, Any] = {
        "Columns": columns,
        "Anchor": params.alignment.anchor,
        "Predictor": options_document(PredictorParams, params.predictor),
    }
    covariates = chronos_covariates_document(params.related, params.metadata, params.holidays, params.known_in_advance)
    given = {key: value for key, value in options.items() if value}
    return given | options_document(ChronosOptions, params) | dict(covariates)
