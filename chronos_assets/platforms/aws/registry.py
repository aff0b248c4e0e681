"""The model registry in SageMaker: model package groups, and their versions with metrics and approval.

Here: what of a version is in SageMaker and what in the store, and that the two agree. Elsewhere: what
is in a version's document, what a status means, approving and rolling back (`platforms.registry`).

SageMaker has the number, the approval status, the metrics (as a file of model quality statistics, which SageMaker Studio
draws) and properties that fit into it. The store has the rest:

```
packages/<group>/<version>.json                        the version, as a laptop's registry keeps it
packages/<group>/registrations/<token>/document.json   what was registered, written before SageMaker is asked
packages/<group>/registrations/<token>/statistics.json its metrics
```

**One version for each identity.** The token is the digest of group, store and identity. It is SageMaker's ClientToken, so
that a second request makes nothing, and a property of the version; should there be two after all, the newer one goes.

**Killed at any moment** after SageMaker made a version, it can be read, since what was registered lies in the store; the
next registration of the same writes what is missing.

**Whoever decides in SageMaker Studio** is heard: the status is SageMaker's, and where the document knows another one,
its history says that it continues outside.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry.html
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.refusals import fine_if, is_taken, refusals
from chronos_assets.platforms.aws.sagemaker.faults import is_gone
from chronos_assets.platforms.aws.tags import tag_value
from chronos_assets.platforms.registry import (
    PACKAGES,
    REGISTRATION,
    Approval,
    PackageVersion,
    RegistryError,
    check_group,
    check_status,
    check_undecided,
    decode,
    encode,
    iso_time,
    listed,
    new_version,
    with_status,
    without_breaks,
)
from chronos_assets.system import text_digest

MAX_PROPERTIES, MAX_DESCRIPTION, MAX_IMAGE = 50, 1024, 255
PAGE = 100  # versions of one answer of SageMaker

OUTSIDE = "changed outside"  # begins the reason of a status that was set in SageMaker

# Properties by which a version is ours, and by which its last decision is known whoever was killed after it.
_TOKEN, _STORE, _MODEL = "token", "store", "model"
_BY, _AT = "decided_by", "decided_at"

_FRAMEWORK_VERSION = re.compile(r"[0-9]\.[A-Za-z0-9.-]{1,8}")
_GOING = frozenset({"Failed", "Deleting"})


@dataclass(frozen=True)
class _ListedVersion:
    """A version as SageMaker lists it."""

    version: int
    arn: str
    status: Approval
    created: int


@dataclass(frozen=True)
class _OwnVersion:
    """A version of ours: SageMaker's row, the version, and whether its document was written."""

    row: _ListedVersion
    version: PackageVersion
    token: str
    written: bool = True


class SageMakerRegistry:
    """A `Registry` in SageMaker, for the models of one store.

    Args:
        aws: the deployment, whose store has the models, and gets the documents.
    """

    def __init__(self, aws: AwsDeployment) -> None:
        self._aws = aws
        self._clients, self._store = aws.clients, aws.store
        self._settings, self._code_location = aws.settings, aws.code_location
        self._documents: dict[str, tuple[str, bytes]] = {}  # key -> etag and content
        self._foreign: set[tuple[str, int]] = set()  # ARN and time of versions of others

    def register(
        self, group: str, *, model: str, identity: str, document: Mapping[str, Any], status: Approval, reason: str
    ) -> PackageVersion:
        """See `Registry.register`.

        Raises:
            RegistryError: it can't be registered, or SageMaker refuses to.
        """
        made = new_version(group, model=model, identity=identity, document=document, status=status, reason=reason)
        token = self._token(group, identity)
        with refusals(RegistryError, f"registering a version of {group} in SageMaker"):
            self._make_group(group)
            there = [known for known in self._known_versions(group) if known.token == token]
            if not there:
                self._create(made, token)
                there = [known for known in self._known_versions(group) if known.token == token]
                if not there:
                    raise RegistryError(
                        f"the version of {group} that was registered is gone: someone removed it; register it again"
                    )
            first, *copies = there
            for copy in copies:
                self._client.delete_model_package(ModelPackageName=copy.row.arn)
            return first.version if first.written else self._complete(first)

    def versions(self, group: str) -> list[PackageVersion]:
        """See `Registry.versions`. What others registered in the group is none of ours.

        Raises:
            RegistryError: the group can't be listed, or a document can't be read.
        """
        check_group(group)
        with refusals(RegistryError, f"listing the versions of {group} in SageMaker"):
            return [known.version for known in self._known_versions(group)]

    def set_status(
        self, group: str, version: int, status: Approval, *, reason: str, by: str, expected: Approval | None = None
    ) -> PackageVersion:
        """See `Registry.set_status`. What was decided before stays in the history, and what was registered as it is.

        Raises:
            RegistryError: also if someone else decides at the same moment.
        """
        check_group(group)
        check_status(status)
        with refusals(RegistryError, f"setting the status of {group}/{version} in SageMaker"):
            there = self._known_versions(group)
            known = next((item for item in there if item.row.version == version), None)
            if known is None:
                reported = listed(group, [item.version for item in there])
                raise RegistryError(f"there is no version {version} of {group}: {reported}")
            before = known.version
            check_undecided(before, expected)
            after = with_status(before, status, reason=reason, by=by)
            self._update(known, after)
            self._write(known, after)
        return after

    @property
    def _client(self) -> Any:
        return self._clients("sagemaker")

    def _token(self, group: str, identity: str) -> str:
        return text_digest(f"{group}\0{self._store.url}\0{identity}")[:36]

    # --- making -------------------------------------------------------------------------------------------------------

    def _make_group(self, group: str) -> None:
        with fine_if(is_gone):
            self._client.describe_model_package_group(ModelPackageGroupName=group)
            return
        with fine_if(is_taken):  # by another run, at this moment
            self._client.create_model_package_group(
                ModelPackageGroupName=group,
                ModelPackageGroupDescription=f"Forecasting models of {self._store.url}"[:MAX_DESCRIPTION],
                Tags=self._aws.tags(group=group),
            )

    def _create(self, made: PackageVersion, token: str) -> None:
        """Ask SageMaker for a version, once what it needs is in the store."""
        if self._store.shown(made.model) is None:
            raise RegistryError(
                f"{self._store.uri(made.model)}, the model of a version of {made.group}, is not there: publish it first"
            )
        folder = _registration(made.group, token)
        statistics = _statistics(made.document.get("metrics"))
        self._store.put(f"{folder}/document.json", encode(made))
        self._store.put(f"{folder}/statistics.json", json.dumps(statistics, indent=2).encode())
        properties = _properties(made) | {_TOKEN: token, _STORE: tag_value(self._store.url)} | _decision(made)
        self._client.create_model_package(
            ModelPackageGroupName=made.group,
            ModelPackageDescription=f"{made.model}: {made.reason}"[:MAX_DESCRIPTION],
            InferenceSpecification=self._inference(made),
            ModelApprovalStatus=made.status,
            ModelMetrics={
                "ModelQuality": {
                    "Statistics": {
                        "ContentType": "application/json",
                        "S3Uri": self._store.uri(f"{folder}/statistics.json"),
                    }
                }
            },
            CustomerMetadataProperties=dict(list(properties.items())[-MAX_PROPERTIES:]),
            MetadataProperties={"GeneratedBy": self._code_location},
            ClientToken=token,
            **{
                name: made.document[key]
                for name, key in (("Domain", "domain"), ("Task", "task"))
                if isinstance(made.document.get(key), str)
            },
        )

    def _inference(self, made: PackageVersion) -> dict[str, Any]:
        """How the version is served; anyone may make an endpoint of it in SageMaker Studio."""
        image, document = self._settings.image, made.document
        if not image or len(image) > MAX_IMAGE:
            raise RegistryError(
                f"a version needs an image that serves it, of up to {MAX_IMAGE} characters: set CHRONOS_SAGEMAKER_IMAGE"
            )
        serving = {"version": made.group, "identity": made.identity, "model": made.model}
        version = document.get("framework_version")
        return {
            "Containers": [
                {
                    "Image": image,
                    "ModelDataSource": {
                        "S3DataSource": {
                            "S3Uri": self._store.snapshot_uri(made.model),
                            "S3DataType": "S3Prefix",
                            "CompressionType": "None",
                        }
                    },
                    "Environment": {"CHRONOS_SERVING": json.dumps(serving)},
                    **({"Framework": document["framework"]} if isinstance(document.get("framework"), str) else {}),
                    **(
                        {"FrameworkVersion": version}
                        if isinstance(version, str) and _FRAMEWORK_VERSION.fullmatch(version)
                        else {}
                    ),
                }
            ],
            "SupportedContentTypes": list(document.get("content_types", ["application/json"])),
            "SupportedResponseMIMETypes": list(document.get("response_types", ["application/json"])),
        }

    def _complete(self, known: _OwnVersion) -> PackageVersion:
        """What a version gets after SageMaker made it: the reason of its status, and its document."""
        self._update(known, known.version)
        self._write(known, known.version)
        return known.version

    def _update(self, known: _OwnVersion, after: PackageVersion) -> None:
        """Set a version's status in SageMaker, and see that nothing else was lost or changed meanwhile."""
        there = self._client.describe_model_package(ModelPackageName=known.row.arn)
        status = there.get("ModelApprovalStatus", "PendingManualApproval")
        # Everything is given again: what an update leaves out is not certain to stay.
        properties = dict(there.get("CustomerMetadataProperties") or {}) | _decision(after)
        if status == known.row.status:
            self._client.update_model_package(
                ModelPackageArn=known.row.arn,
                ModelApprovalStatus=after.status,
                ApprovalDescription=after.reason[:MAX_DESCRIPTION],
                CustomerMetadataProperties=properties,
            )
            now = self._client.describe_model_package(ModelPackageName=known.row.arn)
            kept = now.get("CustomerMetadataProperties") or {}
            if now.get("ModelApprovalStatus") == after.status and properties.items() <= kept.items():
                return
        raise RegistryError(
            f"{after.name} was changed by someone else at the same moment: look at it in SageMaker, and decide again"
        )

    def _write(self, known: _OwnVersion, version: PackageVersion) -> None:
        row = known.row
        self._store.put(_document_key(row, version.group), encode(version, arn=row.arn, created=row.created))

    # --- reading ------------------------------------------------------------------------------------------------------

    def _known_versions(self, group: str) -> list[_OwnVersion]:
        """Our versions of a group, in order."""
        rows = sorted(self._rows(group), key=lambda row: row.version)
        if not rows:
            return []
        etags = {item.key: item.etag for item in self._store.list(f"{PACKAGES}/{group}")}
        found = (self._read(group, row, etags.get(_document_key(row, group))) for row in rows)
        return [known for known in found if known is not None]

    def _rows(self, group: str) -> Iterator[_ListedVersion]:
        pages = self._client.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=group, ModelPackageType="Versioned", PaginationConfig={"PageSize": PAGE}
        )
        with fine_if(is_gone):
            for page in pages:
                for item in page["ModelPackageSummaryList"]:
                    if item["ModelPackageStatus"] not in _GOING:
                        yield _ListedVersion(
                            item["ModelPackageVersion"],
                            item["ModelPackageArn"],
                            item.get("ModelApprovalStatus", "PendingManualApproval"),
                            int(item["CreationTime"].timestamp()),
                        )

    def _read(self, group: str, row: _ListedVersion, etag: str | None) -> _OwnVersion | None:
        """A version by its document, or by what was registered where it has none; None if it isn't ours."""
        if etag is not None:
            version, document = self._parse(_document_key(row, group), group, row.version, etag)
            # A document of a group that was deleted and made again is about another version of this number.
            if document.get("arn") == row.arn and document.get("created") == row.created:
                known = _OwnVersion(row, version, self._token(group, version.identity))
                return known if version.status == row.status else self._overtaken(known)
        if (row.arn, row.created) in self._foreign:
            return None
        there = self._client.describe_model_package(ModelPackageName=row.arn)
        properties = there.get("CustomerMetadataProperties") or {}
        token = properties.get(_TOKEN, "")
        key = f"{_registration(group, token)}/document.json"
        if properties.get(_STORE) != tag_value(self._store.url) or not token or not self._store.exists(key):
            self._foreign.add((row.arn, row.created))
            return None
        registered, _ = self._parse(key, group, 1, None)
        first = replace(
            registered,
            version=row.version,
            history=tuple(dict(entry, at=properties.get(_AT, entry["at"])) for entry in registered.history),
        )
        known = _OwnVersion(row, first, token, written=False)
        return known if first.status == row.status else self._overtaken(known, there)

    def _parse(self, key: str, group: str, number: int, etag: str | None) -> tuple[PackageVersion, dict[str, Any]]:
        """A document of the store, fetched once for each of its contents."""
        kept = self._documents.get(key)
        if kept is None or kept[0] != etag:
            kept = (etag or "", self._store.get(key))
            if etag is not None:
                self._documents[key] = kept
        return decode(
            kept[1],
            group,
            number,
            self._store.uri(key),
            "correct it, or remove it, which shows the version as it was registered",
        )

    def _overtaken(self, known: _OwnVersion, there: Mapping[str, Any] | None = None) -> _OwnVersion:
        """A version whose status SageMaker knows better than its document, with a history that says so."""
        there = there or self._client.describe_model_package(ModelPackageName=known.row.arn)
        version = known.version
        status: Approval = there.get("ModelApprovalStatus", "PendingManualApproval")
        reported = without_breaks(there.get("ApprovalDescription") or "")
        properties = there.get("CustomerMetadataProperties") or {}
        by, at = properties.get(_BY, ""), properties.get(_AT, "")
        if at and at not in {entry.get("at") for entry in version.history} and properties.get("decided") == status:
            # Our own decision, whose document was not written.
            after = with_status(version, status, reason=reported, by=by, at=at)
        else:
            after = with_status(
                version,
                status,
                reason=f"{OUTSIDE}: {reported}"
                if reported and reported != version.reason
                else f"{OUTSIDE} to {status}",
                by=_changed_by(there.get("LastModifiedBy") or {}),
                at=iso_time(there.get("LastModifiedTime") or datetime.now(UTC)),
            )
        return replace(known, row=replace(known.row, status=status), version=after)


def _registration(group: str, token: str) -> str:
    return f"{PACKAGES}/{group}/registrations/{token}"


def _document_key(row: _ListedVersion, group: str) -> str:
    return f"{PACKAGES}/{group}/{row.version}.json"


def _decision(version: PackageVersion) -> dict[str, str]:
    """The last decision as properties: who and when, which the approval's description doesn't say."""
    last = version.history[-1]
    return {
        "decided": version.status,
        _BY: tag_value(last.get("by", "")) or REGISTRATION,
        _AT: last.get("at", ""),
    }


def _properties(made: PackageVersion) -> dict[str, str]:
    """What people look for, as properties of a version; those that fit, what matters most last."""
    document = made.document
    flat = {
        **{f"hyperparameters.{name}": value for name, value in _items(document.get("hyperparameters"))},
        **{name: value for name, value in document.items() if isinstance(value, str | int | float)},
        **{f"metrics.{name}": value for name, value in _items(document.get("metrics"))},
        "identity": made.identity,
        _MODEL: made.model,
    }
    return {tag_value(name)[:128]: text for name, value in flat.items() if (text := tag_value(_text(value)))}


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


def _statistics(metrics: Any) -> dict[str, Any]:
    """Metrics as SageMaker's model quality statistics, which it draws beside the version."""
    numbers = {
        name: {"value": value, "standard_deviation": "NaN"}
        for name, value in _items(metrics)
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return {"version": 0.0, "regression_metrics": numbers}


def _changed_by(user: Mapping[str, Any]) -> str:
    """Who changed something in SageMaker, as far as it says."""
    identity = user.get("IamIdentity") or {}
    return str(user.get("UserProfileName") or str(identity.get("Arn", "")).rpartition("/")[2] or "SageMaker")
