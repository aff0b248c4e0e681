"""The levels above the series of a forecast: which sum each series counts in.

Here: the nodes of each level, made of forecast dimensions and item metadata, and why columns don't make levels.
Elsewhere: forecasts of the sums (`reconciliation`), what `params.json` says of them (`params.reconciliation`).

A **level** is a column: a forecast dimension, or an attribute of the items; a **node** is one of its values. Levels are nested:
all series of a node are in one node of the level above. The total is above all of them. A **leaf** is a node of the last level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.reconciliation import TOTAL
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.wording import some_of

_NAMED = 3


class LevelsError(ChronosAssetsError, ValueError):
    """Columns that don't make levels of these series; the message says which, why, and how to fix it."""


@dataclass(frozen=True)
class Hierarchy:
    """The sums that series count in.

    Attributes:
        levels: names, the total first.
        nodes: level and value of each, level by level, values ascending.
        ancestors: node that each leaf counts in, by level: (levels, leaves); the last row are the leaves' own.
        leaf_of: series -> number of its leaf.
    """

    levels: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...]
    ancestors: NDArray[np.intp]
    leaf_of: dict[Key, int]

    @property
    def leaves(self) -> int:
        """How many there are."""
        return int(self.ancestors.shape[1])

    def sums(self, values: Floats) -> Floats:
        """Sums of each node, (nodes, ...), of values of the leaves, (leaves, ...)."""
        result = np.zeros((len(self.nodes), *values.shape[1:]))
        for of_level in self.ancestors:
            np.add.at(result, of_level, values)
        return result

    def lowest(self, values: Floats) -> Floats:
        """Minimum of each node, (nodes,), of values of the leaves, (leaves,)."""
        result = np.full(len(self.nodes), np.inf)
        for of_level in self.ancestors:
            np.minimum.at(result, of_level, values)
        return result

    def members(self) -> dict[str, str]:
        """Level -> digest of which series count in which of its nodes."""
        marks = [0] * len(self.nodes)  # of each node: the sum of its series' hashes, whose order doesn't matter
        of_leaves = self.ancestors.T.tolist()
        for key, leaf in self.leaf_of.items():
            mark = int.from_bytes(hashlib.blake2b("\0".join(key).encode(), digest_size=16).digest())
            for node in of_leaves[leaf]:
                marks[node] += mark
        found = {name: hashlib.sha256() for name in self.levels}
        for (name, value), total in zip(self.nodes, marks, strict=True):
            found[name].update(f"{value}\0{total}\n".encode())
        return {name: digest.hexdigest()[:16] for name, digest in found.items()}

    def matrix(self) -> Floats:
        """1 where a leaf counts in a node, (nodes, leaves)."""
        return self.sums(np.eye(self.leaves))


def find_hierarchy(
    keys: Iterable[Key], levels: Sequence[str], dimensions: Sequence[str], metadata: ItemMetadata | None
) -> Hierarchy:
    """The sums that series count in.

    Args:
        keys: of the series: item id and dimensions.
        levels: columns, from broad to narrow.
        dimensions: of the forecast.
        metadata: of the items; needed where a level is none of the dimensions.

    Raises:
        LevelsError: an item has no value of a level, or a level isn't nested in the one before.
    """
    values = _Values(levels, dimensions, metadata)
    paths = {key: values.path(key) for key in keys}
    values.check()
    _check_nested(set(paths.values()), levels)
    distinct = sorted(set(paths.values()))
    names = (TOTAL, *levels)
    nodes: list[tuple[str, str]] = []
    rows = []
    for place, name in enumerate(names):
        own = sorted({path[place] for path in distinct})
        first = {value: len(nodes) + number for number, value in enumerate(own)}
        nodes += [(name, value) for value in own]
        rows.append([first[path[place]] for path in distinct])
    number = {path: leaf for leaf, path in enumerate(distinct)}
    ancestors = np.array(rows, dtype=np.intp).reshape(len(names), len(distinct))
    return Hierarchy(names, tuple(nodes), ancestors, {key: number[path] for key, path in paths.items()})


class _Values:
    """The values of series, and which of them are missing."""

    def __init__(self, levels: Sequence[str], dimensions: Sequence[str], metadata: ItemMetadata | None) -> None:
        self._levels = levels
        self._places = {name: place for place, name in enumerate(dimensions, 1)}
        self._metadata = metadata
        self._missing: dict[str, set[str]] = {}
        described = [name for name in levels if name not in self._places]
        if metadata is None and described:
            raise LevelsError(
                f"Chronos.Reconcile: {' and '.join(described)} must come from item metadata, and there are none: put a file "
                "into item_metadata/, and materialize item_metadata"
            )

    def path(self, key: Key) -> tuple[str, ...]:
        """The values of one series, the total first."""
        row = self._metadata.of(key[0]) if self._metadata is not None else {}
        found = [TOTAL]
        for name in self._levels:
            value = key[self._places[name]] if name in self._places else row.get(name)
            if not value:
                self._missing.setdefault(name, set()).add(key[0])
            found.append(str(value or ""))
        return tuple(found)

    def check(self) -> None:
        """See that no value is missing."""
        if not self._missing:
            return
        name, items = next(iter(self._missing.items()))
        noun, verb, them = ("item", "has", "it") if len(items) == 1 else ("items", "have", "them")
        raise LevelsError(
            f"Chronos.Reconcile: {noun} {some_of(sorted(items), _NAMED)} {verb} no {name}, so that the sums "
            f"would lack {them}: add {name} to the item metadata, or take the level out of params.json"
        )


def _check_nested(paths: set[tuple[str, ...]], levels: Sequence[str]) -> None:
    for place in range(1, len(levels)):
        above: dict[str, str] = {}
        for path in sorted(paths):
            parent, value = path[place], path[place + 1]
            if above.setdefault(value, parent) != parent:
                outer, inner = levels[place - 1], levels[place]
                raise LevelsError(
                    f"Chronos.Reconcile: {inner} {value!r} is in {outer} {above[value]!r} and in {parent!r}: levels must be "
                    f"nested, from broad to narrow; swap {outer} and {inner}, leave one of them out, or give {inner} names "
                    "that tell them apart"
                )
