"""What published forecasts say of the next one's bands: which of them tell, when they do, and that a record is kept."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.pipeline.live_bands import live_document, live_records, live_width
from chronos_assets.pipeline.model_in_use import predictor_of
from chronos_assets.planning.windows import Window
from chronos_assets.predictors.calibration import Calibration
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.timeseries.scoring.band_widths import BandWidths

LEVELS = (0.1, 0.5, 0.9)


@dataclass
class Store:
    """Manifests of partitions that were scored and forecast, by folder."""

    accuracy: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, dict[str, Any]] = field(default_factory=dict)

    def manifests(self, folder):
        return [(f"as_of={key}", "v", manifest) for key, manifest in getattr(self, folder).items()]


def forecast_made(day, *, model="m", in_time=True, width=1.0, later=False):
    return {
        "forecast_start": f"2024-01-{day + 1:02}T00:00:00",
        "forecast_end": f"2024-01-{day + 2:02}T00:00:00",
        "model": {"digest": model},
        "params_digest": "p",
        "live": {"in_time": in_time, "width": width, "partitions": 0},
        "trained_on_later_data": later,
    }


def report(deviation):
    """Scores of actuals around 10 with deviation 1, whose band is of a normal forecast with another one."""
    actual = 10 + np.random.default_rng(0).normal(size=(200, 2))
    quantiles = 10 + deviation * np.array([-1.2816, 0, 1.2816]) * np.ones((200, 2, 1))
    return SimpleNamespace(widths=BandWidths.of(actual, quantiles, LEVELS))


def records(store, *days):
    state = SimpleNamespace(
        group=SimpleNamespace(store=store),
        params=SimpleNamespace(grid=Grid(Frequency.parse("D")), digest="p"),
        model_in_use=SimpleNamespace(digest="m"),
    )
    windows = [Window(datetime(2024, 1, day), datetime(2024, 1, day + 1), str(day)) for day in days]
    return live_records(state, windows)


def scored(*days, deviation=0.5, **options):
    """A store with partitions whose published bands were half as wide as they should have been."""
    return Store({str(day): {"live": live_document(forecast_made(day, **options), report(deviation))} for day in days})


def test_bands_that_were_too_narrow_are_widened_once_their_horizon_is_observed():
    store = scored(3, 5, 7, 9)
    found = records(store, 4, 6, 11, 20)
    assert found["4"] == {"width": 1.0, "partitions": 0}  # the horizon of day 3 is not over
    assert found["6"]["partitions"] == 1
    assert found["11"] == found["20"]
    assert found["20"]["partitions"] == 4
    assert 1.5 < found["20"]["width"] < 2.0
    assert 0.5 < records(scored(3, 5, 7, 9, deviation=2.0), 20)["20"]["width"] < 0.7


def test_chance_is_not_followed_and_neither_are_forecasts_of_what_was_known():
    assert live_width([1.2, 0.8, 1.1, 1.3]) == live_width([1.4]) == live_width([]) == 1.0
    for options in ({"in_time": False}, {"later": True}, {"model": "another"}):
        assert records(scored(3, 5, 7, 9, **options), 20)["20"]["partitions"] == 0
    assert live_document(forecast_made(3) | {"live": {}}, report(0.5)) is None
    assert records(Store({"3": {"wql": 1.0}}), 20)["20"]["width"] == 1.0  # scored by an earlier version


def test_horizons_that_overlap_count_once():
    assert records(scored(3, 4, 5, 6), 20)["20"]["partitions"] == 2


def test_what_bands_were_widened_by_is_part_of_what_they_needed():
    right, corrected = report(1.0), live_document(forecast_made(3, width=2.0), report(1.0))
    assert corrected is not None
    assert corrected["needed"] == pytest.approx(2.0 * right.widths.needed)


def test_a_forecast_that_is_made_again_keeps_its_record():
    store = scored(3, 5, 7, 9)
    store.history["20"] = forecast_made(20, width=1.25)
    assert records(store, 20)["20"] == {"in_time": True, "width": 1.25, "partitions": 0}
    store.history["20"] |= {"params_digest": "other"}
    assert records(store, 20)["20"]["width"] > 1.5


def test_widths_are_those_that_hold_the_share_and_add_up():
    assert report(1.0).widths.needed == pytest.approx(1.0, abs=0.1)
    assert report(0.5).widths.needed == pytest.approx(2.0, abs=0.2)
    half = BandWidths.total([report(0.5).widths, report(0.5).widths])
    assert half.needed == report(0.5).widths.needed
    nothing = np.full((2, 2), np.nan)
    assert BandWidths.of(nothing, np.ones((2, 2, 3)), LEVELS).needed is None
    assert BandWidths.of(np.ones((2, 2)), np.ones((2, 2, 1)), (0.5,)).needed is None


def test_a_version_is_the_same_however_its_bands_are_widened():
    predictor = Predictor(("theta",), np.ones(1), Calibration.none(), seasons=(7,), horizon=7)
    wide = replace(predictor, live_width=1.25)
    assert wide.to_json() != predictor.to_json()
    # Else each of its forecasts would be taken for another version's, and made again.
    assert predictor_of({"predictor": wide.summary()}) == predictor.digest
