"""The split of a dataset's periods: nothing overlaps, nothing is lost, and what is too short is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.timeseries.dataset.holdout import HoldoutError, periods_known, plan_holdout, window_actuals

small = st.integers(0, 6)


@given(
    first=st.integers(-500, 500),
    training=st.integers(1, 400),
    horizon=st.integers(1, 80),
    validation=small,
    test=small,
)
def test_every_period_is_in_exactly_one_part_and_training_comes_first(first, training, horizon, validation, test):
    last = first + training + horizon * (validation + test) - 1
    plan = plan_holdout(first, last, horizon, validation_windows=validation, test_windows=test)
    parts = [range(first, plan.training_end + 1)]
    parts += [range(origin + 1, origin + horizon + 1) for origin in (*plan.validation, *plan.test)]
    assert [period for part in parts for period in part] == list(range(first, last + 1))
    assert (len(plan.validation), len(plan.test)) == (validation, test)
    assert plan.training_end - first + 1 == training
    assert plan.validation_end == plan.training_end + horizon * validation


@given(
    there=st.integers(1, 300), horizon=st.integers(1, 40), validation=small, test=small, training=st.integers(1, 100)
)
def test_the_number_of_periods_that_an_error_names_is_the_least_that_works(there, horizon, validation, test, training):
    options = {"validation_windows": validation, "test_windows": test, "training_periods": training}
    needed = training + horizon * (validation + test)
    if there >= needed:
        plan_holdout(7, 6 + there, horizon, **options)
        return
    with pytest.raises(HoldoutError, match=rf"have {there} periods, and {needed} are needed"):
        plan_holdout(7, 6 + there, horizon, **options)
    assert plan_holdout(7, 6 + needed, horizon, **options).training_end == 6 + training


@pytest.mark.parametrize(
    "options", [{"horizon": 0}, {"validation_windows": -1}, {"test_windows": -1}, {"training_periods": 0}]
)
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        plan_holdout(0, 1000, **{"horizon": 24, **options})


@given(first=st.integers(-50, 50), length=st.integers(1, 40), origin=st.integers(-80, 120), horizon=st.integers(1, 30))
def test_context_and_actuals_of_a_window_meet_at_the_origin(first, length, origin, horizon):
    values = np.arange(first, first + length, dtype=float)
    known = values[: periods_known(first, origin)]
    assert (known <= origin).all()
    actuals = window_actuals(values, np.zeros(length, bool), first, origin, horizon)
    expected = [float(p) if first <= p < first + length else np.nan for p in range(origin + 1, origin + horizon + 1)]
    np.testing.assert_array_equal(actuals, expected)


def test_filled_and_infinite_values_are_no_actuals():
    target = np.array([1.0, 2.0, np.inf, 4.0, np.nan])
    filled = np.array([False, True, False, False, True])
    np.testing.assert_array_equal(window_actuals(target, filled, 10, 9, 5), [1.0, np.nan, np.nan, 4.0, np.nan])


def test_a_report_has_the_starts_of_periods():
    grid = Grid(Frequency.parse("D"))
    first, last = grid.ordinal(np.array(["2024-01-01", "2024-01-31"], "datetime64[D]")).tolist()
    plan = plan_holdout(first, last, 7, validation_windows=1, test_windows=2)
    assert plan.to_document(grid) == {
        "horizon": 7,
        "training_end": "2024-01-10T00:00:00",
        "validation_origins": ["2024-01-10T00:00:00"],
        "validation_end": "2024-01-17T00:00:00",
        "test_origins": ["2024-01-17T00:00:00", "2024-01-24T00:00:00"],
        "test_end": "2024-01-31T00:00:00",
    }
