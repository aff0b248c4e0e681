"""forecast.csv: the input's own shape, with a history point that joins each line."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_assets.params.exports import Compression, ExportParams
from chronos_assets.params.forecast import Attribute, ForecastParams
from chronos_assets.params.reader import load_params
from chronos_assets.timeseries.forecast.csv_export import ExportReport, write_forecast_csv
from chronos_assets.timeseries.formulas import count_formulas, harmless
from chronos_assets_tests.timeseries.builders import Key, make_params, write_forecast, write_last_observed

BAND = {"p10": [1.0, 2.0], "p50": [3.0, 4.5], "p90": [5.0, 6.0]}

AWKWARD = ["a,b", 'say "hi"', "two\nlines", "'; DROP TABLE t; --", "", " spaced ", "é", "NULL", "\r", "=1+1"]


def export(
    folder: Path,
    params: ForecastParams,
    forecasts: dict[Key, Any],
    joins: dict[Key, tuple[str, float]] | None,
    first: str = "2024-01-02T00:00",
) -> tuple[ExportReport, list[dict[str, str]]]:
    forecast = write_forecast(folder / "forecast.parquet", params, first, forecasts)
    last = None if joins is None else write_last_observed(folder / "last_observed.parquet", params, joins)
    report = write_forecast_csv(folder, forecast, last, params)
    with (folder / "forecast.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert report.rows == len(rows)
    assert list(report.columns) == (list(rows[0]) if rows else list(report.columns))
    return report, rows


def test_has_the_columns_of_the_input_and_joins_each_type_to_the_history(tmp_path: Path) -> None:
    report, _ = export(tmp_path, make_params(), {("a",): BAND, ("b",): BAND}, {("a",): ("2024-01-01T23:00", 9.25)})
    assert report == ExportReport(15, 2, 1, ("timestamp", "target_value", "item_id", "type"), report.files)
    assert report.files == (tmp_path / "forecast.csv",)
    lines = (tmp_path / "forecast.csv").read_text().splitlines()
    assert lines[:10] == [
        "timestamp,target_value,item_id,type",
        "2024-01-01 23:00:00,9.25,a,p10",
        "2024-01-02 00:00:00,1.0,a,p10",
        "2024-01-02 01:00:00,2.0,a,p10",
        "2024-01-01 23:00:00,9.25,a,p50",
        "2024-01-02 00:00:00,3.0,a,p50",
        "2024-01-02 01:00:00,4.5,a,p50",
        "2024-01-01 23:00:00,9.25,a,p90",
        "2024-01-02 00:00:00,5.0,a,p90",
        "2024-01-02 01:00:00,6.0,a,p90",
    ]
    assert lines[10] == "2024-01-02 00:00:00,1.0,b,p10"  # no last observation, no join


def test_columns_of_the_schema_keep_their_order_and_those_without_a_meaning_stay_empty(tmp_path: Path) -> None:
    params = make_params(
        attributes=(
            Attribute("store", "string"),
            Attribute("price", "float"),
            Attribute("demand", "float"),
            Attribute("sku", "string"),
            Attribute("day", "timestamp"),
        ),
        domain="RETAIL", item_column="sku", timestamp_column="day", target_column="demand", dimensions=("store",),
        frequency="D", timestamp_format="dd.MM.yyyy",
    )  # fmt: skip
    forecasts = {("shoe", "north"): BAND | {"mean": [3.5, 4.0]}, ("shoe", "south"): BAND | {"mean": [1.0, 1.0]}}
    last = {("shoe", "south"): ("2024-01-01", 7.0), ("hat", "north"): ("2024-01-01", 1.0)}
    report, rows = export(tmp_path, params, forecasts, last)
    assert report.columns == ("store", "price", "demand", "sku", "day", "type")
    assert report.joined == 1
    assert {(row["store"], row["sku"], row["price"]) for row in rows} == {("north", "shoe", ""), ("south", "shoe", "")}
    assert [row["type"] for row in rows if row["store"] == "north"] == [
        name for name in ("p10", "p50", "p90", "mean") for _ in range(2)
    ]
    south = [row for row in rows if row["store"] == "south"]
    assert [row["demand"] for row in south if row["day"] == "01.01.2024"] == ["7.0"] * 4


def test_a_single_series_without_an_item_column_has_none_in_the_csv_either(tmp_path: Path) -> None:
    params = make_params(
        item_column=None, attributes=(Attribute("timestamp", "timestamp"), Attribute("target_value", "float"))
    )
    _, rows = export(tmp_path, params, {("group",): BAND}, None)
    assert list(rows[0]) == ["timestamp", "target_value", "type"]


def test_a_column_named_type_stays_the_inputs_own(tmp_path: Path) -> None:
    params = make_params()
    params = make_params(attributes=(*params.attributes, Attribute("Type", "string")))
    _, rows = export(tmp_path, params, {("a",): BAND}, None)
    assert list(rows[0]) == ["timestamp", "target_value", "item_id", "Type", "forecast_type"]
    assert {(row["Type"], row["forecast_type"]) for row in rows} == {("", "p10"), ("", "p50"), ("", "p90")}


def test_timestamps_are_written_as_the_input_writes_them(tmp_path: Path) -> None:
    params = make_params(timestamp_format="yyyy-MM-dd'T'HH:mmXXX", time_zone="Europe/Berlin")
    _, rows = export(tmp_path, params, {("a",): BAND}, {("a",): ("2024-01-01T22:00", 1.0)})
    assert rows[0]["timestamp"] == "2024-01-01T23:00+01:00"


def test_rows_are_in_order_of_time_however_it_is_written(tmp_path: Path) -> None:
    params = make_params(timestamp_format="dd/MM/yyyy HH:mm")
    band = {"p50": [1.0, 2.0, 3.0]}
    _, rows = export(tmp_path, params, {("a",): band}, {("a",): ("2024-01-31T22:00", 0.0)}, first="2024-01-31T23:00")
    assert [row["target_value"] for row in rows] == ["0.0", "1.0", "2.0", "3.0"]
    assert [row["timestamp"][:2] for row in rows] == ["31", "31", "01", "01"]


def test_item_ids_are_data_whatever_they_hold(tmp_path: Path) -> None:
    params = make_params(dimensions=('si"ze',))
    forecasts = {(item, size): BAND for item in AWKWARD for size in ("x,y", "")}
    _, rows = export(tmp_path, params, forecasts, dict.fromkeys(forecasts, ("2024-01-01T23:00", 1.0)))
    assert {(row["item_id"], row['si"ze']) for row in rows} == set(forecasts)
    by_duckdb = duckdb.sql(
        "SELECT DISTINCT item_id FROM read_csv(?, header = true, all_varchar = true, nullstr = '\\N', "
        "quote = '\"', escape = '\"', delim = ',', strict_mode = false)",
        params=[str(tmp_path / "forecast.csv")],
    ).fetchall()
    assert {row[0] for row in by_duckdb} == set(AWKWARD)


ITEM_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@pytest.mark.process
@settings(max_examples=15)
@given(st.lists(ITEM_IDS, min_size=1, max_size=20, unique=True))
def test_any_item_id_comes_back_from_the_csv(tmp_path_factory: pytest.TempPathFactory, items: list[str]) -> None:
    folder = tmp_path_factory.mktemp("export")
    _, rows = export(folder, make_params(), {(item,): {"p50": [1.0]} for item in items}, None)
    assert [row["item_id"] for row in rows] == sorted(items)


def test_the_same_forecast_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    contents = []
    for name in ("plain", "odd [1]*?'; as_of=x"):
        (tmp_path / name).mkdir()
        export(tmp_path / name, make_params(), {(f"item{n}",): BAND for n in range(50)}, None)
        contents.append((tmp_path / name / "forecast.csv").read_bytes())
        assert not list((tmp_path / name).glob(".duckdb*"))
    assert contents[0] == contents[1]


def test_a_forecast_of_nothing_is_a_header(tmp_path: Path) -> None:
    forecast = write_forecast(tmp_path / "forecast.parquet", make_params(), "2024-01-02", {("a",): {"p50": []}})
    assert write_forecast_csv(tmp_path, forecast, None, make_params()).rows == 0
    assert (tmp_path / "forecast.csv").read_text() == "timestamp,target_value,item_id,type\n"


def test_the_real_samples_own_parameters_give_its_own_columns(shared_data: Path, tmp_path: Path) -> None:
    text = (shared_data / "samples/amazon_forecast/testing-data/params.json").read_bytes()
    _, rows = export(
        tmp_path, load_params(text), {("client_12",): BAND}, {("client_12",): ("2015-01-01", 20.5)}, "2015-01-01T01:00"
    )
    assert list(rows[0].values()) == ["2015-01-01 00:00:00", "20.5", "client_12", "p10"]
    assert list(rows[0]) == ["timestamp", "target_value", "item_id", "type"]


FORMULAS = ["=cmd|' /C calc'!A0", "+1", "@SUM(1)", "-x", "\tb", "\r", "-2+3+cmd|' /C calc'!A0", "-1-2"]
PLAIN = ["a=b", "-5", "-.5", "-1e-3", "-", "7", "", "'=x"]


@pytest.mark.parametrize("quoted", [False, True])
def test_names_that_a_spreadsheet_would_run_are_quoted_where_asked_for(tmp_path: Path, quoted: bool) -> None:
    params = replace(make_params(), quote_formulas=quoted)
    _, rows = export(tmp_path, params, {(name,): BAND for name in (*FORMULAS, *PLAIN)}, None)
    assert params.item_column is not None
    expected = {("'" if quoted else "") + name for name in FORMULAS} | set(PLAIN)
    assert {row[params.item_column] for row in rows} == expected


def test_one_rule_says_what_a_spreadsheet_would_run() -> None:
    assert [harmless(name) for name in (*FORMULAS, *PLAIN)] == [*(f"'{name}" for name in FORMULAS), *PLAIN]


def test_names_that_a_spreadsheet_would_run_are_counted() -> None:
    names = [*FORMULAS, *PLAIN]
    assert count_formulas(pa.table({"k0": names})) == len(FORMULAS)
    assert count_formulas(pa.table({"k0": names, "k1": ["=x"] * len(names)})) == len(names)
    assert count_formulas(pa.table({"k0": pa.array([], pa.string())})) == 0


def lines_of(path: Path) -> list[str]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()


@pytest.mark.process
@pytest.mark.parametrize("compression", ["NONE", "GZIP"])
def test_large_exports_come_in_parts_of_bounded_size(tmp_path: Path, compression: Compression) -> None:
    values = np.random.default_rng(0).uniform(size=(20_000, 6))  # digits that gzip can't do much about
    forecasts = {(f"item {number:06}",): {"p50": row} for number, row in enumerate(values)}
    params = make_params()
    forecast = write_forecast(tmp_path / "forecast.parquet", params, "2024-01-02T00:00", forecasts)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    (single,) = write_forecast_csv(whole, forecast, None, params).files
    bounded = replace(params, export=ExportParams(compression=compression, max_megabytes=1))
    report = write_forecast_csv(parted, forecast, None, bounded)
    suffix = ".csv.gz" if compression == "GZIP" else ".csv"
    assert [file.name for file in report.files] == [f"forecast_part{n}{suffix}" for n in range(len(report.files))]
    assert len(report.files) > 1
    assert sorted(parted.iterdir()) == sorted(report.files)
    assert all(file.stat().st_size < 1_200_000 for file in report.files)
    header, *rows = lines_of(single)
    parts = [lines_of(file) for file in report.files]
    assert {part[0] for part in parts} == {header}
    assert [row for part in parts for row in part[1:]] == rows
    # Again, the same bytes: a run that is repeated publishes nothing new.
    again = tmp_path / "again"
    again.mkdir()
    for one, other in zip(write_forecast_csv(again, forecast, None, bounded).files, report.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("export", [ExportParams(), ExportParams(max_megabytes=1), ExportParams(compression="GZIP")])
def test_an_export_of_nothing_has_a_header(tmp_path: Path, export: ExportParams) -> None:
    params = make_params(export=export)
    forecast = write_forecast(tmp_path / "forecast.parquet", params, "2024-01-02T00:00", {("a",): {"p50": []}})
    report = write_forecast_csv(tmp_path, forecast, None, params)
    assert [lines_of(file) for file in report.files] == [["timestamp,target_value,item_id,type"]]
