"""A database in memory on the process's kept DuckDB instance: cheap, and as empty and as bounded as one on its own."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from chronos_assets.timeseries.dataset import duckdb_instances
from chronos_assets.timeseries.dataset.duckdb_sql import first_row, scratch_connection


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The instances that the test makes; it begins and ends without one."""
    made: list[object] = []
    connect = duckdb.connect

    def counted(*arguments: object, **named: object) -> duckdb.DuckDBPyConnection:
        made.append(arguments)
        return connect(*arguments, **named)  # type: ignore[arg-type]

    duckdb_instances._close_kept()
    monkeypatch.setattr(duckdb, "connect", counted)
    yield made
    duckdb_instances._close_kept()


def test_uses_one_after_another_share_an_instance_and_nothing_else(tmp_path: Path, opened: list[object]) -> None:
    with scratch_connection(tmp_path / "a", memory_limit="200MB", threads=2) as connection:
        connection.execute(
            "CREATE TABLE kept AS SELECT 1 AS a; CREATE VIEW seen AS FROM kept; CREATE TEMP TABLE t(a INT)"
        )
        connection.execute("CREATE MACRO twice(x) AS 2 * x; SET TimeZone = 'Asia/Tokyo'; SET threads = 1")
        connection.register("given", pa.table({"a": [1]}))
        connection.execute("FROM range(100000)")  # never read
    with scratch_connection(tmp_path / "b", memory_limit="100MB", threads=2) as connection:
        (tables,) = first_row(connection, "SELECT count(*) FROM duckdb_tables()")
        (views,) = first_row(connection, "SELECT count(*) FROM duckdb_views() WHERE NOT internal")
        (macros,) = first_row(connection, "SELECT count(*) FROM duckdb_functions() WHERE function_name = 'twice'")
        assert (tables, views, macros) == (0, 0, 0)
        with pytest.raises(duckdb.CatalogException):
            connection.execute("FROM given")
        settings = ("memory_limit", "threads", "TimeZone", "enable_progress_bar")
        found = first_row(connection, f"SELECT {', '.join(f'current_setting({name!r})' for name in settings)}")
        assert found[:2] == ("95.3 MiB", 2)
        assert found[2] != "Asia/Tokyo"
        assert found[3] is False
        (spill,) = first_row(connection, "SELECT current_setting('temp_directory')")
        assert Path(spill).parent == tmp_path / "b"
    assert len(opened) == 1
    assert list(tmp_path.glob("*/*")) == []


@pytest.mark.process
def test_uses_at_once_have_an_instance_each(tmp_path: Path, opened: list[object]) -> None:
    with ExitStack() as stack:
        outer = stack.enter_context(scratch_connection(tmp_path, memory_limit="200MB"))
        inner = stack.enter_context(scratch_connection(tmp_path, memory_limit="100MB"))
        outer.execute("CREATE TABLE a AS SELECT 1")
        inner.execute("CREATE TABLE a AS SELECT 2")
        assert [first_row(each, "SELECT current_setting('memory_limit')")[0] for each in (outer, inner)] == [
            "190.7 MiB",
            "95.3 MiB",
        ]
    assert len(opened) == 2

    def count(number: int) -> int:
        with scratch_connection(tmp_path) as connection:
            connection.execute("CREATE TABLE a AS FROM range(?)", [number])
            return int(first_row(connection, "SELECT count(*) FROM a")[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(40))) == list(range(40))


def test_an_instance_whose_use_failed_or_that_spilled_is_not_used_again(tmp_path: Path, opened: list[object]) -> None:
    with pytest.raises(duckdb.Error), scratch_connection(tmp_path) as connection:
        connection.execute("FROM nothing")
    with scratch_connection(tmp_path, memory_limit="20MB", threads=1) as connection:
        connection.execute(
            "CREATE TABLE a AS SELECT range, hash(range)::VARCHAR || repeat('x', 80) AS b FROM range(300000)"
        )
        assert list(tmp_path.glob(".duckdb-*/*")), "nothing was spilled: the test shows nothing"
    assert list(tmp_path.iterdir()) == []
    with scratch_connection(tmp_path) as connection:
        assert first_row(connection, "SELECT 1") == (1,)
    assert len(opened) == 3


def test_a_forked_process_has_an_instance_of_its_own(tmp_path: Path, opened: list[object]) -> None:
    with scratch_connection(tmp_path) as connection:
        connection.execute("SELECT 1")
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # threads of another process would be waited for forever
        try:
            with scratch_connection(tmp_path) as connection:
                right = first_row(connection, "SELECT sum(range) FROM range(1000000)") == (499999500000,)
            duckdb_instances._close_kept()
            os._exit(0 if right and len(opened) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with scratch_connection(tmp_path) as connection:
        assert first_row(connection, "SELECT 1") == (1,)
