"""What the import contracts of pyproject.toml can't say: dependencies are declared, and few modules read the environment."""

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import chronos_assets
from chronos_assets_tests.conftest import REPOSITORY

PACKAGE = Path(chronos_assets.__file__).parent


@dataclass
class Source:
    """What a file of the package has.

    Attributes:
        imports: full names of modules, or of names in them.
        classes: line, name and bases of each.
        reads_environment: whether it does.
        knows_failures: whether it names Dagster's `Failure`.
    """

    imports: list[str]
    classes: list[tuple[int, str, list[str]]]
    reads_environment: bool = False
    knows_failures: bool = False


@cache
def sources() -> dict[str, Source]:
    """Every file of the package, by its path in it; each is parsed once for all tests."""
    return {path.relative_to(PACKAGE).as_posix(): _source(path) for path in PACKAGE.rglob("*.py")}


def _source(path: Path) -> Source:
    source = Source([], [])
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                source.imports += [alias.name for alias in node.names]
            case ast.ImportFrom():
                assert node.level == 0, f"{path}:{node.lineno} is a relative import"
                source.imports += [f"{node.module}.{alias.name}" for alias in node.names]
            case ast.ClassDef():
                source.classes.append((node.lineno, node.name, [ast.unparse(base) for base in node.bases]))
            case ast.Attribute(attr="environ" | "getenv"):
                source.reads_environment = True
            case ast.Attribute(value=ast.Name("dg"), attr="Failure"):
                source.knows_failures = True
    return source


def test_every_library_that_is_imported_is_a_dependency_of_its_own() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = ("aws", "baselines", "dashboard", "lora", "sagemaker")
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    declared = {re.split(r"[<>=\[ ]", line)[0] for line in [*project["dependencies"], *optional]}
    imported = {name.split(".")[0] for source in sources().values() for name in source.imports}
    libraries = imported - sys.stdlib_module_names - {"chronos_assets"}
    distributions = packages_distributions()
    # boto3 is made of botocore; the sagemaker SDK of several distributions that share the package `sagemaker`.
    wholes = {"botocore": "boto3", "sagemaker": "sagemaker"}
    named = {wholes.get(name) or re.sub(r"[_.]", "-", distributions[name][0]).lower() for name in libraries}
    # The server and ECS's launcher are run, not imported; authlib is Streamlit's, for its login.
    assert named | {"dagster-webserver", "dagster-aws", "authlib"} == declared - {"chronos-assets"}


def test_the_environment_is_read_where_it_is_said_to_be() -> None:
    readers = {name for name, source in sources().items() if source.reads_environment}
    assert readers == {
        "settings.py",
        # The command hands it on to Dagster's server, the launcher to its children.
        "cli/common.py",
        "cli/dashboard.py",
        "cli/run.py",
        "cli/ui.py",
        # Runs are started again where the environment has changed.
        "defs/forked_runs.py",
        "platforms/local/processes.py",
        # A fork server has its jobs' variables, and tells descendants where it is.
        "platforms/local/forkserver.py",
        "platforms/local/warm_workers.py",
        # A program in a container finds its folders, and sets what its libraries read.
        "container/contract.py",
        "workloads/explain.py",
        "workloads/forecast.py",
        "workloads/learn.py",
        "workloads/generate.py",
        "workloads/pretrain.py",
        "workloads/serve.py",
        "workloads/train.py",
        "models/checkpoints.py",
    }


def test_a_class_has_a_name_of_its_own_in_the_package() -> None:
    homes: dict[str, list[str]] = {}
    for path, source in sources().items():
        for line, name, _ in source.classes:
            homes.setdefault(name, []).append(f"{path}:{line}")
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def test_every_error_descends_from_the_root() -> None:
    # The client for SageMaker's jobs stands alone.
    classes = {
        name: bases
        for path, source in sources().items()
        for _, name, bases in source.classes
        if not path.startswith("platforms/aws/sagemaker/")
    }

    def ancestors(name: str) -> set[str]:
        return {name}.union(*map(ancestors, classes.get(name, [])))

    roots = {name: ancestors(name) for name in classes if not name.startswith("_")}
    errors = {name for name, above in roots.items() if any(base.endswith(("Error", "Exception")) for base in above)}
    # A signal, which no `except Exception` may catch, is a BaseException.
    assert {name for name in errors if not roots[name] & {"ChronosAssetsError", "BaseException"}} == set()


def test_errors_become_failures_of_dagster_at_the_edge() -> None:
    # The client for SageMaker's jobs raises them; who calls it raises the package's.
    clients = {f"platforms/aws/{name}.py" for name in ("jobs", "tuning", "sagemaker/client")}
    assert {path for path, source in sources().items() if source.knows_failures} == {"defs/failures.py"} | clients


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): path.read_text().count("\n") for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > 600} == {}


def test_benchmarks_and_tools_import_what_is_there() -> None:
    """No test runs them all: what they import of the package has to be in it."""
    for path in [*(REPOSITORY / "benchmarks").glob("*.py"), *(REPOSITORY / "tools").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("chronos_assets."):
                home = PACKAGE.parent.joinpath(*str(node.module).split("."))
                defined = _names(home / "__init__.py" if home.is_dir() else home.with_suffix(".py"))
                missing = [alias.name for alias in node.names if alias.name not in defined | _children(home)]
                assert not missing, f"{path.name}:{node.lineno} imports {missing} from {node.module}"


@cache
def _names(module: Path) -> set[str]:
    """What a module defines or imports at its top level, in conditions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def _children(package: Path) -> set[str]:
    return {path.stem for path in package.iterdir()} if package.is_dir() else set()
