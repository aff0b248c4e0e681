"""Rows of several files with one series and timestamp, without params.json: corrections, or series of their own."""

import datetime as dt

import pytest

from chronos_assets.params.columns import InferenceError
from chronos_assets.params.inference import infer
from chronos_assets.params.reader import parse_params
from chronos_assets_tests.timeseries.train_drop import Drop, params_for

DAYS = [f"{dt.date(2024, 1, 1) + dt.timedelta(days=number)}" for number in range(60)]


def of_files(header, *files):
    """What is inferred from files, each a list of rows."""
    rows = [row for file in files for row in file]
    places = [number for number, file in enumerate(files) for _ in file]
    return infer(header, rows, files=places, stretches=places)


@pytest.mark.parametrize(
    ("name", "older", "newer"),
    [
        ("status", "prelim", "final"),
        ("export_date", "2024-02-10", "2024-03-01"),
        ("loadedAt", "2024-02-10 03:11:09", "2024-03-01 03:12:44"),
        ("Bemerkung", "", "korrigiert"),
        ("when", "10.02.2024", "01.03.2024"),
    ],
)
def test_a_remark_that_differs_makes_no_other_row(name, older, newer):
    first = [["a", day, "10", older] for day in DAYS[:40]]
    params = of_files(["item_id", "date", "qty", name], first, [["a", day, "12", newer] for day in DAYS[20:]])
    assert [attribute.name for attribute in params.attributes] == ["item_id", "date", "qty"]
    assert (params.item_column, params.dimensions) == ("item_id", ())
    assert any(f"the newest file's count, whatever {name} says" in note for note in params.notes)
    assert not any(name in note for note in params.notes if note.startswith("Offered"))


def test_a_remark_names_no_series_either():
    files = [[[day, "10", DAYS[30 + at]] for day in DAYS[at : at + 30]] for at in range(4)]
    assert of_files(["date", "qty", "export_date"], *files).item_column is None


def test_a_text_that_differs_here_and_there_is_a_remark():
    first, second = ([["a", day, "10", weather] for day in DAYS[:40]] for weather in ("rain", "rain"))
    second[3][3] = "sun"
    params = of_files(["item_id", "date", "qty", "weather"], first, second)
    assert "weather" not in [attribute.name for attribute in params.attributes]


@pytest.mark.parametrize("items", [(), ("a", "b")])
@pytest.mark.parametrize(
    ("column", "names"), [("store", ("1", "2", "3")), ("store", ("EU", "US", "NA")), ("Country", ("EU", "US", "NA"))]
)
def test_a_file_for_each_shop_makes_shops(names, items, column):
    rows = [[[*([item] if items else []), name, day, "10"] for day in DAYS for item in items or "x"] for name in names]
    params = of_files([*(["item_id"] if items else []), column, "date", "qty"], *rows)
    assert {params.item_column, *params.dimensions} == {column, *(["item_id"] if items else [])}


@pytest.mark.parametrize("names", [("1", "2"), ("EU", "US")])
@pytest.mark.parametrize("items", [(), ("a", "b")])
def test_files_of_shops_may_be_corrected_by_later_ones(names, items):
    rows = [
        [[*([item] if items else []), name, day, "10"] for day in days for item in items or "x"]
        for days in (DAYS[:40], DAYS[20:])
        for name in names
    ]
    params = of_files([*(["item_id"] if items else []), "store", "date", "qty"], *rows)
    assert {params.item_column, *params.dimensions} == {"store", *(["item_id"] if items else [])}


@pytest.mark.parametrize("name", ["stage", "state", "source"])
def test_a_text_that_always_differs_may_be_either(name):
    files = [[["a", day, "10", stage] for day in DAYS] for stage in ("one", "two")]
    with pytest.raises(InferenceError, match=r"the same series and timestamp .* which differ in " + name) as refusal:
        of_files(["item_id", "date", "qty", name], *files)
    assert refusal.value.draft is not None
    params = parse_params(refusal.value.draft)
    assert [attribute.name for attribute in params.attributes] == ["item_id", "date", "qty"]


def test_files_that_only_their_names_tell_apart_are_refused():
    files = [[[day, str(10 * at + number % 7)] for number, day in enumerate(DAYS)] for at in range(1, 4)]
    with pytest.raises(InferenceError, match=r"60 times in what was looked at.*which have other values of kwh"):
        of_files(["timestamp", "kwh"], *files)


def test_two_such_files_are_an_export_and_its_correction():
    first, second = ([[day, value] for day in DAYS] for value in ("10", "12"))
    notes = of_files(["timestamp", "kwh"], first, second).notes
    assert any(
        "60 correct kwh (the newest file's counts); if each file is a series of its own" in note for note in notes
    )
    assert not any("correct kwh" in note for note in of_files(["timestamp", "kwh"], first, first).notes)


def values(seed, change=0.0, count=60):
    """Values of a series, as they are in one of its exports."""
    return [str(100 + (number * number * 7 + 13 * seed) % 50 + change * (number % 3)) for number in range(count)]


@pytest.mark.parametrize("grows", [True, False])
def test_exports_that_are_revised_throughout_are_corrections(grows):
    ends = [0 if grows else at for at in range(5)]
    days = [f"{dt.date(2024, 1, 1) + dt.timedelta(days=number)}" for number in range(100)]
    files = [
        [[days[at], values(1, 0.5 * number)[at]] for at in range(end, 40 + 5 * number)]
        for number, end in enumerate(ends)
    ]
    notes = of_files(["timestamp", "kwh"], *files).notes
    assert any("correct kwh (the newest file's counts)" in note for note in notes)


@pytest.mark.parametrize(("factor", "said"), [(1000, True), (10, False)])
def test_files_in_another_unit_are_reported(factor, said):
    first, second = (
        [[item, day, f"{(5 + number % 4) * times}"] for item in "ab" for number, day in enumerate(days)]
        for days, times in ((DAYS[:30], 1), (DAYS[30:], factor))
    )
    notes = of_files(["item_id", "date", "qty"], first, second).notes
    assert (
        any("qty has one unit in all files, though values of a series are about 1,0" in note for note in notes) == said
    )


@pytest.mark.parametrize("count", [2, 3])
def test_files_with_values_of_their_own_are_series(count):
    files = [[[day, value] for day, value in zip(DAYS, values(seed), strict=True)] for seed in range(count)]
    with pytest.raises(InferenceError, match="have other values of kwh: give each series a column"):
        of_files(["timestamp", "kwh"], *files)


def test_a_half_day_at_the_end_of_an_export_is_corrected_by_the_next():
    first, second = [[day, "100"] for day in DAYS[:20]], [[day, "101"] for day in DAYS[19:40]]
    first[-1][1] = "13"
    assert of_files(["timestamp", "kwh"], first, second).item_column is None


def test_constants_are_corrected_by_any_value():
    first, second = ([[day, value] for day in DAYS] for value in ("10", "99"))
    assert of_files(["timestamp", "kwh"], first, second).target_column == "kwh"


@pytest.mark.parametrize(
    ("name", "sums"), [("status", [12, 12]), ("export_date", [12, 12]), ("region", [22, 22]), ("states", [22, 22])]
)
def test_a_remark_of_a_schema_keeps_no_rows_of_files_apart(tmp_path, name, sums):
    header = f"timestamp,target_value,item_id,{name}\n"
    drop = Drop(tmp_path)
    for value, text in ((10, "old"), (12, "new")):
        drop.put(header + "".join(f"2024-01-01 0{hour}:00:00,{value},a,{text}\n" for hour in range(2)))
    drop.run(params_for(columns=("timestamp", "target_value", "item_id", name)))
    assert drop.targets() == {"a": sums}
