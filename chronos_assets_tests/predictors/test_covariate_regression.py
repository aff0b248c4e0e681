"""What a regression on covariates finds where the truth is known, and what it must not do."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import numpy as np
import pytest

from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows
from chronos_assets.predictors.backtester import histories_before
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import Contexts, Covariates
from chronos_assets.predictors.members.covariate_regression import CovariateRegression
from chronos_assets.predictors.members.design import matrix, plan_columns
from chronos_assets.predictors.members.regression import History, Regression, fit_regression, spread
from chronos_assets.predictors.members.theta import Theta
from chronos_assets.predictors.predictor import Predictor, PredictorError
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.zero_shot import learn_predictor
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.predictors.demand import (
    ELASTICITY,
    HOLIDAY,
    PROMOTION,
    Demand,
    changed,
    load,
    response,
    shops,
)

HORIZON = 14
WQL = "AverageWeightedQuantileLoss"


@pytest.fixture(scope="module")
def sales() -> list[Demand]:
    return shops(horizon=HORIZON)


@pytest.fixture(scope="module")
def regression(sales) -> Regression:
    return _fitted(sales, HORIZON, (7,))


def _histories(series: list[Demand], horizon: int) -> list[History]:
    return [History(one.values[:-horizon], one.covariates) for one in series]


def _fitted(series: list[Demand], horizon: int, seasons: tuple[int, ...]) -> Regression:
    found = fit_regression(_histories(series, horizon), horizon, seasons)
    assert found is not None
    return found


def _factors(regression: Regression, one: Demand, **values: object) -> np.ndarray:
    periods = len(one.values) - HORIZON
    return np.exp(regression.effects(changed(one.covariates, periods, **values), periods, HORIZON)[-HORIZON:])


def actuals_of(series: list[Demand], horizon: int) -> Actuals:
    return Actuals(np.stack([one.values[-horizon:] for one in series]), np.ones(len(series)))


def _contexts(series: list[Demand], horizon: int, seasons: tuple[int, ...]) -> Contexts:
    values = [one.values[:-horizon] for one in series]
    return Contexts(values, horizon, seasons, [one.covariates for one in series])


@pytest.mark.process
def test_promotions_and_holidays_are_found_within_15_percent(regression, sales):
    for name, lift in (("promotion", PROMOTION), ("holiday:US", HOLIDAY)):
        found = np.mean(
            [_factors(regression, one, **{name: 1.0}) / _factors(regression, one, **{name: 0.0}) for one in sales]
        )
        assert found - 1 == pytest.approx(lift - 1, rel=0.15)


def test_ten_percent_off_moves_demand_by_the_elasticity(regression, sales):
    found = []
    for one in sales:
        price = one.covariates.known["price"][-HORIZON:]
        factor = _factors(regression, one, price=0.9 * price) / _factors(regression, one, price=price)
        found.append(np.log(factor).mean() / np.log(0.9))
    assert np.mean(found) == pytest.approx(ELASTICITY, rel=0.15)


def test_a_price_never_seen_counts_by_the_same_elasticity(regression, sales):
    usual = sales[0].covariates.static["list_price"]
    factor = _factors(regression, sales[0], price=usual / 2) / _factors(regression, sales[0], price=usual)
    assert np.log(factor).mean() / np.log(0.5) == pytest.approx(ELASTICITY, rel=0.15)


def test_forecasts_are_a_third_better_than_without(regression, sales):
    contexts = _contexts(sales, HORIZON, (7,))
    with_them = CovariateRegression("regression/theta", regression, Theta()).forecast(contexts)
    actuals = actuals_of(sales, HORIZON)
    assert actuals.value(WQL, with_them) < 0.7 * actuals.value(WQL, Theta().forecast(contexts))


def test_the_answer_to_temperature_is_found_where_effects_are_added():
    one = load()
    periods = len(one.values) - 24
    found = _fitted([one], 24, (24, 168))
    assert found.link == "identity"
    unit = spread(one.values[:-24])
    calm, hot, cold = (
        float(found.effects(changed(one.covariates, periods, temperature=degrees), periods, 24)[-24:].mean()) * unit
        for degrees in (16.0, 26.0, 4.0)
    )
    assert hot - calm == pytest.approx(response(np.array(26.0)), rel=0.15)
    assert cold - calm == pytest.approx(response(np.array(4.0)), rel=0.15)


def test_a_load_around_zero_is_forecast_a_third_better():
    one = load()
    contexts, actuals = _contexts([one], 24, (24, 168)), actuals_of([one], 24)
    member = CovariateRegression("regression/theta", _fitted([one], 24, (24, 168)), Theta())
    assert actuals.value(WQL, member.forecast(contexts)) < 0.7 * actuals.value(WQL, Theta().forecast(contexts))


def test_what_is_read_back_forecasts_the_same(regression, sales):
    again = Regression.from_document(json.loads(json.dumps(regression.to_document())))
    assert again == regression
    contexts = _contexts(sales[:3], HORIZON, (7,))
    made = [CovariateRegression("regression/theta", one, Theta()).forecast(contexts) for one in (regression, again)]
    assert np.array_equal(*made)


def test_the_same_series_give_the_same_bytes():
    series = [load(days=40, seed=seed) for seed in (1, 2)]
    first, second = (json.dumps(_fitted(series, 24, (24,)).to_document()) for _ in range(2))
    assert first == second
    assert '"trees": ["tree"' in first


def test_a_forecast_depends_on_no_other_series(regression, sales):
    member = CovariateRegression("regression/theta", regression, Theta())
    together = member.forecast(_contexts(sales, HORIZON, (7,)))
    alone = np.concatenate([member.forecast(_contexts([one], HORIZON, (7,))) for one in sales])
    assert np.array_equal(together, alone)


def test_a_series_without_covariates_has_no_forecast(regression, sales):
    one = sales[0]
    contexts = Contexts([one.values[:-HORIZON]] * 2, HORIZON, (7,), [one.covariates, Covariates()])
    made = CovariateRegression("regression/theta", regression, Theta()).forecast(contexts)
    assert np.isfinite(made[0]).all()
    assert np.isnan(made[1]).all()


def test_unknown_values_change_nothing_and_are_no_error(regression, sales):
    one = sales[0]
    periods = len(one.values) - HORIZON
    found = regression.effects(changed(one.covariates, periods, price=np.nan, promotion=np.nan), periods, HORIZON)
    assert np.isfinite(found).all()


def test_past_only_attributes_are_read_a_horizon_late():
    visits = np.arange(20.0)
    columns = plan_columns([Covariates(20, {"visits": visits})], ratios=False)
    plain = [column.form for column in columns].index("plain")
    found = matrix(columns, Covariates(20, {"visits": visits}), 10, 5, lag=5)[:, plain]
    assert found.tolist() == list(np.arange(5.0, 20.0))
    later = matrix(columns, Covariates(20, {"visits": visits}), 10, 8, lag=5)[:, plain]
    assert np.isnan(later[-3:]).all()


def test_categories_of_series_and_periods_are_read():
    weather = np.array(["sun", "rain"] * 10)
    covariates = Covariates(18, {}, {"weather": weather}, {"colour": "red"})
    columns = plan_columns([covariates, Covariates(0, {}, {}, {"colour": "blue"})], ratios=True)
    assert {(column.name, column.level) for column in columns} == {
        ("weather", "sun"),
        ("weather", "rain"),
        ("colour", "red"),
        ("colour", "blue"),
    }
    sun = [column.level for column in columns].index("sun")
    assert matrix(columns, covariates, 4, 2, 2)[:, sun].tolist() == [1, 0, 1, 0, 1, 0]


def test_groups_of_items_have_elasticities_of_their_own():
    found = {}
    histories = []
    series = {"drinks": shops(items=15, horizon=HORIZON, seed=1), "food": shops(items=15, horizon=HORIZON, seed=2)}
    for kind, sales in series.items():
        for one in sales:
            price = one.covariates.known["price"]
            flat = np.ones(1) if kind == "drinks" else (price / one.covariates.static["list_price"]) ** 1.2
            known = Covariates(one.covariates.periods, {}, one.covariates.known, {"kind": kind})
            histories.append(History((one.values * flat)[:-HORIZON], known))
    regression = fit_regression(histories, HORIZON, (7,))
    assert regression is not None
    for kind, sales in series.items():
        before = Covariates(histories[0].covariates.periods, {}, sales[0].covariates.known, {"kind": kind})
        periods = before.periods
        after = changed(before, periods, price=0.9 * before.known["price"][-HORIZON:])
        change = (regression.effects(after, periods, HORIZON) - regression.effects(before, periods, HORIZON))[-HORIZON:]
        found[kind] = float(change.mean() / np.log(0.9))
    assert found["drinks"] == pytest.approx(ELASTICITY, rel=0.15)
    assert found["food"] == pytest.approx(ELASTICITY + 1.2, rel=0.15)


def _example() -> ModuleType:
    """The generator of examples/retail."""
    spec = importlib.util.spec_from_file_location(
        "retail_generator", REPOSITORY / "examples" / "retail" / "generate.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.process
def test_elasticities_of_categories_are_found_whatever_the_seed():
    shop = _example()
    days = shop.days()
    periods = len(days) - HORIZON
    week = np.array([float(day.weekday()) for day in days])
    closed = np.array([float(day.isoformat() in shop.HOLIDAYS) for day in days])
    errors = []
    for seed in (shop.SEED, 1, 2, 3):
        random = np.random.default_rng(seed)
        histories = []
        for category, brand, size, usual, units in (*shop.ITEMS.values(), *shop.NEW_ITEM.values()):
            price, promoted = shop.prices(random, usual, len(days)), shop.promotions(random, len(days))
            sold = shop.demand(random, category, (usual, units), price, promoted).astype(float)
            known = {"price": price, "promotion": promoted.astype(float), "holiday:DE": closed}
            static = {"category": category, "brand": brand, "size": size}
            beside = Covariates(periods, {}, known | {"calendar:day_of_week": week}, static)
            histories += [History(sold[:periods], beside)] if units else []
        regression = fit_regression(histories, HORIZON, (7,))
        assert regression is not None
        found: dict[str, list[float]] = {}
        for history in histories:
            planned = history.covariates
            cheaper = changed(planned, periods, price=0.9 * planned.known["price"][periods:])
            before, after = (regression.effects(one, 512, HORIZON)[-HORIZON:] for one in (planned, cheaper))
            found.setdefault(str(planned.static["category"]), []).append(float((after - before).mean() / np.log(0.9)))
        errors.append([np.mean(found[name]) / true - 1 for name, true in shop.ELASTICITY.items()])
    assert np.abs(errors).max() < 0.2
    assert np.abs(np.mean(errors, axis=0)).max() < 0.08  # and not all of them too small


@pytest.mark.parametrize("kind", ["changes once", "wanders"])
def test_a_price_that_changes_seldom_or_slowly_is_not_taken_for_the_level(kind):
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        histories = []
        for _ in range(12):
            price = np.cumsum(rng.normal(0, 0.01, 450))
            if kind == "changes once":
                price = np.where(np.arange(450) < rng.integers(100, 350), 0, rng.choice([-0.15, 0.15]))
            sold = rng.poisson(30 * np.exp(ELASTICITY * price) * rng.gamma(60, 1 / 60, 450)).astype(float)
            histories.append(History(sold[:-HORIZON], Covariates(450 - HORIZON, {}, {"price": 10 * np.exp(price)})))
        regression = fit_regression(histories, HORIZON, (7,))
        assert regression is not None
        steady = Covariates(100, {}, {"price": np.full(100 + HORIZON, 10.0)})
        cheaper = changed(steady, 100, price=9.0)
        found.append(float(regression.effects(cheaper, 100, HORIZON)[-1] / np.log(0.9)))
    assert np.mean(found) == pytest.approx(ELASTICITY, rel=0.15)


def test_months_say_nothing_before_their_second_year():
    months = (np.arange(30) % 12 + 1).astype(float)
    names = {column.name for column in plan_columns([Covariates(0, {}, {"calendar:month": months[:24]})], ratios=True)}
    assert names == set()
    names = {column.name for column in plan_columns([Covariates(0, {}, {"calendar:month": months})], ratios=True)}
    assert names == {"calendar:month"}


def _past(series: list[Demand], horizon: int) -> list[BacktestPast]:
    end = len(series[0].values) - horizon
    return [
        BacktestPast((f"item{number}",), one.values[:end], one.values[:end], end=end - 1, covariates=one.covariates)
        for number, one in enumerate(series)
    ]


def _learned(series: list[Demand], *, use: bool = True) -> Predictor:
    windows = past_windows(_past(series, HORIZON), HORIZON, season=7)
    recipe = Recipe(HORIZON, (7,))
    return learn_predictor(windows, {}, recipe, histories=_histories(series, HORIZON) if use else ())


def _value(predictor: Predictor, series: list[Demand]) -> float:
    from chronos_assets.predictors.ensemble import Ensemble
    from chronos_assets.predictors.members.base import LEVELS

    ensemble = Ensemble(predictor, {}, HORIZON, LEVELS)
    contexts = [one.values[:-HORIZON] for one in series]
    made = ensemble.forecast(contexts, covariates=[one.covariates for one in series])
    return actuals_of(series, HORIZON).value(WQL, made.quantiles)


@pytest.mark.process
def test_a_predictor_uses_covariates_that_help(sales):
    learned = _learned(sales)
    assert dict(zip(learned.members, learned.weights, strict=True))["regression/theta"] > 0.5
    assert learned.regression is not None
    assert Predictor.from_json(learned.to_json()).to_json() == learned.to_json()
    assert _value(learned, sales) < 0.7 * _value(_learned(sales, use=False), sales)


@pytest.mark.process
@pytest.mark.parametrize("seed", [1, 2])
def test_noise_makes_nothing_worse_than_2_percent(seed):
    series = shops(horizon=HORIZON, seed=seed, effects=False)
    assert _value(_learned(series), series) < 1.02 * _value(_learned(series, use=False), series)


@pytest.mark.process
def test_shuffled_covariates_make_nothing_worse_than_2_percent():
    series = shops(horizon=HORIZON, seed=5)
    rng = np.random.default_rng(5)
    shuffled = []
    for one in series:
        order = rng.permutation(len(one.values))
        known = {name: values[order] for name, values in one.covariates.known.items()}
        shuffled.append(Demand(one.values, Covariates(one.covariates.periods, {}, known, one.covariates.static)))
    assert _value(_learned(shuffled), shuffled) < 1.02 * _value(_learned(shuffled, use=False), shuffled)


@pytest.mark.process
def test_a_predictor_whose_regression_is_lost_is_refused(sales):
    document = json.loads(_learned(sales).to_json())
    del document["regression"]
    with pytest.raises(PredictorError, match="needs a regression on covariates"):
        Predictor.from_json(json.dumps(document).encode())


def test_windows_are_tried_with_what_was_known_before_the_earliest(sales):
    windows = past_windows(_past(sales, HORIZON), HORIZON, season=7)
    histories = histories_before(windows)
    start = len(sales[0].values) - HORIZON - (len(windows) // len(sales)) * HORIZON
    assert len(histories) == len(sales)
    assert all(len(history.values) <= start for history in histories)
    altered = [Demand(one.values.copy(), one.covariates) for one in sales]
    for one in altered:
        one.values[len(histories[0].values) :] *= 17
    again = histories_before(past_windows(_past(altered, HORIZON), HORIZON, season=7))
    assert fit_regression(histories, HORIZON) == fit_regression(again, HORIZON)
