"""What-if scenarios: other values of attributes that are known in advance, in the horizon of a forecast.

Here: what a scenario may say, in the words of Amazon Forecast (`TimeSeriesTransformations` with conditions, and
replacement rows), and what it makes of a series' covariates. Elsewhere: where scenarios are dropped and results go
(`pipeline.what_if`).

Only periods of the horizon are changed: the past is as it was. Transformations are applied in their order, each where all of
its conditions hold; conditions may be about the item, its dimensions and metadata, the time, and the attributes themselves, as
they are by then. Replacement rows come last.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.predictors.members.base import Covariates
from chronos_assets.timeseries.arrays import Booleans

Operation = Literal["ADD", "SUBTRACT", "MULTIPLY", "DIVIDE"]
Comparison = Literal["EQUALS", "NOT_EQUALS", "LESS_THAN", "GREATER_THAN"]

MOST_TRANSFORMATIONS, MOST_CONDITIONS = 30, 10  # the service's limits
MOST_NAMED = 10  # texts, in a message
ITEM, TIMESTAMP = "item_id", "timestamp"

_OPERATIONS: Mapping[str, Callable[[Any, float], Any]] = {
    "ADD": operator.add,
    "SUBTRACT": operator.sub,
    "MULTIPLY": operator.mul,
    "DIVIDE": operator.truediv,
}
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "EQUALS": operator.eq,
    "NOT_EQUALS": operator.ne,
    "LESS_THAN": operator.lt,
    "GREATER_THAN": operator.gt,
}
_ORDERS = ("LESS_THAN", "GREATER_THAN")  # no unknown value is before or after another


class ScenarioError(ChronosAssetsError):
    """A scenario that can't be applied; one line with what, where and how to fix it."""


@dataclass(frozen=True)
class ScenarioCondition:
    """Where a transformation applies: an attribute compared with a text, as the file has it."""

    attribute: str
    value: str
    comparison: Comparison

    def __str__(self) -> str:
        return f"{self.attribute} {self.comparison} {self.value!r}"


@dataclass(frozen=True)
class Transformation:
    """A change of a number that is known in advance."""

    attribute: str
    operation: Operation
    value: float
    conditions: tuple[ScenarioCondition, ...] = ()


@dataclass(frozen=True)
class Replacement:
    """Other values of some attributes of one series, or one item, in one period.

    Attributes:
        key: item id and the dimensions that the file has.
        timestamp: ISO text; the period that holds it is meant.
        values: by attribute; None for unknown.
        line: of the file, for messages.
    """

    key: Mapping[str, str]
    timestamp: str
    values: Mapping[str, float | str | None]
    line: int = 0


@dataclass(frozen=True)
class Scenario:
    """What is other than in the baseline.

    Attributes:
        name: of the scenario.
        transformations: in their order.
        replacements: rows, applied after them; one whose key is a part of another's gives way to it.
    """

    name: str
    transformations: tuple[Transformation, ...] = ()
    replacements: tuple[Replacement, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """The scenario as JSON values: the service's names."""
        return {
            "Name": self.name,
            "TimeSeriesTransformations": [
                {
                    "Action": {"AttributeName": one.attribute, "Operation": one.operation, "Value": one.value},
                    "TimeSeriesConditions": [
                        {"AttributeName": each.attribute, "AttributeValue": each.value, "Condition": each.comparison}
                        for each in one.conditions
                    ],
                }
                for one in self.transformations
            ],
            "Replacements": [
                {"key": dict(one.key), "timestamp": one.timestamp, "values": dict(one.values), "line": one.line}
                for one in self.replacements
            ],
        }

    @classmethod
    def from_document(cls, document: Any, source: str = "scenario") -> Scenario:
        """The scenario of a job's parameter.

        Raises:
            ScenarioError: it is none.
        """
        if not isinstance(document, dict) or not isinstance(document.get("Name"), str):
            raise ScenarioError(f"{source}: it must be an object with a Name")
        rows = document.get("Replacements") or []
        try:
            replacements = tuple(Replacement(**row) for row in rows)
        except TypeError as error:
            raise ScenarioError(f"{source}: Replacements: {error}") from error
        return cls(document["Name"], read_transformations(document, source), replacements)


def read_transformations(document: Any, source: str) -> tuple[Transformation, ...]:
    """The transformations of a file: an object with `TimeSeriesTransformations`, or the list itself.

    Raises:
        ScenarioError: something is missing, unknown or too much.
    """
    listed = document.get("TimeSeriesTransformations", []) if isinstance(document, dict) else document
    if not isinstance(listed, list):
        raise ScenarioError(f"{source}: TimeSeriesTransformations must be a list")
    if len(listed) > MOST_TRANSFORMATIONS:
        raise ScenarioError(f"{source}: {len(listed)} transformations; up to {MOST_TRANSFORMATIONS} are applied")
    return tuple(
        _transformation(one, f"{source}: TimeSeriesTransformations[{place}]") for place, one in enumerate(listed)
    )


def _transformation(value: Any, place: str) -> Transformation:
    fields = _fields(value, place, {"Action"}, {"TimeSeriesConditions"})
    action = _fields(fields["Action"], f"{place}.Action", {"AttributeName", "Operation", "Value"})
    if action["Operation"] not in get_args(Operation):
        raise ScenarioError(f"{place}.Action.Operation is {action['Operation']!r}: write {', '.join(_OPERATIONS)}")
    number = action["Value"]
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ScenarioError(f"{place}.Action.Value is {number!r}: it must be a number")
    if action["Operation"] == "DIVIDE" and number == 0:
        raise ScenarioError(f"{place}.Action.Value is 0: nothing can be divided by it")
    conditions = fields.get("TimeSeriesConditions") or []
    if not isinstance(conditions, list) or len(conditions) > MOST_CONDITIONS:
        raise ScenarioError(f"{place}.TimeSeriesConditions must be a list of up to {MOST_CONDITIONS} conditions")
    read = tuple(_condition(one, f"{place}.TimeSeriesConditions[{number}]") for number, one in enumerate(conditions))
    return Transformation(str(action["AttributeName"]), action["Operation"], float(number), read)


def _condition(value: Any, place: str) -> ScenarioCondition:
    fields = _fields(value, place, {"AttributeName", "AttributeValue", "Condition"})
    if fields["Condition"] not in get_args(Comparison):
        raise ScenarioError(f"{place}.Condition is {fields['Condition']!r}: write {', '.join(_COMPARISONS)}")
    return ScenarioCondition(str(fields["AttributeName"]), str(fields["AttributeValue"]), fields["Condition"])


def _fields(value: Any, place: str, required: set[str], optional: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    if not isinstance(value, dict):
        raise ScenarioError(f"{place} is {value!r}: it must be an object with {', '.join(sorted(required))}")
    missing, unknown = sorted(required - set(value)), sorted(set(value) - required - optional)
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which isn't known"
        raise ScenarioError(f"{place} {wrong}: it has {', '.join(sorted(required | optional))}")
    return value


@dataclass(frozen=True)
class Vocabulary:
    """What a scenario may name.

    Attributes:
        known: kind (`number`, `category`) of each attribute that is known in advance.
        past_only: attributes that aren't.
        dimensions: of the dataset.
        metadata: attributes of items.
    """

    known: Mapping[str, str]
    past_only: frozenset[str] = frozenset()
    dimensions: tuple[str, ...] = ()
    metadata: frozenset[str] = frozenset()

    def check(self, scenario: Scenario, source: str) -> Scenario:
        """The scenario with every attribute written as the data have it.

        Raises:
            ScenarioError: an attribute is unknown, past-only, or no number where one is to be changed.
        """
        changed = [self._check_transformation(one, place, source) for place, one in enumerate(scenario.transformations)]
        replaced = [self._check_replacement(one, source) for one in scenario.replacements]
        if not changed and not replaced:
            raise ScenarioError(f"{source}: it changes nothing; write TimeSeriesTransformations, or rows to replace")
        return Scenario(scenario.name, tuple(changed), tuple(replaced))

    def attribute(self, name: str, place: str) -> str:
        """An attribute that may be changed, as the data write it."""
        found = {one.lower(): one for one in self.known}.get(name.lower())
        if found is not None:
            return found
        if name.lower() in {one.lower() for one in self.past_only}:
            raise ScenarioError(
                f"{place}: {name} isn't known in advance, so a forecast doesn't read it beyond its as-of; supply its values "
                "for the horizon, or say so in Chronos.KnownInAdvance of params.json"
            )
        if name in self.metadata:
            raise ScenarioError(
                f"{place}: {name} is item metadata, which a scenario can't change; use it in a condition"
            )
        listed = ", ".join(self.known) or "none"
        raise ScenarioError(f"{place}: there is no attribute {name!r}; those known in advance are {listed}")

    def _check_transformation(self, one: Transformation, number: int, source: str) -> Transformation:
        place = f"{source}: TimeSeriesTransformations[{number}]"
        attribute = self.attribute(one.attribute, place)
        if self.known[attribute] != "number":
            raise ScenarioError(f"{place}: {attribute} is a category; replace it by rows of a CSV file instead")
        conditions = tuple(self._check_condition(each, place) for each in one.conditions)
        return Transformation(attribute, one.operation, one.value, conditions)

    def _check_condition(self, one: ScenarioCondition, place: str) -> ScenarioCondition:
        names = (ITEM, TIMESTAMP, *self.dimensions, *self.metadata, *self.known)
        found = {name.lower(): name for name in names}.get(one.attribute.lower())
        if found is None:
            raise ScenarioError(f"{place}: a condition is about {one.attribute!r}; it can be about {', '.join(names)}")
        if found == TIMESTAMP:
            _moment(one.value, f"{place}: condition {one}")
        elif self.known.get(found) == "number":
            _number(one.value, f"{place}: condition {one}")
        return ScenarioCondition(found, one.value, one.comparison)

    def _check_replacement(self, one: Replacement, source: str) -> Replacement:
        place = f"{source}, line {one.line}"
        values: dict[str, float | str | None] = {}
        for name, value in one.values.items():
            attribute = self.attribute(name, place)
            values[attribute] = (
                _number(str(value), f"{place}: {attribute}")
                if value is not None and self.known[attribute] == "number"
                else value
            )
        unknown = sorted(set(one.key) - {ITEM, *self.dimensions})
        if unknown:
            raise ScenarioError(f"{place}: {', '.join(unknown)} is neither {ITEM} nor a dimension")
        _moment(one.timestamp, f"{place}: {TIMESTAMP}")
        return Replacement(one.key, one.timestamp, values, one.line)


def _number(text: str, place: str) -> float:
    try:
        number = math.nan if "_" in text else float(text)  # Python reads 1_5 as fifteen
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ScenarioError(f"{place}: {text!r} is not a number")
    return number


def _moment(text: str, place: str) -> np.datetime64:
    """A time of the data's own clock; a Z at its end changes nothing, as in queries."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ScenarioError(f"{place}: {text!r} is not a time; write it as 2024-11-29 or 2024-11-29T13:00:00") from None
    if moment.utcoffset():
        raise ScenarioError(
            f"{place}: {text!r} is of another time zone; write it in the clock of your data, without one"
        )
    return np.datetime64(moment.replace(tzinfo=None), "us")


@dataclass
class ScenarioRun:
    """A scenario that is being applied to series after series; knows which of its parts met anything.

    Attributes:
        scenario: checked.
        names: of the key's parts: item_id and the dimensions.
        knows: whether an attribute's text moves the forecast of a series with such a past, see `Predictor.knows`.
    """

    scenario: Scenario
    names: tuple[str, ...]
    knows: Callable[[str, str, Sequence[str]], bool]
    _met: set[int] = field(default_factory=set)
    _replaced: set[int] = field(default_factory=set)
    # Of each replaced value, by series, attribute and period, the row that it came from.
    _rows: dict[tuple[tuple[str, ...], str, np.datetime64], Replacement] = field(default_factory=dict)
    # Rows, and attributes whose text means something to one of their series; means nothing to one, and what that had before.
    _known: set[tuple[int, str]] = field(default_factory=set)
    _unknown: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_item: dict[str | None, list[tuple[int, Replacement]]] = {}
        # Those of the fewest series first: a row of more of them gives way.
        for number, one in sorted(enumerate(self.scenario.replacements), key=lambda pair: -len(pair[1].key)):
            self._by_item.setdefault(one.key.get(ITEM), []).append((number, one))

    def apply(self, key: Sequence[str], covariates: Covariates, starts: NDArray[np.datetime64]) -> Covariates:
        """The covariates of a series under the scenario.

        Args:
            key: of the series.
            covariates: of the baseline.
            starts: first instants of the horizon's periods, and of the one after them, (horizon + 1,).
        """
        periods = covariates.periods
        named = dict(zip(self.names, key, strict=True))
        known = dict(covariates.known)
        for number, one in enumerate(self.scenario.transformations):
            values = known.get(one.attribute)
            if values is None:
                continue
            where = self._where(one, named, covariates.static, known, periods, starts[:-1])
            where &= np.isfinite(values[periods:])  # what isn't planned can't be changed
            if where.any():
                self._met.add(number)
                changed = np.array(values, dtype=np.float64)
                ahead = changed[periods:]
                ahead[where] = _OPERATIONS[one.operation](ahead[where], one.value)
                known[one.attribute] = changed
        for number, row in [*self._by_item.get(named[ITEM], ()), *self._by_item.get(None, ())]:
            self._replace(number, row, named, known, periods, starts)
        return Covariates(periods, covariates.past, known, covariates.static)

    def check_met(self) -> None:
        """See that every part of the scenario changed something.

        Raises:
            ScenarioError: one didn't: an item that isn't there, a condition that never holds, a time outside the horizon.
        """
        name = self.scenario.name
        for number, one in enumerate(self.scenario.transformations):
            if number not in self._met:
                where = " and ".join(str(each) for each in one.conditions) or "no condition"
                raise ScenarioError(
                    f"scenario {name}: TimeSeriesTransformations[{number}] changes nothing: no item has a value of "
                    f"{one.attribute} in the horizon where {where}; check the names and the times"
                )
        for number, row in enumerate(self.scenario.replacements):
            if number not in self._replaced:
                key = ", ".join(f"{part} {value!r}" for part, value in row.key.items())
                raise ScenarioError(
                    f"scenario {name}, line {row.line}: there is no series with {key} whose horizon holds {row.timestamp}, or "
                    "it has no related time series"
                )
        for number, name in sorted(self._unknown.keys() - self._known):
            row, before = self.scenario.replacements[number], self._unknown[number, name]
            raise ScenarioError(
                f"scenario {self.scenario.name}, line {row.line}: nothing is known of what {name} {row.values[name]!r} does to "
                "the forecast, since the past doesn't have it (often enough); it has "
                f"{', '.join(before[:MOST_NAMED]) or 'no text at all'}"
            )

    def _where(
        self,
        one: Transformation,
        named: Mapping[str, str],
        static: Mapping[str, float | str],
        known: Mapping[str, NDArray[Any]],
        periods: int,
        starts: NDArray[np.datetime64],
    ) -> Booleans:
        where = np.ones(len(starts), dtype=bool)
        for condition in one.conditions:
            compare = _COMPARISONS[condition.comparison]
            if condition.attribute == TIMESTAMP:
                where &= compare(starts, _moment(condition.value, condition.attribute))
            elif condition.attribute in known:
                values = known[condition.attribute][periods:]
                number = values.dtype.kind == "f"
                where &= compare(values, float(condition.value) if number else condition.value)
                if not number and condition.comparison in _ORDERS:
                    where &= values != ""
            else:
                value = named.get(condition.attribute, static.get(condition.attribute))
                number = isinstance(value, float)
                found = bool(compare(value, _number(condition.value, str(condition)) if number else condition.value))
                where &= found and not (value == "" and condition.comparison in _ORDERS)
        return where

    def _replace(
        self,
        number: int,
        row: Replacement,
        named: Mapping[str, str],
        known: dict[str, NDArray[Any]],
        periods: int,
        starts: NDArray[np.datetime64],
    ) -> None:
        if any(named.get(part) != value for part, value in row.key.items()):
            return
        place = int(np.searchsorted(starts, _moment(row.timestamp, TIMESTAMP), side="right")) - 1
        if not 0 <= place < len(starts) - 1:
            return
        if not row.values:  # every cell is empty, which leaves the values as they are
            self._replaced.add(number)
        for name, value in row.values.items():
            if name not in known:
                continue
            self._replaced.add(number)
            first = self._rows.setdefault((tuple(named.values()), name, starts[place]), row)
            if row.key.items() < first.key.items():
                continue
            if first.values[name] != value:
                raise ScenarioError(
                    f"scenario {self.scenario.name}, line {row.line}: {name} is {value} here and {first.values[name]} in line "
                    f"{first.line}, in one period of one series: keep one of them"
                )
            if known[name].dtype.kind == "f":
                changed = np.array(known[name], dtype=np.float64)
                changed[periods + place] = np.nan if value is None else float(value)
            else:
                texts = known[name].tolist()
                text, before = "" if value is None else str(value), texts[:periods]
                if text in ("", texts[periods + place]) or self.knows(name, text, before):
                    self._known.add((number, name))
                else:
                    self._unknown[number, name] = tuple(sorted({repr(one) for one in before if one}))
                texts[periods + place] = text
                changed = np.array(texts)
            known[name] = changed
