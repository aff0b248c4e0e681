"""Checkup of a deployment on this machine: the store, the disk, the packages, the UI's port."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib import metadata, util
from pathlib import Path

from chronos_assets.platforms.checkup import Check, Finding, run_checks
from chronos_assets.platforms.local.store import store_folder
from chronos_assets.settings import Settings

LEAST_FREE, GOOD_FREE = 1 << 30, 5 << 30
PACKAGES = ("torch", "transformers", "chronos-forecasting", "dagster", "dagster-webserver", "duckdb", "optuna")
_MODULES = {"chronos-forecasting": "chronos"}


def examine(settings: Settings, *, port: int = 3000) -> list[Finding]:
    """What stands in the way of a run on this machine.

    Args:
        settings: of the deployment.
        port: of the UI.
    """
    folder = store_folder(settings.store) or Path(settings.store)
    checks: dict[str, Check] = {
        "store": partial(_store, folder),
        "disk": partial(_disk, folder),
        "packages": _packages,
        "UI port": partial(_port, port),
    }
    return run_checks(checks, _explain)


def _store(folder: Path) -> Iterator[Finding]:
    if folder.exists() and not folder.is_dir():
        yield Finding("store", "failed", f"{folder} is no folder", "set CHRONOS_STORE to one, or move the file away")
        return
    place = _existing(folder)
    if place != folder and not os.access(place, os.W_OK | os.X_OK):
        yield _not_writable(place, f"{folder} isn't there, and {place} can't be written to")
        return
    if place != folder:
        yield Finding("store", "ok", f"{folder} isn't there yet: the first run makes it")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            pass
    except OSError as error:
        yield _not_writable(folder, f"{folder} can't be written to: {error.strerror or error}")
        return
    yield Finding("store", "ok", f"{folder} can be written to")


def _not_writable(folder: Path, what: str) -> Finding:
    fix = f"give yourself the rights to write to {folder}, or set CHRONOS_STORE to another folder"
    return Finding("store", "failed", what, fix)


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(folder)).free
    what = f"{free / (1 << 30):.1f} GiB are free at {folder}"
    if free >= GOOD_FREE:
        yield Finding("disk", "ok", what)
        return
    fix = "free some space, or set CHRONOS_STORE to a folder of a larger disk"
    yield Finding("disk", "failed" if free < LEAST_FREE else "warning", what, fix)


def _packages() -> Iterator[Finding]:
    missing = [name for name in PACKAGES if util.find_spec(_MODULES.get(name, name.replace("-", "_"))) is None]
    if missing:
        yield Finding("packages", "failed", f"{', '.join(missing)} can't be imported", "run `make install`")
        return
    yield Finding("packages", "ok", ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES))


def _port(port: int) -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            what = f"port {port} can't be had: {error.strerror or error}"
            yield Finding("UI port", "warning", what, "end what listens there, or run `make ui PORT=<another>`")
            return
    yield Finding("UI port", "ok", f"port {port} is free")


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _explain(name: str, error: Exception) -> Finding:
    return Finding(name, "unknown", f"{type(error).__name__}: {error}")
