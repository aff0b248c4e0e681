"""What the endpoint speaks: requests to typed values, forecasts to answers.

Belongs here: the schema, its limits, and errors that name the field and the mend. Does not belong here: HTTP
(`endpoint_app`), which requests share a pass (`batching`), how a forecast is made (`predictor`).

`application/json` is the schema of the Chronos endpoints of SageMaker JumpStart:

```
{"inputs": [{"target": [1.0, null, 3.5], "item_id": "a", "start": "2024-01-01T00:00:00",
             "past_covariates": {"price": [...]}, "future_covariates": {"price": [...]}}],
 "parameters": {"prediction_length": 24, "quantile_levels": [0.1, 0.5, 0.9], "freq": "h",
                "batch_size": 256, "cross_learning": false}}
{"predictions": [{"mean": [...], "0.1": [...], "0.5": [...], "0.9": [...], "item_id": "a", "start": "..."}]}
```

- `null` is a period without an observation. A `target` of lists is one series of several dimensions; it, covariates and
  cross-learning are Chronos-2's, and refused where the model is of another family.
- `start` wants `freq` and `freq` wants `start`; the forecast's `start` is as many periods later as `target` is long.
- Quantile levels that the model doesn't forecast are refused, where JumpStart clips them, and so are unknown keys. `mean`
  is a mean, where the library's Chronos-2 gives the median under that name.
- `{"inputs": [1, 2, 3]}` is one series, and answered as one.

`application/jsonlines`: each line is an element of `inputs`, or a whole request; each gives one line, an element of
`predictions` or a whole answer. `text/csv`: columns item_id, timestamp, target; only `target` must be there, and without
a header either all three in this order or the target alone. Answers have a row for each period.

Parameters of a CSV or JSON Lines request, and those that a JSON one doesn't give, come from the query string
(`?prediction_length=24&quantile_levels=0.1,0.9`) or, since `InvokeEndpoint` has none, from the header
`X-Amzn-SageMaker-Custom-Attributes` in the same form.

https://github.com/amazon-science/chronos-forecasting (notebooks, deploy-chronos-to-amazon-sagemaker)
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.frequencies import Frequency, Unit
from chronos_assets.workloads.contract import LONGEST_ANSWER

Floats = NDArray[np.float64]
ContentType = Literal["application/json", "application/jsonlines", "text/csv"]

JSON: ContentType = "application/json"
JSON_LINES: ContentType = "application/jsonlines"
CSV: ContentType = "text/csv"
CONTENT_TYPES: tuple[ContentType, ...] = (JSON, JSON_LINES, CSV)

_OTHER_NAMES: Mapping[str, ContentType] = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES}

LARGEST = 1e290  # what `models.forecasting` still scales
_CSV_COLUMNS = ("item_id", "timestamp", "target")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ANCHORED = re.compile(r"([0-9]*(?:W|Q|QS|QE|A|AS|Y|YS|YE))-[A-Z]{3}")
_MAX_ITEM_ID = 1024


class InvocationError(Exception):
    """A request that can't be answered.

    Attributes:
        status: of the HTTP answer.
        field: where, as `inputs[0].target[3]`.
        message: what is wrong there and how to mend it.
    """

    def __init__(self, field: str, message: str, status: int = 400) -> None:
        super().__init__(f"{field}: {message}")
        self.status = status
        self.field = field
        self.message = message

    def document(self) -> dict[str, Any]:
        """The answer's JSON value."""
        return {"error": {"field": self.field, "message": self.message}}


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for.

    Attributes:
        max_body_bytes: of a request; SageMaker's own limit is 25 MB.
        max_series, max_points: series, and values of all of them (covariates too).
        max_prediction_length, max_quantiles: of one forecast.
        max_answer_values: numbers of an answer.
    """

    max_body_bytes: int = 6 * 1024 * 1024
    max_series: int = 1000
    max_points: int = 1_000_000
    max_prediction_length: int = LONGEST_ANSWER
    max_quantiles: int = 99
    max_answer_values: int = 1_000_000


@dataclass(frozen=True)
class Parameters:
    """How to forecast. The defaults are JumpStart's; `batch_size` says how many series may learn from each other."""

    prediction_length: int = 1
    quantile_levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    freq: Frequency | None = None
    batch_size: int = 256
    cross_learning: bool = False


@dataclass(frozen=True)
class Schema:
    """What this endpoint accepts.

    Attributes:
        model: its name, for messages.
        quantile_range: lowest and highest level that may be asked for.
        joint: whether the model reads covariates and several dimensions, and learns across series.
        defaults: of parameters that a request doesn't give.
    """

    model: str
    quantile_range: tuple[float, float]
    joint: bool
    limits: Limits = Limits()
    defaults: Parameters = Parameters()


Covariates = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SeriesInput:
    """One series of a request.

    Attributes:
        place: where in the request, for messages.
        target: (T,), or (D, T) of several dimensions; NaN where nothing was observed.
        start: of the first period.
        past_covariates: name -> (T,) float64 or text; future_covariates: name -> (prediction length,).
    """

    place: str
    target: Floats
    item_id: str | None = None
    start: datetime | None = None
    past_covariates: Covariates = field(default_factory=dict)
    future_covariates: Covariates = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """Series that are forecast with the same parameters. `lone` is one that is answered without `predictions` around."""

    inputs: tuple[SeriesInput, ...]
    parameters: Parameters
    lone: bool = False

    @property
    def joint(self) -> bool:
        """Whether it asks for what only a model that reads several series at once can do."""
        return self.parameters.cross_learning or any(
            item.target.ndim > 1 or item.past_covariates or item.future_covariates for item in self.inputs
        )


@dataclass(frozen=True)
class Prediction:
    """Forecast of one series: `mean` (H,) and `quantiles` (H, W) at the levels asked for; (D, H) and (D, H, W)."""

    mean: Floats
    quantiles: Floats


def content_type(header: str | None) -> ContentType:
    """The content type of a request's body; JSON if it names none.

    Raises:
        InvocationError: 415, it is none of `CONTENT_TYPES`.
    """
    if not header or not header.strip():
        return JSON
    name, *options = (part.strip().lower() for part in header.split(";"))
    kind = _known(name)
    charset = next(
        (option.partition("=")[2].strip('"') for option in options if option.startswith("charset=")), "utf-8"
    )
    if kind is None or charset not in ("utf-8", "utf8", "us-ascii"):
        raise InvocationError(
            "Content-Type", f"{_shown(header)} is not read here: send {', '.join(CONTENT_TYPES)} in UTF-8", 415
        )
    return kind


def accepted(header: str | None, asked: ContentType) -> ContentType:
    """The content type of the answer: the first that `Accept` names with the highest weight, else that of the request.

    Raises:
        InvocationError: 406, it names none of `CONTENT_TYPES`.
    """
    if not header or not header.strip():
        return asked
    best: tuple[float, ContentType] | None = None
    for part in header.split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        kind = asked if name in ("*/*", f"{asked.split('/')[0]}/*") else _known(name)
        weight = next((_weight(option[2:]) for option in options if option.startswith("q=")), 1.0)
        if kind is not None and weight > 0 and (best is None or weight > best[0]):
            best = weight, kind
    if best is None:
        raise InvocationError("Accept", f"{_shown(header)} is not given here: ask for {', '.join(CONTENT_TYPES)}", 406)
    return best[1]


def _known(name: str) -> ContentType | None:
    return next((kind for kind in CONTENT_TYPES if kind == name), _OTHER_NAMES.get(name))


def _weight(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def parse(body: bytes, kind: ContentType, schema: Schema, query: str = "", attributes: str = "") -> tuple[Call, ...]:
    """The calls of a request; one but for JSON Lines.

    Args:
        body: as it came.
        kind: its content type.
        schema: what may be asked for.
        query: the query string; attributes: SageMaker's custom attributes, of which only known parameters are read.

    Raises:
        InvocationError: something is missing, unknown, impossible or too much.
    """
    if len(body) > schema.limits.max_body_bytes:
        raise too_large(schema.limits)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvocationError("body", f"byte {error.start} is not UTF-8: send UTF-8 text") from None
    schema = replace(schema, defaults=_from_text(query, attributes, schema))
    if kind == CSV:
        calls: tuple[Call, ...] = (_parse_csv(text, schema),)
    elif kind == JSON_LINES:
        calls = tuple(_parse_lines(text, schema))
    else:
        calls = (_parse_request(_load(text, ""), schema, ""),)
    _check_size(calls, schema.limits)
    return calls


def too_large(limits: Limits) -> InvocationError:
    """The error of a body that is longer than the limit."""
    return InvocationError(
        "body", f"more than {limits.max_body_bytes} bytes: send fewer series or shorter targets at once", 413
    )


def _check_size(calls: Sequence[Call], limits: Limits) -> None:
    series = sum(len(call.inputs) for call in calls)
    if series > limits.max_series:
        raise InvocationError("inputs", f"{series} series, more than {limits.max_series}: send them in parts", 413)
    inputs = [item for call in calls for item in call.inputs]
    points = sum(
        item.target.size + sum(len(v) for v in (*item.past_covariates.values(), *item.future_covariates.values()))
        for item in inputs
    )
    if points > limits.max_points:
        raise InvocationError("inputs", f"{points} values, more than {limits.max_points}: send them in parts", 413)
    values = sum(
        (item.target.shape[0] if item.target.ndim > 1 else 1)
        * call.parameters.prediction_length
        * (len(call.parameters.quantile_levels) + 1)
        for call in calls
        for item in call.inputs
    )
    if values > limits.max_answer_values:
        raise InvocationError(
            "parameters.prediction_length",
            f"the answer would have {values} numbers, more than {limits.max_answer_values}: "
            "ask for fewer periods, quantiles or series at once",
            413,
        )


# JSON


class _NotFinite:
    """Stands where a document had `NaN`, `Infinity` or `-Infinity`, which are not JSON."""

    def __init__(self, name: str) -> None:
        self.name = name


class _GivenTwice(ValueError):
    pass


def _load(text: str, place: str) -> Any:
    """The JSON value of a text."""
    where = place.rstrip(": ") or "body"
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_NotFinite, parse_int=_integer)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if not place else f"column {error.colno}"
        raise InvocationError(where, f"not JSON at {at}: {error.msg}") from None
    except _GivenTwice as error:
        raise InvocationError(f"{place}{error}", "this key is given twice in one object: keep one of them") from None
    except RecursionError:
        raise InvocationError(where, "lists or objects are nested too deeply: see the schema") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _GivenTwice(_key(name))
            seen.add(name)
    return value


def _integer(digits: str) -> int | float:
    """Long integers as floats: Python refuses to read very long ones, and a value has 15 digits anyway."""
    return int(digits) if len(digits) <= 18 else float(digits)


def _shown(value: Any) -> str:
    """A value in a message: as JSON, cut to a readable length."""
    if isinstance(value, _NotFinite):
        return value.name
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _key(name: str) -> str:
    """A key in the place that a message names."""
    return _cut(name) or '""'


def _parse_lines(text: str, schema: Schema) -> Iterator[Call]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InvocationError("body", 'empty: send one JSON object in each line, such as {"target": [1, 2, 3]}')
    if len(lines) > schema.limits.max_series:
        raise InvocationError("body", f"{len(lines)} lines, more than {schema.limits.max_series}: send parts", 413)
    for number, line in lines:
        place = f"line {number}: "
        document = _load(line, place)
        if isinstance(document, dict) and "inputs" not in document:
            series = _parse_series(document, schema, schema.defaults, place.rstrip(": "), f"{place}")
            yield Call((series,), schema.defaults, lone=True)
        else:
            yield _parse_request(document, schema, place)


def _parse_request(document: Any, schema: Schema, place: str) -> Call:
    if not isinstance(document, dict):
        raise InvocationError(
            place.rstrip(": ") or "body", f'{_shown(document)} is no request: send {{"inputs": [{{"target": [...]}}]}}'
        )
    _known_keys(document, ("inputs", "parameters"), place)
    parameters = _parse_parameters(document.get("parameters"), schema, place)
    if "inputs" not in document:
        raise InvocationError(f"{place}inputs", 'required: a list of series, [{"target": [...]}]')
    inputs = document["inputs"]
    if not isinstance(inputs, list) or not inputs:
        what = "an empty list" if inputs == [] else _shown(inputs)
        raise InvocationError(f"{place}inputs", f'{what}: give a list of series, [{{"target": [...]}}]')
    if not isinstance(inputs[0], dict | list | str):
        target = _numbers(inputs, f"{place}inputs")
        _observed(target, f"{place}inputs")
        if parameters.freq is not None:
            raise InvocationError(f"{place}parameters.freq", 'a bare list has no start: give {"target", "start"}')
        _check_joint(parameters, schema, place)
        return Call((SeriesInput(f"{place}inputs", target),), parameters)
    if len(inputs) > schema.limits.max_series:
        raise InvocationError(
            f"{place}inputs", f"{len(inputs)} series, more than {schema.limits.max_series}: send them in parts", 413
        )
    _check_joint(parameters, schema, place)
    series = []
    seen: dict[str, int] = {}
    for index, value in enumerate(inputs):
        where = f"{place}inputs[{index}]"
        if not isinstance(value, dict):
            raise InvocationError(where, f'{_shown(value)} is no series: give an object, {{"target": [...]}}')
        item = _parse_series(value, schema, parameters, where, f"{where}.")
        if item.item_id is not None and seen.setdefault(item.item_id, index) != index:
            raise InvocationError(f"{where}.item_id", f"inputs[{seen[item.item_id]}] has it too: ids must differ")
        series.append(item)
    return Call(tuple(series), parameters)


def _known_keys(document: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for name in document:
        if name not in known:
            raise InvocationError(f"{place}{_key(name)}", f"unknown key: there are {', '.join(known)}")


def _parse_series(
    value: Mapping[str, Any], schema: Schema, parameters: Parameters, where: str, place: str
) -> SeriesInput:
    _known_keys(value, ("target", "item_id", "start", "past_covariates", "future_covariates"), place)
    if "target" not in value:
        raise InvocationError(f"{place}target", "required: the list of observed values")
    target = _parse_target(value["target"], schema, f"{place}target")
    item_id = value.get("item_id")
    if item_id is not None:
        _check_item_id(item_id, f"{place}item_id")
    start = _parse_start(value.get("start"), f"{place}start")
    if start is not None and parameters.freq is None:
        raise InvocationError("parameters.freq", f'required, since {place}start is given: write "h", "D", "15min", ...')
    if start is None and parameters.freq is not None:
        raise InvocationError(f"{place}start", "required, since parameters.freq is given: an ISO date or time")
    if start is not None and parameters.freq is not None:
        last_period(start, parameters.freq, target.shape[-1] + parameters.prediction_length, f"{place}start")
    past = _parse_covariates(value.get("past_covariates"), target.shape[-1], "target", f"{place}past_covariates")
    future = _parse_covariates(
        value.get("future_covariates"), parameters.prediction_length, "prediction_length", f"{place}future_covariates"
    )
    if not schema.joint:
        for name, given in (("past_covariates", past), ("future_covariates", future)):
            if given:
                raise InvocationError(
                    f"{place}{name}", f"{schema.model} reads no covariates: leave them out, or serve a Chronos-2 model"
                )
    for name, values in future.items():
        if name not in past:
            raise InvocationError(
                f"{place}past_covariates.{_key(name)}", "required, since future_covariates has it: its past values"
            )
        if (values.dtype.kind == "f") != (past[name].dtype.kind == "f"):
            raise InvocationError(
                f"{place}future_covariates.{_key(name)}", "text here and numbers in past_covariates: make them alike"
            )
    return SeriesInput(where, target, item_id, start, past, future)


def _parse_target(value: Any, schema: Schema, place: str) -> Floats:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else _shown(value)
        raise InvocationError(place, f"{what}: give a list of numbers, null where nothing was observed")
    if not any(isinstance(row, list) for row in value):
        target = _numbers(value, place)
        _observed(target, place)
        return target
    if not schema.joint:
        raise InvocationError(
            place,
            f"{schema.model} forecasts one dimension: give each dimension as a series, or serve a Chronos-2 model",
        )
    rows = []
    for index, row in enumerate(value):
        if not isinstance(row, list) or not row:
            raise InvocationError(f"{place}[{index}]", "give every dimension as a list of numbers")
        rows.append(_numbers(row, f"{place}[{index}]"))
        if len(row) != len(rows[0]):
            raise InvocationError(
                f"{place}[{index}]", f"{len(row)} values, where {place}[0] has {len(rows[0])}: make them of one length"
            )
        _observed(rows[-1], f"{place}[{index}]")
    return np.stack(rows)


def _numbers(values: list[Any], place: str) -> Floats:
    """Numbers, NaN for null."""
    if not set(map(type, values)) <= {int, float, type(None)}:
        index = next(i for i, value in enumerate(values) if type(value) not in (int, float, type(None)))
        value = values[index]
        mend = "write null where nothing was observed" if isinstance(value, _NotFinite) else "write a number or null"
        raise InvocationError(f"{place}[{index}]", f"{_shown(value)} is not a number: {mend}")
    array = np.array(values, dtype=np.float64)
    large = np.flatnonzero(np.abs(array) > LARGEST)
    if len(large):
        raise InvocationError(f"{place}[{large[0]}]", f"beyond {LARGEST:g}: scale the values down")
    return array


def _observed(target: Floats, place: str) -> None:
    if np.isnan(target).all():
        raise InvocationError(place, "no observation: at least one value must not be null")


def _check_item_id(value: Any, place: str) -> None:
    if not isinstance(value, str) or len(value) > _MAX_ITEM_ID:
        what = _shown(value) if not isinstance(value, str) else f"{len(value)} characters"
        raise InvocationError(place, f"{what}: give text of up to {_MAX_ITEM_ID} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvocationError(place, "half of a surrogate pair: give valid Unicode") from None


def _parse_start(value: Any, place: str) -> datetime | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise TypeError
        return datetime.fromisoformat(value.strip())
    except (TypeError, ValueError):
        raise InvocationError(place, f"{_shown(value)} is no time: write 2024-01-31 or 2024-01-31T23:00:00") from None


def _parse_covariates(value: Any, length: int, of: str, place: str) -> dict[str, NDArray[Any]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvocationError(place, f"{_shown(value)}: give an object, name of a covariate -> list of values")
    return {name: _parse_covariate(values, length, of, f"{place}.{_key(name)}") for name, values in value.items()}


def _parse_covariate(values: Any, length: int, of: str, place: str) -> NDArray[Any]:
    if not isinstance(values, list) or not values:
        raise InvocationError(place, "give a list of numbers, or of texts")
    if len(values) != length:
        raise InvocationError(place, f"{len(values)} values, where {of} has {length}: give one for each period")
    if not all(isinstance(value, str) for value in values):
        return _numbers(values, place)
    for index, text in enumerate(values):
        _check_item_id(text, f"{place}[{index}]")
    return np.array(values, dtype=np.str_)


def _check_joint(parameters: Parameters, schema: Schema, place: str) -> None:
    if parameters.cross_learning and not schema.joint:
        raise InvocationError(
            f"{place}parameters.cross_learning",
            f"{schema.model} forecasts each series alone: write false, or serve a Chronos-2 model",
        )


def _parse_parameters(value: Any, schema: Schema, place: str) -> Parameters:
    defaults = schema.defaults
    if value is None:
        return defaults
    place = f"{place}parameters"
    if not isinstance(value, dict):
        raise InvocationError(place, f'{_shown(value)}: give an object, such as {{"prediction_length": 24}}')
    _known_keys(value, tuple(_READERS), f"{place}.")
    given = {
        name: reader(value[name], schema, f"{place}.{name}")
        for name, reader in _READERS.items()
        if value.get(name) is not None
    }
    return replace(defaults, **given)


def parse_parameters(value: Any, schema: Schema) -> Parameters:
    """Parameters that a server was given as defaults, checked as those of a request.

    Raises:
        InvocationError: one is unknown or impossible.
    """
    return _parse_parameters(value, schema, "")


def _prediction_length(value: Any, schema: Schema, place: str) -> int:
    return _whole(value, schema.limits.max_prediction_length, place)


def _batch_size(value: Any, schema: Schema, place: str) -> int:
    return _whole(value, 1_000_000, place)


def _whole(value: Any, largest: int, place: str) -> int:
    if type(value) is not int or not 1 <= value <= largest:
        raise InvocationError(place, f"{_shown(value)}: give a whole number from 1 to {largest}")
    return value


def _quantile_levels(value: Any, schema: Schema, place: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else _shown(value)
        raise InvocationError(place, f"{what}: give a list of levels, such as [0.1, 0.5, 0.9]")
    if len(value) > schema.limits.max_quantiles:
        raise InvocationError(place, f"{len(value)} levels: give up to {schema.limits.max_quantiles}")
    low, high = schema.quantile_range
    for index, level in enumerate(value):
        if type(level) not in (int, float) or not low - 1e-9 <= level <= high + 1e-9:
            raise InvocationError(
                f"{place}[{index}]", f"{_shown(level)}: {schema.model} forecasts levels from {low:g} to {high:g}"
            )
        if level in value[:index]:
            raise InvocationError(f"{place}[{index}]", f"{_shown(level)} is asked for twice: leave one out")
    return tuple(float(level) for level in value)


def _freq(value: Any, _schema: Schema, place: str) -> Frequency:
    if not isinstance(value, str):
        raise InvocationError(place, f'{_shown(value)}: give the name of a frequency, such as "h" or "D"')
    anchored = _ANCHORED.fullmatch(value.strip())
    try:
        # Where pandas' anchors put a period, `start` says.
        return Frequency.parse(anchored[1] if anchored else value[:60])
    except ValueError as error:
        raise InvocationError(place, str(error)) from None


def _cross_learning(value: Any, _schema: Schema, place: str) -> bool:
    if not isinstance(value, bool):
        raise InvocationError(place, f"{_shown(value)}: write true or false")
    return value


_READERS: Mapping[str, Callable[[Any, Schema, str], Any]] = {
    "prediction_length": _prediction_length,
    "quantile_levels": _quantile_levels,
    "freq": _freq,
    "batch_size": _batch_size,
    "cross_learning": _cross_learning,
}


def _from_text(query: str, attributes: str, schema: Schema) -> Parameters:
    """The defaults, with those of the query string and the custom attributes; the latter belong to the caller too."""
    parameters = schema.defaults
    for text, place, strict in ((attributes, "X-Amzn-SageMaker-Custom-Attributes", False), (query, "query", True)):
        given: dict[str, Any] = {}
        for name, value in _pairs(text, place):
            if name in _READERS:
                given[name] = _READERS[name](_from_word(name, value), schema, f"{place}.{name}")
            elif strict:
                raise InvocationError(f"{place}.{_key(name)}", f"unknown parameter: there are {', '.join(_READERS)}")
        parameters = replace(parameters, **given)
    return parameters


def _pairs(text: str, place: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=64, errors="strict")
    except ValueError:
        raise InvocationError(place, "can't be read: write prediction_length=24&quantile_levels=0.1,0.9") from None


def _from_word(name: str, text: str) -> Any:
    """A parameter's JSON value from its text."""
    if name == "quantile_levels":
        return [_plain(word.strip()) for word in text.strip("[]").split(",")]
    if name == "cross_learning":
        return {"true": True, "false": False}.get(text.lower(), text)
    return _plain(text) if name != "freq" else text


def _plain(text: str) -> Any:
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else float(text)


# CSV


def _parse_csv(text: str, schema: Schema) -> Call:
    """One call of all series, which are told apart by item_id and keep the order of their first rows."""
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), 1) if row]
    except csv.Error as error:
        raise InvocationError("body", f"not CSV: {error}") from None
    columns = _csv_columns(rows[0][1] if rows else [])
    if rows and _is_header(rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise InvocationError("body", "no rows: send lines of item_id,timestamp,target")
    if len(rows) > schema.limits.max_points:
        raise InvocationError("body", f"{len(rows)} rows, more than {schema.limits.max_points}: send parts", 413)
    series: dict[str | None, _CsvSeries] = {}
    for number, row in rows:
        if len(row) != len(columns):
            raise InvocationError(f"line {number}", f"{len(row)} columns, where there should be {len(columns)}")
        cells = dict(zip(columns, row, strict=True))
        item_id = cells.get("item_id")
        if item_id is not None and item_id not in series:
            _check_item_id(item_id, f"line {number}, column item_id")
        one = series.setdefault(item_id, _CsvSeries())
        one.lines.append(number)
        one.values.append(_csv_value(cells["target"], f"line {number}, column target"))
        if "timestamp" in cells:
            place = f"line {number}, column timestamp"
            time = _parse_start(cells["timestamp"], place)
            if time is None or (one.times and (time.tzinfo is None) != (one.times[0].tzinfo is None)):
                raise InvocationError(place, "times with and without an offset: write all alike")
            if one.times and time <= one.times[-1]:
                raise InvocationError(place, "not after the row before: sort each item's rows by time, one per period")
            one.times.append(time)
    parameters = schema.defaults
    timed = "timestamp" in columns
    if timed and parameters.freq is None:
        parameters = replace(parameters, freq=_inferred(series.values()))
    elif not timed and parameters.freq is not None:
        raise InvocationError("query.freq", "there is no timestamp column: leave freq out, or add the column")
    _check_joint(parameters, schema, "")
    inputs = tuple(_csv_series(item_id, one, parameters, schema.limits) for item_id, one in series.items())
    return Call(inputs, parameters)


@dataclass
class _CsvSeries:
    """Rows of one item."""

    lines: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)


def _is_header(row: Sequence[str]) -> bool:
    return "target" in {cell.strip().lower() for cell in row}


def _csv_columns(first: Sequence[str]) -> list[str]:
    if not _is_header(first):
        if len(first) in (1, 3):
            return list(_CSV_COLUMNS) if len(first) == 3 else ["target"]
        raise InvocationError(
            "line 1", f"{len(first)} columns without a header: send item_id,timestamp,target or the target alone"
        )
    columns = [cell.strip().lower() for cell in first]
    for name in columns:
        if name not in _CSV_COLUMNS or columns.count(name) > 1:
            raise InvocationError(
                f"line 1, column {_key(name)}", f"unknown or given twice: there are {', '.join(_CSV_COLUMNS)}"
            )
    return columns


def _csv_value(cell: str, place: str) -> float:
    text = cell.strip()
    if text.lower() in ("", "nan", "null"):
        return math.nan
    if not _NUMBER.fullmatch(text):
        raise InvocationError(place, f"{_shown(text)} is not a number: leave it empty where nothing was observed")
    value = float(text)
    if abs(value) > LARGEST:
        raise InvocationError(place, f"beyond {LARGEST:g}: scale the values down")
    return value


def _csv_series(item_id: str | None, one: _CsvSeries, parameters: Parameters, limits: Limits) -> SeriesInput:
    """A series on its grid: periods without a row get no value."""
    values, start = np.array(one.values), None
    if one.times and parameters.freq is not None:
        start = one.times[0]
        places = [_steps_between(start, time, parameters.freq) for time in one.times]
        for place, line in zip(places, one.lines, strict=True):
            if place is None:
                raise InvocationError(
                    f"line {line}, column timestamp",
                    f"not a whole number of periods of {parameters.freq} after line {one.lines[0]}: correct it, or freq",
                )
        known = [place for place in places if place is not None]
        if known[-1] >= limits.max_points:
            raise InvocationError("body", f"{known[-1] + 1} periods of {parameters.freq}: send a shorter history", 413)
        grid = np.full(known[-1] + 1, np.nan)
        grid[known] = values
        values = grid
        last_period(
            start, parameters.freq, len(grid) + parameters.prediction_length, f"line {one.lines[0]}, column timestamp"
        )
    where = f"line {one.lines[0]}"
    _observed(values, f"{where}, column target")
    return SeriesInput(where, values, item_id, start)


def _inferred(series: Any) -> Frequency:
    """The frequency of the first two rows of the first item that has two."""
    times = next((one.times for one in series if len(one.times) > 1), None)
    if times is None:
        raise InvocationError("query.freq", "required, since no item has two rows to tell it from")
    seconds = (times[1] - times[0]).total_seconds()
    months = 12 * (times[1].year - times[0].year) + times[1].month - times[0].month
    for size, unit in ((60, Unit.MINUTE), (3600, Unit.HOUR), (86400, Unit.DAY), (604800, Unit.WEEK)):
        if seconds % size == 0 and _is_frequency(int(seconds // size), unit):
            return Frequency(int(seconds // size), unit)
    for number, unit in ((months, Unit.MONTH), (months / 12, Unit.YEAR)):
        if number == int(number) and _is_frequency(int(number), unit):
            frequency = Frequency(int(number), unit)
            if period(times[0], frequency, 1) == times[1]:
                return frequency
    raise InvocationError("query.freq", "can't be told from the first two rows: give it, as ?freq=h")


def _is_frequency(number: int, unit: Unit) -> bool:
    try:
        Frequency(number, unit)
    except ValueError:
        return False
    return True


# Time

_LENGTHS = {
    Unit.MINUTE: timedelta(minutes=1),
    Unit.HOUR: timedelta(hours=1),
    Unit.DAY: timedelta(days=1),
    Unit.WEEK: timedelta(weeks=1),
}


def period(start: datetime, frequency: Frequency, number: int) -> datetime:
    """Start of the period `number` periods after the one that starts at `start`.

    Months and years keep the day of the month, the last day where a month is too short; a series of months that starts
    on the last day of a month stays on last days.

    Raises:
        OverflowError: after the year 9999.
    """
    if frequency.unit in _LENGTHS:
        return start + number * frequency.n * _LENGTHS[frequency.unit]
    months = start.year * 12 + start.month - 1 + number * frequency.n * (12 if frequency.unit is Unit.YEAR else 1)
    year, month = divmod(months, 12)
    if year > 9999:
        raise OverflowError(f"the year {year}")
    longest = _days_in(year, month + 1)
    at_end = frequency.unit is Unit.MONTH and start.day == _days_in(start.year, start.month)
    return start.replace(year=year, month=month + 1, day=longest if at_end else min(start.day, longest))


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def last_period(start: datetime, frequency: Frequency, count: int, place: str) -> datetime:
    """Start of the last of `count` periods.

    Raises:
        InvocationError: it lies after the year 9999.
    """
    try:
        return period(start, frequency, count - 1)
    except OverflowError:
        raise InvocationError(place, "the forecast would end after the year 9999: give an earlier start") from None


def _steps_between(start: datetime, time: datetime, frequency: Frequency) -> int | None:
    """How many periods `time` is after `start`; None where that is no whole number."""
    if frequency.unit in _LENGTHS:
        steps, rest = divmod(time - start, frequency.n * _LENGTHS[frequency.unit])
        return None if rest else steps
    months = 12 * (time.year - start.year) + time.month - start.month
    steps, rest_of_months = divmod(months, frequency.n * (12 if frequency.unit is Unit.YEAR else 1))
    return None if rest_of_months or period(start, frequency, steps) != time else steps


# Answers


def render(calls: Sequence[Call], predictions: Sequence[Sequence[Prediction]], kind: ContentType) -> bytes:
    """The body of an answer.

    Args:
        calls: of the request.
        predictions: for each call one for each of its inputs.
        kind: content type of the answer. A JSON answer to several lines has all their predictions in one list; a JSON
            Lines answer to one call has a line for each prediction.
    """
    answered = list(zip(calls, predictions, strict=True))
    if kind == CSV:
        return _render_csv(answered)
    documents = [
        [_document(item, call.parameters, made) for item, made in zip(call.inputs, some, strict=True)]
        for call, some in answered
    ]
    if kind == JSON:
        return _dump({"predictions": [document for some in documents for document in some]})
    if len(calls) == 1 and not calls[0].lone:
        return b"".join(_dump(document) + b"\n" for document in documents[0])
    lines = [some[0] if call.lone else {"predictions": some} for call, some in zip(calls, documents, strict=True)]
    return b"".join(_dump(line) + b"\n" for line in lines)


def _dump(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _document(item: SeriesInput, parameters: Parameters, prediction: Prediction) -> dict[str, Any]:
    document: dict[str, Any] = {"mean": prediction.mean.tolist()}
    for index, level in enumerate(parameters.quantile_levels):
        document[repr(level)] = prediction.quantiles[..., index].tolist()
    if item.item_id is not None:
        document["item_id"] = item.item_id
    if item.start is not None and parameters.freq is not None:
        document["start"] = period(item.start, parameters.freq, item.target.shape[-1]).isoformat()
    return document


def _render_csv(answered: Sequence[tuple[Call, Sequence[Prediction]]]) -> bytes:
    """Rows of item_id (if any has one), timestamp (if any has a start, else `period` from 1), the numbers."""
    inputs = [item for call, _ in answered for item in call.inputs]
    levels = list(dict.fromkeys(level for call, _ in answered for level in call.parameters.quantile_levels))
    with_id = any(item.item_id is not None for item in inputs)
    with_time = any(item.start is not None for item in inputs)
    with_dimension = any(item.target.ndim > 1 for item in inputs)
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    names = ["item_id"] * with_id + ["timestamp" if with_time else "period"] + ["dimension"] * with_dimension
    writer.writerow([*names, "mean", *(repr(level) for level in levels)])
    for call, predictions in answered:
        places = [
            call.parameters.quantile_levels.index(level) if level in call.parameters.quantile_levels else None
            for level in levels
        ]
        for item, prediction in zip(call.inputs, predictions, strict=True):
            times = _times(item, call.parameters, with_time)
            means = np.atleast_2d(prediction.mean).tolist()
            quantiles = prediction.quantiles.reshape(len(means), len(times), -1).tolist()
            for dimension, rows in enumerate(means):
                for step, mean in enumerate(rows):
                    row = quantiles[dimension][step]
                    writer.writerow(
                        [
                            *([item.item_id or ""] if with_id else []),
                            times[step],
                            *([dimension] if with_dimension else []),
                            repr(mean),
                            *("" if place is None else repr(row[place]) for place in places),
                        ]
                    )
    return output.getvalue().encode()


def _times(item: SeriesInput, parameters: Parameters, with_time: bool) -> list[Any]:
    steps = range(parameters.prediction_length)
    if not with_time:
        return [step + 1 for step in steps]
    if item.start is None or parameters.freq is None:
        return ["" for _ in steps]
    length = item.target.shape[-1]
    return [period(item.start, parameters.freq, length + step).isoformat() for step in steps]
