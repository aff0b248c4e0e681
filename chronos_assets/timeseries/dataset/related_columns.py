"""Attributes of related time series as cells: rows of a source aggregated to periods of the dataset's grid, out of core.

Elsewhere: reading the rows (`covariate_files`), series of the cells (`related_writing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chronos_assets.params.attributes import RelatedFilling
from chronos_assets.system import made_folder
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.cells import CellStore
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.gridding import (
    NOTHING,
    AggregateOverflowError,
    Cells,
    Condensed,
    Rule,
    cells_of,
    condense,
    join_condensed,
    period_of,
)
from chronos_assets.timeseries.dataset.import_passes import Progress
from chronos_assets.timeseries.dataset.partitioning import PeriodTooLargeError
from chronos_assets.timeseries.dataset.shards import Manifest

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams

# Of so many series with values one must have some after the dataset's end, for an attribute to be known in advance.
_AHEAD = 10
_ROWS_OF_A_PARTITION = 1_000_000  # that a thread aggregates at once


@dataclass(frozen=True)
class RelatedColumn:
    """One attribute: its cells, by the source's keys.

    parts: places of the source's keys in the dataset's. extent: of all cells.
    """

    name: str
    texts: list[str] | None
    filling: RelatedFilling
    store: CellStore[Cells]
    parts: tuple[int, ...]
    is_whole: bool
    extent: _Extent

    @property
    def last(self) -> int:
        """The last period with a value; `NOTHING` without any."""
        return self.extent.last

    @property
    def is_ahead(self) -> bool:
        """Whether its values lie after the dataset's end."""
        return 0 < self.extent.series <= _AHEAD * self.extent.ahead

    @property
    def is_sparse(self) -> bool:
        """Whether most periods between the values of its series have none, and none is filled in."""
        few = 2 * self.extent.cells < self.extent.periods
        return few and self.texts is None and not self.is_constant and self.filling.middlefill == "nan"

    @property
    def is_empty(self) -> bool:
        """Whether it has no value at all."""
        return self.last == NOTHING

    @property
    def is_constant(self) -> bool:
        """Whether all of its values are one."""
        return not self.is_empty and self.extent.low == self.extent.high


def related_columns(
    rows: CovariateRows, params: ForecastParams, dataset: Manifest, folder: Path, threads: int, progress: Progress
) -> Iterator[RelatedColumn]:
    """The attributes of one source, aggregated to periods."""
    source, own = rows.source, rows.source.params
    names = ("item_id", *dataset.dimensions)
    keys = (*((names[0],) if own.item_column is not None or params.item_column is None else ()), *own.dimensions)
    parts = tuple(names.index(name) for name in keys)
    partitions = rows.rows.finish()
    fillings = dict(params.related.filling) if params.related else {}
    filling = [fillings.get(attribute.name, RelatedFilling()) for attribute in source.covariates]
    stores = [CellStore(made_folder(folder / str(place)), partitions, Cells) for place in range(len(source.covariates))]
    snap = 0 if params.snap_seconds is None else round(params.snap_seconds * 1_000_000)
    rules = [
        Rule(params.grid, chosen.aggregation or ("mode" if place in rows.categories else "avg"), snap)
        for place, chosen in enumerate(filling)
    ]
    extents = [_Extent() for _ in stores]
    end = dataset.span(params.grid)[1]

    def work(number: int) -> list[tuple[int, _Extent]]:
        found = []
        for place, cells in _aggregated(rows, number, rules, has_item=names[0] in keys):
            stores[place].put(number, cells)
            found.append((place, _Extent.of(cells, end)))
        return found

    if rows.rows.rows:
        try:
            with ThreadPoolExecutor(threads, thread_name_prefix="related") as pool:
                for done, found in enumerate(pool.map(work, range(partitions)), start=1):
                    for place, each in found:
                        extents[place] = extents[place].joined(each)
                    progress("aggregate", done / partitions)
        except AggregateOverflowError as error:
            reason = f"the aggregate of {', '.join(error.key)} is beyond a double"
            raise ImportFailure([FileProblem("related/", reason, "look for wrong values")], what=source.what) from error
        except PeriodTooLargeError as error:
            reason = f"one period has {error.rows:,} rows of a few series"
            fix = "set CHRONOS_MEMORY_LIMIT higher, or aggregate them beforehand"
            raise ImportFailure([FileProblem("related/", reason, fix)], what=source.what) from error
    for place, attribute in enumerate(source.covariates):
        categories = rows.categories.get(place)
        yield RelatedColumn(
            name=attribute.name,
            texts=None if categories is None else categories.texts,
            filling=filling[place],
            store=stores[place],
            parts=parts,
            is_whole=len(parts) == len(names),
            extent=extents[place],
        )


@dataclass(frozen=True)
class _Extent:
    """What cells have in common: smallest and largest value, last period; series with any, and those of them with one ahead.

    cells: how many; periods: from the first to the last of each series.
    """

    low: float = np.inf
    high: float = -np.inf
    last: int = NOTHING
    series: int = 0
    ahead: int = 0
    cells: int = 0
    periods: int = 0

    @classmethod
    def of(cls, cells: Cells, end: int) -> _Extent:
        """Of cells; ahead are those after the period `end`."""
        if not len(cells.values):
            return cls()
        some, lasts = cells.counts > 0, cells.last
        counts = (int(np.count_nonzero(some)), int(np.count_nonzero(lasts > end)))
        periods = int((lasts - cells.first + 1)[some].sum())
        low, high = float(cells.values.min()), float(cells.values.max())
        return cls(low, high, int(lasts.max()), *counts, len(cells.values), periods)

    def joined(self, other: _Extent) -> _Extent:
        """This and another part of the same attribute."""
        return _Extent(
            min(self.low, other.low),
            max(self.high, other.high),
            max(self.last, other.last),
            self.series + other.series,
            self.ahead + other.ahead,
            self.cells + other.cells,
            self.periods + other.periods,
        )


def _aggregated(
    rows: CovariateRows, number: int, rules: Sequence[Rule], *, has_item: bool
) -> Iterator[tuple[int, Cells]]:
    """The cells of one partition, by place of the attribute."""
    condensed: list[list[Condensed]] = [[] for _ in rules]
    for table in rows.rows.read_parts(number, _ROWS_OF_A_PARTITION, partial(period_of, rule=rules[0])):
        if not table.num_rows:
            continue
        # Without an item of their own the rows have a constant one, which must not be taken for a key.
        keys = [name for name in table.column_names if name.startswith("k") and (has_item or name != "k0")]
        keys = keys or ["k0"]
        shared = [*keys, "instant", "hash", "rank", "others"]
        for place, rule in enumerate(rules):
            view = table.select([*shared, f"v{place}"]).rename_columns([*shared, "value"])
            condensed[place].append(condense(view, rule))
    for place, rule in enumerate(rules):
        if condensed[place]:
            yield place, cells_of(join_condensed(condensed[place]), rule)[0]
