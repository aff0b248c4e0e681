"""docs/aws.md is true: its settings, parameters, outputs, files and commands are there, and none is left out."""

import re
import shlex
from dataclasses import fields
from itertools import pairwise
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from chronos_assets.settings import AwsSettings
from chronos_assets_tests.commands import options, subcommands
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.docker.dockerfile import DOCKER
from chronos_assets_tests.docker.template import load

GUIDE = (REPOSITORY / "docs" / "aws.md").read_text()
# Of a build, and of git: nothing to tell about.
SILENT = {".gitignore", "sagemaker-sdk.lock"}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return load()


def _section(title: str) -> str:
    return GUIDE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _settings() -> dict[str, list[str]]:
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in _section("Settings").splitlines()]
    return {row[0]: row[1:] for row in rows if re.fullmatch(r"(AWS|CHRONOS)_[A-Z_]+", row[0])}


def test_every_setting_of_aws_is_documented_with_its_default() -> None:
    given = AwsSettings()
    expected = {}
    for name, variable in re.findall(r"^\s+(\w+): `((?:CHRONOS|AWS)_\w+)`", AwsSettings.__doc__ or "", re.MULTILINE):
        value = getattr(given, name)
        expected[variable] = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value or "none")
    assert set(re.findall(r"`((?:CHRONOS)_\w+)`", AwsSettings.__doc__ or "")) <= set(_settings())
    assert len(expected) >= len(fields(AwsSettings)) - 2
    documented = {variable: cells[1] for variable, cells in _settings().items() if variable in expected}
    expected |= {"AWS_REGION": "the profile's", "CHRONOS_CACHE": "~/.cache/chronos-assets"}
    expected |= {variable: "none" for variable in expected if expected[variable] == "()"}
    assert documented == {variable: expected[variable] for variable in documented}
    assert set(documented) == set(expected)


def test_no_setting_is_made_up() -> None:
    documented = set(re.findall(r"CHRONOS_[A-Z_]+", (REPOSITORY / "chronos_assets" / "settings.py").read_text()))
    compose = set(re.findall(r"CHRONOS_[A-Z_]+", (DOCKER / "compose.yaml").read_text()))
    assert set(re.findall(r"CHRONOS_[A-Z]+(?:_[A-Z]+)*", GUIDE)) <= documented | compose


def test_every_parameter_and_output_is_the_templates(template: dict[str, Any]) -> None:
    documented = {cells[0] for cells in _settings().values()} - {"", "the stack's"}
    documented |= set(re.findall(r"\b([A-Z][a-z]+[A-Z][A-Za-z]*)=(?!=)", GUIDE))
    assert documented <= set(template["Parameters"])
    assert set(re.findall(r"(?<!-)\boutput ([A-Z]\w+)", GUIDE)) <= set(template["Outputs"])
    # What has no default must be in the command that makes the stack.
    needed = {name for name, item in template["Parameters"].items() if "Default" not in item}
    assert needed == {"BucketName", "DatasetGroup"}
    assert all(f"{name}=" in GUIDE for name in needed)


def test_every_file_is_documented() -> None:
    documented = set(re.findall(r"`([\w.-]+)`", _section("The files of `docker/`")))
    assert documented >= {path.name for path in DOCKER.iterdir() if path.suffix != ".env"} - SILENT


def test_the_commands_are_there_with_their_options() -> None:
    commands = subcommands()
    used = re.findall(r"chronos-assets ([a-z][a-z-]*)(.*)", GUIDE)
    assert {"doctor", "run", "query", "validate", "endpoint"} <= {name for name, _ in used}
    for name, arguments in used:
        if name not in commands:
            assert name in ("endpoint",) or not arguments.startswith(" -"), name
            continue
        assert set(re.findall(r"(?<=\s)--[a-z-]+", arguments.split("`")[0].split("#")[0])) <= options(commands[name])


# --- commands of AWS's own line ---------------------------------------------------------------------------------------

# What the CLI has beside botocore's operations: command -> options.
OF_THE_CLI_ITSELF = {
    ("s3", "mb"): set(),
    ("s3", "rb"): {"force"},
    ("s3", "cp"): set(),
    ("s3", "sync"): set(),
    ("ecr", "get-login-password"): set(),
    ("cloudformation", "deploy"): {"stack-name", "template-file", "s3-bucket", "capabilities", "parameter-overrides"},
}
OF_EVERY_COMMAND = {"query", "output", "region", "profile"}


def _aws_commands() -> list[list[str]]:
    """Every command of the CLI in the guides, as words: variables, and commands in commands, are a word each."""
    found = []
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
        lines = "\n".join(blocks).replace("\\\n", " ")
        inline = re.findall(r"(?<!`)`(aws [^`]+)`", page.read_text())
        for text in [*re.findall(r"(?<![\w./-])aws (?=[a-z])[^\n]*", lines), *inline]:
            found.append(_words(text))
    return [words for words in found if words]


def _words(text: str) -> list[str]:
    """One command: up to what ends it in a shell."""
    text = re.sub(r"\$\{[^}]*\}|\$\(output \w+\)|\$\w+|<[^<>]+>", "VALUE", text)
    text = re.split(r"\s[|#]|\s&&|;|\)(?=$|;|\s)", text)[0].rstrip(")")
    return shlex.split(text)


def test_every_command_of_the_aws_cli_is_one_that_botocore_knows() -> None:
    session = botocore.session.get_session()
    commands = _aws_commands()
    assert len(commands) > 20
    for _, service, name, *rest in commands:
        options = {word.removeprefix("--") for word in rest if word.startswith("--")} - OF_EVERY_COMMAND
        if (service, name) in OF_THE_CLI_ITSELF:
            assert options <= OF_THE_CLI_ITSELF[service, name], (service, name, options)
            continue
        model = session.get_service_model(service)
        if name == "wait":
            waiter = session.get_waiter_model(service).get_waiter(
                next(n for n in session.get_waiter_model(service).waiter_names if xform_name(n, "-") == rest[0])
            )
            operation = waiter.operation
        else:
            operation = {xform_name(known, "-"): known for known in model.operation_names}.get(name)
        assert operation is not None, (service, name)
        shape = model.operation_model(operation).input_shape
        members = {xform_name(member, "-"): member for member in shape.members}
        assert options <= set(members), (service, name, options - set(members))
        needed = {xform_name(member, "-") for member in shape.required_members}
        assert needed <= options, (service, name, needed - options)
        for option, value in pairwise(rest):
            kind = shape.members[members[option[2:]]] if option[2:] in members else None
            if kind is not None and value != "VALUE" and "VALUE" not in value:
                assert not getattr(kind, "enum", None) or value in kind.enum, (service, name, option, value)
                assert kind.type_name != "integer" or value.isdigit(), (service, name, option, value)


@pytest.mark.parametrize(
    "command",
    [
        "aws sagemaker list-packages",
        "aws iam attach-role-policy --role VALUE",
        "aws iam attach-role-policy --role-name x",
    ],
)
def test_a_command_that_is_wrong_would_be_found(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_assets_tests.docker.test_guide._aws_commands", lambda: [_words(command)] * 21)
    with pytest.raises(AssertionError):
        test_every_command_of_the_aws_cli_is_one_that_botocore_knows()


def test_the_template_needs_the_bucket_that_the_guide_makes_for_it() -> None:
    """CloudFormation takes 51,200 bytes from a command, a megabyte from a bucket."""
    size = (DOCKER / "cloudformation.yaml").stat().st_size
    assert 51_200 < size < 1_000_000
    assert GUIDE.count("--s3-bucket") == GUIDE.count("--template-file")
