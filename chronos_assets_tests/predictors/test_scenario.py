"""What a scenario makes of a series' covariates, beside a series changed by hand; and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chronos_assets.predictors.members.base import Covariates
from chronos_assets.predictors.scenario import (
    Replacement,
    Scenario,
    ScenarioError,
    ScenarioRun,
    Vocabulary,
    read_transformations,
)

PAST, AHEAD = 2, 4
STARTS = np.datetime64("2024-01-03", "us") + np.arange(AHEAD + 1) * np.timedelta64(1, "D")
WORDS = Vocabulary(
    {"price": "number", "event": "category"}, frozenset({"visits"}), ("shop",), frozenset({"brand", "size"})
)


def change(operation: str, value: float, *conditions: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "Action": {"AttributeName": "price", "Operation": operation, "Value": value},
        "TimeSeriesConditions": [
            {"AttributeName": name, "Condition": comparison, "AttributeValue": text}
            for name, comparison, text in conditions
        ],
    }


def checked(*transformations: Any, rows: Any = ()) -> Scenario:
    return WORDS.check(Scenario("trial", read_transformations(list(transformations), "trial"), tuple(rows)), "trial")


def prices(
    scenario: Scenario, planned: list[float], *, events: list[str] | None = None, item: str = "a", brand: str = "Acme"
) -> list[float]:
    """The price of a series in its past and its horizon under a scenario, every part of which must have met something."""
    known = {
        "price": np.array([9.0, 9.0, *planned]),
        "event": np.array([*[""] * PAST, *(events or [""] * AHEAD)]),
    }
    run = ScenarioRun(scenario, ("item_id", "shop"), lambda name, text, past: text in ("fair", *past))
    static: dict[str, float | str] = {"brand": brand, "size": float("nan")}
    found = run.apply((item, "north"), Covariates(PAST, {}, known, static), STARTS)
    run.check_met()
    return found.known["price"].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [("ADD", [3, 4, 5, 6]), ("SUBTRACT", [-1, 0, 1, 2]), ("MULTIPLY", [2, 4, 6, 8]), ("DIVIDE", [0.5, 1, 1.5, 2])],
)
def test_only_the_horizon_is_changed(operation: str, expected: list[float]) -> None:
    assert prices(checked(change(operation, 2)), [1, 2, 3, 4]) == [9, 9, *expected]


def test_transformations_come_in_their_order_each_where_its_conditions_hold_by_then() -> None:
    first = change("MULTIPLY", 10, ("timestamp", "LESS_THAN", "2024-01-05"))
    second = change("ADD", 1, ("price", "GREATER_THAN", "4"))
    assert prices(checked(first, second), [1, 2, 3, 5]) == [9, 9, 11, 21, 3, 6]


def test_what_is_not_planned_can_not_be_changed() -> None:
    nan = float("nan")
    assert prices(checked(change("ADD", 1)), [1, nan, nan, 4])[PAST::3] == [2, 5]
    with pytest.raises(ScenarioError, match="no item has a value of price in the horizon"):
        prices(checked(change("MULTIPLY", 0.9)), [nan] * AHEAD)


@pytest.mark.parametrize("condition", [("brand", "LESS_THAN", "Acme"), ("event", "LESS_THAN", "fair")])
def test_an_unknown_text_is_before_no_other(condition: tuple[str, str, str]) -> None:
    with pytest.raises(ScenarioError, match="changes nothing"):
        prices(checked(change("ADD", 1, condition)), [1, 2, 3, 4], brand="")
    assert prices(checked(change("ADD", 1, condition)), [1, 2, 3, 4], events=["a"] * AHEAD, brand="A")[PAST] == 2


def test_rows_come_last_and_an_empty_one_changes_nothing() -> None:
    rows = [
        Replacement({"item_id": "a"}, "2024-01-04T12:00:00Z", {"price": "7"}, 2),
        Replacement({"item_id": "a", "shop": "north"}, "2024-01-06", {}, 3),
    ]
    assert prices(checked(change("ADD", 1), rows=rows), [1, 2, 3, 4]) == [9, 9, 2, 7, 4, 5]


def test_a_text_that_the_past_does_not_have_is_refused_instead_of_changing_nothing() -> None:
    row = Replacement({"item_id": "a"}, "2024-01-04", {"event": "fiar"}, 2)
    with pytest.raises(
        ScenarioError, match=r"line 2: nothing is known of what event 'fiar' does .* it has no text at all"
    ):
        prices(checked(rows=[row]), [1, 2, 3, 4])
    for text, planned in (("fair", "sale"), ("fiar", "fiar")):  # learned; as planned
        row = Replacement({"item_id": "a"}, "2024-01-04", {"event": text}, 2)
        prices(checked(rows=[row]), [1, 2, 3, 4], events=[planned] * AHEAD)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Replacement({"item_id": "a"}, "2024-01-04T00:00:00+02:00", {"price": "7"}, 2), "another time zone"),
        (Replacement({"item_id": "a"}, "2024-01-04", {"price": "inf"}, 2), "line 2: price: 'inf' is not a number"),
        (Replacement({"item_id": "a"}, "2024-01-04", {"price": "nan"}, 2), "'nan' is not a number"),
        (Replacement({"item_id": "a"}, "2024-01-04", {"price": "1_5"}, 2), "'1_5' is not a number"),
    ],
)
def test_times_of_other_zones_and_numbers_that_are_none_are_refused(row: Replacement, said: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        checked(rows=[row])
    assert said in str(refused.value)


@pytest.mark.parametrize("order", [1, -1])
def test_a_row_of_more_series_gives_way_to_one_of_fewer(order: int) -> None:
    rows = [
        Replacement({"item_id": "a"}, "2024-01-04", {"price": "7", "event": "unheard-of"}, 2),
        Replacement({"item_id": "a"}, "2024-01-05", {"price": "7"}, 3),
        Replacement({"item_id": "a", "shop": "north"}, "2024-01-04", {"price": "8", "event": "fair"}, 4),
    ][::order]
    assert prices(checked(rows=rows), [1, 2, 3, 4]) == [9, 9, 1, 8, 7, 4]


def test_two_rows_that_say_different_things_are_refused() -> None:
    rows = [
        Replacement({"item_id": "a"}, "2024-01-04", {"price": value}, line) for line, value in ((2, "7"), (3, "7.0"))
    ]
    assert checked(rows=rows).replacements[1].values == {"price": 7.0}
    for text in ("2024-01-04", "2024-01-04 00:00:00", "2024-01-04T13:00:00"):  # all in one period
        other = Replacement({"item_id": "a"}, text, {"price": "8"}, 4)
        with pytest.raises(ScenarioError, match=r"line 4: price is 8\.0 here and 7\.0 in line 2, in one period"):
            prices(checked(rows=[*rows, other]), [1, 2, 3, 4])
