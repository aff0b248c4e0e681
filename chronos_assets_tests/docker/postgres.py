"""A PostgreSQL server of its own for a test: on the loopback address, in a temporary folder, as a user without power."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chronos_assets_tests.ports import free_port

START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running server, with the database `dagster` of the user `dagster`."""

    host: str
    port: int
    password: str


def binaries() -> Path | None:
    """Folder of the newest server that Debian's packages, or the PATH, have; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server whose programs are in `folder`, stopped at the end of the block."""
    # Not pytest's folder: the server's user can't enter it.
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    password = secrets.token_hex(16)
    process = None
    try:
        word = home / "password"
        word.write_text(password)
        user = _give_away(home)
        data = home / "data"
        _run(
            user, folder / "initdb", "-D", data, "-U", "dagster", "-A", "scram-sha-256", f"--pwfile={word}", "--no-sync"
        )
        port = free_port()
        options = ["-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", home, "-F"]
        log = (home / "log").open("wb")
        process = subprocess.Popen(
            [*user, folder / "postgres", *options], stdout=log, stderr=subprocess.STDOUT, cwd=home
        )
        log.close()
        end = time.monotonic() + START_SECONDS
        while subprocess.run([folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.05)
        environment = {**os.environ, "PGPASSWORD": password}
        address = ["-h", "127.0.0.1", "-p", str(port), "-U", "dagster"]
        subprocess.run([folder / "createdb", *address, "dagster"], env=environment, check=True)
        yield Server("127.0.0.1", port, password)
    finally:
        if process is not None:
            process.send_signal(2)  # fast shutdown
            process.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def _give_away(home: Path) -> list[str]:
    """What goes before a command so that the server's user runs it: PostgreSQL refuses to be root's."""
    if os.getuid() != 0:
        return []
    name = next(name for name in ("postgres", "nobody") if _exists(name))
    account = pwd.getpwnam(name)
    for path in (home, *home.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _run(user: list[str], *command: str | Path) -> None:
    done = subprocess.run([*user, *command], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
