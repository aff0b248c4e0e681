"""The store over `obstore`: one class for a folder and, as far as listing and small objects go, for `s3://` too.

Belongs here: opening a store by its URL, and turning obstore's answers into `ObjectInfo` and our errors.
Does not belong here: atomic publishing of several files (`publishing.py`).

What obstore's LocalStore was seen to do (0.12), and what follows:

- Listings come in directory order, not sorted: `ordered` is False and a listing can't be resumed.
- Symbolic links are followed (a published folder is one), dangling ones left out; one that leads back to a folder
  above it ends the listing with an error, as does a name that isn't UTF-8 or holds a control character: told by name.
- Etag is `"<inode>-<modification time in µs>-<size>"`, all hexadecimal: it sees a rewrite, a touch and a replacement
  that keeps time and size; it can't see a rewrite in place that keeps time and size (`touch -r`).
- A leading slash is ignored and `..` refused with an obscure message: keys are checked here first.
- Names such as `a.csv#1` are its own temporary files, left out of listings.

https://developmentseed.org/obstore/latest/api/store/local/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from chronos_assets.platforms.local.publishing import (
    current,
    publish_directory,
    publish_forecast,
    remove_directory,
)
from chronos_assets.platforms.store import ObjectInfo, StoreError, check_key

if TYPE_CHECKING:
    from obstore import ObjectMeta

SCRATCH_KEY = ".staging"
MANIFEST = "manifest.json"
PAGE = 1000  # objects per page of a listing: what S3 gives at once


def open_store(url: str | Path, **options: Any) -> ObstoreStore:
    """Open the store at `url`.

    Args:
        url: a folder (`./store`, `~/store`, `file:///data/store`), made if it isn't there, or `s3://bucket/prefix`.
        **options: for S3 only, obstore's `S3Store` configuration (`endpoint`, `region`, …).

    Raises:
        StoreError: neither a folder nor `s3://`, or the path is a file.
    """
    root = store_folder(url)
    if root is None:
        return _open_s3(str(url).rstrip("/"), options)
    if root.exists() and not root.is_dir():
        raise StoreError(f"store {root} is a file: set CHRONOS_STORE to a folder")
    from obstore.store import LocalStore

    root.mkdir(parents=True, exist_ok=True)
    return ObstoreStore(LocalStore(root), url=root.as_uri(), root=root)


def store_folder(url: str | Path) -> Path | None:
    """The folder of the store at `url`, absolute; None for `s3://`.

    Raises:
        StoreError: neither a folder nor `s3://`.
    """
    text = str(url)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme == "s3":
        return None
    if scheme not in ("", "file"):
        raise StoreError(f"store {text!r}: set CHRONOS_STORE to a folder or to s3://bucket/prefix")
    return Path(_file_url_path(text) if scheme else text).expanduser().absolute()


def _open_s3(url: str, options: dict[str, Any]) -> ObstoreStore:
    from obstore.store import S3Store

    if not urlsplit(url).netloc:
        raise StoreError(f"store {url!r} names no bucket: set CHRONOS_STORE to s3://bucket/prefix")
    return ObstoreStore(S3Store.from_url(url, **options), url=url, root=None)


def _file_url_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"store {url!r} names another machine: file:///path has three slashes")
    return unquote(parts.path)


class ObstoreStore:
    """A `Store` over an obstore store; `root` is its folder where it has one on this machine."""

    def __init__(self, objects: Any, *, url: str, root: Path | None) -> None:
        self._objects = objects
        self.url = url
        self.root = root

    @property
    def ordered(self) -> bool:
        """S3 lists keys in ascending order of their UTF-8 bytes; a folder is listed in any order."""
        return self.root is None

    def __repr__(self) -> str:
        return f"open_store({self.url!r})"

    def uri(self, key: str) -> str:
        """URL of an object or folder."""
        return f"{self.url}/{quote(check_key(key)) if self.root else check_key(key)}"

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See `Store.list`. An empty prefix lists everything.

        Raises:
            StoreError: a file of the folder can't be an object (odd name, loop of links); the message names it.
        """
        import obstore

        folder = check_key(prefix.rstrip("/")) if prefix.rstrip("/") else None
        with self._explained("list", prefix, mend="; rename or remove what is named here"):
            for page in obstore.list(self._objects, folder, offset=after, chunk_size=PAGE):
                for meta in page:
                    yield _info(meta)

    def get(self, key: str) -> bytes:
        """See `Store.get`."""
        import obstore

        try:
            with self._explained("read", key):
                return obstore.get(self._objects, check_key(key)).bytes().to_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url}/{key}: no such object") from None

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`; locally a temporary file beside the object is renamed."""
        import obstore

        if re.search(r"#\d+$", check_key(key)):
            raise StoreError(f"store key {key!r}: a name that ends in '#' and a number is kept for temporary files")
        with self._explained("write", key):
            obstore.put(self._objects, key, data)

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        import obstore

        # S3 doesn't tell whether there was one either.
        with suppress(FileNotFoundError), self._explained("delete", key):
            obstore.delete(self._objects, check_key(key))

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return self.head(key) is not None

    def head(self, key: str) -> ObjectInfo | None:
        """See `Store.head`."""
        import obstore

        try:
            with self._explained("look up", key):
                return _info(obstore.head(self._objects, check_key(key)))
        except FileNotFoundError:
            return None

    def put_file(self, key: str, source: Path) -> None:
        """See `Store.put_file`."""
        import obstore

        with self._explained("write", key):
            obstore.put(self._objects, check_key(key), source)

    def fetch(self, key: str) -> Path:
        """See `Store.fetch`: the object itself."""
        path = self.local_path(key)
        if not path.is_file():
            raise FileNotFoundError(f"there is no object {self.uri(key)}")
        return path

    @property
    def scratch(self) -> Path:
        """See `Store.scratch`."""
        path = self.local_path(SCRATCH_KEY)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self, key: str, staged: Path, *, data: str | None = None) -> str:
        """See `Store.publish`; DuckDB reads files by their names, so none is hidden."""
        return publish_directory(self.local_path(key), staged).name

    def publish_forecast(self, key: str, staged: Path, as_of: datetime, *, withdrawn: datetime | None = None) -> bool:
        """See `Store.publish_forecast`."""
        return publish_forecast(self.local_path(key), staged, as_of, withdrawn=withdrawn)

    def withdraw(self, key: str) -> bool:
        """See `Store.withdraw`."""
        return remove_directory(self.local_path(key))

    def shown(self, key: str) -> str | None:
        """See `Store.shown`; the name of the folder itself in a store that was copied by hand."""
        path = self.local_path(key)
        return current(path).name if path.is_dir() else None

    def snapshot(self, key: str) -> Path:
        """See `Store.snapshot`."""
        path = self.local_path(key)
        if not path.is_dir():
            raise FileNotFoundError(f"nothing is published at {self.uri(key)}")
        return current(path)

    def read(self, key: str, name: str) -> bytes:
        """See `Store.read`."""
        return self.get(f"{key}/{name}")

    def manifests(self, prefix: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """See `Store.manifests`."""
        root = self.local_path(prefix)
        if not root.is_dir():
            return
        for path in sorted(root.iterdir()):
            # A link to a version folder, or an ordinary folder in a store that was copied by hand.
            version = path.resolve()
            manifest = version / MANIFEST
            if not path.name.startswith(".") and manifest.is_file():
                yield path.name, version.name, _manifest(manifest, manifest.stat().st_mtime_ns)

    def local_path(self, key: str) -> Path:
        """See `Store.local_path`."""
        if self.root is None:
            raise StoreError(
                f"{self.url} is not on this machine: jobs and publishing on S3 need the AWS platform; "
                "set CHRONOS_STORE to a folder"
            )
        return self.root / check_key(key)

    @contextmanager
    def _explained(self, action: str, key: str, mend: str = "") -> Iterator[None]:
        """Turn obstore's errors, but for a missing object, into a `StoreError` in one line that names the key."""
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseError as error:
            raise StoreError(f"can't {action} {self.url}/{key}: {_first_line(error)}{mend}") from error


@lru_cache(maxsize=100_000)
def _manifest(path: Path, modified: int) -> Mapping[str, Any]:
    # Kept while the file is the same, so that a sensor reads each manifest once, not at every tick.
    return json.loads(path.read_bytes())


def _info(meta: ObjectMeta) -> ObjectInfo:
    modified: datetime = meta["last_modified"].astimezone(UTC)
    # Some S3 look-alikes give no etag: time and size tell most changes.
    etag = meta["e_tag"] or f"{modified.timestamp():.6f}-{meta['size']}"
    return ObjectInfo(key=meta["path"], size=meta["size"], etag=etag.strip('"'), last_modified=modified)


def _first_line(error: BaseException) -> str:
    """Obstore's messages go on with Rust debug output after the first paragraph, and quote names as they are."""
    text = str(error).split("\n\nDebug source", maxsplit=1)[0].strip()
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
