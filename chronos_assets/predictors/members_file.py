"""What a forecast's members are, as rows of a table: how each did, and how much it counts for each item.

Here belongs the file `members.parquet`; the SQL tables over it are described in `platforms.tables`. A row of level `all` is
one of the leaderboard's, of level `item` a member's weight for one series. `member_rank` counts from 1 for the best member; the
ensemble, which is beside its members on the leaderboard, has rank 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from chronos_assets.predictors.predictor import Key, Predictor
from chronos_assets.timeseries.arrays import Floats

MEMBERS = "members.parquet"
COLD_START = "cold start"  # in place of a member
_SERIES_AT_ONCE = 16_384
_VALUES = ("member_weight", "wql", "mase", "coverage_80")

_Row = tuple[str | float | None, ...]


def write_members(
    path: Path, predictor: Predictor, series: Path, dimensions: Sequence[str], cold: Iterable[Key] = ()
) -> int:
    """Write the rows of a forecast's members, in memory that doesn't grow with the number of series.

    Args:
        path: of the file.
        predictor: that made the forecast.
        series: `last_observed.parquet` of the forecast, which has one row for each series that members forecast.
        dimensions: key columns beside `item_id`.
        cold: series that no member forecast, see `cold_start`.

    Returns:
        How many rows were written.
    """
    names = ["item_id", *dimensions]
    text = [(name, pa.string()) for name in ("level", *names, "member")]
    schema = pa.schema([*text, ("member_rank", pa.int64()), *((name, pa.float64()) for name in _VALUES)])

    def table(rows: Sequence[_Row]) -> pa.Table:
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)], schema)

    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        started: list[_Row] = [("item", *key, COLD_START, 1, 1.0, None, None, None) for key in sorted(cold)]
        for rows in chain([_leaderboard(predictor, len(names))], _items(predictor, series, names), [started]):
            file.write_table(table(rows))
            count += len(rows)
    return count


def _leaderboard(predictor: Predictor, width: int) -> list[_Row]:
    """Rows of level `all`; without scores where nothing was learned."""
    if not predictor.leaderboard:
        shares = by_weight(predictor, predictor.weights)
        return [
            ("all", *(None,) * width, member, rank, weight, None, None, None)
            for rank, (member, weight) in enumerate(shares, 1)
        ]
    return [
        ("all", *(None,) * width, row.member, rank, row.weight, row.wql, row.mase, row.coverage)
        for rank, row in enumerate(predictor.leaderboard)
    ]


def _items(predictor: Predictor, series: Path, names: list[str]) -> Iterator[list[_Row]]:
    """Rows of level `item`, of some series at once."""
    from chronos_assets.timeseries.forecast.files import TRAITS, traits_in

    pooled = by_weight(predictor, predictor.weights)
    with pq.ParquetFile(series) as file:
        known = predictor.traits is not None and TRAITS in file.schema_arrow.names
        for batch in file.iter_batches(_SERIES_AT_ONCE, columns=[*names, *([TRAITS] if known else [])]):
            keys: Iterator[Key] = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
            traits = traits_in(pa.Table.from_batches([batch])) if known else [None] * batch.num_rows
            yield [
                ("item", *key, member, rank, weight, None, None, None)
                for key, row in zip(keys, traits, strict=True)
                for rank, (member, weight) in enumerate(_shares(predictor, key, row, pooled), 1)
            ]


def _shares(
    predictor: Predictor, key: Key, traits: Floats | None, pooled: list[tuple[str, float]]
) -> list[tuple[str, float]]:
    own = predictor.weights_of(key, traits)
    return pooled if own is predictor.weights else by_weight(predictor, own)


def by_weight(predictor: Predictor, weights: Floats) -> list[tuple[str, float]]:
    """Members that have a weight with it, the greatest first."""
    shares = [(member, float(weight)) for member, weight in zip(predictor.members, weights, strict=True) if weight > 0]
    return sorted(shares, key=lambda share: (-share[1], share[0]))
