"""The store in a bucket: `Store` over S3, with folders that are published as a whole.

Here: which object answers which question. Elsewhere: single requests (`bucket.py`), how a folder is
published (`publishing.py`), where copies on this machine lie (`cache.py`).

Who reads a published folder asks its pointer first, and takes the objects of the version that it names. Between the two
the version may be removed, two publishings later: then the pointer names another one, and that is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from chronos_assets.partition_folders import NoFolderError, at_either, by_folder, places
from chronos_assets.platforms.aws.bucket import S3Objects
from chronos_assets.platforms.aws.cache import Cache
from chronos_assets.platforms.aws.multipart_copy import S3Limits
from chronos_assets.platforms.aws.pointers import POINTERS, Pointer, Version, parse_pointer, version_key
from chronos_assets.platforms.aws.publishing import CONCURRENCY, LEFTOVER_SECONDS, Publisher
from chronos_assets.platforms.store import ObjectInfo, StoreError, check_key
from chronos_assets.timeseries.published_files import MANIFEST

ATTEMPTS = 10  # at reading what is replaced meanwhile
COPIED_BYTES = 1 << 30  # a folder up to this size is copied as a whole, once for all its readers
POINTERS_KEPT = 20_000  # read once, not at each tick of a sensor

T = TypeVar("T")


class S3Store(S3Objects):
    """AWS's `Store`.

    Args:
        url: `s3://bucket/prefix`.
        cache: folder of this machine for copies; stores and processes may share it.
        options: arguments of obstore's `S3Store` that go before what boto3 says.
        leftover_seconds: age from which a version that no pointer names was left by a killed publisher, and time for
            which a replaced one is kept for its readers.
        limits: what the server takes in one request.
        kms_key: see `S3Objects`.
    """

    def __init__(
        self,
        url: str,
        *,
        cache: Path,
        options: Mapping[str, Any] | None = None,
        leftover_seconds: float = LEFTOVER_SECONDS,
        limits: S3Limits | None = None,
        kms_key: str = "",
    ) -> None:
        super().__init__(url, options=options, limits=limits, kms_key=kms_key)
        self._cache = Cache(cache, self.url)
        self._publisher = Publisher(self, leftover_seconds=leftover_seconds)
        # By key and etag. Replaced as a whole, so that threads may read it at any time.
        self._pointers: dict[tuple[str, str], Pointer | None] = {}

    @property
    def scratch(self) -> Path:
        """See `Store.scratch`."""
        return self._cache.scratch

    def fetch(self, key: str) -> Path:
        """See `Store.fetch`: a copy, rebuilt when the object's etag changes."""
        for _ in range(ATTEMPTS):
            info = self.head(key)
            if info is None:
                break
            fill = partial(self._download_as, key, f'"{info.etag}"')
            try:
                return self._cache.file(key, info.etag, info.size, fill)
            except FileNotFoundError:
                continue  # replaced, or removed, since
        raise FileNotFoundError(f"there is no object {self.uri(key)}")

    def _download_as(self, key: str, etag: str, _name: str, target: Path) -> None:
        self.download(key, target, etag=etag)

    def publish(
        self,
        key: str,
        staged: Path | str,
        *,
        data: str | None = None,
        known: Mapping[str, str] | None = None,
        kept: Mapping[str, str] | None = None,
    ) -> str:
        """See `Store.publish`; engines that read by path never see a folder under both of its names.

        Raises:
            PublishError: also if objects that were not published by this code lie there.
        """
        former = places(key)[1:-1]
        for place in former:
            self._publisher.hide(place)
        version = self._publisher.publish(key, staged, data=data, known=known, kept=kept)
        assert version is not None  # noqa: S101 - refused for a later as-of only
        for place in former:
            self._publisher.withdraw(place, for_readers=True)
        return version

    def addresses(self, key: str) -> tuple[str, Mapping[str, str]]:
        """See `Store.addresses`."""

        def found(place: str, version: Version) -> tuple[str, Mapping[str, str]]:
            return version.name, {name: self.address(place, version, name) for name in version.files}

        return self._at_either(key, found)

    def address(self, key: str, version: Version, name: str) -> str:
        """URL of a file of a version; `FileNotFoundError` if there is none."""
        return self.uri(self._object_of(key, version, name))

    def publish_forecast(
        self, key: str, staged: Path, as_of: datetime, *, withdrawn: Collection[datetime] = ()
    ) -> bool:
        """See `Store.publish_forecast`."""
        return self._publisher.publish(key, staged, as_of=as_of, withdrawn=withdrawn) is not None

    def withdraw(self, key: str) -> bool:
        """See `Store.withdraw`; the former place first, so that nothing comes back if this is killed."""
        removed = [self._publisher.withdraw(place) for place in places(key)[1:] or (key,)]
        return any(removed)

    def shown(self, key: str) -> str | None:
        """See `Store.shown`."""
        with suppress(FileNotFoundError):
            return self.shown_at(key)[0]
        return None

    def snapshot(self, key: str) -> Path:
        """See `Store.snapshot`: a copy, which is made once for each version."""
        return self._at_either(key, self.copy_of)

    def copy_of(self, key: str, version: Version) -> Path:
        """A copy of a version, which stays for later readers."""
        sizes = {name: file.size for name, file in version.files.items()}
        return self._cache.folder(key, version.folder, sizes, partial(self.download_file, key, version))

    def download_file(self, key: str, version: Version, name: str, target: Path) -> None:
        """Write a file of a version to a new file."""
        self.download(self._object_of(key, version, name), target)

    def open(self, key: str) -> S3OpenFolder:
        """See `Store.open`."""
        return self._at_either(key, partial(S3OpenFolder, self))

    def shown_at(self, key: str) -> tuple[str, str]:
        """Name of the version that a published folder shows, and its `s3://` prefix, with a slash at its end.

        Its objects stay for a day after two later versions have been published. `FileNotFoundError` if there is none.
        """

        def found(place: str, version: Version) -> tuple[str, str]:
            return version.name, f"{self.uri(version_key(place, version))}/"

        return self._at_either(key, found)

    def snapshot_uri(self, key: str) -> str:
        """The prefix of `shown_at`."""
        return self.shown_at(key)[1]

    def read(self, key: str, name: str) -> bytes:
        """See `Store.read`."""
        return at_either(key, lambda place: self._read(place, name))

    def _read(self, key: str, name: str) -> bytes:
        if name == MANIFEST:
            pointer, _ = self._publisher.pointer(key)
            if pointer is not None and pointer.shown is not None and pointer.manifest is not None:
                return pointer.manifest.encode()
        return self._of_shown(key, lambda version: self.content(key, version, name))

    def manifests(self, prefix: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """See `Store.manifests`: one listing, and a request for each pointer that was written since the last one."""
        for name, pointer, shown in self._published(prefix):
            if MANIFEST not in shown.files:
                continue
            version, text = shown.name, pointer.manifest
            if text is None:
                try:
                    version, text = self._of_shown(f"{prefix}/{name}", partial(self._long_manifest, f"{prefix}/{name}"))
                except FileNotFoundError:
                    continue  # withdrawn since
            yield name, version, json.loads(text)

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the published folders right below `prefix`, in order, as they are there now."""
        return (name for name, _, _ in self._published(prefix))

    def _published(self, prefix: str) -> Iterator[tuple[str, Pointer, Version]]:
        """Name, pointer and shown version of each published folder right below `prefix`, in order of the names."""
        start = f"{POINTERS}/{check_key(prefix)}/"
        infos = [info for info in self.list(start) if "/" not in info.key.removeprefix(start)]
        names = (info.key.removeprefix(start).removesuffix(".json") for info in infos)
        found = dict(zip(names, self._pointers_of(infos), strict=True))

        def listed(name: str) -> Pointer | None:
            pointer = found.get(name)
            return pointer if pointer and pointer.shown else None

        # By name, which isn't the order of the keys: `a.json` comes after `a-b.json`.
        for own, *former in by_folder(found):
            name, pointer = own, listed(own)
            if pointer is None and former:
                name, pointer = former[0], listed(former[0])
                if pointer is None and own not in found:  # moved since the listing, unless it was withdrawn
                    name, (pointer, _) = own, self._publisher.pointer(f"{prefix}/{own}")
            if pointer is not None and pointer.shown is not None:
                yield name, pointer, pointer.shown

    def _pointers_of(self, infos: Sequence[ObjectInfo]) -> list[Pointer | None]:
        """What the pointers of a listing hold; each is read once, and several at once."""
        known, ids = self._pointers, [(info.key, info.etag) for info in infos]
        fresh = [found for found in ids if found not in known]
        if fresh:
            with ThreadPoolExecutor(CONCURRENCY) as pool:
                read = dict(zip(fresh, pool.map(self._read_pointer, [key for key, _ in fresh]), strict=True))
            self._pointers = dict([*known.items(), *read.items()][-POINTERS_KEPT:])
            known = known | read
        return [known[found] for found in ids]

    def _long_manifest(self, key: str, version: Version) -> tuple[str, str]:
        """A version's name and its manifest, where the pointer leaves that in its object."""
        return version.name, self.content(key, version, MANIFEST).decode()

    def content(self, key: str, version: Version, name: str) -> bytes:
        """A file of a version; `FileNotFoundError` if there is none."""
        return self.get(self._object_of(key, version, name))

    def _object_of(self, key: str, version: Version, name: str) -> str:
        """Key of the object of a version's file; `FileNotFoundError` if there is none."""
        if name not in version.files:
            raise FileNotFoundError(f"there is no {name} in {self.uri(key)}")
        return f"{version_key(key, version)}/{version.files[name].object}"

    def local_path(self, key: str) -> Path:
        """See `Store.local_path`: never on this machine."""
        raise StoreError(f"{self.uri(key)} is not on this machine: a part of another platform asks for it")

    def _read_pointer(self, key: str) -> Pointer | None:
        found = self.get_tagged(key)
        return parse_pointer(found.data, self.uri(key)) if found is not None else None

    def _shown(self, key: str) -> Version | None:
        pointer, _ = self._publisher.pointer(key)
        return pointer.shown if pointer is not None else None

    def _at_either(self, key: str, take: Callable[[str, Version], T]) -> T:
        """What `take` makes of the place where a folder is published, its own or its former one, and the version shown."""
        return at_either(key, lambda place: self._of_shown(place, partial(take, place)))

    def _of_shown(self, key: str, take: Callable[[Version], T]) -> T:
        """What `take` makes of the version that is shown; of the next one if that is gone meanwhile.

        Raises:
            FileNotFoundError: nothing is shown, or it lacks what is asked for.
        """
        before: Version | None = None
        for _ in range(ATTEMPTS):
            version = self._shown(key)
            if version is None:
                raise NoFolderError(f"nothing is published at {self.uri(key)}")
            try:
                return take(version)
            except FileNotFoundError:
                if version == before:
                    raise
                before = version
        raise StoreError(f"{self.uri(key)} is replaced faster than it can be read: run again")


class S3OpenFolder:
    """`OpenFolder` of a version in the bucket.

    A large folder is never here as a whole. One that isn't is copied once, for all that read it.
    """

    def __init__(self, store: S3Store, key: str, version: Version) -> None:
        self._store = store
        self._key = key
        self._version = version

    @property
    def version(self) -> str:
        """See `OpenFolder.version`."""
        return self._version.name

    def read(self, name: str) -> bytes:
        """See `OpenFolder.read`."""
        return self._store.content(self._key, self._version, name)

    def keep(self, name: str, target: Path) -> str:
        """See `OpenFolder.keep`: it stays in the bucket."""
        return self._store.address(self._key, self._version, name)

    @contextmanager
    def borrow(self, names: Collection[str]) -> Iterator[Path]:
        """See `OpenFolder.borrow`.

        Raises:
            StoreError: the version was replaced long ago, and is gone.
        """
        if sum(file.size for file in self._version.files.values()) <= COPIED_BYTES:
            yield self._still_there(partial(self._store.copy_of, self._key, self._version))
            return
        with TemporaryDirectory(prefix="borrowed-", dir=self._store.scratch) as folder:
            for name in sorted(set(names) & self._version.files.keys()):
                target = Path(folder, check_key(name))
                target.parent.mkdir(parents=True, exist_ok=True)
                self._still_there(partial(self._store.download_file, self._key, self._version, name, target))
            yield Path(folder)

    def _still_there(self, take: Callable[[], T]) -> T:
        try:
            return take()
        except FileNotFoundError as error:
            raise StoreError(
                f"{self._store.uri(self._key)} was replaced long before it was read to its end: run again"
            ) from error
