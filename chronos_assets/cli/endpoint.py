"""`endpoint`: the HTTP endpoint of the version in use."""

from __future__ import annotations

from pathlib import Path

import typer

from chronos_assets.cli.common import DataOption, Printer, UsageError, open_group, settings_for

app = typer.Typer(help="The HTTP endpoint of the version in use: status, deploy, stop.", no_args_is_help=True)


@app.command("status")
def status(data: DataOption = None) -> None:
    """Its address, the version it serves, and a sample of its answers."""
    _do("status", data)


@app.command("deploy")
def deploy(data: DataOption = None) -> None:
    """Start it, or give it the version in use."""
    _do("deploy", data)


@app.command("stop")
def stop(data: DataOption = None) -> None:
    """Stop it."""
    _do("stop", data)


def _do(action: str, data: Path | None) -> None:
    import dagster as dg

    from chronos_assets.cli.summary import endpoint_rows
    from chronos_assets.pipeline import serving
    from chronos_assets.pipeline.state import GroupState
    from chronos_assets.platforms.endpoints import EndpointError

    group = open_group(settings_for(data))
    try:
        name = serving.endpoint_name(GroupState(group))
        if action == "stop":
            print(f"endpoint {name} stopped" if group.endpoints.delete(name) else f"no endpoint {name} is up")
            return
        if action == "deploy":
            serving.deploy(GroupState(group), Printer())
        for label, text in endpoint_rows(group):
            print(f"{label:<10} {text}")
    except (dg.Failure, EndpointError) as error:
        raise UsageError(str(error)) from error
