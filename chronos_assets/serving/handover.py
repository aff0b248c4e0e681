"""How a new server takes over the listening socket of the one before, so that no connection is refused or reset.

Here: the Unix socket over which the one process hands its listening socket to the other, and the order of
events. Elsewhere: HTTP; who starts and ends the processes (`platforms.local.endpoints`).

Both processes hold the same socket of the kernel, with one queue of connections: while both accept, each connection is
answered by one of them, and what the old one leaves in the queue the new one takes. (Two sockets on one port, with
SO_REUSEPORT, have a queue each, and the connections in that of the socket that closes are reset.)

Three parties, of which each may be killed at any moment:

1. The launcher starts the new server, which first answers on a private port only.
2. When it has seen it answer, it writes `TAKE_OVER` to its standard input. The new server asks the old one for the
   listening socket, and both accept.
3. The launcher writes the new server's folder into the state file, which is the one moment at which the deployment
   is made, and closes the standard input. The new server reads the state file: if it is the one named there it tells
   the old one to retire, else it goes away itself. A launcher that is killed closes the standard input, too.

A server in use whose state file is gone for some seconds, as when a person removed the store, goes too.

The path of a Unix socket may have some hundred bytes, so it is relative to the working directory, the server's folder.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chronos_assets.container.contract import CONTROL_SOCKET, TAKE_OVER, WorkloadError

_SOCKET = b"socket\n"
_RETIRE = b"retire\n"
_GIVEN = b"given\n"
_GONE = b"gone\n"
_PATIENCE = 10.0


@dataclass(frozen=True)
class Deployment:
    """What the launcher tells a new server.

    Attributes:
        folder: the server's own name in the state file.
        state_file: path of the state file, relative to the working directory.
        previous: path of the old server's control socket, or None.
        ports: to listen on where there is no old server: the first that is free.
    """

    folder: str
    state_file: str
    previous: str | None
    ports: tuple[int, ...]

    def is_abandoned(self) -> bool:
        """Whether the state file is gone, and the whole store with it: nobody could ever end this server."""
        return not Path(self.state_file).exists()

    def is_current(self) -> bool:
        """Whether the state file names this server as the one in use."""
        try:
            state = json.loads(Path(self.state_file).read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        current = state.get("current")
        return isinstance(current, dict) and current.get("folder") == self.folder


class Predecessor:
    """The old server, as the new one sees it."""

    def __init__(self, path: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(_PATIENCE)
        try:
            self._connection.connect(path)
        except OSError as error:
            raise WorkloadError(
                f"the server in use does not answer on its control socket {path} ({error}): delete the endpoint first"
            ) from error

    def listening_socket(self) -> socket.socket:
        """The old server's listening socket.

        Raises:
            WorkloadError: it doesn't give it.
        """
        try:
            self._connection.sendall(_SOCKET)
            answer, descriptors, _, _ = socket.recv_fds(self._connection, len(_GIVEN), 1)
        except OSError as error:
            raise WorkloadError(f"the server in use did not hand over its listening socket: {error}") from error
        if not descriptors:
            raise WorkloadError(f"the server in use did not hand over its listening socket: {answer!r}")
        return socket.socket(fileno=descriptors[0])

    def retire(self) -> None:
        """Tell the old server to finish what it is doing and go; one that has gone is fine."""
        try:
            self._connection.sendall(_RETIRE)
        except OSError:
            return
        finally:
            self._connection.close()


def serve_successors(listening: socket.socket, retire: Callable[[], None]) -> None:
    """Hand `listening` to the process that asks on the control socket; call `retire` when that says so. Returns at once."""
    Path(CONTROL_SOCKET).unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o077)
    try:
        control.bind(CONTROL_SOCKET)
    finally:
        os.umask(before)
    control.listen(4)

    def run() -> None:
        while True:
            connection, _ = control.accept()
            with connection:
                _answer(connection, listening, retire)

    threading.Thread(target=run, name="handover", daemon=True).start()


def _answer(connection: socket.socket, listening: socket.socket, retire: Callable[[], None]) -> None:
    try:
        with connection.makefile("rb") as lines:
            for line in lines:
                if line == _SOCKET and listening.fileno() >= 0:
                    socket.send_fds(connection, [_GIVEN], [listening.fileno()])
                elif line == _SOCKET:
                    connection.sendall(_GONE)
                elif line == _RETIRE:
                    retire()
    except OSError:  # the successor was killed: the next one may ask
        return


def listen(host: str, ports: tuple[int, ...]) -> socket.socket:
    """A listening socket on the first of `ports` that is free.

    Raises:
        WorkloadError: none is free.
    """
    reason: OSError | None = None
    for port in ports:
        # asyncio turns Nagle's algorithm off only where a socket names its protocol: an answer took 40 ms longer.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(2048)
        except OSError as error:
            listening.close()
            reason = error
        else:
            return listening
    raise WorkloadError(f"no port to listen on: {host}:{', '.join(map(str, ports[:5]))} ({reason})") from reason


def wait_for_word() -> bool:
    """Wait for the launcher's word on standard input: True to take over, False when the launcher is gone."""
    word = b""
    # Not through sys.stdin: a thread that waits in there keeps a lock that the end of the process needs.
    while len(word) < len(TAKE_OVER) and (part := os.read(sys.stdin.fileno(), len(TAKE_OVER) - len(word))):
        word += part
    return word == TAKE_OVER


def wait_for_end() -> None:
    """Wait for the end of standard input."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
