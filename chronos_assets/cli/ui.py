"""`ui`: the Dagster UI and its daemon on a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from chronos_assets.cli.common import CONFIG, DataOption, dagster_home, settings_for


def ui(
    data: DataOption = None, port: Annotated[int, typer.Option(help="To serve on, on this machine only.")] = 3000
) -> None:
    """The Dagster UI with sensors on, on the same store."""
    from chronos_assets.defs.main_job import end_dead_runs, open_instance
    from chronos_assets.platforms.local.store import store_folder

    settings = settings_for(data)
    home = dagster_home(settings).resolve()
    store = store_folder(settings.store)
    with open_instance(home, CONFIG) as instance:
        end_dead_runs(instance)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CHRONOS_STORE": settings.store if store is None else str(store.resolve()),
        "CHRONOS_UI_URL": os.environ.get("CHRONOS_UI_URL") or f"http://127.0.0.1:{port}",
    }
    source = ["-w", "workspace.yaml"] if Path("workspace.yaml").is_file() else ["-m", "chronos_assets.definitions"]
    program = [sys.executable, "-m", "chronos_assets.defs.ui_server"]
    os.execve(  # noqa: S606 - our own interpreter
        sys.executable, [*program, "dev", *source, "-h", "127.0.0.1", "-p", str(port)], environment
    )
