"""The endpoint of a group: serving the model in use, and comparing its answers with the published forecast.

Here: what is served, and whether it is what should be. Elsewhere: which model is in use (`pipeline.model_in_use`), what people
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
from chronos_assets.params.forecast import quantile_name
from chronos_assets.params.options import FLOAT32
from chronos_assets.pipeline.dataset import first_series
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.forecasts import contexts_of
from chronos_assets.pipeline.model_in_use import ModelInUse
from chronos_assets.pipeline.moments import as_datetime, timestamp
from chronos_assets.pipeline.predictors import predictor_that_made, publish_zero_shot, shown_predictor
from chronos_assets.pipeline.published import published_manifest, published_series
from chronos_assets.pipeline.state import GroupState, Setup
from chronos_assets.pipeline.training import package_group
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest, EndpointState
from chronos_assets.predictors.covariates import CovariateFolders
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.store_layout import FORECAST_KEY, RELATED_KEY, history_key, scenario_key
from chronos_assets.system import text_digest
from chronos_assets.timeseries.dataset.series_keys import series_name

ZERO_SHOT = "zero-shot"
# Observations of the golden request, and of an endpoint's sample forecast: enough for a week of hours.
GOLDEN_CONTEXT = 168
# What a server can do beside forecasting: one that was deployed before it could is replaced.
_SERVER = "queries"
DEPLOYMENTS = 3  # more, at most, of versions that come into use meanwhile
COMPARED = 3  # series of a forecast that an endpoint is asked for


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
    return _width_of(manifest)


def _width_of(manifest: Mapping[str, Any]) -> float:
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


@dataclass(frozen=True)
class EndpointComparison:
    """The endpoint's answer beside the published forecast.

    Attributes:
        series: how many were compared.
        difference: the largest, relative to the largest value of the series; None if there was nothing to compare.
        note: in words.
        tolerance: what the difference may be.
    """

    series: int
    difference: float | None
    note: str
    tolerance: float = 0.0

    @property
    def agree(self) -> bool:
        """Whether the endpoint says what was published, as far as there was something to compare."""
        return self.difference is None or self.difference <= self.tolerance


def _read_beside(
    state: GroupState, manifest: Mapping[str, Any], contexts: Mapping[tuple[str, ...], Any]
) -> tuple[dict[tuple[str, ...], dict[str, Any]], dict[str, str]]:
    """What requests have to give beside some targets to be answered as the published forecast: of each series, and for all.

    Args:
        state: of the group.
        manifest: of the published forecast.
        contexts: what it read of the series, (n,) by key.
    """
    _, predictor = predictor_that_made(state.group, None)
    if predictor is None or not predictor.reads_covariates:
        return {}, {}
    store, related = state.group.store, state.covariates.related
    grid = state.require_manifest().resolve(state.params).grid
    folder = store.snapshot(RELATED_KEY) if related is not None else None
    source = CovariateFolders(grid, folder, related)
    found = source.of_series(contexts)
    names, _ = predictor.requested
    ordinal = grid.number_of(timestamp(manifest["context_end"]))
    beside = {}
    for key, context in contexts.items():
        count = len(context)
        known = source.as_of(key, found.get(key), ordinal, count, int(manifest["horizon"]))
        ahead = {name: known.known[name] for name in names if name in known.known}
        past = {name: values[:count] for name, values in ahead.items()}
        past |= {name: known.past[name] for name in names if name in known.past}
        beside[key] = {
            "start": as_datetime(grid.instant(ordinal - count + 1)).isoformat(),
            "past_covariates": {name: _json_values(values) for name, values in past.items()},
            "future_covariates": {name: _json_values(values[count:]) for name, values in ahead.items()},
        }
    return beside, {"freq": str(grid.frequency)}


def _json_values(values: Any) -> list[float | str | None]:
    """Numbers as JSON has them, null where nothing is known; texts as they are."""
    if values.dtype.kind != "f":
        return [str(value) for value in values]
    return [float(value) if np.isfinite(value) else None for value in values]


def endpoint_tolerance(passes: Mapping[str, Any]) -> float:
    """How far an endpoint may be from the forecast that `passes` made, in parts of the largest value of a series.

    Endpoints are in float32. Five times what a trial of other numbers may differ (`models.precision.TOLERANCE`, in deviations):
    it is of some rows, and the values of a forecast may be less than its series' deviation.
    """
    return 1e-5 if passes.get("precision", FLOAT32) == FLOAT32 else 0.05


def _incomparable(state: GroupState, served: EndpointState, manifest: Mapping[str, Any]) -> str:
    """Why an endpoint's answers need not be those of the published forecast; empty where they have to be."""
    model = manifest["model"]
    if model["family"] == "t5":
        return "a model that samples gives other samples each time: nothing to compare"
    if manifest["horizon"] > LONGEST_ANSWER:
        return f"the endpoint answers up to {LONGEST_ANSWER} periods, {manifest['horizon']} were forecast"
    predictor, width = str((manifest.get("predictor") or {}).get("digest", "")), _width_of(manifest)
    if served.identity == served_identity(model["digest"], model["reference"], state.setup, predictor, width):
        return ""
    made = f"the published forecast was made by {model['reference']}"
    if served.version == model["reference"]:
        return f"{made} with other parameters or band widths than the endpoint has: materialize endpoint"
    return f"{made}, the endpoint serves {served.version}: nothing to compare until the next one"


def compare_endpoint(state: GroupState) -> EndpointComparison:
    """Ask the endpoint for the first series of the published forecast, with the context that the forecast had.

    Raises:
        ChronosAssetsError: no endpoint answers.
    """
    group = state.group
    served, manifest = group.endpoints.describe(endpoint_name(state)), published_manifest(group)
    if served is None or not served.healthy:
        raise StepError(f"no endpoint {endpoint_name(state)} answers: materialize endpoint")
    if manifest is None:
        return EndpointComparison(0, None, "no forecast is published yet: nothing to compare with")
    if note := _incomparable(state, served, manifest):
        return EndpointComparison(0, None, note)
    published = published_series(group, COMPARED)
    contexts = contexts_of(state, manifest, list(published))
    levels = {str(level): quantile_name(level) for level in manifest["quantiles"]}
    beside, frequency = _read_beside(state, manifest, contexts)
    request = {
        "inputs": [
            {"item_id": series_name(key), "target": _json_values(contexts[key]), **beside.get(key, {})}
            for key in published
        ],
        "parameters": {
            "prediction_length": manifest["horizon"],
            "quantile_levels": [float(level) for level in levels] or [0.5],
            **frequency,
        },
    }
    answers = group.endpoints.invoke(served.name, request)["predictions"]
    names = levels | ({"mean": "mean"} if manifest["mean"] else {})
    largest = 0.0
    for answer, (key, columns) in zip(answers, published.items(), strict=True):
        # A value below zero from before the context bounds the batch forecast only: there's nothing to compare then.
        if np.nanmin(contexts[key]) >= 0 and min(float(columns[column].min()) for column in names.values()) < 0:
            continue
        for name, column in names.items():
            scale = max(float(np.abs(columns[column]).max()), 1e-12)
            largest = max(largest, float(np.abs(np.array(answer[name]) - columns[column]).max()) / scale)
    note = f"{len(published)} series agree to {largest:.1e} of their scale"
    return EndpointComparison(len(published), largest, note, endpoint_tolerance(manifest.get("passes") or {}))


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
