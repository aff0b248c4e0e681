"""Tags of SageMaker's resources: names are unique, fifty at most, and the ARN must be of something.

Here: the operations on tags. Elsewhere: which resources have which (`sagemaker_*.py`).
"""

from __future__ import annotations

from typing import Any

from chronos_assets_tests.aws.cloud import Cloud, invalid

MAX_TAGS = 50


def _resource(cloud: Cloud, arn: str) -> Any:
    backend = cloud.backend
    kinds = {
        "model": backend._models,
        "endpoint": backend.endpoints,
        "endpoint-config": backend.endpoint_configs,
        "training-job": backend.training_jobs,
        "processing-job": backend.processing_jobs,
        "transform-job": backend.transform_jobs,
        "hyper-parameter-tuning-job": backend.hyper_parameter_tuning_jobs,
        "model-package-group": backend.model_package_groups,
        "model-package": backend.model_packages,
        "pipeline": backend.pipelines,
    }
    kind = arn.rpartition(":")[2].partition("/")[0]
    found = next((item for item in list(kinds.get(kind, {}).values()) if item.arn == arn), None)
    if found is None:
        raise invalid(f"The ARN {arn} was not found")
    return found


def add_tags(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """AddTags."""
    resource = _resource(cloud, params["ResourceArn"])
    tags = {tag["Key"]: tag["Value"] for tag in [*(resource.tags or []), *params["Tags"]]}
    if len(tags) > MAX_TAGS:
        raise invalid(f"Number of tags must not exceed {MAX_TAGS}")
    resource.tags = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"Tags": resource.tags}


def delete_tags(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """DeleteTags."""
    resource = _resource(cloud, params["ResourceArn"])
    resource.tags = [tag for tag in resource.tags or [] if tag["Key"] not in params["TagKeys"]]
    return {}


def list_tags(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """ListTags."""
    tags = _resource(cloud, params["ResourceArn"]).tags or []
    begin = int(params.get("NextToken") or 0)
    end = begin + int(params.get("MaxResults") or MAX_TAGS)
    return {"Tags": tags[begin:end], **({"NextToken": str(end)} if end < len(tags) else {})}


OPERATIONS = {"AddTags": add_tags, "DeleteTags": delete_tags, "ListTags": list_tags}
