"""What `PerformDelete` asks for: no endpoint and no checkpoints, once everything is published.

Here: what may go, and when. Elsewhere: who asks (`defs.assets.forecasts`), how an endpoint or a folder goes (`platforms`).
A clean-up that was killed is completed by the next `run`, or after the next forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.serving import endpoint_name, is_deployed
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.training import package_group
from chronos_assets.pipeline.tuning import made_here, read_tuned


@dataclass(frozen=True)
class CleanedUp:
    """What `PerformDelete` removed."""

    endpoint: str
    models: tuple[str, ...]


def clean_up(state: GroupState) -> CleanedUp | None:
    """Stop the endpoint and delete the checkpoints, once the forecast of the model in use is published; None before.

    Only what this group made: the endpoint that it deployed, and the folders that its registry and its last search name
    below `models/`. Forecasts, their history and the registry stay, and checkpoints of which more is to come: of a
    version that somebody has yet to decide about, and of a search that another run is about to register.

    Raises:
        ChronosAssetsError: the registry or the endpoint's state can't be read.
    """
    group, keys = state.group, _deletable(state)
    if keys is None:
        return None
    name = endpoint_name(state)
    stopped = group.endpoints.delete(name)
    removed = tuple(key for key in keys if group.store.withdraw(key))
    return CleanedUp(name if stopped else "", removed)


def clean_up_is_due(state: GroupState) -> bool:
    """Whether `PerformDelete` is asked for, and there is something that `clean_up` would remove.

    So it is where a clean-up was killed, and where it was asked for once all had been published.

    Raises:
        ChronosAssetsError: the registry can't be read.
    """
    if not state.params.perform_delete or (keys := _deletable(state)) is None:
        return False
    return is_deployed(state) or any(state.group.store.shown(key) is not None for key in keys)


def _deletable(state: GroupState) -> tuple[str, ...] | None:
    """Store keys of the checkpoints that may go, there or not; None before the forecast of the model in use is published."""
    group, package = state.group, package_group(state)
    model, shown = state.model_in_use, published_manifest(group)
    if shown is None or shown["model"]["digest"] not in {model.digest, *model.stands_for}:
        return None
    versions, tuned = state.versions, read_tuned(group)
    keys = {item.model for item in versions}
    if tuned is not None and tuned["candidates"][tuned["best"]]["model"] in keys:
        keys |= {str(item["model"]) for item in tuned["candidates"]}
    keys -= {item.model for item in versions if item.status == "PendingManualApproval"}
    return tuple(key for key in sorted(keys) if made_here(package, key))
