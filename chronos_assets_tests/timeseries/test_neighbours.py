"""Neighbours of files that went wrong, without params.json: each is read right, or refused with what is the matter."""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest

from chronos_assets.params.headers import looks_like_header
from chronos_assets.params.inference import InferenceError, infer, is_value

DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(40)]


def rows_by_day(*keys: str, value: str = "{day.day}") -> list[list[str]]:
    return [[*key.split("/"), f"{day}", value.format(day=day)] for day in DAYS for key in keys]


@pytest.mark.parametrize(
    ("header", "keys", "item", "dimensions"),
    [
        (["item_id", "date", "qty"], ("0", "1"), "item_id", ()),
        (["item", "store", "date", "qty"], ("A/0", "A/1", "B/0", "B/1"), "item", ("store",)),
        (["Type", "date", "sales"], ("A", "B", "C"), "Type", ()),
        (["zip", "date", "visits"], ("01234", "94110", "00501"), "zip", ()),
        (["store", "dept", "date", "sales"], ("1/10", "1/20", "2/10", "2/20", "3/20"), "store", ("dept",)),
        (["region", "sku", "date", "qty"], ("NA/1", "EU/1", "NA/2", "null/2"), "sku", ("region",)),
    ],
)
def test_names_that_look_like_flags_or_numbers_make_series(
    header: list[str], keys: tuple[str, ...], item: str, dimensions: tuple[str, ...]
) -> None:
    params = infer(header, rows_by_day(*keys))
    assert (params.item_column, params.dimensions) == (item, dimensions)


@pytest.mark.parametrize("flag", ["promo", "IsHoliday", "onpromotion", "is_open", "discount_flag"])
@pytest.mark.parametrize("words", ["01", "yn", ("True", "False"), ("Yes", "No")])
def test_a_flag_is_never_a_key(flag: str, words: Sequence[str]) -> None:
    rows = [[item, words[day.day % 5 == 0], f"{day}", "1.5"] for day in DAYS for item in "AB"]
    params = infer(["product", flag, "date", "qty"], rows)
    assert (params.item_column, params.dimensions) == ("product", ())


def test_columns_of_one_name_are_named() -> None:
    first, rest = ["item_id", "date", "value", "value"], [["a", f"{day}", "1", "2"] for day in DAYS]
    assert looks_like_header(first, rest, is_value)
    with pytest.raises(InferenceError, match="two columns are called value"):
        infer(first, rest)


def test_rows_of_another_date_format_are_named() -> None:
    rows = [["a", f"{day}" if day < DAYS[30] else f"{day:%d/%m/%Y}", "1"] for day in DAYS]
    with pytest.raises(InferenceError, match=r"such as '2024-01-01' .* 10 of 40 rows .* such as '31/01/2024'"):
        infer(["item_id", "date", "value"], rows)


def test_a_file_with_a_column_for_each_date_is_named() -> None:
    rows = [["item", *(f"{day}" for day in DAYS)], *([name, *("1" for _ in DAYS)] for name in "abc")]
    with pytest.raises(InferenceError, match=r"the first line holds dates \(2024-01-01, 2024-01-02, …\)"):
        infer(None, rows)


def local_hours(zone: str, first: str, count: int = 24 * 14) -> list[str]:
    start = dt.datetime.fromisoformat(first).replace(tzinfo=dt.UTC)
    moments = [(start + dt.timedelta(hours=number)).astimezone(ZoneInfo(zone)) for number in range(count)]
    return [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments]


@pytest.mark.parametrize(
    ("zone", "first", "named"),
    [
        ("Europe/Berlin", "2024-10-20", "2024-10-27 02:00:00): set Chronos.TimeZone, as to Europe/Berlin"),
        ("America/New_York", "2024-10-28", "2024-11-03 01:00:00): set Chronos.TimeZone, as to America/Halifax"),
        ("Australia/Sydney", "2024-04-01", "2024-04-07 02:00:00): set Chronos.TimeZone, as to Australia/Sydney"),
        ("Europe/Berlin", "2024-03-25", ""),  # an hour is missing, none is there twice
        ("Asia/Tokyo", "2024-10-20", ""),
    ],
)
def test_hours_that_clocks_show_twice_are_reported_from_other_repeats(zone: str, first: str, named: str) -> None:
    times = local_hours(zone, first)
    params = infer(["timestamp", "y"], [[time, "1.5"] for time in times])
    assert named in "".join(note for note in params.notes if "clocks are put back" in note)
    again = infer(["timestamp", "y"], [[time, "1.5"] for time in (*times, times[30])])
    assert not any("clocks are put back" in note for note in again.notes)


@pytest.mark.parametrize(
    "form", ["%Y.%m.%d", "%d %B %Y", "%B %d, %Y", "%a, %d %b %Y", "%d-%b-%y", "%Y%m%d", "%m/%d/%y", "%b %d, %Y"]
)
def test_dates_are_read_as_people_write_them(form: str) -> None:
    params = infer(["date", "y"], [[day.strftime(form), "1.5"] for day in DAYS])
    assert str(params.frequency) == "D"


def test_a_spreadsheets_numbers_for_days_are_named() -> None:
    with pytest.raises(InferenceError, match="date seems to count days since 1900"):
        infer(["date", "item_id", "y"], [[str(45292 + number), "a", "1.5"] for number in range(40)])
