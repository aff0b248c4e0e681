"""Bands of counts: they end at zero, and their upper ends hold what they say."""

import numpy as np
import pytest

from chronos_assets.predictors.backtester import Backtester, PastWindow
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.learning import learn
from chronos_assets.predictors.members.catalogue import statistical_members
from chronos_assets.predictors.recipe import Recipe

HORIZON, LENGTH, COUNT = 14, 220, 100
LEVELS = (0.1, 0.5, 0.9)


def counts(kind: str) -> np.ndarray:
    rng, week = np.random.default_rng(3), np.sin(2 * np.pi * np.arange(LENGTH) / 7)
    if kind == "rare":
        return rng.poisson(0.3, (COUNT, LENGTH)).astype(float)
    if kind == "bursts":
        return rng.negative_binomial(1, 0.3, (COUNT, LENGTH)).astype(float)
    return rng.poisson(rng.gamma(1, 3, (COUNT, 1)) * (1 + 0.8 * week)).astype(float)


def windows(values: np.ndarray, end: int) -> list[PastWindow]:
    return [
        PastWindow((f"{place}",), row[:end], row[end : end + HORIZON], 1.0, end) for place, row in enumerate(values)
    ]


@pytest.mark.parametrize("kind", ["rare", "bursts", "weekly"])
def test_p90_of_counts_is_exceeded_once_in_ten_times_and_nothing_is_below_zero(kind: str) -> None:
    values = counts(kind)
    past = windows(values, LENGTH - 2 * HORIZON)
    predictor = learn(past, Backtester(statistical_members(), (7,)), Recipe(HORIZON, (7,)))
    contexts = list(values[:, : LENGTH - HORIZON])
    made = Ensemble(predictor, {}, HORIZON, LEVELS).forecast(contexts, non_negative=[True] * COUNT)
    actual = values[:, LENGTH - HORIZON :]
    low, _, high = np.moveaxis(made.quantiles, 2, 0)
    assert made.quantiles.min() >= 0
    assert made.raised.max() > 0 or kind == "rare"  # of rare counts nothing is forecast below zero
    assert 0.89 <= np.mean(actual <= high) <= 0.97  # counts lie on the end itself
    assert np.mean((low <= actual) & (actual <= high)) >= 0.8
    assert (made.mean >= low).all()


def test_what_may_be_negative_is_calibrated_as_it_is() -> None:
    values = counts("weekly") - 3
    predictor = learn(
        windows(values, LENGTH - 2 * HORIZON), Backtester(statistical_members(), (7,)), Recipe(HORIZON, (7,))
    )
    made = Ensemble(predictor, {}, HORIZON, LEVELS).forecast(list(values[:, : LENGTH - HORIZON]))
    actual = values[:, LENGTH - HORIZON :]
    assert made.quantiles.min() < 0
    inside = (made.quantiles[..., 0] <= actual) & (actual <= made.quantiles[..., 2])
    assert 0.74 <= inside.mean() <= 0.86
