"""Where periods start and how often rows come, told from timestamps: phases, jitter, odd dates, business calendars."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.alignment import fit_alignment
from chronos_assets.calendar.frequencies import MAX_MULTIPLE, Alignment, Frequency, Grid, Unit
from chronos_assets.calendar.rhythm import find_rhythm

ANY_FREQUENCY = st.sampled_from([Frequency(n, unit) for unit in Unit for n in range(1, MAX_MULTIPLE[unit] + 1)])


def times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


def every(frequency: str, start: str, count: int = 40, **parts: int) -> np.ndarray:
    grid = Grid(Frequency.parse(frequency), Alignment(anchor=start, **parts))
    return grid.range(np.datetime64(start, "us"), count)


class TestPhases:
    @pytest.mark.parametrize(
        ("frequency", "start", "parts"),
        [
            ("2W", "2023-01-09", {}),  # payroll, every second Monday
            ("2W", "2023-01-13", {}),  # and every second Friday
            ("4W", "2022-01-03", {}),
            ("2D", "2024-01-01", {}),
            ("3D", "2024-01-02", {}),
            ("8H", "2024-01-01T06:00:00", {}),  # shifts
            ("12H", "2024-01-01T07:00:00", {}),
            ("5H", "2024-01-01T03:00:00", {}),
            ("15min", "2024-01-01T00:14:59", {}),  # stamped at the end
            ("3M", "2019-02-01", {}),  # fiscal quarters
            ("3M", "2019-03-31", {"day_of_month": 31}),  # quarter ends
            ("6M", "2019-04-01", {}),
            ("6M", "2020-02-29", {"day_of_month": 31}),
            ("5M", "2019-04-01", {}),
            ("H", "2024-01-01T00:30:00", {}),
            ("D", "2024-01-01T23:59:59", {}),
            ("W", "2024-01-07", {}),  # week endings
            ("Y", "2019-12-31", {}),
            ("Y", "2020-04-01", {}),
        ],
    )
    def test_periods_start_at_the_rows(self, frequency: str, start: str, parts: dict[str, int]) -> None:
        rows = every(frequency, start, **parts)
        rhythm = find_rhythm([rows])
        assert str(rhythm.frequency) == frequency
        grid = Grid(Frequency.parse(frequency), rhythm.alignment)
        assert (grid.floor(rows) == rows).all()
        following = every(frequency, start, 60, **parts)
        assert (grid.start(grid.ordinal(rows[-1:]) + np.arange(1, 21)) == following[40:]).all()

    @given(
        ANY_FREQUENCY,
        st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
        st.integers(5, 60),
    )
    def test_any_anchor_of_any_frequency_is_found_again(
        self, frequency: Frequency, anchor: datetime, count: int
    ) -> None:
        given = Grid(frequency, Alignment(anchor=anchor.isoformat()))
        rows = given.range(np.datetime64(anchor, "us"), count)
        fit = fit_alignment(frequency, rows)
        assert fit is not None
        assert fit.share == 1.0
        # The same periods, beyond the rows too; a day that short months lack may have been their last one.
        if anchor.day <= 28:
            found = Grid(frequency, fit.alignment)
            assert (found.range(rows[0], 3 * count) == given.range(rows[0], 3 * count)).all()

    @given(ANY_FREQUENCY, st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)), st.integers(-400, 400))
    def test_an_anchor_is_the_start_of_a_period_wherever_it_is_moved_to(
        self, frequency: Frequency, anchor: datetime, steps: int
    ) -> None:
        anchor = anchor.replace(day=min(anchor.day, 28))
        grid = Grid(frequency, Alignment(anchor=anchor.isoformat()))
        start = np.array([anchor], dtype="datetime64[us]")
        assert grid.floor(start) == start
        moved = grid.start(grid.ordinal(start) + steps)[0].item()
        again = Grid(frequency, Alignment(anchor=moved.isoformat()))
        assert (again.range(start[0], 50) == grid.range(start[0], 50)).all()

    def test_series_on_different_phases_are_refused(self) -> None:
        odd, even = every("2W", "2023-01-09"), every("2W", "2023-01-16")
        rhythm = find_rhythm([odd, even])
        assert rhythm.frequency is None
        assert "not all in the same ones (series begin at 2023-01-09T00:00:00 and 2023-01-16T00:00:00)" in rhythm.reason

    @pytest.mark.parametrize(
        ("frequency", "parts", "wrong"),
        [
            ("2W", {"day_of_week": 0, "anchor": "2023-01-10"}, "DayOfWeek"),
            ("8H", {"hour": 6, "anchor": "2023-01-10T07:00:00"}, "Hour"),
            ("3M", {"month": 2, "anchor": "2023-01-01"}, "Month"),
            ("M", {"day_of_month": 31, "anchor": "2023-01-30"}, "DayOfMonth"),
        ],
    )
    def test_an_anchor_that_contradicts_the_boundary_is_refused(self, frequency: str, parts: dict, wrong: str) -> None:
        with pytest.raises(ValueError, match=f"contradicts {wrong} of the time alignment"):
            Grid(Frequency.parse(frequency), Alignment(**parts))

    @pytest.mark.parametrize(
        ("frequency", "parts", "start"),
        [
            ("8H", {"hour": 14}, "2024-01-01T06:00"),
            ("3M", {"month": 2}, "2024-02-01"),
            ("6M", {"month": 10, "day_of_month": 31}, "2024-04-30"),
        ],
    )
    def test_a_boundary_gives_the_phase_where_it_can(self, frequency: str, parts: dict[str, int], start: str) -> None:
        grid = Grid(Frequency.parse(frequency), Alignment(**parts))
        assert not grid.phase_is_open
        assert grid.floor(times(start)) == times(start)


class TestStraying:
    @pytest.mark.parametrize("odd", [1, 5, 11])
    def test_one_odd_date_leaves_months_months(self, odd: int) -> None:
        for days in (1, -1, 3):
            rows = every("M", "2018-01-01", 60)
            rows[odd * 5] += np.timedelta64(days, "D")
            rhythm = find_rhythm([np.sort(rows)])
            assert str(rhythm.frequency) == "M"
            grid = Grid(Frequency(1, Unit.MONTH), rhythm.alignment)
            # No month has two rows, none is empty.
            assert (np.diff(grid.ordinal(rows + np.timedelta64(rhythm.snap, "us"))) == 1).all()

    @pytest.mark.parametrize("frequency", ["W", "D", "H", "3M", "2W", "15min"])
    def test_one_odd_date_leaves_other_frequencies_alone(self, frequency: str) -> None:
        rows = every(frequency, "2018-01-01", 60)
        rows[30] += (rows[31] - rows[30]) // 9
        assert str(find_rhythm([rows]).frequency) == frequency

    @pytest.mark.parametrize(
        ("frequency", "start", "early"), [("W", "2023-01-06", 1), ("2W", "2023-01-06", 1), ("4W", "2023-01-06", 3)]
    )
    def test_a_payday_before_a_holiday_belongs_to_its_own_week(self, frequency: str, start: str, early: int) -> None:
        rows = every(frequency, start, 60)
        rows[[13, 51]] -= np.timedelta64(early, "D")
        rhythm = find_rhythm([rows])
        assert str(rhythm.frequency) == frequency
        grid = Grid(Frequency.parse(frequency), rhythm.alignment)
        assert (np.diff(grid.ordinal(rows + np.timedelta64(rhythm.snap, "us"))) == 1).all()

    @pytest.mark.parametrize(
        ("frequency", "seconds"), [("H", 45), ("15min", 40), ("D", 3600), ("1min", 8), ("6H", 900), ("W", 20_000)]
    )
    @pytest.mark.parametrize("seed", range(3))
    def test_jitter_is_no_frequency_of_its_own(self, frequency: str, seconds: int, seed: int) -> None:
        generator = random.Random(seed)
        exact = every(frequency, "2024-01-01", 200)
        off = [generator.randint(-seconds, seconds) for _ in exact]
        rows = exact + np.array(off, dtype="timedelta64[s]")
        rhythm = find_rhythm([rows])
        assert str(rhythm.frequency) == frequency
        grid = Grid(Frequency.parse(frequency), rhythm.alignment)
        assert (grid.floor(rows + np.timedelta64(rhythm.snap, "us")) == exact).all()

    def test_the_last_business_day_is_a_month(self) -> None:
        last = every("M", "2015-01-31", 72, day_of_month=31).astype("datetime64[D]").tolist()
        rows = times(*(str(day - timedelta(days=max(0, day.weekday() - 4))) for day in last))
        rhythm = find_rhythm([rows])
        assert (str(rhythm.frequency), rhythm.alignment) == ("M", Alignment(day_of_month=31))
        grid = Grid(Frequency(1, Unit.MONTH), rhythm.alignment)
        assert (grid.floor(rows + np.timedelta64(rhythm.snap, "us")).astype("datetime64[D]").tolist()) == last

    @pytest.mark.parametrize("weekday", [2, 4])
    def test_the_third_friday_is_a_month(self, weekday: int) -> None:
        rows = []
        for month in every("M", "2015-01-01", 60).astype("datetime64[D]").tolist():
            rows.append(str(month + timedelta(days=(weekday - month.weekday()) % 7 + 14)))
        rhythm = find_rhythm([times(*rows)])
        assert str(rhythm.frequency) == "M"
        assert (np.diff(Grid(Frequency(1, Unit.MONTH), rhythm.alignment).ordinal(times(*rows))) == 1).all()

    def test_every_tenth_day_of_a_month_is_no_frequency(self) -> None:
        rows = times(
            *(f"{year}-{month:02d}-{day:02d}" for year in (2021, 2022) for month in range(1, 13) for day in (1, 11, 21))
        )
        assert find_rhythm([rows]).frequency is None

    @pytest.mark.parametrize("share", [0.5, 0.2, 0.08])
    def test_days_with_sales_only_are_days(self, share: float) -> None:
        generator = random.Random(1)
        days = [day for day in every("D", "2021-01-01", 1000) if generator.random() < share]
        rhythm = find_rhythm([np.array(days)])
        assert str(rhythm.frequency) == "D"
        assert rhythm.observed == pytest.approx(share, rel=0.3)

    def test_purchases_at_any_second_are_refused(self) -> None:
        generator = random.Random(3)
        seconds = sorted(generator.sample(range(0, 40 * 86_400), 300))
        rows = np.datetime64("2024-01-01", "us") + np.array(seconds, dtype="timedelta64[s]")
        rhythm = find_rhythm([rows])
        assert rhythm.frequency is None
        assert "at 1% of the rows" in rhythm.reason
