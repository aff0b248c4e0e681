"""The contract of a workload, without Dagster."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from chronos_assets.container.contract import (
    LIFELINE_VARIABLE,
    MAX_REASON,
    PIPES_VARIABLE,
    ROOT_VARIABLE,
    Reporter,
    WorkloadError,
    Workspace,
    execute,
)


@pytest.fixture(autouse=True)
def no_pipes(monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.delenv(PIPES_VARIABLE, raising=False)
    monkeypatch.delenv(LIFELINE_VARIABLE, raising=False)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.parameters_file.parent.mkdir(parents=True)
    workspace.parameters_file.write_text('{"text": "hi"}')
    return workspace


def failing(error):
    def main(_workspace, _reporter):
        raise error

    return main


def test_the_folders_are_those_of_a_container(tmp_path):
    assert Workspace.from_env({}).parameters_file.as_posix() == "/opt/ml/input/config/parameters.json"
    workspace = Workspace.from_env({ROOT_VARIABLE: str(tmp_path)})
    assert workspace.failure_file == tmp_path / "output" / "failure"
    assert workspace.output("forecast") == tmp_path / "processing" / "output" / "forecast"
    assert workspace.output("forecast").is_dir()
    with pytest.raises(WorkloadError, match="input channel 'dataset' is missing"):
        workspace.input("dataset")
    (tmp_path / "processing" / "input" / "dataset").mkdir(parents=True)
    assert workspace.input("dataset").is_dir()


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no parameters at"), ("{", "is not JSON"), ("[1]", "holds a list, not a JSON object")]
)
def test_parameters_that_cannot_be_read_are_a_reason(tmp_path, content, words):
    workspace = Workspace(tmp_path)
    if content is not None:
        workspace.parameters_file.parent.mkdir(parents=True)
        workspace.parameters_file.write_text(content)
    assert execute(lambda space, _: space.parameters() and None, workspace) == 1
    assert words in workspace.failure_file.read_text()


def test_a_workload_that_ends_well_leaves_no_reason(workspace):
    seen = []
    assert execute(lambda space, _reporter: seen.append(space.parameters()), workspace) == 0
    assert seen == [{"text": "hi"}]
    assert not workspace.failure_file.exists()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (WorkloadError("line 1\nline 2"), 1, "line 1 line 2"),
        (ValueError("bad\tvalue"), 1, "ValueError: bad value"),
        (SystemExit(3), 1, "SystemExit: 3"),
        (MemoryError(), 1, "MemoryError:"),
        (KeyboardInterrupt(), 128 + signal.SIGINT, "stopped by SIGINT"),
    ],
)
def test_a_failure_leaves_its_reason_in_one_line(workspace, capsys, error, status, reason):
    assert execute(failing(error), workspace) == status
    assert workspace.failure_file.read_text() == reason
    has_traceback = "Traceback" in capsys.readouterr().err
    assert has_traceback == (not isinstance(error, WorkloadError | KeyboardInterrupt))


def test_a_long_reason_is_cut_where_sagemaker_would(workspace):
    execute(failing(WorkloadError("word " * 1000)), workspace)
    assert len(workspace.failure_file.read_text()) == MAX_REASON


def test_progress_speaks_now_and_then_and_at_the_end(capsys):
    times = iter([0.0, 1.0, 4.9, 5.0, 5.1, 6.0])
    reporter = Reporter(clock=lambda: next(times))
    for done in (1, 2, 3, 4, 5, 1000):
        reporter.progress(done, 1000, "series")
    assert capsys.readouterr().err.splitlines() == [
        "series: 1 / 1,000 (0%)",
        "series: 4 / 1,000 (0%)",
        "series: 1,000 / 1,000 (100%)",
    ]


def run_echo(root, parameters, **variables):
    (root / "input" / "config").mkdir(parents=True)
    (root / "input" / "config" / "parameters.json").write_text(json.dumps(parameters))
    env = {**os.environ, ROOT_VARIABLE: str(root), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "chronos_assets_tests.platforms.local.echo"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_by_hand_a_workload_logs_to_stderr_and_sends_messages_to_stdout(tmp_path):
    process = run_echo(tmp_path, {"text": "ünï", "progress": 2, "messages": [{"a": 1}, {"b": None}], "write": "x"})
    out, err = process.communicate("", timeout=30)
    assert process.returncode == 0
    assert err.splitlines() == ["echo ünï", "series: 1 / 2 (50%)", "series: 2 / 2 (100%)"]
    assert [json.loads(line) for line in out.splitlines()] == [{"a": 1}, {"b": None}]
    assert (tmp_path / "processing" / "output" / "copied" / "text").read_text() == "x"


def test_without_dagster_the_contract_imports_nothing_of_it():
    script = (
        "import sys, chronos_assets.container.contract as c, pathlib, tempfile\n"
        "c.execute(lambda w, r: r.log('x'), c.Workspace(pathlib.Path(tempfile.mkdtemp())))\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('dagster', 'dagster_pipes', 'numpy', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def wait_for(path):
    for _ in range(2400):
        if path.exists():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def close(process):
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def gone(pid):
    """Whether a process has ended (a zombie that nobody waits for has)."""
    for _ in range(1200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            if not os.path.isdir("/proc/self"):  # macOS
                try:
                    os.kill(pid, 0)
                except ProcessLookupError:
                    return True
                time.sleep(0.05)
                continue
            return True
        time.sleep(0.05)
    return False


def test_asked_to_stop_a_workload_says_so(tmp_path):
    process = run_echo(tmp_path, {"end": "wait"})
    wait_for(tmp_path / "processing" / "output" / "copied" / "running")
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert (tmp_path / "output" / "failure").read_text() == "stopped by SIGTERM"
    os.killpg(process.pid, signal.SIGKILL)
    close(process)


@pytest.mark.parametrize("end", ["wait", "stubborn"])
def test_when_its_launcher_is_gone_a_workload_ends_with_all_it_started(tmp_path, end):
    process = run_echo(tmp_path, {"end": end}, **{LIFELINE_VARIABLE: "stdin"})
    pids = wait_for(tmp_path / "processing" / "output" / "copied" / "running").split()
    process.stdin.close()  # what the kernel does when the launcher dies
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert all(gone(int(pid)) for pid in pids)
    close(process)


def several(root, host, hosts=("algo-1", "algo-10", "algo-2"), folder="config"):
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "resourceconfig.json").write_text(json.dumps({"current_host": host, "hosts": list(hosts)}))
    return Workspace(root)


@pytest.mark.parametrize("folder", ["config", "input/config"])
def test_instances_are_known_by_their_names_in_order(tmp_path, folder):
    workspace = several(tmp_path, "algo-2", folder=folder)
    assert workspace.hosts == ("algo-1", "algo-2", "algo-10")
    assert workspace.host == "algo-2"
    assert Workspace(tmp_path / "nothing").hosts == ()


def test_each_of_several_instances_has_a_folder_of_its_own_and_the_first_speaks(tmp_path):
    second, first = several(tmp_path, "algo-2"), several(tmp_path / "1", "algo-1")
    outputs = tmp_path / "processing" / "output"
    assert second.output("forecast") == outputs / "forecast" / "algo-2"
    assert second.messages_file == outputs / "messages" / "algo-2.jsonl"
    assert first.messages_file is None
    alone = several(tmp_path / "alone", "algo-1", ["algo-1"])
    assert alone.output("forecast") == tmp_path / "alone" / "processing" / "output" / "forecast"
    assert alone.messages_file is None


def test_an_instance_that_nobody_listens_to_writes_its_messages_down(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(PIPES_VARIABLE, "of the first instance")
    workspace = several(tmp_path, "algo-2")

    def main(_workspace, reporter):
        reporter.log("on the way")
        reporter.message({"a": 1})
        reporter.message({"b": "ü"})

    assert execute(main, workspace) == 0
    assert [json.loads(line) for line in workspace.messages_file.read_text().splitlines()] == [{"a": 1}, {"b": "ü"}]
    assert capsys.readouterr() == ("", "on the way\n")


def test_an_instance_sees_what_all_have_beside_what_was_dealt_to_it(tmp_path):
    for path in ("input/dataset/part-00001", "shared/dataset/_manifest.json", "shared/dataset/part-00001"):
        (tmp_path / "processing" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "processing" / path).write_text(path)
    for _ in range(2):
        folder = Workspace(tmp_path).input("dataset")
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "part-00001": "input/dataset/part-00001",
            "_manifest.json": "shared/dataset/_manifest.json",
        }


def test_parameters_may_come_by_a_channel(tmp_path):
    path = tmp_path / "processing" / "input" / "parameters" / "parameters.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"text": "hi"}')
    assert Workspace(tmp_path).parameters() == {"text": "hi"}


def test_the_reason_lies_where_processing_jobs_have_it_too(workspace):
    execute(failing(WorkloadError("bad data")), workspace)
    assert workspace.exit_message_file.read_text() == workspace.failure_file.read_text() == "bad data"
