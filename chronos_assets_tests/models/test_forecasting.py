"""Forecasts of awkward series, in awkward batches, with networks of every family."""

import numpy as np
import pytest
import torch

from chronos_assets.models import families
from chronos_assets.models.checkpoints import QuantileRangeError
from chronos_assets.models.forecasting import BatchForecast, Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets_tests.models import tiny
from chronos_assets_tests.models.tiny_levels import LEVELS_9, LEVELS_21

FAMILIES = ("bolt", "chronos2", "t5")
LEVELS = (0.1, 0.5, 0.75, 0.99)
# Each family within a block of its tiny network, and beyond: that of t5 is shorter, and each of its blocks takes a second.
WITHIN_AND_BEYOND = pytest.mark.parametrize(
    ("family", "horizon"),
    [
        ("bolt", 5),
        ("bolt", 20),
        ("chronos2", 5),
        ("chronos2", 20),
        ("t5", 5),
        pytest.param("t5", 9, marks=pytest.mark.process),
    ],
)


@pytest.fixture(scope="module")
def models() -> dict[str, LoadedModel]:
    return {family: load_model(tiny.folder_of(family), device="cpu") for family in FAMILIES}


def forecast_batch(model: LoadedModel, contexts, horizon: int, levels, **options) -> BatchForecast:
    return Forecaster(model, horizon, levels, **options).forecast(contexts)


def awkward_series() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    wave = np.sin(np.arange(100) / 3)
    gaps = np.where(rng.random(100) < 0.3, np.nan, wave)
    return {
        "wave": wave,
        "gaps": gaps,
        "leading gap": np.concatenate([np.full(40, np.nan), wave[:30]]),
        "trailing gap": np.concatenate([wave, np.full(20, np.nan)]),
        "two values": np.array([1.0, 2.0]),
        "huge": 1e12 * (5 + wave),
        "huge and nearly flat": 1e12 + wave,
        "tiny": 1e-12 * wave,
        "largest": 1e289 * wave,
        "smallest": 1e-300 * wave,
        "outlier": np.where(np.arange(100) == 50, 1e9, wave),
        "counts": rng.poisson(0.2, 100).astype(float),
        "infinities": np.where(np.arange(100) % 10 == 0, np.inf, wave),
        "single precision": wave.astype(np.float32),
    }


@pytest.mark.process
@WITHIN_AND_BEYOND
def test_awkward_series_have_finite_ascending_forecasts(models, family, horizon):
    series = awkward_series()
    forecaster = Forecaster(models[family], horizon, LEVELS, batch_size=4, workers=2)
    forecast = forecaster.forecast(list(series.values()))
    assert forecast.skipped == ()
    assert forecast.quantiles.shape == (len(series), horizon, len(LEVELS))
    assert np.isfinite(forecast.quantiles).all()
    assert np.isfinite(forecast.mean).all()
    assert np.all(np.diff(forecast.quantiles, axis=-1) >= 0)
    assert not forecast.flat.any()
    assert forecaster.unrolled == (horizon > 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_observations_are_forecast_as_they_are(models, family):
    contexts = [np.zeros(30), np.full(5, 1e12), np.array([7.5]), np.array([np.nan, 0.1, np.nan, 0.1])]
    forecast = forecast_batch(models[family], contexts, 20, LEVELS)
    assert forecast.flat.all()
    for row, value in enumerate((0.0, 1e12, 7.5, 0.1)):
        assert np.all(forecast.quantiles[row] == value)
        assert np.all(forecast.mean[row] == value)


@pytest.mark.parametrize("family", FAMILIES)
def test_series_that_cannot_be_forecast_are_named_with_the_reason(models, family):
    old = np.concatenate([np.arange(10.0), np.full(64, np.nan)])
    contexts = [
        np.array([]),
        np.arange(30.0),
        np.full(9, np.nan),
        old,
        np.array([1.0, np.nan, 2.0]),
        np.array([1, 2, 1e300, 3]),
    ]
    forecast = forecast_batch(models[family], contexts, 3, LEVELS, min_observations=3)
    reasons = {skip.index: skip.reason for skip in forecast.skipped}
    assert reasons == {
        0: "no observation",
        2: "no observation",
        3: "no observation in the last 64 periods, which is all the model reads",
        4: "2 observations, fewer than the 3 asked for",
        5: "values beyond 1e+290",
    }
    assert np.isnan(forecast.quantiles[list(reasons)]).all()
    assert np.isfinite(forecast.quantiles[1]).all()


@pytest.mark.parametrize("family", ["bolt", "chronos2"])
@pytest.mark.parametrize(("scale", "shift"), [(1e12, 0.0), (1e-12, 0.0), (3.0, 1e5), (1e200, 0.0)])
def test_scale_and_shift_pass_through(models, family, scale, shift):
    wave = np.sin(np.arange(60) / 3)
    forecast = forecast_batch(models[family], [wave, scale * wave + shift], 30, LEVELS)
    expected = scale * forecast.quantiles[0] + shift
    assert forecast.quantiles[1] == pytest.approx(expected, rel=1e-3, abs=1e-4 * scale)


def test_t5_keeps_the_zero_of_a_series_unless_it_is_far_away(models):
    wave = np.sin(np.arange(60) / 3)
    forecaster = Forecaster(models["t5"], 8, LEVELS)
    plain, doubled, far = (
        forecaster.forecast([series], seeds=[3]).quantiles[0] for series in (wave + 2, 2 * wave + 4, wave + 1e6)
    )
    assert doubled == pytest.approx(2 * plain, rel=1e-5)
    assert np.ptp(far) > 0.1


@pytest.mark.process
@WITHIN_AND_BEYOND
def test_a_forecast_depends_on_nothing_but_its_series(models, family, horizon):
    series = list(awkward_series().values())
    seeds = [1000 + index for index in range(len(series))]
    forecaster = Forecaster(models[family], horizon, LEVELS, batch_size=4, workers=2)
    assert forecaster.rows_independent
    whole = forecaster.forecast(series, seeds=seeds)
    order = np.random.default_rng(0).permutation(len(series))
    shuffled = forecaster.forecast([series[i] for i in order], seeds=[seeds[i] for i in order])
    assert np.array_equal(shuffled.quantiles, whole.quantiles[order])
    assert np.array_equal(shuffled.mean, whole.mean[order])
    alone = Forecaster(models[family], horizon, LEVELS, batch_size=4, workers=1)
    for index in (0, 3, 7):
        single = alone.forecast([series[index]], seeds=[seeds[index]])
        assert np.array_equal(single.quantiles[0], whole.quantiles[index])


def test_where_rows_are_not_independent_groups_are_kept_apart(models, monkeypatch):
    forecaster = Forecaster(models["bolt"], 4, LEVELS, batch_size=4)
    batches: list[int] = []
    run = forecaster._run
    monkeypatch.setattr(forecaster, "_run", lambda batch: batches.append(len(batch.items)) or run(batch))
    series = [np.arange(20.0) + index for index in range(6)]
    forecaster.forecast(series, groups=["a", "b", "a", "b", "a", "a"])
    assert sorted(batches) == [2, 4]
    batches.clear()
    monkeypatch.setattr(forecaster, "rows_independent", False)
    forecaster.forecast(series, groups=["a", "b", "a", "b", "a", "b"])
    assert sorted(batches) == [3, 3]


def test_many_short_contexts_share_larger_passes_where_that_changes_no_bits(models, monkeypatch):
    series = [np.sin(np.arange(20.0) / (2 + index)) for index in range(70)]
    sizes: dict[bool, list[int]] = {True: [], False: []}
    made = {}
    for alike, seen in sizes.items():
        forecaster = Forecaster(models["bolt"], 4, LEVELS, batch_size=4, workers=1)
        monkeypatch.setattr(forecaster, "_try_more_rows", lambda *_, alike=alike: alike)
        run = forecaster._run
        monkeypatch.setattr(
            forecaster, "_run", lambda batch, seen=seen, run=run: seen.append(len(batch.items)) or run(batch)
        )
        made[alike] = forecaster.forecast(series)
    assert sizes == {True: [16] * 4 + [4, 2], False: [4] * 17 + [2]}
    assert np.allclose(made[True].quantiles, made[False].quantiles, atol=1e-5)
    other = Forecaster(models["bolt"], 4, LEVELS, batch_size=4)
    network, rows = other._network, other._trial_rows(16, 24)

    class Uneven:
        block_length = 16

        def block(self, contexts: torch.Tensor, length: int) -> np.ndarray:
            return network.block(contexts, length) + len(contexts) * 1e-12

    assert not other._try_more_rows(Uneven(), rows)


def test_rows_that_depend_on_their_place_are_noticed(models, monkeypatch):
    forecaster = Forecaster(models["bolt"], 4, LEVELS, batch_size=4)

    class Leaky:
        levels = forecaster._network.levels
        block_length = 16

        def block(self, contexts: torch.Tensor, length: int) -> np.ndarray:
            quantiles = forecaster._network.block(contexts, length)
            return quantiles + np.arange(len(quantiles))[:, None, None] * 1e-12

    assert forecaster._try_rows(forecaster._network)
    assert not forecaster._try_rows(Leaky())


def test_threads_are_put_back_and_gradients_are_off(models):
    before = torch.get_num_threads()
    forecast_batch(models["bolt"], [np.arange(10.0)], 4, LEVELS)
    assert torch.get_num_threads() == before


def test_sampling_leaves_the_callers_random_numbers_alone(models):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    forecast_batch(models["t5"], [np.arange(10.0)], 4, LEVELS)
    assert torch.equal(torch.rand(3), expected)


def test_a_level_outside_of_the_models_range_is_refused(tmp_path):
    model = load_model(tiny.save_bolt(tmp_path / "narrow", levels=LEVELS_9), device="cpu")
    with pytest.raises(QuantileRangeError, match=r"0\.1 to 0\.9"):
        Forecaster(model, 4, (0.05, 0.5))


@pytest.mark.parametrize(
    ("horizon", "options"), [(0, {}), (3, {"context_length": 0}), (3, {"batch_size": -1})], ids=str
)
def test_impossible_numbers_are_refused(models, horizon, options):
    with pytest.raises(ValueError, match="must be 1 or more"):
        Forecaster(models["bolt"], horizon, LEVELS, **options)


def test_only_the_latest_periods_are_read(models):
    rng = np.random.default_rng(2)
    recent = rng.normal(size=24)
    early = [np.concatenate([rng.normal(size=50) * 100, recent]) for _ in range(2)]
    forecast = forecast_batch(models["bolt"], early, 4, LEVELS, context_length=24)
    assert np.array_equal(forecast.quantiles[0], forecast.quantiles[1])


def test_the_quantiles_of_samples_are_theirs(models):
    """T5's quantiles are those of its own paths, and its mean is their mean."""
    forecaster = Forecaster(models["t5"], 4, (0.01, 0.5, 0.99))
    context = np.sin(np.arange(30) / 3) + 2
    forecast = forecaster.forecast([context], seeds=[5])
    scale = np.abs(context).mean()
    given = [(context / scale).astype(np.float32)]
    paths = forecaster._network.paths(given, 4, 400, [5], width=32, rows=forecaster._series_of_a_pass(32))[0] * scale
    assert forecast.quantiles[0] == pytest.approx(np.quantile(paths, (0.01, 0.5, 0.99), axis=0).T)
    assert forecast.mean[0] == pytest.approx(paths.mean(axis=0))
    assert not np.array_equal(forecast.mean[0], forecast.quantiles[0, :, 1])


def test_the_first_block_of_a_long_horizon_is_that_of_a_short_one(models):
    context = [np.sin(np.arange(50) / 3)]
    short = forecast_batch(models["bolt"], context, 16, LEVELS)
    long = forecast_batch(models["bolt"], context, 40, LEVELS)
    assert np.array_equal(long.quantiles[:, :16], short.quantiles)


@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_the_first_block_is_the_librarys_own(models, family):
    """Bolt and Chronos-2 standardise their context, so that doing it before changes nothing but rounding."""
    context = np.sin(np.arange(48) / 3) * 5 + 3
    ours = forecast_batch(models[family], [context], 16, LEVELS_21).quantiles[0]
    inputs = torch.tensor(context, dtype=torch.float32)[None, None]
    theirs = models[family].pipeline.predict(inputs if family == "chronos2" else inputs[0], prediction_length=16)
    expected = np.sort(np.asarray(theirs[0]).reshape(21, 16).T, axis=-1)
    assert ours == pytest.approx(expected, abs=1e-3 * float(np.abs(expected).max()))


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    return load_model(device="cpu")


def band(model: LoadedModel, series: np.ndarray) -> np.ndarray:
    """Width of the 80% band over two blocks, (128,), a multiple of that before the end of the first, median series."""
    quantiles = forecast_batch(model, list(series), 128, (0.1, 0.5, 0.9)).quantiles
    width = quantiles[:, :, 2] - quantiles[:, :, 0]
    return np.median(width / width[:, 40:64].mean(axis=1, keepdims=True), axis=0)


def test_the_bundled_models_band_goes_on_widening_on_random_walks(bundled):
    assert bundled.description.block_length == 64
    walks = np.random.default_rng(8).normal(size=(16, 256)).cumsum(axis=1)
    widths = band(bundled, walks)
    assert 1.15 < widths[104:].mean() < 1.6  # the truth is 1.49; feeding back the median gives less than 1
    assert widths[64:].min() > 0.8
    assert widths[96:].mean() > widths[64:96].mean()


def test_the_bundled_models_band_does_not_explode_on_a_season(bundled):
    hours = np.arange(256)
    rng = np.random.default_rng(9)
    seasons = 3 * np.sin((hours + rng.integers(0, 24, (16, 1))) * np.pi / 12) + rng.normal(size=(16, 256)) / 3
    quantiles = forecast_batch(bundled, list(seasons), 128, (0.1, 0.5, 0.9)).quantiles
    true_width = 2 * 1.2816 / 3
    assert (quantiles[:, 104:, 2] - quantiles[:, 104:, 0]).mean() < 1.75 * true_width


def test_contexts_are_read_in_batches_of_one_length_and_padded_little(models, monkeypatch):
    seen = []
    block = families.BoltNetwork.block
    monkeypatch.setattr(
        families.BoltNetwork, "block", lambda self, rows, steps: seen.append(rows) or block(self, rows, steps)
    )
    lengths = np.random.default_rng(1).permutation(np.arange(1, 65))
    forecaster = Forecaster(models["bolt"], 4, LEVELS, batch_size=8, workers=1)
    seen.clear()  # what it tried first
    forecaster.forecast([np.arange(length, dtype=float) + 1 for length in [1, *lengths[lengths > 1]]])
    widths = [rows.shape[1] for rows in seen]
    assert widths == sorted(widths)
    for rows in seen:  # rows of zeros complete the last batch of a length
        read = (~torch.isnan(rows) & (rows != 0).any(dim=1, keepdim=True)).sum(dim=1)
        assert rows.shape[1] <= max(16, 1.5 * int(read[read > 0].min()))


@pytest.mark.process
@pytest.mark.parametrize("horizon", [24, 72])
def test_a_forecast_of_the_bundled_model_has_the_same_bits_in_any_company(bundled, horizon):
    rng = np.random.default_rng(10)
    series = [rng.normal(size=length).cumsum() for length in (3, 40, 200, 250, 256, 260, 700, 1500, 230, 220)]
    forecaster = Forecaster(bundled, horizon, (0.01, 0.5, 0.99), workers=2)
    assert forecaster.rows_independent
    whole = forecaster.forecast(series)
    order = rng.permutation(len(series))
    shuffled = forecaster.forecast([series[index] for index in order])
    assert np.array_equal(shuffled.quantiles, whole.quantiles[order])
    single = Forecaster(bundled, horizon, (0.01, 0.5, 0.99), workers=1).forecast(series[4:5])
    assert np.array_equal(single.quantiles[0], whole.quantiles[4])
    assert np.array_equal(single.mean[0], whole.mean[4])


@pytest.mark.process
@WITHIN_AND_BEYOND
def test_series_that_must_not_be_below_zero_are_not_and_others_are_as_they_were(models, family, horizon):
    rng = np.random.default_rng(2)
    contexts = [rng.normal(-0.3, size=90), rng.normal(size=90), np.full(20, -2.0), np.array([])]
    forecaster = Forecaster(models[family], horizon, (0.01, 0.1, 0.5, 0.9))
    free = forecaster.forecast(contexts, seeds=[1, 2, 3, 4])
    bounded = forecaster.forecast(contexts, seeds=[1, 2, 3, 4], non_negative=[True, False, True, True])
    assert (free.quantiles[0] < 0).any()
    assert np.array_equal(bounded.quantiles[0], np.maximum(free.quantiles[0], 0))
    assert np.all(bounded.mean[0] >= np.maximum(free.mean[0], 0))
    assert np.array_equal(bounded.quantiles[1], free.quantiles[1])
    assert np.array_equal(bounded.mean[1], free.mean[1])
    assert np.all(bounded.quantiles[2] == 0)  # of equal observations, all below zero
    assert 0 < bounded.raised[0] <= horizon
    assert bounded.raised.tolist() == [bounded.raised[0], 0, horizon, 0]
    assert not free.raised.any()
