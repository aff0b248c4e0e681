"""Questions about one item: the old service's answer, and errors that help."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_assets.timeseries.forecast.query import QueryError, SeriesQuestion, in_utc, query_forecast, render_table
from chronos_assets_tests.timeseries.builders import Key, make_params, write_forecast

FIRST = "2014-11-30T22:00"
BAND = {"mean": [2.25, 3.0, 4.0], "p10": [1.0, 2.0, 3.0], "p90": [5.5, 6.0, 1e12]}


def forecast_file(folder: Path, forecasts: dict[Key, Any], *, dimensions: tuple[str, ...] = ()) -> Path:
    return write_forecast(folder / "forecast.parquet", make_params(dimensions=dimensions), FIRST, forecasts)


def test_answers_in_the_shape_of_query_forecast(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {("client_1",): BAND, ("client_12",): {name: [0.0] * 3 for name in BAND}})
    answer = query_forecast(source, SeriesQuestion("client_1", start=datetime(2014, 11, 30, 23)))
    assert answer == {
        "Forecast": {
            "Predictions": {
                "p10": [
                    {"Timestamp": "2014-11-30T23:00:00", "Value": 2.0},
                    {"Timestamp": "2014-12-01T00:00:00", "Value": 3.0},
                ],
                "p90": [
                    {"Timestamp": "2014-11-30T23:00:00", "Value": 6.0},
                    {"Timestamp": "2014-12-01T00:00:00", "Value": 1e12},
                ],
                "mean": [
                    {"Timestamp": "2014-11-30T23:00:00", "Value": 3.0},
                    {"Timestamp": "2014-12-01T00:00:00", "Value": 4.0},
                ],
            }
        }
    }
    assert list(answer["Forecast"]["Predictions"]) == ["p10", "p90", "mean"]


def test_start_and_end_are_included(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {("a",): BAND})
    moment = datetime(2014, 11, 30, 23)
    points = query_forecast(source, SeriesQuestion("a", start=moment, end=moment))["Forecast"]["Predictions"]["p10"]
    assert points == [{"Timestamp": "2014-11-30T23:00:00", "Value": 2.0}]
    assert len(query_forecast(source, SeriesQuestion("a"))["Forecast"]["Predictions"]["p10"]) == 3


def test_the_tables_answer_as_the_file_does(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {("a", "x"): BAND}, dimensions=("store",))
    database = tmp_path / "forecast.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE forecast AS FROM read_parquet(?)", [str(source)])
    assert query_forecast(database, SeriesQuestion("a")) == query_forecast(source, SeriesQuestion("a"))


def test_dimensions_choose_among_the_series_of_an_item(tmp_path: Path) -> None:
    keys: list[Key] = [("a", "north", "s"), ("a", "south", "s"), ("b", "north", "s")]
    source = forecast_file(
        tmp_path, {key: {"p50": [float(place)]} for place, key in enumerate(keys)}, dimensions=("store", "size")
    )

    def value(item: str, **dimensions: str) -> float:
        answer = query_forecast(source, SeriesQuestion(item, dimensions=dimensions))
        return float(answer["Forecast"]["Predictions"]["p50"][0]["Value"])

    assert value("a", store="south") == 1.0
    assert value("a", store="north", size="s") == 0.0
    assert value("b") == 2.0  # the only one
    with pytest.raises(QueryError, match=r"several series: .*'north'.*'south'.*give the dimensions"):
        query_forecast(source, SeriesQuestion("a", dimensions={"size": "s"}))
    with pytest.raises(QueryError, match=r"no series with .*'west'.*it has .*'north'"):
        query_forecast(source, SeriesQuestion("a", dimensions={"store": "west"}))
    with pytest.raises(QueryError, match="'color' is not a dimension of the forecast; it has store, size"):
        query_forecast(source, SeriesQuestion("a", dimensions={"color": "red"}))


def test_an_unknown_item_is_answered_with_close_ones(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {(name,): BAND for name in ("client_10", "client_12", "Pump", "zzz")})
    with pytest.raises(QueryError, match=r"no forecast of item 'clinet_12'; did you mean 'client_12', 'client_10'\?"):
        query_forecast(source, SeriesQuestion("clinet_12"))
    with pytest.raises(QueryError, match=r"did you mean 'Pump'\?"):
        query_forecast(source, SeriesQuestion("pump"))
    with pytest.raises(QueryError, match=r"there are 'Pump', 'client_10', 'client_12', 'zzz'$"):
        query_forecast(source, SeriesQuestion("qqq"))


def test_other_questions_without_an_answer_say_why(tmp_path: Path) -> None:
    source = forecast_file(tmp_path, {("a",): BAND})
    with pytest.raises(
        QueryError, match=r"no forecast in that time; it has one from 2014-11-30 22:00:00 to 2014-12-01"
    ):
        query_forecast(source, SeriesQuestion("a", start=datetime(2015, 1, 1)))
    with pytest.raises(QueryError, match=r"no forecast at .* yet; run the job refresh_forecasts"):
        query_forecast(tmp_path / "none.parquet", SeriesQuestion("a"))
    with pytest.raises(QueryError, match="is after the end"):
        query_forecast(source, SeriesQuestion("a", start=datetime(2015, 1, 2), end=datetime(2015, 1, 1)))
    with pytest.raises(QueryError, match="without a time zone"):
        query_forecast(source, SeriesQuestion("a", start=datetime(2015, 1, 2, tzinfo=UTC), end=datetime(2015, 1, 3)))
    empty = forecast_file(tmp_path, {("a",): {"p50": []}})
    with pytest.raises(QueryError, match="the forecast is empty"):
        query_forecast(empty, SeriesQuestion("a"))


ITEM_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@pytest.mark.process
@settings(max_examples=10)
@given(st.lists(ITEM_IDS, min_size=2, max_size=5, unique=True))
def test_any_item_id_is_found_and_its_neighbours_are_not(
    tmp_path_factory: pytest.TempPathFactory, items: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("query")
    source = forecast_file(folder, {(item,): {"p50": [float(place)]} for place, item in enumerate(items[1:])})
    for place, item in enumerate(items[1:]):
        points = query_forecast(source, SeriesQuestion(item))["Forecast"]["Predictions"]["p50"]
        assert [point["Value"] for point in points] == [float(place)]
    with pytest.raises(QueryError):
        query_forecast(source, SeriesQuestion(items[0]))


def test_sql_in_an_item_id_is_only_text(tmp_path: Path) -> None:
    evil = "'; DROP TABLE forecast; --"
    source = forecast_file(tmp_path, {(evil, 'x"y'): BAND}, dimensions=("order",))
    assert query_forecast(source, SeriesQuestion(evil, dimensions={"order": 'x"y'}))["Forecast"]["Predictions"]["p10"]
    with pytest.raises(QueryError, match="did you mean"):
        query_forecast(source, SeriesQuestion(evil + "' OR 1=1"))


def test_renders_a_table_with_aligned_numbers(tmp_path: Path) -> None:
    answer = query_forecast(forecast_file(tmp_path, {("a",): BAND}), SeriesQuestion("a"))
    table = render_table(answer)
    assert table.splitlines() == [
        "timestamp            p10    p90  mean",
        "-------------------  ---  -----  ----",
        "2014-11-30 22:00:00    1    5.5  2.25",
        "2014-11-30 23:00:00    2      6     3",
        "2014-12-01 00:00:00    3  1e+12     4",
    ]
    assert [line[:20] for line in render_table(in_utc(answer)).splitlines()[2:4]] == [
        "2014-11-30 22:00:00Z",
        "2014-11-30 23:00:00Z",
    ]
