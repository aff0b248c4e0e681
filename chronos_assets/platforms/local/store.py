"""The store in a folder.

Here: opening a store by its URL, and what a folder can do. Elsewhere: the calls for single objects
(`platforms/objects.py`), atomic publishing of several files (`publishing.py`).

What obstore's LocalStore was seen to do (0.12), and what follows:

- Listings come in directory order, not sorted: a listing can't be resumed.
- Symbolic links are followed (a published folder is one), dangling ones left out; one that leads back to a folder
  above it ends the listing with an error, as does a name that isn't UTF-8 or holds a control character; the error names it.
- Etag is `"<inode>-<modification time in µs>-<size>"`, all hexadecimal: it sees a rewrite, a touch and a replacement
  that keeps time and size; it can't see a rewrite in place that keeps time and size (`touch -r`).
- A leading slash is ignored and `..` refused with an obscure message: keys are checked here first.
- Names such as `a.csv#1` are its own temporary files, left out of listings.

https://developmentseed.org/obstore/latest/api/store/local/
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from chronos_assets.partition_folders import NoFolderError, at_either, by_folder, places
from chronos_assets.platforms.local.publishing import (
    current,
    publish_directory,
    publish_forecast,
    put_aside,
    remove_directory,
)
from chronos_assets.platforms.objects import ObstoreObjects
from chronos_assets.platforms.store import PublishError, StoreError, check_key
from chronos_assets.store_layout import SCRATCH_KEY
from chronos_assets.timeseries.dataset.shard_files import FolderFiles, link_or_copy
from chronos_assets.timeseries.published_files import MANIFEST


def open_store(url: str | Path) -> FolderStore:
    """Open the store at `url`.

    Args:
        url: a folder (`./store`, `~/store`, `file:///data/store`), made if it isn't there.

    Raises:
        StoreError: it is no folder, or the path is a file.
    """
    root = store_folder(url)
    if root is None:
        raise StoreError(
            f"store {url} is not on this machine: set CHRONOS_STORE to a folder, or CHRONOS_DEPLOYMENT to aws"
        )
    if root.exists() and not root.is_dir():
        raise StoreError(f"store {root} is a file: set CHRONOS_STORE to a folder")
    from obstore.store import LocalStore

    root.mkdir(parents=True, exist_ok=True)
    return FolderStore(LocalStore(root), root)


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


def _file_url_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"store {url!r} names another machine: file:///path has three slashes")
    return unquote(parts.path)


class FolderStore(ObstoreObjects):
    """The laptop's `Store`.

    Args:
        objects: obstore's store of the folder.
        root: the folder, absolute.
    """

    ordered = False

    def __init__(self, objects: Any, root: Path) -> None:
        self._objects = objects
        self.root = root
        self.url = root.as_uri()

    def __repr__(self) -> str:
        return f"open_store({self.url!r})"

    def uri(self, key: str) -> str:
        """See `Store.uri`: as every name must be written in one."""
        return f"{self.url}/{quote(check_key(key))}"

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

    def publish(
        self,
        key: str,
        staged: Path | str,
        *,
        data: str | None = None,
        known: Mapping[str, str] | None = None,
        kept: Mapping[str, str] | None = None,
    ) -> str:
        """See `Store.publish`; DuckDB reads files by their names, so none is hidden. What is kept is linked if it can be."""
        staged = staged if isinstance(staged, Path) else self.local_path(staged)
        for name, url in (kept or {}).items():
            there = Path(unquote(urlsplit(url).path))
            (staged / name).unlink(missing_ok=True)  # of a run that was killed
            try:
                link_or_copy(there, staged / name)
            except FileNotFoundError as error:
                raise PublishError(f"can't publish {self.uri(key)}: {there} is missing; make it again") from error
        version = publish_directory(self.local_path(key), staged, known=known).name
        for former in places(key)[1:-1]:
            put_aside(self.local_path(former))
        return version

    def addresses(self, key: str) -> tuple[str, Mapping[str, str]]:
        """See `Store.addresses`."""
        folder = self.snapshot(key)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return folder.name, {path.relative_to(folder).as_posix(): path.resolve().as_uri() for path in paths}

    def publish_forecast(
        self, key: str, staged: Path, as_of: datetime, *, withdrawn: Collection[datetime] = ()
    ) -> bool:
        """See `Store.publish_forecast`."""
        return publish_forecast(self.local_path(key), staged, as_of, withdrawn=withdrawn)

    def withdraw(self, key: str) -> bool:
        """See `Store.withdraw`; the former place first, so that nothing comes back if this is killed."""
        removed = [remove_directory(self.local_path(place)) for place in places(key)[1:] or (key,)]
        return any(removed)

    def shown(self, key: str) -> str | None:
        """See `Store.shown`; the name of the folder itself in a store that was copied by hand."""
        with suppress(FileNotFoundError):
            return self.snapshot(key).name
        return None

    def snapshot(self, key: str) -> Path:
        """See `Store.snapshot`."""

        def shown(place: str) -> Path:
            path = self.local_path(place)
            if not path.is_dir():
                raise NoFolderError(f"nothing is published at {self.uri(key)}")
            return current(path)

        return at_either(key, shown)

    def open(self, key: str) -> _OpenFolder:
        """See `Store.open`."""
        return _OpenFolder(self.snapshot(key))

    def read(self, key: str, name: str) -> bytes:
        """See `Store.read`."""

        def content(place: str) -> bytes:
            try:
                return self.get(f"{place}/{name}")
            except FileNotFoundError as error:
                if (self.root / place).is_dir():
                    raise
                raise NoFolderError(*error.args) from None

        return at_either(key, content)

    def manifests(self, prefix: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """See `Store.manifests`."""
        root = self.local_path(prefix)
        if not root.is_dir():
            return
        for tries in by_folder(path.name for path in root.iterdir() if not path.name.startswith(".")):
            for name in tries:
                # A link to a version folder, or an ordinary folder in a store that was copied by hand.
                version = (root / name).resolve()
                manifest = version / MANIFEST
                if manifest.is_file():
                    yield name, version.name, _manifest(manifest, manifest.stat().st_mtime_ns)
                if version.is_dir():
                    break

    def local_path(self, key: str) -> Path:
        """See `Store.local_path`."""
        return self.root / check_key(key)


@dataclass(frozen=True)
class _OpenFolder(FolderFiles):
    """`OpenFolder` of a folder on this machine."""

    @property
    def version(self) -> str:
        return self.folder.name

    @contextmanager
    def borrow(self, names: Collection[str]) -> Iterator[Path]:
        yield self.folder


@lru_cache(maxsize=100_000)
def _manifest(path: Path, modified: int) -> Mapping[str, Any]:
    # Kept while the file is the same, so that a sensor reads each manifest once, not at every tick.
    document: Mapping[str, Any] = json.loads(path.read_bytes())
    return document
