"""What a search for hyperparameters may ask for, checked before anything is launched.

Belongs here: rules of a `TuningRequest` that hold on every platform. Does not belong here: how a value is chosen
(`local/study.py`), what a hyperparameter means to the training job.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from chronos_assets.platforms.base import (
    CategoricalRange,
    ContinuousRange,
    IntegerRange,
    Range,
    TuningRequest,
    check_job_name,
)

_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SearchError(ValueError):
    """A search that can't be run as asked; the message names every problem and how to mend it."""


def check_search(request: TuningRequest) -> None:
    """Refuse a request that no platform could run.

    Raises:
        SearchError: of all that is wrong with it.
    """
    problems = list(_problems(request))
    if problems:
        raise SearchError(f"search {request.name}: {'; '.join(problems)}")


def _problems(request: TuningRequest) -> Iterator[str]:
    try:
        check_job_name(request.name)
    except ValueError as error:
        yield str(error)
    for name in ("max_jobs", "max_parallel_jobs"):
        value = getattr(request, name)
        if not _is_whole(value) or value < 1:
            yield f"{name} is {value!r}: give a whole number from 1"
    if not _is_whole(request.random_seed):
        yield f"random_seed is {request.random_seed!r}: give a whole number"
    yield from _regex_problems(request.metric_regex)
    for name in sorted(request.hyperparameters.keys() & request.ranges.keys()):
        yield f"hyperparameter {name!r} has a fixed value and a range: remove one"
    for name, value in request.hyperparameters.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            yield f"hyperparameter {name!r} is no JSON value: {error}"
    for name, values in request.ranges.items():
        yield from (f"range of {name!r}: {problem}" for problem in _range_problems(values))
    if not request.ranges and _is_whole(request.max_jobs) and request.max_jobs > 1:
        yield f"max_jobs is {request.max_jobs} and there is no range to search: add one, or set max_jobs to 1"
    for channel in request.inputs:
        if not _CHANNEL.fullmatch(channel):
            yield f"input channel {channel!r}: up to 64 letters, digits, '.', '_' and '-', a letter or digit first"


def _regex_problems(text: str) -> Iterator[str]:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        yield f"metric_regex {text!r} is no regular expression: {error}"
        return
    if groups != 1:
        yield f"metric_regex {text!r} has {groups} groups: put the number, and only that, into ( )"


def _range_problems(values: Range) -> Iterator[str]:
    if isinstance(values, CategoricalRange):
        yield from _category_problems(values)
        return
    low, high = values.low, values.high
    if isinstance(values, IntegerRange) and not (_is_whole(low) and _is_whole(high)):
        yield f"{low!r} to {high!r} are not whole numbers: give whole ones, or a continuous range"
        return
    if isinstance(values, ContinuousRange) and not (_is_finite(low) and _is_finite(high)):
        yield f"{low!r} to {high!r} are not finite numbers"
        return
    if values.scale not in ("linear", "log"):
        yield f"scale {values.scale!r} is neither 'linear' nor 'log'"
    if not low < high:
        yield f"its low end {low!r} is not below its high end {high!r}; one fixed value goes among the hyperparameters"
    if values.scale == "log" and not low > 0:
        yield f"on a log scale its low end must be above 0, not {low!r}"


def _category_problems(values: CategoricalRange) -> Iterator[str]:
    if not values.values:
        yield "it has no values"
    for value in values.values:
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            yield f"{value!r} is no text, finite number, true or false"
    # Equal is what a search takes for the same, and to Python 1 == 1.0 == True.
    twice = [value for number, value in enumerate(values.values) if value in values.values[:number]]
    if twice:
        yield f"{twice[0]!r} is there twice"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
