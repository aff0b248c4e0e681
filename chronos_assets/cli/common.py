"""What several commands share: their options, the settings and the store behind them, and how they refuse.

Here: shared options, settings of a command, the folder of its Dagster instance, `UsageError`. Elsewhere:
what a single command prints.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.system import text_digest

if TYPE_CHECKING:
    from chronos_assets.pipeline.group import Group
    from chronos_assets.pipeline.state import GroupState
    from chronos_assets.settings import Settings

NAME = "chronos-assets"
STORES = Path("stores")

DataOption = Annotated[
    Path | None, typer.Option("--data", help="The folder that you gave to `run`.", show_default=False)
]


class UsageError(ChronosAssetsError):
    """The command can't do what was asked; the message says why and what to do.

    Args:
        message: for the user; the command prints its beginning if it is long.
        log: file that has the whole of it.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class Printer:
    """A log for what runs outside of Dagster: information on standard output, warnings on standard error."""

    def info(self, message: str) -> None:
        """Print a line for the user."""
        print(message)

    def warning(self, message: str) -> None:
        """Print a line that something may be wrong."""
        print(message, file=sys.stderr)


def settings_for(data: Path | None, env: Mapping[str, str] | None = None) -> Settings:
    """The environment's settings; a data folder gets a store of its own unless `CHRONOS_STORE` names one.

    Windows that no variable sets are those that the store remembers.

    Raises:
        SettingsError: a variable has a value that can't be used.
    """
    from chronos_assets.settings import Settings

    values = os.environ if env is None else env
    settings = Settings.from_env(values)
    if data is not None and not values.get("CHRONOS_STORE"):
        folder = data.resolve()
        slug = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-") or "data"
        settings = replace(settings, store=str(STORES / f"{slug}-{text_digest(str(folder))[:6]}"))
    from chronos_assets.pipeline.window_settings import with_remembered_windows
    from chronos_assets.platforms.local.store import store_folder

    store = store_folder(settings.store)
    return settings if store is None else with_remembered_windows(settings, store, values)


def open_group(settings: Settings) -> Group:
    """The dataset group in the settings' store."""
    from chronos_assets.pipeline.group import Group

    return Group(settings)


def open_state(data: Path | None) -> GroupState:
    """The state of the dataset group of a command's folder."""
    from chronos_assets.pipeline.state import GroupState

    return GroupState(open_group(settings_for(data)))


def program() -> str:
    """This command as its user can type it: by its path where the shell wouldn't find it."""
    called = sys.argv[0]
    return called if Path(called).name == NAME and shutil.which(NAME) is None else NAME


def make_flag(data: Path | None) -> str:
    """How `make` is given a command's folder, after a blank; empty without one."""
    return "" if data is None else f" DATA={shlex.quote(str(data))}"


def dagster_home(settings: Settings) -> Path:
    """Folder of the Dagster instance, see `Group.dagster_home`.

    Raises:
        UsageError: Dagster's SQLite storage, or DuckDB, would take the path for another one.
    """
    from chronos_assets.platforms.local.store import store_folder

    store, home = store_folder(settings.store), open_group(settings).dagster_home
    if store is not None and "\\" in str(store.absolute()):
        raise UsageError(
            f"{store.absolute()}: DuckDB takes a backslash for a slash, and would look for the SQL tables elsewhere: "
            "choose another store (CHRONOS_STORE)"
        )
    # Dagster puts the path into a URL as it is.
    if found := re.search(r"\?|%[0-9A-Fa-f]{2}", str(home.absolute())):
        raise UsageError(
            f"{home.absolute()}: Dagster can't keep its database in a path with {found[0]!r}: "
            "choose another store (CHRONOS_STORE), or set DAGSTER_HOME to a folder without it"
        )
    return home
