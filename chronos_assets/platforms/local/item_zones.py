"""Where an item's rows lie in the tables of the database: which ranges of rows can hold it.

DuckDB skips row groups by the first 8 bytes of a text's bounds, which are the same for all of product-000001 …
product-100000: without help each question about an item reads every name. Files are sorted by item, so that a table of whole
bounds for each few thousand rows finds the ranges at once.

Belongs here: that table, written and asked. Does not belong here: the tables themselves (`tables`), questions (`duck_tables`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ZONES = "_zones"
ZONED = ("train", "forecast", "forecast_history", "accuracy", "anomalies")
_ROWS = 16_384  # of a zone: a few of DuckDB's vectors


def write_zones(connection: DuckDBPyConnection) -> None:
    """Note the bounds of the items in each stretch of the tables' rows."""
    connection.execute(
        f"CREATE TABLE {ZONES} (table_name VARCHAR, first_row BIGINT, last_row BIGINT, low VARCHAR, high VARCHAR)"
    )
    for table in ZONED:
        connection.execute(
            f"INSERT INTO {ZONES} SELECT '{table}', min(rowid), max(rowid), min(item_id), max(item_id) FROM {table} "  # noqa: S608
            f"WHERE item_id IS NOT NULL GROUP BY rowid // {_ROWS}"
        )


def zones_of(connection: DuckDBPyConnection, table: str, item_id: str) -> list[tuple[int, int]]:
    """First and last row of each stretch of a table that can hold an item, in order; neighbours are put together."""
    found = connection.execute(
        f"SELECT first_row, last_row FROM {ZONES} WHERE table_name = ? AND low <= ? AND high >= ? ORDER BY first_row",  # noqa: S608
        [table, item_id, item_id],
    ).fetchall()
    joined: list[tuple[int, int]] = []
    for first, last in found:
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
