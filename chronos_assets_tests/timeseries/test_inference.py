"""Parameters guessed from a sample of the train files."""

import csv
import datetime as dt
import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import MAX_MULTIPLE, Alignment, Frequency, Grid, Unit
from chronos_assets.calendar.timestamp_format import format_timestamps
from chronos_assets.params.columns import InferenceError
from chronos_assets.params.default_horizon import default_horizon
from chronos_assets.params.forecast import DOMAINS, Attribute, ForecastParams, ParamsError, to_document
from chronos_assets.params.headers import column_name, looks_like_header
from chronos_assets.params.inference import infer
from chronos_assets.params.reader import parse_params
from chronos_assets.params.timestamp_columns import is_value

EVERY_FREQUENCY = [Frequency(n, unit) for unit in Unit for n in range(1, MAX_MULTIPLE[unit] + 1)]
HOURS = [f"2024-01-{day:02d} {hour:02d}:00:00" for day in (1, 2, 3) for hour in range(24)]


def hourly(items: Sequence[str] = ("a", "b")) -> list[list[str]]:
    return [[moment, item, str(index % 7 + 0.5)] for item in items for index, moment in enumerate(HOURS)]


def with_times(times: Sequence[str]) -> ForecastParams:
    """What is inferred for one series at these times."""
    return infer(["date", "item_id", "y"], [[time, "a", "1.5"] for time in times])


# --- the real files


def sample(path: Path, delimiter: str = ",") -> tuple[list[str] | None, list[list[str]]]:
    """The first 5,000 rows of a file, as an import would look at it."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(newline="") as stream:
        found = list(islice(csv.reader(stream, delimiter=delimiter), 5000))
    return (found[0], found[1:]) if looks_like_header(found[0], found[1:], is_value) else (None, found)


# file: header?, domain, item, timestamp, target, dimensions, frequency, alignment, format
REAL: dict[str, tuple[Any, ...]] = {
    "amazon_forecast/testing-data/train/item-demand-time.csv": (
        (False, "CUSTOM", "item_id", "timestamp", "target_value", (), "H", Alignment(), "yyyy-MM-dd HH:mm:ss")
    ),
    "amazon_forecast/electricityusagedata.csv": (
        (False, "CUSTOM", "item_id", "timestamp", "target_value", (), "H", Alignment(), "yyyy-MM-dd HH:mm:ss")
    ),
    "amazon_forecast/sample_demand.csv": (
        (True, "CUSTOM", "item_id", "timestamp", "target_value", (), "H", Alignment(), "yyyy-MM-dd HH:mm:ss")
    ),
    "amazon_forecast/related/consumer_electronics_TTS.csv": (
        (True, "RETAIL", "item_id", "timestamp", "demand", ("store_id",), "M", Alignment(), "yyyy-MM-dd")
    ),
    # Rows on the 30th at nine, and on the last day of February.
    "amazon_forecast/related/instrument_TTS.csv": (
        True,
        "CUSTOM",
        "Model_ID",
        "Timestamp",
        "Order_Quantity",
        (),
        "M",
        Alignment(day_of_month=30, hour=9),
        "yyyy-MM-dd HH:mm:ss",
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_understood(shared_data: Path, name: str) -> None:
    has_header, domain, item, timestamp, target, dimensions, frequency, alignment, pattern = REAL[name]
    header, rows = sample(shared_data / "samples" / name)
    assert (header is not None) == has_header
    params = infer(header, rows)
    assert params.domain == domain
    assert (params.item_column, params.timestamp_column, params.target_column) == (item, timestamp, target)
    assert params.dimensions == dimensions
    assert (str(params.frequency), params.alignment, params.timestamp_format) == (frequency, alignment, pattern)
    assert len(params.attributes) == len(rows[0])
    assert parse_params(to_document(params)) == params


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "delimiter", "reason"),
    [
        ("amazon_forecast/related/instrument_IM.csv", ",", "none of the columns .* holds timestamps"),
        ("amazon_forecast/related/instrument_RTS.csv", ",", "value to forecast: Loss_Rate, Customer_Request"),
        ("household_power/household_power_hourly.csv.gz", ",", "value to forecast: Global_active_power, .*observed"),
        ("household_power/household_power_consumption_first27days.txt", ";", "spread over the columns Date and Time"),
    ],
)
def test_real_files_with_more_than_one_reading_are_refused(
    shared_data: Path, name: str, delimiter: str, reason: str
) -> None:
    header, rows = sample(shared_data / "samples" / name, delimiter)
    with pytest.raises(InferenceError, match=reason):
        infer(header, rows)


@pytest.mark.process
def test_a_file_of_one_series_needs_only_its_target_named(shared_data: Path) -> None:
    header, rows = sample(shared_data / "samples/household_power/household_power_hourly.csv.gz")
    params = infer(header, rows, target="Global_active_power")
    assert params.item_column is None
    assert params.constant_item == "dataset"
    assert (params.timestamp_column, str(params.frequency), params.horizon) == ("datetime", "H", 48)
    assert [attribute.name for attribute in params.attributes] == header
    assert to_document(params)["Chronos"]["Columns"] == {
        "item_id": None,
        "timestamp": "datetime",
        "target_value": "Global_active_power",
    }
    assert any(note.startswith("Not used: Global_reactive_power") for note in params.notes)


def completed(draft: dict[str, Any], column: str) -> ForecastParams:
    """What a user's answer to the draft's only question, the target, makes of it."""
    question = draft["Chronos"]["Columns"]["target_value"]
    return parse_params(json.loads(json.dumps(draft).replace(json.dumps(question), json.dumps(column))))


@pytest.mark.process
def test_a_refusal_brings_a_draft_to_complete(shared_data: Path) -> None:
    header, rows = sample(shared_data / "samples/household_power/household_power_hourly.csv.gz")
    with pytest.raises(InferenceError) as refusal:
        infer(header, rows)
    assert refusal.value.role == "target"
    assert refusal.value.candidates[:2] == ("Global_active_power", "Global_reactive_power")
    assert refusal.value.draft is not None
    expected = infer(header, rows, target="Voltage")
    assert completed(refusal.value.draft, "Voltage") == expected


def test_a_draft_chooses_nothing_itself() -> None:
    rows = [[row[0], row[2], "5.5", "3.5"] for row in hourly(["a"])]
    with pytest.raises(InferenceError) as refusal:
        infer(["when", "much", "more", "most"], rows)
    draft = refusal.value.draft
    assert draft is not None
    assert draft["Chronos"]["Columns"]["target_value"] == "CHOOSE: much | more | most"
    with pytest.raises(ParamsError, match=r"this is still to be chosen; write one of much \| more \| most"):
        parse_params(draft)
    said = draft["Chronos"]["Draft"]
    assert any("several columns could hold the value" in line for line in said)
    assert any(line.startswith("Guessed: all rows are one series") for line in said)
    assert any(line.startswith("melt: 3 series") for line in said)


def test_a_draft_is_left_even_where_nothing_is_clear() -> None:
    with pytest.raises(InferenceError) as refusal:
        infer(["who", "what"], [["a", "b"], ["c", "d"]])
    draft = refusal.value.draft
    assert draft is not None
    assert draft["Chronos"]["Columns"]["timestamp"] == "CHOOSE: who | what"
    with pytest.raises(ParamsError):
        parse_params(draft)


def test_a_draft_asks_several_questions() -> None:
    times = ["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-17"]
    rows = [
        [time, place, thing, "1.5", "2.5"] for time in times for place, thing in (("a", "x"), ("b", "y"), ("c", "x"))
    ]
    with pytest.raises(InferenceError) as refusal:
        infer(["when", "place", "thing", "much", "more"], rows)
    assert refusal.value.draft is not None
    assert refusal.value.draft["Chronos"]["Columns"]["target_value"] == "CHOOSE: much | more"
    assert refusal.value.draft["Chronos"]["Columns"]["item_id"] == "place"


# --- headers


@pytest.mark.parametrize(
    ("first", "rest", "expected"),
    [
        (["timestamp", "item_id", "y"], [["2024-01-01", "a", "1"]], True),
        (["2024-01-01", "a", "1"], [["2024-01-02", "a", "1"]], False),
        (["a", "b"], [["c", "d"]], False),
        (["a", "b"], [], True),
        (["\ufefftimestamp", "y"], [["2024-01-01", "1"]], True),
        (["", "timestamp", "y"], [["0", "2024-01-01", "1"]], True),
        (["timestamp", "", ""], [["2024-01-01", "1", "2"]], False),
        (["", "timestamp", "y", "", ""], [["", "2024-01-01", "1", "", ""], ["", "2024-01-02", "1", "x", ""]], True),
        (["y", "Y"], [["2024-01-01", "1"]], True),  # which one is refused
        (["timestamp", "2024"], [["2024-01-01", "1"]], True),
        (["", "Date", "Total", "4046"], [["0", "2024-01-01", "5", "1"]], True),
        (["", "0"], [["2024-01-01", "1"]], True),  # pandas' Series without a name
        (["", "5"], [["2024-01-01", "1"]], False),
        (["n.a.", "5"], [["2024-01-01", "1"]], False),
    ],
)
def test_a_header_is_a_row_of_names_over_values(first: list[str], rest: list[list[str]], expected: bool) -> None:
    assert looks_like_header(first, rest, is_value) is expected


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("demand", "demand"),
        (" Order Quantity ", "Order_Quantity"),
        ("2nd price", "c_2nd_price"),
        ("größe (kg)", "grosse_kg"),
        ("Température", "Temperature"),
        ("商品", "c_5546_54c1"),
        ("売上2", "c_58f2_4e0a_2"),
        ("цена", "c_446_435_43d_430"),
        ("が", "c_304c"),
        ("_", "c_"),
        ("x" * 80, "x" * 63),
    ],
)
def test_headers_become_names_that_the_service_takes(header: str, name: str) -> None:
    assert column_name(header) == name


# --- columns


@pytest.mark.parametrize("domain", [name for name in DOMAINS if name != "INVENTORY_PLANNING"])
def test_a_domains_own_names_make_the_domain(domain: str) -> None:
    names = DOMAINS[domain]
    params = infer([names.timestamp, names.item, names.target], hourly())
    assert params.domain == domain
    assert (params.item_column, params.timestamp_column, params.target_column) == (
        names.item,
        names.timestamp,
        names.target,
    )
    assert "Chronos" not in to_document(params)


@pytest.mark.parametrize(
    "header",
    [["ds", "unique_id", "y"], ["Date", "SKU", "Units Sold"], ["DateTime", "client", "kWh"], ["When", "Who", "How"]],
)
def test_other_names_are_kept_and_mapped(header: list[str]) -> None:
    params = infer(header, hourly())
    names = [column_name(name) for name in header]
    assert [attribute.name for attribute in params.attributes] == names
    assert [params.timestamp_column, params.item_column, params.target_column] == names


def test_columns_without_a_header_are_named_by_their_role() -> None:
    params = infer(None, [[item, value, moment] for moment, item, value in hourly()])
    assert params.attributes == (
        Attribute("item_id", "string"),
        Attribute("target_value", "float"),
        Attribute("timestamp", "timestamp"),
    )


def test_item_ids_that_are_numbers_are_text() -> None:
    params = infer(["timestamp", "item_id", "demand"], hourly(["007", "12"]))
    assert params.attributes[1] == Attribute("item_id", "string")


def test_numbers_without_a_header_can_not_be_distinguished() -> None:
    with pytest.raises(InferenceError, match="value to forecast: column_2, column_3"):
        infer(None, hourly(["7", "12"]))


def test_a_known_name_wins_among_several_numbers() -> None:
    rows = [[*row, "3", "4"] for row in hourly()]
    assert infer(["timestamp", "item_id", "price", "sales", "tax"], rows).target_column == "sales"
    assert infer(["timestamp", "item_id", "price", "unitsSold", "net_sales"], rows).target_column == "net_sales"
    with pytest.raises(InferenceError, match="value to forecast: gross_sales, net_sales"):
        infer(["timestamp", "item_id", "price", "gross_sales", "net_sales"], rows)


def test_named_columns_are_taken() -> None:
    rows = [[*row, "3", f"shop of {row[1]}"] for row in hourly()]
    header = ["timestamp", "item_id", "sales", "Net Price", "shop"]
    params = infer(header, rows, target="net price", item="shop", timestamp="TIMESTAMP")
    assert (params.timestamp_column, params.item_column, params.target_column) == ("timestamp", "shop", "Net_Price")
    with pytest.raises(InferenceError, match=r"no column price for the target; there are timestamp, .*shop"):
        infer(header, rows, target="price")


def test_a_target_with_text_in_it_is_refused_with_the_text() -> None:
    for text, wrong in (("1,234.5", "'1,234.5' is not a number"), ("-", "none of its rows has one: write numbers")):
        rows = [[moment, item, text, "3"] for moment, item, _ in hourly()]
        with pytest.raises(InferenceError, match=rf"demand should .*, but {wrong}"):
            infer(["timestamp", "item_id", "demand", "price"], rows)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["<1", "7", "9", "8"], "share: '<1', in 18 of 72 rows, is not a number"),
        (["1,500", "2,250", "3,000", "4,750"], "share: '1,500' is not a number"),
    ],
)
def test_what_is_in_the_way_of_numbers_is_shown(values: list[str], said: str) -> None:
    rows = [[moment, "0001", values[at % 4]] for at, moment in enumerate(HOURS)]
    with pytest.raises(InferenceError, match=f"none of store, share holds numbers; {said}"):
        infer(["timestamp", "store", "share"], rows)


def test_a_few_bad_values_do_not_hide_what_a_column_is() -> None:
    rows = hourly()
    rows[3][2] = "oops"
    rows[9][0] = "yesterday"
    rows[12][2] = ""
    params = infer(["timestamp", "item_id", "demand"], rows)
    assert (params.timestamp_column, params.target_column, str(params.frequency)) == ("timestamp", "demand", "H")


@pytest.mark.parametrize("marker", ["", " ", "NA", "NaN", "null", "?", "None"])
def test_missing_values_say_nothing(marker: str) -> None:
    rows = hourly()
    for row in rows[::2]:
        row[2] = marker
    assert infer(None, rows).target_column == "target_value"


# --- series


def with_extra(extra: Callable[[int, str], str]) -> list[list[str]]:
    return [[*row, extra(index, row[1])] for index, row in enumerate(hourly(["a", "b", "c"]))]


HEADER = ["timestamp", "item_id", "demand", "extra"]


def test_a_column_that_tells_series_apart_is_a_dimension() -> None:
    rows = [[*row, store] for store in ("north", "south") for row in hourly()]
    params = infer(HEADER, rows)
    assert params.dimensions == ("extra",)
    assert any("extra makes a series of its own" in note for note in params.notes)


@pytest.mark.parametrize("name", ["status", "orderStatus", "Version"])
def test_a_remark_on_the_row_is_no_dimension(name: str) -> None:
    rows = [[*row, word] for word in ("sold", "returned") for row in hourly()]
    with pytest.raises(InferenceError, match=rf"a remark on the row: {name} \(returned and sold\)") as refusal:
        infer([*HEADER[:3], name], rows)
    assert refusal.value.draft is not None


def test_only_the_columns_that_are_needed_are_dimensions() -> None:
    rows = [
        [moment, item, value, store, channel, f"town of {store}"]
        for store in ("north", "south")
        for channel in ("web", "shop")
        for moment, item, value in hourly()
    ]
    params = infer(["timestamp", "item_id", "demand", "store", "channel", "town"], rows)
    assert len(params.dimensions) == 2
    assert "channel" in params.dimensions


def test_a_column_that_describes_the_item_is_not_a_dimension() -> None:
    params = infer(HEADER, with_extra(lambda _, item: f"colour of {item}"))
    assert params.dimensions == ()
    assert "Not used: extra." in params.notes


def test_repeated_timestamps_that_no_column_explains_are_refused() -> None:
    with pytest.raises(InferenceError, match=r"50% of the rows repeat a timestamp of item_id, and extra do not tell"):
        infer(HEADER, [[*row, "same"] for row in hourly() + hourly()])


def test_repeated_timestamps_of_items_alone_are_refused_with_a_draft_that_adds_them_up() -> None:
    with pytest.raises(InferenceError, match=r"50% of the rows repeat a timestamp of item_id, and no other") as refusal:
        infer(["timestamp", "item_id", "demand"], hourly() + hourly())
    assert "every repeated row equals another" in str(refusal.value)
    assert refusal.value.draft is not None
    assert parse_params(refusal.value.draft).aggregation == "sum"
    assert parse_params(refusal.value.draft).item_column == "item_id"
    assert any("added up" in line for line in refusal.value.draft["Chronos"]["Draft"])


def test_a_few_repeated_timestamps_are_added_up_and_said() -> None:
    params = infer(["timestamp", "item_id", "demand"], hourly() + hourly()[:4])
    assert any("rows of one series and period are added up (sum)" in note for note in params.notes)


def test_what_was_counted_in_a_sample_is_said_to_be() -> None:
    notes = infer(["timestamp", "item_id", "demand"], hourly(), complete=False).notes
    assert any("is a series (in a sample: 2 series of about 72 rows, " in note for note in notes)


def test_rows_of_two_files_are_no_repeats() -> None:
    rows = hourly() + hourly()
    files = [0] * len(hourly()) + [1] * len(hourly())
    assert infer(["timestamp", "item_id", "demand"], rows, files=files).item_column == "item_id"


def test_repeated_timestamps_without_an_item_are_refused() -> None:
    with pytest.raises(InferenceError, match="there is no item column"):
        infer(["timestamp", "demand"], [[moment, value] for moment, _, value in hourly()])


def test_two_text_columns_that_tell_rows_apart_differently_are_refused() -> None:
    rows = [
        [moment, f"p{at}", f"t{at // 2 if day % 2 else at}", "1"] for day, moment in enumerate(HOURS) for at in range(4)
    ]
    for row in rows:
        row[2] = f"{row[2]}{row[0][-7]}"
    with pytest.raises(InferenceError, match=r"hold the item: .*place.*") as refusal:
        infer(["when", "place", "again", "much"], [[row[0], row[1], row[1][::-1] + row[0][12], row[3]] for row in rows])
    assert set(refusal.value.candidates) == {"place", "again"}
    assert "series of about" in refusal.value.options["place"]


def test_of_two_texts_the_one_that_tells_rows_apart_is_the_item() -> None:
    rows = [[row[0], row[1], "x", row[2]] for row in hourly()]
    params = infer(["when", "place", "thing", "much"], rows)
    assert (params.item_column, params.dimensions) == ("place", ())
    assert "Not used: thing." in params.notes


def test_weather_is_no_item() -> None:
    rows = [[moment, ["sunny", "rain", "fog"][at * at % 7 % 3], str(at % 7)] for at, moment in enumerate(HOURS)]
    params = infer(["datetime", "weather", "count"], rows)
    assert (params.item_column, params.target_column) == (None, "count")
    assert any(note.startswith("Guessed: all rows are one series") for note in params.notes)


@pytest.mark.parametrize(
    "text",
    [
        lambda day: f"{day:%A}",
        lambda day: "ABCDEFG"[day.weekday()],  # whatever the language
        lambda day: "weekend" if day.weekday() > 4 else "workday",
        lambda day: f"{day:%B}",
        lambda day: f"{day.year}-Q{(day.month + 2) // 3}",
        lambda day: ["winter", "spring", "summer", "autumn"][day.month % 12 // 3],
    ],
)
def test_what_follows_from_the_date_is_no_item(text: Callable[[dt.date], str]) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(200)]
    params = infer(["date", "kind", "sales"], [[f"{day}", text(day), "1.5"] for day in days])
    assert (params.item_column, str(params.frequency)) == (None, "D")


@pytest.mark.parametrize(
    ("header", "base", "parts"),
    [
        (["year", "month", "sales"], "20{:02d}", ["Jan", "Feb", "Mar", "Total"]),
        (["year", "week", "sales"], "20{:02d}", ["W01", "W02", "W03"]),
        (["date", "hour", "sales"], "2024-01-{:02d}", ["H01", "H02", "H03"]),
        (["date", "slot", "sales"], "2024-01-{:02d}", ["9 AM", "10 AM", "1 PM"]),
        (["date", "slot", "sales"], "2024-01-{:02d}", ["09:00-10:00", "10:00-11:00"]),
        (["week", "day", "sales"], "2024-01-{:02d}", ["Mo", "Di", "Mi", "Do", "Fr"]),
    ],
)
def test_parts_of_the_time_make_no_series(header: list[str], base: str, parts: list[str]) -> None:
    rows = [[base.format(number), part, "1.5"] for number in range(1, 25) for part in parts]
    with pytest.raises(
        InferenceError, match=rf"is a part of the time: {header[1]} \({parts[0]}\); write whole timestamps"
    ):
        infer(header, rows)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("state", ["MI", "MO"]),
        ("country", ["FR", "SA", "SO"]),
        ("ward", ["H1", "H2", "H3"]),
        ("daycare_center", ["D1", "D2"]),
    ],
)
def test_places_that_look_like_parts_of_the_time_are_series(name: str, values: list[str]) -> None:
    rows = [[moment, value, "1.5"] for value in values for moment in HOURS]
    assert infer(["timestamp", name, "sales"], rows).item_column == name


def test_an_item_that_follows_another_is_an_item() -> None:
    rows = [[moment, "a" if at < 36 else "b", "1.5"] for at, moment in enumerate(HOURS)]
    assert infer(["datetime", "machine", "count"], rows).item_column == "machine"
    with pytest.raises(InferenceError, match="system is a up to some day and b after it") as refusal:
        infer(["datetime", "system", "count"], rows)
    assert refusal.value.draft is not None
    assert refusal.value.draft["Chronos"]["Columns"]["item_id"].endswith("system | null")


# --- keys: kinds of files seen in the wild


DAYS = [f"2024-01-{day:02d}" for day in range(1, 31)]
FLAGS = [("IsHoliday", ("TRUE", "FALSE")), ("promo", ("0", "1")), ("open", ("yes", "no")), ("is_weekend", ("A", "B"))]


@pytest.mark.parametrize(("name", "words"), FLAGS)
def test_numeric_keys_are_found_and_flags_never_are(name: str, words: tuple[str, str]) -> None:
    rows = [
        [str(store), str(dept), day, f"{at}.5", words[at % 5 == 0]]
        for store in (1, 2)
        for dept in (3, 4, 7)
        for at, day in enumerate(DAYS)
    ]
    params = infer(["Store", "Dept", "Date", "Weekly_Sales", name], rows)
    assert (params.item_column, params.dimensions) == ("Dept", ("Store",))
    assert {a.name: a.type for a in params.attributes}["Store"] == "string"


def test_a_flag_that_differs_between_items_is_no_key_either() -> None:
    rows = [
        [day, item, str(at), str((at + place) % 2)] for place, item in enumerate("ab") for at, day in enumerate(DAYS)
    ]
    params = infer(["date", "shop", "sales", "onpromotion"], rows)
    assert (params.item_column, params.dimensions) == ("shop", ())


def test_a_row_number_is_no_item_whatever_its_name() -> None:
    rows = [
        [str(at), day, store, family, str(at % 9), "0"]
        for at, (day, store, family) in enumerate((d, s, f) for d in DAYS for s in "12" for f in ("AUTO", "BEAUTY"))
    ]
    params = infer(["id", "date", "store_nbr", "family", "sales", "onpromotion"], rows)
    assert (params.item_column, params.dimensions) == ("family", ("store_nbr",))


def test_a_value_that_grows_by_one_is_a_value_and_an_index_is_none() -> None:
    rows = [[day, str(at), str(at), "a"] for at, day in enumerate(DAYS)]
    assert infer(["date", "index", "much", "shop"], rows).target_column == "much"
    assert infer(["date", "Unnamed: 0", "much", "shop"], rows).target_column == "much"
    with pytest.raises(InferenceError, match="value to forecast: more, much"):
        infer(["date", "more", "much", "shop"], rows)


def test_three_numeric_keys() -> None:
    rows = [
        [day, str(shop), str(item), str(channel), "2.5"]
        for day in DAYS[:12]
        for shop in (1, 2)
        for item in (10, 11)
        for channel in (0, 1, 2)
    ]
    params = infer(["date", "shop_id", "product_id", "channel_id", "amount"], rows)
    assert {params.item_column, *params.dimensions} == {"shop_id", "product_id", "channel_id"}


def test_numbers_without_a_telling_name_are_named_and_not_taken() -> None:
    rows = [[day, "4.5", str(a)] for day in DAYS for a in (1, 2, 3)]
    with pytest.raises(InferenceError, match=r"67% of the rows repeat .* tell some of them apart: group") as refusal:
        infer(["date", "sales", "group"], rows)
    assert "0% of the rows repeat" in refusal.value.options["add group"]


def test_a_column_with_an_items_name_that_makes_no_series_is_no_item() -> None:
    rows = [
        [f"{at // 3}", ["A1", "B2", "C3"][at % 3], f"{at % 5}.5", day, str(17850 + at // 3 % 29)]
        for at, day in enumerate(day for day in DAYS for _ in range(3))
    ]
    params = infer(["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "CustomerID"], rows)
    assert (params.item_column, params.dimensions) == ("StockCode", ())


def test_receipts_are_not_series() -> None:
    rows = [[day, f"R{at}-{place}", "shop", "9.5"] for at, day in enumerate(DAYS) for place in range(3)]
    with pytest.raises(InferenceError, match="rows repeat a timestamp"):
        infer(["date", "receipt", "where", "amount"], rows)


@pytest.mark.parametrize("region", ["NA", "null", "None", "n/a", "-"])
def test_words_for_missing_are_values_of_a_key(region: str) -> None:
    rows = [[item, place, day, "1"] for item in ("x", "y") for place in (region, "EU") for day in DAYS]
    params = infer(["item_id", "region", "timestamp", "target_value"], rows)
    assert (params.item_column, params.dimensions) == ("item_id", ("region",))


def test_a_column_without_a_name_is_read_over() -> None:
    rows = [[str(at), *row] for at, row in enumerate(hourly())]
    params = infer(["", "timestamp", "item_id", "target_value"], rows)
    assert [attribute.name for attribute in params.attributes] == ["timestamp", "item_id", "target_value"]


def test_an_index_without_a_name_is_the_timestamp_where_nothing_else_is() -> None:
    assert infer(["", "item_id", "sales"], hourly()).timestamp_column == "timestamp"
    rows = [[*row, row[0]] for row in hourly()]
    assert infer(["", "item_id", "sales", "date"], rows).timestamp_column == "date"


def test_headers_in_another_script_are_kept_apart_and_shown() -> None:
    params = infer(["日付", "商品", "売上"], hourly())
    assert len({attribute.name for attribute in params.attributes}) == 3
    assert any("日付" in note for note in params.notes)


@pytest.mark.parametrize("name", ["type", "Type", "TYPE"])
def test_a_column_called_type_that_plays_no_part_is_left_out(name: str) -> None:
    params = infer(["timestamp", "item_id", "demand", name], with_extra(lambda _, item: f"kind of {item}"))
    assert [attribute.name for attribute in params.attributes] == ["timestamp", "item_id", "demand"]
    assert f"Not used: {name}." in params.notes


def test_nanoseconds_are_read() -> None:
    params = with_times([f"2024-01-01 {hour:02d}:00:00.000000000" for hour in range(24)])
    assert str(params.frequency) == "H"


@pytest.mark.parametrize(("count", "horizon"), [(200, 14), (28, 14), (27, 9), (20, 6), (9, 3), (4, 1)])
def test_a_horizon_leaves_a_past_window_to_score(count: int, horizon: int) -> None:
    days = Grid(Frequency.parse("D")).range(np.datetime64("2024-01-01"), count)
    params = with_times(format_timestamps(days, "yyyy-MM-dd"))
    assert params.horizon == horizon
    assert any("not 14, because the longest series has" in note for note in params.notes) == (horizon < 14)


@pytest.mark.parametrize("name", ["level", "Type", "metric", "p50"])
def test_a_dimension_with_a_reserved_name_gets_another(name: str) -> None:
    rows = [[*row, store] for store in ("north", "south") for row in hourly()]
    params = infer(["timestamp", "item_id", "demand", name], rows)
    assert params.dimensions == (f"c_{name}",)
    assert parse_params(to_document(params)).dimensions == (f"c_{name}",)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no rows"),
        ([["2024-01-01", "a", "1"], ["2024-01-02", "a"]], "row 2 of the sample has 2 columns, not 3"),
        ([["2024-01-01", "a", "x"], ["2024-01-02", "b", "y"]], "none of column_2, column_3 holds numbers"),
        ([["1704067200", "a", "1.5"]], "column_1 seems to count seconds since 1970"),
        ([["a", "b", "1.5"]], "none of the columns column_1, column_2, column_3 holds timestamps"),
        ([["2024-01-01", "a", "1"]], "no series of the sample has two different timestamps"),
        ([["2024-01-01", "2024-01-02", "a", "1"]], "several columns could hold the timestamp: column_1, column_2"),
        ([["2024-01-01", "a"]], "none of column_2 holds numbers"),
        ([["2024-01-01", "10,50 €"], ["2024-01-02", "1\u202f200,00 €"]], "column_2: '10,50 €' is not a number"),
        ([["2024-01-01", "10.5%"], ["2024-01-02", "9%"]], "column_2: '10.5%' is not a number"),
    ],
)
def test_samples_that_say_too_little_are_refused(rows: list[list[str]], reason: str) -> None:
    with pytest.raises(InferenceError, match=reason):
        infer(None, rows)


def test_columns_with_the_same_name_are_refused_only_where_they_are_needed() -> None:
    params = infer(
        ["note", "timestamp", "y", "Note"],
        [[text, time, "1", "b"] for time, text in zip(HOURS, "ab" * 36, strict=True)],
    )
    assert [attribute.name for attribute in params.attributes] == ["timestamp", "y"]
    assert any(note.endswith("other columns are called so, too: note, Note.") for note in params.notes)
    with pytest.raises(InferenceError, match=r"two columns are called y \('y', 'Y' in the header; names hold ASCII"):
        infer(["timestamp", "y", "Y"], [["2024-01-01", "1", "2"]])


# --- timestamps


PATTERNS = ["yyyy-MM-dd HH:mm:ss", "yyyy-MM-dd", "yyyy/MM/dd", "dd/MM/yyyy", "MM/dd/yyyy", "M/d/yyyy", "dd.MM.yyyy"]
PATTERNS += ["dd/MM/yyyy HH:mm", "MM/dd/yyyy HH:mm", "M/d/yyyy H:mm", "M/d/yyyy h:mm a", "yyyy-MM-dd'T'HH:mm:ss"]
PATTERNS += ["yyyy-MM-dd HH:mm:ss.SSS", "yyyy-MM-dd'T'HH:mm:ssXXX", "dd MMM yyyy", "dd-MMM-yyyy", "M/d/yy", "dd.MM.yy"]
PATTERNS += ["yyyyMMdd", "yyyy-M-d", "yyyyMMddHHmm", "yyyyMMddHHmmss", "yyyy-MM-dd HH:mm:ss 'UTC'", "ddMMMyyyy"]
PATTERNS += ["yyyyMMdd'T'HHmmss", "yyyyMMdd'T'HHmmssXXX", "epoch seconds", "epoch milliseconds", "YYYY-'W'ww-e"]
PATTERNS += ["ddMMMyyyy:HH:mm:ss", "yyyy-MM-dd HH:mm:ss XXX", "d/M/yyyy, h:mm:ss a", "MM/dd/yyyy, HH:mm:ss"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_of_timestamps(pattern: str) -> None:
    alignment = Alignment(hour=9) if "m" in pattern else Alignment()
    days = Grid(Frequency.parse("D"), alignment).range(np.datetime64("2024-01-05T09"), 60)
    params = with_times(format_timestamps(days, pattern))
    assert params.timestamp_format == pattern
    assert str(params.frequency) == "D"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        *((pattern, "3M") for pattern in ("yyyyQQQ", "yyyy-QQQ", "yyyy QQQ", "QQQ yyyy")),
        *((pattern, "W") for pattern in ("YYYY-'W'ww", "YYYY'W'ww", "'KW' w YYYY", "'KW'ww/YYYY")),
        *((pattern, "M") for pattern in ("yyyy-MM", "yyyy/MM", "MM/yyyy", "MMM yyyy", "MMMM yyyy", "MMM-yy", "yyyyMM")),
        ("yyyy", "Y"),
    ],
)
def test_patterns_without_days(pattern: str, name: str) -> None:
    times = Grid(Frequency.parse(name)).range(np.datetime64("1990-01-01"), 30)
    params = with_times(format_timestamps(times, pattern))
    assert (params.timestamp_format, str(params.frequency)) == (pattern, name)


GERMAN = ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"]


@pytest.mark.parametrize(
    ("name", "write", "note"),
    [
        ("ts", lambda day: f"{86_400 * (day - dt.date(1970, 1, 1)).days}", "ts counts seconds since 1970-01-01 in UTC"),
        ("quarter", lambda day: f"{day.year + day.day}Q{day.month}", "quarter has quarters of the calendar year"),
        ("week", lambda day: f"{day.year}-W{day.day:02d}", "week has the weeks of ISO 8601, which begin on Monday"),
        ("tag", lambda day: f"{day.day}. {GERMAN[day.month - 1]}. {day.year}", r"in another language .* \(M..\)"),
    ],
)
def test_what_is_assumed_of_the_form_of_timestamps_is_said(
    name: str, write: Callable[[dt.date], str], note: str
) -> None:
    days = [dt.date(2024, month, day) for month in range(3, 6 if name == "tag" else 4) for day in range(1, 31)]
    params = infer([name, "sales"], [[write(day), "1.5"] for day in days])
    assert re.search(note, "\n".join(params.notes))


BESIDE: dict[str, Callable[[dt.date], str]] = {
    "quarter": lambda day: f"{day.year}Q{(day.month + 2) // 3}",
    "week": lambda day: f"{day:%G-W%V}",
    "epoch": lambda day: f"{86_400 * (day - dt.date(1970, 1, 1)).days}",
    "bundle": lambda day: f"Set {10 + day.day}",
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("date", str),
        ("day", lambda day: "n/k" if day.day == 17 else str(day)),
        ("tradingdy", lambda day: f"{day:%Y%m%d}"),
        ("ts", lambda day: "2024999999" if day.day == 17 else f"{day:%Y%m%d}00"),
    ],
)
def test_dates_count_beside_numbers_of_periods_and_seconds(
    name: str, write: Callable[[dt.date], str], beside: str
) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(200)]
    params = infer([name, beside, "sales"], [[write(day), BESIDE[beside](day), "1.5"] for day in days])
    assert (params.timestamp_column, str(params.frequency)) == (name, "D")


@pytest.mark.parametrize(
    ("header", "write", "message"),
    [
        (
            "date week",
            lambda day: f"{45_000 + day.toordinal() % 1000} {day:%G-W%V}",
            "date seems to count days since 1900",
        ),
        (
            "date week",
            lambda day: f"{day:{'%Y-%m-%d' if day.day % 2 else '%d.%m.%Y'}} {day:%G-W%V}",
            "date holds .* others",
        ),
        ("fiscal_year quarter", lambda day: f"{day.year} {day.year}Q1", "quarter .* of the fiscal year in fiscal_year"),
        ("label period", lambda day: f"FY{day:%y} {day.year}Q1", "period .* of the fiscal year in label"),
        (
            "year month quarter",
            lambda day: f"{day:%Y %m %Y}Q{(day.month + 2) // 3}",
            "spread over the columns year and month",
        ),
        ("timestamp_id n", lambda day: f"{1_700_000_000 + day.toordinal()} 1", "seems to count seconds"),
        ("timestamp n", lambda day: f"{day:%Y%m%d}{24 if day.day % 2 else 12} 1", "none of the columns"),
    ],
)
def test_periods_and_seconds_are_not_taken_for_other_times(
    header: str, write: Callable[[dt.date], str], message: str
) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(200)]
    with pytest.raises(InferenceError, match=message):
        infer([*header.split(), "sales"], [[*write(day).split(), "1.5"] for day in days])


@pytest.mark.parametrize(
    "codes", [["SET-12", "SET-24"], ["Gen 10", "Gen 11"], ["Q1 2023", "Q2 2023"], ["W01-2023", "W02-2023"]]
)
def test_codes_that_look_like_months_or_periods_are_items(codes: list[str]) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(60)]
    params = infer(["when", "sku", "sales"], [[f"{day}", code, "1.5"] for code in codes for day in days])
    assert (params.timestamp_column, params.item_column) == ("when", "sku")


@pytest.mark.parametrize("first", ["2024-03-04", "2024-01-01"])
def test_iso_weeks_with_years_of_the_calendar_are_refused(first: str) -> None:
    weeks = [dt.date.fromisoformat(first) + dt.timedelta(weeks=number) for number in range(70)]
    assert str(infer(["week", "sales"], [[f"{week:%G-W%V}", "1.5"] for week in weeks]).frequency) == "W"
    rows = [[f"{week:%G-W%V}", item, "1.5"] for week in weeks for item in "abcdefghijklmnopqrstuvwxyz"]
    random.Random(1).shuffle(rows)
    assert str(infer(["week", "item_id", "sales"], rows).frequency) == "W"
    for order in (weeks, weeks[::-1]):
        with pytest.raises(InferenceError, match="weeks of ISO 8601 with years of the calendar"):
            infer(["week", "sales"], [[f"{week:%Y-W%V}", "1.5"] for week in order])


def test_day_and_month_are_distinguished_by_regularity() -> None:
    months = Grid(Frequency.parse("M")).range(np.datetime64("2020-01-01"), 30)
    assert with_times(format_timestamps(months, "dd/MM/yyyy")).timestamp_format == "dd/MM/yyyy"
    assert with_times(format_timestamps(months, "MM/dd/yyyy")).timestamp_format == "MM/dd/yyyy"


def test_day_and_month_that_can_not_be_distinguished_are_refused() -> None:
    with pytest.raises(InferenceError, match=r"day and month can't be distinguished in date: dd/MM/yyyy or MM/dd/yyyy"):
        with_times(["01/02/2024", "02/01/2024"])
    with pytest.raises(InferenceError, match="d/M/yyyy, h:mm:ss a or M/d/yyyy, h:mm:ss a"):
        with_times(["1/2/2024, 1:00:00 PM", "2/1/2024, 1:00:00 PM"])


def test_digits_under_a_name_that_ends_in_date_are_dates() -> None:
    rows = [[f"202401{day:02d}", f"{day}.5", "k"] for day in range(1, 29)]
    params = infer(["Order Date", "y", "exported"], rows)
    assert (params.timestamp_column, params.timestamp_format) == ("Order_Date", "yyyyMMdd")


def test_items_of_several_known_names_are_told_apart_with_other_columns() -> None:
    rows = [
        [f"2024-01-{day:02d}", dept, name, size, f"{day}.5"]
        for day in range(1, 21)
        for dept in "12"
        for name in ("pen", "ink")
        for size in "SM"
    ]
    params = infer(["date", "dept_id", "product_name", "size", "qty"], rows)
    assert {params.item_column, *params.dimensions} == {"dept_id", "product_name", "size"}


# --- frequency


def observed(frequency: Frequency, alignment: Alignment = Alignment(), count: int = 130) -> ForecastParams:  # noqa: B008
    times = Grid(frequency, alignment).range(np.datetime64("2001-03-04"), count)
    return with_times(format_timestamps(times, "yyyy-MM-dd HH:mm:ss"))


@pytest.mark.parametrize("frequency", EVERY_FREQUENCY, ids=str)
def test_every_frequency_is_found(frequency: Frequency) -> None:
    params = observed(frequency)
    assert params.frequency == params.data_frequency == frequency
    assert params.horizon == default_horizon(frequency)


@pytest.mark.parametrize(
    ("name", "alignment"),
    [
        ("D", Alignment(hour=9)),
        ("W", Alignment(day_of_week=6)),
        ("W", Alignment(day_of_week=2, hour=12)),
        ("2W", Alignment(anchor="2001-03-02")),
        ("M", Alignment(day_of_month=15)),
        ("M", Alignment(day_of_month=31)),
        ("3M", Alignment(day_of_month=31)),
        ("Y", Alignment(month=4)),
        ("Y", Alignment(month=12, day_of_month=31)),
    ],
)
def test_the_boundary_is_where_the_rows_lie(name: str, alignment: Alignment) -> None:
    params = observed(Frequency.parse(name), alignment)
    assert str(params.frequency) == name
    # The 15 of "M" and "day_of_month=15, hour=None" mean the same periods.
    assert params.alignment == alignment
    assert any("TimeAlignmentBoundary" in note or "Chronos.Anchor" in note for note in params.notes)


@pytest.mark.process
@given(
    st.sampled_from(EVERY_FREQUENCY),
    st.integers(2, 4),
    st.floats(0, 0.4),
    st.integers(0, 2**32),
)
def test_gaps_and_order_do_not_hide_the_frequency(frequency: Frequency, items: int, missing: float, seed: int) -> None:
    generator = random.Random(seed)
    times = Grid(frequency).range(np.datetime64("2001-03-04"), 80)
    texts = format_timestamps(times, "yyyy-MM-dd HH:mm:ss")
    rows = [[text, f"item {n}", "1"] for n in range(items) for text in texts if generator.random() >= missing]
    generator.shuffle(rows)
    assert infer(["timestamp", "item_id", "demand"], rows).frequency == frequency


def test_rows_finer_than_a_minute_are_added_up_by_the_minute() -> None:
    start = dt.datetime(2024, 1, 1)
    params = with_times([(start + dt.timedelta(seconds=30 * n)).isoformat(" ") for n in range(100)])
    assert str(params.frequency) == "1min"
    assert any("every 30 seconds and are added up by the minute" in note for note in params.notes)


def test_a_step_that_is_no_frequency_is_refused_with_the_step() -> None:
    start = dt.datetime(2024, 1, 1)
    with pytest.raises(InferenceError, match=r"most common step is 90 minutes, at 100% .*ForecastFrequency"):
        with_times([(start + dt.timedelta(minutes=90 * n)).isoformat(" ") for n in range(100)])


def test_irregular_times_are_refused() -> None:
    generator = random.Random(0)
    start = dt.datetime(2024, 1, 1)
    times = sorted(start + dt.timedelta(seconds=generator.randrange(7, 10_000_000, 7)) for _ in range(200))
    with pytest.raises(InferenceError, match="how often rows come can't be determined"):
        with_times([time.isoformat(" ") for time in times])


def test_steps_that_are_often_alike_make_no_periods_of_their_divisor() -> None:
    starts = [dt.datetime(2024, 1, 1) + dt.timedelta(days=day, minutes=14 * (day % 5)) for day in range(60)]
    times = [start + dt.timedelta(minutes=26 * at) for start in starts for at in range(4)]
    with pytest.raises(InferenceError, match="of the periods of 2min, the step that all others are multiples of"):
        with_times([time.isoformat(" ") for time in times])


@pytest.mark.parametrize(
    ("weeks", "frequency", "every"),
    [
        ([4, 4, 5] * 12, "M", "4 or 5"),
        ([4, 4, 5] * 11 + [4, 4, 6] + [4, 4, 5] * 8, "M", "4 to 6"),
        ([13] * 20, "3M", "13"),
    ],
)
def test_months_of_whole_weeks_are_reported(weeks: list[int], frequency: str, every: str) -> None:
    starts = np.datetime64("2021-01-03") + np.cumsum(weeks).astype("timedelta64[W]")
    params = with_times([str(day) for day in starts])
    assert str(params.frequency) == frequency
    assert any(f"Rows come every {every} weeks and are read as calendar months" in note for note in params.notes)
    months = with_times([f"{day}-03" for day in np.arange("2021-01", "2024-01", dtype="datetime64[M]")])
    assert not any("weeks" in note for note in months.notes)


@pytest.mark.parametrize(
    ("weeks", "reason"),
    [([4, 4, 5] * 40, "every 4 or 5 weeks, as the months of a 4-4-5"), ([52] * 20, "step is 364 days")],
)
def test_years_of_whole_weeks_drift_away_from_the_calendar(weeks: list[int], reason: str) -> None:
    starts = np.datetime64("2000-01-03") + np.cumsum(weeks).astype("timedelta64[W]")
    with pytest.raises(InferenceError, match=reason):
        with_times([str(day) for day in starts])


def test_sparse_sales_are_daily() -> None:
    generator = random.Random(1)
    days = sorted(generator.sample(range(400), 100))
    start = dt.date(2024, 1, 1)
    assert str(with_times([str(start + dt.timedelta(days=day)) for day in days]).frequency) == "D"


@pytest.mark.parametrize(
    ("name", "horizon"),
    {
        "1min": 60,
        "10min": 60,
        "30min": 48,
        "H": 48,
        "6H": 8,
        "D": 14,
        "W": 13,
        "M": 18,
        "3M": 6,
        "Y": 6,
        "23H": 4,
    }.items(),
)
def test_default_horizons(name: str, horizon: int) -> None:
    assert default_horizon(Frequency.parse(name)) == horizon


# --- any sample


cells = st.sampled_from(["", "a", "b", "1", "2.5", "2024-01-01", "2024-01-02", "03/04/2024", "NaN", "12:30", "2024"])
tables = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.none() | st.lists(st.sampled_from(["timestamp", "item_id", "demand", "x", "date", "type", "id"]),
                             min_size=width, max_size=width),
        st.lists(st.lists(cells, min_size=width, max_size=width), max_size=12),
    )
)  # fmt: skip


@pytest.mark.process
@given(tables)
def test_any_sample_is_understood_or_refused_but_never_crashes(table: tuple[list[str] | None, list[list[str]]]) -> None:
    header, rows = table
    try:
        params = infer(header, rows)
    except InferenceError as refusal:
        message = str(refusal)
    else:
        assert parse_params(to_document(params)) == params
        return
    assert message
