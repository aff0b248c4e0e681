"""What people decide about versions: approve, reject or roll back, and the endpoint follows.

Elsewhere: the rules of the registry (`platforms.registry`), how a version is served (`pipeline.serving`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.model_in_use import ModelInUse
from chronos_assets.pipeline.serving import deploy, is_deployed
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.training import package_group
from chronos_assets.platforms.endpoints import EndpointState
from chronos_assets.platforms.registry import StatusChange, approve, reject, roll_back


@dataclass(frozen=True)
class Decided:
    """What a decision changed: which version was and is in use, which were rejected, where it is served."""

    change: StatusChange
    model: ModelInUse
    endpoint: EndpointState | None


def decide_version(
    state: GroupState, action: str, version: int | None, *, by: str, reason: str = "", once: bool = False, log: Any
) -> Decided:
    """Approve, reject or roll back, and let the endpoint follow where one is up.

    Args:
        state: what is known of the group.
        action: `approve`, `reject` or `roll_back`.
        version: its number; the newest if not given. A roll-back is about the version in use and takes none.
        by: who decides, for the version's history.
        reason: why, for the version's history.
        once: whether `by` names this one decision: a roll-back that was made is not made again, only the endpoint follows.
        log: where progress is reported.

    Raises:
        ChronosAssetsError: there is no such version, or its checkpoint is gone.
    """
    group = state.group
    name = package_group(state)
    there = state.versions
    if version is None and not there and action != "roll_back":
        raise StepError(f"no version of {name} is registered yet: launch the job retrain")
    if action == "roll_back":
        change = roll_back(group.registry, name, by=by, reason=reason, once=once)
    elif action == "approve":
        number = there[-1].version if version is None else version
        _check_checkpoint(state, number)
        change = approve(group.registry, name, number, by=by, reason=reason)
    else:
        number = there[-1].version if version is None else version
        change = reject(group.registry, name, number, by=by, reason=reason)
    now = GroupState(group)
    model = now.model_in_use
    log.info(f"in use now: {model.label}" + (f" ({model.note})" if model.note else ""))
    served = deploy(now, log).state if is_deployed(now) else None
    return Decided(change, model, served)


def _check_checkpoint(state: GroupState, version: int) -> None:
    group = state.group
    chosen = next((item for item in state.versions if item.version == version), None)
    if chosen is not None and not group.store.exists(f"{chosen.model}/config.json"):
        raise StepError(
            f"the checkpoint of {chosen.name} is gone ({group.place(chosen.model)}): launch the job retrain"
        )
