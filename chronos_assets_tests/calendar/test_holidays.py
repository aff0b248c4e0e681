"""Holidays as columns: the day itself, the days around it, counts of longer periods."""

import numpy as np
import pytest

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Frequency, Grid
from chronos_assets.calendar.holidays import (
    NEAR,
    HolidayCalendar,
    HolidayError,
    country_problem,
    holiday_columns,
    holiday_names,
    read_days,
)


def columns(frequency: str, start: str, periods: int, calendar: HolidayCalendar) -> dict[str, list[float]]:
    grid = Grid(Frequency.parse(frequency), DEFAULT_ALIGNMENT)
    first = int(grid.ordinal(np.array([np.datetime64(start, "us")]))[0])
    made = holiday_columns(grid, first, periods, calendar)
    assert tuple(made) == holiday_names(grid, calendar)
    return {name: column.tolist() for name, column in made.items()}


def test_christmas_and_the_days_around_it() -> None:
    made = columns("D", "2024-12-23", 6, HolidayCalendar(("DE",)))
    assert made["holiday:DE"] == [0, 0, 1, 1, 0, 0]
    assert made["holiday:DE:before"] == [2, 1, 0, 0, 5, 4]  # the next is New Year's Day
    assert made["holiday:DE:after"] == [NEAR, NEAR, 0, 0, 1, 2]


def test_hours_have_the_holiday_of_their_day() -> None:
    made = columns("6H", "2024-12-31T12:00", 4, HolidayCalendar(("US",)))
    assert made["holiday:US"] == [0, 0, 1, 1]
    assert made["holiday:US:before"] == [1, 1, 0, 0]


def test_longer_periods_have_counts() -> None:
    made = columns("M", "2024-04-01", 3, HolidayCalendar(("DE",)))
    assert made == {"holiday:DE": [1, 3, 0]}  # Easter Monday; May Day, Ascension, Whit Monday
    assert columns("W", "2024-12-23", 2, HolidayCalendar(("DE",))) == {"holiday:DE": [2, 1]}


def test_subdivisions_have_days_of_their_own() -> None:
    made = columns("D", "2024-01-05", 3, HolidayCalendar(("DE", "DE-BY")))
    assert made["holiday:DE"] == [0, 0, 0]
    assert made["holiday:DE-BY"] == [0, 1, 0]  # Epiphany


def test_an_observed_day_counts_once_even_in_the_year_before() -> None:
    made = columns("M", "2021-12-01", 2, HolidayCalendar(("US",)))
    assert made["holiday:US"] == [
        3,
        2,
    ]  # Christmas, observed 24th, New Year's observed 31st; 1st and Martin Luther King


def test_own_days_stand_beside_those_of_countries() -> None:
    calendar = HolidayCalendar((), (("own", ("2024-03-01",)),), "days.csv")
    calendar = calendar.with_file("date,name\n2024-11-29,Black Friday\n\n2024-03-04\n")
    assert calendar.days == (("own", ("2024-03-01", "2024-03-04")), ("Black Friday", ("2024-11-29",)))
    made = columns("D", "2024-03-01", 4, calendar)
    assert made["holiday:own"] == [1, 0, 0, 1]
    assert made["holiday:own:after"] == [0, 1, 2, 0]
    assert made["holiday:Black Friday"] == [0, 0, 0, 0]
    assert made["holiday:Black Friday:before"] == [NEAR] * 4


def test_days_called_as_a_country_are_added_to_its_own() -> None:
    made = columns("D", "2024-12-24", 3, HolidayCalendar(("DE",), (("DE", ("2024-12-24",)),)))
    assert made["holiday:DE"] == [1, 1, 1]
    grid = Grid(Frequency.parse("M"))
    assert holiday_names(grid, HolidayCalendar(("DE",), (("DE", ()),))) == ("holiday:DE",)


def test_a_line_without_a_date_is_named() -> None:
    with pytest.raises(HolidayError, match=r"days.csv, line 1: '29.11.2024;Black Friday' has no date"):
        read_days("29.11.2024;Black Friday\n", "days.csv")
    with pytest.raises(HolidayError, match=r"days.csv, line 3: '30.11.2024,b' has no date"):
        read_days("date,name\n2024-11-29,a\n30.11.2024,b\n", "days.csv")
    with pytest.raises(HolidayError, match=r"days.csv has no days"):
        read_days("date,name\n", "days.csv")


def test_names_may_stand_in_front_of_dates() -> None:
    assert read_days("name,date\nSale,2024-11-29\n,2024-12-01\n", "d") == {
        "Sale": ("2024-11-29",),
        "own": ("2024-12-01",),
    }


def test_unknown_calendars_are_named() -> None:
    assert country_problem("DE-BY") is None
    assert country_problem("XX") == "there is no calendar of the country XX"
    assert country_problem("DE-ZZ") == "there is no calendar of the subdivision ZZ of DE"
    with pytest.raises(HolidayError, match="country XX; write a code"):
        columns("D", "2024-01-01", 1, HolidayCalendar(("XX",)))
