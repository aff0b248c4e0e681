"""Endpoints: the protocol, its values, and what every platform's endpoints share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from chronos_assets.errors import ChronosAssetsError


@dataclass(frozen=True)
class EndpointRequest:
    """What to serve.

    Attributes:
        name: of the endpoint, up to 63 letters, digits and inner hyphens.
        model: store key of the model's folder, or path of one on this machine; `bundled`, a Hub id.
        version: what is served, as shown to people and in `GET /ping`: a package's name, or `zero-shot`.
        identity: digest of the model and the serving parameters: what is served already is not deployed again.
        golden: request body (JSON) that a new server must answer before the old one goes.
        parameters: of the server (batch wait, queue length, default quantiles, ...), JSON values.
        forecasts: `group`, its name, and the store keys of the folders of published forecasts: `current`, and with `{}`
            for a partition's or scenario's key `partition` and `scenario`; `clock`, UTC where their timestamps are. A server
            on the store's machine answers questions about them; others ignore it.
    """

    name: str
    model: str | Path
    version: str
    identity: str
    golden: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    forecasts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointState:
    """What is served now.

    Attributes:
        url: base URL; `<url>/invocations` and `<url>/endpoints/<name>/invocations` answer.
        healthy: whether it answers now.
        changed: whether this call deployed it.
        details: process, port, started, ...; JSON values for people.
    """

    name: str
    url: str
    version: str
    identity: str
    healthy: bool
    changed: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


class EndpointError(ChronosAssetsError):
    """A deployment or a call failed; the message says why, and that the old one still answers if there was one."""


class Endpoints(Protocol):
    """Serves models; what is served outlives the run that deployed it."""

    def deploy(self, request: EndpointRequest, log: Any) -> EndpointState:
        """Blue/green: the new one answers `golden` before the old one goes; on failure the old one stays.

        Raises:
            EndpointError: the new one failed.
        """

    def describe(self, name: str) -> EndpointState | None:
        """The endpoint's state; None if it was never deployed, or was deleted."""

    def invoke(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer of an endpoint to a JSON request; `EndpointError` if it has none."""

    def delete(self, name: str) -> bool:
        """Stop an endpoint that `deploy` made; False if there is none. Never touches another process."""


def not_deployed(request: EndpointRequest, reason: object, older: str, tail: str) -> str:
    """Why a deployment failed, what answers all the same (empty: nothing), and the end of the new server's log."""
    old = older or "there is no older one to answer"
    message = f"endpoint {request.name}: {request.version} was not deployed: {reason}; {old}"
    return f"{message}\nLast lines of its log:\n{tail}" if tail else message


def golden_problem(answer: Mapping[str, Any]) -> str | None:
    """What is wrong with the answer to a golden request, if anything is."""
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or not predictions:
        return "has no predictions"
    for prediction in predictions:
        if not isinstance(prediction, dict) or not prediction.get("mean"):
            return "has a prediction without a mean"
        for name, values in prediction.items():
            if isinstance(values, list) and not all(_is_finite(value) for value in values):
                return f"has values in {name!r} that are not finite numbers"
    return None


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    return isinstance(value, int | float) and math.isfinite(value)
