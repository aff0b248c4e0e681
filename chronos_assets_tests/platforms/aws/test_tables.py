"""The tables on AWS: what Athena answers is what the local tables have, and no data become SQL."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from chronos_assets.dashboard import queries
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.platforms.aws.athena import Athena, AthenaError, QueryTiming, literal
from chronos_assets.platforms.aws.glue_tables import projection
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.aws.tables import AthenaTables
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets.platforms.store import StoreError
from chronos_assets.platforms.tables import TABLES, TablesError
from chronos_assets.settings import AwsSettings
from chronos_assets.store_layout import DATABASE_KEY, accuracy_key, anomalies_key, history_key, members_key
from chronos_assets.timeseries.forecast.query import QueryError, SeriesQuestion
from chronos_assets.timeseries.scoring.accuracy import evaluate_partition
from chronos_assets.timeseries.scoring.anomalies import write_anomalies
from chronos_assets.timeseries.scoring.metrics_file import write_metrics
from chronos_assets_tests.aws.moto_server import AwsServer
from chronos_assets_tests.aws.s3_server import S3Server
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    Key,
    MadeSeries,
    make_params,
    write_dataset,
    write_forecast,
    write_members_of,
)

FIRST = "2024-01-03T00:00"
FAST = QueryTiming(first=0.001, most=0.01, limit=20)
SETTINGS = AwsSettings(glue_database="shop")
EVIL = "'; DROP TABLE train; --"


class Twins:
    """A store on this machine and one on AWS, which are given the same."""

    def __init__(self, aws: AwsServer, folder: Path, url: str) -> None:
        self.aws = aws
        self.folder = folder
        self.local = open_store(folder / "local")
        self.remote = S3Store(url, cache=folder / "cache")
        self.clients = aws.clients()
        self.tables = AthenaTables(self.clients, SETTINGS, timing=FAST)
        group = {"ResultConfiguration": {"OutputLocation": f"{url}/.athena/"}}
        self.clients("athena").create_work_group(Name=SETTINGS.athena_workgroup, Configuration=group)

    def publish(self, key: str, staged: Path, data: str | None = None) -> None:
        for number, store in enumerate((self.local, self.remote)):
            copy = self.folder / f"staged-{number}"
            shutil.copytree(staged, copy)
            store.publish(key, copy, data=data)
        shutil.rmtree(staged)

    def dataset(self, params: ForecastParams, keys: list[Key], hours: int = 51) -> None:
        series = [MadeSeries(key, "2024-01-01", np.arange(float(hours)) + place) for place, key in enumerate(keys)]
        values = [float("nan"), 7.0, *range(hours - 2)]
        series[0] = MadeSeries(keys[0], "2024-01-01", values, [True, True] + [False] * (hours - 2))
        staged = write_dataset(self.folder / "staged", params, series)
        self.publish("dataset/target_time_series", staged, "part-*.parquet")

    def forecast(self, key: str, params: ForecastParams, as_of: str, forecasts: dict[Key, Any], data: str = "") -> None:
        staged = self.folder / "staged"
        write_forecast(staged / "forecast.parquet", params, FIRST, forecasts)
        (staged / "skipped.parquet").write_bytes(b"never read by an engine")
        types = sorted(next(iter(forecasts.values())), key=lambda name: (name != "mean", name))
        dimensions = list(params.dimensions)
        manifest: dict[str, Any] = {"as_of": as_of, "dimensions": dimensions, "columns": types, "predictor": {}}
        (staged / "manifest.json").write_text(json.dumps(manifest))
        self.publish(key, staged, data or None)

    def history(self, params: ForecastParams, as_of: str, forecasts: dict[Key, Any]) -> None:
        self.forecast(history_key(as_of), params, as_of, forecasts, "forecast.parquet")

    def current(self, params: ForecastParams, as_of: str, forecasts: dict[Key, Any]) -> None:
        self.history(params, as_of, forecasts)
        self.forecast("forecast", params, as_of, forecasts)

    def accuracy(self, params: ForecastParams, as_of: str) -> None:
        report = evaluate_partition(
            self.local.snapshot(history_key(as_of)) / "forecast.parquet",
            DatasetFolder(self.local.snapshot("dataset/target_time_series")),
            params,
            np.datetime64("2024-01-02T23:00", "us"),
        )
        staged = self.folder / "staged"
        staged.mkdir()
        write_metrics(report, staged / "metrics.parquet")
        (staged / "manifest.json").write_text("{}")
        self.publish(accuracy_key(as_of), staged, "metrics.parquet")
        staged.mkdir()
        path = staged / "anomalies.parquet"
        write_anomalies(report.anomalies, report.series, report.timestamps, params.dimensions, path)
        (staged / "manifest.json").write_text("{}")
        self.publish(anomalies_key(as_of), staged, path.name)

    def members(self, params: ForecastParams, as_of: str, keys: list[Key]) -> None:
        staged = self.folder / "staged"
        staged.mkdir()
        write_members_of(staged / "members.parquet", params, keys)
        self.publish(members_key(as_of), staged)

    def fill(self, params: ForecastParams, keys: list[Key]) -> None:
        self.dataset(params, keys)
        self.current(params, "2024-01-02", {key: band() for key in keys})
        self.accuracy(params, "2024-01-02")
        self.members(params, "2024-01-02", keys)

    def refresh(self, params: ForecastParams) -> dict[str, int]:
        return self.tables.refresh(self.remote, params)

    def ask(self, sql: str, *values: str | datetime) -> list[tuple[Any, ...]]:
        return Athena(self.clients, SETTINGS.glue_database, SETTINGS.athena_workgroup, FAST).rows(sql, values)

    def assert_equal(self, params: ForecastParams) -> None:
        """After a refresh of both, every table and the view have the same columns, comments and rows."""
        assert LocalTables().refresh(self.local, params) == self.refresh(params)
        glue = self.clients("glue")
        with duckdb.connect(str(self.local.local_path(DATABASE_KEY)), read_only=True) as connection:
            for table in TABLES:
                described = connection.execute(
                    "SELECT lower(column_name), comment FROM duckdb_columns() WHERE table_name = ?", [table]
                ).fetchall()
                made = glue.get_table(DatabaseName=SETTINGS.glue_database, Name=table)["Table"]
                columns = [*made["StorageDescriptor"]["Columns"], *made["PartitionKeys"]]
                assert {column["Name"]: column["Comment"] for column in columns} == dict(described)
                names = ", ".join(f'"{name}"' for name, _ in described)
                here = connection.execute(f"SELECT {names} FROM {table}").fetchall()
                assert sorted(self.ask(f"SELECT {names} FROM {table}"), key=repr) == sorted(here, key=repr)


def band(value: float = 20.0) -> dict[str, list[float]]:
    return {"p10": [value - 1] * 3, "p50": [value] * 3, "p90": [value + 1] * 3}


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> str:
    """One for all tests, each of which has a prefix: a bucket's first write takes the server a second."""
    s3_server.client().create_bucket(Bucket="tables")
    return "tables"


@pytest.fixture
def twins(aws: AwsServer, tmp_path: Path, bucket: str) -> Twins:
    return Twins(aws, tmp_path, f"s3://{bucket}/{tmp_path.name}")


def test_tables_and_view_are_those_of_the_local_platform(twins: Twins) -> None:
    params = make_params(dimensions=("Store", "order"))
    assert twins.tables.place(twins.remote) == ""
    twins.assert_equal(params)  # nothing is published yet
    twins.fill(params, [(EVIL, '"', "'"), ("a", EVIL, "*"), ("a", "", "\n")])
    twins.history(params, "2024-01-01", {("a", "x", "y"): {"mean": [1.0, 2.0, 3.0], "p50": [1e-300, 1e300, 0.1]}})
    twins.assert_equal(params)
    # What is missing is NULL, so that SQL's own averages are right.
    assert twins.ask("SELECT count(*), count(target), min(target) FROM train WHERE item_id = ?", EVIL) == [
        (51, 50, 0.0)
    ]
    assert twins.tables.place(twins.remote) == "shop"


def test_a_refresh_without_a_change_updates_nothing(twins: Twins) -> None:
    params = make_params()
    twins.fill(params, [("a",)])
    rows = twins.refresh(params)
    changes = ("CreateTable", "UpdateTable", "CreateDatabase")
    before = [len(twins.aws.calls_of(name)) for name in changes]
    assert twins.refresh(params) == rows
    assert [len(twins.aws.calls_of(name)) for name in changes] == before


def test_a_new_partition_is_there_without_a_call(twins: Twins) -> None:
    params = make_params()
    twins.current(params, "2024-01-02", {("a",): band()})
    twins.refresh(params)
    twins.history(params, "2024-01-03", {("a",): band(30.0)})
    asked = "SELECT as_of, max(p50) FROM forecast_history GROUP BY as_of ORDER BY as_of"
    assert twins.ask(asked) == [("2024-01-02", 20.0), ("2024-01-03", 30.0)]
    twins.history(params, "2024-01-03", {("a",): band(31.0)})
    assert twins.ask(asked) == [("2024-01-02", 20.0), ("2024-01-03", 31.0)]


def test_the_dataset_is_switched_as_a_whole_by_a_refresh(twins: Twins) -> None:
    params = make_params()
    twins.dataset(params, [("a",)])
    twins.refresh(params)
    twins.dataset(params, [("a",), ("b",), ("c",)])
    assert twins.ask("SELECT count(DISTINCT item_id) FROM train") == [(1,)]
    twins.refresh(params)
    assert twins.ask("SELECT count(DISTINCT item_id) FROM train") == [(3,)]


def test_partitions_of_every_cadence_are_found(twins: Twins) -> None:
    params, keys = make_params(), []
    for first, step in (("2024-02-27", 1), ("2023-12-31", 7), ("2024-01-01", 31)):
        moments = [datetime.strptime(first, "%Y-%m-%d") + timedelta(step) * number for number in range(3)]
        added = [moment.strftime("%Y-%m-%d") for moment in moments]
        keys = sorted({*keys, *added})
        for key in added[:2]:
            twins.history(params, key, {("a",): band()})
        twins.refresh(params)
        for key in added[2:]:  # seen without a refresh
            twins.history(params, key, {("a",): band()})
        assert twins.ask("SELECT DISTINCT as_of FROM forecast_history ORDER BY 1") == [(key,) for key in keys]


def test_hourly_partitions_are_registered_where_they_are(twins: Twins) -> None:
    params, hours = make_params(), [f"2024-01-02-{hour}:00" for hour in (21, 22, 23)]
    writes = ("UpdateTable", "BatchCreatePartition", "BatchUpdatePartition", "BatchDeletePartition")
    asked = "SELECT as_of, count(*), max(p50) FROM forecast_history GROUP BY as_of ORDER BY as_of"

    def written() -> dict[str, int]:
        return {name: len(twins.aws.calls_of(name)) for name in writes}

    def locations() -> list[str]:
        pages = twins.clients("glue").get_partitions(DatabaseName="shop", TableName="forecast_history")
        return [page["StorageDescriptor"]["Location"].rpartition("/history/")[2] for page in pages["Partitions"]]

    twins.refresh(params)  # as yet without a partition, so with a projection
    for hour in hours[:2]:  # as an earlier release named them
        twins.forecast(f"history/as_of={hour}", params, hour, {("a",): band()}, "forecast.parquet")
    twins.dataset(params, [("a",)])
    twins.refresh(params)
    assert locations() == ["as_of=2024-01-02-21:00/", "as_of=2024-01-02-22:00/"]
    twins.history(params, hours[1], {("a",): band(30.0)})
    twins.current(params, hours[2], {("a",): band(40.0)})
    twins.members(params, hours[2], [("a",)])
    twins.accuracy(params, hours[2])
    twins.assert_equal(params)
    assert locations() == ["as_of=2024-01-02-21:00/", "as_of=2024-01-02-22%3A00/", "as_of=2024-01-02-23%3A00/"]
    assert twins.ask(asked) == [(hours[0], 3, 20.0), (hours[1], 3, 30.0), (hours[2], 3, 40.0)]
    before = written()
    twins.refresh(params)
    assert written() == before
    # A partition that is gone, and a column that is new in all.
    twins.remote.withdraw(history_key(hours[0]))
    twins.history(params, hours[1], {("a",): {**band(31.0), "mean": [1.0, 2.0, 3.0]}})
    twins.history(params, "2024-01-01", {("a",): band(5.0)})  # of a day, from before the cadence was changed
    twins.refresh(params)
    assert twins.ask(asked) == [("2024-01-01", 3, 5.0), (hours[1], 3, 31.0), (hours[2], 3, 40.0)]


def test_an_error_of_one_partition_in_a_batch_fails_the_refresh(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params()
    twins.history(params, "2024-01-02-21:00", {("a",): band()})
    refused = {"PartitionValues": ["x"], "ErrorDetail": {"ErrorCode": "ResourceNumberLimitExceededException"}}
    glue = twins.clients("glue")
    monkeypatch.setattr(glue, "batch_create_partition", lambda **_: {"Errors": [refused]})
    with pytest.raises(
        StoreError, match=r"refused 1 partitions of forecast_history, the first \['x'\]: ResourceNumber"
    ):
        twins.refresh(params)


def test_the_projection_ends_with_the_present() -> None:
    daily = projection("s3://data/history/", "2024-01-02")
    assert daily["projection.as_of.range"] == "2024-01-02,NOW+1DAYS"
    assert daily["storage.location.template"] == "s3://data/history/as_of=${as_of}/"
    assert projection("s3://data/history/", "")["projection.as_of.range"] == "NOW,NOW+1DAYS"


def test_a_question_is_answered_as_by_the_local_platform(twins: Twins) -> None:
    params = make_params(dimensions=("Store",), mean=True)
    values = {"mean": [2.25, 3.0, 4.0], "p10": [0.1, 2.0, 3.0], "p90": [5.5, 6.0, 1e12]}
    keys: list[Key] = [("client_1", "x"), ("client_12", "x"), ("client_12", "y"), (EVIL, 'x"y?')]
    twins.current(params, "2024-01-02", {key: {name: [*part] for name, part in values.items()} for key in keys})
    twins.refresh(params)
    local = LocalTables()
    for question in (
        SeriesQuestion("client_1"),
        SeriesQuestion("client_12", {"Store": "y"}, datetime(2024, 1, 3, 1), datetime(2024, 1, 3, 1)),
        SeriesQuestion(EVIL, end=datetime(2024, 1, 3, 1)),
        SeriesQuestion(EVIL, {"Store": 'x"y?'}),
    ):
        answer = twins.tables.query(twins.remote, question)
        assert answer == local.query(twins.local, question)
        assert list(answer["Forecast"]["Predictions"]) == ["p10", "p90", "mean"]
    for call in twins.aws.calls_of("StartQueryExecution"):
        assert EVIL not in call["QueryString"]
        assert call["WorkGroup"] == "chronos-assets"


def test_questions_without_an_answer_say_the_same_as_on_the_local_platform(twins: Twins) -> None:
    params = make_params(dimensions=("Store",))
    keys: list[Key] = [("client_12", "x"), ("client_12", "y"), (EVIL, "x")]
    twins.current(params, "2024-01-02", {key: band() for key in keys})
    twins.refresh(params)
    questions: list[tuple[str, dict[str, str], datetime | None]] = [
        ("clinet_12", {}, None),
        ("qqqqqq", {}, None),
        (EVIL + "' OR 1=1", {}, None),
        ("client_12", {}, None),
        ("client_12", {"Store": "west"}, None),
        ("client_12", {"color": "red"}, None),
        ("client_12", {"Store": "x"}, datetime(2030, 1, 1)),
        ("\ud800", {}, None),
    ]
    for item, dimensions, start in questions:
        with pytest.raises(QueryError) as here:
            LocalTables().query(twins.local, SeriesQuestion(item, dimensions=dimensions, start=start))
        with pytest.raises(QueryError) as there:
            twins.tables.query(twins.remote, SeriesQuestion(item, dimensions=dimensions, start=start))
        assert str(there.value) == str(here.value)


def test_a_question_before_the_first_forecast(twins: Twins) -> None:
    with pytest.raises(FileNotFoundError):
        twins.tables.query(twins.remote, SeriesQuestion("a", dimensions={}))


def test_a_file_that_is_no_parquet_fails_the_refresh_and_is_named(twins: Twins) -> None:
    params = make_params()
    twins.fill(params, [("a",)])
    twins.remote.put("history/as_of=2024-01-02/notes.txt", b"somebody's notes")
    with pytest.raises(AthenaError, match=r"notes\.txt.*remove what is no Parquet file"):
        twins.refresh(params)


def test_tables_of_another_store_or_of_somebody_else_are_left_alone(twins: Twins) -> None:
    params = make_params()
    twins.refresh(params)
    other = S3Store(f"{twins.remote.url}/other", cache=twins.folder / "other")
    with pytest.raises(StoreError, match=r"train_shards.*not one of s3://\S+/other but of \S+: set CHRONOS_GLUE"):
        twins.tables.refresh(other, params)
    assert twins.tables.place(other) == ""
    glue = twins.clients("glue")
    glue.delete_table(DatabaseName="shop", Name="accuracy")
    glue.create_table(DatabaseName="shop", TableInput={"Name": "accuracy", "StorageDescriptor": {}})
    with pytest.raises(StoreError, match="but of somebody else"):
        twins.refresh(params)


@pytest.mark.parametrize("operation", ["GetDatabase", "CreateDatabase", "CreateTable"])
def test_what_is_not_permitted_is_reported_with_the_fix(twins: Twins, operation: str) -> None:
    twins.aws.faults.refuse(operation, "AccessDeniedException", "no")
    with pytest.raises(
        StoreError, match=r"Glue database shop .*AccessDenied.*create the database, or set CHRONOS_GLUE"
    ):
        twins.refresh(make_params())


def test_queries_that_can_not_be_started_or_take_too_long(twins: Twins) -> None:
    twins.refresh(make_params())
    clients = twins.clients
    with pytest.raises(AthenaError, match=r"workgroup nowhere.*set CHRONOS_ATHENA_WORKGROUP"):
        Athena(clients, "shop", "nowhere", FAST).rows("SELECT 1")
    with pytest.raises(AthenaError, match="stopped after 0 s"):
        Athena(clients, "shop", "chronos-assets", QueryTiming(limit=0)).rows("SELECT 1")
    assert len(twins.aws.calls_of("StopQueryExecution")) == 1
    with pytest.raises(AthenaError, match=r"TABLE_NOT_FOUND.*materialize forecast_tables"):
        twins.ask("SELECT * FROM nothing")
    for operation in ("GetQueryExecution", "GetQueryResults", "StopQueryExecution"):
        twins.aws.faults.refuse(operation, "AccessDeniedException", "no")
    for _ in range(2):
        with pytest.raises(AthenaError, match=r"Athena query \S+ in shop: AccessDeniedException: no: let the role"):
            twins.ask("SELECT 1")


def test_results_of_many_pages_are_read_to_the_end(twins: Twins) -> None:
    params = make_params()
    twins.dataset(params, [("a",), ("b",)], hours=1200)
    twins.refresh(params)
    assert len(twins.ask('SELECT item_id, "timestamp" FROM train')) == 2400


def test_values_become_literals() -> None:
    assert literal("it's") == "'it''s'"
    assert literal(datetime(2024, 1, 2, 3)) == "timestamp '2024-01-02 03:00:00'"
    with pytest.raises(QueryError, match="longer than Athena"):
        literal("x" * 1023)


def test_a_view_is_as_athena_makes_one(twins: Twins) -> None:
    twins.refresh(make_params())
    view = twins.clients("glue").get_table(DatabaseName="shop", Name="forecast_vs_history")["Table"]
    text = view["ViewOriginalText"].removeprefix("/* Presto View: ").removesuffix(" */")
    document = json.loads(base64.b64decode(text))
    assert (document["catalog"], document["schema"]) == ("awsdatacatalog", "shop")
    assert document["columns"] == [
        {"name": "item_id", "type": "varchar"},
        {"name": "timestamp", "type": "timestamp"},
        {"name": "type", "type": "varchar"},
        {"name": "value", "type": "double"},
    ]


def test_the_dashboards_questions_have_the_same_answers_on_both_platforms(twins: Twins) -> None:
    params = make_params(dimensions=("store",))
    keys: list[Key] = [("bread", "north"), ("bread", "south"), (EVIL, "it's")]
    twins.history(params, "2024-01-01", {key: band(18.0) for key in keys})
    twins.fill(params, keys)
    with pytest.raises(FileNotFoundError):
        twins.tables.version(twins.remote)
    LocalTables().refresh(twins.local, params)
    twins.refresh(params)
    here, there = LocalTables().sql(twins.local), twins.tables.sql(twins.remote)
    assert twins.tables.version(twins.remote) == twins.tables.version(twins.remote)
    shape = queries.columns(here)
    assert queries.columns(there) == shape
    series = queries.ItemSeries(EVIL, (("store", "it's"),))
    ranked = {
        "filters": queries.Filters("", (("store", "north"),)),
        "scored_as_of": "2024-01-02",
        "as_of": "2024-01-02",
    }
    asked: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (queries.scores, ()),
        (queries.scored, ()),
        (queries.before, ("2024-01-02",)),
        (queries.segments, ("2024-01-02",)),
        (queries.values_of, ("store",)),
        (queries.history_total, (10,)),
        (queries.forecast_total, (shape,)),
        (queries.earlier_total, (shape, "2024-01-02")),
        (queries.search, (shape, "READ")),
        (queries.search, (shape, EVIL)),
        (queries.history, (series,)),
        (queries.forecast, (shape, series)),
        (queries.earlier, (shape, series)),
        (queries.anomalies, (series,)),
        (queries.item_scores, (series,)),
        (queries.weights, (series,)),
        (queries.leaderboard, ()),
        *((partial(queries.ranking, **ranked), (shape, by)) for by in queries.RANKINGS),
    ]
    for question, arguments in asked:
        one, other = question(here, *arguments), question(there, *arguments)
        assert _plain(one) == _plain(other), (question, arguments)
        assert len(one) > 0, (question, arguments)
    assert queries.ranking(here, shape, "Volume", **ranked)["relative_change"].iloc[0] == pytest.approx(2 / 18)
    with pytest.raises(TablesError):
        there.rows("SELECT nothing FROM nowhere")
    assert there.columns("nowhere") == ()


def _plain(answer: Any) -> Any:
    """An answer that can be compared: rows of a frame, with missing values as one text."""
    if not isinstance(answer, pd.DataFrame):
        return answer
    return [["missing" if pd.isna(cell) else cell for cell in row] for row in answer.itertuples(index=False)]
