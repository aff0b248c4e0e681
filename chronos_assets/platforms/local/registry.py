"""The model registry on a local file system: one readable JSON file for each version, `packages/<group>/<n>.json`.

Belongs here: numbering versions, writing them whole, and reading them with care, since people may edit them. Does not
belong here: what a status means (`base.approved_version`), approving and rolling back (`registry_actions`), what is
decided about a version (`timeseries.gate`), what is in its document.

```
{
  "format_version": 1,
  "group": "retail", "version": 3,
  "status": "Rejected", "reason": "superseded by the approval of retail/2",
  "model": "models/retail-0123456789ab", "identity": "...",
  "document": {...},
  "history": [{"at": "2026-01-01T12:00:00.000+00:00", "status": "Approved", "reason": "...", "by": "registration"}, ...]
}
```

Writers of a group go one after another (`flock` on its `.lock`). A file is written and synced under another name; a
new version is then linked to its own, which fails if there is one, and a change is renamed over it: readers, who take
no lock, see each version as it was before or as it is after, whoever is killed when. A number is never used again, even
if the file of the highest version was removed: `.lock` remembers it.

POSIX only (Linux, macOS).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, get_args

from chronos_assets.platforms.base import (
    Approval,
    PackageVersion,
    RegistryError,
    Store,
    StoreKeyError,
    check_key,
)
from chronos_assets.platforms.local.locks import locked_file

PACKAGES = "packages"
FORMAT_VERSION = 1
REGISTRATION = "registration"  # who set a version's first status

_STATUSES: tuple[str, ...] = get_args(Approval)
_GROUP = re.compile(r"[A-Za-z0-9](?:-*[A-Za-z0-9]){0,62}")  # what SageMaker allows for a model package group
_FILE = re.compile(r"([1-9][0-9]{0,8})\.json")
_INCOMING = ".incoming"
_TEXTS = ("reason", "model", "identity")


class LocalRegistry:
    """A `Registry` in a store's folder `packages`.

    Args:
        store: on this machine.
    """

    def __init__(self, store: Store) -> None:
        self._folder = store.local_path(PACKAGES)

    def register(
        self, group: str, *, model: str, identity: str, document: Mapping[str, Any], status: Approval, reason: str
    ) -> PackageVersion:
        """See `Registry.register`.

        Raises:
            RegistryError: the group's name, the status, the model's key or the document can't be registered, or a
                version that is there can't be read.
        """
        folder = self._group_folder(group)
        _check_status(status)
        if not identity:
            raise RegistryError(f"a version of {group} without an identity: give the digest of what it was made from")
        try:
            check_key(model)
        except StoreKeyError as error:
            raise RegistryError(f"the model of a version of {group} must lie in the store: {error}") from error
        line = _one_line(reason)
        made = PackageVersion(
            group=group,
            version=1,
            status=status,
            reason=line,
            model=model,
            identity=identity,
            document=dict(document),
            history=(_entry(status, line, REGISTRATION),),
        )
        # What can't be registered is refused before anything is made; what is given back is what will be read.
        made = replace(made, document=json.loads(_encode(made))["document"])
        folder.mkdir(parents=True, exist_ok=True)
        with locked_file(folder / ".lock") as lock:
            there = self.versions(group)
            for version in there:
                if version.identity == identity:
                    return version
            made = replace(made, version=max(_highest_used(lock, folder), *(item.version for item in there), 0) + 1)
            target = folder / f"{made.version}.json"
            incoming = _write_incoming(folder, made)
            try:
                os.link(incoming, target)
            except FileExistsError as error:
                raise RegistryError(f"{target} was made by a program that doesn't take the lock: run again") from error
            os.unlink(incoming)
            _sync(folder)
            _remember(lock, made.version)
        return made

    def versions(self, group: str) -> list[PackageVersion]:
        """See `Registry.versions`.

        Raises:
            RegistryError: a version can't be read; the message names the file and the mend.
        """
        folder = self._group_folder(group)
        return [_read(folder / f"{number}.json", group, number) for number in _numbers(folder)]

    def set_status(
        self, group: str, version: int, status: Approval, *, reason: str, by: str, expected: Approval | None = None
    ) -> PackageVersion:
        """See `Registry.set_status`. What was decided before stays in the history, and what was registered as it is.

        Raises:
            RegistryError: also if the status is none, or the version can't be read.
        """
        folder = self._group_folder(group)
        _check_status(status)
        if version not in _numbers(folder):
            raise RegistryError(f"there is no version {version} of {group}: {_listed(group, self.versions(group))}")
        with locked_file(folder / ".lock"):
            before = _read(folder / f"{version}.json", group, version)
            if expected is not None and before.status != expected:
                raise RegistryError(
                    f"{before.name} is {before.status}, no longer {expected}: someone else decided; look at it again"
                )
            line = _one_line(reason)
            after = replace(before, status=status, reason=line, history=(*before.history, _entry(status, line, by)))
            os.replace(_write_incoming(folder, after), folder / f"{version}.json")
            _sync(folder)
        return after

    def _group_folder(self, group: str) -> Path:
        if not _GROUP.fullmatch(group):
            raise RegistryError(f"model package group {group!r}: use up to 63 letters, digits and inner hyphens")
        return self._folder / group


def _numbers(folder: Path) -> list[int]:
    """The numbers of the versions in a group's folder, ascending."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise RegistryError(f"{folder} is a file, versions are kept there: move it away") from error
    return sorted(int(match[1]) for match in map(_FILE.fullmatch, names) if match)


def _write_incoming(folder: Path, version: PackageVersion) -> Path:
    """A version's file, whole and on the disk, under a name that nobody reads. Only under the lock."""
    incoming = folder / _INCOMING
    # A writer that was killed may have linked it to a version already: writing into it would change that.
    incoming.unlink(missing_ok=True)
    with incoming.open("xb") as file:
        file.write(_encode(version))
        file.flush()
        os.fsync(file.fileno())
    return incoming


def _encode(version: PackageVersion) -> bytes:
    header = {"format_version": FORMAT_VERSION}
    try:
        text = json.dumps(header | asdict(version), indent=2, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except (TypeError, ValueError) as error:
        raise RegistryError(f"the document of a version of {version.group} is not JSON: {error}") from error


def _read(path: Path, group: str, number: int) -> PackageVersion:
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
        if document["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version is {document['format_version']!r}, this program knows {FORMAT_VERSION}")
        if (document["group"], document["version"]) != (group, number):
            raise ValueError(f"it says that it is {document['group']}/{document['version']}")
        _check_status(document["status"])
        for name in _TEXTS:
            if not isinstance(document[name], str):
                raise ValueError(f"{name} is not a text")
        if not isinstance(document["document"], dict):
            raise ValueError("document is not an object")
        history = document["history"]
        if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
            raise ValueError("history is not a list of objects")
        check_key(document["model"])
    except FileNotFoundError as error:
        raise RegistryError(f"{path} is gone: someone removed that version; look at the registry again") from error
    except (ValueError, KeyError, OSError, RegistryError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise RegistryError(
            f"{path} can't be read ({said}): correct it, or move it away, which removes that version"
        ) from error
    return PackageVersion(
        group=group,
        version=number,
        status=document["status"],
        reason=document["reason"],
        model=document["model"],
        identity=document["identity"],
        document=document["document"],
        history=tuple(history),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _highest_used(lock: int, folder: Path) -> int:
    """The number that the lock's file remembers, 0 if it is new."""
    text = os.pread(lock, 32, 0).decode("ascii", errors="replace").strip()
    if text and not text.isdecimal():
        raise RegistryError(f"{folder / '.lock'} holds {text!r}, not the highest number used: remove that file")
    return int(text or 0)


def _remember(lock: int, number: int) -> None:
    """Numbers only grow, so that the longer text covers the shorter one. A kill before this leaves the version's file,
    which says the same."""
    os.pwrite(lock, f"{number}\n".encode(), 0)
    os.fsync(lock)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(status: str, reason: str, by: str) -> dict[str, str]:
    return {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "status": status, "reason": reason, "by": by}


def _check_status(status: object) -> None:
    if status not in _STATUSES:
        raise RegistryError(f"status {status!r} is none: use {', '.join(_STATUSES)}")


def _one_line(reason: str) -> str:
    return " ".join(reason.split())


def _listed(group: str, versions: list[PackageVersion]) -> str:
    if not versions:
        return f"nothing was registered as {group} yet"
    return "there is " + ", ".join(f"{item.version} ({item.status})" for item in versions[-10:])
