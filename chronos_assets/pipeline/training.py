"""When a model is trained, and whether one can be: what the training line of a group asks of its state.

Elsewhere: the rule (`planning.retraining`), the synthetic series (`pipeline.synthetic`), the search (`pipeline.tuning`), gate
and registry (`pipeline.packaging`), what becomes of a registered version (`pipeline.serving`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chronos_assets.pipeline.accuracy import live_wqls
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.retraining import LiveAccuracy, NewestVersion, training_due
from chronos_assets.platforms.registry import PackageVersion


def package_group(state: GroupState) -> str:
    """Name of the model package group; see `ForecastParams.package_group`."""
    return state.setup.name


def why_not_trainable(state: GroupState) -> str:
    """Why no model can be trained on the dataset that is there; empty if one can."""
    from chronos_assets.pipeline.training_limits import beyond_the_model
    from chronos_assets.timeseries.dataset.holdout import HoldoutError, plan_holdout

    setup, manifest = state.setup, state.manifest
    if setup.params is None or manifest is None:
        return ""
    try:
        plan_holdout(
            *manifest.span(setup.params.grid),
            setup.horizon,
            validation_windows=setup.training.validation_windows,
            test_windows=setup.training.test_windows,
            training_periods=2 * setup.horizon,
        )
    except HoldoutError as error:
        return str(error)
    return "; ".join(beyond_the_model(setup.training, state.group.settings.base_model))


def is_due(state: GroupState, now: datetime) -> tuple[bool, str]:
    """Whether the policy asks for a training, and why (not); see `planning.retraining`.

    Args:
        state: what is known of the group.
        now: naive, UTC.

    Raises:
        ChronosAssetsError: parameters or registry can't be read.
    """
    group = state.group
    setup = state.setup
    newest, usable = _newest(state.versions), state.version_in_use
    # Scores are looked at once the data changed, not at each tick of a sensor: there is a file for every partition.
    changed = newest is not None and newest.data_version != setup.data_version
    due, reason = training_due(
        setup.training,
        data_version=setup.data_version or None,
        newest=newest,
        usable=usable is not None,
        deletes=setup.params is not None and setup.params.perform_delete,
        live=_live_accuracy(group, usable) if changed else None,
        now=now,
    )
    impossible = why_not_trainable(state) if due else ""
    return (False, f"no model can be trained: {impossible}") if impossible else (due, reason)


def request_identity(state: GroupState) -> str:
    """Identity of the training that would be requested now: the same for as long as it is under way.

    Raises:
        ChronosAssetsError: parameters or registry can't be read.
    """
    setup = state.setup
    versions = state.versions
    digest = setup.params.digest if setup.params is not None else ""
    newest = versions[-1].name if versions else ""
    return "\0".join([setup.name, setup.data_version, digest, setup.training.search_digest, newest])


def _newest(versions: Sequence[PackageVersion]) -> NewestVersion | None:
    if not versions:
        return None
    newest = versions[-1]
    created = datetime.fromisoformat(str(newest.document["created"])).astimezone(UTC).replace(tzinfo=None)
    return NewestVersion(newest.name, newest.status, created, str(newest.document["data_version"]))


def _live_accuracy(group: Group, version: PackageVersion | None) -> LiveAccuracy | None:
    wql = version.document["metrics"].get("wql") if version is not None else None
    if version is None or wql is None:
        return None
    scores = list(live_wqls(group, version.name))
    naive = [naive for _, naive in scores if naive is not None]
    return LiveAccuracy(
        version.name, float(wql), tuple(own for own, _ in scores), tuple(naive) if len(naive) == len(scores) else ()
    )
