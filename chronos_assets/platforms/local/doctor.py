"""Checkup of a deployment on this machine: the store, the disk, the packages, the UI's port."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from functools import partial
from importlib import metadata, util
from pathlib import Path

from chronos_assets.platforms.checkup import Check, CheckProblem, Finding, run_checks
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


def _store(folder: Path) -> str:
    if folder.exists() and not folder.is_dir():
        raise CheckProblem(f"{folder} is no folder", "set CHRONOS_STORE to one, or move the file away")
    place = _existing(folder)
    rights = f"give yourself the rights to write to {place}, or set CHRONOS_STORE to another folder"
    if place != folder:
        if not os.access(place, os.W_OK | os.X_OK):
            raise CheckProblem(f"{folder} isn't there, and {place} can't be written to", rights)
        return f"{folder} isn't there yet: the first run makes it"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            pass
    except OSError as error:
        raise CheckProblem(f"{folder} can't be written to: {error.strerror or error}", rights) from error
    return f"{folder} can be written to"


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(_existing(folder)).free
    what = f"{free / (1 << 30):.1f} GiB are free at {folder}"
    if free >= GOOD_FREE:
        return what
    fix = "free some space, or set CHRONOS_STORE to a folder of a larger disk"
    raise CheckProblem(what, fix, "failed" if free < LEAST_FREE else "warning")


def _packages() -> str:
    missing = [name for name in PACKAGES if util.find_spec(_MODULES.get(name, name.replace("-", "_"))) is None]
    if missing:
        raise CheckProblem(f"{', '.join(missing)} can't be imported", "run `make install`")
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def _port(port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fix = "end what listens there, or run `make ui PORT=<another>`"
            raise CheckProblem(f"port {port} can't be had: {error.strerror or error}", fix, "warning") from error
    return f"port {port} is free"


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _explain(name: str, error: Exception) -> Finding:
    return Finding(name, "unknown", f"{type(error).__name__}: {error}")
