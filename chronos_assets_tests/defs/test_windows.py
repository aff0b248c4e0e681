"""Windows agree with Dagster's time-window partitions."""

from datetime import UTC, datetime, timedelta, timezone

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.planning.windows import next_window, window_for_key, window_of

CADENCES = {
    "hourly": dg.HourlyPartitionsDefinition(start_date="1990-01-01-00:00"),
    "daily": dg.DailyPartitionsDefinition(start_date="1990-01-01"),
    "weekly": dg.WeeklyPartitionsDefinition(start_date="1990-01-07"),
    "monthly": dg.MonthlyPartitionsDefinition(start_date="1990-01-01"),
}
moments = st.datetimes(min_value=datetime(1990, 1, 7), max_value=datetime(2025, 1, 1))


@pytest.mark.process
@pytest.mark.parametrize("cadence", CADENCES)
@given(moment=moments)
def test_keys_starts_and_ends_are_dagsters(cadence, moment):
    window = window_of(moment, cadence)
    assert window.start <= moment < window.end
    theirs = CADENCES[cadence].time_window_for_partition_key(window.key)
    assert (theirs.start, theirs.end) == (window.start.replace(tzinfo=UTC), window.end.replace(tzinfo=UTC))
    assert window_for_key(window.key, cadence) == window
    following = next_window(window, cadence)
    assert following.start == window.end
    assert following.key == CADENCES[cadence].get_next_partition_key(window.key)


def test_an_aware_moment_is_taken_in_utc():
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert window_of(moment, "daily").key == "2025-12-31"


@pytest.mark.parametrize(
    ("key", "cadence"),
    [
        ("2026-01-01", "hourly"),
        ("2026-01-01-10:30", "hourly"),
        ("2026-01-02", "monthly"),
        ("2026-01-01", "weekly"),
        ("2026-1-1", "daily"),
        ("today", "daily"),
        ("9999-12-31", "daily"),
        ("", "daily"),
    ],
)
def test_a_key_of_another_cadence_is_refused_by_name(key, cadence):
    with pytest.raises(ValueError, match=f"is not the key of a {cadence} partition") as error:
        window_for_key(key, cadence)
    assert repr(key) in str(error.value)
