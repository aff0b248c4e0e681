"""A predictor from windows to file to forecasts: what it learns, keeps, refuses, and that rows don't depend on others."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.models.checkpoints import QuantileRangeError, describe_model
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.pipeline.predictors import traits_of_item
from chronos_assets.predictors.backtest_windows import SAMPLE, BacktestPast, past_windows, windows_each
from chronos_assets.predictors.backtester import Backtester, PastWindow, StandIns
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.learning import learn, worthwhile
from chronos_assets.predictors.members.base import LEVELS
from chronos_assets.predictors.members.catalogue import cost_of, statistical_member
from chronos_assets.predictors.members_file import write_members
from chronos_assets.predictors.predictor import Predictor, PredictorError
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.zero_shot import learn_predictor, member_names, zero_shot_recipe
from chronos_assets.timeseries.forecast.files import ForecastLayout, WindowFolder, skipped_table, write_window
from chronos_assets.timeseries.published_files import LAST_OBSERVED

H, SEASONS = 12, (24,)
QUANTILES = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def forecasters():
    return {"chronos": Forecaster(load_model("bundled"), H, QUANTILES)}


def series(count=12, length=160):
    rng = np.random.default_rng(2)
    time = np.arange(length)
    for number in range(count):
        noise = rng.normal(size=length)
        values = 30 + 8 * np.sin(2 * np.pi * (time + number) / 24) + (noise if number % 2 else 0.3 * np.cumsum(noise))
        yield (f"item {number}",), values


def pasts():
    return [BacktestPast(key, values, values) for key, values in series()]


@pytest.fixture(scope="module")
def predictor(forecasters):
    windows = past_windows(pasts(), H, season=24, windows=2)
    recipe = Recipe(H, SEASONS, max_cost=2.5, per_item=True)
    return learn_predictor(windows, forecasters, recipe, learned={"source": "test"})


@pytest.mark.process
def test_what_was_learned_is_whole_and_within_its_budget(predictor):
    assert np.isclose(predictor.weights.sum(), 1)
    assert sum(cost_of(name) for name in predictor.members) <= 2.5
    assert predictor.learned["series"] == 12
    assert predictor.leaderboard[0].member == "ensemble"
    assert {row.member for row in predictor.leaderboard} >= set(predictor.members)
    assert {"member", "value", "low", "high"} == set(predictor.gain)


@pytest.mark.process
def test_the_same_windows_give_the_same_file_but_for_the_speeds(predictor, forecasters):
    windows = past_windows(pasts(), H, season=24, windows=2)
    recipe = Recipe(H, SEASONS, max_cost=2.5, per_item=True)
    again = learn_predictor(windows, forecasters, recipe, learned={"source": "test"})

    def told(made):
        document = made.to_document()
        for row in document["leaderboard"]:
            del row["series_per_second"]
        return document

    assert told(again) == told(predictor)


def test_items_that_were_not_sampled_have_the_weights_of_their_segment():
    rng = np.random.default_rng(5)
    windows = []
    for number in range(24):
        kind = ("walk", "level")[number % 2]
        noise = rng.normal(size=(3, 90))
        for place, row in enumerate(np.cumsum(noise, axis=1) if kind == "walk" else noise):
            key = (f"item {number}", kind, f"{number % 4}")
            windows.append(PastWindow(key, 50 + row[:80], 50 + row[80:], 1.0, place))
    members = [statistical_member(name) for name in ("random_walk", "npts")]
    learned = learn(windows, Backtester(members, ()), Recipe(10, (), per_item=True))
    walk, level = (learned.weights_of(("another", kind, "0")) for kind in ("walk", "level"))
    place = learned.members.index("random_walk")
    assert walk[place] > learned.weights[place] > level[place]
    assert learned.weights_of(("another", "unknown", "0")) is learned.weights
    assert set(learned.segments) == {(1, "walk"), (1, "level")}  # the third dimension says nothing
    again = Predictor.from_json(learned.to_json())
    assert again.to_json() == learned.to_json()
    assert np.array_equal(again.weights_of(("another", "walk", "0")), walk)


def test_attributes_of_the_items_make_segments_where_no_dimension_tells_them_apart():
    rng = np.random.default_rng(5)
    windows, kinds = [], {}
    for number in range(24):
        kind = ("walk", "level", "level")[number % 3]
        kinds[f"item {number}"] = kind
        noise = rng.normal(size=(3, 90))
        for place, row in enumerate(np.cumsum(noise, axis=1) if kind == "walk" else noise):
            windows.append(PastWindow((f"item {number}",), 50 + row[:80], 50 + row[80:], 1.0, place))
    del kinds["item 0"]  # has no metadata, and counts in no segment
    categories = {"kind": kinds, "name": {item: item for item in kinds}}
    members = [statistical_member(name) for name in ("random_walk", "npts")]
    learned = learn(windows, Backtester(members, ()), Recipe(10, (), per_item=True), categories=categories)
    assert set(learned.segments) == {("kind", "walk"), ("kind", "level")}  # names say nothing of other items
    again = Predictor.from_json(learned.to_json())
    assert again.to_json() == learned.to_json()
    assert again.weights_of(("another",)) is again.weights
    known = again.of_categories({"kind": {"another": "walk", "third": "unknown"}, "colour": {"another": "red"}})
    place = known.members.index("random_walk")
    assert known.weights_of(("another",))[place] > known.weights[place]
    assert known.weights_of(("third",)) is known.weights
    assert known.to_json() == learned.to_json()


@pytest.fixture(scope="module")
def by_traits():
    """A predictor of walks and of noise around a level, which nothing tells apart but what they look like."""
    rng = np.random.default_rng(5)
    windows = []
    for number in range(24):
        noise = rng.normal(size=(3, 90))
        for place, row in enumerate(np.cumsum(noise, axis=1) if number % 2 else noise):
            windows.append(PastWindow((f"item {number}",), 50 + row[:80], 50 + row[80:], 1.0, place))
    members = [statistical_member(name) for name in ("random_walk", "npts")]
    return learn(windows, Backtester(members, ()), Recipe(10, (), per_item=True))


def walk_and_level():
    noise = np.random.default_rng(6).normal(size=80)
    return [50 + np.cumsum(noise), 50 + noise]


def test_items_that_were_not_sampled_have_weights_by_what_they_look_like(by_traits):
    place = by_traits.members.index("random_walk")
    walk, level = by_traits.weights_of_series([("another",), ("third",)], by_traits.traits_of(walk_and_level()))
    assert walk[place] > by_traits.weights[place] > level[place]
    assert np.allclose([walk.sum(), level.sum()], 1)
    unknown = by_traits.weights_of(("another",), by_traits.traits_of([np.array([1.0, np.nan])])[0])
    assert np.allclose(unknown, by_traits.weights)
    again = Predictor.from_json(by_traits.to_json())
    assert again.to_json() == by_traits.to_json()
    assert (again.trait_names, again.alone("npts").trait_names) == (by_traits.trait_names, ())
    few = learn([], Backtester([statistical_member("npts")], ()), Recipe(10, (), per_item=True))
    assert few.traits_of(walk_and_level()) is None
    damaged = json.loads(by_traits.to_json())
    damaged["traits"]["names"] = ["colour"]
    with pytest.raises(PredictorError, match="traits are colour"):
        Predictor.from_json(json.dumps(damaged).encode())


def test_forecasts_by_traits_depend_on_nothing_but_their_series(by_traits):
    ensemble = Ensemble(by_traits, {}, 10, QUANTILES)
    walk, level = walk_and_level()
    together = ensemble.forecast([walk, np.full(9, 3.0), level])
    alone = [ensemble.forecast([one]) for one in (walk, level)]
    for place, one in zip((0, 2), alone, strict=True):
        assert np.array_equal(one.quantiles[0], together.quantiles[place])
        assert np.array_equal(one.traits[0], together.traits[place])
    assert np.isnan(together.traits[1]).all()


def test_the_table_of_members_has_the_weights_that_traits_make(by_traits, tmp_path):
    layout = ForecastLayout((), ("p50",), 2, traits=len(by_traits.trait_names))
    found = by_traits.traits_of(walk_and_level())
    records = np.zeros(2, dtype=layout.record)
    records["traits"] = found
    keys = [("level",), ("walk",)]
    manifest = {"dimensions": [], "columns": ["p50"], "horizon": 2, "series": 2, "predictor": by_traits.summary()}
    empty = skipped_table([], ())
    periods = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[us]")
    write_window(tmp_path / "made", layout, periods, [iter(zip(keys, records[::-1], strict=True))], empty, manifest)
    write_members(tmp_path / "members.parquet", by_traits, tmp_path / "made" / LAST_OBSERVED, ())
    rows = [row for row in pq.read_table(tmp_path / "members.parquet").to_pylist() if row["level"] == "item"]
    table = {(row["item_id"], row["member"]): row["member_weight"] for row in rows}
    for key, traits in zip(keys, found[::-1], strict=True):
        for member, weight in zip(by_traits.members, by_traits.weights_of(key, traits), strict=True):
            assert table.get((key[0], member), 0.0) == weight
    store = SimpleNamespace(snapshot=lambda key: tmp_path / "made")
    walk = traits_of_item(SimpleNamespace(store=store), manifest | {"as_of": "2024-01-01"}, "walk")
    assert {key: row.tolist() for key, row in walk.items()} == {("walk",): found[0].tolist()}
    again = list(WindowFolder.read(tmp_path / "made").series())
    assert [key for key, _ in again] == keys
    assert np.array_equal(np.stack([record["traits"] for _, record in again]), found[::-1])


def test_a_file_is_read_back_as_it_was(predictor, tmp_path):
    predictor.save(tmp_path)
    again = Predictor.load(tmp_path)
    assert again.to_json() == predictor.to_json()
    assert Predictor.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format is 2"),
        ({"weights": {"theta": 0.5}}, "shares of 1|which are no members"),
        ({"members": ["no_such"]}, "there is no member 'no_such'"),
        ({"metric": "MSE"}, "is not one of"),
        ({"calibration": {"ends": [1], "factors": [[0.0]]}}, "calibration"),
        ({"horizon": 0}, "horizon 0"),
        ({"seasons": None}, "can't be read as a predictor"),
    ],
)
def test_a_file_that_is_no_predictor_is_refused_with_the_reason(predictor, change, reason):
    document = json.loads(predictor.to_json()) | change
    with pytest.raises(PredictorError, match=reason):
        Predictor.from_json(json.dumps(document).encode())
    with pytest.raises(PredictorError):
        Predictor.from_json(b"{")


@pytest.mark.process
def test_a_forecast_depends_on_nothing_but_its_series(predictor, forecasters):
    ensemble = Ensemble(predictor, forecasters, H, QUANTILES)
    given = list(series(7, 130)) + [((f"item {n}",), values[:n]) for n, (_, values) in enumerate(series(60), 20)]
    keys, contexts = zip(*given, strict=True)
    together = ensemble.forecast(contexts, keys=keys)
    for place in (0, 3, 6, 7, 20):
        alone = ensemble.forecast([contexts[place]], keys=[keys[place]])
        assert np.array_equal(alone.quantiles[0], together.quantiles[place])
        assert np.array_equal(alone.mean[0], together.mean[place])


def test_forecasts_are_in_order_and_follow_the_series(predictor, forecasters):
    ensemble = Ensemble(predictor, forecasters, H, LEVELS)
    contexts = [values for _, values in series()]
    made = ensemble.forecast([values[:-H] for values in contexts])
    assert (np.diff(made.quantiles, axis=2) >= 0).all()
    actual = np.array([values[-H:] for values in contexts])
    assert np.abs(made.quantiles[:, :, LEVELS.index(0.5)] - actual).mean() < 3
    assert ensemble.at(2 * H, QUANTILES).forecast(contexts).quantiles.shape == (12, 2 * H, 3)


def test_bands_of_which_published_ones_were_too_narrow_are_wider_around_the_same_median(predictor, forecasters):
    wide = Predictor.from_json(replace(predictor, live_width=1.5).to_json())
    assert (wide.live_width, wide.digest) == (1.5, predictor.digest)
    contexts = [values for _, values in series(3)]
    plain, wider = (Ensemble(one, forecasters, H, QUANTILES).forecast(contexts).quantiles for one in (predictor, wide))
    assert np.array_equal(wider[:, :, 1], plain[:, :, 1])
    assert np.allclose(wider - wider[:, :, 1:2], 1.5 * (plain - plain[:, :, 1:2]))
    with pytest.raises(ValueError, match="live_width is 0"):
        replace(predictor, live_width=0.0)


def test_what_cannot_be_forecast_is_named_and_what_is_constant_stays(predictor, forecasters):
    ensemble = Ensemble(predictor, forecasters, H, QUANTILES, min_observations=3)
    contexts = [np.full(9, np.nan), np.array([1.0, 2.0]), np.full(30, 7.0), np.abs(np.sin(np.arange(40.0)))]
    made = ensemble.forecast(contexts, non_negative=[False, False, False, True])
    assert [(skip.index, skip.reason) for skip in made.skipped] == [
        (0, "no observation"),
        (1, "2 observations, fewer than the 3 asked for"),
    ]
    assert made.flat.tolist() == [False, False, True, False]
    assert (made.quantiles[2] == 7).all()
    assert (made.quantiles[3] >= 0).all()


def test_levels_beyond_the_network_are_refused(predictor, forecasters):
    with pytest.raises(QuantileRangeError):
        Ensemble(predictor, forecasters, H, [0.001])


def test_no_past_gives_the_prior(forecasters):
    learned = learn_predictor([], forecasters, zero_shot_recipe(H, SEASONS))
    assert learned.learned["windows"] == 0
    assert len(learned.members) > 1
    assert (learned.calibration.factors == 1).all()


def test_windows_end_at_the_as_of_and_lie_end_to_end():
    values = np.arange(40.0)
    cut = past_windows([BacktestPast(("a",), values, values)], 6, season=1, windows=2)
    assert [window.actual[-1] for window in cut] == [39.0, 33.0, 27.0, 21.0, 15.0]  # few series: more windows of each
    assert all(window.history[-1] == window.actual[0] - 1 for window in cut)
    assert [
        len(window.actual) for window in past_windows([BacktestPast(("a",), values[:11], values[:11])], 8, season=1)
    ] == [4]
    assert past_windows([BacktestPast(("a",), values[:5], values[:5])], 8, season=1) == []
    assert windows_each(10_000) == 2


class Noisy:
    """A member that knows the wave of its contexts, with an error of so many times a noise that is the window's own."""

    def __init__(self, name, error):
        self.name, self.error = name, error

    def forecast(self, contexts):
        made = []
        for context in contexts.values:
            noise = np.random.default_rng(len(context)).normal(size=contexts.horizon)
            wave = np.sin((len(context) + np.arange(contexts.horizon)) / 3)
            made.append((wave + self.error * noise)[:, None] + 0.1 * (np.array(LEVELS) - 0.5))
        return np.array(made)


def waves(count=4, length=100):
    for number in range(count):
        values = np.sin(np.arange(length) / 3)
        yield BacktestPast((f"wave {number}",), values, values)


def learned_with(error, trained_until, windows=None):
    """Of a base model, a worse member, and, if an error is given, a checkpoint that was tuned until then."""
    members = [Noisy("chronos/1", 0.2), Noisy("theta", 0.3)]
    if error is not None:
        members.append(Noisy("tuned/1", error))
    windows = windows or past_windows(waves(), 10, season=1)
    return learn(windows, StandIns(Backtester(members, ()), trained_until), Recipe(10, (), per_item=True))


def tuned_weight(predictor):
    return dict(zip(predictor.members, predictor.weights, strict=True))["tuned/1"]


def test_what_a_checkpoint_was_trained_on_does_not_speak_for_it():
    alone = learned_with(None, 79)
    unseen = learned_with(0.16, trained_until=-1)
    all_seen = learned_with(0.16, trained_until=99)
    assert all_seen.digest == alone.digest
    some_seen = learned_with(0.16, trained_until=79)  # the last two windows of each are new to it
    assert 0.1 < tuned_weight(some_seen) < tuned_weight(unseen)


def test_what_training_has_clearly_brought_is_not_diluted_by_what_the_checkpoint_has_seen():
    assert tuned_weight(learned_with(0.1, trained_until=79)) > 0.95


def test_a_checkpoint_that_is_no_better_leaves_the_zero_shot_predictor_as_it_is():
    alone = learned_with(None, 79)
    for error in (0.2, 0.199, 0.25, 1.0):
        assert learned_with(error, 79).digest == alone.digest


def test_a_tuned_member_has_to_be_better_by_more_than_chance_and_only_than_its_own_base():
    base = np.linspace(1, 2, 40)
    worth = 0.9 * base
    chance = base - 0.03 + 0.3 * (-1.0) ** np.arange(40)
    names = ("tuned/1", "chronos/1", "tuned/mean2", "chronos/mean2", "tuned/mean4")
    losses = np.stack([worth, base, chance, base, 2 * base])
    assert [names[place] for place in worthwhile(names, losses)] == [
        "tuned/1",
        "chronos/1",
        "chronos/mean2",
        "tuned/mean4",
    ]


def test_windows_end_with_the_period_that_is_asked_for():
    values = np.arange(40.0)
    cut = past_windows([BacktestPast(("a",), values, values, end=139)], 6, season=1, windows=2, anchor=137)
    assert [window.actual[-1] for window in cut] == [37.0, 31.0, 25.0, 19.0, 13.0]
    assert [window.begins_by(131) for window in cut] == [False, True, True, True, True]
    assert not cut[1].begins_by(125)


def test_backtests_stay_below_a_share_of_a_large_forecast():
    """By the sample's size, never by the clock: 30% of 10,000 series, even if each took a pass and a half only."""
    windows = max(count * windows_each(count) for count in range(1, SAMPLE + 1))
    assert windows == 512
    names = member_names({"chronos": describe_model("bundled")}, 24)
    assert windows * sum(map(cost_of, names)) <= 0.3 * 1.5 * 10_000


def test_members_are_chosen_by_name(forecasters):
    made = learn_predictor([], forecasters, zero_shot_recipe(H, SEASONS), wanted=("theta", "npts"))
    assert set(made.members) <= {"theta", "npts"}
    with pytest.raises(ValueError, match="none of the members tuned is possible"):
        learn_predictor([], forecasters, zero_shot_recipe(H, SEASONS), wanted=("tuned",))
