"""The store: the protocol, its errors, and which keys it takes.

Elsewhere: the keys that the package uses (`store_layout`), single objects (`objects.py`), publishing several files in one
step (`local/publishing.py`, `aws/publishing.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.partition_folders import partition_of
from chronos_assets.timeseries.published_files import MANIFEST

MAX_KEY_BYTES = 1024  # what S3 allows for a whole key


class StoreError(ChronosAssetsError):
    """The store can't do what was asked; the message says what, where and how to fix it."""

    transient = True


class PublishError(StoreError):
    """Nothing was published; the message says what is in the way and how to fix it."""

    transient = False


class StoreKeyError(StoreError, ValueError):
    """A key that no object of a store may have (`..`, absolute, empty part, control character, too long)."""

    transient = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        key: path below the store's root, `/` separated, no leading slash.
        size: bytes.
        etag: changes whenever the content does (S3: of the content; local: inode, modification time, size).
        last_modified: aware, UTC, with whatever fraction of a second the store keeps.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime


def check_key(key: str) -> str:
    """`key` itself, if an object of a store may have it.

    Raises:
        StoreKeyError: the key would leave the store's root, or the store can't hold it.
    """
    reason = _key_problem(key)
    if reason:
        raise StoreKeyError(f"store key {key!r} {reason}: use a relative path such as 'train/july.csv'")
    return key


def _key_problem(key: str) -> str | None:
    if not key:
        return "is empty"
    if key.startswith("/"):
        return "is absolute"
    if any(ord(character) < 32 or ord(character) == 127 for character in key):
        return "holds a control character"
    parts = key.split("/")
    if ".." in parts or "." in parts:
        return "holds a '.' or '..' part"
    if "" in parts:
        return "holds an empty part"
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if length > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    return None


class OpenFolder(Protocol):
    """One version of a published folder, to be read step by step: it stays the same, whatever is published meanwhile."""

    @property
    def version(self) -> str:
        """Its name."""

    def read(self, name: str) -> bytes:
        """A file of it; `FileNotFoundError` if there is none."""

    def keep(self, name: str, target: Path) -> str:
        """Let a file be a part of what is published next: at `target`, or where it is, at this URL, for `Store.publish`.

        `FileNotFoundError` if there is none.
        """

    def borrow(self, names: Collection[str]) -> AbstractContextManager[Path]:
        """A folder on this machine with these of its files, to be read only, which may be gone after the block.

        A store that isn't on this machine fetches no others, and removes them at the end where the whole folder is large.
        """


def naive(instant: datetime) -> datetime:
    """An instant without a zone, in UTC."""
    return instant if instant.tzinfo is None else instant.astimezone(UTC).replace(tzinfo=None)


class Store(Protocol):
    """A folder or a bucket prefix: everything a dataset group owns lives under its root.

    It holds single objects (`get`, `put`, ...) and published folders (`publish`, `snapshot`, ...). A published folder has
    one version that is shown, and is replaced as a whole: who takes a `snapshot` sees one version, whatever happens.
    A partition's folder is also found where an earlier release published it (`partition_folders`), until it is published again.
    """

    @property
    def url(self) -> str:
        """Root as a URL (`file:///…` or `s3://…`), without a trailing slash."""

    @property
    def ordered(self) -> bool:
        """Whether `list` gives keys in ascending order, so that a listing can be resumed with `after`."""

    @property
    def scratch(self) -> Path:
        """Folder on this machine for files under way: what is staged below it is published without a copy if it can be."""

    def uri(self, key: str) -> str:
        """URL of one object or folder, for people and for metadata."""

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Every object below the folder `prefix`, recursively, streamed page by page.

        `after` leaves out the keys up to and including it; on a store that isn't `ordered` that's a mere filter.
        """

    def get(self, key: str) -> bytes:
        """Content of an object; `FileNotFoundError` if there is none."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object atomically: a reader sees the old content or the new one."""

    def put_file(self, key: str, source: Path) -> None:
        """`put` of a file's content, which may be large."""

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is fine."""

    def exists(self, key: str) -> bool:
        """Whether an object has this key (a folder is no object)."""

    def head(self, key: str) -> ObjectInfo | None:
        """An object's size, etag and time, or None if there is none."""

    def fetch(self, key: str) -> Path:
        """An object as a file on this machine, to be read only; `FileNotFoundError` if there is none."""

    def publish(
        self,
        key: str,
        staged: Path | str,
        *,
        data: str | None = None,
        known: Mapping[str, str] | None = None,
        kept: Mapping[str, str] | None = None,
    ) -> str:
        """Make the folder `key` show the files of `staged`, all at once.

        The same content as the one shown changes nothing, so that repeating a run is free for readers.

        Args:
            key: of the folder.
            staged: folder of plain files and folders on this machine, which is used up; or the key of a folder of this store,
                whose files don't come here, and are its owner's to remove.
            data: pattern of the names of files that SQL engines read, if they read this folder; a store where they do
                hides the others from them.
            known: SHA-256 of files, by their name below `staged`, as far as the caller has them: these are not read for it. In
                this store those that it lacks should be small.
            kept: name -> URL, see `OpenFolder.keep` and `addresses`, of files of this store that belong to the folder as well:
                they don't come here.

        Returns:
            Name of the version that is shown now.

        Raises:
            PublishError: `staged` isn't such a folder, or something of somebody else's is in the way.
        """

    def publish_forecast(
        self, key: str, staged: Path, as_of: datetime, *, withdrawn: Collection[datetime] = ()
    ) -> bool:
        """`publish`, but never back in time: a forecast with later data behind it is left alone.

        The instant is kept with the version, and compared as it is shown: of two runs that finish at once the later as-of
        wins, in whatever order they come; of equal ones the one that comes last.

        Args:
            key: of the folder.
            staged: as for `publish`.
            as_of: the last period that the forecast saw; naive means UTC.
            withdrawn: instants of a forecast that gives way although it is later, if it is still the one shown.

        Returns:
            Whether `key` now shows `staged`.
        """

    def withdraw(self, key: str) -> bool:
        """Remove what `publish` published at `key`, all versions of it; whether there was anything."""

    def shown(self, key: str) -> str | None:
        """Name of the version that a published folder shows; None if there is none."""

    def snapshot(self, key: str) -> Path:
        """A published folder's files on this machine, as they are shown now, to be read only.

        They stay as they are until two later versions have been published; `FileNotFoundError` if there is none.
        """

    def addresses(self, key: str) -> tuple[str, Mapping[str, str]]:
        """Name of the version that a published folder shows, and the URL of each of its files, for a job that fetches some.

        They stay as long as a `snapshot`'s. `FileNotFoundError` if there is none.
        """

    def open(self, key: str) -> OpenFolder:
        """A published folder as it is shown now, for who needs little of it at a time; `FileNotFoundError` if there is none."""

    def read(self, key: str, name: str) -> bytes:
        """A small file of a published folder as it is shown now; `FileNotFoundError` if there is none."""

    def manifests(self, prefix: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Each published folder right below `prefix` that has a `manifest.json`, in order of their names.

        Yields:
            Its name (the last part of its key), the name of the version that it shows, and the document.
        """

    def local_path(self, key: str) -> Path:
        """Path on this machine of an object or folder; `StoreError` where the store isn't on this machine."""


def manifest_of(store: Store, key: str) -> dict[str, Any] | None:
    """What a published folder says of itself; None if nothing is published there.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        found = json.loads(store.read(key, MANIFEST))
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"{store.uri(key)}/{MANIFEST} holds no JSON object")
    return found


def published_partitions(store: Store, folder: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Partition key, name of the version that is shown, and manifest of each published partition."""
    for name, version, manifest in store.manifests(folder):
        if (key := partition_of(name)) is not None:
            yield key, version, manifest
