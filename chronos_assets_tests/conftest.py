"""Fixtures every test may use: thread caps, hypothesis profiles, the shared real data."""

import atexit
import gc
import os
import re
import sys

# Garbage collection waits until all tests are collected: to walk through all that was imported, again and again, takes a third
# of that time and finds nothing.
gc.disable()
# Rewriting the assertions of every test takes as long again: it is done once and kept, even where the environment keeps no
# bytecode (container images often set this). The processes that tests start keep the package's.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Caps come before numpy or torch are imported anywhere: workers of a parallel run share two cores.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# Most tests of numbers compare bytes, which are those of a CPU: `CUDA_VISIBLE_DEVICES=0` shows them a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

from chronos_assets_tests.memory import temporary_files_in_memory

# Before anything asks where temporary files are.
_TEMPORARY = temporary_files_in_memory()

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from chronos_assets_tests.aws.fixtures import aws, aws_server, s3_server  # noqa: F401 - fixtures of every test
from chronos_assets_tests.forks import session_server
from chronos_assets_tests.shares import QUICK, SLOW, in_shares

REPOSITORY = Path(__file__).resolve().parent.parent

_COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
# `make test` asks the same questions each time, no more of them than have ever found a fault; `make test-deep` asks others.
settings.register_profile("default", max_examples=25, derandomize=True, **_COMMON)
settings.register_profile("deep", max_examples=250, print_blob=True, **_COMMON)
settings.load_profile("default")

AWS_FIXTURES = {"aws", "aws_server", "s3_server"}
# A file that starts processes, trains a model or runs Dagster's graph names one of these; one that is slow for another reason
# says so for all of its tests, or marks some of them.
_PROCESSES = re.compile(
    r"\bsubprocess\b|\bmultiprocessing\b|\bmake_(?:daily_)?line\b|run_main_job|execute_in_process|dg\.materialize"
    r"|[Ff]ork_?[Ss]erver|^pytestmark = pytest\.mark\.process\b|warm_workers|\bforks\b"
    r"|Local(?:Jobs|Tuning|Endpoints|Platform)|\btrain(?:_model)?\(",
    re.MULTILINE,
)


def pytest_configure(config: pytest.Config) -> None:
    """Have a fork server for the jobs and programs of this session and all of its workers, which inherit its address."""
    if not hasattr(config, "workerinput"):
        resources = ExitStack()
        if _TEMPORARY is not None:
            resources.callback(shutil.rmtree, _TEMPORARY, ignore_errors=True)
        resources.enter_context(session_server())
        config.add_cleanup(resources.close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Fork the workers from this process, which imports what all of them would; elsewhere than on Linux they start as ever."""
    if sys.platform.startswith("linux"):
        from chronos_assets_tests.forks.workers import fork_workers

        fork_workers(config, len(specs), ignored=lambda path: bool(pytest_ignore_collect(path, config)), ready=_ready)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without unit tests where only those are asked for: importing all of them takes longer than the tests."""
    if config.getoption("markexpr") != "unit" or not collection_path.name.startswith("test_"):
        return None
    return True if _starts_processes(collection_path) or _is_of_aws(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Give each test its kind: `aws`, `process` or `unit`; what drives a browser says so itself. Slow ones come first."""
    for item in items:
        if not any(item.get_closest_marker(kind) for kind in SLOW):
            item.add_marker(_kind(item))
    yield
    if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
        items[:] = in_shares(items, workers, kind=_marked, file=lambda item: item.path)


def _marked(item: pytest.Item) -> str:
    """The kind that a test has."""
    return next((kind for kind in SLOW if item.get_closest_marker(kind)), QUICK)


def pytest_collection_finish() -> None:
    """Leave all that was imported out of every garbage collection to come, and let those be rare.

    At Python's own thresholds they take 6% of a run of Dagster's graph.
    """
    _settle()
    gc.freeze()
    gc.set_threshold(20_000, 25, 25)
    gc.enable()


def _ready() -> None:
    """Do what each forked worker would do on its own."""
    _draw()
    _settle()
    for path in Path(__file__).parent.rglob("test_*.py"):
        _starts_processes(path)


@settings(max_examples=50)
@given(strategies.text(), strategies.integers())
def _draw(text: str, number: int) -> None:
    """Let Hypothesis make its tables of characters, and read all modules for constants: it keeps both.

    That takes six seconds of computing in a new checkout, and one where it has stored them in `.hypothesis/`.
    """


@cache
def _settle() -> None:
    """Let this process, and those that it forks, do once what dozens of tests would."""
    from chronos_assets.defs.instance import read_migrations_once
    from chronos_assets.defs.instance_engines import keep_engines
    from chronos_assets_tests.ephemeral import (
        copy_tables,
        keep_no_jobs,
        keep_no_progress,
        read_once,
        remember_no_inputs,
        share_connections,
    )

    read_migrations_once()  # dozens of tests make a Dagster instance
    keep_engines()
    share_connections()
    copy_tables()
    keep_no_jobs()
    keep_no_progress()
    remember_no_inputs()
    read_once()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or DuckDB reports all that it still has


def _kind(item: pytest.Item) -> str:
    if AWS_FIXTURES & set(getattr(item, "fixturenames", ())) or _is_of_aws(item.path):
        return "aws"
    return "process" if _starts_processes(item.path) else "unit"


def _is_of_aws(path: Path) -> bool:
    return "chronos_assets_tests/aws/" in path.as_posix()


@cache
def _starts_processes(path: Path) -> bool:
    return _PROCESSES.search(path.read_text()) is not None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real samples and benchmark sets beside the checkout; `CHRONOS_SHARED_DATA` names another."""
    return _shared("data", "CHRONOS_SHARED_DATA", "samples/ and benchmark/")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of inputs that went wrong once, beside the checkout; `CHRONOS_SHARED_CASES` names another."""
    return _shared("cases", "CHRONOS_SHARED_CASES", "a folder for each case")


def _shared(name: str, variable: str, content: str) -> Path:
    """A folder that lies beside the checkout; a test without it is skipped, but fails where CI says that it is there."""
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / name))
    if not folder.is_dir():
        reason = f"no shared {name} at {folder}: set {variable} to a folder with {content}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
