"""The commands of `chronos-assets` as documents are held against them: names and options."""

from typing import Any

import typer

from chronos_assets.cli.app import app


def subcommands() -> dict[str, Any]:
    """Command (or group of commands) of each name."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def options(command: Any) -> set[str]:
    """Options of a command, and of its own subcommands."""
    own = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    return own.union(*(options(inner) for inner in getattr(command, "commands", {}).values()))
