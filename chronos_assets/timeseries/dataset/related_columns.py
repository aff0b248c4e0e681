"""Attributes of related time series as cells: rows of a source aggregated to periods of the dataset's grid, out of core.

Elsewhere: reading the rows (`covariate_files`), series of the cells (`related_writing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from chronos_assets.params.attributes import Aggregation, RelatedFilling
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import made_folder
from chronos_assets.timeseries.arrays import Floats, Integers
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.cells import CellStore, join_cells
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows, CovariateSource
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
from chronos_assets.timeseries.dataset.import_passes import by_rank
from chronos_assets.timeseries.dataset.partitioning import PeriodTooLargeError
from chronos_assets.timeseries.dataset.related_notes import refuse_contradictions
from chronos_assets.timeseries.dataset.related_places import Places
from chronos_assets.timeseries.dataset.repeats import Repeats
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.series_keys import ranks_of
from chronos_assets.timeseries.dataset.shards import Manifest

# Of so many series with values one must have some after the dataset's end, for an attribute to be known in advance.
_AHEAD = 10
_ROWS_OF_A_PARTITION = 1_000_000  # that a thread aggregates at once


@dataclass(frozen=True)
class RelatedColumn:
    """One attribute: its cells, by the source's keys.

    texts: of a category, by code; None of numbers. parts: places of the source's keys in the dataset's. is_whole: whether they
    are all of them. extent: of the cells here. places: of rows within periods. repeats: rows of one series and timestamp.
    method: what makes one value of several.
    """

    name: str
    texts: list[str] | None
    filling: RelatedFilling
    store: CellStore[Cells]
    parts: tuple[int, ...]
    is_whole: bool
    extent: Extent
    places: Places
    repeats: Repeats
    method: Aggregation | Literal["mode"]

    @property
    def is_fine(self) -> bool:
        """Whether rows are finer than periods."""
        return self.places.cells > self.places.alone

    def cells(self, low: int, high: int) -> Cells | None:
        """Those of the series with low <= hash < high."""
        return join_cells(list(self.store.of_hashes(low, high)), low, high)


@dataclass(frozen=True)
class Extent:
    """What the cells of an attribute have in common: smallest and largest value, last period.

    series: with any; ahead: those of them with one between the dataset's end and that of the horizon. cells: how many. periods:
    from the first to the last one of each series.
    """

    low: float = np.inf
    high: float = -np.inf
    last: int = NOTHING
    series: int = 0
    ahead: int = 0
    cells: int = 0
    periods: int = 0

    @classmethod
    def of(cls, cells: Cells, end: int, horizon: int) -> Extent:
        """Of cells; ahead are those after the period `end`, up to `horizon`."""
        if not len(cells.values):
            return cls()
        low, high = float(cells.values.min()), float(cells.values.max())
        return cls.of_series(low, high, len(cells.values), cells.first, cells.last, series_ahead(cells, end, horizon))

    @classmethod
    def of_series(cls, low: float, high: float, cells: int, first: Integers, last: Integers, ahead: int) -> Extent:
        """Of series (k,) with their first and last periods, `NOTHING` for a last that is not."""
        some = last != NOTHING
        if not some.any():
            return cls()
        periods = int((last - first + 1)[some].sum())
        return cls(low, high, int(last.max()), int(np.count_nonzero(some)), ahead, cells, periods)

    def __add__(self, other: Extent) -> Extent:
        return Extent(
            min(self.low, other.low),
            max(self.high, other.high),
            max(self.last, other.last),
            self.series + other.series,
            self.ahead + other.ahead,
            self.cells + other.cells,
            self.periods + other.periods,
        )

    @property
    def is_ahead(self) -> bool:
        """Whether values lie after the dataset's end."""
        return 0 < self.series <= _AHEAD * self.ahead

    @property
    def is_sparse(self) -> bool:
        """Whether most periods between the values of a series have none."""
        return 2 * self.cells < self.periods

    @property
    def is_empty(self) -> bool:
        """Whether there is no value at all."""
        return self.last == NOTHING

    @property
    def is_constant(self) -> bool:
        """Whether all values are one."""
        return not self.is_empty and self.low == self.high


def series_ahead(cells: Cells, end: int, horizon: int) -> int:
    """How many series have a cell after the period `end`, up to `horizon`: a row dated years ahead supplies no future."""
    ordinals = cells.ordinals
    return len(np.unique(cells.series[(ordinals > end) & (ordinals <= horizon)]))


def key_parts(source: CovariateSource, params: ForecastParams, dataset: Manifest) -> tuple[int, ...]:
    """Places of a source's keys among those of the dataset."""
    names, own = ("item_id", *dataset.dimensions), source.params
    has_item = own.item_column is not None or params.item_column is None
    return tuple(map(names.index, (*names[:has_item], *own.dimensions)))


def filling_of(source: CovariateSource, params: ForecastParams) -> list[RelatedFilling]:
    """How the attributes of a source are filled."""
    fillings = dict(params.related.filling) if params.related else {}
    return [fillings.get(attribute.name, RelatedFilling()) for attribute in source.covariates]


def related_columns(
    rows: CovariateRows, params: ForecastParams, dataset: Manifest, folder: Path, resources: Resources
) -> Iterator[RelatedColumn]:
    """The attributes of one source, aggregated to periods."""
    source, parts = rows.source, key_parts(rows.source, params, dataset)
    partitions = rows.rows.finish()
    filling = filling_of(source, params)
    stores = [CellStore(made_folder(folder / str(place)), partitions, Cells) for place in range(len(source.covariates))]
    rules = [
        rule_of(params, chosen.aggregation or ("mode" if place in rows.categories else "avg"))
        for place, chosen in enumerate(filling)
    ]

    end = dataset.span(params.grid)[1]

    def work(number: int) -> list[tuple[int, Extent, Places, Repeats]]:
        found = []
        for place, cells, places, repeats in _aggregated(rows, number, rules, has_item=0 in parts):
            stores[place].put(number, cells)
            found.append((place, Extent.of(cells, end, end + params.horizon), places, repeats))
        return found

    extents, places, repeats = [Extent() for _ in stores], [Places() for _ in stores], [Repeats() for _ in stores]
    if rows.rows.rows:
        try:
            for found in resources.each("aggregate", work, partitions):
                for place, extent, within, again in found:
                    extents[place] += extent
                    places[place] += within
                    repeats[place] += again
        except AggregateOverflowError as error:
            reason = f"the aggregate of {', '.join(error.key)} is beyond a double"
            raise ImportFailure([FileProblem("related/", reason, "look for wrong values")], what=source.what) from error
        except PeriodTooLargeError as error:
            reason = f"one period has {error.rows:,} rows of a few series"
            fix = "set CHRONOS_MEMORY_LIMIT higher, or aggregate them beforehand"
            raise ImportFailure([FileProblem("related/", reason, fix)], what=source.what) from error
    for place, attribute in enumerate(source.covariates):
        categories = rows.categories.get(place)
        if categories is not None and not source.is_target:
            refuse_contradictions(attribute.name, repeats[place], categories.texts)
        yield RelatedColumn(
            name=attribute.name,
            texts=None if categories is None else categories.texts,
            filling=filling[place],
            store=stores[place],
            parts=parts,
            is_whole=len(parts) == 1 + len(dataset.dimensions),
            extent=extents[place],
            places=places[place],
            repeats=repeats[place],
            method=rules[place].method,
        )


def rule_of(params: ForecastParams, method: Aggregation | Literal["mode"] = "avg") -> Rule:
    """How rows of covariates become cells."""
    snap = 0 if params.snap_seconds is None else round(params.snap_seconds * 1_000_000)
    return Rule(params.grid, method, snap, counts_repeats=True)


def _aggregated(
    rows: CovariateRows, number: int, rules: Sequence[Rule], *, has_item: bool
) -> Iterator[tuple[int, Cells, Places, Repeats]]:
    """The cells of one partition by place of the attribute, where their rows lie within periods, and which repeat others."""
    condensed: list[list[Condensed]] = [[] for _ in rules]
    # Of several texts in a period one is chosen by their order as texts: that of their codes depends on other rows.
    ordered = {place: ranks_of(categories.texts) for place, categories in rows.categories.items()}
    for table in rows.rows.read_parts(number, _ROWS_OF_A_PARTITION, partial(period_of, rule=rules[0])):
        if not table.num_rows:
            continue
        # Without an item of their own the rows have a constant one, which must not be taken for a key.
        keys = [name for name in table.column_names if name.startswith("k") and (has_item or name != "k0")]
        keys = keys or ["k0"]
        shared = [*keys, "instant", "hash", "rank", "others"]
        for place, rule in enumerate(rules):
            view = by_rank(table).select([*shared, f"v{place}"]).rename_columns([*shared, "value"])
            if place in ordered:
                codes = view.column("value").to_numpy()
                view = view.set_column(len(shared), "value", pa.array(_renumbered(codes, ordered[place][0])))
            condensed[place].append(condense(view, rule))
    for place, rule in enumerate(rules):
        if condensed[place]:
            joined = join_condensed(condensed[place])
            cells = cells_of(joined, rule)[0]
            if place in ordered:
                cells = replace(cells, values=_renumbered(cells.values, ordered[place][1]))
                joined = replace(joined, repeats=joined.repeats.renumbered(ordered[place][1]))
            yield place, cells, Places.of(joined.ends, rule.grid), joined.repeats


def _renumbered(codes: Floats, numbers: Integers) -> Floats:
    """Codes by other numbers, (n,) of all of them; NaN stays."""
    found = np.full(len(codes), np.nan)
    there = ~np.isnan(codes)
    found[there] = numbers[codes[there].astype(np.int64)]
    return found
