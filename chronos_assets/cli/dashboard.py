"""`dashboard`: the pages for the people who read forecasts."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.cli.common import DataOption, UsageError, settings_for
from chronos_assets.cli.ports import check_port

if TYPE_CHECKING:
    from chronos_assets.settings import Settings

PORT = 8501
INSTALL = "pip install 'chronos-assets[dashboard]'"
SERVER = "chronos_assets.dashboard.server"


def dashboard(
    data: DataOption = None,
    port: Annotated[int, typer.Option(help="Port to serve on.")] = PORT,
    host: Annotated[
        str, typer.Option(help="Address to serve on; beyond this machine only with a login (CHRONOS_DASHBOARD_LOGIN).")
    ] = "127.0.0.1",
) -> None:
    """Start the dashboard for the people who read forecasts: overview, items to look at, each item, what-if, models."""
    settings = settings_for(data)
    if not installed():
        raise UsageError(f"the dashboard isn't installed: {INSTALL}")
    check_port(port, f"chronos-assets dashboard --port {_other_port(port)}", host)
    command = [sys.executable, "-m", SERVER, "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, environment(settings))  # noqa: S606 - our own interpreter


def installed() -> bool:
    """Whether the extra `dashboard` is."""
    return find_spec("streamlit") is not None


def start_beside(settings: Settings, port: int) -> None:
    """Start the dashboard on loopback as a process that ends with this one, and with the program that takes its place."""
    command = [sys.executable, "-m", SERVER, "--host", "127.0.0.1", "--port", str(port), "--beside", str(os.getpid())]
    subprocess.Popen(command, env=environment(settings), stdin=subprocess.DEVNULL)


def environment(settings: Settings) -> dict[str, str]:
    """Variables of the dashboard's process: those of this one, and the store by its whole path."""
    from chronos_assets.platforms.local.store import store_folder

    store = store_folder(settings.store)
    return {
        **os.environ,
        "CHRONOS_STORE": settings.store if store is None else str(Path(store).resolve()),
        # Streamlit asks on the terminal for a mail address unless it is set not to.
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    }


def _other_port(port: int) -> int:
    return port + 1 if port < 65535 else PORT
