"""`dagster dev` with a guarded web server and quick sensors: `python -m chronos_assets.defs.ui_server`, with its arguments.

Dagster's web server answers any `Host`, and runs mutations that come by GET: a link on any web page could launch jobs on the
machine of whoever follows it. Both processes below are Dagster's own; the web server's application is put behind `WebGuard`.

Its daemon looks at sensors every 5 seconds at most, whatever interval they ask for; a dropped file waits for four such looks.
Here it looks each second, and asks each sensor as often as its interval says.

Belongs here: starting Dagster's UI so that only its own pages drive it. Does not belong here: the guard (`serving.web_guard`),
the command and its settings (`cli`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from chronos_assets.serving.web_guard import guarded

WEB_SERVER = "dagster_webserver"
DAEMON = "dagster._daemon"
SENSOR_LOOP_SECONDS = 1


def main(arguments: Sequence[str]) -> None:
    """Dagster's command line; the web server that `dagster dev` starts is this module's.

    Args:
        arguments: of `dagster`; of `dagster-webserver` or `dagster-daemon` behind a first argument of its module's name.
    """
    if arguments[:1] == [WEB_SERVER]:
        serve(arguments[1:])
    elif arguments[:1] == [DAEMON]:
        watch(arguments[1:])
    else:
        develop(arguments)


def serve(arguments: Sequence[str]) -> None:
    """Dagster's web server behind the guard."""
    from dagster_webserver import cli

    create = cli.create_app_from_workspace_process_context

    def create_guarded(*given: Any, **named: Any) -> Any:
        return guarded(json_only=["/graphql"])(create(*given, **named))

    cli.create_app_from_workspace_process_context = create_guarded
    cli.cli(args=list(arguments), prog_name="dagster-webserver")


def watch(arguments: Sequence[str]) -> None:
    """Dagster's daemon, which looks at sensors each second; a release without that constant looks as it likes."""
    from dagster._daemon import sensor
    from dagster._daemon.cli import create_dagster_daemon_cli

    if hasattr(sensor, "MIN_INTERVAL_LOOP_TIME"):
        sensor.MIN_INTERVAL_LOOP_TIME = SENSOR_LOOP_SECONDS
    create_dagster_daemon_cli()(args=list(arguments), prog_name="dagster-daemon", obj={})


def develop(arguments: Sequence[str]) -> None:
    """`dagster dev`, whose web server is the guarded one.

    Raises:
        RuntimeError: this release of Dagster starts its web server in another way: it would not be guarded.
    """
    from dagster._cli import dev
    from dagster._cli import main as dagster

    open_process = dev.open_ipc_subprocess
    plain, own = [sys.executable, "-m"], [sys.executable, "-m", "chronos_assets.defs.ui_server"]

    def open_guarded(parts: Sequence[str], **named: Any) -> Any:
        if list(parts[:3]) in ([*plain, WEB_SERVER], [*plain, DAEMON]):
            parts = [*own, *parts[2:]]
        elif any("webserver" in part for part in parts):
            raise RuntimeError(f"the web server is started as {parts[:3]}: it would not be guarded")
        return open_process(parts, **named)

    dev.open_ipc_subprocess = open_guarded
    # "Use `dg dev` instead" is for who typed `dagster dev`.
    warnings.filterwarnings("ignore", message=r".*`dev_command` is superseded", category=FutureWarning)
    sys.argv = ["dagster", *arguments]
    dagster()


if __name__ == "__main__":
    main(sys.argv[1:])
