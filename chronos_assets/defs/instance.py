"""The Dagster instance of a store: its folder, its configuration, its first opening.

Here: where the configuration comes from (the package, `dagster.yaml` and `workspace.yaml` beside this module) and how
an instance is opened by several processes at once. Elsewhere: what runs in it.

The working directory has no say: started from anywhere, Dagster runs without telemetry, with run monitoring, pools and
retention as the package has them.
"""

from __future__ import annotations

import importlib
import shutil
import sqlite3
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import SensorInstigatorData
from sqlalchemy.exc import DatabaseError

from chronos_assets.defs.instance_engines import close_connections, keep_engines
from chronos_assets.defs.old_runs import remove_old_logs
from chronos_assets.defs.step_output import show_by_threads
from chronos_assets.errors import ChronosAssetsError, disk_trouble
from chronos_assets.platforms.file_locks import locked_file

CONFIG = Path(__file__).parent / "dagster.yaml"
WORKSPACE = Path(__file__).parent / "workspace.yaml"


class InstanceError(ChronosAssetsError):
    """Dagster's own storage can't be used; the message says where it is and what may be done."""


def open_instance(home: Path, *, owned: bool = True) -> dg.DagsterInstance:
    """The Dagster instance in `home`.

    Args:
        home: its folder, made if it isn't there.
        owned: whether the folder is the package's: then its dagster.yaml is written again from the package's, and logs of old
            runs are removed. In a folder of the user's (`DAGSTER_HOME`) only a missing dagster.yaml is written.

    Raises:
        InstanceError: its databases are damaged, full, locked or out of reach.
    """
    read_migrations_once()
    keep_engines()
    show_by_threads()
    close_connections()  # whatever has become of the files meanwhile
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    # Dagster makes its databases as they are first used: two processes that do so at once get in each other's way.
    with locked_file(home / ".open.lock"):
        if owned or not config.exists():
            staged = home / ".dagster.yaml.new"
            shutil.copyfile(CONFIG, staged)
            staged.replace(config)
        if owned:
            remove_old_logs(home)
        try:
            instance = dg.DagsterInstance.from_config(str(home))
            instance.get_run_records(limit=1)
            instance.all_asset_keys()
            _ = instance.schedule_storage
        except Exception as error:
            if trouble := storage_trouble(error, home):
                raise InstanceError(trouble) from error
            raise
    return instance


def storage_trouble(error: BaseException, home: Path) -> str:
    """What is wrong with the storage of the instance in `home`, and how to fix it; empty where the error is another's.

    A storage that is full, locked or out of reach is no reason to give it up, as a damaged one is.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, DatabaseError):
        found = found.__cause__  # dagster-postgres has an error of its own for a server that stays away
    if found is None:
        return ""
    if trouble := disk_trouble(found):
        return f"{home}: {trouble}"
    said = " ".join(str(found.orig).split())
    if not isinstance(found.orig, sqlite3.Error):
        return (
            f"Dagster's storage doesn't answer ({said}): start its database, or correct {home}/dagster.yaml, and run again; "
            "what is published stays as it was"
        )
    if "locked" in said:
        return (
            f"{home}: Dagster's storage is in use by another process ({said}): wait until that has ended, and run again"
        )
    if "readonly" in said:
        return f"{home}: Dagster's storage can't be written to ({said}): let this user write there"
    return (
        f"{home}: Dagster's storage can't be read ({said}): move the folder away (the history of runs is lost, "
        "forecasts and models are not), or restore it from a backup"
    )


@cache
def read_migrations_once() -> None:
    """Let this process load Dagster's migration scripts once.

    Dagster loads all of them, 90 files, each time that it opens one of its databases, to see whether that is up to date, and
    when it makes one. A code server opens three at each tick of a sensor, and spent two thirds of its time on it. A release
    that does so in another way takes as long as it does.
    """
    modules: list[Any] = [importlib.import_module(name) for name in ("dagster._core.storage.sql", "alembic.command")]
    reading = [module for module in modules if hasattr(module, "ScriptDirectory")]
    if reading:
        # Dagster keeps the configurations of its three databases, so that there are three directories.
        read_once = SimpleNamespace(from_config=cache(reading[0].ScriptDirectory.from_config))
        for module in reading:
            module.ScriptDirectory = read_once


def wake_sensors(instance: dg.DagsterInstance, now: float | None = None) -> None:
    """Let sensors tick that ticked at a time to come: the clock was ahead, and has been set back.

    Dagster would let them wait until that time has passed.

    Args:
        instance: of the daemon that is about to start.
        now: seconds since 1970; by default the clock's.
    """
    now = time.time() if now is None else now
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData):
            continue
        times = {name: getattr(data, name) for name in ("last_tick_timestamp", "last_tick_start_timestamp")}
        ahead = {name: None for name, at in times.items() if at is not None and at > now}
        if ahead:
            instance.update_instigator_state(state.with_data(data._replace(**ahead)))


def begin_daemon_here(instance: dg.DagsterInstance) -> None:
    """Let a daemon that was never up begin with what happens from now on.

    It would do so by itself, with a warning that nobody can act on.
    """
    from dagster._daemon.auto_run_reexecution.event_log_consumer import DAGSTER_EVENT_TYPES, _create_cursor_key

    storage = instance.daemon_cursor_storage
    keys = {_create_cursor_key(event_type) for event_type in DAGSTER_EVENT_TYPES}
    missing = keys - storage.get_cursor_values(keys).keys()
    if missing:
        newest = instance.event_log_storage.get_maximum_record_id() or 0
        storage.set_cursor_values({key: str(newest) for key in missing})
