"""Predictions as the documents that clients read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from chronos_assets.calendar.periods import period
from chronos_assets.serving.schema import CSV, JSON, Call, ContentType, Parameters, Prediction, SeriesInput

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
