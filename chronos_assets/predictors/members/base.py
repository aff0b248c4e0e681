"""What a member of an ensemble is, and the form in which series are given to one.

Here belong the protocol and the arrangement of contexts in rectangular panels. Each member has a module of its own;
seasons are found in `seasons`; how forecasts of several members are combined is decided in `predictors.selection`.

**Row by row.** A series' forecast must not depend on the series beside it: one partition and a range of them, one instance
and several give the same bytes. So a panel's width follows from a series' own length alone, and members use only
elementwise arithmetic and reductions along time on C-ordered arrays, never BLAS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Booleans, Floats, Integers

# Levels that every member forecasts and that are combined; what else is asked for is interpolated between them.
LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
MEDIAN = LEVELS.index(0.5)

LONGEST = 2048  # latest periods that a statistical member reads
COVARIATE_REACH = 2048  # latest periods whose covariates a network reads
_ROWS = 512  # of a panel: what a core's cache holds
_SHORTEST = 8


@dataclass(frozen=True)
class Covariates:
    """What else is known of a series. Numbers are float64, NaN where unknown; categories are text, "" where unknown.

    Attributes:
        periods: latest periods of the context that there are values of; P below.
        past: name -> values at those periods, (P,).
        known: name -> values at those periods and the ones to forecast, (P + horizon,).
        static: name -> the one value of the series.
    """

    periods: int = 0
    past: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    known: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    static: Mapping[str, float | str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.past or self.known)

    def earlier(self, behind: int, horizon: int) -> Covariates:
        """What was known some periods earlier, for the `horizon` that followed then."""
        periods = max(0, self.periods - behind)
        return Covariates(
            periods,
            {name: values[:periods] for name, values in self.past.items()},
            {name: values[: periods + horizon] for name, values in self.known.items()},
            self.static,
        )


@dataclass(frozen=True)
class AttributeForm:
    """What is known of an attribute that changes over time: a `number` or a `category`, and whether in advance."""

    kind: Literal["number", "category"]
    known: bool


@dataclass(frozen=True)
class Contexts:
    """The series to forecast.

    Attributes:
        values: of each series up to its last period, (T,); NaN or infinite where nothing was observed.
        horizon: periods to forecast.
        seasons: candidate seasons in periods, ascending, each at least 2; members test them on the data.
        covariates: of each series; empty where there are none.
        seeds: of each series, for networks that sample; empty where there are none.
        groups: label of each series, for machines on which the rows of a network's pass are not independent.
        whole: the series that these were taken from, and their places there; a changed copy (`replace`) has none.
    """

    values: Sequence[Floats]
    horizon: int
    seasons: tuple[int, ...] = ()
    covariates: Sequence[Covariates] = ()
    seeds: Sequence[int] = ()
    groups: Sequence[Hashable] = ()
    whole: tuple[Contexts, NDArray[np.intp]] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.intp]) -> Contexts:
        """Those at some places; itself where these are all."""
        if len(rows) == len(self):
            return self
        places = rows.tolist()
        some = Contexts(
            [self.values[place] for place in places],
            self.horizon,
            self.seasons,
            [self.covariates[place] for place in places] if self.covariates else (),
            [self.seeds[place] for place in places] if self.seeds else (),
            [self.groups[place] for place in places] if self.groups else (),
        )
        object.__setattr__(some, "whole", (self, rows))
        return some

    @property
    def panels(self) -> Sequence[Panel]:
        """The latest `LONGEST` periods of each series, see `panels_of`."""
        return self.panels_of(LONGEST)

    def panels_of(self, longest: int) -> Sequence[Panel]:
        """The latest `longest` periods of each series that has an observation, in panels of equal width, made once."""
        longest = min(longest, self._widest)
        if longest not in self._panels:
            self._panels[longest] = self._arranged(longest)
        return self._panels[longest]

    def _arranged(self, longest: int) -> Sequence[Panel]:
        if self.whole is None:
            return list(arrange(self.values, longest))
        contexts, rows = self.whole
        places = np.full(len(contexts), -1)
        places[rows] = np.arange(len(rows))
        parts = (panel.take(np.flatnonzero(places[panel.rows] >= 0)) for panel in contexts.panels_of(longest))
        return [replace(part, rows=places[part.rows]) for part in parts if len(part.rows)]

    @cached_property
    def _panels(self) -> dict[int, Sequence[Panel]]:
        """By how many periods they hold at most."""
        return {}

    @cached_property
    def _widest(self) -> int:
        """Columns of a panel that holds every period: reading more makes no other panels."""
        if self.whole is not None:
            return self.whole[0]._widest
        longest = max(map(len, self.values), default=0)
        return panel_width(longest, 2 * (longest + _SHORTEST))


class Member(Protocol):
    """Something that forecasts many series at once; the same series always get the same forecast."""

    @property
    def name(self) -> str:
        """Name in files and tables, unique in a predictor; `members.catalogue` makes the member of a name."""

    def forecast(self, contexts: Contexts) -> Floats:
        """Quantiles (N, horizon, LEVELS) of what follows each context; NaN for series that it can't forecast."""


class InRows(Protocol):
    """What is known of each series of a panel."""

    def take(self, kept: NDArray[np.intp]) -> Self:
        """The same of some of the rows."""


T = TypeVar("T", bound=InRows)
Value = TypeVar("Value", bound=np.generic)


def taken(array: NDArray[Value], kept: NDArray[np.intp]) -> NDArray[Value]:
    """Some rows of an array; itself where these are all."""
    return array if len(kept) == len(array) else array[kept]


@dataclass(frozen=True)
class Panel:
    """Series of similar length, aligned at their last period.

    Attributes:
        rows: place of each series among the contexts, (n,).
        values: (n, width); gaps are interpolated, before the first observation its value is repeated.
        first: column of the first observation, (n,).
        observed: where a value was observed, (n, width).
        whole: the panel that these series were taken from, and their rows there.
    """

    rows: NDArray[np.intp]
    values: Floats
    first: Integers
    observed: Booleans
    whole: tuple[Panel, NDArray[np.intp]] | None = None

    def take(self, kept: NDArray[np.intp]) -> Panel:
        """Those in some rows."""
        values, first, observed = taken(self.values, kept), taken(self.first, kept), taken(self.observed, kept)
        return Panel(self.rows[kept], values, first, observed, (self, kept))

    def once(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """`make(panel, *arguments)`, row by row, made once for several members; by the panel that the series are of."""
        if self.whole is not None:
            panel, kept = self.whole
            return panel.once(make, *arguments).take(kept)
        key = (make, *arguments)
        if key not in self._made:
            self._made[key] = make(self, *arguments)
        found: T = self._made[key]
        return found

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        """By what was made and from what."""
        return {}

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    @cached_property
    def lengths(self) -> Integers:
        """Periods from the first observation to the last column, (n,)."""
        return self.width - self.first

    @cached_property
    def inside(self) -> Booleans:
        """Columns from the first observation on, (n, width)."""
        return np.arange(self.width) >= self.first[:, None]


def arrange(contexts: Sequence[Floats], longest: int) -> Iterator[Panel]:
    """Panels of the contexts, which leave out those without any observation.

    Args:
        contexts: values of each series, (T,).
        longest: at most so many latest periods of each.
    """
    together: dict[int, list[tuple[int, Floats]]] = defaultdict(list)
    for place, context in enumerate(contexts):
        tail = np.asarray(context, dtype=np.float64)[-longest:]
        seen = np.flatnonzero(np.isfinite(tail))
        if len(seen):
            trimmed = tail[seen[0] :]
            together[panel_width(len(trimmed), longest)].append((place, trimmed))
    for width in sorted(together):
        members = together[width]
        for start in range(0, len(members), _ROWS):
            yield _panel(members[start : start + _ROWS], width)


def panel_width(length: int, longest: int) -> int:
    """Columns of the panel of a series: 8, 12, 16, 24, 32, 48, ... and the longest."""
    width = _SHORTEST
    while width < length:
        half = width + width // 2
        width = half if half >= length else 2 * width
    return min(width, longest)


def _panel(members: Sequence[tuple[int, Floats]], width: int) -> Panel:
    values = np.empty((len(members), width))
    observed = np.zeros((len(members), width), dtype=bool)
    first = np.empty(len(members), dtype=np.int64)
    for row, (_, trimmed) in enumerate(members):
        start = width - len(trimmed)
        known = np.isfinite(trimmed)
        places = np.flatnonzero(known)
        first[row] = start
        values[row, :start] = trimmed[0]
        values[row, start:] = np.interp(np.arange(len(trimmed)), places, trimmed[places])
        observed[row, start:] = known
    return Panel(np.array([place for place, _ in members], dtype=np.intp), values, first, observed)


class PanelMember(ABC):
    """A member that forecasts panel by panel; series in none of them get NaN."""

    def forecast(self, contexts: Contexts) -> Floats:
        """See `Member.forecast`."""
        result = np.full((len(contexts), contexts.horizon, len(LEVELS)), np.nan)
        for panel, quantiles in self._panels(contexts):
            result[panel.rows] = quantiles
        return result

    @abstractmethod
    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        """Quantiles (n, horizon, LEVELS) of the series of each panel."""


def row_sum(values: Floats) -> Floats:
    """Sums along the last axis of a C-ordered array, each by the same additions whatever is beside it."""
    return np.asarray(np.ascontiguousarray(values).sum(axis=-1))
