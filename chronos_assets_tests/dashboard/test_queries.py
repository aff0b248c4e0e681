"""Questions to the tables: what each answers, of a store whose numbers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from chronos_assets.dashboard import queries
from chronos_assets.dashboard.choosing import address_of
from chronos_assets.dashboard.queries import Filters, ItemSeries
from chronos_assets.platforms.local import item_zones
from chronos_assets.platforms.local.duck_tables import DuckTables
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets.platforms.tables import SqlTables, TablesError, item_query
from chronos_assets.store_layout import DATABASE_KEY
from chronos_assets_tests.dashboard.stores import EVIL, KEYS, NEW, OLD, full_store

MILK = ItemSeries("milk", (("shop", "north"),))


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> SqlTables:
    root = tmp_path_factory.mktemp("store")
    full_store(root)
    return LocalTables().sql(open_store(root))


def ranked(sql: SqlTables, by: str, filters: Filters | None = None) -> pd.DataFrame:
    shape = queries.columns(sql)
    return queries.ranking(sql, shape, by, filters or Filters(), scored_as_of=OLD, as_of=NEW)


def test_the_shape_of_the_forecast_is_read_from_its_columns(sql: SqlTables) -> None:
    shape = queries.columns(sql)
    assert (shape.keys, shape.quantiles, shape.middle) == (("item_id", "shop"), ("p10", "p50", "p90"), "p50")
    assert shape.bands == (("p10", "p90"),)


@pytest.mark.parametrize("by, first", [
    ("Share of the error", ("bread", "north")),  # its one wild value
    ("Bias (tracking signal)", ("milk", "north")),
    ("Change since the forecast before", ("milk", "north")),
    ("Actuals outside the band", ("milk", "north")),  # too high on both days
    ("Volume", ("milk", "north")),
])  # fmt: skip
def test_each_ranking_begins_with_what_it_is_about(sql: SqlTables, by: str, first: tuple[str, str]) -> None:
    found = ranked(sql, by)
    assert len(found) == len(KEYS)
    assert tuple(found.iloc[0][["item_id", "shop"]]) == first


def test_a_ranking_can_be_of_some_series_only(sql: SqlTables) -> None:
    assert set(ranked(sql, "Volume", Filters("BREAD"))["shop"]) == {"north", "south"}
    assert list(ranked(sql, "Volume", Filters("", (("shop", "south"),)))["item_id"]) == ["bread"]
    assert ranked(sql, "Volume", Filters("' OR 1=1 --")).empty


def test_a_dimension_may_be_called_as_what_is_ranked(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "tables.duckdb") as connection:
        connection.execute(
            "CREATE TABLE forecast AS SELECT 'a' AS item_id, 'big' AS volume, "
            "TIMESTAMP '2024-01-05' AS \"timestamp\", 5.0 AS p50"
        )
        connection.execute(f"CREATE TABLE forecast_history AS SELECT '{OLD}' AS as_of, * FROM forecast")
        connection.execute(f"CREATE TABLE anomalies AS SELECT '{OLD}' AS as_of, 'a' AS item_id, 'big' AS volume")
        connection.execute(
            f"CREATE TABLE accuracy AS SELECT '{OLD}' AS as_of, 'item' AS \"level\", 'a' AS item_id, 'big' AS volume, "
            "'wape' AS metric, 0.5 AS \"value\", 0.6 AS seasonal_naive"
        )
    found = ranked(DuckTables(tmp_path / "tables.duckdb"), "Volume")
    assert found.iloc[0][["volume", "_volume", "wape", "anomalies"]].to_list() == ["big", 5, 0.5, 1]


def test_a_dimension_called_item_is_another_thing_in_an_address() -> None:
    series = ItemSeries("a", (("item", "b"), ("shop", "c")))
    assert address_of(series) == {"item": "a", "item-": "b", "shop": "c"}


def test_a_series_is_found_by_a_part_of_its_name_and_names_are_never_sql(sql: SqlTables) -> None:
    shape = queries.columns(sql)
    assert [series.name for series in queries.search(sql, shape, "REA")] == ["bread / north", "bread / south"]
    assert [series.item for series in queries.search(sql, shape, EVIL)] == [EVIL]
    assert len(queries.search(sql, shape, "")) == len(KEYS)
    assert queries.search(sql, shape, "%") == []


def test_a_series_has_its_history_forecasts_scores_anomalies_and_members(sql: SqlTables) -> None:
    shape = queries.columns(sql)
    bread = ItemSeries("bread", (("shop", "north"),))
    assert len(queries.history(sql, bread)) == 120
    assert list(queries.forecast(sql, shape, MILK)["middle"].unique()) == [56.0]
    assert list(queries.earlier(sql, shape, MILK)["as_of"].unique()) == [OLD, NEW]
    assert list(queries.anomalies(sql, bread)["value"]) == [500.0]
    assert queries.anomalies(sql, MILK)["value"].max() < 500
    scores = queries.item_scores(sql, MILK).set_index("metric")["value"]
    assert scores["tracking_signal"] > 0
    assert queries.weights(sql, bread)["member"].iloc[0] == "npts"
    assert set(queries.leaderboard(sql)["as_of"]) == {NEW}
    assert queries.explanations(sql, MILK)[["attribute", "impact"]].to_numpy().tolist() == [
        ["price", -15.0],
        ["event", 3.0],
    ]
    assert queries.explanations(sql, bread).empty


def test_the_whole_is_the_sum_of_the_series(sql: SqlTables) -> None:
    shape = queries.columns(sql)
    total = queries.forecast_total(sql, shape)
    assert list(total["middle"].unique()) == [20 + 30 + 56 + 50]
    assert len(queries.history_total(sql, 10)) == 10
    assert queries.history_total(sql, 10)["timestamp"].is_monotonic_increasing
    assert len(queries.earlier_total(sql, shape, OLD)) == 48
    assert queries.earlier_total(sql, shape, "2020-01-01").empty
    means = replace(shape, has_mean=True).of_sums  # asked for since: earlier forecasts have none
    assert queries.earlier_total(sql, means, OLD).empty
    assert shape.of_sums == shape
    assert (queries.scored(sql), queries.before(sql, NEW), queries.before(sql, OLD)) == ([OLD], OLD, "")
    segments = queries.segments(sql, OLD)
    assert segments["error_share"].sum() == pytest.approx(1)
    assert list(segments["segment_value"]) == ["north", "south"]


def test_a_damaged_database_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_KEY
    path.parent.mkdir()
    path.write_bytes(b"no database")
    with pytest.raises(TablesError, match=r"forecast.duckdb can't be read .*materialize forecast_tables"):
        LocalTables().sql(open_store(tmp_path)).columns("train")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        LocalTables().sql(open_store(tmp_path))


@pytest.mark.process
def test_who_opened_the_tables_before_a_refresh_reads_on_and_who_opens_them_after_it_sees_the_new_ones(
    tmp_path: Path,
) -> None:
    params = full_store(tmp_path)
    store, tables = open_store(tmp_path), LocalTables()
    old, version = tables.sql(store), tables.version(store)
    (tmp_path / "forecast").unlink()
    tables.refresh(store, params)
    assert tables.version(store) != version
    assert old.rows("SELECT count(*) FROM forecast") == [(4 * 48,)]
    assert tables.sql(store).rows("SELECT count(*) FROM forecast") == [(0,)]


@pytest.mark.process
@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_the_rows_of_an_item_are_found_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(item_zones, "_ROWS", rows)
    full_store(tmp_path)
    tables = LocalTables().sql(open_store(tmp_path))
    for table in (*item_zones.ZONED, "weights"):
        assert tables.item_rows(table, ["item_id"], {"item_id": "bread", "shop": "north"}), table
        names = tables.columns(table)
        for item, shop in (*KEYS, ("", "north"), ("zzz", "north")):
            key = {"item_id": item, "shop": shop}
            statement, values = item_query(table, names, key)
            found = tables.item_rows(table, names, key)
            assert sorted(found, key=repr) == sorted(tables.rows(statement, values), key=repr), (table, item)


def test_nothing_can_be_written_through_it(sql: SqlTables) -> None:
    with pytest.raises(TablesError, match="read-only"):
        sql.rows("DELETE FROM forecast")


def test_sums_are_listed_from_the_broadest_level_on_with_their_forecast(sql: SqlTables) -> None:
    assert queries.sums(sql, NEW) == [("total", "total"), ("brand", "Acme"), ("brand", "Dairy <b>")]
    assert queries.sums(sql, OLD) == []
    found = queries.sum_forecast(sql, queries.columns(sql), NEW, "brand", "Acme")
    assert list(found.iloc[0])[1:] == [50.0, 45.0, 55.0]
    whole = queries.history_total(sql, 3)
    parts = [queries.history_total(sql, 3, Filters(dimensions=(("shop", shop),))) for shop in ("north", "south")]
    pd.testing.assert_series_equal(parts[0]["value"] + parts[1]["value"], whole["value"])
