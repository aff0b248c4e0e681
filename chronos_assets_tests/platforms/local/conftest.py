"""Fixtures of the tests that kill writers, and of those of jobs, which run with warm workers and without."""

import os
import tempfile
from pathlib import Path

import pytest

from chronos_assets.platforms.local.processes import workload_environment
from chronos_assets.platforms.local.warm_workers import OFF, WARM_WORKERS, warm_workers


@pytest.fixture
def memory_folder(tmp_path):
    """A folder in memory where there is one: thousands of fsyncs on a busy disk take minutes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(params=["plain", "warm"])
def both_ways(request, monkeypatch):
    """Workloads as plain child processes, then forked by the fork server of the session."""
    if request.param == "plain":
        monkeypatch.setenv(WARM_WORKERS, OFF)
    elif os.environ.get(WARM_WORKERS, OFF) == OFF:
        pytest.skip("no fork server here")


@pytest.fixture
def own_server(both_ways, monkeypatch):
    """A fork server of this test alone, for jobs of another environment: that of the session would start over, for all."""
    if os.environ[WARM_WORKERS] == OFF:
        yield
        return
    monkeypatch.delenv(WARM_WORKERS)
    with warm_workers(workload_environment(Path("/"))):
        yield
