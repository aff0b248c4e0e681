"""Gap filling: the service's methods, looking backwards only, equal to a slow reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.params.forecast import Filling
from chronos_assets.timeseries.dataset.filling import METHODS, WINDOW, context_as_of, fill, fill_many
from chronos_assets.timeseries.dataset.shards import Series

NAN = float("nan")
STATISTICS = ("mean", "median", "min", "max")

entries = st.one_of(st.none(), st.integers(-50, 50).map(float), st.floats(-1e6, 1e6))
methods = st.sampled_from(METHODS)


def filling(middle="nan", back="nan"):
    return Filling(middle, back, -7.5 if middle == "value" else None, 3.25 if back == "value" else None)


def arrays(series):
    values = np.array([NAN if value is None else value for value in series], dtype=float)
    return values, ~np.isnan(values)


def reference(series, rule):
    """The rule entry by entry: what a reader of the service's guide would write first."""
    filled = []
    for place, value in enumerate(series):
        if value is not None:
            filled.append(value)
            continue
        before = [entry for entry in series[:place] if entry is not None][-WINDOW:]
        later = any(entry is not None for entry in series[place:])
        method = rule.middlefill if later else rule.backfill
        number = rule.middlefill_value if later else rule.backfill_value
        answers = {
            "nan": NAN,
            "zero": 0.0,
            "value": number,
            **{name: getattr(np, name)(before) if before else NAN for name in STATISTICS},
        }
        filled.append(answers[method] if before else NAN)
    return np.array(filled, dtype=float)


class TestOneSeries:
    @given(st.lists(entries, max_size=30), methods, methods)
    def test_equals_the_rule_applied_entry_by_entry(self, series, middle, back):
        values, observed = arrays(series)
        rule = filling(middle, back)
        np.testing.assert_allclose(fill(values, observed, rule), reference(series, rule), rtol=1e-12, atol=1e-9)

    @pytest.mark.parametrize("method", STATISTICS)
    def test_looks_at_the_64_latest_observations_before_the_gap(self, method):
        series = [*np.random.default_rng(1).normal(size=150), None, None, 5.0, None]
        values, observed = arrays(series)
        filled = fill(values, observed, filling(method, method))
        statistic = getattr(np, method)
        np.testing.assert_allclose(filled[150:152], statistic(series[86:150]), rtol=1e-12)
        np.testing.assert_allclose(filled[153], statistic([*series[87:150], 5.0]), rtol=1e-12)

    @given(st.lists(entries, min_size=2, max_size=25), methods, methods, st.data())
    def test_a_later_value_never_changes_an_earlier_fill(self, series, middle, back, data):
        cut = data.draw(st.integers(1, len(series) - 1))
        later = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(series) - cut, max_size=len(series) - cut))
        changed = series[:cut] + [None if old is None else new for old, new in zip(series[cut:], later, strict=True)]
        rule = filling(middle, back)
        before, after = (fill(*arrays(version), rule)[:cut] for version in (series, changed))
        np.testing.assert_array_equal(before, after)

    def test_the_gap_after_the_last_observation_is_backfill_the_others_middlefill(self):
        values, observed = arrays([None, 1.0, None, 3.0, None, None])
        np.testing.assert_array_equal(fill(values, observed, filling("zero", "max")), [NAN, 1, 0, 3, 3, 3])

    def test_nothing_is_filled_before_the_first_observation(self):
        for method in METHODS:
            filled = fill(*arrays([None, None, 4.0]), filling(method, method))
            np.testing.assert_array_equal(filled, [NAN, NAN, 4])

    def test_a_series_without_observations_stays_as_it_is(self):
        for method in METHODS:
            assert np.isnan(fill(*arrays([None, None]), filling(method, method))).all()

    def test_a_value_that_nobody_observed_is_ignored(self):
        filled = fill(np.array([2.0, 99.0, 4.0]), np.array([True, False, True]), filling("mean"))
        np.testing.assert_array_equal(filled, [2, 2, 4])

    def test_the_arguments_are_left_alone(self):
        values, observed = arrays([1.0, None])
        fill(values, observed, filling(back="zero"))
        assert np.isnan(values[1])

    def test_the_mean_of_huge_values_does_not_overflow(self):
        huge = 1.7e308
        filled = fill(*arrays([huge, huge, -huge, None]), filling(back="mean"))
        np.testing.assert_allclose(filled[3], huge / 3, rtol=1e-12)

    def test_an_unknown_method_or_a_value_without_its_number_is_refused(self):
        with pytest.raises(ValueError, match="middlefill 'linear' is not a filling method"):
            fill(*arrays([1.0, None]), Filling(middlefill="linear"))
        with pytest.raises(ValueError, match="backfill_value must say which"):
            fill(*arrays([1.0, None]), Filling(backfill="value"))

    def test_an_empty_series_stays_empty(self):
        assert fill(np.empty(0), np.empty(0, dtype=bool), filling("mean", "mean")).shape == (0,)


class TestManySeries:
    @given(st.lists(st.lists(entries, min_size=1, max_size=12), min_size=1, max_size=6), methods, methods)
    def test_equals_each_series_by_itself(self, many, middle, back):
        rule = filling(middle, back)
        starts = np.cumsum([0, *map(len, many[:-1])])
        together = fill_many(*arrays([value for series in many for value in series]), starts, rule)
        alone = np.concatenate([fill(*arrays(series), rule) for series in many])
        np.testing.assert_array_equal(together, alone)

    def test_more_gaps_than_are_gathered_at_once(self):
        series = [1.0, None] * 9000
        filled = fill_many(*arrays(series), np.array([0, 9000]), filling("median", "median"))
        assert (filled == 1.0).all()

    def test_starts_that_leave_out_the_beginning_are_refused(self):
        with pytest.raises(ValueError, match="must start at position 0"):
            fill_many(*arrays([1.0, None]), np.array([1]), filling("mean"))


@given(
    st.lists(st.one_of(st.none(), st.floats(-100, 100)), min_size=1, max_size=300),
    st.integers(1, 300),
    st.integers(1, 80),
    st.sampled_from(METHODS),
    st.sampled_from(METHODS),
)
def test_a_context_is_the_end_of_the_series_filled_as_of_then(values, cut, length, middlefill, backfill):
    target = np.array([np.nan if value is None else value for value in values])
    cut = min(cut, len(target))
    rule = Filling(middlefill, backfill, 5.0, 6.0)
    timestamps = np.datetime64("2024-01-01", "us") + np.arange(len(target)) * np.timedelta64(1, "h")
    imported = np.where(np.isnan(target), 999.0, target)  # whatever the import had filled in
    series = Series(("a",), timestamps, imported, np.isnan(target))
    expected = fill(target[:cut], ~np.isnan(target[:cut]), rule)[-length:]
    assert np.array_equal(context_as_of(series, cut, length, rule), expected, equal_nan=True)
