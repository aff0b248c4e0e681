"""Processes of the UI's runs: from a fork server that has the definitions, as they are on disk."""

import logging
import os
import signal
import sys
import threading
from multiprocessing import forkserver
from types import ModuleType

import pytest
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc import server

from chronos_assets.defs import forked_runs, ui_server
from chronos_assets.defs.forked_runs import ForkedRuns
from chronos_assets_tests.defs.run_target import look_around
from chronos_assets_tests.waiting import wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere runs are started as Dagster does"),
]

PHASE = "PYTEST_CURRENT_TEST"  # another environment, as the test begins, would be another server


class Bench:
    """Starts such runs, and ends them."""

    def __init__(self, monkeypatch, preload):
        # Each process would import the main program of its parent again, which is pytest here.
        monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
        monkeypatch.setattr(forked_runs, "PRELOAD", preload)
        monkeypatch.setattr(forkserver, "connect_to_new_process", None)
        os.environ.pop(PHASE, None)
        self.servers = forked_runs._ForkServers()
        monkeypatch.setattr(forked_runs, "_servers", self.servers)
        self.context = ForkedRuns()
        self.runs = []

    def start(self):
        """A run, and what it found."""
        os.environ.pop(PHASE, None)
        answers, stop = self.context.Queue(), self.context.Event()
        run = self.context.Process(target=look_around, args=(answers, stop))
        run.start()
        self.runs.append(run)
        return run, answers.get(timeout=120)

    def end(self):
        for run in self.runs:
            run.kill()
            run.join(30)
        self.servers._retire(self.servers._server)


@pytest.fixture
def bench(monkeypatch, request):
    """Runs from a server that imports little, or a test's own."""
    made = Bench(monkeypatch, getattr(request, "param", "sqlite3"))
    yield made
    made.end()


@pytest.mark.parametrize("bench", [forked_runs.PRELOAD], indirect=True)
def test_a_run_begins_with_the_definitions_loaded(bench):
    _, (parent, loaded, _) = bench.start()
    assert loaded
    assert parent not in (os.getpid(), os.getppid())


def test_runs_come_from_one_process_until_something_changes(bench, monkeypatch, tmp_path):
    first, (parent, _, _) = bench.start()
    assert bench.start()[1][0] == parent

    source = tmp_path / "source.py"
    source.write_text("1")
    os.utime(source, (1, 1))
    bench.servers._snapshot.add([str(source)])
    assert bench.start()[1][0] == parent
    source.write_text("22")
    renewed = bench.start()[1][0]
    assert renewed != parent
    assert first.is_alive()  # the old server lives as long as its runs

    monkeypatch.setenv("COLOUR", "green")
    _, (other, _, colour) = bench.start()
    assert other != renewed
    assert colour == "green"


def test_a_run_whose_fork_server_is_killed_ends_as_one_that_failed(bench):
    run, (parent, _, _) = bench.start()
    os.kill(parent, signal.SIGKILL)
    wait_until(lambda: not run.is_alive(), 30)
    assert run.exitcode != 0
    wait_until(lambda: not os.path.exists(f"/proc/{run.pid}"), 30)
    _, (another, _, _) = bench.start()
    assert another != parent


def test_the_code_server_of_the_ui_makes_its_runs_so(bench, monkeypatch):
    monkeypatch.setattr(server.DagsterApiServer, "__init__", server.DagsterApiServer.__init__)
    ui_server._fork_runs(server.DagsterApiServer)
    ended = threading.Event()
    made = server.DagsterApiServer(
        server_termination_event=ended,
        logger=logging.getLogger(__name__),
        server_threadpool_executor=FuturesAwareThreadPoolExecutor(1),
    )
    ended.set()
    assert isinstance(made._mp_ctx, ForkedRuns)
