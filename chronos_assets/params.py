"""params.json: the parameter file of the Amazon Forecast pipeline, read into one typed, frozen value.

Here belong the file's keys, their values and everything that can be wrong with them; all problems are reported at once,
each with the key, the value, the reason and the mend. Reading data, environment variables and Dagster do not belong
here. The keys follow the service's API (CreateDatasetGroup, CreateDataset, CreateDatasetImportJob, CreatePredictor,
CreateAutoPredictor and CreateForecast in the Amazon Forecast developer guide). Keys that steered the service itself
(AutoML, algorithms, roles, encryption, tags) are accepted and reported in `ForecastParams.notes`; unknown keys are
errors. What the service had no word for lives under one extra top-level key, `Chronos`:

=================  ====================================================================================================
Chronos key        meaning
=================  ====================================================================================================
Columns            field of the domain -> column of the schema, where a file has its own names
                   ({"item_id": "Model_ID"}); "item_id": null says that the files hold one series and no item column
BadRows            "fail" (default): a bad row fails the import; "quarantine": it is set aside and the import goes on
TimeZone           IANA name; timestamps with an offset become clock times of this zone (default UTC)
ContextLength      most recent observations that a forecast sees (default: the model's own)
BatchSize          series per forward pass (default: chosen by the job)
Seed               seed of everything random (default 0)
MinObservations    series with fewer observed values are not forecast, and named (default 1)
MaxDataAge         seconds after which the last observation is stale (default: not checked)
=================  ====================================================================================================
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, get_args

from chronos_assets.timeseries.frequencies import (
    DAY_NAMES,
    MONTH_NAMES,
    VALID_FREQUENCIES,
    Alignment,
    Frequency,
    Grid,
    Unit,
)
from chronos_assets.timeseries.timestamp_format import (
    DEFAULT_FORMAT,
    TimestampFormatError,
    parse_pattern,
    resolution,
)

AttributeType = Literal["string", "integer", "float", "timestamp"]
Aggregation = Literal["sum", "avg", "first", "min", "max"]
BadRows = Literal["fail", "quarantine"]
FillMethod = Literal["zero", "value", "nan", "median", "mean", "min", "max"]

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
SERVICE_HORIZON_LIMIT = 500
# Ours: ten years of hours fit; more is a slip of the keyboard that would exhaust the memory, or the calendar.
HORIZON_LIMIT = 100_000
LONGEST_HORIZON_YEARS = 1000
NAME_PATTERN = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,62}")

# Columns of the project's own files beside an input's dimensions; DuckDB compares names without regard to case.
_RESERVED = {"item_id", "timestamp", "target", "filled", "type", "mean", "as_of", "level", "metric", "value"}
_RESERVED |= {"seasonal_naive", "points", "excluded"}
_RESERVED_PATTERN = re.compile(r"p\d+")


@dataclass(frozen=True)
class Attribute:
    """A column of the train files: its name in the schema, and its type."""

    name: str
    type: AttributeType


@dataclass(frozen=True)
class Filling:
    """How periods without a row get a value, by the service's names.

    middlefill fills between a series' first and last observation, backfill from its last observation to the end of the
    dataset. "nan" (our default; the service's was "zero") leaves a missing value, which Chronos models take as such;
    "value" fills with the number in `middlefill_value` or `backfill_value`, which are None for every other method.
    """

    middlefill: FillMethod = "nan"
    backfill: FillMethod = "nan"
    middlefill_value: float | None = None
    backfill_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class ForecastParams:
    """Everything params.json says, checked. Build it with `parse_params` or `load_params`.

    attributes: columns of the train files, in schema order. Those that are neither item, timestamp, target nor
        dimension are read over: rows that differ only in them are aggregated together, as in the service.
    item_column, timestamp_column, target_column: names within the schema; the domain's own (`DOMAINS`) unless
        `Chronos.Columns` says otherwise. `item_column` is None when the files hold a single series and have no such
        column; its item id is then `constant_item`.
    dimensions: ForecastDimensions, in schema order; each combination with the item is a series.
    horizon: periods to forecast, 1 to `HORIZON_LIMIT`; more than the service's 500 are allowed, and noted.
    quantiles: ascending, in hundredths from 0.01 to 0.99. May be empty when only the mean was asked for.
    timestamp_format: the service's tokens as written, see `timeseries.timestamp_format`.
    max_data_age: seconds, or None when freshness is not checked.
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
    alignment: Alignment = Alignment()
    horizon: int
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    mean: bool = False
    timestamp_format: str = DEFAULT_FORMAT
    aggregation: Aggregation = "sum"
    filling: Filling = Filling()
    perform_delete: bool = False
    bad_rows: BadRows = "fail"
    time_zone: str | None = None
    context_length: int | None = None
    batch_size: int | None = None
    seed: int = 0
    min_observations: int = 1
    max_data_age: float | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def grid(self) -> Grid:
        """The regular grid of the forecast frequency."""
        return Grid(self.frequency, self.alignment)

    @property
    def constant_item(self) -> str | None:
        """The item id of every row when the files have no item column (the dataset group's name), else None."""
        return self.dataset_group if self.item_column is None else None

    @property
    def digest(self) -> str:
        """SHA-256 of the parameters in canonical form: equal for files that mean the same."""
        text = json.dumps(to_document(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a parameter file.

    key: where, as "Datasets[0].Schema.Attributes[2].AttributeType". value: what stands there, as JSON text cut to a
    readable length, or None where something is missing. reason: what is wrong. mend: what to write instead.
    """

    key: str
    value: str | None
    reason: str
    mend: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {self.value}"
        return f"{self.key}{shown}: {self.reason}; {self.mend}"


class ParamsError(ValueError):
    """A parameter file that can't be used; `problems` holds everything wrong with it, and the text lists it all."""

    def __init__(self, problems: Sequence[Problem], source: str = "params.json") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems, self.source)


def quantile_name(level: float) -> str:
    """The column of a quantile: 0.1 -> "p10", 0.01 -> "p01".

    Raises ValueError for a level that is not one of the service's hundredths, 0.01 to 0.99.
    """
    percent = round(level * 100)
    if not 1 <= percent <= 99 or abs(level * 100 - percent) > 1e-6:
        raise ValueError(f"{level!r} is not a quantile level of the service: hundredths from 0.01 to 0.99")
    return f"p{percent:02d}"


def load_params(text: str | bytes, source: str = "params.json") -> ForecastParams:
    """Parameters from the text of a JSON file (UTF-8, with or without a byte order mark).

    Raises ParamsError with every problem; for text that is not JSON, with its line and column.
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
        document = json.loads(decoded, object_pairs_hook=_Object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        lines = error.doc.splitlines()
        line = lines[error.lineno - 1].strip() if error.lineno <= len(lines) else ""
        problem = Problem(where, _shown(line) if line else None, f"this is not JSON: {error.msg}", "correct it there")
        raise ParamsError([problem], source) from error
    except UnicodeDecodeError as error:
        problem = Problem(f"byte {error.start}", None, "the file is not UTF-8 text", "save it as UTF-8")
        raise ParamsError([problem], source) from error
    except RecursionError as error:
        problem = Problem("(file)", None, "objects are nested too deeply to be a parameter file", "flatten it")
        raise ParamsError([problem], source) from error
    except ValueError as error:
        problem = Problem("(file)", None, str(error), "write a plain number")
        raise ParamsError([problem], source) from error
    return parse_params(document, source=source)


def parse_params(document: Any, *, source: str = "params.json") -> ForecastParams:
    """Parameters from the file's JSON value. Raises ParamsError with every problem, not only the first."""
    reader = _Reader()
    params = reader.read(document)
    if reader.problems or params is None:
        raise ParamsError(reader.problems, source)
    return params


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
    featurization = {
        "AttributeName": params.target_column,
        "FeaturizationPipeline": [{"FeaturizationMethodName": "filling", "FeaturizationMethodParameters": filling}],
    }
    config: dict[str, Any] = {"ForecastFrequency": str(params.frequency), "Featurizations": [featurization]}
    if params.dimensions:
        config["ForecastDimensions"] = list(params.dimensions)
    predictor: dict[str, Any] = {"ForecastHorizon": params.horizon, "FeaturizationConfig": config}
    if boundary := _boundary_document(params.alignment):
        predictor["TimeAlignmentBoundary"] = boundary
    attributes = [{"AttributeName": item.name, "AttributeType": item.type} for item in params.attributes]
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
                "Schema": {"Attributes": attributes},
            }
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
    options = (
        ("Columns", columns, {}),
        ("BadRows", params.bad_rows, "fail"),
        ("TimeZone", params.time_zone, None),
        ("ContextLength", params.context_length, None),
        ("BatchSize", params.batch_size, None),
        ("Seed", params.seed, 0),
        ("MinObservations", params.min_observations, 1),
        ("MaxDataAge", params.max_data_age, None),
    )
    return {key: value for key, value, default in options if value != default}


# --- Reading ----------------------------------------------------------------------------------------------------------


class _Object(dict[str, Any]):
    """A JSON object that remembers keys given more than once, which `dict` would drop silently."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.duplicates = tuple(dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_MISSING: Any = object()

_SERVICE_ONLY = "it steered the service and has no effect here"
_GOVERNS_AWS = "access, encryption and tags are those of the place where this project runs"
_MODEL = "the forecast is made by one Chronos model, chosen by CHRONOS_BASE_MODEL"
_NOT_USED_YET = "such covariates are not used yet"

# Keys with a meaning for the service only, and why they have none here.
_IGNORED_ANYWHERE = {
    "Tags": _GOVERNS_AWS,
    "EncryptionConfig": _GOVERNS_AWS,
    "RoleArn": _GOVERNS_AWS,
    "KMSKeyArn": _GOVERNS_AWS,
}
_IGNORED_TOP = {
    "DataSource": "files are read from train/ in the store",
    "DatasetImportJobName": _SERVICE_ONLY,
    "ImportMode": "files in train/ are always imported together, and the newer one wins",
    "Format": "CSV and Parquet are told apart by the file's name",
    "TimeZone": "set Chronos.TimeZone to convert timestamps that carry an offset",
    "UseGeolocationForTimeZone": _NOT_USED_YET,
    "GeolocationFormat": _NOT_USED_YET,
}
_IGNORED_GROUP = {"DatasetGroupArn": _SERVICE_ONLY, "DatasetArns": _SERVICE_ONLY}
_IGNORED_PREDICTOR = {
    "PerformAutoML": _MODEL,
    "AutoMLOverrideStrategy": _MODEL,
    "AlgorithmArn": _MODEL,
    "PerformHPO": _MODEL,
    "HPOConfig": _MODEL,
    "TrainingParameters": _MODEL,
    "OptimizationMetric": _MODEL,
    "EvaluationParameters": "accuracy is measured on every partition whose horizon has been observed",
    "InputDataConfig": f"the data are the files in train/; holidays and weather: {_NOT_USED_YET}",
    "ExplainPredictor": "forecasts are not explained",
    "MonitorConfig": "accuracy of every partition is monitored always",
    "ReferencePredictorArn": _SERVICE_ONLY,
    "DatasetGroupArn": _SERVICE_ONLY,
    "PredictorArn": _SERVICE_ONLY,
}
_IGNORED_FORECAST = {
    "ForecastArn": _SERVICE_ONLY,
    "PredictorArn": _SERVICE_ONLY,
    "DatasetGroupArn": _SERVICE_ONLY,
    "TimeSeriesSelector": "every series of the dataset is forecast",
}
_IGNORED_DATASET = {
    "DatasetArn": _SERVICE_ONLY,
    "DatasetImportJobName": _SERVICE_ONLY,
    "DataSource": "files are read from train/ in the store",
}

_AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
_FILL_METHODS: tuple[FillMethod, ...] = get_args(FillMethod)
_ATTRIBUTE_TYPES: tuple[AttributeType, ...] = get_args(AttributeType)


def _shown(value: Any) -> str:
    """A value as it stood in the file, cut so that a message stays readable."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class _Section:
    """A JSON object being read: hands out its keys with type checks, and in the end reports those nobody asked for."""

    def __init__(self, reader: _Reader, value: Mapping[str, Any], path: str) -> None:
        self.reader = reader
        self.value = value
        self.path = path
        self.known: set[str] = set()

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        self.known.add(name)
        return name in self.value

    def take(self, name: str, *, required: str | None = None) -> Any:
        """The raw value of a key, or _MISSING; when missing and `required` (the mend) is given, a problem is noted."""
        if self.has(name):
            return self.value[name]
        if required is not None:
            self.reader.problem(self.key(name), _MISSING, "this key is required", required)
        return _MISSING

    def text(self, name: str, *, required: str | None = None) -> str | None:
        value = self.take(name, required=required)
        if value is _MISSING:
            return None
        if not isinstance(value, str) or not value.strip():
            self.reader.problem(self.key(name), value, "this must be text", "write it between double quotes")
            return None
        return value.strip()

    def boolean(self, name: str, default: bool) -> bool:
        value = self.take(name)
        if value is _MISSING:
            return default
        if not isinstance(value, bool):
            self.reader.problem(self.key(name), value, "this must be true or false", "write true or false, unquoted")
            return default
        return value

    def integer(self, name: str, *, low: int, high: int | None = None, required: str | None = None) -> int | None:
        value = self.take(name, required=required)
        if value is _MISSING:
            return None
        limits = f"{low} or more" if high is None else f"from {low} to {high}"
        if isinstance(value, bool) or not isinstance(value, int):
            self.reader.problem(
                self.key(name), value, "this must be a whole number", f"write a number {limits}, unquoted"
            )
            return None
        if value < low or (high is not None and value > high):
            self.reader.problem(self.key(name), value, "this is out of range", f"write a number {limits}")
            return None
        return value

    def number(self, name: str, *, positive: bool) -> float | None:
        value = self.take(name)
        if value is _MISSING:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            self.reader.problem(self.key(name), value, "this must be a number", "write a number, unquoted")
            return None
        if positive and value <= 0:
            self.reader.problem(self.key(name), value, "this is out of range", "write a number above 0")
            return None
        return float(value)

    def choice(self, name: str, choices: Sequence[str], *, required: bool = False) -> str | None:
        """One of `choices`, exactly as written there."""
        listed = f"write one of {', '.join(choices)}"
        value = self.take(name, required=listed if required else None)
        if value is _MISSING:
            return None
        if not isinstance(value, str) or value not in choices:
            hint = _nearest(value, choices)
            self.reader.problem(self.key(name), value, "this is not one of the values it can have", f"{hint or listed}")
            return None
        return value

    def section(self, name: str, *, required: str | None = None) -> _Section | None:
        value = self.take(name, required=required)
        return None if value is _MISSING else self.reader.section(value, self.key(name))

    def sections(self, name: str, *, required: str | None = None) -> list[_Section]:
        """The objects of a list. A lone object counts as a list of one."""
        value = self.take(name, required=required)
        if value is _MISSING:
            return []
        if isinstance(value, Mapping):
            value = [value]
        if not isinstance(value, list):
            self.reader.problem(self.key(name), value, "this must be a list", "write it between [ and ]")
            return []
        read = (self.reader.section(item, f"{self.key(name)}[{index}]") for index, item in enumerate(value))
        return [section for section in read if section is not None]

    def finish(self, ignored: Mapping[str, str] | None = None) -> None:
        """Report the keys that were never asked for: as notes when they had a meaning for the service, else errors."""
        reasons = {**_IGNORED_ANYWHERE, **(ignored or {})}
        for name, value in self.value.items():
            if name in self.known:
                continue
            if name in reasons:
                self.reader.note(f"{self.key(name)} = {_shown(value)} is not used: {reasons[name]}.")
                continue
            hint = _nearest(name, [*self.known, *reasons])
            mend = hint or "remove it; options of this project go under the key Chronos"
            self.reader.problem(self.key(name), value, "this key is unknown", mend)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _nearest(value: Any, choices: Sequence[str]) -> str:
    """A suggestion of the known word nearest to `value`, or nothing."""
    if not isinstance(value, str):
        return ""
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(value.casefold(), list(folded), n=1, cutoff=0.7)
    return f'did you mean "{folded[close[0]]}"?' if close else ""


@dataclass(frozen=True)
class _Target:
    """The target time series dataset of the file, as far as it could be read."""

    path: str
    attributes: tuple[Attribute, ...]
    data_frequency: Frequency | None
    timestamp_format: str | None


@dataclass(frozen=True)
class _Chronos:
    """The `Chronos` section."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    bad_rows: BadRows = "fail"
    time_zone: str | None = None
    context_length: int | None = None
    batch_size: int | None = None
    seed: int = 0
    min_observations: int = 1
    max_data_age: float | None = None


@dataclass(frozen=True)
class _Predictor:
    """The `Predictor` section, with both the older FeaturizationConfig and the AutoPredictor spelling."""

    frequency: Frequency | None = None
    horizon: int | None = None
    dimensions: tuple[tuple[str, str], ...] = ()  # (path, name)
    alignment: Alignment = Alignment()
    transformations: tuple[tuple[str, str, _Section], ...] = ()  # (path, attribute, parameters)
    types: Any = _MISSING


class _Reader:
    """Collects problems and notes while the sections of one file are read."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def problem(self, key: str, value: Any, reason: str, mend: str) -> None:
        self.problems.append(Problem(key, None if value is _MISSING else _shown(value), reason, mend))

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def section(self, value: Any, path: str) -> _Section | None:
        if not isinstance(value, Mapping):
            self.problem(path, value, "this must be an object", "write it between { and }")
            return None
        return _Section(self, value, path)

    def _duplicates(self, document: Any) -> None:
        """Report keys given twice in one object, wherever in the file."""
        pending: list[tuple[str, Any]] = [("", document)]
        while pending:
            path, value = pending.pop()
            if isinstance(value, Mapping):
                children = [(f"{path}.{name}" if path else str(name), child) for name, child in value.items()]
                for name in getattr(value, "duplicates", ()):
                    key = f"{path}.{name}" if path else name
                    self.problem(key, _MISSING, "this key is given twice in one object", "keep one of them")
            elif isinstance(value, list):
                children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
            else:
                continue
            pending += reversed(children)

    def read(self, document: Any) -> ForecastParams | None:
        """The parameters, or None when problems were found."""
        if not isinstance(document, Mapping):
            self.problem("(file)", document, "a parameter file is one JSON object", "write it between { and }")
            return None
        top = self.section(document, "")
        assert top is not None  # noqa: S101 - it is a mapping, see above
        body = self._unwrap(top)

        self._duplicates(document)
        group_name, domain = self._group(body)
        predictor = self._predictor(body)
        quantiles, mean = self._forecast(body, predictor.types)
        pattern = self._timestamp_format(top, "TimestampFormat")
        target = self._datasets(top, domain)
        perform_delete = top.boolean("PerformDelete", False)
        chronos = self._chronos(top, domain)
        top.finish(_IGNORED_TOP)
        if body is not top:
            body.finish()
        pattern = self._one_format(pattern, target)
        columns = self._columns(domain, target, chronos)
        frequencies = self._frequencies(predictor, target, pattern)
        dimensions = self._dimensions(predictor, target, columns)
        aggregation, filling = self._filling(predictor, target, columns)
        if self.problems or columns is None or target is None or frequencies is None:
            return None
        if group_name is None or domain is None or predictor.horizon is None:
            return None
        self._note_unused(target, columns, dimensions)
        item, timestamp, target_column = columns
        return ForecastParams(
            dataset_group=group_name,
            domain=domain,
            attributes=target.attributes,
            item_column=item,
            timestamp_column=timestamp,
            target_column=target_column,
            dimensions=dimensions,
            data_frequency=frequencies[0],
            frequency=frequencies[1],
            alignment=predictor.alignment,
            horizon=predictor.horizon,
            quantiles=quantiles,
            mean=mean,
            timestamp_format=pattern,
            aggregation=aggregation,
            filling=filling,
            perform_delete=perform_delete,
            bad_rows=chronos.bad_rows,
            time_zone=chronos.time_zone,
            context_length=chronos.context_length,
            batch_size=chronos.batch_size,
            seed=chronos.seed,
            min_observations=chronos.min_observations,
            max_data_age=chronos.max_data_age,
            notes=tuple(self.notes),
        )

    def _unwrap(self, top: _Section) -> _Section:
        """Where DatasetGroup, Predictor and Forecast stand: at the top, or in the template's ForecastParameters."""
        if not top.has("ForecastParameters"):
            return top
        wrapped = top.sections("ForecastParameters")
        for name in ("DatasetGroup", "Predictor", "Forecast"):
            if top.has(name) and wrapped:
                self.problem(name, _MISSING, "this stands both here and in ForecastParameters", "keep one of them")
        if len(wrapped) != 1:
            self.problem(
                "ForecastParameters",
                _MISSING,
                f"this must hold one set of parameters, not {len(wrapped)}",
                "give every dataset group a store and a params.json of its own",
            )
        return wrapped[0] if wrapped else top

    # --- DatasetGroup, Predictor, Forecast

    def _group(self, body: _Section) -> tuple[str | None, str | None]:
        group = body.section("DatasetGroup", required='write {"DatasetGroupName": ..., "Domain": ...}')
        if group is None:
            return None, None
        name = self._name(group, "DatasetGroupName", required="name your data, for example energy")
        domain = group.choice("Domain", tuple(DOMAINS), required=True)
        group.finish(_IGNORED_GROUP)
        return name, domain

    def _name(self, section: _Section, key: str, *, required: str | None = None) -> str | None:
        name = section.text(key, required=required)
        if name is not None and not NAME_PATTERN.fullmatch(name):
            self.problem(section.key(key), name, *_BAD_NAME)
            return None
        return name

    def _resource_name(self, section: _Section, key: str) -> None:
        """PredictorName and its like: the service named its resources so; here nothing is named by them."""
        if section.has(key) and section.text(key) is not None:
            self.note(f"{section.key(key)} is not used: nothing here is named by it.")

    def _predictor(self, body: _Section) -> _Predictor:
        predictor = body.section("Predictor", required='write {"ForecastHorizon": ..., "FeaturizationConfig": ...}')
        if predictor is None:
            return _Predictor()
        self._resource_name(predictor, "PredictorName")
        mend = "write the number of periods to forecast"
        horizon = predictor.integer("ForecastHorizon", low=1, high=HORIZON_LIMIT, required=mend)
        if horizon is not None and horizon > SERVICE_HORIZON_LIMIT:
            self.note(
                f"Predictor.ForecastHorizon = {horizon} is beyond the service's limit of {SERVICE_HORIZON_LIMIT}; "
                f"it is forecast all the same, with growing uncertainty."
            )
        frequency_keys: list[tuple[str, str]] = []
        dimensions: list[tuple[str, str]] = []
        transformations: list[tuple[str, str, _Section]] = []
        config = predictor.section("FeaturizationConfig")
        for section in (config, predictor):
            if section is None:
                continue
            if (text := section.text("ForecastFrequency")) is not None:
                frequency_keys.append((section.key("ForecastFrequency"), text))
            dimensions += self._dimension_names(section)
        if config is not None:
            transformations += self._featurizations(config)
            config.finish()
        data = predictor.section("DataConfig")
        if data is not None:
            transformations += self._attribute_configs(data)
            data.finish({"DatasetGroupArn": _SERVICE_ONLY, "AdditionalDatasets": f"holidays, weather: {_NOT_USED_YET}"})
        frequency = self._one_frequency(
            frequency_keys, has_wrong=config is not None and "ForecastFrequency" in config.value
        )
        if frequency is not None and horizon is not None:
            years = horizon * frequency.approximate_seconds / Frequency(1, Unit.YEAR).approximate_seconds
            if years > LONGEST_HORIZON_YEARS:
                reason = f"this reaches {years:,.0f} years ahead"
                self.problem(predictor.key("ForecastHorizon"), horizon, reason, "count it in periods of the forecast")
        alignment = self._alignment(predictor, frequency)
        types = predictor.take("ForecastTypes")
        predictor.finish(_IGNORED_PREDICTOR)
        return _Predictor(frequency, horizon, tuple(dimensions), alignment, tuple(transformations), types)

    def _one_frequency(self, given: list[tuple[str, str]], *, has_wrong: bool) -> Frequency | None:
        """The forecast frequency, which may stand in either of two places, but must not contradict itself."""
        parsed = [(key, self._frequency(text, key)) for key, text in given]
        if not parsed:
            if not has_wrong:
                self.problem(
                    "Predictor.FeaturizationConfig.ForecastFrequency",
                    _MISSING,
                    "this key is required",
                    f"write one of {VALID_FREQUENCIES}",
                )
            return None
        if len(parsed) == 2 and parsed[0][1] != parsed[1][1] and None not in (parsed[0][1], parsed[1][1]):
            self.problem(parsed[1][0], given[1][1], f"this contradicts {parsed[0][0]}", "keep one of them")
        return parsed[0][1]

    def _frequency(self, text: str, key: str) -> Frequency | None:
        try:
            return Frequency.parse(text)
        except ValueError as error:
            self.problem(key, text, "this is not a frequency", str(error).partition("; ")[2])
            return None

    def _dimension_names(self, section: _Section) -> list[tuple[str, str]]:
        """ForecastDimensions: a list of names; one name as text, as in the pipeline's template, will do."""
        value = section.take("ForecastDimensions")
        key = section.key("ForecastDimensions")
        if value is _MISSING or value is None or value == []:
            return []
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.problem(key, value, "this must be a list of column names", 'write for example ["store_id"]')
            return []
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            self.problem(key, value, f"{', '.join(duplicates)} is given twice", "name every dimension once")
        return [(key, name) for name in dict.fromkeys(names)]

    def _featurizations(self, config: _Section) -> Iterator[tuple[str, str, _Section]]:
        for featurization in config.sections("Featurizations"):
            attribute = featurization.text("AttributeName", required="name the column that is filled")
            pipeline = featurization.sections("FeaturizationPipeline", required="write a list of one method")
            if len(pipeline) > 1:
                key = featurization.key("FeaturizationPipeline")
                self.problem(key, _MISSING, f"this has {len(pipeline)} methods", 'keep the one called "filling"')
            for method in pipeline[:1]:
                method.choice("FeaturizationMethodName", ("filling",), required=True)
                parameters = method.section("FeaturizationMethodParameters")
                method.finish()
                if attribute is not None and parameters is not None:
                    yield featurization.key("AttributeName"), attribute, parameters
            featurization.finish()

    def _attribute_configs(self, data: _Section) -> Iterator[tuple[str, str, _Section]]:
        for attribute_config in data.sections("AttributeConfigs"):
            attribute = attribute_config.text("AttributeName", required="name the column that is filled")
            parameters = attribute_config.section("Transformations", required="write the filling methods")
            attribute_config.finish()
            if attribute is not None and parameters is not None:
                yield attribute_config.key("AttributeName"), attribute, parameters

    def _alignment(self, predictor: _Section, frequency: Frequency | None) -> Alignment:
        boundary = predictor.section("TimeAlignmentBoundary")
        if boundary is None:
            return Alignment()
        month = boundary.choice("Month", MONTH_NAMES)
        day_of_month = boundary.integer("DayOfMonth", low=1, high=31)
        day_of_week = boundary.choice("DayOfWeek", DAY_NAMES)
        hour = boundary.integer("Hour", low=0, high=23)
        boundary.finish()
        alignment = Alignment(
            MONTH_NAMES.index(month) + 1 if month else None,
            day_of_month,
            DAY_NAMES.index(day_of_week) if day_of_week else None,
            hour,
        )
        if frequency is not None:
            try:
                Grid(frequency, alignment)
            except ValueError as error:
                self.problem(boundary.path, boundary.value, str(error), "remove the parts that do not apply")
                return Alignment()
        return alignment

    def _forecast(self, body: _Section, predictor_types: Any) -> tuple[tuple[float, ...], bool]:
        """The quantiles and whether a mean is wanted, from Forecast, else from Predictor, else the service's default."""
        given: list[tuple[str, tuple[tuple[float, ...], bool] | None]] = []
        forecast = body.section("Forecast")
        if forecast is not None:
            self._resource_name(forecast, "ForecastName")
            for name in ("ForecastTypes", "ForecastQuantiles"):
                if (value := forecast.take(name)) is not _MISSING:
                    given.append((forecast.key(name), self._types(value, forecast.key(name))))
            forecast.finish(_IGNORED_FORECAST)
        if len(given) == 2 and given[0][1] != given[1][1]:
            self.problem(given[1][0], _MISSING, f"this contradicts {given[0][0]}", "keep one of them")
        if predictor_types is not _MISSING:
            types = self._types(predictor_types, "Predictor.ForecastTypes")
            if given and given[0][1] != types:
                self.note(f"Predictor.ForecastTypes is not used: {given[0][0]} says what to forecast.")
            given.append(("Predictor.ForecastTypes", types))
        if not given or given[0][1] is None:
            return DEFAULT_QUANTILES, False
        return given[0][1]

    def _types(self, value: Any, key: str) -> tuple[tuple[float, ...], bool] | None:
        """Forecast types such as ["0.10", "mean"]: ascending levels, and whether the mean is among them."""
        mend = 'write a list of quantiles from "0.01" to "0.99" and "mean", for example ["0.10", "0.50", "0.90"]'
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, list) or not value:
            self.problem(key, value, "this must be a list that is not empty", mend)
            return None
        levels: list[float] = []
        mean = False
        good = True
        for index, item in enumerate(value):
            level = _level(item)
            if level is None and item != "mean":
                self.problem(f"{key}[{index}]", item, "this is not a forecast type", _level_mend(item))
                good = False
            elif level in levels or (item == "mean" and mean):
                self.problem(f"{key}[{index}]", item, "this is given twice", "keep one of them")
                good = False
            elif level is None:
                mean = True
            else:
                levels.append(level)
        return (tuple(sorted(levels)), mean) if good else None

    # --- Datasets

    def _datasets(self, top: _Section, domain: str | None) -> _Target | None:
        mend = f'describe the train files: [{{"DatasetType": "{TARGET}", "Schema": ...}}]'
        sections = top.sections("Datasets", required=mend)
        targets: list[_Target] = []
        had_type_problem = False
        for section in sections:
            self._resource_name(section, "DatasetName")
            kind = section.choice("DatasetType", (TARGET, RELATED, METADATA), required=True)
            had_type_problem |= kind is None
            own_domain = section.choice("Domain", tuple(DOMAINS))
            if own_domain is not None and domain is not None and own_domain != domain:
                self.problem(
                    section.key("Domain"),
                    own_domain,
                    f"this differs from DatasetGroup.Domain, {domain}",
                    "give every dataset the domain of its group",
                )
            frequency = self._data_frequency(section)
            own_pattern = self._timestamp_format(section, "TimestampFormat")
            attributes = self._attributes(section, strict=kind != METADATA)
            section.finish(_IGNORED_DATASET)
            if kind == TARGET:
                targets.append(_Target(section.path, attributes, frequency, own_pattern))
            elif kind is not None:
                what = "related time series" if kind == RELATED else "item metadata"
                self.note(f"{section.path}: {what} are accepted, but not used yet.")
        if len(targets) > 1:
            second = f"{targets[1].path}.DatasetType"
            self.problem(
                second, TARGET, f"there are {len(targets)} target datasets", "describe one; all files share it"
            )
        if not targets and top.has("Datasets") and not had_type_problem:
            self.problem("Datasets", _MISSING, f"none of them is a {TARGET}", mend)
        return targets[0] if targets else None

    def _data_frequency(self, section: _Section) -> Frequency | None:
        found = None
        # DatasetFrequency is the spelling of the pipeline's template.
        for name in ("DataFrequency", "DatasetFrequency"):
            text = section.text(name)
            if text is not None:
                frequency = self._frequency(text, section.key(name))
                if found is not None and frequency is not None and frequency != found:
                    self.problem(section.key(name), text, "this contradicts DataFrequency", "keep one of them")
                found = found or frequency
        return found

    def _attributes(self, section: _Section, *, strict: bool) -> tuple[Attribute, ...]:
        """The columns of a dataset: `{"Attributes": [...]}`, or the template's `{"item_id": "string", ...}`."""
        schema = section.section("Schema", required='write {"Attributes": [...]} with the columns, in file order')
        if schema is None:
            return ()
        rows: list[tuple[str, str, Any, str, Any]] = []  # key of the name, name, type's key, ...
        if "Attributes" in schema.value:
            for attribute in schema.sections("Attributes"):
                name = attribute.text("AttributeName", required="name the column")
                kind = attribute.take("AttributeType", required=f"write one of {', '.join(_ATTRIBUTE_TYPES)}")
                attribute.finish()
                if name is not None and kind is not _MISSING:
                    rows.append((attribute.key("AttributeName"), name, name, attribute.key("AttributeType"), kind))
            schema.finish()
        else:
            for name, kind in schema.value.items():
                rows.append((schema.key(name), name, kind, schema.key(name), kind))
        if not rows and not any(problem.key.startswith(schema.path) for problem in self.problems):
            self.problem(schema.path, schema.value, "there are no columns", "list the columns of the files, in order")
        attributes: list[Attribute] = []
        for name_key, name, name_value, type_key, kind in rows:
            if not NAME_PATTERN.fullmatch(name):
                self.problem(name_key, name_value, *_BAD_NAME)
            elif any(name.casefold() == other.name.casefold() for other in attributes):
                self.problem(name_key, name_value, f"the column {name} is given twice", "name every column once")
            elif strict and name.casefold() == "type":
                self.problem(
                    name_key, name_value, "type is a column of forecast.csv", "name it otherwise in the schema"
                )
            else:
                known = self._attribute_type(kind, type_key)
                if known is not None:
                    attributes.append(Attribute(name, known))
        return tuple(attributes)

    def _attribute_type(self, kind: Any, key: str) -> AttributeType | None:
        if kind == "geolocation":
            self.note(f'{key} = "geolocation" is read as a string: weather is not used.')
            return "string"
        for known in _ATTRIBUTE_TYPES:
            if kind == known:
                return known
        mend = _nearest(kind, _ATTRIBUTE_TYPES) or f"write one of {', '.join(_ATTRIBUTE_TYPES)}"
        self.problem(key, kind, "this is not a type of column", mend)
        return None

    def _timestamp_format(self, section: _Section, name: str) -> str | None:
        value = section.take(name)
        if value is _MISSING:
            return None
        mend = f'write for example "{DEFAULT_FORMAT}" or "yyyy-MM-dd"'
        if not isinstance(value, str) or not value:
            self.problem(section.key(name), value, "this must be text", mend)
            return None
        try:
            parse_pattern(value)
        except TimestampFormatError as error:
            self.problem(section.key(name), value, str(error), mend)
            return None
        return value

    def _one_format(self, top_level: str | None, target: _Target | None) -> str:
        """The format, which may stand at the top or in the dataset, but must not contradict itself."""
        own = None if target is None else target.timestamp_format
        if target is not None and own is not None and top_level is not None and own != top_level:
            key = f"{target.path}.TimestampFormat"
            self.problem(key, own, "this contradicts TimestampFormat at the top", "keep one of them")
        return own or top_level or DEFAULT_FORMAT

    # --- What must fit together

    def _columns(
        self, domain: str | None, target: _Target | None, chronos: _Chronos
    ) -> tuple[str | None, str, str] | None:
        """Names of the item, timestamp and target columns in the schema."""
        if domain is None or target is None:
            return None
        types = {attribute.name: attribute.type for attribute in target.attributes}
        names = DOMAINS[domain]
        wanted: list[tuple[str, tuple[AttributeType, ...]]] = [
            (names.item, ("string",)),
            (names.timestamp, ("timestamp",)),
            (names.target, ("float", "integer")),
        ]
        found: list[str | None] = []
        good = True
        for field_name, allowed in wanted:
            column = chronos.columns.get(field_name, field_name)
            found.append(column)
            if column is None:
                continue
            key = f"{target.path}.Schema.Attributes"
            if column not in types:
                good = False
                if not any(problem.key.startswith(f"{target.path}.Schema") for problem in self.problems):
                    self.problem(
                        key, list(types), f"the column {column} is missing", _missing_column(field_name, domain)
                    )
            elif types[column] not in allowed:
                good = False
                self.problem(
                    key, types[column], f"{column} has a type that {field_name} can't have", f'write "{allowed[0]}"'
                )
        present = [column for column in found if column is not None]
        if len(set(present)) < len(present):
            self.problem("Chronos.Columns", dict(chronos.columns), "one column has two roles", "give each its own")
            good = False
        item, timestamp, value = found
        return (item, timestamp, value) if good and timestamp is not None and value is not None else None

    def _frequencies(
        self, predictor: _Predictor, target: _Target | None, pattern: str
    ) -> tuple[Frequency, Frequency] | None:
        """Data and forecast frequency, the former no coarser than the latter and told apart by the timestamps."""
        forecast = predictor.frequency
        data = target.data_frequency if target is not None else None
        if target is not None and data is None and forecast is not None:
            data = forecast
            if not any(problem.key.startswith(f"{target.path}.Data") for problem in self.problems):
                self.note(f"{target.path}.DataFrequency is not given; it is taken to be the forecast's, {forecast}.")
        if data is None or forecast is None or target is None:
            return None
        if data.approximate_seconds > forecast.approximate_seconds:
            self.problem(
                f"{target.path}.DataFrequency",
                str(data),
                f"data {data.description} can't be forecast {forecast.description}",
                f'set ForecastFrequency to "{data}" or coarser',
            )
        units = list(Unit)  # from the finest to the coarsest
        if units.index(data.unit) < units.index(resolution(pattern)):
            self.problem(
                "TimestampFormat",
                pattern,
                f"this can't tell apart rows {data.description}",
                f'write for example "{DEFAULT_FORMAT}", or correct DataFrequency "{data}"',
            )
        return data, forecast

    def _dimensions(
        self, predictor: _Predictor, target: _Target | None, columns: tuple[str | None, str, str] | None
    ) -> tuple[str, ...]:
        if target is None or columns is None:
            return ()
        types = {attribute.name: attribute.type for attribute in target.attributes}
        for key, name in predictor.dimensions:
            if name in columns:
                self.problem(key, name, f"{name} is not an extra column", "name only further columns of the schema")
            elif name not in types:
                mend = _nearest(name, list(types)) or f"name columns of {target.path}.Schema"
                self.problem(key, name, f"the schema has no column {name}", mend)
            elif types[name] != "string":
                self.problem(key, name, f"a dimension must be a string, not {types[name]}", 'make its type "string"')
            elif name.casefold() in _RESERVED or _RESERVED_PATTERN.fullmatch(name.casefold()):
                self.problem(
                    key, name, "this name is a column of the forecast files", "name it otherwise in the schema"
                )
        chosen = {name for _, name in predictor.dimensions}
        return tuple(attribute.name for attribute in target.attributes if attribute.name in chosen)

    def _filling(
        self, predictor: _Predictor, target: _Target | None, columns: tuple[str | None, str, str] | None
    ) -> tuple[Aggregation, Filling]:
        aggregation: Aggregation = "sum"
        filling = Filling()
        seen = False
        for key, attribute, parameters in predictor.transformations:
            if columns is None or target is None or attribute == columns[2]:
                if seen:
                    self.problem(key, attribute, "this column is filled twice", "keep one of them")
                seen = True
                aggregation, filling = self._transformations(parameters)
            elif any(attribute == other.name for other in target.attributes):
                self.problem(key, attribute, "only the target can be filled", f'write "{columns[2]}"')
            else:
                self.note(f"{key} = {_shown(attribute)} is not used: related time series are not used yet.")
        if not seen:
            self.note('Gaps stay missing (middlefill and backfill "nan"); the service\'s default was "zero".')
        return aggregation, filling

    def _transformations(self, parameters: _Section) -> tuple[Aggregation, Filling]:
        aggregation = parameters.choice("aggregation", _AGGREGATIONS) or "sum"
        parameters.choice("frontfill", ("none",))
        methods: dict[str, Any] = {}
        for name in ("middlefill", "backfill"):
            method = parameters.choice(name, _FILL_METHODS)
            if method is None and not parameters.has(name):
                self.note(f'{parameters.key(name)} is not given: "nan" is used; the service\'s default was "zero".')
            methods[name] = method or "nan"
            methods[f"{name}_value"] = self._fill_value(parameters, name, method)
        if parameters.has("futurefill"):
            self.problem(
                parameters.key("futurefill"),
                parameters.value["futurefill"],
                "the target has no future to fill",
                "remove it; it is for related time series",
            )
        parameters.finish()
        return _AGGREGATIONS[_AGGREGATIONS.index(aggregation)], Filling(**methods)  # type: ignore[arg-type]

    def _fill_value(self, parameters: _Section, name: str, method: str | None) -> float | None:
        """`<name>_value`: a number, as text as the service has it or plain; given if and only if the method is value."""
        key = f"{name}_value"
        value = parameters.take(key)
        if value is _MISSING:
            if method == "value":
                self.problem(parameters.key(key), _MISSING, f'{name} is "value", but no value is given', 'write "0"')
            return None
        number = _number(value)
        if number is None:
            self.problem(parameters.key(key), value, "this must be a number", 'write for example "2.5"')
            return None
        if method != "value":
            self.problem(parameters.key(key), value, f'{name} is not "value"', f'write "{name}": "value", or remove it')
            return None
        return number

    def _note_unused(self, target: _Target, columns: tuple[str | None, str, str], dimensions: tuple[str, ...]) -> None:
        for attribute in target.attributes:
            if attribute.name not in columns and attribute.name not in dimensions:
                how = ""
                if attribute.type == "string":
                    how = "; rows that differ only in it are aggregated (name it in ForecastDimensions to keep them apart)"
                self.note(f"The column {attribute.name} is not used{how}.")

    # --- Chronos

    def _chronos(self, top: _Section, domain: str | None) -> _Chronos:
        chronos = top.section("Chronos")
        if chronos is None:
            return _Chronos()
        columns = self._column_roles(chronos, domain)
        bad_rows: BadRows = "quarantine" if chronos.choice("BadRows", get_args(BadRows)) == "quarantine" else "fail"
        time_zone = chronos.text("TimeZone")
        if time_zone is not None and time_zone not in zoneinfo.available_timezones():
            mend = _nearest(time_zone, sorted(zoneinfo.available_timezones())) or 'write for example "Europe/Berlin"'
            self.problem(chronos.key("TimeZone"), time_zone, "this is not an IANA time zone", mend)
        read = _Chronos(
            columns=columns,
            bad_rows=bad_rows,
            time_zone=time_zone,
            context_length=chronos.integer("ContextLength", low=1),
            batch_size=chronos.integer("BatchSize", low=1),
            seed=chronos.integer("Seed", low=0, high=2**32 - 1) or 0,
            min_observations=chronos.integer("MinObservations", low=1) or 1,
            max_data_age=chronos.number("MaxDataAge", positive=True),
        )
        chronos.finish()
        return read

    def _column_roles(self, chronos: _Section, domain: str | None) -> dict[str, str | None]:
        section = chronos.section("Columns")
        if section is None or domain is None:
            return {}
        names = DOMAINS[domain]
        roles: dict[str, str | None] = {}
        for field_name in (names.item, names.timestamp, names.target):
            value = section.take(field_name)
            if value is _MISSING:
                continue
            if value is None and field_name == names.item:
                roles[field_name] = None
            elif not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
                self.problem(section.key(field_name), value, *_BAD_NAME)
            else:
                roles[field_name] = value
        section.finish()
        return roles


_BAD_NAME = (
    "this is not a name the service takes",
    "write a letter, then letters, digits and _, at most 63 of them",
)


def _missing_column(field_name: str, domain: str) -> str:
    mend = f"the domain {domain} needs it; add it, or say which column holds {field_name} in Chronos.Columns"
    if field_name == DOMAINS[domain].item:
        mend += f' ({{"{field_name}": null}} when the files hold a single series)'
    return mend


def _number(value: Any) -> float | None:
    """A finite number given plainly or as text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _level(item: Any) -> float | None:
    """A quantile level in hundredths from 0.01 to 0.99, given as text (".5", "0.50") or a number, else None."""
    number = _number(item)
    if number is None or (isinstance(item, str) and not re.fullmatch(r"0?\.\d+", item.strip())):
        return None
    percent = round(number * 100)
    return percent / 100 if 1 <= percent <= 99 and abs(number * 100 - percent) < 1e-6 else None


def _level_mend(item: Any) -> str:
    """What to write instead of a bad forecast type, guessing at percentages such as 90 or "p90"."""
    if isinstance(item, str) and (match := re.fullmatch(r"[pP]?(\d{1,2})%?", item.strip())):
        percent = int(match[1])
    elif isinstance(item, int) and not isinstance(item, bool):
        percent = item
    else:
        percent = 0
    if 1 <= percent <= 99:
        return f'did you mean "0.{percent:02d}"?'
    return 'write a quantile in hundredths, "0.01" to "0.99", or "mean"'
