"""The model registry: the protocol, its values, decisions on versions, and the files of a package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn, Protocol, get_args

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.job_names import MAX_NAME, is_name
from chronos_assets.platforms.store import StoreKeyError, check_key

Approval = Literal["Approved", "Rejected", "PendingManualApproval"]  # SageMaker's ModelApprovalStatus


@dataclass(frozen=True)
class PackageVersion:
    """A version of a model package group, as the registry holds it.

    Attributes:
        group: model package group; version: from 1, never used twice.
        status: `Approved`, `Rejected` or `PendingManualApproval`; reason: why, in one line.
        model: store key of the folder with the weights.
        identity: digest of what it was made from; registering the same again gives the same version.
        document: everything else that was registered (base_model, metrics, hyperparameters, ...), JSON values.
        history: every status that it had, oldest first: {"at": ISO time UTC, "status", "reason", "by"}.
    """

    group: str
    version: int
    status: Approval
    reason: str
    model: str
    identity: str
    document: Mapping[str, Any]
    history: tuple[Mapping[str, str], ...]

    @property
    def name(self) -> str:
        """`group/version`, for people."""
        return f"{self.group}/{self.version}"


class RegistryError(ChronosAssetsError):
    """The registry can't do what was asked; the message says what, where and how to fix it."""


class Registry(Protocol):
    """Versions of models, with their metrics and whether they are approved.

    The approved one with the highest number is the one in use.
    """

    def register(
        self, group: str, *, model: str, identity: str, document: Mapping[str, Any], status: Approval, reason: str
    ) -> PackageVersion:
        """A new version, or the one that is there with this identity, as it is."""

    def versions(self, group: str) -> list[PackageVersion]:
        """Every version, in order; empty for a group that isn't there."""

    def set_status(
        self, group: str, version: int, status: Approval, *, reason: str, by: str, expected: Approval | None = None
    ) -> PackageVersion:
        """Change a version's status; `RegistryError` if there is no such version, or its status isn't `expected`."""


def approved_version(versions: Sequence[PackageVersion]) -> PackageVersion | None:
    """The version in use: of those approved the one with the highest number; None without any."""
    return max((item for item in versions if item.status == "Approved"), key=lambda item: item.version, default=None)


PACKAGES = "packages"
FORMAT_VERSION = 1
REGISTRATION = "registration"  # who set a version's first status

_STATUSES: tuple[str, ...] = get_args(Approval)
_TEXTS = ("reason", "model", "identity")


def check_group(group: str) -> str:
    """`group` itself, if a model package group may have this name.

    Raises:
        RegistryError: it may not.
    """
    if not is_name(group):
        raise RegistryError(f"model package group {group!r}: use up to {MAX_NAME} letters, digits and inner hyphens")
    return group


def check_status(status: object) -> None:
    """Refuse what is no status.

    Raises:
        RegistryError: it is none.
    """
    if status not in _STATUSES:
        raise RegistryError(f"status {status!r} is none: use {', '.join(_STATUSES)}")


def new_version(
    group: str, *, model: str, identity: str, document: Mapping[str, Any], status: Approval, reason: str
) -> PackageVersion:
    """A version that can be registered, as it will be read; its number is 1 until it has one.

    Raises:
        RegistryError: the group's name, the status, the model's key or the document can't be registered.
    """
    check_group(group)
    check_status(status)
    if not identity:
        raise RegistryError(f"a version of {group} without an identity: give the digest of what it was made from")
    try:
        check_key(model)
    except StoreKeyError as error:
        raise RegistryError(f"the model of a version of {group} must lie in the store: {error}") from error
    line = without_breaks(reason)
    made = PackageVersion(
        group=group,
        version=1,
        status=status,
        reason=line,
        model=model,
        identity=identity,
        document=dict(document),
        history=(history_entry(status, line, REGISTRATION),),
    )
    return replace(made, document=json.loads(encode(made))["document"])


def check_undecided(version: PackageVersion, expected: Approval | None) -> None:
    """Refuse a decision that was made about another status than the version has by now. Raises RegistryError."""
    if expected is not None and version.status != expected:
        raise RegistryError(
            f"{version.name} is {version.status}, no longer {expected}: someone else decided; look at it again"
        )


def with_status(version: PackageVersion, status: Approval, *, reason: str, by: str, at: str = "") -> PackageVersion:
    """A version after a decision; what was decided before stays in its history."""
    line = without_breaks(reason)
    return replace(version, status=status, reason=line, history=(*version.history, history_entry(status, line, by, at)))


def history_entry(status: str, reason: str, by: str, at: str = "") -> dict[str, str]:
    """One line of a history; now if it doesn't say when."""
    return {"at": at or iso_time(datetime.now(UTC)), "status": status, "reason": reason, "by": by}


def iso_time(at: datetime) -> str:
    """A time as histories have it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def without_breaks(reason: str) -> str:
    """A reason in one line."""
    return " ".join(reason.split())


def encode(version: PackageVersion, **beside: Any) -> bytes:
    """A version's document.

    Args:
        version: what it is about.
        **beside: what a platform keeps with it.

    Raises:
        RegistryError: what was given is not JSON.
    """
    header = {"format_version": FORMAT_VERSION}
    try:
        text = json.dumps(header | asdict(version) | beside, indent=2, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()
    except (TypeError, ValueError) as error:
        raise RegistryError(f"the document of a version of {version.group} is not JSON: {error}") from error


def decode(data: bytes, group: str, number: int, where: str, fix: str) -> tuple[PackageVersion, dict[str, Any]]:
    """A version's document as it was written; people may edit it.

    Args:
        data: the document.
        group: that the version must belong to.
        number: that the version must have.
        where: place of the document, for the message.
        fix: what to do with a document that can't be read.

    Returns:
        The version, and the whole document.

    Raises:
        RegistryError: it can't be read.
    """
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
        return _version_of(document, group, number), document
    except (ValueError, KeyError, RegistryError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise RegistryError(f"{where} can't be read ({said}): {fix}") from error


def _version_of(document: Mapping[str, Any], group: str, number: int) -> PackageVersion:
    if document["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version is {document['format_version']!r}, this program knows {FORMAT_VERSION}")
    if (document["group"], document["version"]) != (group, number):
        raise ValueError(f"it says that it is {document['group']}/{document['version']}")
    check_status(document["status"])
    for name in _TEXTS:
        if not isinstance(document[name], str):
            raise ValueError(f"{name} is not a text")
    if not isinstance(document["document"], dict):
        raise ValueError("document is not an object")
    history = document["history"]
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise ValueError("history is not a list of objects")
    check_key(document["model"])
    return PackageVersion(
        group=group,
        version=number,
        status=document["status"],
        reason=document["reason"],
        model=document["model"],
        identity=document["identity"],
        document=document["document"],
        history=tuple(history),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def listed(group: str, versions: Sequence[PackageVersion]) -> str:
    """What there is of a group, for a message that says that something isn't."""
    if not versions:
        return f"nothing was registered as {group} yet"
    return "there is " + ", ".join(f"{item.version} ({item.status})" for item in versions[-10:])


@dataclass(frozen=True)
class StatusChange:
    """What a call did.

    Attributes:
        before, after: the version in use before and after it; None: no version, so the base model as it is.
        rejected: versions that it rejected.
    """

    before: PackageVersion | None
    after: PackageVersion | None
    rejected: tuple[PackageVersion, ...] = ()


def approve(registry: Registry, group: str, version: int, *, by: str, reason: str = "") -> StatusChange:
    """Make a version the one in use, whatever its status: newer ones that are approved get rejected.

    Args:
        registry: that has the version.
        group: of the version.
        version: its number.
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
    why = f"superseded by the approval of {chosen.name}" + (f": {reason}" if reason else "")
    newer = [item.version for item in there if item.version > version and item.status == "Approved"]
    rejected = tuple(item for number in newer if (item := _superseded(registry, group, number, why, by)) is not None)
    return StatusChange(before, approved_version(registry.versions(group)), rejected)


def _superseded(registry: Registry, group: str, version: int, reason: str, by: str) -> PackageVersion | None:
    """An approved version that is rejected for an older one; None where somebody else has just done so."""
    try:
        return registry.set_status(group, version, "Rejected", reason=reason, by=by, expected="Approved")
    except RegistryError:
        if any(item.version == version and item.status == "Approved" for item in registry.versions(group)):
            raise
        return None


def reject(registry: Registry, group: str, version: int, *, by: str, reason: str = "") -> StatusChange:
    """Reject a version, whatever its status. If it was in use, the approved one before it takes its place.

    Raises:
        RegistryError: there is no such version.
    """
    there = registry.versions(group)
    before = approved_version(there)
    if any(item.version == version and item.status == "Rejected" for item in there):
        return StatusChange(before, before)
    rejected = registry.set_status(group, version, "Rejected", reason=reason or f"rejected by {by}", by=by)
    return StatusChange(before, approved_version(registry.versions(group)), (rejected,))


def roll_back(registry: Registry, group: str, *, by: str, reason: str = "", once: bool = False) -> StatusChange:
    """Reject the version in use; the approved one before it takes its place, or none: then the base model is used.

    Not safe to repeat blindly: without `once` a second call rolls back once more.

    Args:
        registry: where the versions are.
        group: their group.
        by: who decides, for the version's history.
        reason: why.
        once: whether `by` names this one decision: if the history has it already, nothing changes.

    Raises:
        RegistryError: no version is in use, or someone else changed it meanwhile.
    """
    versions = registry.versions(group)
    before = approved_version(versions)
    if once and any(entry.get("by") == by for version in versions for entry in version.history):
        return StatusChange(before, before, ())
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
    return StatusChange(before, approved_version(registry.versions(group)), (rejected,))
