"""From rows to series on the regular grid: newest file first, aggregation, and the cells that come of it.

Everything works on many series at once in numpy and Arrow. Reading files belongs to `importing`, keeping cells to `cells`,
writing them to `shard_writing`, the grid itself to `frequencies`.

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

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.attributes import Aggregation
from chronos_assets.timeseries.arrays import Floats, Integers
from chronos_assets.timeseries.dataset.repeats import Repeats
from chronos_assets.timeseries.dataset.unfinished import Ends, Extents, Thin, extents, thin_in_series, whole_in_series

# The "last period" of a series that was never observed.
NOTHING = -(1 << 62)

# Aggregates that are off where some of the rows are missing.
_OF_ALL_ROWS = ("sum", "avg")

# Rows of one time that hardly any other time has: the share of times with several rows, at most.
_FEW_DOUBLED = 0.05


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

    @property
    def series(self) -> Integers:
        """(m,) the row of each cell's series among the keys."""
        return np.repeat(np.arange(len(self.first)), self.counts)

    @property
    def ordinals(self) -> Integers:
        """(m,) the period of each cell."""
        return np.repeat(self.first, self.counts) + self.offsets


@dataclass(frozen=True)
class LeftOut:
    """Rows that observe nothing, by period.

    missing: (n, 2) ordinals, ascending, and how many rows without a value there are. lost: (n, 4) ordinals, ranks of the file
    that lost and of the one that won, and how many rows gave way, sorted.
    """

    missing: Integers = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    lost: Integers = field(default_factory=lambda: np.empty((0, 4), dtype=np.int64))

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            *(_added(np.concatenate(pair)) for pair in ((self.missing, other.missing), (self.lost, other.lost)))
        )

    @classmethod
    def of(cls, missing: Integers, lost: Sequence[Integers] = ()) -> LeftOut:
        """Of the ordinals (n,) of rows without a value; and of rows that gave way: ordinals, ranks lost and won, (m,) each."""
        ordinals, counts = np.unique(missing, return_counts=True)
        ways = np.stack([*lost, np.ones(len(lost[0]), np.int64)], axis=1) if lost else np.empty((0, 4), np.int64)
        return cls(np.stack([ordinals, counts], axis=1), _added(ways))


def _added(rows: Integers) -> Integers:
    """Rows that are equal except for their last column as one, with its sum; sorted."""
    if len(rows) < 2:
        return rows
    rows = rows[np.lexsort(rows[:, -2::-1].T)]
    starts = np.flatnonzero(_changes(*rows[:, :-1].T))
    return np.column_stack([rows[starts, :-1], np.add.reduceat(rows[:, -1], starts)])


@dataclass(frozen=True)
class CellCounts:
    """What happened to the rows on their way to cells.

    left_out: rows that gave way to newer files, and rows without a value. aggregated: observed rows beyond the first of their
    period. unfinished: rows of periods that they don't fill, left out. cut: series that lack such a period, though the
    dataset has it. repeated: rows of an hour that clocks show twice. ahead: rows far ahead of all others, left out. thin:
    periods within series that lack rows, left out.
    """

    left_out: LeftOut = field(default_factory=LeftOut)
    aggregated: int = 0
    unfinished: int = 0
    cut: int = 0
    repeated: int = 0
    ahead: int = 0
    thin: Thin = field(default_factory=Thin)

    @property
    def duplicates(self) -> Counter[tuple[int, int]]:
        """Rows that gave way, by (file that lost, file that won), as ranks."""
        found: Counter[tuple[int, int]] = Counter()
        for _, lost, won, count in self.left_out.lost.tolist():
            found[lost, won] += count
        return found

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return int(self.left_out.missing[:, 1].sum())

    def __add__(self, other: CellCounts) -> CellCounts:
        return CellCounts(
            self.left_out + other.left_out,
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
    counts_repeats: whether rows of one series and timestamp are looked for.
    """

    grid: Grid
    method: Aggregation | Literal["mode"]
    snap: int = 0
    step: int | None = None
    repeated: Integers = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    counts_repeats: bool = False


# ---------------------------------------------------------------------------------------------------- aggregation


@dataclass(frozen=True)
class Condensed:
    """Rows of some series in some periods, one entry for each of the m observed (series, period).

    keys: table (k) of item and dimensions; hash: (k,). first: (k,) ordinal of each series' first row. ends: the periods'
    rows, values: (m,) their aggregates, sorted by series and period. left_out, repeated: as in `CellCounts`. repeats: rows of
    one series and timestamp, where the rule counts them.
    """

    keys: pa.Table
    hash: NDArray[np.uint16]
    first: Integers
    ends: Ends
    values: Floats
    left_out: LeftOut
    repeated: int
    repeats: Repeats = field(default_factory=Repeats)


def period_of(instants: Integers, rule: Rule) -> Integers:
    """(n,) ordinals of the periods that rows at these microseconds belong to."""
    return rule.grid.ordinal((instants + rule.snap).astype("datetime64[us]"))


def condense(table: pa.Table, rule: Rule) -> Condensed:
    """The rows of a table by series and period: k0, k1, … (string), instant, value, hash; with several files rank and others.

    rank (int32) says how new a row's file is; rows come in ascending rank and, within a file, in its order.
    """
    names = [name for name in table.column_names if name.startswith("k")]
    codes, first_rows = encode_keys(table.select(names))
    instants = table.column("instant").to_numpy().astype("datetime64[us]").astype(np.int64)
    values = table.column("value").to_numpy()
    hashes = table.column("hash").to_numpy()[first_rows]
    order = _order(codes, instants)
    codes, instants, values = codes[order], instants[order], values[order]
    lost: list[Integers] = []
    if "rank" in table.column_names:
        rank = table.column("rank").to_numpy()[order]
        others = table.column("others").to_numpy()[order]
        winner = _newest(codes, instants, others, rank)
        keep = rank == winner
        if not keep.all():
            lost = [period_of(instants[~keep], rule), rank[~keep].astype(np.int64), winner[~keep].astype(np.int64)]
        codes, instants, values = codes[keep], instants[keep], values[keep]
    ordinals = period_of(instants, rule)
    first = ordinals[np.flatnonzero(_changes(codes))]
    observed = ~np.isnan(values)
    left_out = LeftOut.of(ordinals[~observed], lost)
    if not observed.all():
        codes, ordinals, values, instants = codes[observed], ordinals[observed], values[observed], instants[observed]
    observations, repeated = _without_repeats(codes, instants, values, rule)
    ends = _ends(codes, ordinals, instants)
    _, _, values = _aggregate_periods(codes, ordinals, observations, rule.method)
    keys = table.select(names).take(first_rows)
    repeats = Repeats.of(keys, codes, instants, observations) if rule.counts_repeats else Repeats()
    return Condensed(keys, hashes, first, ends, values, left_out, repeated, repeats)


def join_condensed(parts: Sequence[Condensed]) -> Condensed:
    """Parts of the same series that have no period in common, as one."""
    if len(parts) == 1:
        return parts[0]
    table = pa.concat_tables([part.keys for part in parts]).combine_chunks()
    codes, rows = encode_keys(table)
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
        left_out=sum((part.left_out for part in parts), LeftOut()),
        repeated=sum(part.repeated for part in parts),
        repeats=sum((part.repeats for part in parts), Repeats()),
    )


def cells_of(condensed: Condensed, rule: Rule) -> tuple[Cells, CellCounts, Extents]:
    """The cells of whole series; periods that the rows of a series don't fill have none, see `unfinished`.

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
    account = CellCounts(condensed.left_out, aggregated, unfinished, cut, condensed.repeated, thin=thin)
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
    numbers = cells.ordinals
    kept = ~np.isin(numbers, np.array(ordinals, dtype=np.int64))
    if kept.all():
        return cells
    series = cells.series[kept]
    counts = np.bincount(series, minlength=len(cells.first))
    first = cells.first.copy()
    first[counts > 0] = numbers[kept][np.flatnonzero(_changes(series))]
    offsets = (numbers[kept] - np.repeat(first, counts)).astype(np.int32)
    return Cells(cells.keys, cells.hash, first, counts, offsets, cells.values[kept])


def encode_keys(keys: pa.Table) -> tuple[Integers, Integers]:
    """Codes (n,) of the rows' series, ascending with the key, and (k,) a row for each code."""
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
) -> NDArray[np.int32]:
    """(n,) the rank of the newest file that has a row's series, instant and other columns."""
    moments = np.cumsum(_changes(codes, instants))
    order = np.lexsort((rank, others, moments))
    starts = np.flatnonzero(_changes(moments[order], others[order]))
    ends = np.append(starts[1:], len(order))
    winner = np.empty_like(rank)
    winner[order] = np.repeat(rank[order][ends - 1], ends - starts)
    return winner


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
