"""Who may import whom, read from the source: lazy imports and those for type checkers count too."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import chronos_assets
from chronos_assets_tests.conftest import REPOSITORY

PACKAGE = Path(chronos_assets.__file__).parent

CLOUD = {"boto3", "botocore", "sagemaker", "sagemaker_core", "dagster_aws", "s3fs"}
DAGSTER = {"dagster", "dagster_graphql", "dagster_webserver", "dagster_aws"}
NETWORKS = {"torch", "chronos", "transformers", "safetensors", "gluonts", "peft", "accelerate"}

# Part -> the other parts of the package that it may import. The most exact name of a module counts.
OURS = {
    "settings": set(),
    "store_layout": set(),
    "calendar": set(),
    "kernelsynth": set(),
    "params": {"calendar"},
    "timeseries": {"calendar", "params"},
    "models": {"kernelsynth", "timeseries"},
    # The contract is all that a launcher knows of a workload: variables and folders.
    "container": {"params"},
    "benchmark": {"container", "models", "timeseries"},
    "serving": {"calendar", "container", "models"},
    "workloads": {"benchmark", "calendar", "container", "kernelsynth", "models", "params", "serving", "timeseries"},
    "planning": {"params.training", "platforms.store", "platforms.train_queue", "platforms.registry", "settings"},
    "platforms": {"container", "params", "settings", "timeseries"},
    # A description of a model is read from its files, without torch; what `serve` speaks is said by the contract.
    "pipeline": {
        *("benchmark", "calendar", "container", "models.checkpoints", "params", "planning", "platforms", "settings"),
        *("store_layout", "timeseries", "defs.metadata"),
    },
    "defs": {"benchmark", "params", "pipeline", "planning", "platforms", "store_layout", "timeseries"},
    "definitions": {"defs", "pipeline.group", "settings"},
    "cli": {
        *("definitions", "defs", "params", "pipeline", "settings", "store_layout", "timeseries"),
        # Its errors, and where a store on this machine lies.
        *("platforms.endpoints", "platforms.notices", "platforms.registry", "platforms.store", "platforms.local.store"),
        # What is in the way of a run, and the pipeline of the training line.
        *("platforms.checkup", "platforms.local.doctor", "platforms.aws.doctor", "platforms.aws.clients"),
        "platforms.aws.pipeline_definition",
    },
}
THEIRS = {
    "calendar": CLOUD | DAGSTER | NETWORKS | {"dagster_pipes"},
    "timeseries": CLOUD | DAGSTER | NETWORKS | {"dagster_pipes"},
    "kernelsynth": CLOUD | DAGSTER | NETWORKS | {"dagster_pipes"},
    "planning": CLOUD | DAGSTER | NETWORKS | {"dagster_pipes"},
    "store_layout": CLOUD | DAGSTER | NETWORKS | {"dagster_pipes"},
    "models": CLOUD | DAGSTER | {"dagster_pipes"},
    "benchmark": CLOUD | DAGSTER | {"dagster_pipes"},
    "container": CLOUD | DAGSTER | NETWORKS,
    "serving": CLOUD | DAGSTER,
    "workloads": CLOUD | DAGSTER,
    "platforms": NETWORKS,
    "pipeline": CLOUD | NETWORKS,
    "defs": CLOUD | NETWORKS,
    "definitions": CLOUD | NETWORKS,
    "cli": CLOUD | NETWORKS,
    "params": CLOUD | DAGSTER | NETWORKS,
}


# How a job in a cloud reports to who launched it.
REPORTING = {PACKAGE / "container" / "s3_pipes.py"}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module (or name in a module) that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _files(part: str) -> list[Path]:
    module = PACKAGE / f"{part}.py"
    return [module] if module.exists() else sorted((PACKAGE / part).rglob("*.py"))


def test_every_part_of_the_package_has_its_rule() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set(OURS)


@pytest.mark.parametrize("part", OURS)
def test_a_part_imports_only_parts_that_it_may_know(part: str) -> None:
    allowed = {part, *OURS[part]}
    found = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in _files(part)
        for line, name in _imports(path)
        if name.startswith("chronos_assets.")
        and not any(f"{name}.".startswith(f"chronos_assets.{other}.") for other in allowed)
    ]
    assert not found


@pytest.mark.parametrize("part", THEIRS)
def test_a_part_imports_no_library_that_it_must_not_know(part: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in _files(part)
        for line, name in _imports(path)
        if name.split(".")[0] in THEIRS[part] and not (path in REPORTING and name == "boto3")
    ]
    assert not found


def test_only_the_platforms_may_know_a_cloud() -> None:
    everywhere = [(path, name) for path in PACKAGE.rglob("*.py") for _, name in _imports(path)]
    assert {
        path.relative_to(PACKAGE).parts[0]
        for path, name in everywhere
        if name.split(".")[0] in CLOUD and path not in REPORTING
    } <= {"platforms"}


def test_every_library_that_is_imported_is_a_dependency_of_its_own() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = ("aws", "baselines", "lora", "peers", "sagemaker")
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    declared = {re.split(r"[<>=\[ ]", line)[0] for line in [*project["dependencies"], *optional]}
    imported = {name.split(".")[0] for path in PACKAGE.rglob("*.py") for _, name in _imports(path)}
    libraries = imported - sys.stdlib_module_names - {"chronos_assets"}
    distributions = packages_distributions()
    # boto3 is made of botocore; the sagemaker SDK of several distributions that share the package `sagemaker`.
    wholes = {"botocore": "boto3", "sagemaker": "sagemaker"}
    named = {wholes.get(name) or re.sub(r"[_.]", "-", distributions[name][0]).lower() for name in libraries}
    # The server and ECS's launcher are run, not imported.
    assert named | {"dagster-webserver", "dagster-aws"} == declared - {"chronos-assets"}


def test_the_environment_is_read_where_it_is_said_to_be() -> None:
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert readers == {
        "settings.py",
        # The command hands it on to Dagster's server, the launcher to its children.
        "cli.py",
        "platforms/local/processes.py",
        # A program in a container finds its folders, and sets what its libraries read.
        "container/contract.py",
        "workloads/forecast.py",
        "workloads/generate.py",
        "workloads/pretrain.py",
        "workloads/serve.py",
        "workloads/train.py",
        "models/checkpoints.py",
    }
