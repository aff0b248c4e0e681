"""Ports that a command's servers listen on: seen to be free before anything starts."""

from __future__ import annotations

import errno
import socket

from chronos_assets.cli.common import UsageError


def check_port(port: int, instead: str, host: str = "127.0.0.1") -> None:
    """See that a server will get its port.

    Args:
        port: that it wants.
        instead: command that the user may give instead, with another port.
        host: address that it listens on.

    Raises:
        UsageError: another program has it, or it isn't a port that a user may have.
    """
    if (why := _problem(port, host)) is not None:
        raise UsageError(f"port {port} can't be used: {why}; choose another: {instead}")


def free_port(wanted: int) -> int | None:
    """The first port from `wanted` on that is free on loopback; None if so many are taken."""
    return next((port for port in range(wanted, wanted + 20) if _problem(port, "127.0.0.1") is None), None)


def _problem(port: int, host: str) -> str | None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            return "another program listens there" if busy else str(error)
    return None
