"""Requests of any content type, parsed and checked for size.

Here: choosing the reader of a body, the limits of a whole request, and parameters beside the body. Elsewhere: the readers
(`json_requests`, `csv_requests`), what they read it into (`schema`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from chronos_assets.serving.csv_requests import parse_csv
from chronos_assets.serving.json_requests import PARAMETER_READERS, load_json, parse_lines, parse_request
from chronos_assets.serving.schema import (
    CSV,
    JSON_LINES,
    NUMBER,
    Call,
    ContentType,
    InvocationError,
    Limits,
    Parameters,
    Schema,
    shown_key,
    too_large,
)


def parse(body: bytes, kind: ContentType, schema: Schema, query: str = "", attributes: str = "") -> tuple[Call, ...]:
    """The calls of a request; one except for JSON Lines.

    Args:
        body: as it came.
        kind: its content type.
        schema: what may be asked for.
        query: the query string.
        attributes: SageMaker's custom attributes, of which only known parameters are read.

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
        calls: tuple[Call, ...] = (parse_csv(text, schema),)
    elif kind == JSON_LINES:
        calls = tuple(parse_lines(text, schema))
    else:
        calls = (parse_request(load_json(text, ""), schema, ""),)
    _check_size(calls, schema.limits)
    return calls


def _check_size(calls: Sequence[Call], limits: Limits) -> None:
    series = sum(len(call.inputs) for call in calls)
    if series > limits.max_series:
        raise InvocationError("inputs", f"{series} series, more than {limits.max_series}: send them in parts", 413)
    inputs = [item for call in calls for item in call.inputs]
    points = sum(
        item.target.size
        + sum(
            len(values)
            for part in (item.past_covariates, item.future_covariates, item.baseline_covariates)
            for values in part.values()
        )
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


def _from_text(query: str, attributes: str, schema: Schema) -> Parameters:
    """The defaults, with those of the query string and the custom attributes; the latter belong to the caller too."""
    parameters = schema.defaults
    for text, place, strict in ((attributes, "X-Amzn-SageMaker-Custom-Attributes", False), (query, "query", True)):
        given: dict[str, Any] = {}
        for name, value in _pairs(text, place, strict=strict):
            if name in PARAMETER_READERS:
                given[name] = PARAMETER_READERS[name](_from_word(name, value), schema, f"{place}.{name}")
            elif strict:
                raise InvocationError(
                    f"{place}.{shown_key(name)}", f"unknown parameter: there are {', '.join(PARAMETER_READERS)}"
                )
        parameters = replace(parameters, **given)
    return parameters


def _pairs(text: str, place: str, *, strict: bool) -> list[tuple[str, str]]:
    try:
        # What else a caller has among its attributes need not be UTF-8.
        return parse_qsl(text, keep_blank_values=True, max_num_fields=64, errors="strict" if strict else "replace")
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
    if not NUMBER.fullmatch(text):
        return text
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else float(text)
