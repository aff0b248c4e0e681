"""Neighbours of files that went wrong, without params.json: each is read right, or refused with what is the matter."""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from chronos_assets.params.columns import InferenceError
from chronos_assets.params.declared_notes import declared_notes
from chronos_assets.params.forecast import to_document
from chronos_assets.params.headers import looks_like_header
from chronos_assets.params.inference import infer
from chronos_assets.params.reader import parse_params
from chronos_assets.params.timestamp_columns import is_value
from chronos_assets_tests.timeseries.builders import make_params

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
        (["product", "export_country", "date", "tons"], ("A/DE", "A/US", "B/DE"), "product", ("export_country",)),
        (["sku", "date", "number"], ("1001", "1002", "A12"), "sku", ()),
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


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("day_name", [f"{day:%A}" for day in DAYS]),
        ("Month Name", [f"{day:%B}" for day in DAYS]),
        ("holiday_name", ["", "", "Carnival", *[""] * 37]),
        ("holiday_name", ["None", "New Year", "None", "Carnival", *["None"] * 36]),
        ("holiday_name", ["None", "None", "Carnival", "Carnival", *["None"] * 36]),
        ("occasion", ["None", "None", "Carnival", "Carnival", *["None"] * 36]),
        ("season_id", [str(number // 10 % 3) for number in range(40)]),
        ("user_name", [("ann", "bob", "cy")[number * number % 5 % 3] for number in range(40)]),
        ("date_key", [f"{day:%Y%m%d}" for day in DAYS]),
    ],
)
@pytest.mark.parametrize("shops", [("",), ("A", "B")])
def test_a_name_that_ends_as_an_items_is_one_only_where_series_need_it(
    name: str, texts: Sequence[str], shops: Sequence[str]
) -> None:
    header = [name, "shop", "date", "turnover"]
    rows = [[text, shop, f"{day}", "1.5"] for text, day in zip(texts, DAYS, strict=True) for shop in shops]
    params = infer(header, rows)
    assert (params.item_column, params.dimensions) == ("shop" if len(shops) > 1 else None, ())


def test_days_off_ask_for_no_series_of_promotions() -> None:
    rows = [[f"{day}", ("none", "P1", "P2")[n * n % 3], "2.5"] for n, day in enumerate(DAYS) if day.weekday() < 5]
    assert infer(["date", "promo_id", "turnover"], rows).item_column is None
    hours = pd.date_range("2024-01-01", periods=1000, freq="h")
    some = [[f"{hour}", f"P{n * n % 101 % 3}", "2.5"] for n, hour in enumerate(hours) if n * n % 1009 < 500]
    with pytest.raises(InferenceError, match="promo_id has 3 values"):
        infer(["date", "promo_id", "turnover"], some)


@pytest.mark.parametrize("names", [("Oslo",), ("Oslo", "Rome")])
def test_a_name_that_ends_as_an_items_names_full_series(names: Sequence[str]) -> None:
    rows = [[names[number // 7 % len(names)], f"{day}", "1.5"] for number, day in enumerate(DAYS)]
    every = [[name, f"{day}", "1.5"] for day in DAYS for name in names]
    assert infer(["store_name", "date", "turnover"], every).item_column == "store_name"
    turns = infer(["store_name", "date", "turnover"], rows)
    assert turns.item_column == ("store_name" if len(names) == 1 else None)
    with_gaps = [row for row in rows if int(row[1][-2:]) % 3]
    if len(names) > 1:
        with pytest.raises(InferenceError, match=r"store_name has 2 values, .* or all rows are one series") as refused:
            infer(["store_name", "date", "turnover"], with_gaps)
        assert refused.value.draft is not None


@pytest.mark.parametrize("name", ["location", "store_id"])
def test_a_shop_that_opened_lately_has_series_of_its_own(name: str) -> None:
    rows = [
        [item, shop, f"{day}", "1.5"] for item in "ab" for shop in "12" for day in (DAYS if shop == "1" else DAYS[-4:])
    ]
    few = [[item, "1", f"{dt.date(2023, 1, 1) + dt.timedelta(days=n)}", "1.5"] for item in "ab" for n in range(365)]
    params = infer(["sku", name, "date", "qty"], few + rows)
    assert (params.item_column, params.dimensions) == ("sku", (name,))


def test_a_supplier_that_took_over_has_no_series_of_its_own() -> None:
    """Where rows of both meet for some days, these are added up, as always: what follows is one series."""
    rows = [
        ["a", "X" if part else "Y", f"{day}", "1.5"] for part in (1, 0) for day in (DAYS[:20] if part else DAYS[19:])
    ]
    params = infer(["sku", "supplier", "date", "qty"], rows)
    assert (params.item_column, params.dimensions) == ("sku", ())


@pytest.mark.parametrize(
    ("header", "candidates"),
    [
        (["units_sold", "discount_amount"], "units_sold, discount_amount"),
        (["shipped", "returned_quantity"], "shipped, returned_quantity"),
        (["price", "shipping_amount"], "price, shipping_amount"),
        (["price", "On hand qty"], "price, On_hand_qty"),
        (["Turnover", "LY Sales"], "Turnover, LY_Sales"),
        (["actual", "target"], "target, actual"),
        (["Close", "Volume"], "Volume, Close"),
    ],
)
def test_a_name_that_ends_as_a_targets_may_be_that_of_another_quantity(header: list[str], candidates: str) -> None:
    rows = [["a", f"{day}", f"{day.day}.5", f"{day.day % 7}.5"] for day in DAYS]
    with pytest.raises(InferenceError, match=f"could hold the value to forecast: {candidates}\\n"):
        infer(["shop", "date", *header], rows)


@pytest.mark.parametrize("name", ["shipping_volume", "low_cost_units", "fashion_handbag_sales", "freight_demand"])
def test_a_quantity_is_the_target_whatever_it_is_of(name: str) -> None:
    params = infer(["shop", "date", "price", name], [["a", f"{day}", f"{day.day}.5", f"{day.day % 7}"] for day in DAYS])
    assert params.target_column == name


def test_numbers_that_repeat_the_timestamp_are_no_values() -> None:
    rows = [
        [f"{day}", str(day.year), str(day.month), str(day.isocalendar().week), str(day.isoweekday()), f"{day.day * 3}"]
        for day in DAYS
    ]
    assert infer(["date", "year", "month", "KW", "dow", "registered"], rows).target_column == "registered"
    # Days have no hour: hardly anything but zeros repeats nothing.
    rare = [[f"{day}", "3" if day == DAYS[7] else "2" if day == DAYS[9] else "0", f"{day.day}.5"] for day in DAYS]
    with pytest.raises(InferenceError, match="could hold the value to forecast: failures, temperature"):
        infer(["date", "failures", "temperature"], rare)


@pytest.mark.parametrize(
    ("hours", "other"), [(31, True), (7, False), (-30, True)], ids=["next day", "same day", "day before"]
)
def test_the_day_beside_when_it_was_written_is_another_timestamp(hours: int, other: bool) -> None:
    written = [dt.datetime.combine(day, dt.time()) + dt.timedelta(hours=hours) for day in DAYS]
    rows = [[f"{moment}", f"{day}", "1.5"] for moment, day in zip(written, DAYS, strict=True)]
    if other:
        with pytest.raises(InferenceError, match="several columns could hold the timestamp: Timestamp, Date"):
            infer(["Timestamp", "Date", "Quantity"], rows)
    else:
        assert infer(["Timestamp", "Date", "Quantity"], rows).timestamp_column == "Timestamp"


@pytest.mark.parametrize("items", ["a", "ab"])
def test_dates_that_tell_rows_apart_are_those_of_versions(items: str) -> None:
    rows = [[item, known, f"{day}", "1.5"] for item in items for known in ("2024-06-01", "2024-07-01") for day in DAYS]
    with pytest.raises(InferenceError, match=r"50% of the rows repeat .*tell some of them apart: realtime_start"):
        infer(["series", "realtime_start", "date", "amount"], rows)


@pytest.mark.parametrize(("value", "copied"), [("1.5", True), ("2.5", False)])
def test_a_few_rows_that_equal_others_are_reported(value: str, copied: bool) -> None:
    rows = [["a", f"{day}", "1.5"] for day in DAYS]
    notes = infer(["sku", "date", "qty"], [*rows, ["a", f"{DAYS[5]}", value]]).notes
    assert any("rows that equal another in every column (2.4% of the rows" in note for note in notes) == copied


@pytest.mark.parametrize(
    ("name", "days", "form"),
    [
        ("year", [dt.date(1990 + number, 12, 31) for number in range(30)], "%Y"),
        ("month", [dt.date(2015, 1, 5) + dt.timedelta(weeks=4 * number) for number in range(40)], "%Y-%m"),
    ],
)
def test_the_year_or_month_that_a_date_lies_in_is_no_other_timestamp(name: str, days: list[dt.date], form: str) -> None:
    rows = [[f"{day}", f"{day:{form}}", f"{number}.5"] for number, day in enumerate(days)]
    assert infer(["date", name, "gdp"], rows).timestamp_column == "date"


@pytest.mark.parametrize(("name", "numbers"), [("price", ("9.99", "10.99")), ("batch", ("1", "2"))])
def test_a_number_of_a_files_own_beside_values_that_are_the_same_is_no_key(name: str, numbers: tuple[str, str]) -> None:
    rows = [[number, f"{day}", f"{100 + day.day}"] for number in numbers for day in DAYS]
    assert infer([name, "date", "sales"], rows, files=[0] * 40 + [1] * 40).item_column is None


def test_a_column_of_a_files_own_number_tells_files_apart() -> None:
    rows = [[code, f"{day}", f"{100 + day.day + int(code) % 3}"] for code in ("49", "33") for day in DAYS]
    with pytest.raises(InferenceError, match="which differ in country"):
        infer(["country", "date", "amount"], rows, files=[0] * 40 + [1] * 40)


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
    with pytest.raises(InferenceError, match=r"2024-01-01, 2024-01-02, … .* are dates, one column for each"):
        infer(None, rows)


def local_hours(zone: str, first: str, count: int = 24 * 14) -> list[str]:
    start = dt.datetime.fromisoformat(first).replace(tzinfo=dt.UTC)
    moments = [(start + dt.timedelta(hours=number)).astimezone(ZoneInfo(zone)) for number in range(count)]
    return [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments]


@pytest.mark.process
@pytest.mark.parametrize(
    ("zone", "first", "named"),
    [
        ("Europe/Berlin", "2024-10-20", "Europe/Berlin"),
        ("America/Chicago", "2024-10-28", "America/New_York"),  # whose clock changes at the same hour
        ("Australia/Sydney", "2024-04-01", "Australia/Sydney"),
        ("Europe/Berlin", "2024-03-25", None),  # an hour is missing, none is there twice
        ("Asia/Tokyo", "2024-10-20", None),
    ],
)
def test_hours_that_clocks_show_twice_are_told_from_other_repeats(zone: str, first: str, named: str | None) -> None:
    times = local_hours(zone, first)
    params = infer(["timestamp", "y"], [[time, "1.5"] for time in times])
    assert params.time_zone == named
    assert any("clocks were put back" in note for note in params.notes) == (named is not None)
    assert not any("equal another" in note for note in params.notes)
    again = infer(["timestamp", "y"], [[time, "1.5"] for time in (*times, times[30])])
    assert again.time_zone is None


@pytest.mark.parametrize(
    "form", ["%Y.%m.%d", "%d %B %Y", "%B %d, %Y", "%a, %d %b %Y", "%d-%b-%y", "%Y%m%d", "%m/%d/%y", "%b %d, %Y"]
)
def test_dates_are_read_as_people_write_them(form: str) -> None:
    params = infer(["date", "y"], [[day.strftime(form), "1.5"] for day in DAYS])
    assert str(params.frequency) == "D"


def test_a_spreadsheets_numbers_for_days_are_named() -> None:
    with pytest.raises(InferenceError, match="date seems to count days since 1900"):
        infer(["date", "item_id", "y"], [[str(45292 + number), "a", "1.5"] for number in range(40)])


def with_values(values: Sequence[str], name: str = "qty") -> tuple[list[str], list[list[str]]]:
    rows = [["a", f"{DAYS[0] + dt.timedelta(days=at)}", value] for at, value in enumerate(values)]
    return ["item_id", "date", name], rows


def test_points_that_separate_thousands_are_refused_with_a_draft_that_takes_them_for_decimals() -> None:
    with pytest.raises(InferenceError, match=r"the point in qty seems to separate thousands: .* '1\.234'") as refusal:
        infer(*with_values(["1.234", "987", "2.001", "640", "0"] * 8))
    assert refusal.value.draft is not None
    assert parse_params(refusal.value.draft).target_column == "qty"


@pytest.mark.parametrize(
    "values",
    [
        ["0.123", "1.234", "2.345", "17", "18"],  # nobody writes 0.123 for a hundred and twenty-three
        ["1.5", "1.234", "2.345", "17", "18"],
        ["1.234", "2.345", "3.456", "1700", "18"],
        ["1.234", "2.345", "3.456", "0", "0"],
    ],
)
def test_other_points_are_decimal(values: list[str]) -> None:
    assert infer(*with_values(values * 8)).target_column == "qty"


def test_three_digits_behind_every_point_are_said_to_be_decimals() -> None:
    notes = infer(*with_values(["1.234", "2.345", "3.456", "98.765"] * 8)).notes
    assert any("the point in qty separates decimals: 1.234 is less than 2." in note for note in notes)


@pytest.mark.parametrize(("marker", "others"), [("-999", "37"), ("-1", "0"), ("9999", "37"), ("-99.0", "2.5")])
def test_a_value_that_may_mark_a_missing_one_is_said_to_be_a_value(marker: str, others: str) -> None:
    notes = infer(*with_values([others, others, "12", marker] * 8)).notes
    assert any(f"{marker.removesuffix('.0')} is a value of qty like any other (8 of 32" in note for note in notes)
    for usual in (["-3", "-1", "12", "4"], ["9999", "9000", "12", "4"], ["12", "13", "15", "-999"]):
        values = usual * 8 if "-999" not in usual else ["12"] * 31 + ["-999"]  # a single one is an outlier
        assert not any("like any other" in note for note in infer(*with_values(values)).notes)


@pytest.mark.parametrize("other", ["1.234,50", "12,345", "1,234.50"])
def test_numbers_with_commas_are_no_categories(other: str) -> None:
    rows = [["a", f"{day}", str(day.day), other.replace("3", str(day.day % 9))] for day in DAYS]
    header = ["artikel", "datum", "stück", "preis"]
    with pytest.raises(
        InferenceError, match=r"(?s)hold the value to forecast: stück \(stuck\), preis\b.*; preis: .* is not a number"
    ):
        infer(header, rows)
    params = infer(header, rows, target="stuck")
    assert {attribute.name: attribute.type for attribute in params.attributes}["preis"] == "float"
    assert not any(note.startswith("Offered") for note in params.notes)
    assert any("in preis could explain the target if they had a decimal point" in note for note in params.notes)


def test_a_decimal_comma_is_read_where_no_comma_can_separate_thousands() -> None:
    params = infer(*with_values(["1,5", "1,234", "12", "0,125"] * 8, "umsatz"))
    assert params.decimal_comma
    assert "Guessed: the comma in umsatz separates decimals, as in 1,5 (Chronos.DecimalComma)." in params.notes
    assert parse_params(to_document(params)) == params
    header, rows = with_values(["17", "18"] * 16)
    with_prices = infer(
        [*header, "preis"], [[*row, f"0,{2 + place % 5}50"] for place, row in enumerate(rows)], target="qty"
    )
    assert with_prices.decimal_comma
    assert any(note.startswith("Offered") and "preis" in note for note in with_prices.notes)
    with pytest.raises(InferenceError, match="several columns could hold the value") as refusal:
        infer([*header[:2], "menge1", "preis"], [[*row, f"{place},5"] for place, row in enumerate(rows)])
    assert refusal.value.draft is not None
    assert refusal.value.draft["Chronos"]["DecimalComma"] is True


@pytest.mark.parametrize(
    "values",
    [
        ["1,234", "2,345", "17"],
        ["1,234,567", "1,5", "17"],
        ["1.234,5", "1,5", "17"],
        ["1,5", "1.234", "17"],
        [*["1,234", "2,345"] * 2, "17"] * 8 + ["1,23"],  # a digit was lost
    ],
)
def test_a_comma_that_may_separate_thousands_is_refused(values: list[str]) -> None:
    with pytest.raises(InferenceError, match="is not a number"):
        infer(*with_values(values * 8, "umsatz"))


def test_numbers_with_commas_make_no_series_and_a_number_in_one_german_word_is_a_name() -> None:
    rows = [
        [f"{day}", shop, code, str(day.day), f"{1 + day.day % 3},500"] for day in DAYS for shop in "ab" for code in "47"
    ]
    with pytest.raises(InferenceError, match=r"hold the value to forecast: Menge, Umsatz\b") as refused:
        infer(["Datum", "Filiale", "Artikelnr", "Menge", "Umsatz"], rows)
    assert refused.value.draft is not None
    assert refused.value.draft["Chronos"]["Columns"]["item_id"] in ("Filiale", "Artikelnr")


def test_commas_between_digits_without_a_header_leave_two_columns_of_numbers() -> None:
    with pytest.raises(InferenceError, match="value to forecast: column_3, column_4"):
        infer(None, [["a", f"{day}", "0", f"{day.day}5"] for day in DAYS])


@pytest.mark.parametrize("behind", [True, False])
def test_a_flag_beside_the_value_needs_no_header(behind: bool) -> None:
    rows = [[str(day.day % 2), f"{day.day}.5"] for day in DAYS]
    values = [["a", f"{day}", *(reversed(row) if behind else row)] for day, row in zip(DAYS, rows, strict=True)]
    params = infer(None, values)
    assert [attribute.name for attribute in params.attributes][2 if behind else 3] == params.target_column


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "2024{:02d}") for name in ("week", "YearWeek", "iso_week", "KW", "Fiscal Quarter", "wk_no")),
        *((name, "2024-{:02d}") for name in ("week", "quarter", "Fiscal Week")),
        *(("Fiscal Period", form) for form in ("2024-W{:02d}", "20{:02d}Q1", "Q1 20{:02d}")),
        ("period", "20{:02d}H1"),
        *(("period", form) for form in ("FY24 P{:02d}", "FY20{:02d}", "2024M{:02d}", "P{:02d} 2024")),
    ],
)
def test_numbers_of_weeks_and_quarters_are_no_months(name: str, form: str) -> None:
    with pytest.raises(InferenceError, match="seems to number weeks, months, quarters or years"):
        infer(["item_id", name, "qty"], [["a", form.format(number), "1.5"] for number in range(1, 13)])


@pytest.mark.parametrize("form", ["{:03d}.{}", "{1}/{0:03d}", "{1}{0:03d}", "{1}-{0:03d}"])
@pytest.mark.parametrize("last", [12, 16])
def test_periods_of_books_are_named(form: str, last: int) -> None:
    texts = [form.format(number, year) for year in (2019, 2020) for number in range(1, last + 1)]
    with pytest.raises(
        InferenceError, match=r"PERIODE seems to number the periods of a fiscal year .*, which may begin in any month"
    ):
        infer(["MATNR", "PERIODE", "MENGE"], [["0010", text, "1.5"] for text in texts])


@pytest.mark.parametrize(
    ("name", "form", "frequency"),
    [
        ("Periode", "%m.%Y", "M"),
        ("date", "%Y%j", "D"),
        ("period", "%Y-%m-%dT%H", "H"),
        ("date", "%d/%b/%y 12:00 AM", "D"),
    ],
)
def test_forms_of_other_programs_are_read(name: str, form: str, frequency: str) -> None:
    times = pd.date_range("2023-01-01", periods=30, freq={"M": "MS", "D": "D", "H": "h"}[frequency])
    assert str(infer([name, "Menge"], [[time.strftime(form), "1.5"] for time in times]).frequency) == frequency


@pytest.mark.parametrize("name", ["period", "date", "timestamp"])
@pytest.mark.parametrize("form", ["{}-{:02d}", "{}{:02d}", "{1:02d}/{0}"])
def test_numbers_of_quarters_need_no_name_and_months_of_one_season_need_theirs(name: str, form: str) -> None:
    texts = [form.format(year, number) for year in (2022, 2023) for number in (1, 2, 3, 4)]
    assert str(infer(["item_id", "month", "qty"], [["a", text, "1.5"] for text in texts]).frequency) == "M"
    with pytest.raises(InferenceError, match=f"{name} seems to number weeks, months, quarters or years"):
        infer(["item_id", name, "qty"], [["a", text, "1.5"] for text in texts])


@pytest.mark.parametrize("between", "- ")
@pytest.mark.parametrize(("days", "fits"), [(31, False), (60, False), (9, False), (None, True)])
def test_days_of_a_month_are_no_years(days: int | None, fits: bool, between: str) -> None:
    times = pd.date_range("2020-01-01", periods=days or 48, freq="D" if days else "MS")
    rows = [[time.strftime(f"%b{between}%d" if days else f"%b{between}%y"), "1.5"] for time in times]
    if fits:
        assert str(infer(["date", "qty"], rows).frequency) == "M"
    else:
        with pytest.raises(
            InferenceError, match=f"Jan{between}01 in date may be a day of the month or the month of a year"
        ):
            infer(["date", "qty"], rows)


@pytest.mark.parametrize("form", ["%y/%m/%d", "%y.%m.%d", "%y/%m/%d %H:%M"])
@pytest.mark.parametrize("days", [20, 31, 90])
def test_years_of_two_digits_in_front_are_no_days(form: str, days: int) -> None:
    times = pd.date_range("2024-01-01", periods=days, freq="D").repeat(24 if "H" in form else 1)
    rows = [
        [(time + pd.Timedelta(at % 24 * ("H" in form), "h")).strftime(form), "1.5"] for at, time in enumerate(times)
    ]
    with pytest.raises(
        InferenceError, match=r"24.01.01\b.* in date may be of 2001 or of 2024: write years with four digits"
    ):
        infer(["date", "qty"], rows)


@pytest.mark.parametrize(
    ("form", "step"), [("%d/%m/%y", "D"), ("%d.%m.%y", "YE"), ("%d/%m/%y", "YS"), ("%m/%d/%y", "D")]
)
def test_years_of_two_digits_behind_are_read(form: str, step: str) -> None:
    times = pd.date_range("2004-01-01", periods=20, freq=step)
    assert str(infer(["date", "qty"], [[time.strftime(form), "1.5"] for time in times]).frequency) == step[0]


@pytest.mark.parametrize(("first", "step", "count"), [("1990-01", 12, 30), ("2020-01", 1, 48)])
def test_years_that_no_month_has_as_days_are_years(first: str, step: int, count: int) -> None:
    months = sorted(pd.date_range(first, periods=count, freq=f"{step}MS"), key=lambda month: (month.month, month.year))
    params = infer(["date", "qty"], [[f"{month:%b-%y}", "1.5"] for month in months])
    assert str(params.frequency) == ("M" if step == 1 else "Y")


@pytest.mark.parametrize(
    ("name", "texts", "refused"),
    [
        ("type", ("Actual", "Forecast"), True),
        ("Scenario", ("ACT", "Budget"), True),
        ("is_forecast", ("0", "1"), True),
        ("type", ("Store", "Forecast"), False),
        ("class", ("Luxury", "Budget"), False),
        ("planned", ("0", "1"), True),
        ("rain_forecast", ("0", "1"), False),
        ("promo_plan", ("0", "1"), False),
        ("is_holiday", ("0", "1"), False),
    ],
)
def test_rows_that_are_forecasts_are_no_observations(name: str, texts: tuple[str, str], refused: bool) -> None:
    rows = [[item, f"{day}", texts[day > DAYS[29]], f"{day.day}"] for item in "ab" for day in DAYS]
    if refused:
        with pytest.raises(InferenceError, match=f"{name} says that 20 of 80 rows are no observations .'{texts[1]}'."):
            infer(["sku", "date", name, "qty"], rows)
    else:
        assert infer(["sku", "date", name, "qty"], rows).item_column == "sku"
    of_items = [[*row[:2], texts[row[0] == "b"], row[3]] for row in rows]  # what the item is, not what the row is
    assert infer(["sku", "date", name, "qty"], of_items).item_column == "sku"


@pytest.mark.parametrize(
    ("text", "value", "said"), [("cancelled", "5", True), ("Return", "-5", False), ("shipped", "5", False)]
)
def test_rows_that_are_taken_back_are_reported(text: str, value: str, said: bool) -> None:
    rows = [[f"{day}", "new" if day.day % 7 else text, "3" if day.day % 7 else value] for day in DAYS]
    notes = infer(["date", "order_kind", "qty"], rows).notes
    assert (
        any(f"5 of 40 rows looked at, whose order_kind is '{text}', count like all others" in n for n in notes) == said
    )


def test_kinds_of_rows_are_looked_at_where_columns_are_declared() -> None:
    made = [[*row, "Actual" if at < 30 else "Forecast"] for at, row in enumerate(declared_rows(("a", range(5, 45))))]
    notes = list(declared_notes(DECLARED, ["timestamp", "target_value", "item_id", "kind"], made, [0] * len(made)))
    assert [note for note in notes if "kind says that 10 of 40 rows are no observations ('Forecast')" in note] == notes


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "avg") for name in ("temperature", "Room Temp C", "power_kw", "conversion_rate", "Preis")),
        *((name, "sum") for name in ("qty", "power_kwh", "price_count", "template", "total_price_sales")),
    ],
)
def test_rows_of_a_height_are_averaged(name: str, method: str) -> None:
    times = pd.date_range("2024-01-01", periods=400, freq="30s")
    params = infer(["time", name], [[f"{time}", f"{20 + at % 7}.5"] for at, time in enumerate(times)])
    assert params.aggregation == method
    assert any(f"are {'averaged' if method == 'avg' else 'added up'} by the minute" in note for note in params.notes)
    repeated = [[f"{day}", f"{day.day}.5"] for day in (*DAYS, DAYS[0])]
    assert infer(["date", name], repeated).aggregation == method
    assert infer(["date", name], repeated[:-1]).aggregation == "sum"  # nothing to combine


@pytest.mark.parametrize("step", ["D", "MS", "W-MON"])
def test_midnights_of_a_place_that_were_written_in_utc_without_saying_so_are_refused(step: str) -> None:
    local = pd.date_range("2023-01-01", periods=120, freq=step, tz="Europe/Berlin")
    with pytest.raises(InferenceError, match="seem to be midnights in Europe/Berlin that were written in UTC"):
        infer(["date", "y"], [[f"{time:%Y-%m-%d %H:%M:%S}", "1.5"] for time in local.tz_convert("UTC")])
    same = [time.replace(hour=23) for time in local]  # the evening may be meant
    assert infer(["date", "y"], [[f"{time:%Y-%m-%d %H:%M:%S}", "1.5"] for time in same]).target_column == "y"


def test_midnights_of_several_places_are_refused_where_their_dates_differ() -> None:
    def rows_of(*offsets: str) -> list[list[str]]:
        return [[offset, f"{day}T00:00:00{offset}", f"{day.day}"] for offset in offsets for day in DAYS]

    with pytest.raises(InferenceError, match=r"2024-01-01 would count for 2023-12-31.: write the dates alone"):
        infer(["store", "date", "qty"], rows_of("-05:00", "+01:00", "+09:00"))
    assert infer(["store", "date", "qty"], rows_of("+01:00")).time_zone is not None


@pytest.mark.parametrize(("factor", "said"), [(1000, True), (3, False)])
def test_another_unit_from_some_day_on_is_reported(factor: int, said: bool) -> None:
    rows = [["a", f"{day}", f"{(5 + day.day) * (factor if day > DAYS[24] else 1)}"] for day in DAYS]
    notes = infer(["item_id", "date", "qty"], rows).notes
    assert any("qty has one unit from beginning to end, though values" in note for note in notes) == said
    grown = [["a", f"{day}", f"{1.3**at:.2f}"] for at, day in enumerate(DAYS)]
    assert not any("one unit" in note for note in infer(["item_id", "date", "qty"], grown).notes)


@pytest.mark.parametrize("name", ["y", "value", "volume", "sales"])
def test_a_name_of_several_meanings_is_no_target_where_only_another_number_changes(name: str) -> None:
    rows = [[item, f"{day}", constant, f"{day.day}"] for item, constant in (("a", "1.5"), ("b", "2.5")) for day in DAYS]
    if name == "sales":
        assert infer(["sku", "date", name, "sold"], rows).target_column == name
    else:
        with pytest.raises(InferenceError, match=f"{name} has one value in each series, whereas sold changes"):
            infer(["sku", "date", name, "sold"], rows)
        assert infer(["sku", "date", name, "sold"], rows, target=name).target_column == name
        assert infer(["sku", "date", name, "price"], [[*row[:3], "9"] for row in rows]).target_column == name


def test_months_that_begin_quarters_are_no_numbers_of_quarters() -> None:
    months = [f"{year}-{month:02d}" for year in range(2010, 2020) for month in (1, 4, 7, 10)]
    assert str(infer(["item_id", "quarter", "qty"], [["a", month, "1.5"] for month in months]).frequency) == "3M"
    halves = [month for month in months if month.endswith(("01", "04"))]
    with pytest.raises(InferenceError, match="seems to number weeks, months, quarters or years"):
        infer(["item_id", "quarter", "qty"], [["a", month, "1.5"] for month in halves])


@pytest.mark.parametrize(("first", "fits"), [(1950, True), (1920, True), (2000, False), (1800, False), (2060, False)])
def test_years_that_can_be_nothing_else_need_no_name(first: int, fits: bool) -> None:
    rows = [[str(first + number), "1.5"] for number in range(60)]
    if fits:
        assert str(infer(["time", "qty"], rows).frequency) == "Y"
    else:
        with pytest.raises(InferenceError, match="timestamps in a form that is known"):
            infer(["time", "qty"], rows)


@pytest.mark.parametrize(("name", "fits"), [("time", False), ("ts", False), ("year", True), ("date", True)])
def test_years_need_a_name(name: str, fits: bool) -> None:
    rows = [["a", str(1800 + number), "1.5"] for number in range(60)]
    if fits:
        assert str(infer(["item_id", name, "qty"], rows).frequency) == "Y"
    else:
        with pytest.raises(InferenceError, match="timestamps in a form that is known"):
            infer(["item_id", name, "qty"], rows)


@pytest.mark.parametrize("form", ["{0.year}-{0.day:02d}-{0.month:02d}", "{0.month:02d}.{0.day:02d}.{0.year}"])
def test_days_and_months_that_a_spreadsheet_exchanged_are_refused(form: str) -> None:
    usual = "{0:%Y-%m-%d}" if "-" in form else "{0:%d.%m.%Y}"
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(100)]
    times = [(form if day.day <= 12 else usual).format(day) for day in days]
    with pytest.raises(
        InferenceError, match=r"day and month seem to be exchanged in some values of date: .* 2024-01-02"
    ):
        infer(["date", "y"], [[time, "1.5"] for time in times])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("days", [1, 7])
def test_midnights_that_were_written_in_utc_have_their_own_dates(zone: str, days: int) -> None:
    first = dt.datetime(2024, 1, 10)
    local = [(first + dt.timedelta(days=days * number)).replace(tzinfo=ZoneInfo(zone)) for number in range(150)]
    times = [f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z" for moment in local]
    params = infer(["date", "y"], [[time, "1.5"] for time in times])
    if zone == "Asia/Tokyo":  # 15:00 in UTC may be meant
        assert params.time_zone is None
        assert params.alignment.hour == 15
    else:
        assert params.time_zone == zone
        assert params.alignment.hour is None


@pytest.mark.parametrize(
    ("first", "step", "ends"),
    [
        ("2024-01-01", "months", "2024-01-31"),
        ("2024-01-01", "weeks", "2024-01-07"),
        ("2024-01-01", "days", "2024-01-01 23:59:59"),
    ],
)
def test_ends_of_periods_beside_starts_stay_in_their_periods(first: str, step: str, ends: str) -> None:
    starts = pd.date_range(first, periods=40, freq={"months": "MS", "weeks": "7D", "days": "D"}[step])
    lasts = pd.date_range(ends, periods=40, freq={"months": "ME", "weeks": "7D", "days": "D"}[step])
    form = "%Y-%m-%d" if step != "days" else "%Y-%m-%d %H:%M:%S"
    rows = [[name, f"{when:{form}}", "1.5"] for name, times in (("a", starts), ("b", lasts)) for when in times]
    params = infer(["item_id", "date", "qty"], rows)
    assert params.snap_seconds == 0
    ordinals = [params.grid.ordinal(times.to_numpy().astype("datetime64[us]")) for times in (starts, lasts)]
    assert (ordinals[0] == ordinals[1]).all()
    assert any("others at its end" in note for note in params.notes)


def test_a_series_that_is_stamped_at_ends_later_on_skips_no_period() -> None:
    months = pd.period_range("2020-01", periods=48, freq="M")
    days = [month.to_timestamp("D", "S" if at < 30 else "E") for at, month in enumerate(months)]
    params = infer(["date", "y"], [[f"{day:%Y-%m-%d}", "1.5"] for day in days])
    ordinals = params.grid.ordinal(pd.DatetimeIndex(days).to_numpy().astype("datetime64[us]"))
    assert str(params.frequency) == "M"
    assert params.snap_seconds == 0
    assert (ordinals[1:] - ordinals[:-1] == 1).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Total", "if it is the sum of others"),
        ("grand total", "if it is the sum"),
        ("Gesamtergebnis", "if it is the sum"),
        ("Nord Total", "if it is the sum"),
        ("1.23457E+11", "cut a long number"),
        ("c", ""),
    ],
)
def test_odd_names_of_series_are_reported(name: str, said: str) -> None:
    notes = infer(["item_id", "date", "qty"], rows_by_day("a", "b", name)).notes
    assert [note for note in notes if f"Guessed: {name} in item_id" in note and said in note] == (
        [note for note in notes if f"{name} in item_id" in note]
    )
    assert bool(said) == any(f"{name} in item_id" in note for note in notes)


def test_a_name_whose_rows_are_the_sum_of_all_others_is_reported() -> None:
    days, whole = pd.date_range("2024-01-01", periods=30).strftime("%Y-%m-%d"), range(5, 35)
    values = {"a": [n % 7 for n in whole], "b": [n - n % 7 for n in whole], "North": whole}
    rows = [[name, day, str(n)] for name, numbers in values.items() for day, n in zip(days, numbers, strict=True)]
    said = "Guessed: North in item_id is a series like any other, though it is the sum of all others"
    assert any(note.startswith(said) for note in infer(["item_id", "date", "qty"], rows).notes)
    assert not any(
        "sum of all" in note for note in infer(["item_id", "date", "qty"], [*rows[:-1], [*rows[-1][:2], "9"]]).notes
    )


def test_what_is_counted_is_counted_by_the_reading_that_is_chosen() -> None:
    times = [f"{month:02d}/01/{year}" for year in (2022, 2023) for month in range(1, 13)]
    notes = infer(["date", "y"], [[time, "1.5"] for time in times]).notes
    assert any("0% of the periods empty" in note for note in notes)


HOURS = pd.date_range("2024-01-01", periods=200, freq="h")
QUARTERS = pd.date_range("2024-01-09 08:00", periods=60, freq="15min")


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([*HOURS, *QUARTERS], "every 1 hour up to 2024-01-09 and every 15 minutes from then on"),
        ([*HOURS[:40], *pd.date_range(HOURS[40], periods=300, freq="15min")], "every 1 hour up to 2024-01-02 and"),
        ([*HOURS, *pd.date_range("2024-01-10", periods=60)], "every 1 hour up to .* every 1 day"),
        (
            [*pd.date_range("2020-01-01", periods=48, freq="MS"), *pd.date_range("2024-01-01", periods=90)],
            "every 31 days up to 2024-01-01 and every 1 day",
        ),
    ],
)
def test_rows_that_change_how_often_they_come_are_refused(times: list[pd.Timestamp], said: str) -> None:
    with pytest.raises(InferenceError, match=said) as refusal:
        infer(["date", "y"], [[f"{time}", "1.5"] for time in times])
    assert refusal.value.draft is not None


@pytest.mark.parametrize(("freq", "said"), [("7D", "every 7 days in others"), ("MS", "every 31 days in others")])
def test_series_that_come_less_often_than_others_are_refused(freq: str, said: str) -> None:
    rows = [["a", f"{day:%Y-%m-%d}", "1"] for day in pd.date_range("2024-01-01", periods=366)]
    rows += [["b", f"{day:%Y-%m-%d}", "7"] for day in pd.date_range("2024-01-01", "2024-12-31", freq=freq)]
    with pytest.raises(InferenceError, match=f"every 1 day in some series and {said}"):
        infer(["item_id", "date", "y"], rows)


def test_finer_rows_in_some_of_the_places_that_are_looked_at_are_refused() -> None:
    times = [*HOURS, *pd.date_range(HOURS[-1] + pd.Timedelta("1h"), periods=16, freq="15min")]
    with pytest.raises(InferenceError, match="every 1 hour in some series and every 15 minutes in others"):
        infer(["date", "y"], [[f"{time}", "1.5"] for time in times], stretches=[at // 40 for at in range(len(times))])


def test_days_without_sales_are_no_other_rhythm() -> None:
    days = pd.date_range("2024-01-01", periods=365)
    rows = [["a", f"{day:%Y-%m-%d}", "1"] for day in days]
    rows += [["b", f"{day:%Y-%m-%d}", "1"] for number, day in enumerate(days) if number * number % 7 in (1, 2)]
    rows += [["c", f"{day:%Y-%m-%d}", "1"] for number, day in enumerate(days) if number < 50 or number % 6 == 0]
    assert str(infer(["item_id", "date", "y"], [row for row in rows if row[0] != "c"]).frequency) == "D"
    with pytest.raises(InferenceError, match="every 1 day up to 2024-02-"):
        infer(["item_id", "date", "y"], rows)


def test_events_to_the_second_are_refused() -> None:
    steps = [7, 11, 45, 61, 120, 300] * 200
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(pd.Series(steps).sample(frac=1, random_state=1).cumsum(), "s")
    with pytest.raises(InferenceError, match="how often rows come can't be determined"):
        infer(["time", "y"], [[f"{time}", "20.5"] for time in times])


@pytest.mark.parametrize("status", ["status", "Version", "export_status"])
def test_versions_of_a_few_rows_in_one_file_are_not_added_up(status: str) -> None:
    header = ["item_id", "date", "qty", status]
    rows = [["a", f"{day}", "9", "final"] for day in DAYS]
    with pytest.raises(InferenceError, match=f"differ in {status} .final and preliminary.: keep the row that counts"):
        infer(header, [*rows, ["a", f"{DAYS[-1]}", "8", "preliminary"]])
    assert infer(header, [*rows, ["a", f"{DAYS[-1]}", "8", "final"]]).aggregation == "sum"


@pytest.mark.parametrize("items", ["", "a", "ab"])
@pytest.mark.parametrize("name", ["status", "state", "region", "scenario", "orderStatus"])
def test_a_panel_of_statuses_has_a_series_of_each(name: str, items: str) -> None:
    made = [
        [*([item] if items else []), word, f"{day}", f"{5 + day.day % 7 + 20 * (word == 'high')}"]
        for item in items or "x"
        for word in ("low", "high")
        for day in DAYS[4 * (word == "high") :]
    ]
    params = infer([*(["item_id"] if items else []), name, "date", "qty"], made)
    keys = [("c_" if name == "scenario" and items else "") + name, *(["item_id"] if items else [])]  # a name of our own
    assert sorted(filter(None, [params.item_column, *params.dimensions])) == sorted(keys)
    remark = any(f"{name} tells series apart; if it holds versions" in note for note in params.notes)
    assert remark == (name not in ("state", "region", "scenario"))


@pytest.mark.parametrize(
    ("name", "texts"), [("version", "ab"), ("doc_revision", "12"), ("status", ("actual", "Budget"))]
)
def test_versions_of_a_row_are_no_series_however_far_apart(name: str, texts: Sequence[str]) -> None:
    rows = [["a", text, f"{day}", f"{5 + 20 * (text == texts[0])}"] for text in texts for day in DAYS]
    with pytest.raises(InferenceError, match=f"what would tell some of them apart is a remark on the row: {name}"):
        infer(["item_id", name, "date", "qty"], rows)


@pytest.mark.parametrize("missing", [0, 30])
def test_values_near_each_other_or_here_and_there_may_be_versions(missing: int) -> None:
    change = 20 if missing else 0.5
    rows = [["a", f"{day}", f"{5 + day.day % 7 * 3}", "first"] for day in DAYS]
    rows += [["a", f"{day}", f"{5 + day.day % 7 * 3 + change}", "second"] for day in DAYS[missing:]]
    with pytest.raises(InferenceError, match="what would tell some of them apart is a remark on the row: status"):
        infer(["item_id", "date", "qty", "status"], rows)


@pytest.mark.parametrize("name", ["unit", "UoM", "Currency", "Einheit"])
def test_a_series_has_one_unit(name: str) -> None:
    rows = [[item, f"{day}", "9", "kWh" if day < DAYS[20] else "MWh"] for day in DAYS for item in "ab"]
    with pytest.raises(InferenceError, match=f"several units: {name} is MWh and kWh"):
        infer(["meter", "date", "value", name], rows)
    rows = [[item, f"{day}", "9", unit] for day in DAYS for item, unit in (("a", "kWh"), ("b", "MWh"))]
    assert infer(["meter", "date", "value", name], rows).item_column == "meter"


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("Unit Price", ("$2.99", "$3.49")),
        ("on_hand_units", ("1,103", "987")),
        ("unit", ("kWh", "")),
        ("business_unit", "EW"),
    ],
)
def test_prices_of_a_unit_empty_cells_and_parts_of_a_company_are_no_units(name: str, texts: Sequence[str]) -> None:
    rows = [[item, f"{day}", "9", texts[number % 7 == 0]] for number, day in enumerate(DAYS) for item in "ab"]
    assert infer(["meter", "date", "value", name], rows).item_column == "meter"


def test_two_digits_of_a_year_far_ahead_are_refused() -> None:
    with pytest.raises(InferenceError, match="01/01/60 would be in 2060: write them with four"):
        infer(["date", "y"], [[f"01/01/{year % 100:02d}", "1.5"] for year in range(1960, 2020)])
    assert infer(["date", "y"], [[f"01/01/{year % 100:02d}", "1.5"] for year in range(1970, 2020)]).horizon == 6


def test_dates_of_two_files_that_are_written_in_two_ways_are_named() -> None:
    rows = [["a", f"{day}", "1"] for day in DAYS] + [["a", f"{day:%m/%d/%Y}", "1"] for day in DAYS]
    with pytest.raises(InferenceError, match="write all in one form"):
        infer(["item_id", "date", "qty"], rows)


@pytest.mark.parametrize("name", ["BUDAT", "Datum", "CALDAY"])
def test_dates_of_digits_need_no_known_name_where_nothing_else_is_one(name: str) -> None:
    params = infer([name, "Menge"], [[f"{day:%Y%m%d}", "1.5"] for day in DAYS])
    assert (params.timestamp_column, params.timestamp_format) == (name, "yyyyMMdd")


def test_what_is_no_timestamp_is_shown() -> None:
    with pytest.raises(InferenceError, match=r"a row: '2024~01', '1.5'"):
        infer(["TIME_PERIOD", "y"], [[f"2024~{month:02d}", "1.5"] for month in range(1, 13)])


def test_an_item_that_stands_in_the_first_row_only_is_named() -> None:
    rows = [[item if day is DAYS[0] else "", f"{day}", "1"] for item in "abc" for day in DAYS]
    with pytest.raises(InferenceError, match="item is empty in 98% of the rows: repeat its value in each"):
        infer(["item", "date", "qty"], rows)


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        ([5 * number % 600 for number in range(200)], "kwh", "starts again from near 0"),
        ([5 * number for number in range(200)], "meter_reading", "only grows"),
        ([5 * number for number in range(200)], "sales", ""),
        ([number % 24 for number in range(200)], "kwh", ""),
        ([3 + number % 24 for number in range(200)], "sales_ytd", "starts again from near 0"),
        ([number * number for number in range(200)], "cum_cases", "only grows"),
        ([1 + number % 7 if number < 150 else 0 for number in range(200)], "kwh", "is 0 in all series at the last 50 "),
        ([1 if number // 30 % 2 == 0 else 0 for number in range(180)], "kwh", ""),
    ],
)
def test_running_totals_and_rows_still_to_come_are_reported(values: list[int], name: str, said: str) -> None:
    times = pd.date_range("2024-01-01", periods=len(values), freq="h")
    notes = infer(["time", name], [[f"{time}", f"{value}"] for time, value in zip(times, values, strict=True)]).notes
    found = [note for note in notes if "still to come" in note or "running total" in note]
    assert (len(found) == 1 and said in found[0]) if said else not found


DECLARED = make_params(frequency="D", timestamp_format="dd.MM.yyyy")


def declared_rows(*items: tuple[str, Sequence[float]]) -> list[list[str]]:
    return [
        [f"{DAYS[0] + dt.timedelta(days=at):%d.%m.%Y}", f"{value}", item]
        for item, values in items
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (declared_rows(("a", [*range(5, 40), *[0] * 12])), "is 0 in all series at the last 12 timestamps"),
        (declared_rows(("a", range(40)), ("b", range(7, 47)), ("x", range(7, 87, 2))), "it is the sum of all others"),
        (declared_rows(("a", range(40)), ("Gesamt", range(40))), "Gesamt in item_id is a series like any other"),
        (
            declared_rows(("a", [at % 9 + 1 if at % 13 else -999 for at in range(80)])),
            "-999 is a value of target_value",
        ),
        (declared_rows(("a", [at % 7 for at in range(40)]), ("b", [at % 5 for at in range(40)])), ""),
        ([[f"{day}", "0" if day > DAYS[9] else "5", "a"] for day in DAYS], ""),  # another form than the declared one
        ([[*row[:2], "x", row[2]] for row in declared_rows(("a", [5] * 20 + [0] * 20))], ""),  # a column too many
    ],
)
@pytest.mark.parametrize("header", [None, ["Timestamp", "Target Value", "item_id"]])
def test_values_of_declared_columns_are_looked_at_too(
    rows: list[list[str]], said: str, header: list[str] | None
) -> None:
    if header is not None and len(rows[0]) > len(header):
        header = ["when", *header]
    notes = list(declared_notes(DECLARED, header, rows, [0] * len(rows)))
    assert any(said in note for note in notes) if said else not notes
    assert not any(note.startswith("Guessed") for note in notes)
