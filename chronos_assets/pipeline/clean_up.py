"""What `PerformDelete` asks for: no endpoint and no checkpoints, once everything is published.

Here: what may go, and when. Elsewhere: who asks (`defs.assets.forecasts`), how an endpoint or a folder goes (`platforms`).
A clean-up that was killed is completed after the next forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.serving import endpoint_name
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
    group = state.group
    package, name = package_group(state), endpoint_name(state)
    model, shown = state.model_in_use, published_manifest(group)
    if shown is None or shown["model"]["digest"] not in {model.digest, *model.stands_for}:
        return None
    versions, tuned = state.versions, read_tuned(group)
    keys = {item.model for item in versions}
    if tuned is not None and tuned["candidates"][tuned["best"]]["model"] in keys:
        keys |= {str(item["model"]) for item in tuned["candidates"]}
    keys -= {item.model for item in versions if item.status == "PendingManualApproval"}
    stopped = group.endpoints.delete(name)
    removed = tuple(key for key in sorted(keys) if made_here(package, key) and group.store.withdraw(key))
    return CleanedUp(name if stopped else "", removed)
