"""The fork server: jobs end as plain processes do, and what they run is what is on disk."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chronos_assets.container.contract import ROOT_VARIABLE
from chronos_assets.platforms.local import forkserver, warm_workers
from chronos_assets.platforms.local.forkserver import SourceSnapshot
from chronos_assets.platforms.local.processes import start_workload, workload_environment
from chronos_assets.platforms.local.warm_workers import (
    OFF,
    WARM_WORKERS,
    NoWarmWorkersError,
    WarmProcess,
    WarmWorkers,
    own_warm_workers,
    preload,
    start_warm,
)
from chronos_assets_tests.waiting import wait_until
from chronos_assets_tests.workloads.test_contract import gone, wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork servers are for Linux")

GENERATE = "chronos_assets.workloads.generate"  # the server imports `dagster_pipes` for it
OWNER = (
    "import os, sys, time\n"
    "from pathlib import Path\n"
    "from chronos_assets.platforms.local.processes import workload_environment\n"
    "from chronos_assets.platforms.local.warm_workers import own_warm_workers\n"
    "workers = own_warm_workers(workload_environment(Path('/')))\n"
    "Path(sys.argv[1]).write_text(f'{workers.pid} {workers.path}')\n"
    "os.rename(sys.argv[1], sys.argv[2])\n"
)


class Bench:
    """A module `job` that runs the code in the file `code` of its working directory, of which each job has its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = 0
        (folder / "modules").mkdir()
        (folder / "modules" / "job.py").write_text("exec(open('code').read())\n")
        self.modules = folder / "modules"

    @property
    def home(self) -> Path:
        """Working directory of the last job."""
        return self.folder / f"job-{self.jobs}"

    @property
    def log(self) -> Path:
        """What the last job wrote."""
        return self.home / "log"

    @property
    def environment(self) -> dict[str, str]:
        environment = workload_environment(self.folder)
        return environment | {"PYTHONPATH": os.pathsep.join([str(self.modules), environment["PYTHONPATH"]])}

    def start(self, code: str = "", module: str = "job", **changes: str) -> WarmProcess:
        self.jobs += 1
        self.home.mkdir()
        (self.home / "code").write_text(code)
        with self.log.open("wb") as log, (self.home / "lock").open("wb") as lock:
            return start_warm(
                module,
                self.home,
                self.environment | changes,
                stdout=log.fileno(),
                stderr=log.fileno(),
                lock=lock.fileno(),
            )

    def pipes(self, text: str) -> None:
        """What `dagster_pipes` is in the place of the real one, whose functions none of these tests need."""
        (self.modules / "dagster_pipes.py").write_text(text)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def workers(bench, monkeypatch):
    workers = WarmWorkers(bench.environment)
    monkeypatch.setenv(WARM_WORKERS, str(workers.path))
    yield workers
    workers.close()
    workers._process.wait(timeout=30)
    assert not workers.path.parent.exists()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("print('done')", 0, "done"),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no such file')", 1, "no such file"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os; os._exit(9)", 9, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import atexit; atexit.register(print, 'at exit')", 0, "at exit"),
        ("import weakref; weakref.finalize(weakref, print, 'at last')", 0, "at last"),
        ("import threading, time; threading.Thread(target=lambda: time.sleep(0.2) or print('end')).start()", 0, "end"),
    ],
)
def test_a_job_ends_as_a_plain_process_does(bench, workers, code, status, said):
    process = bench.start(code)
    assert process.wait() == status
    assert process.poll() == status
    assert said in bench.log.read_text()


def test_a_job_has_its_own_environment_folder_session_and_title(bench, workers):
    code = (
        "import os, sys\n"
        "with open('/proc/self/cmdline') as file: title = file.read().rstrip('\\0')\n"
        "print(os.getcwd(), os.environ['CHRONOS_ML_ROOT'], os.getpid() == os.getsid(0) == os.getpgid(0), sys.argv, title)"
    )
    assert bench.start(code).wait() == 0
    title = f"{sys.executable} -m job"
    assert bench.log.read_text().strip() == (
        f"{bench.home} {bench.folder} True {[str(bench.modules / 'job.py')]} {title}"
    )


def test_a_job_gets_no_descriptor_that_is_not_its_own(bench, workers):
    waiting = bench.start("import time; time.sleep(600)")
    code = (
        "import os\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    try: print(name, os.readlink(f'/proc/self/fd/{name}'))\n"
        "    except OSError: pass  # of the list itself\n"
    )
    assert bench.start(code).wait() == 0
    lines = [line.split(" ", 1) for line in bench.log.read_text().splitlines()]
    held = sorted(target for number, target in lines if int(number) > 2)
    assert [target for target in held if not target.endswith("/lock")] == []
    assert len(held) == 1
    waiting.terminate()
    assert waiting.wait() == -signal.SIGTERM


def test_the_end_of_the_launchers_end_of_standard_input_is_seen(bench, workers):
    process = bench.start("import sys; sys.stdin.buffer.read(); print('alone')")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait() == 0
    assert bench.log.read_text().strip() == "alone"


def test_what_a_job_runs_is_what_is_on_disk(bench, workers):
    text = "import atexit\natexit.register(print, 'version {}')\n"
    bench.pipes(text.format(1))
    for _ in range(2):
        assert bench.start(module=GENERATE).wait() == 1  # it has no parameters
        assert "version 1" in bench.log.read_text()
    bench.pipes(text.format("2 is longer"))
    assert bench.start(module=GENERATE).wait() == 1
    assert "version 2 is longer" in bench.log.read_text()


@pytest.fixture
def imported(bench):
    """How often a server has imported modules, as a function."""
    imports = bench.folder / "imports"
    bench.pipes(f"with open({str(imports)!r}, 'a') as file: file.write('imported\\n')\n")
    return lambda: len(imports.read_text().splitlines())


def test_modules_are_imported_once_until_the_environment_changes(bench, workers, imported):
    for folder in ("a", "b"):  # its root is the job's own
        assert bench.start(module=GENERATE, **{ROOT_VARIABLE: str(bench.folder / folder)}).wait() == 1
    assert imported() == 1
    assert bench.start(module=GENERATE, HF_HUB_OFFLINE="0").wait() == 1
    assert imported() == 2


def test_a_server_without_jobs_gives_back_what_it_has_imported(bench, monkeypatch, imported):
    workers = WarmWorkers(bench.environment, idle_seconds=0.3)
    monkeypatch.setenv(WARM_WORKERS, str(workers.path))
    # A job that comes late finds it idle.
    wait_until(lambda: bench.start(module=GENERATE).wait() == 1 and imported() > 1, look_every=0.9)
    workers.close()
    workers._process.wait(timeout=30)


def test_what_an_expected_job_needs_is_imported_before_it_comes(bench, workers):
    imports = bench.folder / "imports"
    bench.pipes(f"with open({str(imports)!r}, 'a') as file: file.write('imported\\n')\n")
    os.utime(bench.modules / "dagster_pipes.py", (1, 1))  # a file as new as its import counts as changed
    preload(GENERATE, bench.environment)
    wait_until(imports.exists, 60)
    assert bench.start(module=GENERATE).wait() == 1  # it has no parameters
    assert imports.read_text() == "imported\n"


def test_expecting_a_job_is_nothing_where_there_is_no_server(bench, monkeypatch):
    for path in ("off", str(bench.folder / "gone")):
        monkeypatch.setenv(WARM_WORKERS, path)
        preload(GENERATE, bench.environment)


def test_a_server_that_starts_over_keeps_the_jobs_that_run(bench, workers):
    first = bench.start("import sys; sys.stdin.buffer.read(); sys.exit(3)")
    second = bench.start("import sys; sys.exit(4)", HF_HUB_OFFLINE="0")
    assert second.wait() == 4
    assert first.poll() is None
    first.stdin.close()
    assert first.wait() == 3


def test_a_server_that_is_killed_takes_its_jobs_along(bench, monkeypatch):
    workers = WarmWorkers(bench.environment)
    monkeypatch.setenv(WARM_WORKERS, str(workers.path))
    process = bench.start("import time; time.sleep(600)")
    os.kill(workers.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert gone(process.pid)
    with pytest.raises(NoWarmWorkersError, match="does not answer"):
        bench.start()
    workers.close()
    workers._process.wait()


def test_a_job_that_leads_no_group_yet_ends_with_its_server() -> None:
    ours, server = socket.socketpair()
    with subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE) as job:
        server.close()
        assert WarmProcess(job.pid, ours, job.stdin, "sleep").wait() == -signal.SIGKILL
        assert job.wait() == -signal.SIGKILL


@pytest.mark.parametrize("executed", [False, True])
def test_a_server_ends_with_its_owner_once_its_jobs_have(bench, monkeypatch, executed):
    sleep = "time.sleep(600)"
    become = f"os.execv(sys.executable, [sys.executable, '-c', 'import time; {sleep}'])"
    environment = {name: value for name, value in os.environ.items() if name != WARM_WORKERS}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER + (become if executed else sleep), bench.folder / "x", bench.folder / "told"],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    pid, path = wait_for(bench.folder / "told").split()
    monkeypatch.setenv(WARM_WORKERS, path)
    process = bench.start("import sys; sys.stdin.buffer.read(); sys.exit(5)")
    owner.kill()
    owner.wait()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    assert process.poll() is None
    os.kill(int(pid), 0)  # it is there
    process.stdin.close()
    assert process.wait() == 5
    assert gone(int(pid))
    assert not Path(path).parent.exists()


def test_a_workload_is_a_plain_process_where_there_is_no_server(bench, monkeypatch):
    bench.home.mkdir()
    (bench.home / "code").write_text("print('plain')")
    for value in (OFF, str(bench.folder / "no socket")):
        monkeypatch.setenv(WARM_WORKERS, value)
        with bench.log.open("wb") as log, (bench.home / "lock").open("wb") as lock:
            process = start_workload("job", bench.home, bench.environment, stderr=log, stdout=log, lock=lock.fileno())
        assert isinstance(process, subprocess.Popen)
        assert process.wait() == 0
        process.stdin.close()
        assert bench.log.read_text() == "plain\n"


def test_a_jobs_environment_is_the_same_from_any_working_directory(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path, "__editable__.package.finder.__path_hook__"])
    environment = workload_environment(Path("/"))
    monkeypatch.chdir(tmp_path)
    assert workload_environment(Path("/")) == environment


def test_who_has_a_server_or_wants_none_starts_none(monkeypatch):
    for value in (OFF, "/somewhere/socket"):
        monkeypatch.setenv(WARM_WORKERS, value)
        assert own_warm_workers({}) is None


def test_a_server_of_another_interpreter_or_protocol_refuses(bench, workers, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/another/python")
    with pytest.raises(NoWarmWorkersError, match="this server"):
        bench.start()


def test_a_request_that_is_none_does_not_end_the_server(bench, workers):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(workers.path))
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""
    assert bench.start("print('alive')").wait() == 0


def test_a_launcher_that_dies_after_its_request_does_not_end_the_server(bench, workers):
    request = forkserver.ForkRequest("job", str(bench.folder), bench.environment, sys.executable)
    os.kill(workers.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as connection, open(os.devnull, "r+b") as nothing:
        connection.connect(str(workers.path))
        warm_workers._send(connection, request, [nothing.fileno()] * 4)
    os.kill(workers.pid, signal.SIGCONT)
    assert bench.start("print('alive')").wait() == 0


def test_an_answer_that_comes_with_the_end_of_the_connection_is_read():
    ours, its = socket.socketpair(socket.AF_UNIX)
    request = forkserver.ForkRequest("job", "/", {}, sys.executable)
    with ours, its, open(os.devnull, "r+b") as nothing:

        class Quick(socket.socket):
            """A connection to a server that has answered and hung up when the request is sent."""

            def sendmsg(self, *arguments):
                sent = super().sendmsg(*arguments)
                its.sendall(b'{"again": "it has changed"}\n')
                its.close()
                return sent

        with Quick(fileno=ours.detach()) as connection:
            warm_workers._send(connection, request, [nothing.fileno()] * 4)
            assert warm_workers._answer(connection) == {"again": "it has changed"}


def test_a_file_that_was_written_while_it_was_imported_counts_as_changed(tmp_path):
    old, new = tmp_path / "old.py", tmp_path / "new.py"
    old.write_text("a = 1")
    os.utime(old, (1, 1))
    snapshot = SourceSnapshot()
    snapshot.add([str(old)])
    assert snapshot.changed() is None
    new.write_text("b = 1")
    snapshot.add([str(new)])
    assert snapshot.changed() == str(new)
    old.unlink()
    assert snapshot.changed() == str(old)


def test_every_workload_that_is_started_as_a_job_has_its_preload():
    for workload, modules in forkserver.PRELOADS.items():
        assert not set(modules) & {workload}, "the workload itself runs as the main program"
        for module in modules:
            assert importlib.util.find_spec(module), module
