"""`ui`: the Dagster UI and its daemon on a store, and the dashboard beside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.cli import dashboard
from chronos_assets.cli.common import DataOption, UsageError, dagster_home, open_group, settings_for
from chronos_assets.cli.ports import check_port, free_port
from chronos_assets.platforms.file_locks import lock_file

if TYPE_CHECKING:
    from chronos_assets.settings import Settings

START_SECONDS = "180"  # for the process of a run; Dagster's own minute is too short for a computer under load


def ui(
    data: DataOption = None,
    port: Annotated[int, typer.Option(help="Port to serve on, on this machine only.")] = 3000,
    dashboard_port: Annotated[
        int | None, typer.Option(help="Port of the dashboard (default: the next free one).", show_default=False)
    ] = None,
) -> None:
    """Start the Dagster UI with sensors on, and the dashboard beside it, on the same store."""
    from chronos_assets.defs.dead_runs import end_dead_runs
    from chronos_assets.defs.instance import WORKSPACE, begin_daemon_here, open_instance, wake_sensors
    from chronos_assets.pipeline.window_settings import choose_windows, follow_data
    from chronos_assets.platforms.local.processes import workload_environment
    from chronos_assets.platforms.local.store import store_folder
    from chronos_assets.platforms.local.warm_workers import own_warm_workers
    from chronos_assets.store_layout import TRAIN_KEY

    settings = settings_for(data)
    home = dagster_home(settings).resolve()
    store = store_folder(settings.store)
    home.mkdir(parents=True, exist_ok=True)
    if store is not None:
        (store / TRAIN_KEY).mkdir(exist_ok=True)  # where files are dropped: `cp` makes no folder
    _take_store(home / ".ui.lock", port)
    check_port(port, f"make ui PORT={port + 1 if port < 65535 else 3000}")
    with open_instance(home, owned=not settings.dagster_home) as instance:
        for run_id in end_dead_runs(instance):
            print(f"run {run_id} had died; marked as failed")
        begin_daemon_here(instance)
        wake_sensors(instance)
    settings = follow_data(open_group(choose_windows(open_group(settings), os.environ, for_good=True)), os.environ)
    if settings.deployment == "local":
        own_warm_workers(workload_environment(Path("/")))  # of the program that takes this one's place, too
    environment = {
        "DAGSTER_GRPC_TIMEOUT_SECONDS": START_SECONDS,
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CHRONOS_STORE": settings.store if store is None else str(store.resolve()),
        "CHRONOS_PARTITIONS": settings.partitions,
        "CHRONOS_PARTITION_START": settings.partition_start,
        "CHRONOS_UI_URL": os.environ.get("CHRONOS_UI_URL") or f"http://127.0.0.1:{port}",
    }
    _start_dashboard(settings, dashboard_port, port)
    print("Ctrl-C stops the UI and its sensors. What they do is shown in the UI: Automation, Runs.", flush=True)
    program = [sys.executable, "-m", "chronos_assets.defs.ui_server"]
    # At Dagster's own level each look of each sensor is a line, several a second, which the addresses scroll away with.
    options = ["-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"]
    os.execve(sys.executable, [*program, "dev", *options], environment)  # noqa: S606 - our own interpreter


def _start_dashboard(settings: Settings, wanted: int | None, beside: int) -> None:
    """Start the dashboard, and print where both are; without the extra, or a free port, say so and continue.

    Raises:
        UsageError: the port that was asked for can't be used.
    """
    print(f"Dagster:   http://127.0.0.1:{beside}")
    if not dashboard.installed():
        print(f"dashboard: not installed; {dashboard.INSTALL}", flush=True)
        return
    if wanted is not None:
        check_port(wanted, f"chronos-assets ui --dashboard-port {wanted + 1}")
    port = wanted or free_port(beside + 1)
    if port is None:
        print("dashboard: no free port; choose one with --dashboard-port", flush=True)
        return
    print(f"dashboard: http://127.0.0.1:{port}", flush=True)
    dashboard.start_beside(settings, port)


def _take_store(lock: Path, port: int) -> None:
    """Hold the lock of the store's UI for as long as this process, and the program that takes its place, lives.

    Two daemons on one store would launch every run twice.

    Raises:
        UsageError: another UI holds it.
    """
    try:
        descriptor = lock_file(lock, seconds=0)
    except TimeoutError as error:
        there = lock.read_text().strip()
        raise UsageError(
            f"a UI is up on this store already ({there}): open it, or stop it before you start another"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"http://127.0.0.1:{port}, process {os.getpid()}\n".encode())
    os.set_inheritable(descriptor, True)
