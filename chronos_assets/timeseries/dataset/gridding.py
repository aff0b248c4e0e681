"""From rows to series on the regular grid: newest file first, aggregation, gaps, and the shards they are written to.

Everything works on many series at once in numpy and Arrow. Reading files belongs to `importing`, the numbers in the gaps
to `filling`, the grid itself to `frequencies`.

- Rows of different files with the same series and the same instant: only those of the newest file stay, even where its
  target is missing. Columns that play no part must be equal too, so a file for one location does not replace another's.
  Rows of one file are never dropped; they are aggregated.
- A period that the rows of a series, or of the dataset, don't fill has no cell, see `unfinished`.
- Rows in one period are aggregated by `sum`, `avg`, `min`, `max`, or `first` (the earliest instant, then the order of
  the file). Missing values take no part. A period in which nothing was observed has no cell.
- A series goes from its own first observation to the last observation of the whole dataset. A series without any is
  kept, from its first row on, so that a forecast can say that it has nothing to go by.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.dataset.filling import fill_many
from chronos_assets.timeseries.dataset.shards import HASHES, ROW_GROUP, Shard, shard_name
from chronos_assets.timeseries.dataset.unfinished import Ends, Extents, Thin, extents, thin_in_series, whole_in_series

if TYPE_CHECKING:
    import pyarrow as pa

    from chronos_assets.calendar.frequencies import Grid
    from chronos_assets.params.attributes import Aggregation, Filling

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# The "last period" of a series that was never observed.
NOTHING = -(1 << 62)

# Aggregates that are off where some of the rows are missing.
_OF_ALL_ROWS = ("sum", "avg")

# Rows of one time that hardly any other time has: the share of times with several rows, at most.
_FEW_DOUBLED = 0.05

# Grid rows made at once: bounds the memory of a shard, except for a single longer series.
_ROWS_AT_ONCE = 1 << 20


class AggregateOverflowError(ChronosAssetsError, ValueError):
    """The aggregate of a period does not fit a double; key and period say where."""

    def __init__(self, key: tuple[str, ...], ordinal: int) -> None:
        self.key = key
        self.ordinal = ordinal
        super().__init__(f"the aggregate of {key} in period {ordinal} is too large for a double")


@dataclass(frozen=True)
class Cells:
    """k series with their m observed periods, sorted by key.

    keys: table (k) of item and dimensions. hash: (k,) uint16. first: (k,) ordinal of the first cell, or of the first row
    of a series without any. counts: (k,) cells of each series. offsets: (m,) int32, ordinal less `first` of the series.
    values: (m,) float64.
    """

    keys: pa.Table
    hash: NDArray[np.uint16]
    first: Integers
    counts: Integers
    offsets: NDArray[np.int32]
    values: Floats

    @property
    def last(self) -> Integers:
        """(k,) ordinal of the last cell; `NOTHING` for a series without any."""
        last = np.full(len(self.first), NOTHING, dtype=np.int64)
        some = self.counts > 0
        last[some] = self.first[some] + self.offsets[np.cumsum(self.counts)[some] - 1]
        return last


@dataclass(frozen=True)
class CellCounts:
    """What happened to the rows on their way to cells.

    duplicates: rows left out, by (file that lost, file that won), as ranks. missing: rows without a value.
    aggregated: observed rows beyond the first of their period. unfinished: rows of periods that they don't fill, left
    out. cut: series that lack such a period, though the dataset has it. repeated: rows of an hour that clocks show twice.
    ahead: rows far ahead of all others, left out. thin: periods within series that lack rows, left out.
    """

    duplicates: Counter[tuple[int, int]]
    missing: int
    aggregated: int
    unfinished: int = 0
    cut: int = 0
    repeated: int = 0
    ahead: int = 0
    thin: Thin = field(default_factory=Thin)

    def __add__(self, other: CellCounts) -> CellCounts:
        return CellCounts(
            self.duplicates + other.duplicates,
            self.missing + other.missing,
            self.aggregated + other.aggregated,
            self.unfinished + other.unfinished,
            self.cut + other.cut,
            self.repeated + other.repeated,
            self.ahead + other.ahead,
            self.thin + other.thin,
        )


@dataclass(frozen=True)
class Rule:
    """How rows become cells.

    snap: microseconds that a row may come before the period it belongs to. step: between rows, in microseconds, where
    they are known to be finer than periods. repeated: (r, 2) spans of clock time, in microseconds, that occur twice.
    """

    grid: Grid
    method: Aggregation | Literal["mode"]
    snap: int = 0
    step: int | None = None
    repeated: Integers = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))


# ---------------------------------------------------------------------------------------------------- aggregation


@dataclass(frozen=True)
class Condensed:
    """Rows of some series in some periods, one entry for each of the m observed (series, period).

    keys: table (k) of item and dimensions; hash: (k,). first: (k,) ordinal of each series' first row. ends: the periods'
    rows, values: (m,) their aggregates, sorted by series and period. duplicates, missing, repeated: as in `CellCounts`.
    """

    keys: pa.Table
    hash: NDArray[np.uint16]
    first: Integers
    ends: Ends
    values: Floats
    duplicates: Counter[tuple[int, int]]
    missing: int
    repeated: int


def aggregate(tables: Iterable[pa.Table], rule: Rule) -> tuple[Cells, CellCounts, Extents] | None:
    """Cells of the rows in `tables`: k0, k1, … (string), instant, value, hash; with several files also rank and others.

    rank (int32) says how new a row's file is; rows come in ascending rank and, within a file, in its order. Tables have no
    period in common, and only one is held at a time. Periods that the rows of a series don't fill have no cell, see
    `unfinished`. None without rows.

    Raises:
        AggregateOverflowError: a sum is beyond a double's range.
    """
    parts = [condense(table, rule) for table in tables if table.num_rows]
    return cells_of(join_condensed(parts), rule) if parts else None


def period_of(instants: Integers, rule: Rule) -> Integers:
    """(n,) ordinals of the periods that rows at these microseconds belong to."""
    return rule.grid.ordinal((instants + rule.snap).astype("datetime64[us]"))


def condense(table: pa.Table, rule: Rule) -> Condensed:
    """The rows of a table as `aggregate` takes it, by series and period."""
    names = [name for name in table.column_names if name.startswith("k")]
    codes, first_rows = _encode(table.select(names))
    instants = table.column("instant").to_numpy().astype("datetime64[us]").astype(np.int64)
    values = table.column("value").to_numpy()
    hashes = table.column("hash").to_numpy()[first_rows]
    order = _order(codes, instants)
    codes, instants, values = codes[order], instants[order], values[order]
    duplicates: Counter[tuple[int, int]] = Counter()
    if "rank" in table.column_names:
        rank = table.column("rank").to_numpy()[order]
        others = table.column("others").to_numpy()[order]
        keep, duplicates = _newest(codes, instants, others, rank)
        codes, instants, values = codes[keep], instants[keep], values[keep]
    ordinals = period_of(instants, rule)
    first = ordinals[np.flatnonzero(_changes(codes))]
    observed = ~np.isnan(values)
    missing = int(len(values) - np.count_nonzero(observed))
    if missing:
        codes, ordinals, values, instants = codes[observed], ordinals[observed], values[observed], instants[observed]
    values, repeated = _without_repeats(codes, instants, values, rule)
    ends = _ends(codes, ordinals, instants)
    _, _, values = _aggregate_periods(codes, ordinals, values, rule.method)
    keys = table.select(names).take(first_rows)
    return Condensed(keys, hashes, first, ends, values, duplicates, missing, repeated)


def join_condensed(parts: Sequence[Condensed]) -> Condensed:
    """Parts of the same series that have no period in common, as one."""
    import pyarrow as pa

    if len(parts) == 1:
        return parts[0]
    table = pa.concat_tables([part.keys for part in parts]).combine_chunks()
    codes, rows = _encode(table)
    starts = np.cumsum([0, *(len(part.first) for part in parts)])
    mapped = [codes[start:end] for start, end in pairwise(starts.tolist())]
    series = np.concatenate([places[part.ends.codes] for places, part in zip(mapped, parts, strict=True)])
    columns = {
        name: np.concatenate([getattr(part.ends, name) for part in parts])
        for name in ("ordinals", "first", "last", "rows")
    }
    order = np.lexsort((columns["ordinals"], series))
    first = np.full(len(rows), np.iinfo(np.int64).max)
    np.minimum.at(first, codes, np.concatenate([part.first for part in parts]))
    return Condensed(
        keys=table.take(rows),
        hash=np.concatenate([part.hash for part in parts])[rows],
        first=first,
        ends=Ends(series[order], *(column[order] for column in columns.values())),
        values=np.concatenate([part.values for part in parts])[order],
        duplicates=sum((part.duplicates for part in parts), Counter()),
        missing=sum(part.missing for part in parts),
        repeated=sum(part.repeated for part in parts),
    )


def cells_of(condensed: Condensed, rule: Rule) -> tuple[Cells, CellCounts, Extents]:
    """The cells of whole series.

    Raises:
        AggregateOverflowError: a sum is beyond a double's range.
    """
    found, values = condensed.ends, condensed.values
    codes, ordinals = found.codes, found.ordinals
    whole, lacking, periods = _whole(found, rule)
    thin = Thin.of(found, lacking, condensed.keys)
    rows, unfinished = int(found.rows.sum()), int(found.rows[~whole].sum())
    cut = len(np.unique(codes[~whole & (lacking == 0)]))
    if unfinished:
        codes, ordinals, values = codes[whole], ordinals[whole], values[whole]
    counts = np.bincount(codes, minlength=len(condensed.first))
    first = condensed.first.copy()
    first[counts > 0] = ordinals[_changes(codes)]
    if np.isinf(values).any():
        where = int(np.flatnonzero(np.isinf(values))[0])
        key = tuple(column[int(codes[where])].as_py() for column in condensed.keys.columns)
        raise AggregateOverflowError(key, int(ordinals[where]))
    offsets = (ordinals - np.repeat(first, counts)).astype(np.int32)
    cells = Cells(condensed.keys, condensed.hash, first, counts, offsets, values)
    aggregated = rows - unfinished - len(values)
    account = CellCounts(
        condensed.duplicates, condensed.missing, aggregated, unfinished, cut, condensed.repeated, thin=thin
    )
    return cells, account, periods


def _ends(codes: Integers, ordinals: Integers, instants: Integers) -> Ends:
    """The first and last row of each period, of rows sorted by series and instant."""
    starts = np.flatnonzero(_changes(codes, ordinals))
    closes = np.append(starts[1:], len(codes))[: len(starts)]
    return Ends(codes[starts], ordinals[starts], instants[starts], instants[closes - 1], closes - starts)


def _whole(found: Ends, rule: Rule) -> tuple[NDArray[np.bool_], Integers, Extents]:
    """(m,) whether the rows of its series fill a period, (m,) the usual number of rows where they are thin, and all periods."""
    whole, lacking = np.ones(len(found.codes), dtype=bool), np.zeros(len(found.codes), dtype=np.int64)
    if not len(whole):
        return whole, lacking, Extents.joined([])
    head, tail = found.gaps(rule.grid)
    if rule.step is not None or (found.first != found.last).any():
        lacking = thin_in_series(found) if rule.method in _OF_ALL_ROWS else lacking
        whole = whole_in_series(found, head, tail, rule.step) & (lacking == 0)
    return whole, lacking, extents(found, whole, head, tail)


def _without_repeats(codes: Integers, instants: Integers, values: Floats, rule: Rule) -> tuple[Floats, int]:
    """Values of rows sorted by series and instant; two of one time that clocks show twice count half each.

    Only where rows of other times are single, so that a second row is the second hour and no second sale.
    """
    if not len(rule.repeated) or rule.method != "sum" or not len(codes):
        return values, 0
    place = np.searchsorted(rule.repeated[:, 0], instants, side="right") - 1
    inside = (place >= 0) & (instants < rule.repeated[place, 1])
    changes = _changes(codes, instants)
    runs = np.cumsum(changes) - 1
    lengths = np.bincount(runs)
    outside = lengths[runs[~inside & changes]]
    twice = inside & (lengths[runs] == 2)
    if not twice.any() or np.count_nonzero(outside > 1) > _FEW_DOUBLED * len(outside):
        return values, 0
    return np.where(twice, values / 2, values), int(np.count_nonzero(twice))


def drop_periods(cells: Cells, ordinals: Sequence[int]) -> Cells:
    """The cells of all other periods; a series that has no other is kept without any."""
    numbers = np.repeat(cells.first, cells.counts) + cells.offsets
    kept = ~np.isin(numbers, np.array(ordinals, dtype=np.int64))
    if kept.all():
        return cells
    series = np.repeat(np.arange(len(cells.first)), cells.counts)[kept]
    counts = np.bincount(series, minlength=len(cells.first))
    first = cells.first.copy()
    first[counts > 0] = numbers[kept][np.flatnonzero(_changes(series))]
    offsets = (numbers[kept] - np.repeat(first, counts)).astype(np.int32)
    return Cells(cells.keys, cells.hash, first, counts, offsets, cells.values[kept])


def _encode(keys: pa.Table) -> tuple[Integers, Integers]:
    """Codes (n,) of the rows' series, ascending with the key, and (k,) a row for each code."""
    import pyarrow.compute as pc

    codes: Integers = np.zeros(keys.num_rows, dtype=np.int64)
    for column in keys.columns:
        encoded = column.combine_chunks().dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        codes = codes * len(order) + place[encoded.indices.to_numpy()]
        if keys.num_columns > 1:  # back to dense codes, so that the product can't overflow
            codes = np.unique(codes, return_inverse=True)[1]
    rows = np.empty(int(codes.max()) + 1, dtype=np.int64)
    rows[codes[::-1]] = np.arange(len(codes))[::-1]
    return codes, rows


def _order(codes: Integers, instants: Integers) -> NDArray[np.intp] | slice:
    """The stable order by series and instant; a slice of everything when the rows have it already."""
    elapsed = instants - instants.min()
    step = int(np.gcd.reduce(elapsed)) or 1
    elapsed //= step
    span = int(elapsed.max()) + 1
    if (int(codes.max()) + 1) * span >= 1 << 62:
        return np.lexsort((instants, codes))
    together = codes * span + elapsed
    if (together[1:] >= together[:-1]).all():
        return slice(None)
    return np.argsort(together, kind="stable")


def _changes(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) whether a row differs from the one before in any column; true for the first."""
    changes = np.zeros(len(columns[0]), dtype=bool)
    changes[:1] = True
    for column in columns:
        changes[1:] |= column[1:] != column[:-1]
    return changes


def _newest(
    codes: Integers, instants: Integers, others: NDArray[np.uint64], rank: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], Counter[tuple[int, int]]]:
    """(n,) whether a row is of the newest file that has its series, instant and other columns; and who lost to whom."""
    moments = np.cumsum(_changes(codes, instants))
    order = np.lexsort((rank, others, moments))
    starts = np.flatnonzero(_changes(moments[order], others[order]))
    ends = np.append(starts[1:], len(order))
    winner = np.empty_like(rank)
    winner[order] = np.repeat(rank[order][ends - 1], ends - starts)
    keep = rank == winner
    lost, won = rank[~keep].tolist(), winner[~keep].tolist()
    return keep, Counter(zip(lost, won, strict=True))


def _aggregate_periods(
    codes: Integers, ordinals: Integers, values: Floats, method: str
) -> tuple[Integers, Integers, Floats]:
    """One entry for each series and period, from rows sorted by series and instant."""
    starts = np.flatnonzero(_changes(codes, ordinals))
    if len(starts) == len(values):
        return codes, ordinals, values
    with np.errstate(over="ignore"):
        match method:
            case "sum":
                combined = np.add.reduceat(values, starts)
            case "avg":
                combined = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
            case "first":
                combined = values[starts]
            case "min":
                combined = np.minimum.reduceat(values, starts)
            case "max":
                combined = np.maximum.reduceat(values, starts)
            case "mode":
                combined = _most_frequent(values, starts)
            case _:
                raise ValueError(f"aggregation {method!r} is not one of sum, avg, first, min, max, mode")
    return codes[starts], ordinals[starts], combined


def _most_frequent(values: Floats, starts: Integers) -> Floats:
    """The value that each of the stretches beginning at `starts` has most often, the smallest of several."""
    stretches = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
    order = np.lexsort((values, stretches))
    runs = np.flatnonzero(_changes(stretches[order], values[order]))
    lengths = np.diff(np.append(runs, len(values)))
    owners = stretches[order][runs]
    # The longest run of each stretch comes first; equal ones by value.
    best = np.lexsort((values[order][runs], -lengths, owners))
    return values[order][runs][best[np.flatnonzero(_changes(owners[best]))]]


# ------------------------------------------------------------------------------------------------- between phases


class CellStore:
    """Cells by partition: in memory when there is one, otherwise in files of `folder`."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.partitions = partitions
        self._folder = folder
        self._only: Cells | None = None

    def put(self, number: int, cells: Cells) -> None:
        """Keep the cells of one partition; from any thread."""
        if self.partitions == 1:
            self._only = cells
            return
        import pyarrow as pa

        path = str(self._folder / f"keys-{number:05d}.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, cells.keys.schema) as writer:
            writer.write_table(cells.keys)
        for name in ("hash", "first", "counts", "offsets", "values"):
            np.save(self._folder / f"{name}-{number:05d}.npy", getattr(cells, name), allow_pickle=False)

    def of_hashes(self, low: int, high: int) -> Iterator[Cells]:
        """Cells of the partitions that hold series with low <= hash < high; other series are among them."""
        width = HASHES // self.partitions
        for number in range(low // width, -(-high // width)):
            cells = self.get(number)
            if cells is not None:
                yield cells

    def get(self, number: int) -> Cells | None:
        """The cells of one partition, None when no row fell there."""
        if self.partitions == 1:
            return self._only
        path = self._folder / f"keys-{number:05d}.arrow"
        if not path.exists():
            return None
        import pyarrow as pa

        with pa.OSFile(str(path)) as source:
            keys = pa.ipc.open_file(source).read_all()
        names = ("hash", "first", "counts", "offsets", "values")
        arrays = [np.load(self._folder / f"{name}-{number:05d}.npy", allow_pickle=False) for name in names]
        return Cells(keys, *arrays)


def join_cells(parts: Sequence[Cells], low: int, high: int) -> Cells | None:
    """The series with low <= hash < high of all parts, sorted by key; None when there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = [_take(part, np.flatnonzero((part.hash >= low) & (part.hash < high))) for part in parts]
    chosen = [part for part in chosen if len(part.first)]
    if not chosen:
        return None
    if len(chosen) == 1:
        return chosen[0]
    keys = pa.concat_tables([part.keys for part in chosen]).combine_chunks()
    together = Cells(
        keys,
        *(
            np.concatenate([getattr(part, name) for part in chosen])
            for name in ("hash", "first", "counts", "offsets", "values")
        ),
    )
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    return _take(together, order.to_numpy().astype(np.int64))


def _take(cells: Cells, series: Integers) -> Cells:
    """The given series, in the given order."""
    if len(series) == len(cells.first) and (series == np.arange(len(series))).all():
        return cells
    counts = cells.counts[series]
    starts = (np.cumsum(cells.counts) - cells.counts)[series]
    places = _ranges(starts, counts)
    keys = cells.keys.take(series)
    return Cells(keys, cells.hash[series], cells.first[series], counts, cells.offsets[places], cells.values[places])


def _ranges(starts: Integers, counts: Integers) -> Integers:
    """start, start + 1, …, start + count - 1 for each pair, one after another."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))


# --------------------------------------------------------------------------------------------------------- shards


def grid_rows(first: Integers, last: int) -> Integers:
    """(k,) rows of series on the grid, from their first period to the dataset's last, at least one each."""
    return np.maximum(last - first + 1, 1)


def series_digest(cells: Cells, last: int) -> bytes:
    """SHA-256 of series as they were observed, whatever fills their gaps."""
    digest = hashlib.sha256()
    for chunk in _chunks(cells, last):
        _feed(digest, chunk)
    return digest.digest()


def write_shard(
    folder: Path, number: int, cells: Cells, *, names: Sequence[str], grid: Grid, last: int, filling: Filling
) -> Shard:
    """Write the series of one shard to `folder`, on the grid up to the period `last`, gaps filled.

    names: of the key columns on disk. The bytes depend on the arguments and on the version of Arrow only.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *((name, pa.dictionary(pa.int32(), pa.string())) for name in names),
            ("timestamp", pa.timestamp("us")),
            ("target", pa.float64()),
            ("filled", pa.bool_()),
        ]
    )
    path = folder / shard_name(number)
    rows = 0
    # Without the Arrow schema readers see plain strings; the dictionaries are this writer's own affair.
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, store_schema=False) as writer:
        for chunk in _chunks(cells, last):
            table = _on_grid(chunk, schema, grid, last, filling)
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Shard(path.name, rows, len(cells.first), path.stat().st_size, sha256)


def _chunks(cells: Cells, last: int) -> Iterator[Cells]:
    """Runs of series with at most `_ROWS_AT_ONCE` grid rows, or one longer series."""
    rows = np.cumsum(grid_rows(cells.first, last))
    ends = np.cumsum(cells.counts)
    start, total = 0, 0
    while start < len(rows):
        end = max(int(np.searchsorted(rows, total + _ROWS_AT_ONCE, side="right")), start + 1)
        low, high = (int(ends[start - 1]) if start else 0), int(ends[end - 1])
        yield Cells(
            cells.keys.slice(start, end - start),
            cells.hash[start:end],
            cells.first[start:end],
            cells.counts[start:end],
            cells.offsets[low:high],
            cells.values[low:high],
        )
        start, total = end, int(rows[end - 1])


def _feed(digest: Any, cells: Cells) -> None:
    """Add to a digest everything that tells these series from others."""
    for column in cells.keys.columns:
        digest.update("\x1e".join(column.to_pylist()).encode())
    for array in (cells.first, cells.counts, cells.offsets, cells.values):
        digest.update(np.ascontiguousarray(array).data)


def _on_grid(cells: Cells, schema: pa.Schema, grid: Grid, last: int, filling: Filling) -> pa.Table:
    """The rows of some series, in the columns of `schema`."""
    import pyarrow as pa

    first = np.minimum(cells.first, last)
    length = grid_rows(first, last)
    starts = np.cumsum(length) - length
    places = np.repeat(starts, cells.counts) + cells.offsets
    target = np.full(int(length.sum()), np.nan)
    observed = np.zeros(len(target), dtype=bool)
    target[places] = cells.values
    observed[places] = True
    if len(places) < len(target) and (filling.middlefill, filling.backfill) != ("nan", "nan"):
        target = fill_many(target, observed, starts, filling)
    series = np.repeat(np.arange(len(first), dtype=np.int32), length)
    columns = []
    for column in cells.keys.columns:
        # Dimensions repeat between series, but the entries of a dictionary differ.
        texts = column.combine_chunks().dictionary_encode()
        codes = pa.array(texts.indices.to_numpy()[series])
        columns.append(pa.DictionaryArray.from_arrays(codes, texts.dictionary))
    timestamps = grid.start(_ranges(first, length))
    return pa.table([*columns, pa.array(timestamps), pa.array(target), pa.array(~observed)], schema=schema)
