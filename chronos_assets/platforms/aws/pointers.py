"""Pointers: one small object per published folder says which of its versions is shown.

Here: what a pointer holds, reading and checking it. Elsewhere: moving it (`publishing.py`).

A pointer is replaced in one conditional write, which makes one atomic step of publishing. It has an id of its own each
time it is written: two pointers are never equal, so that an etag that is the same means that nobody wrote in between.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chronos_assets.platforms.store import StoreError, check_key, naive

POINTERS = ".current"
VERSIONS = "versions"
MAX_INLINE_BYTES = 64 << 10  # a longer manifest is left in its object
FOLDER_NAME = re.compile(r"(?P<version>[0-9a-f]{16})-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class VersionFile:
    """One file of a version: name of its object, bytes, and the etag that the store gave the object."""

    object: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a published folder.

    Attributes:
        folder: its folder below `versions/<key>/`: the digest of names and contents, and a part of its own, so that a
            name is never used twice and what is removed can't be something new.
        files: name -> its object.
    """

    folder: str
    files: Mapping[str, VersionFile]

    @property
    def name(self) -> str:
        """The digest, which tells this content from any other."""
        return self.folder.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Retired:
    """A version that is no longer shown, nor the one before.

    Attributes:
        folder: its folder. since: the instant (naive, UTC) from which it is neither.
    """

    folder: str
    since: datetime


@dataclass(frozen=True)
class Pointer:
    """What a published folder shows.

    Attributes:
        shown: None after it was withdrawn.
        previous: the version before, kept for readers under way.
        as_of: the instant (naive, UTC) that a forecast was made for; None for other folders.
        manifest: text of the file `manifest.json`, if it is short.
        withdrawn: folders of the versions that a withdrawal removes.
        retired: older versions that may still be read: a job reads its input for as long as it runs.
        id: of this publication.
    """

    shown: Version | None
    previous: Version | None = None
    as_of: datetime | None = None
    manifest: str | None = None
    withdrawn: tuple[str, ...] = ()
    retired: tuple[Retired, ...] = ()
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def to_json(self) -> bytes:
        """The object's content."""
        shown, previous = self.shown, self.previous
        document = {
            "id": self.id,
            "version": shown and shown.name,
            "folder": shown and shown.folder,
            "as_of": self.as_of and self.as_of.isoformat(),
            "files": _files_document(shown),
            "manifest": self.manifest,
            "withdrawn": list(self.withdrawn),
            "retired": [{"folder": item.folder, "since": item.since.isoformat()} for item in self.retired],
            "previous": previous and {"folder": previous.folder, "files": _files_document(previous)},
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode()


def pointer_key(key: str) -> str:
    """Key of the pointer of a published folder."""
    return f"{POINTERS}/{check_key(key)}.json"


def version_key(key: str, version: Version) -> str:
    """Key of the folder with a version's objects."""
    return f"{VERSIONS}/{check_key(key)}/{version.folder}"


def new_folder_name(digest: str) -> str:
    """A name for a version's folder that no other has."""
    return f"{digest[:16]}-{secrets.token_hex(4)}"


def parse_pointer(data: bytes, where: str) -> Pointer:
    """The pointer that an object holds.

    Raises:
        StoreError: it holds something else; names become paths on this machine, so that none is taken unchecked.
    """
    try:
        document = json.loads(data)
        as_of = document["as_of"]
        return Pointer(
            shown=_version(document["folder"], document["files"]),
            previous=_version(document["previous"]["folder"], document["previous"]["files"])
            if document["previous"]
            else None,
            as_of=naive(datetime.fromisoformat(as_of)) if as_of else None,
            manifest=_text(document["manifest"]) if document["manifest"] is not None else None,
            withdrawn=tuple(_folder(name) for name in document["withdrawn"]),
            retired=tuple(
                Retired(_folder(item["folder"]), naive(datetime.fromisoformat(item["since"])))
                for item in document["retired"]
            ),
            id=_text(document["id"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"{where} is no pointer of a published folder ({error}): delete it and publish again"
        ) from error


def _files_document(version: Version | None) -> dict[str, dict[str, Any]]:
    if version is None:
        return {}
    return {name: {"object": file.object, "size": file.size, "etag": file.etag} for name, file in version.files.items()}


def _version(folder: Any, files: Mapping[str, Any]) -> Version | None:
    if folder is None:
        return None
    return Version(
        _folder(folder),
        {
            check_key(name): VersionFile(check_key(file["object"]), int(file["size"]), _text(file["etag"]))
            for name, file in files.items()
        },
    )


def _folder(name: Any) -> str:
    text = _text(name)
    if not FOLDER_NAME.fullmatch(text):
        raise ValueError(f"folder {name!r}")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
