"""What counts as an anomaly: how far outside which band, and what measures it where the band has no width."""

from __future__ import annotations

import numpy as np
import pytest

from chronos_assets.timeseries.scoring.anomalies import Anomalies, find_anomalies

LEVELS = (0.1, 0.5, 0.9)
NAN = float("nan")


def found(
    actual: list[float], quantiles: list[list[float]], *, threshold: float = 1.0, season: float = NAN
) -> list[tuple[int, float]]:
    """Step and deviation of each anomaly of one series."""
    anomalies = find_anomalies(
        np.array([actual]),
        np.array([quantiles]),
        LEVELS,
        season_errors=np.array([season]),
        threshold=threshold,
    )
    return list(zip(anomalies.step.tolist(), anomalies.deviation.tolist(), strict=True))


def test_the_deviation_is_measured_in_the_half_of_the_band_on_the_actuals_side() -> None:
    band = [8.0, 10.0, 14.0]
    assert found([6.0, 8.0, 14.0, 18.0, NAN], [band] * 5) == [(0, -2.0), (3, 2.0)]


def test_the_threshold_is_the_least_deviation_that_counts() -> None:
    band = [9.0, 10.0, 11.0]
    assert found([12.0, 12.5], [band] * 2, threshold=2.5) == [(1, 2.5)]


def test_without_a_width_the_season_error_measures_and_without_that_any_difference_counts() -> None:
    flat = [5.0, 5.0, 5.0]
    assert found([5.0, 8.0], [flat] * 2, season=1.5) == [(1, 2.0)]
    assert found([5.0, 4.0], [flat] * 2, season=0.0) == [(1, float("-inf"))]
    assert found([5.0, 6.0], [flat] * 2) == [(1, float("inf"))]


def test_nothing_is_an_anomaly_without_a_central_band() -> None:
    anomalies = find_anomalies(
        np.array([[100.0]]), np.array([[[1.0]]]), (0.5,), season_errors=np.array([1.0]), threshold=1.0
    )
    assert len(anomalies) == 0


def test_the_mean_stands_in_for_the_median_and_the_middle_of_the_band_for_both() -> None:
    pair = np.array([[[0.0, 10.0]]])
    options = {"season_errors": np.array([1.0]), "threshold": 1.0}
    with_mean = find_anomalies(np.array([[20.0]]), pair, (0.1, 0.9), mean=np.array([[8.0]]), **options)
    assert (with_mean.middle.tolist(), with_mean.deviation.tolist()) == ([8.0], [6.0])
    assert find_anomalies(np.array([[20.0]]), pair, (0.1, 0.9), **options).deviation.tolist() == [3.0]


def test_parts_are_put_together_in_the_order_of_the_series() -> None:
    def part(series: list[int], step: list[int]) -> Anomalies:
        numbers = np.array(step, float)
        return Anomalies(np.array(series, np.intp), np.array(step, np.intp), *[numbers] * 5)

    joined = Anomalies.concatenate([(0, part([1, 0], [2, 1])), (2, part([0], [0]))])
    assert joined.series.tolist() == [1, 0, 2]
    ordered = joined.reordered(np.array([2, 1, 0], np.intp))  # the last series comes first
    assert (ordered.series.tolist(), ordered.step.tolist()) == ([0, 1, 2], [0, 2, 1])
    assert ordered.worst(1).tolist() == [1]


@pytest.mark.parametrize("threshold, counted", [(1.0, 2), (2.0, 1), (3.0, 0)])
def test_a_higher_threshold_counts_fewer(threshold: float, counted: int) -> None:
    assert len(found([12.5, 11.5], [[9.0, 10.0, 11.0]] * 2, threshold=threshold)) == counted
