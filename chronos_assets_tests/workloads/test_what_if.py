"""What-if forecasts: what a scenario changes, by how much, and how it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.predictors.scenario import Scenario, ScenarioError, read_transformations
from chronos_assets_tests.predictors.demand import ELASTICITY, PROMOTION, Demand, shops
from chronos_assets_tests.workloads.test_covariates import CUT, HORIZON, PERIODS, run, write

pytestmark = pytest.mark.process  # a forecast job each, after a predictor was learned

CHEAPER = {"Action": {"AttributeName": "price", "Operation": "MULTIPLY", "Value": 0.9}}


@pytest.fixture(scope="module")
def sales() -> list[Demand]:
    return shops(items=12, periods=PERIODS, horizon=HORIZON)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, sales) -> Path:
    return write(tmp_path_factory.mktemp("inputs"), sales)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory, inputs) -> np.ndarray:
    return medians(run(tmp_path_factory.mktemp("jobs") / "baseline", inputs))


def scenario(*transformations: Any, rows: Any = ()) -> dict[str, Any]:
    return {"Name": "trial", "TimeSeriesTransformations": list(transformations), "Replacements": list(rows)}


def row(item: str | None, day: int, **values: Any) -> dict[str, Any]:
    key = {} if item is None else {"item_id": item}
    return {"key": key, "timestamp": f"2023-06-{day:02d}", "values": values, "line": 2}


def where(attribute: str, comparison: str, value: str) -> dict[str, str]:
    return {"AttributeName": attribute, "AttributeValue": value, "Condition": comparison}


def medians(output: Path) -> np.ndarray:
    table = pq.read_table(output / "as_of=2023-06-05" / "forecast.parquet", partitioning=None)
    return table["p50"].to_numpy().reshape(-1, HORIZON)


def forecast_of(tmp_path: Path, inputs: Path, *transformations: Any, rows: Any = ()) -> np.ndarray:
    return medians(run(tmp_path / "job", inputs, scenario=scenario(*transformations, rows=rows)))


def test_ten_percent_off_moves_the_forecast_by_the_elasticity(tmp_path, inputs, baseline):
    found = forecast_of(tmp_path, inputs, CHEAPER)
    assert np.log(found / baseline).mean() / np.log(0.9) == pytest.approx(ELASTICITY, rel=0.2)


def test_conditions_choose_items_metadata_times_and_values(tmp_path, inputs, baseline, sales):
    conditions = [where("colour", "EQUALS", "red"), where("timestamp", "GREATER_THAN", "2023-06-07")]
    found = forecast_of(tmp_path / "colour", inputs, {**CHEAPER, "TimeSeriesConditions": conditions})
    moved = found != baseline
    assert moved[:6, 2:].all()
    assert not moved[6:].any()
    assert not moved[:, :2].any()
    dear = [where("PRICE", "GREATER_THAN", "10")]
    found = forecast_of(tmp_path / "price", inputs, {**CHEAPER, "TimeSeriesConditions": dear})
    prices = np.stack([one.covariates.known["price"][CUT : CUT + HORIZON] for one in sales])
    assert ((found != baseline) == (prices > 10)).all()


def test_rows_replace_what_was_planned(tmp_path, inputs, baseline, sales):
    planned = sales[3].covariates.known["promotion"][CUT : CUT + HORIZON]
    day = int(np.flatnonzero(planned == 0)[0])
    found = forecast_of(tmp_path, inputs, rows=[row("item-03", 6 + day, promotion=1.0)])
    assert found[3, day] / baseline[3, day] == pytest.approx(PROMOTION, rel=0.2)
    changed = found != baseline
    changed[3, day] = False
    assert not changed.any()


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (
            {"AttributeName": "colr", "Operation": "ADD", "Value": 1},
            "there is no attribute 'colr'; those known in advance are",
        ),
        ({"AttributeName": "visits", "Operation": "ADD", "Value": 1}, "visits isn't known in advance"),
        ({"AttributeName": "colour", "Operation": "ADD", "Value": 1}, "colour is item metadata"),
        ({"AttributeName": "price", "Operation": "POWER", "Value": 1}, "Operation is 'POWER': write ADD"),
        ({"AttributeName": "price", "Operation": "DIVIDE", "Value": 0}, "nothing can be divided"),
        ({"AttributeName": "price", "Operation": "ADD", "Value": "x"}, "Value is 'x': it must be a number"),
        ({"AttributeName": "price", "Operation": "ADD"}, "lacks Value"),
    ],
)
def test_wrong_actions_are_refused(tmp_path, inputs, action, reason):
    with pytest.raises(ChronosAssetsError, match=reason):
        forecast_of(tmp_path, inputs, {"Action": action})


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (where("item_id", "EQUALS", "item-99"), "changes nothing: no item has a value of price"),
        (where("timestamp", "LESS_THAN", "2023-06-01"), "changes nothing"),
        (where("shop", "EQUALS", "x"), "a condition is about 'shop'; it can be about item_id, timestamp, colour"),
        (where("price", "LESS_THAN", "cheap"), "'cheap' is not a number"),
        (where("timestamp", "LESS_THAN", "soon"), "'soon' is not a time"),
        (where("price", "LIKE", "1"), "Condition is 'LIKE'"),
    ],
)
def test_wrong_conditions_are_refused(tmp_path, inputs, condition, reason):
    with pytest.raises(ChronosAssetsError, match=reason):
        forecast_of(tmp_path, inputs, {**CHEAPER, "TimeSeriesConditions": [condition]})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (row("item-99", 7, price=1.0), "line 2: there is no series with item_id 'item-99'"),
        (row("item-01", 29, price=1.0), "whose horizon holds 2023-06-29"),
        (row("item-01", 7, visits=1.0), "visits isn't known in advance"),
        (row("item-01", 7, price="dear"), "'dear' is not a number"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, inputs, wrong, reason):
    with pytest.raises(ChronosAssetsError, match=reason):
        forecast_of(tmp_path, inputs, rows=[wrong])


def test_a_scenario_that_changes_nothing_is_refused(tmp_path, inputs):
    with pytest.raises(ScenarioError, match="it changes nothing"):
        forecast_of(tmp_path, inputs)


def test_without_covariates_there_is_nothing_to_change(tmp_path, inputs):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "dataset").symlink_to(inputs / "dataset")
    with pytest.raises(ScenarioError, match="covariates have no weight"):
        run(tmp_path / "job", bare, holidays=None, scenario=scenario(CHEAPER))


def test_a_scenario_is_read_back_as_it_was_written():
    document = scenario(
        {**CHEAPER, "TimeSeriesConditions": [where("price", "LESS_THAN", "5")]}, rows=[row("a", 7, price=None)]
    )
    found = Scenario.from_document(document)
    assert Scenario.from_document(found.to_document()) == found
    assert read_transformations(document["TimeSeriesTransformations"], "file") == found.transformations


def test_more_than_thirty_transformations_are_refused():
    with pytest.raises(ScenarioError, match="31 transformations; up to 30"):
        read_transformations([CHEAPER] * 31, "what_if/trial.json")
