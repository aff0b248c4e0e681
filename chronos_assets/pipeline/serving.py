"""The endpoint of a group: serving the model in use.

Here: what is served, and whether it is what should be. Elsewhere: whether it answers as the published forecast says
(`pipeline.endpoint_comparison`), which model is in use (`pipeline.model_in_use`), what people
decide about versions (`pipeline.decisions`), when the endpoint is stopped (`pipeline.clean_up`), servers (`platforms`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_assets.container.contract import LONGEST_ANSWER
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.pipeline.dataset import first_series
from chronos_assets.pipeline.model_in_use import ModelInUse
from chronos_assets.pipeline.predictors import publish_zero_shot, shown_predictor
from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.state import GroupState, Setup
from chronos_assets.pipeline.training import package_group
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest, EndpointState
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.store_layout import FORECAST_KEY, history_key, scenario_key
from chronos_assets.system import text_digest
from chronos_assets.timeseries.dataset.series_keys import series_name

ZERO_SHOT = "zero-shot"
# Observations of the golden request, and of an endpoint's sample forecast: enough for a week of hours.
GOLDEN_CONTEXT = 168
# What a server can do beside forecasting: one that was deployed before it could is replaced.
_SERVER = "queries"
DEPLOYMENTS = 3  # more, at most, of versions that come into use meanwhile


def endpoint_name(state: GroupState) -> str:
    """Name of the endpoint: the model package group's, behind the key prefix; no underscores, as SageMaker wants it."""
    group = state.group
    return "-".join([*group.settings.key_prefix, package_group(state)]).replace("_", "-").strip("-")[:63].rstrip("-")


@dataclass(frozen=True)
class Deployed:
    """What `endpoint` made: its state, a sample request and the answer."""

    state: EndpointState
    model: ModelInUse
    request: Mapping[str, Any]
    answer: Mapping[str, Any]


def deploy(state: GroupState, log: Any) -> Deployed:
    """Serve the model in use; the old one goes when the new one has answered a request.

    Raises:
        ChronosAssetsError: the new one failed; what was served before still is.
    """
    deployed = _deploy(state, log)
    for _ in range(DEPLOYMENTS):
        now = GroupState(state.group)
        if now.model_in_use == state.model_in_use:
            break
        # Somebody decided meanwhile, and may have been served before this: who ends last serves what is in use then.
        log.info(f"{now.model_in_use.label} came into use meanwhile: it is served instead")
        state, deployed = now, _deploy(now, log)
    return deployed


def _deploy(state: GroupState, log: Any) -> Deployed:
    """`deploy` of what is in use by a state."""
    group = state.group
    setup = state.setup
    model = state.model_in_use
    golden = golden_request(state)
    width = served_width(state)
    base = group.settings.base_model
    zero_shot = publish_zero_shot(state) if model.key is None else None
    served = group.endpoints.deploy(
        EndpointRequest(
            name=endpoint_name(state),
            model=model.key or zero_shot or base,
            version=model.label if model.key else f"{ZERO_SHOT} {base}",
            identity=served_identity(model.digest, model.label, setup, served_predictor(state), width),
            golden=golden,
            parameters=server_parameters(setup, width),
            forecasts=forecast_places(state),
        ),
        log,
    )
    answer = group.endpoints.invoke(served.name, golden)
    return Deployed(served, model, golden, answer)


def golden_request(state: GroupState) -> dict[str, Any]:
    """A request in the endpoint's schema: the end of the dataset's first series, or a wave where there is none."""
    setup = state.setup
    item, target = "wave", np.sin(2 * np.pi * np.arange(GOLDEN_CONTEXT) / 24)
    if setup.params is not None:
        series = first_series(state)
        # Up to its last observation: a server refuses a context of which nothing is known.
        end = np.flatnonzero(np.isfinite(series.target))[-1] + 1
        item, target = series_name(series.key), series.target[max(0, end - GOLDEN_CONTEXT) : end]
    values = [float(value) if np.isfinite(value) else None for value in target]
    return {"inputs": [{"item_id": item, "target": values}], "parameters": serving_parameters(setup)}


def forecast_places(state: GroupState) -> dict[str, str]:
    """See `EndpointRequest.forecasts`."""
    return {
        "group": package_group(state),
        "current": FORECAST_KEY,
        "partition": f"{history_key('')}{{}}",
        "scenario": scenario_key("{}"),
        "clock": state.clock_shown,
    }


def forecast_arn(state: GroupState) -> str:
    """An ARN of the current forecast, for `query_forecast`; region and account may be others."""
    return f"arn:aws:forecast:us-east-1:000000000000:forecast/{package_group(state)}"


def serving_parameters(setup: Setup) -> dict[str, Any]:
    """What a request that says nothing gets."""
    return {"quantile_levels": list(setup.quantiles), "prediction_length": min(setup.horizon, LONGEST_ANSWER)}


def server_parameters(setup: Setup, width: float = 1.0) -> dict[str, Any]:
    """Parameters of the server: all that makes its answers those of the batch forecast.

    Args:
        setup: of the group.
        width: see `served_width`.
    """
    params = setup.params
    rule = params.non_negative if params is not None else None
    return {
        **serving_parameters(setup),
        **({} if rule is None else {"non_negative": rule}),
        **({"integers": True} if params is not None and params.integers else {}),
        **({"context_length": params.context_length} if params is not None and params.context_length else {}),
        **({"live_width": width} if width != 1.0 else {}),
    }


def served_identity(digest: str, label: str, setup: Setup, predictor: str = "", width: float = 1.0) -> str:
    """Identity of a deployment: of the model's files and name, the server's parameters and, where it has one, the predictor."""
    parameters = json.dumps(server_parameters(setup, width), sort_keys=True)
    parts = [digest, label, parameters, _SERVER, *([predictor] if predictor else [])]
    return text_digest("\0".join(parts))[:16]


def served_predictor(state: GroupState) -> str:
    """Digest of the predictor to serve: the version's, or the one that the current zero-shot forecast was made with."""
    model = state.model_in_use
    if model.key is not None:
        return model.predictor
    shown = shown_predictor(state)
    return shown.digest if shown is not None else ""


def served_width(state: GroupState) -> float:
    """By how much the bands of the published forecast are widened, see `pipeline.live_bands`; 1 where another model made it."""
    manifest = published_manifest(state.group)
    if manifest is None or manifest["model"]["digest"] != state.model_in_use.digest:
        return 1.0
    return width_of(manifest)


def width_of(manifest: Mapping[str, Any]) -> float:
    """By how much the bands of a forecast were widened."""
    return float((manifest.get("live") or {}).get("width", 1.0))


@dataclass(frozen=True)
class CovariatesRead:
    """Which related time series the model in use reads from a request.

    Attributes:
        names: of them; None where it reads whatever it is given.
        past_only: those of which only the past is read.
    """

    names: frozenset[str] | None
    past_only: frozenset[str] = frozenset()

    def reads(self, name: str) -> bool:
        """Whether it reads this attribute at all."""
        return self.names is None or name in self.names

    def ahead(self, name: str) -> bool:
        """Whether it reads values of this attribute that are to come."""
        return self.reads(name) and name not in self.past_only


def covariates_read(state: GroupState) -> CovariatesRead:
    """What the endpoint reads beside the target, once it answers with the model in use.

    Raises:
        ChronosAssetsError: the model's files can't be read.
    """
    group, key = state.group, state.model_in_use.key
    described = describe_model(group.settings.base_model if key is None else group.store.snapshot(key))
    learned = shown_predictor(state) if key is None else Predictor.load(described.folder)
    if learned is not None and learned.reads_covariates:
        kinds, past_only = learned.requested
        return CovariatesRead(frozenset(kinds), past_only)
    # A network that is a member of a predictor without covariates has not earned them a weight.
    return CovariatesRead(None if described.family == "chronos2" and learned is None else frozenset())


def is_deployed(state: GroupState) -> bool:
    """Whether the group's endpoint was deployed, and not deleted since; also one whose state is damaged."""
    group = state.group
    try:
        return group.endpoints.describe(endpoint_name(state)) is not None
    except EndpointError:
        return True


def wanted_identity(state: GroupState) -> str:
    """Identity that the endpoint has once it answers with the model in use."""
    model = state.model_in_use
    return served_identity(model.digest, model.label, state.setup, served_predictor(state), served_width(state))


def endpoint_is_current(state: GroupState) -> bool:
    """Whether the endpoint answers with the model in use; one whose state is damaged doesn't: deploying says why."""
    group = state.group
    try:
        served = group.endpoints.describe(endpoint_name(state))
    except EndpointError:
        return False
    return served is not None and served.healthy and served.identity == wanted_identity(state)
