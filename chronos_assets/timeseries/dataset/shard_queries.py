"""SQL over a dataset's shards, one after another: only one need be on this machine at a time.

Elsewhere: connections and quoting (`duckdb_sql`), reading series (`shards`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronos_assets.timeseries.dataset.duckdb_sql import parquet_rows
from chronos_assets.timeseries.dataset.shards import ShardSource, shard_files

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def insert_from_shards(
    connection: DuckDBPyConnection, table: str, dataset: ShardSource, selected: str, rest: str
) -> None:
    """Insert into a table what a query selects of each shard's rows.

    Args:
        connection: has the table.
        table: its name.
        dataset: whose shards are read.
        selected: the query's expressions.
        rest: what follows its FROM.
    """
    for _, shard in dataset.each(dataset.manifest.shards):
        rows = parquet_rows(*shard_files(shard))
        connection.execute(f"INSERT INTO {table} SELECT {selected} FROM {rows} {rest}")  # noqa: S608 - quoted by the caller
