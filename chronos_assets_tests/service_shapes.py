"""Answers of the service `forecast`, held against botocore's model of it."""

from __future__ import annotations

import json
import re
from typing import Any


def parsed(operation: str, body: bytes) -> dict[str, Any]:
    """A document as boto3's `forecast` client would hand it out; what its service model doesn't know is refused."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.parsers import create_parser

    model = ServiceModel(Loader().load_service_model("forecast", "service-2"))
    shape = model.operation_model(operation).output_shape
    check_shape(json.loads(body), shape)
    response = {"body": body, "headers": {}, "status_code": 200}
    return dict(create_parser("json").parse(response, shape))


def check_shape(value: Any, shape: Any) -> None:
    """Whether a JSON value has nothing but what a shape has, within its bounds."""
    if shape.type_name == "structure":
        assert value.keys() <= shape.members.keys()
        for name, member in value.items():
            check_shape(member, shape.members[name])
    elif shape.type_name == "list":
        for member in value:
            check_shape(member, shape.member)
    elif shape.type_name == "string":
        assert isinstance(value, str)
        assert len(value) <= shape.metadata.get("max", len(value))
        assert re.fullmatch(shape.metadata.get("pattern", ".*"), value)
        assert value in shape.metadata.get("enum", [value])
    else:
        kinds = {"double": (int, float), "boolean": bool, "integer": int, "long": int, "timestamp": str}
        assert isinstance(value, kinds[shape.type_name])
