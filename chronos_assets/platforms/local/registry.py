"""The model registry on a local file system: one readable JSON file for each version, `packages/<group>/<n>.json`.

Here: numbering versions, writing them whole, and reading them with care, since people may edit them. Elsewhere:
what is in a file, what a status means, approving and rolling back (`platforms.registry`), what is decided
about a version (`timeseries.scoring.gate`).

Writers of a group go one after another (`flock` on its `.lock`). A file is written and synced under another name; a
new version is then linked to its own, which fails if there is one, and a change is renamed over it: readers, who take
no lock, see each version as it was before or as it is after, whoever is killed when. A number is never used again, even
if the file of the highest version was removed: `.lock` remembers it.

POSIX only (Linux, macOS).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chronos_assets.platforms.file_locks import locked_file
from chronos_assets.platforms.registry import (
    PACKAGES,
    Approval,
    PackageVersion,
    RegistryError,
    check_group,
    check_status,
    check_undecided,
    decode,
    encode,
    listed,
    new_version,
    with_status,
)
from chronos_assets.platforms.store import Store
from chronos_assets.system import sync

_FILE = re.compile(r"([1-9][0-9]{0,8})\.json")
_INCOMING = ".incoming"


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
        # What can't be registered is refused before anything is made; what is given back is what will be read.
        made = new_version(group, model=model, identity=identity, document=document, status=status, reason=reason)
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
            sync(folder)
            _remember(lock, made.version)
        return made

    def versions(self, group: str) -> list[PackageVersion]:
        """See `Registry.versions`.

        Raises:
            RegistryError: a version can't be read; the message names the file and how to fix it.
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
        check_status(status)
        if version not in _numbers(folder):
            raise RegistryError(f"there is no version {version} of {group}: {listed(group, self.versions(group))}")
        with locked_file(folder / ".lock"):
            before = _read(folder / f"{version}.json", group, version)
            check_undecided(before, expected)
            after = with_status(before, status, reason=reason, by=by)
            os.replace(_write_incoming(folder, after), folder / f"{version}.json")
            sync(folder)
        return after

    def _group_folder(self, group: str) -> Path:
        return self._folder / check_group(group)


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
        file.write(encode(version))
        file.flush()
        os.fsync(file.fileno())
    return incoming


def _read(path: Path, group: str, number: int) -> PackageVersion:
    fix = "correct it, or move it away, which removes that version"
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RegistryError(f"{path} is gone: someone removed that version; look at the registry again") from error
    except OSError as error:
        raise RegistryError(f"{path} can't be read ({error}): {fix}") from error
    return decode(data, group, number, str(path), fix)[0]


def _highest_used(lock: int, folder: Path) -> int:
    """The number that the lock's file remembers, 0 if it is new."""
    text = os.pread(lock, 32, 0).decode("ascii", errors="replace").strip()
    if text and not text.isdecimal():
        raise RegistryError(f"{folder / '.lock'} holds {text!r}, not the highest number used: remove that file")
    return int(text or 0)


def _remember(lock: int, number: int) -> None:
    """Write the highest number down.

    Numbers only grow, so that the longer text covers the shorter one. A kill before this leaves the version's file, which
    says the same.
    """
    os.pwrite(lock, f"{number}\n".encode(), 0)
    os.fsync(lock)
