"""Chronos-2 as a member that reads covariates itself: what it reads, as its library does, and only where that helps."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.models.quantiles import interpolate
from chronos_assets.predictors.backtester import Backtester, PastWindow
from chronos_assets.predictors.calibration import Calibration
from chronos_assets.predictors.ensemble import Ensemble, open_member
from chronos_assets.predictors.learning import learn
from chronos_assets.predictors.members.base import LEVELS, MEDIAN, Contexts, Covariates
from chronos_assets.predictors.members.catalogue import cost_of, statistical_member, without_covariates
from chronos_assets.predictors.members.covariate_chronos import CovariateChronos, covariate_rows, readable
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.zero_shot import member_names
from chronos_assets_tests.models.tiny import folder_of

HORIZON = 12  # of a block of 16 periods
QUANTILES = (0.1, 0.5, 0.9)
KNOWN = ("price", "event")


@cache
def model():
    return load_model(folder_of("chronos2"))


def member(horizon: int = HORIZON, batch_size: int = 16) -> CovariateChronos:
    return CovariateChronos("chronos/covariates", Forecaster(model(), horizon, QUANTILES, batch_size=batch_size))


def series(number: int, periods: int, horizon: int = HORIZON) -> tuple[np.ndarray, Covariates]:
    """A walk with a gap, a price and an event known ahead, and visits and weather that aren't."""
    rng = np.random.default_rng(number)
    values = 50 + np.cumsum(rng.normal(size=periods))
    values[periods // 2] = np.nan
    known = {
        "price": rng.normal(9, 2, periods + horizon),
        "event": rng.choice(["none", "fair", "feast"], periods + horizon),
        "calendar:month": np.ones(periods + horizon),
    }
    past = {"visits": rng.normal(1e6, 1e5, periods), "weather": rng.choice(["sun", "rain"], periods)}
    return values, Covariates(periods, past, known, {"colour": "red"})


def contexts(horizon: int = HORIZON, lengths: tuple[int, ...] = (40, 64, 23, 57)) -> Contexts:
    values, covariates = zip(*(series(number, periods, horizon) for number, periods in enumerate(lengths)), strict=True)
    return Contexts(values, horizon, (), covariates, range(len(values)))


def assert_like(made: np.ndarray, theirs: np.ndarray, given: Contexts) -> None:
    """The same to 1e-5 of a series' deviation; the library leaves quantiles that cross as they are."""
    expected = interpolate(np.sort(theirs.astype(float), axis=2), model().description.quantiles, LEVELS)
    scale = np.array([np.nanstd(values) for values in given.values])[:, None, None]
    assert (np.abs(made - expected) / scale).max() < 1e-5


@pytest.mark.process
def test_forecasts_are_those_of_the_library():
    given = contexts()
    inputs = [
        {
            "target": values,
            "past_covariates": {**found.past, **{name: found.known[name][: found.periods] for name in KNOWN}},
            "future_covariates": {name: found.known[name][found.periods :] for name in KNOWN},
        }
        for values, found in zip(given.values, given.covariates, strict=True)
    ]
    theirs, _ = model().pipeline.predict_quantiles(
        inputs, prediction_length=HORIZON, quantile_levels=list(model().description.quantiles)
    )
    assert_like(member().forecast(given), np.stack([one[0].numpy() for one in theirs]), given)


@pytest.mark.process
def test_forecasts_are_those_of_the_library_for_data_frames():
    given = contexts(lengths=(40, 40))
    tables = [
        pd.DataFrame(
            {
                "item_id": f"item {number}",
                "timestamp": pd.date_range("2024-01-01", periods=found.periods + HORIZON),
                "target": [*values, *[np.nan] * HORIZON],
                **{name: found.known[name] for name in KNOWN},
                "visits": [*found.past["visits"], *[np.nan] * HORIZON],
            }
        )
        for number, (values, found) in enumerate(zip(given.values, given.covariates, strict=True))
    ]
    past = pd.concat([table[:-HORIZON] for table in tables])
    future = pd.concat([table[-HORIZON:] for table in tables])[["item_id", "timestamp", *KNOWN]]
    levels = list(model().description.quantiles)
    theirs = model().pipeline.predict_df(
        past, future_df=future, prediction_length=HORIZON, quantile_levels=levels, target="target"
    )
    seen = [
        Covariates(found.periods, {"visits": found.past["visits"]}, found.known, found.static)
        for found in given.covariates
    ]
    made = member().forecast(Contexts(given.values, HORIZON, (), seen))
    assert_like(made, theirs[[str(level) for level in levels]].to_numpy().reshape(2, HORIZON, -1), given)


def test_a_series_has_the_same_bytes_whatever_is_beside_it_and_passes_are_bounded(monkeypatch):
    reader, rows = member(batch_size=16), []
    network = model().network
    forward = type(network).forward
    monkeypatch.setattr(
        type(network),
        "forward",
        lambda own, context, *others: rows.append(len(context)) or forward(own, context, *others),
    )
    given = contexts(lengths=(40, 64, 23, 57, 40, 40, 40))
    together = reader.forecast(given)
    assert set(rows) == {15}  # three groups of a series and its four attributes
    alone = np.concatenate([reader.forecast(given.take(np.array([place]))) for place in range(len(given))])
    assert np.array_equal(together, alone)


def test_what_is_known_ahead_counts_up_to_the_end_of_a_long_horizon():
    values, found = series(1, 60, 40)
    later = found.known["price"].copy()
    later[-2:] += 4
    changed = Covariates(60, found.past, {**found.known, "price": later})
    before, after = member(40).forecast(Contexts([values, values], 40, (), [found, changed]))
    assert np.isfinite(before).all()
    assert np.array_equal(before[:32], after[:32])  # blocks of 16 that end before the change
    assert np.abs(before[38:] - after[38:]).max() > 1e-6


def test_nothing_is_known_where_a_column_ends_early():
    values, found = series(1, 30)
    known = {name: value.copy() for name, value in found.known.items()}
    known["price"][-5:], known["event"][-3:] = np.nan, ""
    rows = covariate_rows(Covariates(30, found.past, known), values, HORIZON)
    named = dict(zip(readable(found), rows, strict=True))
    assert list(named) == ["visits", "weather", "event", "price"]
    assert np.isnan(named["price"][-5:]).all()
    assert np.isfinite(named["price"][:-5]).all()
    assert np.isnan(named["event"][-3:]).all()
    assert np.isnan(named["visits"][30:]).all()
    assert np.isfinite(member().forecast(Contexts([values], HORIZON, (), [Covariates(30, found.past, known)]))).all()


def test_days_without_an_event_are_a_category_where_most_days_have_none():
    target = np.array([10.0, 10.0, 10.0, 30.0])
    rows = covariate_rows(Covariates(4, {}, {"event": np.array(["", "", "", "fair", "", "fair", "new"])}), target, 3)
    usual, none, fair = 15.0, (15 + 30) / 4, (15 + 30) / 2
    assert rows.tolist() == [[none, none, none, fair, none, fair, usual]]


def test_covariates_of_fewer_periods_than_the_series_are_read_at_its_end():
    rows = covariate_rows(Covariates(2, {}, {"price": np.array([1.0, 2.0, 3.0])}), np.arange(4.0), 1)
    assert np.array_equal(rows, [[np.nan, np.nan, 1.0, 2.0, 3.0]], equal_nan=True)


def test_a_series_beside_which_nothing_varies_is_read_alone():
    values, _ = series(1, 40)
    constant = Covariates(40, {}, {"price": np.full(40 + HORIZON, 3.0), "calendar:month": np.arange(40.0 + HORIZON)})
    given = Contexts([values] * 2, HORIZON, (), [constant, Covariates()])
    alone = open_member("chronos/1", {"chronos": member().forecaster}).forecast(given)
    assert np.array_equal(member().forecast(given), alone)


def test_networks_that_read_one_series_are_refused_more():
    forecaster = Forecaster(load_model(folder_of("bolt")), HORIZON, QUANTILES)
    with pytest.raises(TypeError, match="bolt reads nothing beside a series"):
        CovariateChronos("chronos/covariates", forecaster).forecast(contexts())


def test_it_is_a_member_where_the_base_is_a_chronos_2_and_there_are_covariates():
    descriptions = {name: load_model(folder_of(name)).description for name in ("bolt", "chronos2")}
    both = {"tuned": descriptions["chronos2"], "chronos": descriptions["bolt"]}
    assert [name for name in member_names(both, HORIZON, covariates=True) if "covariates" in name] == [
        "tuned/covariates"
    ]
    assert not any("covariates" in name for name in member_names(both, HORIZON))
    assert "chronos/covariates" in member_names(
        {"chronos": descriptions["chronos2"]}, HORIZON, ["chronos"], covariates=True
    )
    assert without_covariates("tuned/covariates") == "tuned/1"
    assert cost_of("chronos/covariates") == 1


class Guess:
    """A member that is off by a share of the truth's deviation."""

    def __init__(self, name: str, error: float) -> None:
        self.name, self.error = name, error

    def forecast(self, given: Contexts) -> np.ndarray:
        truth = np.stack([values[-given.horizon :] for values in given.values])
        spread = np.array([-1.5, -1, -0.8, -0.5, -0.3, -0.1, 0, 0.1, 0.3, 0.5, 0.8, 1, 1.5])
        return truth[:, :, None] * (1 + self.error * (1 + spread))


@pytest.mark.parametrize(("error", "kept"), [(0.05, True), (0.2, False)])
def test_it_has_to_be_better_than_the_same_network_without_covariates(error, kept):
    rng = np.random.default_rng(3)
    windows = []
    for number in range(20):
        values = rng.normal(100, 10, 24)
        windows.append(PastWindow((f"item {number}",), values, values[-6:], 1.0, 0, Covariates(24, {"x": values})))
    members = [Guess("chronos/1", 0.2), Guess("chronos/covariates", error), statistical_member("random_walk")]
    predictor = learn(windows, Backtester(members, ()), Recipe(6, ()))
    assert ("chronos/covariates" in predictor.members) == kept


def test_a_scenario_moves_the_whole_forecast_by_what_the_network_makes_of_it():
    members = ("chronos/covariates", "random_walk")
    predictor = Predictor(members, np.array([0.4, 0.6]), Calibration.none(), (), HORIZON)
    forecaster = member().forecaster
    ensemble = Ensemble(predictor, {"chronos": forecaster}, HORIZON, QUANTILES)
    assert ensemble.reads_covariates
    assert ensemble.covariate_reach >= 2048
    values, found = series(1, 60)
    dearer = found.known["price"].copy()
    dearer[60:] += 5
    changed = Covariates(60, found.past, {**found.known, "price": dearer})
    before = ensemble.forecast([values], covariates=[found]).quantiles[0, :, 1]
    after = ensemble.forecast([values], covariates=[changed], baseline=[found]).quantiles[0, :, 1]
    own = member().forecast(Contexts([values] * 2, HORIZON, (), [found, changed]))[:, :, MEDIAN]
    assert np.abs(own[1] - own[0]).max() > 1e-4
    np.testing.assert_allclose(after - before, own[1] - own[0], rtol=1e-3, atol=1e-6)
