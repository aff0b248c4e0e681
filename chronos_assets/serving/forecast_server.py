"""A server that knows published forecasts and no model: `forecast_queries` alone.

Here: its routes. Elsewhere: the endpoint of a model (`app`), processes and sockets (`hosting`).
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.parquet  # noqa: F401 - loaded before the server listens, so that the first question doesn't wait for it
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from chronos_assets.serving.forecast_queries import ForecastQueries
from chronos_assets.serving.request_log import RequestLog


@dataclass
class ForecastServer:
    """What one process serves.

    Attributes:
        queries: answers questions.
        draining: set when no new connection is taken.
    """

    queries: ForecastQueries
    draining: bool = False

    def start(self) -> None:
        """Nothing has to run before the first request."""

    async def stop(self) -> None:
        """Nothing is left to be done after the last one."""


def build_forecast_app(server: ForecastServer) -> ASGIApp:
    """The ASGI application: `POST /` and `GET /ping`; it has no lifespan."""

    async def ping(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    app = Starlette(
        routes=[Route("/", server.queries.respond, methods=["POST"]), Route("/ping", ping, methods=["GET"])]
    )
    app.router.redirect_slashes = False
    return RequestLog(app, server)
