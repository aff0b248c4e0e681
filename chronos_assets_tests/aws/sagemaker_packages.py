"""The model registry: package groups and their versions, which forget nothing by an update.

Here: the operations on groups and packages. Elsewhere: models made of them (`sagemaker_endpoints.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from moto.events.models import events_backends

from chronos_assets_tests.aws.cloud import ACCOUNT, REGION, Cloud, CloudError, arn_of, invalid, listed, now
from chronos_assets_tests.aws.running_job import present

CREATED_BY = {"IamIdentity": {"Arn": "arn:aws:iam::123456789012:user/tester", "PrincipalId": "AIDATESTER"}}


class Group:
    """A model package group.

    Attributes:
        last: number of its newest version, which is never used again.
        tokens: ClientToken -> ARN of the version that it made.
    """

    def __init__(self, name: str, request: Mapping[str, Any]) -> None:
        self.name = name
        self.arn = arn_of("model-package-group", name.lower())
        self.tags = [dict(tag) for tag in request.get("Tags") or []]
        self.about = request.get("ModelPackageGroupDescription")
        self.created = now()
        self.last = 0
        self.tokens: dict[str, str] = {}

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        return present(
            {
                "ModelPackageGroupName": self.name,
                "ModelPackageGroupArn": self.arn,
                "ModelPackageGroupDescription": self.about,
                "CreationTime": self.created,
                "ModelPackageGroupStatus": "Completed",
            }
        )


class Package:
    """A version of a group.

    Attributes:
        values: members of its description that were given or updated.
    """

    tags: tuple[Mapping[str, str], ...] = ()  # a version has those of its group

    def __init__(self, group: Group, version: int, request: Mapping[str, Any]) -> None:
        self.group = group
        self.version = version
        self.arn = arn_of("model-package", f"{group.name.lower()}/{version}")
        kept = {key: value for key, value in request.items() if key not in {"Tags", "ClientToken"}}
        self.values: dict[str, Any] = {
            "ModelApprovalStatus": "PendingManualApproval",
            **kept,
            "ModelPackageGroupName": group.name,
        }
        self.created = now()
        self.modified = self.created

    @property
    def approval(self) -> str:
        """Its ModelApprovalStatus."""
        return str(self.values["ModelApprovalStatus"])

    @property
    def container(self) -> Mapping[str, Any]:
        """The container of its inference specification."""
        containers = (self.values.get("InferenceSpecification") or {}).get("Containers")
        if not containers:
            raise invalid(f"ModelPackage {self.arn} has no inference specification.")
        return containers[0]

    def update(self, params: Mapping[str, Any]) -> None:
        """Change what is given, and nothing else."""
        for name in ("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri"):
            if params.get(name) is not None:
                self.values[name] = params[name]
        properties = {
            **(self.values.get("CustomerMetadataProperties") or {}),
            **(params.get("CustomerMetadataProperties") or {}),
        }
        for name in params.get("CustomerMetadataPropertiesToRemove") or []:
            properties.pop(name, None)
        self.values["CustomerMetadataProperties"] = properties
        self.modified = now()

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        return present(
            {
                "ModelPackageGroupName": self.group.name,
                "ModelPackageVersion": self.version,
                "ModelPackageArn": self.arn,
                "ModelPackageDescription": self.values.get("ModelPackageDescription"),
                "CreationTime": self.created,
                "ModelPackageStatus": "Completed",
                "ModelApprovalStatus": self.approval,
            }
        )

    def description(self) -> dict[str, Any]:
        """What DescribeModelPackage tells."""
        changed = (
            {"LastModifiedTime": self.modified, "LastModifiedBy": CREATED_BY} if self.modified != self.created else {}
        )
        return {
            **self.values,
            **self.summary(),
            "ModelPackageName": self.group.name,
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "CertifyForMarketplace": False,
            "CreatedBy": CREATED_BY,
            **changed,
        }


def _group(cloud: Cloud, name: str) -> Group:
    plain = name.rpartition("/")[2]
    for group in list(cloud.backend.model_package_groups.values()):
        if name in {group.name, group.arn} or plain == group.name:
            return group
    raise invalid(f"ModelPackageGroup {arn_of('model-package-group', plain)} does not exist.")


def _package(cloud: Cloud, name: str) -> Package:
    package = cloud.backend.model_packages.get(name)
    if package is None:
        raise invalid(f"ModelPackage {name} does not exist.")
    return package


def package_container(cloud: Cloud, arn: str) -> Mapping[str, Any]:
    """The container of an approved package."""
    package = _package(cloud, arn)
    if package.approval != "Approved":
        raise invalid(f"ModelPackage {arn} is not approved: its status is {package.approval}")
    return package.container


def create_group(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateModelPackageGroup."""
    name = params["ModelPackageGroupName"]
    groups = cloud.backend.model_package_groups
    if name.lower() in {known.lower() for known in groups}:
        raise invalid(f"Model Package Group already exists: {arn_of('model-package-group', name.lower())}")
    groups[name] = Group(name, params)
    return {"ModelPackageGroupArn": groups[name].arn}


def delete_group(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackageGroup."""
    group = _group(cloud, params["ModelPackageGroupName"])
    if any(package.group is group for package in cloud.backend.model_packages.values()):
        raise CloudError("ConflictException", f"Model Package Group {group.arn} has model packages: delete them first")
    del cloud.backend.model_package_groups[group.name]
    return {}


def list_groups(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """ListModelPackageGroups."""
    summaries = [group.summary() for group in list(cloud.backend.model_package_groups.values())]
    page, more = listed(summaries, params, name="ModelPackageGroupName")
    return {"ModelPackageGroupSummaryList": page, **more}


def create_package(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateModelPackage."""
    if params.get("ModelPackageName") or not params.get("ModelPackageGroupName"):
        raise invalid("This server's packages are versions of a ModelPackageGroupName")
    if params.get("Tags"):
        raise invalid("Tags can't be given to a version: it has those of its Model Package Group")
    group = _group(cloud, params["ModelPackageGroupName"])
    token = params.get("ClientToken") or ""
    if token not in group.tokens or not token:
        group.last += 1
        package = Package(group, group.last, params)
        cloud.backend.model_packages[package.arn] = package
        group.tokens[token] = package.arn
    return {"ModelPackageArn": group.tokens[token]}


def update_package(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """UpdateModelPackage."""
    package = _package(cloud, params["ModelPackageArn"])
    package.update(params)
    if params.get("ModelApprovalStatus"):
        _announce(package)
    return {"ModelPackageArn": package.arn}


def _announce(package: Package) -> None:
    """What EventBridge hears of a version whose state changed; its rules decide who else does.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    """
    event: Any = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "SageMaker Model Package State Change",
        "source": "aws.sagemaker",
        "account": ACCOUNT,
        "time": package.modified.timestamp(),
        "region": REGION,
        "resources": [package.arn],
        "detail": {
            "ModelPackageGroupName": package.group.name,
            "ModelPackageName": f"{package.group.name}/{package.version}",
            "ModelPackageVersion": package.version,
            "ModelPackageArn": package.arn,
            "ModelPackageStatus": "Completed",
            "ModelApprovalStatus": package.approval,
        },
    }
    for rule in list(events_backends[ACCOUNT][REGION].event_buses["default"].rules.values()):
        rule.send_to_targets(dict(event), transform_input=False)


def delete_package(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackage."""
    package = _package(cloud, params["ModelPackageName"])
    del cloud.backend.model_packages[package.arn]
    return {}


def list_packages(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """ListModelPackages."""
    packages = list(cloud.backend.model_packages.values())
    if (name := params.get("ModelPackageGroupName")) is not None:
        group = _group(cloud, name)
        packages = [package for package in packages if package.group is group]
    elif params.get("ModelPackageType", "Unversioned") == "Unversioned":
        packages = []
    if (approval := params.get("ModelApprovalStatus")) is not None:
        packages = [package for package in packages if package.approval == approval]
    page, more = listed([package.summary() for package in packages], params, name="ModelPackageGroupName")
    return {"ModelPackageSummaryList": page, **more}


OPERATIONS = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": lambda cloud, params: {
        **_group(cloud, params["ModelPackageGroupName"]).summary(),
        "CreatedBy": CREATED_BY,
    },
    "DeleteModelPackageGroup": delete_group,
    "ListModelPackageGroups": list_groups,
    "CreateModelPackage": create_package,
    "DescribeModelPackage": lambda cloud, params: _package(cloud, params["ModelPackageName"]).description(),
    "UpdateModelPackage": update_package,
    "DeleteModelPackage": delete_package,
    "ListModelPackages": list_packages,
}
