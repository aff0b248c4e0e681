"""The copy of a forecast that is searched by series answers as the file does, and refuses what isn't a forecast."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_assets.timeseries.forecast.files import ForecastLayout, skipped_table, write_window
from chronos_assets.timeseries.forecast.lookup import DamagedForecastError, ForecastLookup, UnknownSeriesError
from chronos_assets.timeseries.forecast.query import QueryError, SeriesQuestion, query_forecast
from chronos_assets_tests.timeseries.builders import Key, make_params, write_forecast

FIRST = "2014-11-30T22:00"
BAND = {"mean": [2.25, 3.0, 4.0], "p10": [1.0, 2.0, 3.0], "p90": [5.5, 6.0, 1e12]}


def forecast_file(folder: Path, forecasts: dict[Key, Any], *, dimensions: tuple[str, ...] = ()) -> Path:
    return write_forecast(folder / "forecast.parquet", make_params(dimensions=dimensions), FIRST, forecasts)


def test_answers_are_those_of_the_file(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {(name,): BAND for name in ("b", "a", "Z", "é", "", "a/../b", "x' OR 1=1")})
    lookup = ForecastLookup(source)
    for item in ("b", "a", "Z", "é", "", "a/../b", "x' OR 1=1"):
        assert lookup.answer(SeriesQuestion(item)) == query_forecast(source, SeriesQuestion(item))
    for start, end in (
        (datetime(2014, 11, 30, 23), None),
        (None, datetime(2014, 11, 30, 23)),
        (datetime(2014, 11, 30, 22, 30), datetime(2014, 11, 30, 23, 30)),
    ):
        assert lookup.answer(SeriesQuestion("a", start=start, end=end)) == query_forecast(
            source, SeriesQuestion("a", start=start, end=end)
        )


ITEM_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=12)
@given(st.lists(ITEM_IDS, min_size=1, max_size=9, unique=True), ITEM_IDS)
def test_any_item_is_found_and_no_other_one(
    tmp_path_factory: pytest.TempPathFactory, items: list[str], other: str
) -> None:
    folder = tmp_path_factory.mktemp("forecast")
    source = forecast_file(folder, {(item,): {"p50": [float(place)]} for place, item in enumerate(items)})
    lookup = ForecastLookup(source)
    found = [lookup.answer(SeriesQuestion(item))["Forecast"]["Predictions"]["p50"][0]["Value"] for item in items]
    assert found == list(range(len(items)))
    if other not in items:
        with pytest.raises(UnknownSeriesError, match="there is no forecast of item"):
            lookup.answer(SeriesQuestion(other))


def test_dimensions_choose_among_the_series_of_an_item(tmp_path: Path) -> None:
    keys: list[Key] = [("a", "north", "s"), ("a", "south", "s"), ("b", "north", "s")]
    forecasts = {key: {"p50": [float(place)]} for place, key in enumerate(keys)}
    lookup = ForecastLookup(forecast_file(tmp_path, forecasts, dimensions=("store", "size")))

    def value(item: str, **dimensions: str) -> float:
        return float(lookup.answer(SeriesQuestion(item, dimensions))["Forecast"]["Predictions"]["p50"][0]["Value"])

    assert value("a", store="south") == 1.0
    assert value("a", store="north", size="s") == 0.0
    assert value("b") == 2.0  # the only one
    with pytest.raises(QueryError, match=r"several series: .*'north'.*'south'.*give the dimensions"):
        value("a", size="s")
    with pytest.raises(UnknownSeriesError, match=r"no series with .*'west'.*it has .*'north'"):
        value("a", store="west")
    with pytest.raises(QueryError, match="'color' is not a dimension of the forecast; it has store, size"):
        value("a", color="red")


def test_questions_without_an_answer_say_why(tmp_path: Path) -> None:
    lookup = ForecastLookup(forecast_file(tmp_path, {(name,): BAND for name in ("b", "d", "f")}))
    with pytest.raises(UnknownSeriesError, match="no forecast of item 'c'; near it are 'b', 'd', 'f'"):
        lookup.answer(SeriesQuestion("c"))
    with pytest.raises(
        QueryError, match=r"no forecast in that time; it has one from 2014-11-30 22:00:00 to 2014-12-01"
    ):
        lookup.answer(SeriesQuestion("b", start=datetime(2015, 1, 1)))
    with pytest.raises(QueryError, match="is after the end"):
        lookup.answer(SeriesQuestion("b", start=datetime(2015, 1, 2), end=datetime(2015, 1, 1)))


def test_an_empty_forecast_knows_no_item(tmp_path: Path) -> None:
    layout = ForecastLayout(("store",), ("mean", "p50"), 24)
    write_window(tmp_path / "w", layout, np.empty(0, "datetime64[us]"), [], skipped_table([], ["store"]), {})
    lookup = ForecastLookup(tmp_path / "w" / "forecast.parquet")
    assert len(lookup) == 0
    with pytest.raises(UnknownSeriesError, match="the forecast is empty"):
        lookup.answer(SeriesQuestion("a", {"store": "north"}))


def test_a_forecast_of_several_row_groups_is_read_whole(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {(f"{number:03}",): {"p50": [number, number + 0.5]} for number in range(100)})
    pq.write_table(pq.read_table(source), source, row_group_size=15)  # a group may end within a series
    lookup = ForecastLookup(source)
    assert len(lookup) == 100
    points = lookup.answer(SeriesQuestion("077"))["Forecast"]["Predictions"]["p50"]
    assert [point["Value"] for point in points] == [77.0, 77.5]


@pytest.mark.parametrize(
    ("items", "hours", "reason"),
    [
        ("bbaa", "0101", "not in order"),
        ("aaaa", "0101", "not in order"),
        ("aabb", "0102", "same timestamps"),
        ("aab", "010", "same timestamps"),
        ("abab", "0101", "changes within a series"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, items: str, hours: str, reason: str) -> None:
    times = [np.datetime64(f"2024-01-01T0{hour}", "us") for hour in hours]
    table = pa.table({"item_id": list(items), "timestamp": times, "p50": [1.0] * len(items)})
    pq.write_table(table, tmp_path / "forecast.parquet")
    with pytest.raises(DamagedForecastError, match=reason):
        ForecastLookup(tmp_path / "forecast.parquet")


def test_the_copy_leaves_nothing_behind_and_needs_the_file_no_more(tmp_path: Path) -> None:
    source, scratch = forecast_file(tmp_path, {("a",): BAND}), tmp_path / "scratch"
    scratch.mkdir()
    expected = query_forecast(source, SeriesQuestion("a"))
    lookup = ForecastLookup(source, scratch)
    source.unlink()
    assert list(scratch.iterdir()) == []
    assert lookup.answer(SeriesQuestion("a")) == expected
