"""How a version of a model is written down, on any platform: one readable JSON document, `packages/<group>/<n>.json`.

Belongs here: what may be registered, the document, the history, what is said of a group. Does not belong here: where
documents lie and how they are numbered (`local/registry`, `aws/registry`), what is in `document`.

```
{
  "format_version": 1,
  "group": "retail", "version": 3,
  "status": "Rejected", "reason": "superseded by the approval of retail/2",
  "model": "models/retail-0123456789ab", "identity": "...",
  "document": {...},
  "history": [{"at": "2026-01-01T12:00:00.000+00:00", "status": "Approved", "reason": "...", "by": "registration"}, ...]
}
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, NoReturn, get_args

from chronos_assets.platforms.base import Approval, PackageVersion, RegistryError, StoreKeyError, check_key

PACKAGES = "packages"
FORMAT_VERSION = 1
REGISTRATION = "registration"  # who set a version's first status

_STATUSES: tuple[str, ...] = get_args(Approval)
_GROUP = re.compile(r"[A-Za-z0-9](?:-*[A-Za-z0-9]){0,62}")  # what SageMaker allows for a model package group
_TEXTS = ("reason", "model", "identity")


def check_group(group: str) -> str:
    """`group` itself, if a model package group may have this name.

    Raises:
        RegistryError: it may not.
    """
    if len(group) > 63 or not _GROUP.fullmatch(group):
        raise RegistryError(f"model package group {group!r}: use up to 63 letters, digits and inner hyphens")
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
    line = one_line(reason)
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


def with_status(version: PackageVersion, status: Approval, *, reason: str, by: str, at: str = "") -> PackageVersion:
    """A version after a decision; what was decided before stays in its history."""
    line = one_line(reason)
    return replace(version, status=status, reason=line, history=(*version.history, history_entry(status, line, by, at)))


def history_entry(status: str, reason: str, by: str, at: str = "") -> dict[str, str]:
    """One line of a history; now if it doesn't say when."""
    return {"at": at or iso_time(datetime.now(UTC)), "status": status, "reason": reason, "by": by}


def iso_time(at: datetime) -> str:
    """A time as histories have it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def one_line(reason: str) -> str:
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


def decode(data: bytes, group: str, number: int, where: str, mend: str) -> tuple[PackageVersion, dict[str, Any]]:
    """A version's document as it was written; people may edit it.

    Args:
        data: the document.
        group, number: which version it must be about.
        where: of the document, for the message; mend: what to do with one that can't be read.

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
        raise RegistryError(f"{where} can't be read ({said}): {mend}") from error


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
