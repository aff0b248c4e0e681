"""Listening sockets: where they listen, and how one process gives its own to another."""

import os
import socket
import threading

import pytest

from chronos_assets.container.contract import CONTROL_SOCKET, WorkloadError
from chronos_assets.serving.handover import Deployment, Predecessor, listen, serve_successors


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_free_port_is_taken():
    with listen("127.0.0.1", (0,)) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", (port, 0)) as second:
            assert second.getsockname()[1] != port
        with pytest.raises(WorkloadError, match=f"no port to listen on: 127.0.0.1:{port}"):
            listen("127.0.0.1", (port,))


def test_answers_are_not_held_back_by_nagles_algorithm():
    """asyncio sets TCP_NODELAY on what a socket accepts only if the socket says that it is TCP's."""
    with listen("127.0.0.1", (0,)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_socket_is_handed_over_and_its_queue_with_it(inside):
    retired = threading.Event()
    with listen("127.0.0.1", (0,)) as old:
        serve_successors(old, retired.set)
        assert os.stat(CONTROL_SOCKET).st_mode & 0o077 == 0
        waiting = socket.create_connection(old.getsockname())
        predecessor = Predecessor(CONTROL_SOCKET)
        new = predecessor.listening_socket()
        assert new.getsockname() == old.getsockname()
        assert new.proto == socket.IPPROTO_TCP
        old.close()
        new.settimeout(60)
        accepted, _ = new.accept()
        accepted.sendall(b"hello")
        assert waiting.recv(5) == b"hello"
        predecessor.retire()
        assert retired.wait(60)
        for one in (waiting, accepted, new):
            one.close()


def test_a_successor_that_dies_does_not_keep_out_the_next(inside):
    with listen("127.0.0.1", (0,)) as old:
        serve_successors(old, lambda: None)
        Predecessor(CONTROL_SOCKET)._connection.close()
        Predecessor(CONTROL_SOCKET).listening_socket().close()


def test_a_socket_that_is_closed_is_not_given(inside):
    old = listen("127.0.0.1", (0,))
    serve_successors(old, lambda: None)
    old.close()
    with pytest.raises(WorkloadError, match="did not hand over its listening socket: b'gone"):
        Predecessor(CONTROL_SOCKET).listening_socket()
    with pytest.raises(WorkloadError, match="does not answer on its control socket"):
        Predecessor("nothing.sock")


def test_a_predecessor_that_hangs_is_given_up(inside, monkeypatch):
    monkeypatch.setattr("chronos_assets.serving.handover._PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(CONTROL_SOCKET)
        silent.listen()
        with pytest.raises(WorkloadError, match="did not hand over"):
            Predecessor(CONTROL_SOCKET).listening_socket()


@pytest.mark.parametrize(
    ("content", "current"),
    [
        ('{"current": {"folder": "d2"}}', True),
        ('{"current": {"folder": "d1"}}', False),
        ('{"current": null}', False),
        ("{", False),
        (None, False),
    ],
)
def test_the_state_file_says_who_is_in_use(inside, content, current):
    if content is not None:
        (inside / "state.json").write_text(content)
    assert Deployment("d2", "state.json", None, (1,)).is_current() is current
