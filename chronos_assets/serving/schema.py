"""What a request may ask: its types, limits and errors.

Here: what is the same whatever a request is written in, and the checks of a single value. Elsewhere: reading a body
(`json_requests`, `csv_requests`), and how much of it is too much (`requests`).

The schema is the public Chronos JumpStart one,
https://github.com/amazon-science/chronos-forecasting (notebooks, deploy-chronos-to-amazon-sagemaker).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.calendar.periods import period
from chronos_assets.container.contract import LONGEST_ANSWER
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.arrays import Floats

ContentType = Literal["application/json", "application/jsonlines", "text/csv"]

JSON: ContentType = "application/json"
JSON_LINES: ContentType = "application/jsonlines"
CSV: ContentType = "text/csv"
CONTENT_TYPES: tuple[ContentType, ...] = (JSON, JSON_LINES, CSV)

_OTHER_NAMES: Mapping[str, ContentType] = {"application/x-jsonlines": JSON_LINES, "application/jsonl": JSON_LINES}

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_ITEM_ID = 1024


class InvocationError(ChronosAssetsError):
    """A request that can't be answered.

    Attributes:
        status: of the HTTP answer.
        field: where, as `inputs[0].target[3]`.
        message: what is wrong there and how to fix it.
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
        attributes: that a predictor's regression on covariates reads: kind (`number`, `category`) by name; empty without one.
        past_only: those of them that aren't known in advance.
        seasons: periods of those that a predictor's members follow; None where the model is no predictor.
    """

    model: str
    quantile_range: tuple[float, float]
    joint: bool
    limits: Limits = Limits()
    defaults: Parameters = Parameters()
    attributes: Mapping[str, str] = field(default_factory=dict)
    past_only: frozenset[str] = frozenset()
    seasons: tuple[int, ...] | None = None


Covariates = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SeriesInput:
    """One series of a request.

    Attributes:
        place: where in the request, for messages.
        target: (T,), or (D, T) of several dimensions; NaN where nothing was observed.
        start: of the first period.
        past_covariates: name -> (T,) float64 or text; future_covariates: name -> (prediction length,).
        baseline_covariates: of a what-if, values that some of `future_covariates` would have without it, (prediction length,).
    """

    place: str
    target: Floats
    item_id: str | None = None
    start: datetime | None = None
    past_covariates: Covariates = field(default_factory=dict)
    future_covariates: Covariates = field(default_factory=dict)
    baseline_covariates: Covariates = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """Series that are forecast with the same parameters. `lone` is one that is answered without `predictions` around."""

    inputs: tuple[SeriesInput, ...]
    parameters: Parameters
    lone: bool = False

    @property
    def joint(self) -> bool:
        """Whether it asks for what only a model that reads several series at once can do; or for covariates."""
        return self.together or self.covariates

    @property
    def together(self) -> bool:
        """Whether series or dimensions are to be read together."""
        return self.parameters.cross_learning or any(item.target.ndim > 1 for item in self.inputs)

    @property
    def covariates(self) -> bool:
        """Whether covariates are given."""
        return any(item.past_covariates or item.future_covariates for item in self.inputs)


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
            "Content-Type", f"{shown_value(header)} is not read here: send {', '.join(CONTENT_TYPES)} in UTF-8", 415
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
        raise InvocationError(
            "Accept", f"{shown_value(header)} is not given here: ask for {', '.join(CONTENT_TYPES)}", 406
        )
    return best[1]


def _known(name: str) -> ContentType | None:
    return next((kind for kind in CONTENT_TYPES if kind == name), _OTHER_NAMES.get(name))


def _weight(text: str) -> float:
    return float(text) if NUMBER.fullmatch(text) else 0.0


def too_large(limits: Limits) -> InvocationError:
    """The error of a body that is longer than the limit."""
    return InvocationError(
        "body", f"more than {limits.max_body_bytes} bytes: send fewer series or shorter targets at once", 413
    )


# JSON


class NotFiniteNumber:
    """Stands where a document had `NaN`, `Infinity` or `-Infinity`, which are not JSON."""

    def __init__(self, name: str) -> None:
        self.name = name


def shown_value(value: Any) -> str:
    """A value in a message: as JSON, cut to a readable length."""
    if isinstance(value, NotFiniteNumber):
        return value.name
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return shortened(json.dumps(value))


def shortened(text: str) -> str:
    """A text cut to 60 characters."""
    return text if len(text) <= 60 else text[:57] + "..."


def shown_key(name: str) -> str:
    """A key in the place that a message names."""
    return shortened(name) or '""'


def check_observed(target: Floats, place: str) -> None:
    """Refuses a series without any observation."""
    if np.isnan(target).all():
        raise InvocationError(place, "no observation: at least one value must not be null")


def check_item_id(value: Any, place: str) -> None:
    """Refuses an item id that is no text or too long."""
    if not isinstance(value, str) or len(value) > _MAX_ITEM_ID:
        what = shown_value(value) if not isinstance(value, str) else f"{len(value)} characters"
        raise InvocationError(place, f"{what}: give text of up to {_MAX_ITEM_ID} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvocationError(place, "half of a surrogate pair: give valid Unicode") from None


def parse_start(value: Any, place: str) -> datetime | None:
    """The start of a series, or None."""
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise TypeError
        return datetime.fromisoformat(value.strip())
    except (TypeError, ValueError):
        raise InvocationError(
            place, f"{shown_value(value)} is no time: write 2024-01-31 or 2024-01-31T23:00:00"
        ) from None


def check_joint(parameters: Parameters, schema: Schema, place: str) -> None:
    """Refuses cross-learning where the model can't."""
    if parameters.cross_learning and not schema.joint:
        raise InvocationError(
            f"{place}parameters.cross_learning",
            f"{schema.model} forecasts each series alone: write false, or serve a Chronos-2 model",
        )


def check_frequency(frequency: Frequency, schema: Schema, place: str) -> None:
    """Refuses series of another frequency than the predictor's: its seasons would be taken for theirs."""
    own = frequency.candidate_seasons
    if schema.seasons is not None and own != schema.seasons:
        raise InvocationError(
            place,
            f"{frequency}: {schema.model} was learned from series with {_seasons_text(schema.seasons)}, series of {frequency} "
            f"have {_seasons_text(own)}: send series of the frequency that it was learned from",
        )


def _seasons_text(seasons: tuple[int, ...]) -> str:
    if not seasons:
        return "no season"
    return f"{'seasons' if len(seasons) > 1 else 'a season'} of {' and '.join(map(str, seasons))} periods"


def last_period(start: datetime, frequency: Frequency, count: int, place: str) -> datetime:
    """Start of the last of `count` periods.

    Raises:
        InvocationError: it lies after the year 9999.
    """
    try:
        return period(start, frequency, count - 1)
    except OverflowError:
        raise InvocationError(place, "the forecast would end after the year 9999: give an earlier start") from None
