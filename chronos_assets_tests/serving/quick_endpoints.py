"""Endpoints that answer in this process, through the whole HTTP application: a test of who asks needs no server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from chronos_assets.models.checkpoints import describe_model
from chronos_assets.models.loading import load_model
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest, EndpointState
from chronos_assets.platforms.store import Store
from chronos_assets.serving.app import build_app
from chronos_assets.workloads.serve import ServeOptions, build_endpoint


class QuickEndpoints:
    """`Endpoints` with one deployment at a time; `asked` has the requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._served: tuple[EndpointRequest, Any] | None = None
        self.asked: list[Mapping[str, Any]] = []

    def deploy(self, request: EndpointRequest, log: Any) -> EndpointState:
        where = str(request.model)
        folder = self._store.snapshot(where) if self._store.shown(where) is not None else Path(where)
        options = ServeOptions(
            endpoint=request.name, version=request.version, identity=request.identity, golden=request.golden
        )
        self._served = request, (options, load_model(describe_model(folder)))
        return self._state(request)

    def describe(self, name: str) -> EndpointState | None:
        return None if self._served is None else self._state(self._served[0])

    def invoke(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(document)
        assert self._served is not None
        endpoint = build_endpoint(*self._served[1])

        async def posted() -> httpx.Response:
            endpoint.start()
            try:
                transport = httpx.ASGITransport(build_app(endpoint))
                async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
                    return await client.post("/invocations", json=document)
            finally:
                await endpoint.stop()

        answer = asyncio.run(posted())
        if answer.status_code != 200:
            raise EndpointError(f"endpoint {name!r} answered {answer.status_code}: {answer.json()['message']}")
        return answer.json()

    def delete(self, name: str) -> bool:
        there, self._served = self._served is not None, None
        return there

    @staticmethod
    def _state(request: EndpointRequest) -> EndpointState:
        return EndpointState(request.name, "http://endpoint", request.version, request.identity, healthy=True)
