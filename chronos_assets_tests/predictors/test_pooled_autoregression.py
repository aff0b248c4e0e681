"""The pooled autoregression: its numbers, what it is fitted to, and its place in a predictor."""

import json
from dataclasses import replace

import numpy as np
import pytest

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.members import pooled_autoregression
from chronos_assets.predictors.members.autoregression import Autoregression
from chronos_assets.predictors.members.base import LEVELS, MEDIAN, Contexts
from chronos_assets.predictors.members.pooled_autoregression import PooledAutoregression, fit_pooled
from chronos_assets.predictors.pooled_backtests import open_pooled
from chronos_assets.predictors.predictor import Predictor, PredictorError
from chronos_assets.predictors.zero_shot import learn_predictor, zero_shot_recipe

H = 4


def returning(seed=0, count=40, length=26):
    """Series that return to their levels by a third each period, with logarithms and without."""
    rng = np.random.default_rng(seed)
    away = np.zeros((count, length))
    for step in range(1, length):
        away[:, step] = 0.67 * away[:, step - 1] + 0.1 * rng.normal(size=count)
    level = rng.normal(5, 2, (count, 1))
    return [np.exp(row) if place % 2 else 100 * row - 600 for place, row in enumerate(level + away)]


def read_as(values, origin, stretch=4):
    """What a change after an origin follows from, in plain steps."""
    padded = np.concatenate([np.full(100, values[0]), values[:origin]])
    last = padded[-1]
    stretches = [padded[len(padded) - 4 - (n + 1) * stretch : len(padded) - 4 - n * stretch].mean() for n in range(3)]
    return np.array(
        [1.0, *(padded[-back] - last for back in (2, 3, 4)), (last - values[0]) / max(origin - 1, 1)]
        + [mean - last for mean in stretches]
    )


def in_units(values):
    """A series as the regression reads it, its last value and its unit."""
    read = np.log(values) if values.min() > 0 else values
    unit = np.abs(np.diff(read)).mean()
    return (read - read[-1]) / unit, read[-1], unit


def with_bends(read, bends):
    """What a change follows from (..., 8), and the bends of it."""
    return np.concatenate([read, np.maximum(np.clip(read, bends.low, bends.high) @ bends.slopes.T, 0)], axis=-1)


def reference(histories, horizon, bends):
    """Coefficients, quantiles and mean sizes of the errors, of every step."""
    rows = []
    for step in range(horizon):
        known = [
            (read_as(scaled, origin), scaled[origin + step] - scaled[origin - 1])
            for scaled, _, _ in map(in_units, histories)
            for origin in range(4, len(scaled) - step)
        ]
        read, change = (np.array(part) for part in zip(*known, strict=True))
        given = with_bends(read, bends)
        limit = 6 * np.median(np.abs(change))
        inner = given.T @ given + np.diag([1.0] * 8 + [10.0] * len(bends))
        found = np.linalg.solve(inner, given.T @ np.clip(change, -limit, limit))
        errors = (change - given @ found) * np.sqrt(len(change) / (len(change) - len(found)))
        rows.append((found, np.quantile(errors, LEVELS), np.abs(errors).mean()))
    return [np.array(part) for part in zip(*rows, strict=True)]


@pytest.mark.parametrize(("count", "bends"), [(20, 0), (40, 64)], ids=["straight", "bent"])
def test_it_is_the_recipe(count, bends):
    histories = returning(count=count)
    fitted = fit_pooled(histories, H, ())
    assert len(fitted.bends) == bends
    coefficients, errors, sizes = reference(histories, H, fitted.bends)
    for made, expected in ((fitted.coefficients, coefficients), (fitted.errors, errors), (fitted.sizes, sizes)):
        assert np.allclose(made, expected, rtol=1e-5, atol=1e-6)
    made = fitted.forecast(Contexts(histories, H + 2))

    def change(scaled, origin, step):
        return coefficients[step] @ with_bends(read_as(scaled, origin), fitted.bends)

    for values, quantiles in zip(histories, made, strict=True):
        scaled, last, unit = in_units(values)
        own = [
            abs(scaled[origin + step] - scaled[origin - 1] - change(scaled, origin, step)) / sizes[step]
            for step in (0, 2)
            for origin in range(4, len(scaled) - step)
        ]
        wide = (8 + sum(own)) / (8 + len(own))
        for ahead in range(H + 2):
            step = min(ahead, H - 1)
            growth = np.sqrt((ahead + 1) / (step + 1))
            expected = last + unit * (change(scaled, len(scaled), step) + wide * growth * errors[step])
            assert np.allclose(quantiles[ahead], np.exp(expected) if values.min() > 0 else expected, rtol=1e-4)


def test_what_is_not_straight_is_learned(monkeypatch):
    """A step that follows from the size of the one before, up or down, which no straight line says."""
    rng = np.random.default_rng(5)
    steps = np.zeros((90, 40))
    for place in range(1, 40):
        steps[:, place] = 1.2 * np.abs(steps[:, place - 1]) - 0.5 + 0.3 * rng.normal(size=90)
    series = np.cumsum(steps, axis=1) - 50
    best = series[60:, -2] + 1.2 * np.abs(steps[60:, -2]) - 0.5

    def error():
        fitted = fit_pooled(list(series[:60]), 1, ())
        return np.abs(fitted.forecast(Contexts(list(series[60:, :-1]), 1))[:, 0, MEDIAN] - best).mean()

    bent = error()
    monkeypatch.setattr(pooled_autoregression, "_LEAST_FOR_BENDS", 10**9)
    assert bent < 0.75 * error()


def test_odd_series_stay_in_bounds():
    odd = [
        10.0 ** np.r_[np.full(20, -9.0), np.full(6, 9.0)],
        10.0 ** np.linspace(-8, 8, 26),
        1 + 1e9 * (np.arange(26) % 9 == 0),
        1 - 1e9 * (np.arange(26) % 9 == 0),
    ]
    made = fit_pooled(returning(6, 60), H, ()).forecast(Contexts(odd, H))
    assert np.isfinite(made).all()
    assert (np.abs(made).max(axis=(1, 2)) < [1e5 * np.abs(values).max() for values in odd]).all()


def test_short_series_learn_from_each_other():
    """A dozen values don't tell one series how fast it returns to its level; those of forty do."""
    series = returning(1, 60, 16)
    histories, after = [values[:-H] for values in series], np.array([values[-H:] for values in series])
    scale = np.array([np.abs(np.diff(values)).mean() for values in histories])[:, None]

    def error(member):
        return (np.abs(member.forecast(Contexts(histories, H))[:, :, MEDIAN] - after) / scale).mean()

    pooled = fit_pooled(histories, H, ())
    assert error(pooled) < 0.95 * error(Autoregression())
    made = pooled.forecast(Contexts(histories, H))
    held = (made[:, :, LEVELS.index(0.1)] <= after) & (after <= made[:, :, LEVELS.index(0.9)])
    assert 0.7 < held.mean() < 0.9


def test_a_season_is_put_back():
    rng = np.random.default_rng(2)
    time = np.arange(60)
    series = [
        50 + rng.normal(0, 10) * np.sin(2 * np.pi * time / 12) + np.cumsum(0.3 * rng.normal(size=60)) for _ in range(20)
    ]
    fitted = fit_pooled([values[:-12] for values in series], 12, (12,))
    made = fitted.forecast(Contexts([values[:-12] for values in series], 12, (12,)))[:, :, MEDIAN]
    after = np.array([values[-12:] for values in series])
    assert (
        np.abs(made - after).mean() < 0.4 * np.abs(after - np.array([values[-13] for values in series])[:, None]).mean()
    )


@pytest.mark.parametrize(
    "histories",
    [[], returning()[:5], [values[:5] for values in returning()], [np.full(30, 2.0)] * 40, [np.full(9, np.nan)] * 40],
    ids=["none", "few", "short", "constant", "unobserved"],
)
def test_too_little_to_fit_is_no_member(histories):
    assert fit_pooled(histories, H, ()) is None


def test_what_it_cannot_forecast_is_left_to_others():
    gappy = np.where(np.arange(26) % 5 == 3, np.nan, returning()[3])
    made = fit_pooled(returning(), H, ()).forecast(Contexts([np.full(20, 3.0), np.array([1.0, 2.0]), gappy], H))
    assert np.isnan(made[:2]).all()
    assert np.isfinite(made[2]).all()


def learned(windows):
    recipe = zero_shot_recipe(H, ())
    return learn_predictor(windows, {}, recipe, wanted=("pooled", "random_walk", "seasonal_naive"))


@pytest.fixture(scope="module")
def windows():
    series = [BacktestPast((str(place),), values, values) for place, values in enumerate(returning(3))]
    return past_windows(series, H, season=1)


def test_what_is_tried_knows_nothing_of_its_windows_and_of_later_ones(windows):
    recipe = zero_shot_recipe(H, ())
    latest = max(window.end for window in windows)
    changed = [replace(window, actual=window.actual * 3) if window.end == latest else window for window in windows]
    (tried, known), (other, later) = (open_pooled(cut, recipe) for cut in (windows, changed))
    assert np.array_equal(tried.forecast(windows), other.forecast(changed))
    assert not np.array_equal(known.coefficients, later.coefficients)
    assert {window.end for window in windows} == {25, 21, 17, 13, 9}
    own = [window for window in windows if window.end == 9]  # of what was before these windows nothing can be fitted
    contexts = Contexts([window.history for window in own], H)
    assert np.array_equal(tried.forecast(own)[0], Autoregression().forecast(contexts))
    assert open_pooled([], recipe) == open_pooled(own, recipe) == (None, None)


@pytest.mark.process
def test_a_predictor_keeps_it_and_forecasts_with_it(windows, tmp_path):
    predictor = learned(windows)
    assert predictor.weights[predictor.members.index("pooled")] > 0.2
    assert "pooled" in {row.member for row in predictor.leaderboard}
    predictor.save(tmp_path)
    read = Predictor.load(tmp_path)
    assert read.to_json() == predictor.to_json()
    assert learned(windows).without_speeds().to_json() == predictor.without_speeds().to_json()
    contexts = returning(4)[:3]
    made = Ensemble(predictor, {}, H, LEVELS).forecast(contexts).quantiles
    assert np.array_equal(Ensemble(read, {}, H, LEVELS).forecast(contexts).quantiles, made)
    alone = Ensemble(predictor.alone("pooled"), {}, H, LEVELS).forecast(contexts).quantiles
    assert np.allclose(alone, read.pooled.forecast(Contexts(contexts, H)))
    assert predictor.alone("random_walk").pooled is None


def test_a_file_without_its_numbers_is_refused(windows):
    document = json.loads(learned(windows).to_json())
    for change, reason in [
        ({"pooled": None}, "coefficients are missing"),
        ({"pooled": {**document["pooled"], "sizes": [0.0] * H}}, "above 0"),
        ({"pooled": {**document["pooled"], "errors": [[0.0]] * H}}, "for each step"),
        ({"pooled": {**document["pooled"], "coefficients": [[float("inf")] * 72] * H}}, "finite"),
        ({"pooled": {**document["pooled"], "bends": {"low": [0.0], "high": [], "slopes": []}}}, "for each regressor"),
    ]:
        with pytest.raises(PredictorError, match=reason):
            Predictor.from_json(json.dumps({**document, **change}).encode())


def test_a_file_of_before_there_were_bends_is_read(windows):
    document = json.loads(learned(windows).to_json())
    pooled = {name: value for name, value in document["pooled"].items() if name != "bends"}
    pooled["coefficients"] = [row[:8] for row in pooled["coefficients"]]
    read = Predictor.from_json(json.dumps({**document, "pooled": pooled}).encode()).pooled
    assert not len(read.bends)
    assert np.isfinite(read.forecast(Contexts(returning(4)[:3], H))).all()


def test_few_errors_make_normal_bands():
    fitted = fit_pooled([values[:9] for values in returning()[:12]], 2, ())
    assert np.allclose(fitted.errors[0] / fitted.errors[0, -1], normal_scores(LEVELS) / normal_scores(LEVELS)[-1])
    assert isinstance(fitted, PooledAutoregression)
