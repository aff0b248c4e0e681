"""The CloudFormation template as data: for the tests that read its statements, and for those that create it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chronos_assets_tests.conftest import REPOSITORY

PATH = REPOSITORY / "docker" / "cloudformation.yaml"
ACCOUNT, REGION = "123456789012", "us-east-1"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws", "AWS::StackName": "stack"}


def load() -> dict[str, Any]:
    """The document, functions in their long form."""
    from cfnlint.decode import decode  # takes a second to import

    template, problems = decode(str(PATH))
    assert not problems
    document: dict[str, Any] = json.loads(json.dumps(template))
    return document


@dataclass(frozen=True)
class Statement:
    """A statement of a policy, wherever in the template it stands; strings of resources have their variables."""

    resource: str
    kind: str
    document: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.resource}.{self.document.get('Sid', '')}"

    @property
    def allows(self) -> bool:
        return bool(self.document["Effect"] == "Allow")

    @property
    def actions(self) -> list[str]:
        return _listed(self.document.get("Action", []))

    @property
    def resources(self) -> list[Any]:
        return _listed(self.document.get("Resource", []))


def statements(template: dict[str, Any]) -> Iterator[Statement]:
    """Every statement of every policy, those behind a condition too."""
    for name, resource in template["Resources"].items():
        for document in _policies(resource.get("Properties", {})):
            for statement in document["Statement"]:
                yield Statement(name, resource["Type"], statement["Fn::If"][1] if "Fn::If" in statement else statement)


def _policies(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        else:
            for item in value.values():
                yield from _policies(item)
    elif isinstance(value, list):
        for item in value:
            yield from _policies(item)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resolved(value: Any, names: dict[str, str]) -> Any:
    """`value` with Ref, Fn::Sub, Fn::Join, Fn::Split and Fn::If (as if true) carried out, as far as `names` knows them."""
    known = PSEUDO | names
    if isinstance(value, list):
        return [resolved(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return known.get(value["Ref"], f"<{value['Ref']}>")
    if set(value) == {"Fn::GetAtt"}:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    if set(value) == {"Fn::Sub"}:
        given = value["Fn::Sub"]
        text, more = (given, {}) if isinstance(given, str) else (given[0], resolved(given[1], names))
        return re.sub(r"\$\{([^}]+)\}", lambda match: (known | more).get(match[1], f"<{match[1]}>"), text)
    if set(value) == {"Fn::Join"}:
        separator, parts = value["Fn::Join"][0], resolved(value["Fn::Join"][1], names)
        # A list parameter is known by the text that it is given as.
        return separator.join(parts.split(",") if isinstance(parts, str) else map(str, parts))
    if set(value) == {"Fn::Split"}:
        separator, text = value["Fn::Split"]
        return resolved(text, names).split(separator)
    if set(value) == {"Fn::If"}:
        return resolved(value["Fn::If"][1], names)
    return {key: resolved(item, names) for key, item in value.items()}
