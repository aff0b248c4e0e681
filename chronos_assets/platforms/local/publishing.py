"""Atomic publishing on a local file system: readers see the old files or the new ones, whatever is killed when.

Here: swapping a folder in, and never back in time for the current forecast. Elsewhere:
what is in the files.

A published folder is a symbolic link, `forecast -> .versions/forecast-<digest>`; publishing moves a complete, synced
folder into `.versions/` and renames a new link over the old one, which POSIX makes one atomic step. Whoever reads
several files together must open one version: `current(target)`, or a file descriptor of the folder. The version before
is kept for readers under way, older ones are removed. What a killed publisher leaves lies in `.versions/` and goes with
the next publishing. `flock` on `.versions/lock` takes publishers in one folder one after another; the kernel frees it
when its holder dies.

POSIX only (Linux, macOS).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from chronos_assets.platforms.file_locks import locked_file
from chronos_assets.platforms.folder_files import folder_digest, plain_files
from chronos_assets.platforms.store import PublishError, naive
from chronos_assets.system import sync

VERSIONS = ".versions"
AS_OF_FILE = ".as_of"  # in a published forecast: the last period that it saw

_DIGEST_LENGTH = 16
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS
_AT_FDCWD = -100


def publish_directory(target: Path, staged: Path, *, known: Mapping[str, str] | None = None) -> Path:
    """Make `target` show the files of `staged`, atomically. `staged` is used up.

    A folder with the same content as the one shown changes nothing, so that repeating a run is free for readers.

    Args:
        target: path that readers use; a link that this function made, an ordinary folder (put aside as the version
            before) or nothing yet.
        staged: folder of plain files and folders; on the same file system it is moved, else copied.
        known: SHA-256 of some of its files, by name.

    Returns:
        The version folder that `target` now leads to.

    Raises:
        PublishError: `staged` isn't such a folder, or `target` is something that must not be replaced.
    """
    version = _publish(target, staged, admit=lambda: True, known=known)
    assert version is not None  # noqa: S101 - admit never refuses
    return version


def publish_forecast(target: Path, staged: Path, as_of: datetime, *, withdrawn: Collection[datetime] = ()) -> bool:
    """`publish_directory`, but never back in time: a forecast with later data behind it is left alone.

    The instant is kept in the folder itself (`.as_of`), and compared under the publishers' lock: of two runs that
    finish at once the later as-of wins, in whatever order they come.

    Args:
        target: as for `publish_directory`.
        staged: as for `publish_directory`.
        as_of: the last period that the forecast saw; naive means UTC.
        withdrawn: instants of a forecast that gives way although it is later, if it is still the one shown.

    Returns:
        Whether `target` now shows `staged`; if not, `staged` is untouched except for the added `.as_of`.
    """
    instant = naive(as_of)
    (staged / AS_OF_FILE).write_text(instant.isoformat() + "\n")

    def admit() -> bool:
        shown = published_as_of(target)
        return shown is None or shown <= instant or shown in {naive(moment) for moment in withdrawn}

    return _publish(target, staged, admit=admit) is not None


def remove_directory(target: Path) -> bool:
    """Remove what `publish_directory` published at `target`, all versions of it; whether there was anything.

    The link goes first: a killed removal leaves files that nobody is shown, and the next one removes them.

    Raises:
        PublishError: `target` is no link of ours: somebody else's folder is never removed.
    """
    versions = target.parent / VERSIONS
    if not versions.is_dir():
        return False
    with locked_file(versions / "lock"):
        shown = _shown_version(target)
        if target.is_symlink():
            target.unlink()
        elif target.exists():
            raise PublishError(f"{target} was not published by this code: remove it by hand if it is to go")
        _remove_leftovers(versions, target.name)
        kept = _versions_of(versions, target.name)
        for entry in kept:
            shutil.rmtree(entry.path)
    return shown is not None or bool(kept)


def put_aside(target: Path) -> None:
    """Show nothing at `target`, since its successor has been published at another place.

    Its files stay for readers under way; they go with the next call, as a version goes when two later ones are published.
    """
    versions = target.parent / VERSIONS
    with locked_file(versions / "lock"):
        _shown_version(target)  # refuses what is not ours
        left = _versions_of(versions, target.name)
        if target.is_symlink():
            target.unlink()
        elif target.exists():
            os.rename(target, _aside(target))
        else:
            for entry in left:
                shutil.rmtree(entry.path)


def published_as_of(target: Path) -> datetime | None:
    """The instant (naive, UTC) that the forecast at `target` was made for; None if there is none or it is unknown."""
    path = target / AS_OF_FILE
    try:
        return naive(datetime.fromisoformat(path.read_text().strip()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PublishError(f"{path} holds no ISO time ({error}): remove that file and run again") from error


def current(target: Path) -> Path:
    """The version folder that `target` leads to now: open all files that belong together below it.

    It stays until two later versions have been published.
    """
    return Path(os.path.realpath(target))


def _publish(
    target: Path, staged: Path, admit: Callable[[], bool], known: Mapping[str, str] | None = None
) -> Path | None:
    if staged.is_symlink() or not staged.is_dir():
        raise PublishError(f"nothing to publish at {target}: {staged} is not a folder")
    digest = folder_digest(staged, known)
    _sync_tree(staged)
    versions = target.parent / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    with locked_file(versions / "lock"):
        _remove_leftovers(versions, target.name)
        before = _shown_version(target)
        if not admit():
            return None
        version = _store_version(versions, target.name, digest, staged, before)
        if before != version.name:
            before = _show(target, version) or before
        _remove_versions(versions, target.name, shown=version.name, before=before)
    if staged.exists():  # a copy of it was published, or the same content was there already
        shutil.rmtree(staged)
    return version


def _shown_version(target: Path) -> str | None:
    """Name of the version folder that the link `target` names, or None if `target` isn't a link."""
    try:
        link = os.readlink(target)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        if not target.is_dir():
            raise PublishError(f"{target} is a file, a folder is published there: move it away and run again") from None
        return None
    folder, _, name = link.partition("/")
    if folder != VERSIONS or "/" in name:
        raise PublishError(f"{target} is a link to {link}, made by someone else: remove the link and run again")
    return name


def _store_version(versions: Path, name: str, digest: str, staged: Path, shown: str | None) -> Path:
    """Move `staged` to its place below `versions`, or find the same content there."""
    base = f"{name}-{digest[:_DIGEST_LENGTH]}"
    version = versions / base
    for attempt in range(1, 100):
        if not version.exists():
            break
        # Whatever lies there may have been edited by hand, or be half removed: only its content says.
        if folder_digest(version) == digest:
            return version
        if version.name != shown:
            shutil.rmtree(version)
            break
        version = versions / f"{base}.{attempt}"
    try:
        os.rename(staged, version)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        incoming = versions / f"{name}.incoming"
        shutil.copytree(staged, incoming)
        _sync_tree(incoming)
        os.rename(incoming, version)
    sync(versions)
    return version


def _show(target: Path, version: Path) -> str | None:
    """Point `target` at `version`; the name given to an ordinary folder that was in its place, if one was."""
    link = version.parent / f"{target.name}.link"
    os.symlink(f"{VERSIONS}/{version.name}", link)
    aside = None
    if target.is_dir() and not target.is_symlink():
        try:
            _exchange(link, target)
        except OSError as error:
            os.unlink(link)
            raise PublishError(
                f"{target} is an ordinary folder and can't be replaced in one step here ({error.strerror}): "
                f"move it away, for example to {target}.old, and run again"
            ) from error
        os.rename(link, place := _aside(target))
        aside = place.name
    else:
        os.replace(link, target)
    sync(target.parent)
    return aside


def _aside(target: Path) -> Path:
    """Where an ordinary folder is put that was at `target`; what was there before goes."""
    place = target.parent / VERSIONS / f"{target.name}-{'0' * _DIGEST_LENGTH}"
    with suppress(FileNotFoundError):
        shutil.rmtree(place)
    return place


def _exchange(one: Path, other: Path) -> None:
    """Swap two paths in one atomic step, whatever they are.

    renameat2(2) with RENAME_EXCHANGE on Linux, renamex_np(2) with RENAME_SWAP on macOS.
    """
    library = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(*paths, _EXCHANGE)
        else:
            failed = library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE)
    except AttributeError as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def _remove_leftovers(versions: Path, name: str) -> None:
    """What a killed publisher of `name` left half made. Only under the lock."""
    for leftover in (versions / f"{name}.link", versions / f"{name}.incoming"):
        if leftover.is_symlink():
            leftover.unlink()
        elif leftover.is_dir():
            shutil.rmtree(leftover)


def _remove_versions(versions: Path, name: str, shown: str, before: str | None) -> None:
    """All but the version shown and the one before it, which is the newest of the others where `before` can't tell."""
    others = [entry for entry in _versions_of(versions, name) if entry.name != shown]
    others.sort(key=lambda entry: (entry.name == before, entry.stat().st_mtime_ns))
    for entry in others[:-1]:
        shutil.rmtree(entry.path)


def _versions_of(versions: Path, name: str) -> list[os.DirEntry[str]]:
    """Every version folder of `name`."""
    pattern = re.compile(re.escape(name) + rf"-[0-9a-f]{{{_DIGEST_LENGTH}}}(\.\d+)?")
    with os.scandir(versions) as entries:
        return [entry for entry in entries if pattern.fullmatch(entry.name)]


def _sync_tree(folder: Path) -> None:
    """Files first, then the folders that name them, so that no name survives a power cut without its content."""
    for path in plain_files(folder):
        sync(path)
    for root, _, _ in os.walk(folder, topdown=False):
        sync(Path(root))
