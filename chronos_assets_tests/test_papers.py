"""The papers of the project hold together: licence, metadata, changelog, CI and hooks."""

import re
import tomllib
from importlib.resources import files

import yaml

from chronos_assets_tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_the_licence_is_the_one_in_the_metadata() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert re.search(r"Apache License\s+Version 2\.0", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_package_says_that_it_is_typed() -> None:
    assert (files("chronos_assets") / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["chronos_assets"]


def test_the_changelog_has_the_version_and_what_is_unreleased() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert headings[:2] == ["Unreleased", PROJECT["project"]["version"]]
    assert set(headings) == set(re.findall(r"^\[([^\]]+)\]: https://", text, re.MULTILINE))
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_ci_runs_what_every_machine_runs() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yaml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in [step.get("run") for step in steps]
    assert workflow["permissions"] == {"contents": "read"}


def test_hooks_are_the_tools_of_the_environment() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    entries = {hook["id"]: hook["entry"] for repository in config["repos"] for hook in repository["hooks"]}
    assert entries.keys() == {"ruff-format", "ruff", "mypy"}
    assert all(entry.startswith(".venv/bin/") for entry in entries.values())
