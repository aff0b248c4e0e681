"""Requests in JSON and JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.serving.schema import (
    Call,
    Covariates,
    InvocationError,
    NotFiniteNumber,
    Parameters,
    Schema,
    SeriesInput,
    check_frequency,
    check_item_id,
    check_joint,
    check_observed,
    last_period,
    parse_start,
    shown_key,
    shown_value,
)
from chronos_assets.timeseries.arrays import LARGEST, Floats

_SERIES_KEYS = ("target", "item_id", "start", "past_covariates", "future_covariates", "baseline_covariates")
_ANCHORED = re.compile(r"([0-9]*(?:W|Q|QS|QE|A|AS|Y|YS|YE))-[A-Z]{3}")


class _GivenTwice(ValueError):
    pass


def load_json(text: str, place: str) -> Any:
    """The JSON value of a text."""
    where = place.rstrip(": ") or "body"
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=NotFiniteNumber, parse_int=_integer)
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
                raise _GivenTwice(shown_key(name))
            seen.add(name)
    return value


def _integer(digits: str) -> int | float:
    """Long integers as floats: Python refuses to read very long ones, and a value has 15 digits anyway."""
    return int(digits) if len(digits) <= 18 else float(digits)


def parse_lines(text: str, schema: Schema) -> Iterator[Call]:
    """The calls of a JSON lines body, one a line."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InvocationError("body", 'empty: send one JSON object in each line, such as {"target": [1, 2, 3]}')
    if len(lines) > schema.limits.max_series:
        raise InvocationError("body", f"{len(lines)} lines, more than {schema.limits.max_series}: send parts", 413)
    for number, line in lines:
        place = f"line {number}: "
        document = load_json(line, place)
        if isinstance(document, dict) and "inputs" not in document:
            series = _parse_series(document, schema, schema.defaults, place.rstrip(": "), f"{place}")
            yield Call((series,), schema.defaults, lone=True)
        else:
            yield parse_request(document, schema, place)


def parse_request(document: Any, schema: Schema, place: str) -> Call:
    """The call of one JSON document."""
    if not isinstance(document, dict):
        raise InvocationError(
            place.rstrip(": ") or "body",
            f'{shown_value(document)} is no request: send {{"inputs": [{{"target": [...]}}]}}',
        )
    _known_keys(document, ("inputs", "parameters"), place)
    parameters = parse_parameters(document.get("parameters"), schema, place)
    if "inputs" not in document:
        raise InvocationError(f"{place}inputs", 'required: a list of series, [{"target": [...]}]')
    inputs = document["inputs"]
    if not isinstance(inputs, list) or not inputs:
        what = "an empty list" if inputs == [] else shown_value(inputs)
        raise InvocationError(f"{place}inputs", f'{what}: give a list of series, [{{"target": [...]}}]')
    if not isinstance(inputs[0], dict | list | str):
        target = _numbers(inputs, f"{place}inputs")
        check_observed(target, f"{place}inputs")
        if parameters.freq is not None:
            raise InvocationError(f"{place}parameters.freq", 'a bare list has no start: give {"target", "start"}')
        check_joint(parameters, schema, place)
        return Call((SeriesInput(f"{place}inputs", target),), parameters)
    if len(inputs) > schema.limits.max_series:
        raise InvocationError(
            f"{place}inputs", f"{len(inputs)} series, more than {schema.limits.max_series}: send them in parts", 413
        )
    check_joint(parameters, schema, place)
    series = []
    seen: dict[str, int] = {}
    for index, value in enumerate(inputs):
        where = f"{place}inputs[{index}]"
        if not isinstance(value, dict):
            raise InvocationError(where, f'{shown_value(value)} is no series: give an object, {{"target": [...]}}')
        item = _parse_series(value, schema, parameters, where, f"{where}.")
        if item.item_id is not None and seen.setdefault(item.item_id, index) != index:
            raise InvocationError(f"{where}.item_id", f"inputs[{seen[item.item_id]}] has it too: ids must differ")
        series.append(item)
    return Call(tuple(series), parameters)


def _known_keys(document: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for name in document:
        if name not in known:
            raise InvocationError(f"{place}{shown_key(name)}", f"unknown key: there are {', '.join(known)}")


def _parse_series(
    value: Mapping[str, Any], schema: Schema, parameters: Parameters, where: str, place: str
) -> SeriesInput:
    _known_keys(value, _SERIES_KEYS, place)
    if "target" not in value:
        raise InvocationError(f"{place}target", "required: the list of observed values")
    target = _parse_target(value["target"], schema, f"{place}target")
    item_id = value.get("item_id")
    if item_id is not None:
        check_item_id(item_id, f"{place}item_id")
    start = parse_start(value.get("start"), f"{place}start")
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
    baseline = _parse_covariates(
        value.get("baseline_covariates"),
        parameters.prediction_length,
        "prediction_length",
        f"{place}baseline_covariates",
    )
    if schema.attributes:
        _check_attributes(past, future, schema, place)
    elif not schema.joint:
        for name, given in (("past_covariates", past), ("future_covariates", future)):
            if given:
                raise InvocationError(
                    f"{place}{name}",
                    f"{schema.model} reads no covariates: leave them out, serve a Chronos-2 model, or a predictor that has "
                    "learned from some",
                )
    _check_alike("future_covariates", future, "past_covariates", past, "its past values", place)
    _check_alike("baseline_covariates", baseline, "future_covariates", future, "its values of the what-if", place)
    return SeriesInput(where, target, item_id, start, past, future, baseline)


def _check_alike(part: str, given: Covariates, other: str, others: Covariates, what: str, place: str) -> None:
    """See that each covariate of one part is in another, and of its kind there."""
    for name, values in given.items():
        if name not in others:
            raise InvocationError(f"{place}{other}.{shown_key(name)}", f"required, since {part} has it: {what}")
        if (values.dtype.kind == "f") != (others[name].dtype.kind == "f"):
            raise InvocationError(
                f"{place}{part}.{shown_key(name)}", f"text in {part} or {other}, numbers in the other: make them alike"
            )


def _check_attributes(
    past: Mapping[str, NDArray[Any]], future: Mapping[str, NDArray[Any]], schema: Schema, place: str
) -> None:
    """See that covariates are those that the predictor has learned from."""
    for part, given in (("past_covariates", past), ("future_covariates", future)):
        for name, values in given.items():
            kind = schema.attributes.get(name)
            where = f"{place}{part}.{shown_key(name)}"
            if kind is None:
                raise InvocationError(
                    where, f"{schema.model} has learned from {', '.join(schema.attributes)}: give those"
                )
            if (values.dtype.kind == "f") != (kind == "number"):
                raise InvocationError(
                    where, f"it was learned as a {kind}: give {'numbers' if kind == 'number' else 'texts'}"
                )
            if part == "future_covariates" and name in schema.past_only:
                raise InvocationError(where, "it isn't known in advance, so only its past is read: leave it out here")


def _parse_target(value: Any, schema: Schema, place: str) -> Floats:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else shown_value(value)
        raise InvocationError(place, f"{what}: give a list of numbers, null where nothing was observed")
    if not any(isinstance(row, list) for row in value):
        target = _numbers(value, place)
        check_observed(target, place)
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
        check_observed(rows[-1], f"{place}[{index}]")
    return np.stack(rows)


def _numbers(values: list[Any], place: str) -> Floats:
    """Numbers, NaN for null."""
    if not set(map(type, values)) <= {int, float, type(None)}:
        index = next(i for i, value in enumerate(values) if type(value) not in (int, float, type(None)))
        value = values[index]
        fix = (
            "write null where nothing was observed" if isinstance(value, NotFiniteNumber) else "write a number or null"
        )
        raise InvocationError(f"{place}[{index}]", f"{shown_value(value)} is not a number: {fix}")
    array = np.array(values, dtype=np.float64)
    large = np.flatnonzero(np.abs(array) > LARGEST)
    if len(large):
        raise InvocationError(f"{place}[{large[0]}]", f"beyond {LARGEST:g}: scale the values down")
    return array


def _parse_covariates(value: Any, length: int, of: str, place: str) -> dict[str, NDArray[Any]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvocationError(place, f"{shown_value(value)}: give an object, name of a covariate -> list of values")
    return {name: _parse_covariate(values, length, of, f"{place}.{shown_key(name)}") for name, values in value.items()}


def _parse_covariate(values: Any, length: int, of: str, place: str) -> NDArray[Any]:
    if not isinstance(values, list) or not values:
        raise InvocationError(place, "give a list of numbers, or of texts")
    if len(values) != length:
        raise InvocationError(place, f"{len(values)} values, where {of} has {length}: give one for each period")
    if not all(isinstance(value, str) for value in values):
        return _numbers(values, place)
    for index, text in enumerate(values):
        check_item_id(text, f"{place}[{index}]")
    return np.array(values, dtype=np.str_)


def parse_parameters(value: Any, schema: Schema, place: str = "") -> Parameters:
    """Parameters of a request, or that a server was given as defaults.

    Raises:
        InvocationError: one is unknown or impossible.
    """
    defaults = schema.defaults
    if value is None:
        return defaults
    place = f"{place}parameters"
    if not isinstance(value, dict):
        raise InvocationError(place, f'{shown_value(value)}: give an object, such as {{"prediction_length": 24}}')
    _known_keys(value, tuple(PARAMETER_READERS), f"{place}.")
    given = {
        name: reader(value[name], schema, f"{place}.{name}")
        for name, reader in PARAMETER_READERS.items()
        if value.get(name) is not None
    }
    return replace(defaults, **given)


def _prediction_length(value: Any, schema: Schema, place: str) -> int:
    return _whole_number(value, schema.limits.max_prediction_length, place)


def _batch_size(value: Any, schema: Schema, place: str) -> int:
    return _whole_number(value, 1_000_000, place)


def _whole_number(value: Any, largest: int, place: str) -> int:
    if type(value) is not int or not 1 <= value <= largest:
        raise InvocationError(place, f"{shown_value(value)}: give a whole number from 1 to {largest}")
    return value


def _quantile_levels(value: Any, schema: Schema, place: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else shown_value(value)
        raise InvocationError(place, f"{what}: give a list of levels, such as [0.1, 0.5, 0.9]")
    if len(value) > schema.limits.max_quantiles:
        raise InvocationError(place, f"{len(value)} levels: give up to {schema.limits.max_quantiles}")
    low, high = schema.quantile_range
    for index, level in enumerate(value):
        if type(level) not in (int, float) or not low - 1e-9 <= level <= high + 1e-9:
            raise InvocationError(
                f"{place}[{index}]", f"{shown_value(level)}: {schema.model} forecasts levels from {low:g} to {high:g}"
            )
        if level in value[:index]:
            raise InvocationError(f"{place}[{index}]", f"{shown_value(level)} is asked for twice: leave one out")
    return tuple(float(level) for level in value)


def _freq(value: Any, schema: Schema, place: str) -> Frequency:
    if not isinstance(value, str):
        raise InvocationError(place, f'{shown_value(value)}: give the name of a frequency, such as "h" or "D"')
    anchored = _ANCHORED.fullmatch(value.strip())
    try:
        # Where pandas' anchors put a period, `start` says.
        frequency = Frequency.parse(anchored[1] if anchored else value[:60])
    except ValueError as error:
        raise InvocationError(place, str(error)) from None
    check_frequency(frequency, schema, place)
    return frequency


def _cross_learning(value: Any, _schema: Schema, place: str) -> bool:
    if not isinstance(value, bool):
        raise InvocationError(place, f"{shown_value(value)}: write true or false")
    return value


PARAMETER_READERS: Mapping[str, Callable[[Any, Schema, str], Any]] = {
    "prediction_length": _prediction_length,
    "quantile_levels": _quantile_levels,
    "freq": _freq,
    "batch_size": _batch_size,
    "cross_learning": _cross_learning,
}
