"""`dagster dev` with a guarded web server and quick sensors: `python -m chronos_assets.defs.ui_server`, with its arguments.

Dagster's web server answers any `Host`, and runs mutations that come by GET: a link on any web page could launch jobs on the
machine of whoever follows it. Both processes below are Dagster's own; the web server's application is put behind `WebGuard`.

Its daemon looks at sensors every 5 seconds at most, whatever interval they ask for; a dropped file waits for four such looks.
Here it looks twice a second, and asks each sensor as often as its interval says. Its code server forks the processes of runs
(`forked_runs`).

Here: starting Dagster's UI so that only its own pages drive it. Elsewhere: the guard (`serving.web_guard`),
the command and its settings (`cli`).
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import Any

from chronos_assets.defs.instance import read_migrations_once
from chronos_assets.defs.instance_engines import keep_engines
from chronos_assets.serving.web_guard import WebGuard

WEB_SERVER = "dagster_webserver"
DAEMON = "dagster._daemon"
CODE_SERVER = "dagster"
SENSOR_LOOP_SECONDS = 0.5


def main(arguments: Sequence[str]) -> None:
    """Dagster's command line, where the servers that it starts are this module's.

    Args:
        arguments: of `dagster`; of another program of Dagster's behind a first argument of its module's name.
    """
    # A shell starts programs in the background with SIGINT ignored. Dagster stops its processes by that signal, and takes
    # SIGTERM as it takes that one.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    programs = {WEB_SERVER: serve, DAEMON: watch, CODE_SERVER: load}
    program = programs.get(arguments[0]) if arguments else None
    if program is None:
        develop(arguments)
    else:
        program(arguments[1:])


def serve(arguments: Sequence[str]) -> None:
    """Dagster's web server behind the guard."""
    _open_databases_once()
    cli: Any = import_module("dagster_webserver.cli")
    create = cli.create_app_from_workspace_process_context

    def create_guarded(*given: Any, **named: Any) -> Any:
        app = WebGuard(create(*given, **named), json_only=["/graphql"])
        # The command printed the address before the definitions were loaded; nothing else says when it answers.
        sys.stdout.write("Dagster is ready.\n")
        sys.stdout.flush()
        return app

    cli.create_app_from_workspace_process_context = create_guarded
    cli.cli(args=list(arguments), prog_name="dagster-webserver")


def watch(arguments: Sequence[str]) -> None:
    """Dagster's daemon, which looks at sensors often; a release without that constant looks as it likes."""
    from dagster._daemon import sensor
    from dagster._daemon.cli import create_dagster_daemon_cli

    _open_databases_once()
    if hasattr(sensor, "MIN_INTERVAL_LOOP_TIME"):
        sensor.MIN_INTERVAL_LOOP_TIME = SENSOR_LOOP_SECONDS  # type: ignore[assignment] # it only computes with it
    create_dagster_daemon_cli()(args=list(arguments), prog_name="dagster-daemon", obj={})


def load(arguments: Sequence[str]) -> None:
    """Dagster's code server, which forks the processes of runs; a release that makes them in another way does so here, too.

    There are two of them: `code-server start` watches over `api grpc`, which it starts again when the code is reloaded.
    """
    from dagster._cli import main as dagster

    server: Any = import_module("dagster._grpc.server")
    _open_databases_once()
    server.open_ipc_subprocess = _starting_ours(server.open_ipc_subprocess, [CODE_SERVER])
    if sys.platform.startswith("linux"):
        _fork_runs(server.DagsterApiServer)
    sys.argv = ["dagster", *arguments]
    dagster()


def _open_databases_once() -> None:
    """Let this process open Dagster's databases once: it asks them several times a second, whether anything happens or not."""
    read_migrations_once()
    keep_engines()


def _fork_runs(servicer: Any) -> None:
    from chronos_assets.defs.forked_runs import ForkedRuns

    load_definitions = servicer.__init__

    def load_and_fork(self: Any, *given: Any, **named: Any) -> None:
        load_definitions(self, *given, **named)
        if hasattr(self, "_mp_ctx"):
            self._mp_ctx = ForkedRuns()

    servicer.__init__ = load_and_fork


def develop(arguments: Sequence[str]) -> None:
    """`dagster dev`, whose web server is the guarded one.

    Raises:
        RuntimeError: this release of Dagster starts its web server in another way: it would not be guarded.
    """
    from dagster._cli import main as dagster

    dev: Any = import_module("dagster._cli.dev")
    server: Any = import_module("dagster._grpc.server")
    open_ours = _starting_ours(dev.open_ipc_subprocess, [WEB_SERVER, DAEMON])

    def open_guarded(parts: Sequence[str], **named: Any) -> Any:
        if any("webserver" in part for part in parts) and list(parts[1:3]) != ["-m", WEB_SERVER]:
            raise RuntimeError(f"the web server is started as {parts[:3]}: it would not be guarded")
        return open_ours(parts, **named)

    dev.open_ipc_subprocess = open_guarded
    server.open_ipc_subprocess = _starting_ours(server.open_ipc_subprocess, [CODE_SERVER])
    # "Use `dg dev` instead" is for who typed `dagster dev`.
    warnings.filterwarnings("ignore", message=r".*`dev_command` is superseded", category=FutureWarning)
    # That the configuration is the store's, not the one in the working directory, is what `ui` is for.
    logging.getLogger("dagster").addFilter(lambda record: "instance configuration value" not in record.getMessage())
    sys.argv = ["dagster", *arguments]
    dagster()


def _starting_ours(open_process: Callable[..., Any], modules: Collection[str]) -> Callable[..., Any]:
    """`open_process`, where `python -m <one of modules>` is started through this module."""

    def start(parts: Sequence[str], **named: Any) -> Any:
        if parts[0] == sys.executable and parts[1] == "-m" and parts[2] in modules:
            parts = [sys.executable, "-m", "chronos_assets.defs.ui_server", *parts[2:]]
        return open_process(parts, **named)

    return start


if __name__ == "__main__":
    main(sys.argv[1:])
