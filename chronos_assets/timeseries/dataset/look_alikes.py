"""Series whose names look alike: `A1` and `a1 `, `007` and `7`, one letter in two forms of Unicode.

Here: finding them among all names of a dataset, since each would be a series of its own, with half of the history. Names are
data, and stay as they are: what is found is only reported.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from chronos_assets.timeseries.dataset.series_keys import Key

Folds = NDArray[np.uint64]
_NAMED = 3
_UNSEEN = r"\p{Cf}+"  # joiners, marks of byte order and of direction
# Blanks of any kind; a number as spreadsheets mark and write it: '007, ="007", 7.0.
_BLANKS = r"[\s\p{Z}]+"
_NUMBER = r"^[='\"]*0*(\d+)(?:\.0+)?\"?$"


def folded_keys(keys: pa.Table) -> Folds:
    """(n,) a hash of each key that leaves out case, blanks, the form of letters, leading zeros and a fraction of zero."""
    columns = [_folded(column).to_pylist() for column in keys.columns]
    joined = columns[0] if len(columns) == 1 else map("\x1f".join, zip(*columns, strict=True))
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in joined)
    return np.frombuffer(digests, dtype=np.uint64)


def _folded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_lower(pc.utf8_normalize(column.cast(pa.string()), "NFKC"))
    text = pc.replace_substring_regex(text, _UNSEEN, "")
    text = pc.utf8_trim(pc.replace_substring_regex(text, _BLANKS, " "), " ")
    return pc.replace_substring_regex(text, _NUMBER, r"\1")


def alike(parts: Iterable[Folds]) -> Folds:
    """Hashes that several series share, ascending."""
    found, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *parts]), return_counts=True)
    return found[counts > 1]


def look_alike_note(parts: Iterable[pa.Table], shared: Folds) -> str:
    """What to tell the user of series whose hashes are `shared`, among the keys of all."""
    names: dict[int, list[str]] = {}
    for number, key in _named(parts, shared):
        names.setdefault(number, []).append(key)
    groups = sorted(sorted(group) for group in names.values())
    return (
        "series whose names differ only in case, blanks, forms of letters or leading zeros are series of their own: "
        f"{_shown(groups)}; give them one name if they are the same"
    )


def named_alike(strange: Sequence[Key], known: Sequence[Key]) -> str:
    """What to tell the user of names in files of covariates that may be the dataset's, spelled otherwise; empty without any.

    Args:
        strange: keys that the dataset doesn't have.
        known: keys of the dataset that the files don't have.
    """
    if not strange or not known:
        return ""
    folds = [
        folded_keys(pa.table([pa.array(part) for part in zip(*keys, strict=True)], _columns(keys[0])))
        for keys in (strange, known)
    ]
    places = {fold: place for place, fold in enumerate(folds[1].tolist())}
    pairs = sorted((strange[at], known[places[fold]]) for at, fold in enumerate(folds[0].tolist()) if fold in places)
    if not pairs:
        return ""
    return (
        "names that differ only in case, blanks, forms of letters or leading zeros are not the same: "
        f"{_shown([[', '.join(key) for key in pair] for pair in pairs])}; write them as the train files do"
    )


def _shown(groups: Sequence[list[str]]) -> str:
    """Groups of names that are alike, the first ones."""
    more = f" and {len(groups) - _NAMED:,} more" if len(groups) > _NAMED else ""
    return "; ".join(" and ".join(_told_apart(group[:_NAMED])) for group in groups[:_NAMED]) + more


def _columns(key: Key) -> list[str]:
    return [f"k{place}" for place in range(len(key))]


def _told_apart(names: list[str]) -> Iterator[str]:
    """The names in quotes; letters that look the same by their code points."""
    same = len({unicodedata.normalize("NFC", name) for name in names}) < len(names)
    return map(ascii if same else repr, names)


def _named(parts: Iterable[pa.Table], shared: Folds) -> Iterator[tuple[int, str]]:
    for keys in parts:
        folds = folded_keys(keys)
        for row in np.flatnonzero(np.isin(folds, shared)).tolist():
            yield int(folds[row]), ", ".join(str(column[row]) for column in keys.columns)
