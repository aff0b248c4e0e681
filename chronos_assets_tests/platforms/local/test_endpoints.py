"""Local endpoints: deployments that nobody notices, whatever fails or is killed. Real processes, sockets and signals."""

import contextlib
import http.client
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest
from chronos_assets.platforms.file_locks import locked_file
from chronos_assets.platforms.local import endpoints as endpoints_module
from chronos_assets.platforms.local import server_calls, server_processes
from chronos_assets.platforms.local.endpoints import LocalEndpoints
from chronos_assets.platforms.local.store import open_store
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.waiting import wait_until

PACKAGE = "chronos_assets_tests.platforms.local"
# An endpoint's port follows from its name, and tests may run side by side.
NAME = f"demand-{os.getpid()}"
GOLDEN = {"inputs": [{"target": [1, 2, 3]}]}

log = logging.getLogger(__name__)


@pytest.fixture
def store(tmp_path):
    # Longer than the path of a Unix socket may be.
    return open_store(tmp_path / ("a-store-deep-in-the-file-system-" * 4) / "store")


@pytest.fixture
def endpoints(store):
    endpoints = LocalEndpoints(store, package=PACKAGE, start_seconds=20.0, busy_seconds=5.0, grace_seconds=10.0)
    yield endpoints
    endpoints.delete(NAME)
    assert servers(store) == []


def request(version, model="bundled", name=NAME, **parameters):
    return EndpointRequest(name, model, version, f"identity of {version}", GOLDEN, parameters)


def servers(store):
    """Process numbers of the servers of a store that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
            state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z" and any(str(store.root).encode() in argument for argument in arguments):
            found.append(int(path.parent.name))
    return found


class Hammer:
    """Clients in a process of their own."""

    def __init__(self, state):
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{PACKAGE}.hammer", str(state.details["port"])],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def have_asked(self, version):
        """Wait until that version has answered a few times."""
        while (line := self._process.stdout.readline()) != f"{version}\n".encode():
            assert line, "the clients have ended"

    def stop(self):
        out, _ = self._process.communicate(b"", timeout=120)
        told = json.loads(out.splitlines()[-1])
        return told["seen"], told["errors"]


def test_a_deployment_answers_and_outlives_its_caller(endpoints, store):
    assert endpoints.describe(NAME) is None
    assert endpoints.delete(NAME) is False
    store.put("models/best/config.json", b"{}")
    state = endpoints.deploy(request("v1", model="models/best"), log)
    assert state.changed
    assert state.healthy
    assert state.url == f"http://127.0.0.1:{state.details['port']}"
    answer = endpoints.invoke(NAME, GOLDEN)
    assert (answer["version"], answer["model"]) == ("v1", ["config.json"])
    assert servers(store) == [state.details["process"]]
    assert os.getsid(state.details["process"]) == state.details["process"]
    document = json.loads(store.get(f".endpoints/{NAME}/state.json"))
    assert document["current"]["version"] == "v1"
    again = LocalEndpoints(store, package=PACKAGE).deploy(request("v1", model="models/best"), log)
    assert not again.changed
    assert again.details["process"] == state.details["process"]
    assert endpoints.delete(NAME) is True
    assert endpoints.describe(NAME) is None
    assert servers(store) == []
    assert list(store.list(".endpoints")) == []
    with pytest.raises(EndpointError, match=f"there is no endpoint '{NAME}'"):
        endpoints.invoke(NAME, GOLDEN)


def test_clients_notice_nothing_of_a_deployment(endpoints, store):
    first = endpoints.deploy(request("v1", seconds=0.02), log)
    hammer = Hammer(first)
    hammer.have_asked("v1")
    for version in ("v2", "v3", "v4"):
        state = endpoints.deploy(request(version, seconds=0.02), log)
        assert state.url == first.url
        assert servers(store) == [state.details["process"]]
        hammer.have_asked(version)
    seen, errors = hammer.stop()
    assert errors == []
    assert list(seen) == ["v1", "v2", "v3", "v4"]
    assert [path.name for path in (store.root / f".endpoints/{NAME}").glob("d*")] == ["d4"]


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ("start", "the model is broken"),
        ("ping", "does not answer GET /ping as what was deployed"),
        ("golden", "answered the golden request with 400: no such field"),
        ("values", "values in 'mean' that are not finite numbers"),
    ],
)
def test_a_server_that_fails_is_rolled_back_and_the_old_one_goes_on(endpoints, store, fails, words):
    old = endpoints.deploy(request("v1"), log)
    hammer = Hammer(old)
    hammer.have_asked("v1")
    with pytest.raises(EndpointError) as caught:
        endpoints.deploy(request("v2", fails=fails), log)
    assert words in str(caught.value)
    assert f"v1 still answers at {old.url}" in str(caught.value)
    if fails != "start":
        assert "Last lines of its log:" in str(caught.value)
        assert "password=hunter2" not in str(caught.value)
    seen, errors = hammer.stop()
    assert (errors, list(seen)) == ([], ["v1"])
    assert endpoints.describe(NAME) == endpoints.deploy(request("v1"), log)
    assert servers(store) == [old.details["process"]]


def test_a_server_that_is_never_ready_is_given_up(store):
    endpoints = LocalEndpoints(store, package=PACKAGE, start_seconds=1.0, grace_seconds=5.0)
    with pytest.raises(EndpointError, match=r"not ready after 1 s; there is no older one to answer"):
        endpoints.deploy(request("v1", fails="never ready"), log)
    assert servers(store) == []
    assert endpoints.describe(NAME) is None


def test_a_dead_server_is_seen_and_deployed_again_on_its_port(endpoints, store):
    before = endpoints.deploy(request("v1"), log)
    os.kill(before.details["process"], signal.SIGKILL)
    wait_until(lambda: servers(store) == [])
    assert not endpoints.describe(NAME).healthy
    with pytest.raises(EndpointError, match=f"{NAME}' does not answer at http"):
        endpoints.invoke(NAME, GOLDEN)
    shutil.rmtree(store.root / f".endpoints/{NAME}/d1")  # by hand, or by a deletion that was killed
    after = endpoints.deploy(request("v1"), log)
    assert after.changed
    assert after.url == before.url
    assert endpoints.invoke(NAME, GOLDEN)["version"] == "v1"


def test_a_server_that_hangs_is_replaced_on_its_port(endpoints, monkeypatch, store):
    monkeypatch.setattr(server_calls, "_PING_SECONDS", 0.3)
    before = endpoints.deploy(request("v1"), log)
    os.kill(before.details["process"], signal.SIGSTOP)
    assert not endpoints.describe(NAME).healthy
    after = endpoints.deploy(request("v2"), log)
    assert after.url == before.url
    assert endpoints.invoke(NAME, GOLDEN)["version"] == "v2"
    assert servers(store) == [after.details["process"]]


def taken(port):
    """A socket that listens there, once the system has let go of the last one."""
    sockets = []

    def listening():
        with contextlib.suppress(OSError):
            sockets.append(socket.create_server(("127.0.0.1", port)))
        return bool(sockets)

    wait_until(listening)
    return sockets[0]


def test_a_port_that_another_program_took_is_left_to_it(endpoints, store):
    before = endpoints.deploy(request("v1"), log)
    os.kill(before.details["process"], signal.SIGKILL)
    wait_until(lambda: servers(store) == [])
    with taken(before.details["port"]):
        after = endpoints.deploy(request("v1"), log)
        assert after.url != before.url
        assert endpoints.invoke(NAME, GOLDEN)["version"] == "v1"


def test_a_server_whose_store_was_removed_goes_away(endpoints, store):
    endpoints.deploy(request("v1"), log)
    time.sleep(1.0)
    assert len(servers(store)) == 1
    shutil.rmtree(store.root)
    wait_until(lambda: servers(store) == [])


POINTS = ("started", "recorded", "tried", "taken over", "committed", "retired")


def deploy_and_die(store, version, point):
    """A child process that deploys, and kills itself at a point of the deployment."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the deployment ended before it came to that point"
        return
    try:
        _deploy_until(store, version, point)
    finally:
        os._exit(1)  # it must not come to this; and never back to pytest, which would go on twice


def _deploy_until(store, version, point):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    deployment, write, writes = endpoints_module._Deployment, endpoints_module._write_state, []

    def counted(home, state):
        written = write(home, state)
        writes.append(state.current)
        if point == "recorded" and len(writes) == 1:
            die()
        if point == "committed" and state.current is not None and state.current.version == version:
            die()
        return written

    def dying_after(name, when):
        original = getattr(deployment, name)

        def replaced(self, *args):
            result = original(self, *args)
            if when(*args):
                die()
            return result

        setattr(deployment, name, replaced)

    endpoints_module._write_state = counted
    dying_after("_start", lambda: point == "started")
    dying_after("_try", lambda _port: point == "tried")
    dying_after("_reported", lambda _child, name: point == "taken over" and name == "serving.json")
    dying_after("_retire", lambda *_: point == "retired")
    LocalEndpoints(store, package=PACKAGE).deploy(request(version), log)


def test_a_deployment_killed_at_any_moment_costs_no_request_and_leaves_no_process(endpoints, store):
    first = endpoints.deploy(request("v0"), log)
    hammer = Hammer(first)
    hammer.have_asked(expected := "v0")
    for number, point in enumerate(POINTS, 1):
        deploy_and_die(store, f"v{number}", point)
        if point in ("committed", "retired"):
            hammer.have_asked(expected := f"v{number}")
        # Whoever is not in use finds out by itself.
        wait_until(lambda: len(servers(store)) == 1)
        state = endpoints.describe(NAME)
        assert (point, state.version, state.healthy) == (point, expected, True)
        assert endpoints.invoke(NAME, GOLDEN)["version"] == expected
    last = endpoints.deploy(request("v9"), log)
    assert endpoints.invoke(NAME, GOLDEN)["version"] == "v9"
    assert servers(store) == [last.details["process"]]
    hammer.have_asked("v9")
    _, errors = hammer.stop()
    assert errors == []


def test_what_an_interrupted_deployment_left_hung_is_ended_by_the_next(endpoints, store):
    endpoints.deploy(request("v1"), log)
    stopped = threading.Event()
    original = endpoints_module._Deployment._try

    def stop_it(self, port):
        (other,) = self._state.others
        os.kill(other.pid, signal.SIGSTOP)
        stopped.set()
        raise KeyboardInterrupt

    endpoints_module._Deployment._try = stop_it
    roll_back = endpoints_module._Deployment._roll_back
    endpoints_module._Deployment._roll_back = lambda *_: None
    try:
        with pytest.raises(KeyboardInterrupt):
            endpoints.deploy(request("v2"), log)
    finally:
        endpoints_module._Deployment._try = original
        endpoints_module._Deployment._roll_back = roll_back
    assert stopped.is_set()
    assert len(servers(store)) == 2
    state = endpoints.deploy(request("v1"), log)
    assert not state.changed
    assert servers(store) == [state.details["process"]]


def test_a_new_server_that_dies_at_once_gives_the_port_back_to_the_old_one(endpoints, store, monkeypatch):
    old = endpoints.deploy(request("v1"), log)
    hammer = Hammer(old)
    original = endpoints_module._Deployment._retire

    def die_first(self, previous, child):
        child.kill()
        child.wait()
        original(self, previous, child)

    # Its end comes before it reads the state: with the input still open.
    monkeypatch.setattr(endpoints_module._Deployment, "_retire", die_first)
    monkeypatch.setattr(endpoints_module._Deployment, "_let_go", lambda _self, _child: None, raising=True)
    with pytest.raises(EndpointError, match=r"killed by SIGKILL.*v1 still answers"):
        endpoints.deploy(request("v2"), log)
    monkeypatch.undo()
    state = endpoints.describe(NAME)
    assert (state.version, state.healthy) == ("v1", True)
    _, errors = hammer.stop()
    # Connections that the dead one had accepted are lost, and no other.
    assert len(errors) <= 3


def test_two_deployments_at_once_take_turns(endpoints, store):
    patient = LocalEndpoints(store, package=PACKAGE, start_seconds=120.0, busy_seconds=240.0, grace_seconds=10.0)
    results = {}

    def deploy(version):
        results[version] = patient.deploy(request(version), log)

    threads = [threading.Thread(target=deploy, args=(version,)) for version in ("v1", "v2", "v3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {state.url for state in results.values()} == {endpoints.describe(NAME).url}
    assert len(servers(store)) == 1
    with (
        locked_file(store.root / f".endpoints/{NAME}.lock"),
        pytest.raises(EndpointError, match="deployed or deleted by another run"),
    ):
        LocalEndpoints(store, package=PACKAGE, busy_seconds=0.2).deploy(request("v4"), log)


def test_no_other_process_is_ever_touched(endpoints, store):
    endpoints.deploy(request("v1"), log)
    home = store.root / f".endpoints/{NAME}"
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", str(home)], stdin=subprocess.PIPE
    )
    try:
        state = json.loads((home / "state.json").read_text())
        # The same number with another start time, and the right start time of a program that isn't a server of ours.
        state["others"] = [
            {**state["current"], "folder": "d7", "pid": bystander.pid},
            {**state["current"], "folder": "d8", "pid": bystander.pid}
            | {"started": server_processes._start_time(bystander.pid)},
        ]
        (home / "state.json").write_text(json.dumps(state))
        endpoints.deploy(request("v2"), log)
        assert endpoints.delete(NAME)
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"")


def test_servers_get_no_credentials(endpoints, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never")
    state = endpoints.deploy(request("v1"), log)
    connection = http.client.HTTPConnection("127.0.0.1", state.details["port"])
    connection.request("GET", "/ping")
    environment = json.loads(connection.getresponse().read())["environment"]
    connection.close()
    assert "PATH" in environment
    assert "AWS_SECRET_ACCESS_KEY" not in environment


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-a", "x" * 64])
def test_odd_names_are_refused(endpoints, name):
    with pytest.raises(EndpointError, match="letters, digits and inner hyphens"):
        endpoints.deploy(request("v1", name=name), log)


def test_a_state_that_is_not_one_is_named(endpoints, store):
    store.put(f".endpoints/{NAME}/state.json", b"[]")
    with pytest.raises(EndpointError, match=r"state\.json is not an endpoint's state.*remove that file"):
        endpoints.describe(NAME)
    store.delete(f".endpoints/{NAME}/state.json")
