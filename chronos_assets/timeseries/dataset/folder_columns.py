"""Folders called `store=n`, as Hive and Spark part a table: a column that the files themselves may lack.

Files are read by what stands in them. Here: noticing a folder's name that would tell rows apart, before they are taken for one
series. The year or the day of a folder repeats what the rows' timestamps say, and tells nothing apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chronos_assets.params.columns import REWRITE, TIMESTAMP_NAMES, InferenceError, is_remark, last_word
from chronos_assets.params.headers import folded
from chronos_assets.params.spread_timestamps import PARTS
from chronos_assets.timeseries.dataset.train_files import FileContents, TrainFile
from chronos_assets.wording import some_of

_TIMES = PARTS | frozenset(TIMESTAMP_NAMES)


def folder_hint(loser: str, winner: str) -> str:
    """What to add where rows of one folder `name=value` replaced those of another: it may tell them apart."""
    parts, others = ({part for part in key.split("/")[:-1] if "=" in part} for key in (loser, winner))
    labels = sorted(parts - others)
    return f"; {labels[0]} is a folder and no column: write it into the rows if it distinguishes them" if labels else ""


def refuse_folders(files: Sequence[TrainFile], header: Sequence[str] | None) -> None:
    """Refuse files of several folders `name=value` whose rows lack that column.

    Raises:
        InferenceError: with two of the folders.
    """
    for name, labels in _lost({file.key: header or () for file in files}):
        raise InferenceError(
            f"{_both(labels)} are folders, and the files have no column {name}: write it into their rows, or, if it tells no "
            "series apart, name the folders without the =",
            role=REWRITE,
        )


def folder_notes(contents: Iterable[FileContents], names: Sequence[str]) -> Iterator[str]:
    """What to tell the user of such files, where `names` are the columns that params.json declares."""
    for _, labels in _lost({file.key: (*names, *file.ignored) for file in contents if file.rows}):
        yield f"{_both(labels)} are folders and no column: write it into the rows if it distinguishes them"


def _both(labels: Sequence[str]) -> str:
    return f"{labels[0]} and {labels[1]}" if len(labels) == 2 else some_of(labels, 1)


def _lost(columns: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Names of folders with several values that are no column of the files, and a folder of each; columns: by file."""
    found: dict[str, dict[str, str]] = {}
    for key, names in columns.items():
        known = set(map(folded, names))
        parts = key.split("/")[:-1]
        for depth, part in enumerate(parts, start=1):
            name, equals, value = part.partition("=")
            if equals and name and folded(name) not in known and last_word(name) not in _TIMES and not is_remark(name):
                found.setdefault(name, {}).setdefault(value, "/".join(parts[:depth]))
    for name, folders in sorted(found.items()):
        if len(folders) > 1:
            yield name, sorted(folders.values())
