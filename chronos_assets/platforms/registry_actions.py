"""What people do with a registry: approve a version, reject one, roll back. Each is one call.

Belongs here: which statuses change so that the wanted version is the one in use, on any platform. Does not belong here:
keeping versions (`local/registry`), judging them (`timeseries.gate`), deploying them.

The version in use is the approved one with the highest number (`base.approved_version`). Therefore

- approving a version rejects the newer ones that are approved, with the reason `superseded by the approval of ...`;
- rolling back rejects the version in use, so that the approved one before it takes its place.

Killed half way, `approve` leaves the old version or the new one in use, and completes when repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

from chronos_assets.platforms.base import PackageVersion, Registry, RegistryError, approved_version


@dataclass(frozen=True)
class Change:
    """What a call did.

    Attributes:
        before, after: the version in use before and after it; None: no version, so the base model as it is.
        rejected: versions that it rejected.
    """

    before: PackageVersion | None
    after: PackageVersion | None
    rejected: tuple[PackageVersion, ...] = ()


def approve(registry: Registry, group: str, version: int, *, by: str, reason: str = "") -> Change:
    """Make a version the one in use, whatever its status: newer ones that are approved get rejected.

    Args:
        by: who approves, for the history.
        reason: why, for the history.

    Raises:
        RegistryError: there is no such version.
    """
    there = registry.versions(group)
    before = approved_version(there)
    chosen = next((item for item in there if item.version == version), None)
    if chosen is None or chosen.status != "Approved":
        chosen = registry.set_status(group, version, "Approved", reason=reason or f"approved by {by}", by=by)
    # From the oldest on: until the last of them is rejected the version in use stays the same.
    rejected = tuple(
        registry.set_status(
            group,
            item.version,
            "Rejected",
            reason=f"superseded by the approval of {chosen.name}" + (f": {reason}" if reason else ""),
            by=by,
            expected="Approved",
        )
        for item in there
        if item.version > version and item.status == "Approved"
    )
    return Change(before, approved_version(registry.versions(group)), rejected)


def reject(registry: Registry, group: str, version: int, *, by: str, reason: str = "") -> Change:
    """Reject a version, whatever its status. If it was in use, the approved one before it takes its place.

    Raises:
        RegistryError: there is no such version.
    """
    there = registry.versions(group)
    before = approved_version(there)
    if any(item.version == version and item.status == "Rejected" for item in there):
        return Change(before, before)
    rejected = registry.set_status(group, version, "Rejected", reason=reason or f"rejected by {by}", by=by)
    return Change(before, approved_version(registry.versions(group)), (rejected,))


def roll_back(registry: Registry, group: str, *, by: str, reason: str = "") -> Change:
    """Reject the version in use; the approved one before it takes its place, or none: then the base model is used.

    Not safe to repeat blindly: a second call rolls back once more.

    Raises:
        RegistryError: no version is in use, or someone else changed it meanwhile.
    """
    before = approved_version(registry.versions(group))
    if before is None:
        raise RegistryError(f"no version of {group} is approved, so there is none to roll back from: approve one first")
    rejected = registry.set_status(
        group,
        before.version,
        "Rejected",
        reason="rolled back" + (f": {reason}" if reason else f" by {by}"),
        by=by,
        expected="Approved",
    )
    return Change(before, approved_version(registry.versions(group)), (rejected,))
