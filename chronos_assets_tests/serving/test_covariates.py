"""Covariates at the endpoint: a predictor that has learned from some reads them, another value is a what-if."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.models.checkpoints import describe_model
from chronos_assets.models.loading import load_model
from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows
from chronos_assets.predictors.covariates import keep_beside
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.members.base import LEVELS, Covariates
from chronos_assets.predictors.members.regression import History
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.zero_shot import learn_predictor
from chronos_assets.serving.predictor import BatchPredictor, series_key
from chronos_assets.serving.requests import parse
from chronos_assets.serving.schema import JSON, Call, InvocationError, Parameters, Schema, SeriesInput
from chronos_assets.workloads.serve import ServeOptions, build_endpoint
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.predictors.demand import ELASTICITY, Demand, shops
from chronos_assets_tests.workloads.test_covariates import CUT, FEASTS, bytes_of, run, write

HORIZON, PERIODS = 7, 170
NAMES = ("price", "promotion")


@pytest.fixture(scope="module")
def sales() -> list[Demand]:
    return shops(items=12, periods=PERIODS, horizon=HORIZON)


@pytest.fixture(scope="module")
def learned(sales) -> Predictor:
    known = [Covariates(PERIODS, {}, {name: one.covariates.known[name] for name in NAMES}) for one in sales]
    past = [
        BacktestPast((f"item{place}",), one.values[:PERIODS], one.values[:PERIODS], end=PERIODS - 1, covariates=beside)
        for place, (one, beside) in enumerate(zip(sales, known, strict=True))
    ]
    windows = past_windows(past, HORIZON, season=7)
    histories = [History(item.values, item.covariates) for item in past if item.covariates]
    return learn_predictor(windows, {}, Recipe(HORIZON, (7,)), histories=histories)


@pytest.fixture(scope="module")
def served(learned) -> BatchPredictor:
    model = load_model(describe_model(str(folder_of("bolt"))))
    return BatchPredictor(model, ensemble=Ensemble(learned, {}, HORIZON, (0.5,)))


@pytest.fixture
def schema(learned) -> Schema:
    assert learned.regression is not None
    kinds, past_only = learned.regression.named
    return Schema("model v1", (0.01, 0.99), False, attributes=kinds, past_only=past_only)


@pytest.mark.process
@pytest.mark.parametrize(
    ("family", "members"), [("bolt", ["theta", "regression/theta"]), ("chronos2", ["chronos/covariates"])]
)
def test_metadata_and_days_of_ones_own_are_known_as_in_the_batch(tmp_path, sales, family, members):
    inputs = write(tmp_path / "in", sales)
    options = {"model": str(folder_of(family)), "zero_shot": {"members": members}}
    output = run(tmp_path / "job", inputs, **options)
    if family == "bolt":
        of_items = bytes_of(output)
        output = run(tmp_path / "again", with_segments(inputs, output), **options)
        assert bytes_of(output) != of_items
    served = tmp_path / "model"
    shutil.copytree(folder_of(family), served)
    shutil.copy(output / "as_of=2023-06-05" / "predictor.json", served)
    keep_beside(served, inputs / "item_metadata", FEASTS)
    endpoint = build_endpoint(ServeOptions(), load_model(describe_model(str(served))))

    def quantiles(start: str) -> np.ndarray:
        inputs = []
        for place, one in enumerate(sales):
            known = one.covariates.known
            visits = np.random.default_rng(place).normal(100, 10, PERIODS)
            inputs.append(
                {
                    "item_id": f"item-{place:02d}",
                    "start": start,
                    "target": one.values[:CUT].tolist(),
                    "past_covariates": {
                        "visits": visits[:CUT].tolist(),
                        **{name: known[name][:CUT].tolist() for name in NAMES},
                    },
                    "future_covariates": {name: known[name][CUT : CUT + HORIZON].tolist() for name in NAMES},
                }
            )
        parameters = {"prediction_length": HORIZON, "quantile_levels": [0.1, 0.5, 0.9], "freq": "D"}
        (call,) = parse(json.dumps({"inputs": inputs, "parameters": parameters}).encode(), JSON, endpoint.schema)
        key, items = endpoint.predictor.items(call)
        return np.stack([prediction.quantiles for (prediction,) in endpoint.predictor.run(key, items)])

    table = pq.read_table(output / "as_of=2023-06-05" / "forecast.parquet", partitioning=None)
    expected = np.stack([table[name].to_numpy() for name in ("p10", "p50", "p90")], axis=1).reshape(12, HORIZON, 3)
    largest = np.abs(expected).max(axis=(1, 2), keepdims=True)
    assert (np.abs(quantiles("2023-01-01") - expected) / largest).max() < 1e-5
    # From another day on holidays are on other days: that they are read shows that the comparison could fail.
    assert (np.abs(quantiles("2023-01-20") - expected) / largest).max() > 1e-5


def with_segments(inputs: Path, output: Path) -> Path:
    """The inputs with what a job has learned, but for weights that are the segments' instead of the items'."""
    document = json.loads((output / "as_of=2023-06-05" / "predictor.json").read_text())
    weights = {"red": {"theta": 0.8, "regression/theta": 0.2}, "blue": {"theta": 0.1, "regression/theta": 0.9}}
    rows = [{"attribute": "colour", "value": value, "weights": own} for value, own in weights.items()]
    document |= {"members": ["theta", "regression/theta"], "items": [], "segments": rows}
    (inputs / "predictors").mkdir()
    (inputs / "predictors" / f"{document['learned']['key']}.json").write_text(json.dumps(document))
    return inputs


def request(one: Demand, **changes: Any) -> bytes:
    known = one.covariates.known
    series = {
        "target": one.values[:PERIODS].tolist(),
        "past_covariates": {name: known[name][:PERIODS].tolist() for name in NAMES},
        "future_covariates": {name: known[name][PERIODS:].tolist() for name in NAMES},
    }
    for part, values in changes.items():
        series[part] = series.get(part, {}) | values
    return json.dumps(
        {"inputs": [series], "parameters": {"prediction_length": HORIZON, "quantile_levels": [0.5]}}
    ).encode()


def answer(served: BatchPredictor, schema: Schema, body: bytes) -> np.ndarray:
    (call,) = parse(body, JSON, schema)
    key, items = served.items(call)
    ((prediction,),) = served.run(key, items)
    return prediction.quantiles[:, 0]


def test_the_answer_is_the_batch_forecast(served, schema, learned, sales):
    one = sales[2]
    beside = Covariates(PERIODS, {}, {name: one.covariates.known[name] for name in NAMES})
    batch = Ensemble(learned, {}, HORIZON, LEVELS).forecast([one.values[:PERIODS]], covariates=[beside])
    assert answer(served, schema, request(one)) == pytest.approx(batch.quantiles[0, :, LEVELS.index(0.5)], rel=1e-9)


def test_a_series_is_known_by_its_item_id_whatever_its_names_hold() -> None:
    own, items = {"a / b / c": ("a", "b / c")}, ("x / y", "x")
    texts = ("a / b / c", "x / y", "x / y / north", "x / z", "plain", "")
    assert [series_key(text, own, items) for text in texts] == [
        ("a", "b / c"), ("x / y",), ("x / y", "north"), ("x", "z"), ("plain",), ("",),
    ]  # fmt: skip


def test_a_lower_price_in_the_future_is_a_what_if(served, schema, learned, sales):
    one = sales[2]
    weight = dict(zip(learned.members, learned.weights, strict=True))
    assert sum(share for name, share in weight.items() if name.startswith("regression/")) > 0.9
    price = one.covariates.known["price"][PERIODS:]
    cheaper = answer(served, schema, request(one, future_covariates={"price": (0.9 * price).tolist()}))
    ratio = np.log(cheaper / answer(served, schema, request(one))).mean() / np.log(0.9)
    assert ratio == pytest.approx(ELASTICITY, rel=0.2)


def test_members_without_covariates_follow_a_what_if_that_names_its_baseline(schema, learned, sales):
    half = replace(learned, members=("theta", learned.members[0]), weights=np.array([0.5, 0.5]), items={}, segments={})
    model = load_model(describe_model(str(folder_of("bolt"))))
    served = BatchPredictor(model, ensemble=Ensemble(half, {}, HORIZON, (0.5,)))
    one = sales[4]
    known = {name: one.covariates.known[name] for name in NAMES}
    changed = known | {"price": np.append(known["price"][:PERIODS], 0.8 * known["price"][PERIODS:])}
    covariates, baseline = (Covariates(PERIODS, {}, values) for values in (changed, known))
    batch = Ensemble(half, {}, HORIZON, LEVELS).forecast(
        [one.values[:PERIODS]], covariates=[covariates], baseline=[baseline]
    )
    cheaper = request(one, future_covariates={"price": changed["price"][PERIODS:].tolist()})
    body = json.loads(cheaper)
    body["inputs"][0]["baseline_covariates"] = {"price": known["price"][PERIODS:].tolist()}
    moved = answer(served, schema, json.dumps(body).encode())
    assert moved == pytest.approx(batch.quantiles[0, :, LEVELS.index(0.5)], rel=1e-9)
    assert np.all(moved != answer(served, schema, cheaper))


def test_widened_bands_and_a_shorter_context_are_those_of_the_batch(tmp_path, learned, sales):
    shutil.copytree(folder_of("bolt"), tmp_path / "model")
    learned.save(tmp_path / "model")
    options = ServeOptions(live_width=1.5, context_length=60)
    endpoint = build_endpoint(options, load_model(describe_model(str(tmp_path / "model"))))
    values, levels = sales[2].values[:PERIODS], (0.1, 0.5, 0.9)
    parameters = {"prediction_length": HORIZON, "quantile_levels": levels}
    body = json.dumps({"inputs": [{"target": values.tolist()}], "parameters": parameters}).encode()
    (call,) = parse(body, JSON, endpoint.schema)
    ((answered,),) = endpoint.predictor.run(*endpoint.predictor.items(call))

    def batch(width: float, context: int | None) -> np.ndarray:
        ensemble = Ensemble(replace(learned, live_width=width), {}, HORIZON, levels, context_length=context)
        return ensemble.forecast([values], covariates=[Covariates()], non_negative=[True]).quantiles[0]

    assert answered.quantiles == pytest.approx(batch(1.5, 60), rel=1e-9)
    for width, context in ((1.0, 60), (1.5, None)):
        assert answered.quantiles != pytest.approx(batch(width, context), rel=1e-5)


def test_without_covariates_the_other_members_answer(served, schema, sales):
    body = json.dumps(
        {
            "inputs": [{"target": sales[0].values[:PERIODS].tolist()}],
            "parameters": {"prediction_length": HORIZON, "quantile_levels": [0.5]},
        }
    ).encode()
    assert np.isfinite(answer(served, schema, body)).all()


@pytest.mark.parametrize(
    ("changes", "place", "reason"),
    [
        ({"past_covariates": {"colour": [1.0] * PERIODS}}, "inputs[0].past_covariates.colour", "from price, promotion"),
        ({"future_covariates": {"colour": [1.0] * HORIZON}}, "inputs[0].future_covariates.colour", "has learned from"),
        ({"past_covariates": {"price": ["dear"] * PERIODS}}, "inputs[0].past_covariates.price", "give numbers"),
        ({"baseline_covariates": {"colour": [1.0] * HORIZON}}, "inputs[0].future_covariates.colour", "required, since"),
        ({"future_covariates": {"price": [1.0]}}, "inputs[0].future_covariates.price", "give one for each period"),
    ],
)  # fmt: skip
def test_other_covariates_are_refused(schema, sales, changes, place, reason):
    with pytest.raises(InvocationError, match=reason) as caught:
        parse(request(sales[0], **changes), JSON, schema)
    assert caught.value.field == place


def test_a_what_if_with_a_text_that_the_past_does_not_have_is_refused(served):
    def asked(*texts: str) -> Call:
        past, future, planned = (np.array(each) for each in (["fair", ""], texts, [""] * len(texts)))
        given = ({"event": past}, {"event": future}, {"event": planned})
        return Call((SeriesInput("inputs[0]", np.array([1.0, 2.0]), None, None, *given),), Parameters(len(texts)))

    with pytest.raises(InvocationError, match='nothing is known of what "fiar" does') as caught:
        served.items(asked("", "fiar"))
    assert caught.value.field == "inputs[0].future_covariates.event[1]"


def test_a_start_with_an_offset_has_no_calendar_of_the_day_before(served, learned, schema, sales):
    body = json.loads(request(sales[2]))
    body["parameters"]["freq"] = "D"

    def of_start(start: str, by: BatchPredictor = served) -> np.ndarray:
        body["inputs"][0]["start"] = start
        return answer(by, schema, json.dumps(body).encode())

    for offset in ("+02:00", "Z"):
        with pytest.raises(InvocationError, match=r"inputs\[0\].start: has an offset"):
            of_start(f"2023-01-02T00:00:00{offset}")
    in_utc = BatchPredictor(served.model, ensemble=Ensemble(learned, {}, HORIZON, (0.5,)), in_utc=True)
    assert of_start("2023-01-02T00:00:00Z", in_utc).tolist() == of_start("2023-01-02").tolist()
    with pytest.raises(InvocationError, match="has an offset"):
        of_start("2023-01-02T00:00:00+02:00", in_utc)


def test_a_past_only_attribute_has_no_future(sales):
    schema = Schema(
        "model v1",
        (0.01, 0.99),
        False,
        attributes={"price": "number", "promotion": "number"},
        past_only=frozenset({"price"}),
    )
    with pytest.raises(InvocationError, match="it isn't known in advance"):
        parse(request(sales[0]), JSON, schema)
