"""The names of partitions' folders: `as_of=<key>`, escaped as Hive and Spark escape the values of partition columns.

Here: the names, and what is read off them. Elsewhere: which folders there are (`store_layout`), whoever reads them.

The key of an hourly window has a colon, which Hadoop's file system takes in no name. As `%3A` Spark, Glue, DuckDB and pyarrow
read the folder, and give the column the key itself. Releases before this rule left the colon as it was: such a folder has a
former name, which readers try after its own. Where a folder is there under both, its own counts: who publishes writes that
first, and then removes the former one.

https://github.com/apache/hive/blob/master/common/src/java/org/apache/hadoop/hive/common/FileUtils.java
https://github.com/apache/spark/blob/master/sql/catalyst/src/main/scala/org/apache/spark/sql/catalyst/catalog/ExternalCatalogUtils.scala
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from chronos_assets.errors import ChronosAssetsError

_AS_OF = "as_of="
# Hive's own list. All are one byte in UTF-8, so that each becomes one escape.
_SPECIAL = re.compile(r"[\x00-\x1f\x7f\"#%'*/:=?\\{[\]^]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")

T = TypeVar("T")


class NoFolderError(ChronosAssetsError, FileNotFoundError):
    """There is no folder at this place; one that lacks a file is there."""


def escape(value: str) -> str:
    """A partition's value as it stands in the name of its folder."""
    return _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", value)


def unescape(text: str) -> str:
    """The value whose escaped form this is; what is no escape stays, so that values that were never escaped do, too."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def partition_folder(key: str) -> str:
    """Name of the folder that holds what is made for partition `key`: a Hive partition of the column `as_of`."""
    return f"{_AS_OF}{escape(key)}"


def job_folder(key: str) -> str:
    """Name of the folder of partition `key` among the outputs of a job: as `partition_folder` has it, without percent signs.

    Nothing that AWS documents says whether SageMaker takes an escape in the name of a file, or in a URI, as it stands; so no
    job gets or leaves one, and whoever publishes gives the folder its own name.
    """
    return partition_folder(key).replace("%", "_x")


def partition_of(folder: str) -> str | None:
    """The partition key whose folder has this name, or had it formerly; None if it is no partition's."""
    return unescape(folder.removeprefix(_AS_OF)) if folder.startswith(_AS_OF) else None


def places(place: str) -> tuple[str, ...]:
    """Where to look for a folder, in this order: at its place, and at the former one if that has another name.

    The first comes once more at the end: a publisher may have moved the folder between the two looks.

    Args:
        place: path or store key of the folder, `/` separated.
    """
    above, slash, name = place.rpartition("/")
    key = partition_of(name)
    if key is None or "/" in key or (former := f"{_AS_OF}{key}") == name:
        return (place,)
    return place, f"{above}{slash}{former}", place


def by_folder(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """The `places` of each folder of a listing, in order; one that is listed under both of its names comes once."""
    own = {name if (key := partition_of(name)) is None else partition_folder(key) for name in names}
    return map(places, sorted(own))


def at_either(place: str, take: Callable[[str], T]) -> T:
    """What `take` makes of a folder at the first of its `places` where it finds it.

    Args:
        place: the folder's own.
        take: raises `NoFolderError` where there is none.

    Raises:
        NoFolderError: there is none at any of them.
    """
    *others, last = places(place)
    for one in others:
        with suppress(NoFolderError):
            return take(one)
    return take(last)
