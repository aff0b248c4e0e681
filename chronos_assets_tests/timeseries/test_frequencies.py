"""Frequencies, and the grid of periods each of them makes."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import APPLICABLE_ALIGNMENT, MAX_MULTIPLE, Alignment, Frequency, Grid, Unit

EVERY_FREQUENCY = [Frequency(n, unit) for unit in Unit for n in range(1, MAX_MULTIPLE[unit] + 1)]

# Microseconds since 1970 from the year 1 to 9999, less two years, so that the periods around a timestamp exist too.
FIRST = int(np.datetime64("0003-01-01", "us").astype(np.int64))
LAST = int(np.datetime64("9997-12-31", "us").astype(np.int64))

micros = st.one_of(
    st.integers(FIRST, LAST),
    # Round instants, where a boundary is hit exactly.
    st.builds(lambda day, hour: (day * 24 + hour) * 3_600_000_000, st.integers(-40_000, 40_000), st.integers(0, 23)),
)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    frequency = draw(st.sampled_from(EVERY_FREQUENCY))
    ranges = {
        "month": st.integers(1, 12),
        "day_of_month": st.integers(1, 31),
        "day_of_week": st.integers(0, 6),
        "hour": st.integers(0, 23),
    }
    parts = {name: draw(st.none() | ranges[name]) for name in APPLICABLE_ALIGNMENT[frequency.unit]}
    return Grid(frequency, Alignment(**parts))


def instants(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


# --- names


@pytest.mark.parametrize("name", ["Y", "M", "W", "D", "H", "30min", "15min", "10min", "5min", "1min"])
def test_every_name_of_the_service_is_read_and_written_back(name: str) -> None:
    assert str(Frequency.parse(name)) == name


@pytest.mark.parametrize("frequency", EVERY_FREQUENCY, ids=str)
def test_every_multiple_is_read_and_written_back(frequency: Frequency) -> None:
    assert Frequency.parse(str(frequency)) == frequency
    assert Frequency.parse(f"{frequency.n}{frequency.unit}") == frequency


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("1min", ["T", "min", "1T"]),
        ("15min", ["15T"]),
        ("H", ["h", "1H", " H "]),
        ("2H", ["2h"]),
        ("D", ["d"]),
        ("W", ["w"]),
        ("M", ["ME", "MS"]),
        ("3M", ["Q", "QE", "QS"]),
        ("6M", ["2QE"]),
        ("Y", ["A", "YE", "YS", "y"]),
    ],
)
def test_pandas_names_are_read_as_the_services(name: str, aliases: list[str]) -> None:
    assert {str(Frequency.parse(alias)) for alias in aliases} == {name}


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("60min", 'write "H"'),
        ("120min", 'write "2H"'),
        ("1440min", 'write "D"'),
        ("24H", 'write "D"'),
        ("48H", 'write "2D"'),
        ("7D", 'write "W"'),
        ("14D", 'write "2W"'),
        ("12M", 'write "Y"'),
        ("0H", "from 1 to 23"),
        ("90min", "from 1 to 59"),
        ("5W", "from 1 to 4"),
        ("2Y", "from 1 to 1"),
        ("5m", "min for minutes"),
        ("fortnightly", "1-59min"),
        ("", "1-59min"),
        ("-1H", "1-59min"),
        ("1.5H", "1-59min"),
        ("H H", "1-59min"),
        ("٣H", "1-59min"),
        ("9" * 5000 + "H", "1-59min"),
    ],
)
def test_other_names_are_refused_with_what_to_write(text: str, fix: str) -> None:
    with pytest.raises(ValueError, match="is not a frequency") as refusal:
        Frequency.parse(text)
    assert fix in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [
        ("1min", 60, "every minute"),
        ("30min", 1800, "every 30 minutes"),
        ("H", 3600, "every hour"),
        ("2D", 172_800, "every 2 days"),
        ("W", 604_800, "every week"),
        ("3M", 7_889_238, "every 3 months"),
        ("Y", 31_556_952, "every year"),
    ],
)
def test_length_of_a_period(name: str, seconds: float, words: str) -> None:
    frequency = Frequency.parse(name)
    assert frequency.approximate_seconds == pytest.approx(seconds)
    assert frequency.description == words


def test_seasonality_is_that_of_gluonts_for_every_frequency(caplog: pytest.LogCaptureFixture) -> None:
    seasonality = pytest.importorskip("gluonts.time_feature").get_seasonality
    pandas_unit = {"min": "min", "H": "h", "D": "D", "W": "W", "M": "ME", "Y": "YE"}
    with caplog.at_level(logging.ERROR):  # GluonTS warns at each multiple that does not divide the season
        for frequency in EVERY_FREQUENCY:
            assert frequency.seasonality == seasonality(f"{frequency.n}{pandas_unit[frequency.unit]}"), str(frequency)
        assert Frequency.parse("3M").seasonality == seasonality("QE")


# --- periods: examples


@pytest.mark.parametrize(
    ("name", "timestamp", "start"),
    [
        ("1min", "2024-02-29T23:59:59.999999", "2024-02-29T23:59"),
        ("15min", "2024-02-29T23:59:59", "2024-02-29T23:45"),
        ("H", "2018-03-03T02:45", "2018-03-03T02:00"),
        ("6H", "2024-01-01T13:00", "2024-01-01T12:00"),
        ("D", "2024-02-29T23:59", "2024-02-29"),
        ("W", "2024-03-03T23:59", "2024-02-26"),  # a Sunday belongs to the week of the Monday before
        ("W", "2024-03-04", "2024-03-04"),
        ("M", "2024-02-29T12:00", "2024-02-01"),
        ("3M", "2024-06-30", "2024-04-01"),
        ("6M", "2024-06-30", "2024-01-01"),
        ("Y", "2024-12-31T23:59:59", "2024-01-01"),
        ("H", "1969-12-31T23:30", "1969-12-31T23:00"),
        ("M", "1969-12-31T23:30", "1969-12-01"),
        ("Y", "1969-12-31T23:30", "1969-01-01"),
        ("W", "1969-12-28", "1969-12-22"),
    ],
)
def test_periods_start_at_the_services_default_boundaries(name: str, timestamp: str, start: str) -> None:
    grid = Grid(Frequency.parse(name))
    assert grid.floor(instants(timestamp)) == instants(start)


@pytest.mark.parametrize(
    ("name", "alignment", "timestamp", "start"),
    [
        ("D", Alignment(hour=9), "2024-02-29T08:59", "2024-02-28T09:00"),
        ("D", Alignment(hour=9), "2024-02-29T09:00", "2024-02-29T09:00"),
        ("W", Alignment(day_of_week=6), "2024-03-02", "2024-02-25"),
        ("W", Alignment(day_of_week=6, hour=12), "2024-03-03T11:00", "2024-02-25T12:00"),
        ("M", Alignment(day_of_month=15), "2024-03-14T23:00", "2024-02-15"),
        ("3M", Alignment(day_of_month=15), "2024-04-14", "2024-01-15"),
        ("M", Alignment(day_of_month=31), "2024-03-15", "2024-02-29"),  # February starts on its last day
        ("M", Alignment(day_of_month=31), "2023-02-28", "2023-02-28"),
        ("M", Alignment(day_of_month=30, hour=9), "2023-02-28T08:00", "2023-01-30T09:00"),
        ("Y", Alignment(month=4), "2024-03-31", "2023-04-01"),
        ("Y", Alignment(month=4, day_of_month=6), "2024-04-06", "2024-04-06"),
        ("Y", Alignment(month=2, day_of_month=29), "2023-02-28", "2023-02-28"),
    ],
)
def test_periods_start_at_the_boundary_that_was_set(
    name: str, alignment: Alignment, timestamp: str, start: str
) -> None:
    grid = Grid(Frequency.parse(name), alignment)
    assert grid.floor(instants(timestamp)) == instants(start)


def test_range_lists_successive_starts() -> None:
    months = Grid(Frequency.parse("M")).range(np.datetime64("2023-11-20"), 4)
    assert months.tolist() == instants("2023-11-01", "2023-12-01", "2024-01-01", "2024-02-01").tolist()
    assert months.dtype == np.dtype("datetime64[us]")


def test_shapes_are_kept() -> None:
    grid = Grid(Frequency.parse("M"))
    for shape in [(0,), (), (2, 3)]:
        ordinals = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        starts = grid.start(ordinals)
        assert starts.shape == shape
        assert grid.ordinal(starts).shape == shape
        assert grid.ordinal(starts).dtype == np.int64


@pytest.mark.parametrize("unit", ["s", "ms", "ns", "D"])
def test_timestamps_of_other_resolutions_are_taken(unit: str) -> None:
    moment = np.array(["2024-05-06"], dtype=f"datetime64[{unit}]")
    assert Grid(Frequency.parse("D")).floor(moment) == instants("2024-05-06")


def test_a_missing_timestamp_is_refused() -> None:
    with pytest.raises(ValueError, match="NaT"):
        Grid(Frequency.parse("H")).ordinal(instants("NaT"))


def test_numbers_are_not_timestamps() -> None:
    with pytest.raises(TypeError, match="datetime64"):
        Grid(Frequency.parse("H")).ordinal(np.array([1, 2]))


@pytest.mark.parametrize(
    ("name", "alignment", "part"),
    [
        ("H", Alignment(hour=3), "hour"),
        ("15min", Alignment(day_of_week=0), "day_of_week"),
        ("D", Alignment(day_of_month=1), "day_of_month"),
        ("W", Alignment(month=1), "month"),
        ("M", Alignment(month=3), "month"),
        ("Y", Alignment(day_of_week=2), "day_of_week"),
    ],
)
def test_an_alignment_that_means_nothing_for_the_frequency_is_refused(
    name: str, alignment: Alignment, part: str
) -> None:
    with pytest.raises(ValueError, match=f"alignment by {part} does not apply to the frequency {name}"):
        Grid(Frequency.parse(name), alignment)


@pytest.mark.parametrize(
    "parts", [{"month": 13}, {"month": 0}, {"day_of_month": 32}, {"day_of_week": 7}, {"hour": 24}, {"hour": -1}]
)
def test_an_alignment_out_of_range_is_refused(parts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(parts))):
        Alignment(**parts)


# --- periods: properties


@given(grids(), st.lists(micros, min_size=1, max_size=20))
def test_every_instant_lies_in_its_own_period(grid: Grid, values: list[int]) -> None:
    timestamps = np.array(sorted(values), dtype="datetime64[us]")
    ordinals = grid.ordinal(timestamps)
    starts = grid.start(ordinals)
    assert (starts <= timestamps).all()
    assert (timestamps < grid.start(ordinals + 1)).all()
    assert (grid.ordinal(starts) == ordinals).all()
    assert (np.diff(ordinals) >= 0).all()


@given(grids(), st.integers(-10_000, 20_000), st.integers(2, 200))
def test_periods_follow_each_other_without_gap_or_overlap(grid: Grid, first: int, count: int) -> None:
    # Keep years within 1 and 9999 for the longest periods.
    first = max(-1900, min(first, 7900)) if grid.frequency.unit is Unit.YEAR else first
    ordinals = first + np.arange(count)
    starts = grid.start(ordinals)
    assert (grid.ordinal(starts) == ordinals).all()
    assert (np.diff(starts) > np.timedelta64(0)).all()
    assert (grid.ordinal(starts - np.timedelta64(1, "us")) == ordinals - 1).all()
    assert (grid.range(starts[0], count) == starts).all()


def test_a_period_is_known_once_it_starts_or_where_finer_rows_make_it_up_once_it_ends() -> None:
    grid = Grid(Frequency.parse("W"))
    ends = np.array(["2024-01-08", "2024-01-08T00:00:00.000001", "2024-01-10", "2024-01-15"], dtype="datetime64[us]")
    first = grid.ordinal(np.array(["2024-01-01"], dtype="datetime64[us]"))[0]  # a Monday
    assert (grid.last_known(ends, np.timedelta64(0, "us")) - first).tolist() == [0, 1, 1, 1]
    assert (grid.last_known(ends, np.timedelta64(2, "D")) - first).tolist() == [0, 0, 0, 1]
    assert (grid.last_known(ends, None) - first).tolist() == [0, 0, 0, 1]
