"""Covariates without params.json: columns are offered, files beside the train files are declared."""

from dataclasses import replace

import numpy as np
import pytest

from chronos_assets.params.attributes import Attribute
from chronos_assets.params.columns import InferenceError
from chronos_assets.params.covariate_inference import TargetSample, with_metadata, with_related
from chronos_assets.params.forecast import ForecastParams, to_document
from chronos_assets.params.inference import infer
from chronos_assets.params.reader import parse_params

HEADER = ["date", "sku", "demand", "price", "brand", "footfall", "receipt"]


def rows(*, ahead: int = 0) -> list[list[str]]:
    """Twenty days of three items; prices reach `ahead` days further."""
    made = []
    for item in range(3):
        for day in range(1, 21 + ahead):
            later = day > 20
            made.append(
                [
                    f"2024-01-{day:02d}",
                    f"item{item}",
                    "" if later else str(day % 7 + item),
                    str(1.5 + (day + item) % 4),
                    f"brand{item % 2}",
                    "" if later else str(100 + day * item),
                    f"r{item}-{day}",
                ]
            )
    return made


def offered(params: ForecastParams) -> list[str]:
    return [note for note in params.notes if note.startswith("Offered")]


def test_columns_that_may_explain_the_target_are_offered() -> None:
    (note,) = offered(infer(HEADER, rows()))
    assert note == (
        'Offered: other columns may explain the target; to use them, add "Related": ["price", "footfall"], '
        '"Metadata": ["brand"] to Chronos.'
    )


def test_a_column_that_reaches_beyond_the_target_is_known_in_advance() -> None:
    (note,) = offered(infer(HEADER, rows(ahead=3)))
    assert note.endswith("; known in advance, since filled beyond the target's end: price.")


def test_what_is_offered_is_accepted() -> None:
    document = to_document(infer(HEADER, rows()))
    document.setdefault("Chronos", {}).update({"Related": ["price", "footfall"], "Metadata": ["brand"]})
    params = parse_params(document)
    assert params.related is not None
    assert params.metadata is not None
    assert params.related.columns == (Attribute("price", "float"), Attribute("footfall", "float"))
    assert params.metadata.columns == (Attribute("brand", "string"),)


def test_nothing_is_offered_where_nothing_is_left() -> None:
    assert offered(infer(HEADER[:3], [row[:3] for row in rows()])) == []
    assert offered(infer([*HEADER[:3], "flat"], [[*row[:3], "1"] for row in rows()])) == []


TARGET = infer(HEADER[:3], [row[:3] for row in rows()])


def test_related_files_are_declared_by_the_names_of_their_keys() -> None:
    cells = [["item0", "5", "sale", "03/01/2024", "7"], ["item1", "6.5", "", "14/01/2024", "7"]]
    params = with_related(TARGET, ["SKU", "Sell Price", "event", "date", "store_id"], cells)
    assert params.related is not None
    schema = params.related.dataset
    assert schema is not None
    assert (schema.item_column, schema.timestamp_column, schema.timestamp_format) == ("SKU", "date", "dd/MM/yyyy")
    assert schema.covariates == (
        Attribute("Sell_Price", "float"),
        Attribute("event", "string"),
        Attribute("store_id", "string"),
    )
    assert params.notes[-1] == (
        "Guessed: related/ holds related time series: Sell_Price (number), event (category), store_id (category)."
    )


def test_rows_without_an_item_apply_to_all() -> None:
    params = with_related(TARGET, ["date", "oil"], [["2024-01-01", "70.5"], ["2024-01-02", "71"]])
    assert params.related is not None
    assert params.related.dataset is not None
    assert params.related.dataset.item_column is None
    assert params.related.dataset.timestamp_format is None


def test_metadata_files_are_declared() -> None:
    params = with_metadata(TARGET, ["sku", "brand", "size"], [["item0", "a", "1"], ["item1", "b", "2.5"]])
    assert params.metadata is not None
    assert params.metadata.covariates == (Attribute("brand", "string"), Attribute("size", "float"))


def test_texts_over_texts_have_a_header_where_it_names_the_item() -> None:
    for name in ("SKU", "Product"):
        params = with_metadata(TARGET, None, [["brand", name], ["a", "item0"], ["b", "item1"]])
        assert params.metadata is not None
        assert params.metadata.covariates == (Attribute("brand", "string"),)


@pytest.mark.parametrize(
    ("header", "reason"), [(None, "no header"), (["brand", "size"], "is called as the item is"), (["sku"], "but keys")]
)
def test_what_can_not_be_inferred_is_said(header: list[str] | None, reason: str) -> None:
    cells = [["x"] * len(header or ["x"])]
    with pytest.raises(InferenceError, match=reason):
        with_metadata(TARGET, header, cells)


DAYS = [f"{day:02d}" for day in range(1, 13)]


@pytest.mark.parametrize(
    ("header", "form", "reason"),
    [
        (["sku", "date", "price"], ["item0", "01/{}/2024", "1.5"], "day and month can't be distinguished"),
        (["sku", "date", "price"], ["item0", "2024-01-{}T00:00:00+01:00", "1.5"], "are on two clocks"),
        (["sku", "date", "price"], ["item0", "2024-01-{}", "$1.5"], r"numbers with signs, such as \$1.5"),
        (["sku", "date", "share"], ["item0", "2024-01-{}", "15 %"], "numbers with signs"),
        (["Artikel", "date", "price"], ["item0", "2024-01-{}", "1.5"], "rename the one that names the items"),
    ],
)
def test_related_rows_that_would_be_read_wrong_are_refused(header: list[str], form: list[str], reason: str) -> None:
    cells = [[item or form[0], form[1].format(day), form[2]] for item in ("", "item1") for day in DAYS]
    with pytest.raises(InferenceError, match=reason):
        with_related(TARGET, header, cells)
    # A second file that corrects the first repeats nothing.
    if reason.startswith("rename"):
        files = [0] * len(DAYS) + [1] * len(DAYS)
        assert with_related(TARGET, header, cells, files, files).related is not None


def test_dimensions_are_known_in_any_case() -> None:
    made = [[day, item, shop, demand] for day, item, demand, *_ in rows() for shop in ("n", "s")]
    target = infer(["date", "sku", "region", "demand"], made)
    assert target.dimensions == ("region",)
    params = with_related(
        target, ["DATE", "Region", "temp"], [[f"2024-01-{day}", shop, day] for day in DAYS for shop in "ns"]
    )
    related = parse_params(to_document(params)).related
    assert related is not None
    assert related.dataset is not None
    assert (related.dataset.dimensions, related.covariates) == (("region",), (Attribute("temp", "float"),))


HOURLY = "2024-01-01T{:02d}:00:00"


@pytest.mark.parametrize(
    ("train", "related", "said"),
    [
        ("Z", "", "timestamps of related/ are in UTC"),
        ("", "Z", "timestamps of train/ are in UTC"),
        ("+00:00", "", "timestamps of related/ are in UTC"),
        ("Z", "+02:00", None),
        ("", "+02:00", InferenceError),
        ("-05:00", "", InferenceError),
    ],
)
def test_a_clock_that_only_one_side_names_is_said_or_refused(
    train: str, related: str, said: str | type[Exception] | None
) -> None:
    header = ["item_id", "timestamp", "sales"]
    made = [["a", HOURLY.format(hour) + train, str(hour * 7 % 5)] for hour in range(24)]
    params = infer(header, made)
    target = TargetSample.of(params, header, made)
    cells = [["a", HOURLY.format(hour) + related, "1.5"] for hour in range(24)]
    if said is InferenceError:
        with pytest.raises(InferenceError, match="are on two clocks"):
            with_related(params, [*header[:2], "temp"], cells, target=target)
        return
    found = with_related(params, [*header[:2], "temp"], cells, target=target)
    notes = [note for note in found.notes if "in UTC, as those beside them say of themselves" in note]
    assert len(notes) == (said is not None)
    assert all(f"Guessed: {said}" in note for note in notes)


@pytest.mark.parametrize(
    ("header", "item", "timestamp"),
    [
        (["product", "ds", "price"], "product", "ds"),
        (["Item ID", "date", "price"], "Item_ID", "date"),
        (["SKU", "Date", "price"], "SKU", "Date"),
        (["holiday_name", "date", "open"], None, "date"),
        (["name", "day", "open"], None, "day"),
    ],
)
def test_keys_of_other_names_are_those_that_params_json_has(
    header: list[str], item: str | None, timestamp: str
) -> None:
    cells = [[name, f"2024-01-{day}", f"{day}.5"] for day in DAYS for name in (("x", "y") if item else ("x",))]
    params = with_related(TARGET, header, cells)
    for found in (params, parse_params(to_document(params))):
        assert found.related is not None
        assert found.related.dataset is not None
        assert (found.related.dataset.item_column, found.related.dataset.timestamp_column) == (item, timestamp)


MONTH_ENDS = [f"{day}" for day in np.arange("2019-02", "2022-02", dtype="datetime64[M]").astype("datetime64[D]") - 1]
SATURDAYS = [f"{day}" for day in np.arange("2024-01-06", "2024-12-01", 7, dtype="datetime64[D]")]


@pytest.mark.parametrize(
    ("train", "related", "way"),
    [
        (MONTH_ENDS, [f"{time[:7]}-01" for time in MONTH_ENDS], "refused"),
        (MONTH_ENDS, [f"2020-01-{day:02d}" for day in range(1, 29)], "refused"),
        (MONTH_ENDS, MONTH_ENDS, "used"),
        ([f"{time[:7]}-01" for time in MONTH_ENDS], MONTH_ENDS, "used"),
        ([f"{time[:4]}-{time[5:7]}-15" for time in MONTH_ENDS], ["2020-01-01", "2020-05-07"], "said"),
        (SATURDAYS, [f"{np.datetime64(time) - 5}" for time in SATURDAYS], "refused"),
        (SATURDAYS, [f"2024-03-{day:02d}" for day in range(1, 29)], "said"),
        ([f"{np.datetime64(time) - 5}" for time in SATURDAYS], SATURDAYS, "used"),
        (
            [f"2024-03-{day:02d} 06:00" for day in range(1, 29)],
            [f"2024-03-{day:02d}" for day in range(1, 29)],
            "refused",
        ),
        ([f"2024-03-{day:02d} 06:00" for day in range(1, 29)], [f"2024-03-07 {h:02d}:00" for h in range(24)], "used"),
        (
            [f"2024-03-{day:02d} 06:00" for day in range(1, 29)],
            [f"2024-03-{day:02d} 12:00" for day in range(1, 29)],
            "used",
        ),
    ],
)
def test_rows_within_periods_count_for_the_targets_period(train: list[str], related: list[str], way: str) -> None:
    params = infer(["date", "qty"], [[time, f"{place * place % 7}"] for place, time in enumerate(train)])
    cells = [[time, f"{place * place % 5}"] for place, time in enumerate(related)]
    if way == "refused":
        with pytest.raises(
            InferenceError, match=r"would count for the one of .* date both alike, by the start of a period"
        ):
            with_related(params, ["date", "temp"], cells)
        return
    notes = with_related(params, ["date", "temp"], cells).notes
    assert any("would count for the one of" in note for note in notes) == (way == "said")


def test_hours_as_columns_are_no_attributes() -> None:
    header = ["date", *(f"h{hour}" for hour in range(24))]
    with pytest.raises(InferenceError, match="related/: h0, h1, … h23 are the hours of a date"):
        with_related(TARGET, header, [[f"2024-01-{day}", *map(str, range(5, 29))] for day in DAYS])
    lags = ["date", *(f"d{number}" for number in range(1, 8))]  # days of a week, perhaps
    related = with_related(TARGET, lags, [[f"2024-01-{day}", *map(str, range(5, 12))] for day in DAYS]).related
    assert related is not None


def test_columns_called_as_items_are_no_attributes() -> None:
    cells = [[f"2024-01-{day}", "1.5", "2.5"] for day in DAYS]
    with pytest.raises(InferenceError, match="the columns item0, item1 of related/ are called as items"):
        with_related(TARGET, ["date", "item0", "item1"], cells, target=TargetSample.of(TARGET, HEADER[:3], rows()))


def test_of_dates_that_read_both_ways_the_regular_reading_counts() -> None:
    cells = [["item0", f"{month:02d}/01/{year}", "1.5"] for year in (2022, 2023) for month in range(1, 13)]
    params = with_related(TARGET, ["sku", "date", "price"], cells)
    assert params.related is not None
    assert params.related.dataset is not None
    assert params.related.dataset.timestamp_format == "MM/dd/yyyy"
    days = ["05/01", "11/02", "08/03", "11/04", "12/04", "03/05", "04/05", "06/05", "02/06", "11/06", "04/07"]
    irregular = [
        ["item0", f"{day}/2024", "1.5"] for day in days
    ]  # as months before days they are a little more regular
    with pytest.raises(InferenceError, match="day and month can't be distinguished"):
        with_related(TARGET, ["sku", "date", "price"], irregular)
    # What the train files write is what these mean, however irregular: prices of the first days of each month.
    sales = [["item0", f"0{day}/0{month}/2024", "1.5"] for month in range(1, 7) for day in range(1, 5)]
    params = with_related(replace(TARGET, timestamp_format="dd/MM/yyyy"), ["sku", "date", "price"], sales)
    assert params.related is not None
    assert params.related.dataset is not None
    assert params.related.dataset.timestamp_format is None


def test_rows_that_share_a_series_and_a_timestamp_are_reported() -> None:
    cells = [["item0", f"2024-01-{day}", price] for day in DAYS for price in ("1.5", "2.5")]
    assert "(50% repeat one) count as their mean" in with_related(TARGET, ["sku", "date", "price"], cells).notes[-1]


def test_rows_that_a_text_tells_apart_are_not_averaged() -> None:
    params = infer(HEADER, rows())
    made = [[row[0], row[1], shop, row[3]] for row in rows() for shop in ("north", "south")]
    with pytest.raises(InferenceError, match=r"50% of the rows of related/ repeat a timestamp .* differ in shop: keep"):
        with_related(params, ["date", "sku", "shop", "price"], made)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["-999", "4"], "-999 is a value of temp like any other"),
        (["#N/A", "4"], "missing values of temp are written '#N/A'"),
    ],
)
def test_values_of_attributes_are_looked_at_too(values: list[str], said: str) -> None:
    params = infer(HEADER, rows())
    made = [[row[0], row[1], values[number % 6 > 1]] for number, row in enumerate(rows())]
    assert any(said in note for note in with_related(params, ["date", "sku", "temp"], made).notes)
    points = [[row[0], row[1], ("1.234", "987", "640")[number % 3]] for number, row in enumerate(rows())]
    with pytest.raises(InferenceError, match="the point in temp seems to separate thousands"):
        with_related(params, ["date", "sku", "temp"], points)
