"""The dashboard's server: `python -m chronos_assets.dashboard.server --host 127.0.0.1 --port 8501`.

Here: where it listens, who may reach it, and Streamlit's options. Elsewhere: the pages (`app`).

On loopback whoever is on this machine may look; `WebGuard` keeps pages of other sites out. Anywhere else it starts only with
Streamlit's login by OpenID Connect (https://docs.streamlit.io/develop/concepts/connections/authentication).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.serving.web_guard import LOOPBACK, WebGuard
from chronos_assets.settings import Settings

APP = Path(__file__).with_name("app.py")
LOGIN = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
PARENT_SECONDS = 2


class LoginError(ChronosAssetsError, ValueError):
    """The dashboard may not be reached from elsewhere without a login; the message says what is missing."""


def login_of(settings: Settings, host: str) -> dict[str, str]:
    """The login's settings; empty on loopback without one.

    Raises:
        LoginError: `host` is not loopback, and there is no login; or the login lacks a setting.
    """
    text = settings.dashboard_login
    if not text:
        if host in LOOPBACK:
            return {}
        raise LoginError(
            f"--host {host}: beyond this machine the dashboard starts only with a login: set CHRONOS_DASHBOARD_LOGIN to a JSON "
            f"object with {', '.join(LOGIN)} of an OpenID Connect provider, or leave --host at 127.0.0.1"
        )
    try:
        given = json.loads(text)
    except ValueError as error:
        raise LoginError(
            f"CHRONOS_DASHBOARD_LOGIN is not JSON ({error}): write an object with {', '.join(LOGIN)}"
        ) from error
    missing = [
        name for name in LOGIN if not isinstance(given, dict) or not isinstance(given.get(name), str) or not given[name]
    ]
    if missing:
        raise LoginError(
            f"CHRONOS_DASHBOARD_LOGIN lacks {', '.join(missing)}: add what your OpenID Connect provider gave you"
        )
    return {name: given[name] for name in LOGIN}


def hosts_of(login: Mapping[str, str]) -> frozenset[str]:
    """Names that the server answers to: this machine's loopback, and the one that the login comes back to."""
    name = urlsplit(login["redirect_uri"]).hostname if login else None
    return LOOPBACK | {name} if name else LOOPBACK


def options(host: str, port: int) -> dict[str, Any]:
    """Streamlit's options: XSRF protection, nothing sent home, no traceback on a page, nothing of a developer's menu."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "global.developmentMode": False,
        "theme.light.primaryColor": "#0072B2",
        "theme.dark.primaryColor": "#56B4E9",
        "logger.level": "warning",
        "logger.hideWelcomeMessage": True,  # the address is printed here, or by `ui`
    }


def serve(host: str, port: int, *, announce: bool = False) -> None:
    """Serve until interrupted.

    Args:
        host: address to listen on.
        port: likewise.
        announce: whether to print the address, once nothing forbids it.

    Raises:
        LoginError: see `login_of`.
    """
    login = login_of(Settings.from_env(), host)
    if announce:
        print(f"dashboard: http://{host}:{port}", flush=True)  # noqa: T201 - the user's terminal
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    app = App(
        APP,
        secrets={"auth": dict[str, Any](login)} if login else None,
        middleware=[Middleware(WebGuard, hosts=hosts_of(login))],
    )
    app.run(config=options(host, port))


def _end_with_parent(parent: int) -> None:
    """End this process when the one that started it is gone, however it ended."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(0)


def main(arguments: Sequence[str]) -> int:
    """Start the server; the exit status."""
    parser = argparse.ArgumentParser(prog="chronos-assets dashboard")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--beside", type=int, default=0, help="process to end with")
    given = parser.parse_args(arguments)
    if given.beside:
        threading.Thread(target=_end_with_parent, args=(given.beside,), daemon=True).start()
    sys.argv = [str(APP)]  # what Streamlit takes for the script's place and arguments
    try:
        serve(given.host, given.port, announce=not given.beside)
    except ChronosAssetsError as error:
        print(f"chronos-assets: {error}", file=sys.stderr)  # noqa: T201 - the user's terminal
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
