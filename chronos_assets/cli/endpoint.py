"""`endpoint`: the HTTP endpoint of the version in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.cli.common import DataOption, Printer, open_group, open_state, settings_for
from chronos_assets.cli.ports import check_port

if TYPE_CHECKING:
    from chronos_assets.pipeline.group import Group

app = typer.Typer(
    help="The HTTP endpoint of the version in use: status, deploy, stop; or published forecasts alone.",
    no_args_is_help=True,
)


@app.command("status")
def status(data: DataOption = None) -> None:
    """Show the endpoint's address, the version it serves, and a sample answer."""
    _print_endpoint(open_group(settings_for(data)))


@app.command("deploy")
def deploy(data: DataOption = None) -> None:
    """Start the endpoint, or move it to the version in use."""
    from chronos_assets.pipeline import serving

    state = open_state(data)
    serving.deploy(state, Printer())
    _print_endpoint(state.group)


@app.command("stop")
def stop(data: DataOption = None) -> None:
    """Stop the endpoint."""
    from chronos_assets.pipeline import serving

    state = open_state(data)
    name = serving.endpoint_name(state)
    print(f"endpoint {name} stopped" if state.group.endpoints.delete(name) else f"no endpoint {name} is up")


@app.command("forecasts")
def forecasts(
    data: DataOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on, on the loopback address.")] = 8090,
) -> None:
    """Answer QueryForecast from the published forecasts, without a model, until interrupted."""
    import asyncio

    from chronos_assets.pipeline.serving import forecast_arn, forecast_places
    from chronos_assets.serving.forecast_queries import ForecastPlaces, ForecastQueries
    from chronos_assets.serving.forecast_server import ForecastServer, build_forecast_app
    from chronos_assets.serving.hosting import Hosting, host

    state = open_state(data)
    group = state.group
    places, arn = ForecastPlaces(**forecast_places(state)), forecast_arn(state)
    check_port(port, f"chronos-assets endpoint forecasts --port {port + 1 if port < 65535 else 8090}")
    remote = group.settings.deployment == "aws"
    folder_at = _looked_up(group.store.snapshot) if remote else group.store.snapshot
    server = ForecastServer(ForecastQueries(places, folder_at))
    print(f"http://127.0.0.1:{port} answers boto3's forecastquery: ForecastArn {arn}", flush=True)
    asyncio.run(host(server, build_forecast_app(server), Hosting(host="127.0.0.1", port=port), Path()))


def _looked_up(snapshot: Callable[[str], Path]) -> Callable[[str], Path]:
    """A store's `snapshot`, asked at most once a second for each place: in a bucket each look is a request."""
    seen: dict[str, tuple[float, Path]] = {}

    def folder_at(place: str) -> Path:
        when, folder = seen.get(place, (-1.0, Path()))
        if time.monotonic() - when >= 1.0:
            folder = snapshot(place)
            seen[place] = time.monotonic(), folder
        return folder

    return folder_at


def _print_endpoint(group: Group) -> None:
    from chronos_assets.cli.summary import endpoint_rows

    for label, text in endpoint_rows(group):
        print(f"{label:<10} {text}")
