"""Single objects over `obstore`: the calls that are the same for a folder and for `s3://`.

Here: turning obstore's answers into `ObjectInfo` and our errors. Elsewhere: opening a store, and
publishing several files in one step (`local/store.py`, `aws/store.py`).

https://developmentseed.org/obstore/latest/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError

from chronos_assets.platforms.store import ObjectInfo, StoreError, check_key

if TYPE_CHECKING:
    from obstore import ObjectMeta  # of its stubs alone

PAGE = 1000  # objects per page of a listing: what S3 gives at once


class ObstoreObjects:
    """The objects of an obstore store.

    Attributes:
        url: of the store.
        ordered: whether keys are listed in ascending order of their UTF-8 bytes.
    """

    url: str
    ordered: bool
    _objects: Any

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See `Store.list`. An empty prefix lists everything.

        Raises:
            StoreError: a file of the folder can't be an object (odd name, loop of links); the message names it.
        """
        folder = check_key(prefix.rstrip("/")) if prefix.rstrip("/") else None
        with self._explained("list", prefix, fix="; rename or remove what is named here"):
            for page in obstore.list(self._objects, folder, offset=after, chunk_size=PAGE):
                for meta in page:
                    yield _info(meta)

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        try:
            with self._explained("read", key):
                return obstore.get(self._objects, check_key(key)).bytes().to_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url}/{key}: no such object") from None

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`; locally a temporary file beside the object is renamed."""
        if re.search(r"#\d+$", check_key(key)):
            raise StoreError(f"store key {key!r}: a name that ends in '#' and a number is kept for temporary files")
        with self._explained("write", key):
            obstore.put(self._objects, key, data)

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        # S3 doesn't tell whether there was one either.
        with suppress(FileNotFoundError), self._explained("delete", key):
            obstore.delete(self._objects, check_key(key))

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return self.head(key) is not None

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        try:
            with self._explained("look up", key):
                return _info(obstore.head(self._objects, check_key(key)))
        except FileNotFoundError:
            return None

    def put_file(self, key: str, source: Path) -> None:
        """See `Store.put_file`."""
        with self._explained("write", key):
            obstore.put(self._objects, check_key(key), source)

    @contextmanager
    def _explained(self, action: str, key: str, fix: str = "") -> Iterator[None]:
        """Turn obstore's errors, except for a missing object, into a `StoreError` in one line that names the key."""
        try:
            yield
        except BaseError as error:
            raise StoreError(f"can't {action} {self.url}/{key}: {_first_line(error)}{fix}") from error


def _info(meta: ObjectMeta) -> ObjectInfo:
    modified: datetime = meta["last_modified"].astimezone(UTC)
    # Some S3 look-alikes give no etag: time and size tell most changes.
    etag = meta["e_tag"] or f"{modified.timestamp():.6f}-{meta['size']}"
    return ObjectInfo(key=meta["path"], size=meta["size"], etag=etag.strip('"'), last_modified=modified)


def _first_line(error: BaseException) -> str:
    """Obstore's messages continue with Rust debug output after the first paragraph, and quote names as they are."""
    text = str(error).split("\n\nDebug source", maxsplit=1)[0].strip()
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
