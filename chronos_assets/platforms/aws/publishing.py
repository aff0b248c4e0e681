"""Atomic publishing in a bucket: readers see the old version or the new one, whatever is killed when.

Here: writing versions, moving the pointer, the copies under stable names. Elsewhere: reading
(`store.py`), what is in the files.

```
versions/<key>/<digest>-<random>/<object>   a version: complete before it is shown, never changed
.current/<key>.json                         the pointer (`pointers.py`): moved by a conditional write
<key>/<object>                              copies under stable names, for people and SQL engines
.stable/<key>.json                          which publication the copies are of, and their etags
```

A bucket has no locks. Whoever moves the pointer first wins, the others look again and decide again: that is how the later
as-of wins, in whatever order two publishers come. A version stays for a day after it has been replaced twice, since jobs
that began with it still read it; nobody can still be writing it, since every upload has a folder of its own. What killed
publishers left is removed a day later, too, by the bucket's clock. The copies follow the pointer: whoever has made them
looks at it again, and repeats if it has moved. They are no part of the atomic step: who needs files that belong together
goes by the pointer.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TypeVar

from chronos_assets.platforms.aws.bucket import S3Objects
from chronos_assets.platforms.aws.pointers import (
    FOLDER_NAME,
    MAX_INLINE_BYTES,
    POINTERS,
    VERSIONS,
    Pointer,
    Retired,
    Version,
    VersionFile,
    new_folder_name,
    parse_pointer,
    pointer_key,
    version_key,
)
from chronos_assets.platforms.folder_files import names_digest, plain_files
from chronos_assets.platforms.store import ObjectInfo, PublishError, check_key, naive
from chronos_assets.system import file_digest
from chronos_assets.timeseries.published_files import MANIFEST

STABLE = ".stable"
RESERVED = (VERSIONS, POINTERS, STABLE)
LEFTOVER_SECONDS = 86_400.0  # nobody takes longer to upload a version, and no job longer to read one
CONCURRENCY = 8  # requests at once
HEALINGS = 20  # publishings of the same folder that overtake each other

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Staged:
    """A folder to be published.

    Attributes:
        digest: of names and contents.
        objects: name of a file -> (name of its object, bytes).
        put: writes one of its files, by name, to an object, by key.
        text: content of one of its files.
    """

    digest: str
    objects: Mapping[str, tuple[str, int]]
    put: Callable[[str, str], None]
    text: Callable[[str], str]

    def shown_by(self, version: Version | None) -> bool:
        """Whether a version has this content."""
        return (
            version is not None
            and version.name == self.digest[:16]
            and {name: (file.object, file.size) for name, file in version.files.items()} == self.objects
        )


def staged_folder(
    objects: S3Objects,
    folder: Path,
    data: str | None,
    known: Mapping[str, str] | None = None,
    kept: Mapping[str, str] | None = None,
) -> Staged:
    """What to publish of a folder on this machine.

    Args:
        objects: the bucket.
        folder: to be published.
        data: pattern of the names that SQL engines read, which the others hide from.
        known: see `Store.publish`.
        kept: see `Store.publish`.

    Raises:
        PublishError: no folder of plain files, or one of the known is missing.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise PublishError(f"nothing to publish: {folder} is not a folder")
    here = {path.relative_to(folder).as_posix(): path for path in plain_files(folder)}
    there = _objects_at(objects, kept or {})

    def put(name: str, key: str) -> None:
        if name in there:
            objects.copy(there[name].key, key, there[name].size)
        else:
            objects.put_file(key, here[name])

    sizes = {name: path.stat().st_size for name, path in here.items()}
    return Staged(
        _digest(str(folder), sizes.keys() | there.keys(), lambda name: file_digest(here[name]), known),
        _object_names(sizes | {name: info.size for name, info in there.items()}, data, str(folder)),
        put,
        text=lambda name: here[name].read_text(encoding="utf-8"),
    )


def staged_objects(
    objects: S3Objects,
    source: str,
    data: str | None,
    known: Mapping[str, str] | None = None,
    kept: Mapping[str, str] | None = None,
) -> Staged:
    """What to publish of a folder in the bucket: its objects are copied there, and only those not `known` come here.

    Args:
        objects: the bucket.
        source: key of the folder.
        data: as for `staged_folder`.
        known: as for `staged_folder`.
        kept: see `Store.publish`.

    Raises:
        PublishError: there is none, or one of the known is missing.
    """
    place = objects.uri(source)
    listed = {info.key.removeprefix(f"{source}/"): info for info in objects.list(source)} | _objects_at(
        objects, kept or {}
    )
    sizes = {name: info.size for name, info in listed.items()}
    return Staged(
        _digest(place, sizes, lambda name: hashlib.sha256(objects.get(listed[name].key)).hexdigest(), known),
        _object_names(sizes, data, place),
        put=lambda name, key: objects.copy(listed[name].key, key, sizes[name]),
        text=lambda name: objects.get(listed[name].key).decode(),
    )


def _digest(place: str, names: Collection[str], content: Callable[[str], str], known: Mapping[str, str] | None) -> str:
    """The digest of files at a place by their names; all of the known have to be there."""
    missing = sorted((known or {}).keys() - set(names))
    if missing:
        raise PublishError(f"can't publish {place}: {missing[0]} is missing there; make it again")
    return names_digest(names, content, known)


def _objects_at(objects: S3Objects, urls: Mapping[str, str]) -> dict[str, ObjectInfo]:
    """The objects at these URLs, as far as they are there, by the names they were asked for by."""
    keys = {name: url.removeprefix(f"{objects.url}/") for name, url in urls.items()}
    folders = {key.rpartition("/")[0] for key in keys.values()}
    there = {info.key: info for folder in folders for info in objects.list(folder)}
    return {name: there[key] for name, key in keys.items() if key in there}


def _object_names(sizes: Mapping[str, int], data: str | None, place: str) -> dict[str, tuple[str, int]]:
    """The `objects` of `Staged`."""
    objects = {check_key(name): (object_name(name, data), size) for name, size in sizes.items()}
    if len({name for name, _ in objects.values()}) < len(objects):
        raise PublishError(f"can't publish {place}: two names differ only by a leading underscore; rename one")
    if not objects:
        raise PublishError(f"can't publish {place}: it holds no file, and a bucket has no empty folders")
    return objects


def object_name(name: str, data: str | None) -> str:
    """Name of a file's object: Athena and its like leave out those that start with an underscore."""
    folder, slash, last = name.rpartition("/")
    if data is None or fnmatchcase(name, data) or last.startswith("_"):
        return name
    return f"{folder}{slash}_{last}"


class Publisher:
    """Publishes folders into a bucket.

    Args:
        objects: the bucket.
        leftover_seconds: age from which a version that no pointer names was left by a killed publisher, and time for
            which a replaced one is kept for its readers.
    """

    def __init__(self, objects: S3Objects, *, leftover_seconds: float = LEFTOVER_SECONDS) -> None:
        self._objects = objects
        self._leftover = timedelta(seconds=leftover_seconds)

    def pointer(self, key: str) -> tuple[Pointer | None, str | None]:
        """The pointer of a folder and its etag; None if it was never published."""
        found = self._objects.get_tagged(pointer_key(key))
        if found is None:
            return None, None
        return parse_pointer(found.data, self._objects.uri(pointer_key(key))), found.etag

    def publish(
        self,
        key: str,
        staged: Path | str,
        *,
        data: str | None = None,
        known: Mapping[str, str] | None = None,
        kept: Mapping[str, str] | None = None,
        as_of: datetime | None = None,
        withdrawn: Collection[datetime] = (),
    ) -> str | None:
        """See `Store.publish` and, with `as_of`, `Store.publish_forecast`; None if that refuses."""
        _check_name(key)
        if isinstance(staged, str):
            return self._publish(key, staged_objects(self._objects, staged, data, known, kept), as_of, withdrawn)
        shown = self._publish(key, staged_folder(self._objects, staged, data, known, kept), as_of, withdrawn)
        if shown is not None:
            shutil.rmtree(staged)
        return shown

    def _publish(
        self, key: str, content: Staged, as_of: datetime | None = None, withdrawn: Collection[datetime] = ()
    ) -> str | None:
        instant = naive(as_of) if as_of else None
        uploaded: Version | None = None
        while True:
            before, etag = self.pointer(key)
            if not _admits(before, instant, {naive(moment) for moment in withdrawn}):
                self._discard(key, uploaded, before)
                return None
            if before is None or before.shown is None:
                self._check_free(key)
                if before is None and self._listing(key):
                    if self.pointer(key)[0] is not None:
                        continue  # somebody was faster, and has made the copies
                    raise PublishError(
                        f"{self._objects.uri(key)}/ holds objects that were not published by this code: "
                        "move them away (`aws s3 mv --recursive`) and run again"
                    )
            elif content.shown_by(before.shown) and before.as_of == instant and self._complete(key, before.shown):
                self._discard(key, uploaded, before)
                break
            version = uploaded or self._reusable(key, content, before)
            if version is None:
                version = uploaded = self._upload(key, content)
            after = _next_pointer(before, version, instant, content, self._leftover)
            if self._objects.put_if(pointer_key(key), after.to_json(), etag):
                self._remove_replaced(key, before, after)
                break
        self.heal(key)
        return content.digest[:16]

    def withdraw(self, key: str, *, for_readers: bool = False) -> bool:
        """See `Store.withdraw`. The pointer stays, and says that nothing is shown.

        Args:
            key: of the folder.
            for_readers: leave the versions for readers under way; the next call removes them.
        """
        _check_name(key)
        while True:
            before, etag = self.pointer(key)
            if before is None:
                return False
            gone = before.withdrawn or tuple(sorted(_named_versions(before)))
            if before.shown is None or self._objects.put_if(
                pointer_key(key), Pointer(None, withdrawn=gone).to_json(), etag
            ):
                break
        kept = for_readers and before.shown is not None
        removed = [self._remove_folder(key, folder) for folder in gone if not kept]
        self.heal(key)
        return before.shown is not None or any(removed)

    def hide(self, key: str) -> None:
        """Remove the copies of a folder that another one replaces; who goes by the pointer still finds it."""
        pointer, _ = self.pointer(key)
        if pointer is not None and pointer.shown is not None:
            self._objects.delete_all(f"{key}/{name}" for name in self._listing(key))

    def heal(self, key: str) -> None:
        """Make the copies under stable names those of the version that is shown, unless they are."""
        pointer, _etag = self.pointer(key)
        if pointer is None or self._stable(key, pointer):
            return
        for _ in range(HEALINGS):
            version = pointer.shown
            wanted = {file.object: file.size for file in version.files.values()} if version else {}
            whole = True
            try:
                if version is not None:
                    self._each(partial(self._copy_out, key, version), wanted.items())
            except FileNotFoundError:
                whole = False  # two publishings later this version is gone
            if whole:
                found = self._listing(key)
                self._objects.delete_all(f"{key}/{name}" for name in found if name not in wanted)
                copies = {name: [info.size, info.etag] for name, info in found.items() if name in wanted}
                self._objects.put(_stable_key(key), json.dumps({"id": pointer.id, "copies": copies}).encode())
            before = pointer
            pointer, _etag = self.pointer(key)
            if pointer is None:
                return
            if pointer != before:
                # The copies made here may have replaced those of who was faster, whatever the note says.
                continue
            if whole:
                return
            raise PublishError(
                f"objects of the version that {self._objects.uri(key)}/ shows were deleted by someone else: run again"
            )
        raise PublishError(f"the objects of {self._objects.uri(key)}/ keep changing: see who else writes there")

    def _copy_out(self, key: str, version: Version, item: tuple[str, int]) -> None:
        name, size = item
        self._objects.copy(f"{version_key(key, version)}/{name}", f"{key}/{name}", size)

    def _stable(self, key: str, pointer: Pointer) -> bool:
        """Whether the copies are this publication's, complete and as they were made."""
        note = self._objects.get_tagged(_stable_key(key))
        if note is None:
            return pointer.shown is None and not self._listing(key)
        document = json.loads(note.data)
        found = {name: [info.size, info.etag] for name, info in self._listing(key).items()}
        return bool(document == {"id": pointer.id, "copies": found})

    def _check_free(self, key: str) -> None:
        """Refuse to publish into or around another published folder."""
        parts = key.split("/")
        for length in range(1, len(parts)):
            parent = "/".join(parts[:length])
            found, _ = self.pointer(parent)
            if found is not None and found.shown is not None:
                raise PublishError(
                    f"can't publish {self._objects.uri(key)}: it is inside the published folder {parent}"
                )
        for info in self._objects.list(f"{POINTERS}/{key}"):
            inner = self._objects.get_tagged(info.key)
            if inner is not None and parse_pointer(inner.data, self._objects.uri(info.key)).shown is not None:
                raise PublishError(
                    f"can't publish {self._objects.uri(key)}: {info.key} says that a part of it is published"
                )

    def _reusable(self, key: str, content: Staged, before: Pointer | None) -> Version | None:
        """A version with this content that the pointer names, which keeps it from being removed, if it is complete."""
        for version in (before.shown, before.previous) if before else ():
            if version is not None and content.shown_by(version) and self._complete(key, version):
                return version
        return None

    def _complete(self, key: str, version: Version) -> bool:
        """Whether a version's objects are those that were uploaded."""
        found = self._listing(version_key(key, version))
        return {name: (info.size, info.etag) for name, info in found.items()} == {
            file.object: (file.size, file.etag) for file in version.files.values()
        }

    def _upload(self, key: str, content: Staged) -> Version:
        version = Version(new_folder_name(content.digest), {})
        folder = version_key(key, version)
        self._each(
            lambda name: content.put(name, f"{folder}/{content.objects[name][0]}"),
            content.objects,
        )
        found = self._listing(folder)
        sizes = {name: info.size for name, info in found.items()}
        if sizes != dict(content.objects.values()):
            raise PublishError(f"{self._objects.uri(folder)} is not what was uploaded there: run again")
        return Version(
            version.folder,
            {name: VersionFile(target, size, found[target].etag) for name, (target, size) in content.objects.items()},
        )

    def _listing(self, folder: str) -> dict[str, ObjectInfo]:
        """The objects of a folder by their names in it."""
        start = f"{folder}/"
        return {info.key.removeprefix(start): info for info in self._objects.list(folder) if info.key.startswith(start)}

    def _remove_replaced(self, key: str, before: Pointer | None, after: Pointer) -> None:
        """Versions that the pointer doesn't name any more, and what killed publishers left."""
        # Others may have published since: what the pointer names now is kept, too.
        written = self._objects.get_tagged(pointer_key(key))
        now = parse_pointer(written.data, self._objects.uri(pointer_key(key))) if written is not None else None
        named = _named_versions(before)
        kept = _named_versions(after) | _named_versions(now)
        folders: dict[str, list[ObjectInfo]] = defaultdict(list)
        for name, info in self._listing(f"{VERSIONS}/{key}").items():
            folders[name.partition("/")[0]].append(info)
        gone = []
        for folder, infos in folders.items():
            if folder in kept or not FOLDER_NAME.fullmatch(folder):
                continue
            newest = max(info.last_modified for info in infos)
            if folder in named or (written is not None and newest <= written.last_modified - self._leftover):
                gone += [info.key for info in infos]
        self._objects.delete_all(gone)

    def _discard(self, key: str, uploaded: Version | None, pointer: Pointer | None) -> None:
        """Remove a version that came too late. A pointer names it if the answer to its own write was lost."""
        if uploaded is not None and uploaded.folder not in _named_versions(pointer):
            self._remove_folder(key, uploaded.folder)

    def _remove_folder(self, key: str, folder: str) -> bool:
        """Remove a version's objects; whether there were any."""
        found = [info.key for info in self._objects.list(f"{VERSIONS}/{key}/{folder}")]
        self._objects.delete_all(found)
        return bool(found)

    @staticmethod
    def _each(work: Callable[[T], R], items: Iterable[T]) -> None:
        """Do the same for several objects at once; the first error is raised."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for _ in pool.map(work, items):
                pass


def _named_versions(pointer: Pointer | None) -> set[str]:
    """The folders of all versions that a pointer names."""
    if pointer is None:
        return set()
    versions = {version.folder for version in (pointer.shown, pointer.previous) if version}
    return versions | set(pointer.withdrawn) | {item.folder for item in pointer.retired}


def _check_name(key: str) -> None:
    first = check_key(key).partition("/")[0]
    if first in RESERVED:
        raise PublishError(f"can't publish at {key!r}: {first}/ is where versions and pointers are kept")


def _stable_key(key: str) -> str:
    return f"{STABLE}/{key}.json"


def _admits(before: Pointer | None, instant: datetime | None, withdrawn: Collection[datetime]) -> bool:
    """Whether a version made for `instant` (None: any) may be shown in place of the one before."""
    if instant is None or before is None or before.shown is None or before.as_of is None:
        return True
    return before.as_of <= instant or before.as_of in withdrawn


def _next_pointer(
    before: Pointer | None, version: Version, as_of: datetime | None, content: Staged, kept: timedelta
) -> Pointer:
    manifest = None
    if MANIFEST in content.objects and content.objects[MANIFEST][1] <= MAX_INLINE_BYTES:
        manifest = content.text(MANIFEST)
    if before is None or before.shown is None:
        return Pointer(version, None, as_of, manifest)
    # The same version again (another as-of, an object healed): the one before it stays the one before.
    previous = before.previous if before.shown.folder == version.folder else before.shown
    now = naive(datetime.now(UTC))
    retired = list(before.retired)
    named = {item.folder for item in (version, previous) if item} | {item.folder for item in retired}
    if before.previous is not None and before.previous.folder not in named:
        retired.append(Retired(before.previous.folder, now))
    retired = [item for item in retired if item.since > now - kept]
    return Pointer(version, previous, as_of, manifest, retired=tuple(retired))
