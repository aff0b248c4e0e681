"""The containers of a job, as processes on this machine: what lies below `/opt/ml`, how it gets there and back.

Here: a container's folder, variables, command, process and log; copies between the folder and S3. Elsewhere:
what a job's states are and which request says what (`sagemaker_jobs.py`, `sagemaker_endpoints.py`).

A container sees its folder as `/opt/ml` by a bind mount in a mount namespace of its own; where that is barred (it needs
root) the variable `CHRONOS_ML_ROOT` names the folder.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from chronos_assets.platforms.local.warm_workers import WorkloadProcess
from chronos_assets_tests import forks

ML = "/opt/ml"
DEFAULT_PACKAGE = "chronos_assets.workloads"
REPOSITORY = Path(__file__).resolve().parents[2]

_MOUNTED = 'mount --bind "$0" /opt/ml && exec "$@"'
_ENDS_IN_MODULE = re.compile(r'(.+) && exec python -m (\S+) "\$@"')

# The kernel ends a container when the thread that started it ends: this one lasts as long as the server's process, so that
# a server that was killed leaves nothing behind.
_STARTER = ThreadPoolExecutor(1, "container starter")


class JobError(Exception):
    """A job can't continue; the message is its failure reason."""


@cache
def namespaces_work() -> bool:
    """Whether a process here may have a mount namespace of its own, with its folder on `/opt/ml`."""
    try:
        Path(ML).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "seen").touch()
            command = ["unshare", "-m", "sh", "-c", _MOUNTED, folder, "test", "-e", f"{ML}/seen"]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def container_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The variables that a container of the workloads' image has, and those of the request."""
    return {
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin")),
        "LANG": "C.UTF-8",
        "HOME": tempfile.gettempdir(),
        # What the image installs: the package and its tests' stubs, wherever this process has them.
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), *(os.path.abspath(entry) for entry in sys.path if entry))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **extra,
    }


def container_command(command: Sequence[str], package: str) -> list[str]:
    """A container's command with this interpreter, and with `package` in the place of the workloads.

    A package of stubs has no `__main__`: `-m chronos_assets.workloads train` becomes `-m <package>.train`.
    """
    words = [sys.executable if word in {"python", "python3"} else word for word in command]
    if package == DEFAULT_PACKAGE or "-m" not in words[:-1]:
        return words
    at = words.index("-m") + 1
    name = words[at].removeprefix(DEFAULT_PACKAGE)
    if name == words[at]:
        return words
    if name:
        return [*words[:at], package + name, *words[at + 1 :]]
    return [*words[:at], f"{package}.{words[at + 1]}", *words[at + 2 :]]


@dataclass
class Container:
    """One container of a job.

    Attributes:
        host: its name among those of the job, as `algo-1`.
        folder: what it sees as `/opt/ml`.
        command, environment: see `container_command`, `container_environment`.
        on_lines: is given the lines of its log, as they come.
        namespaces: whether the folder is mounted on `/opt/ml`.
    """

    host: str
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    on_lines: Callable[[list[str]], None]
    namespaces: bool
    process: WorkloadProcess | None = field(default=None, init=False)
    _log: BinaryIO | None = field(default=None, init=False)
    _reader: threading.Thread | None = field(default=None, init=False)
    _kill: threading.Timer | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process, as the leader of a group of its own."""
        log, stdout = os.pipe()
        self._log = os.fdopen(log, "rb", buffering=0)
        try:
            self.process = self._fork(stdout) if forks.there_are() and self._module() else self._launch(stdout)
        finally:
            os.close(stdout)
        self._reader = threading.Thread(target=self._read, name=f"log of {self.host}", daemon=True)
        self._reader.start()

    def _module(self) -> list[str]:
        """The module that the command runs, and its arguments; empty if it runs something else."""
        if list(self.command[:2]) == [sys.executable, "-m"]:
            return list(self.command[2:])
        if list(self.command[:2]) == ["sh", "-c"] and (found := _ENDS_IN_MODULE.fullmatch(self.command[2])):
            return [forks.AFTER_SHELL, found[1], found[2], *self.command[4:]]
        return []

    def _fork(self, stdout: int) -> WorkloadProcess:
        module, *arguments = self._module()
        mount = self.folder if self.namespaces else None
        return forks.start(
            module,
            *arguments,
            folder=Path("/"),
            environment=self._variables(),
            stdout=stdout,
            stderr=stdout,
            kind=forks.CONTAINER,
            mount=mount,
        )

    def _launch(self, stdout: int) -> WorkloadProcess:
        command = list(self.command)
        if self.namespaces:
            command = ["unshare", "-m", "sh", "-c", _MOUNTED, str(self.folder), *command]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        return _STARTER.submit(
            subprocess.Popen,
            command,
            cwd="/",
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ).result()

    def _variables(self) -> dict[str, str]:
        return {**self.environment, **({} if self.namespaces else {"CHRONOS_ML_ROOT": str(self.folder)})}

    def _read(self) -> None:
        assert self._log is not None
        rest = b""
        with self._log as stream:
            while part := os.read(stream.fileno(), 1 << 16):
                *lines, rest = (rest + part).replace(b"\r", b"\n").split(b"\n")
                self.on_lines([line.decode("utf-8", "replace") for line in lines if line.strip()])
        if rest.strip():
            self.on_lines([rest.decode("utf-8", "replace")])

    def ended(self) -> int | None:
        """The exit code as a shell tells it (137: killed), None while it runs."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            return None
        self.close()
        return 128 - code if code < 0 else code

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL if it is still there after a while."""
        assert self.process is not None
        if self._kill is None and self.process.poll() is None:
            self.process.terminate()
            self._kill = threading.Timer(grace_seconds, self.kill)
            self._kill.daemon = True
            self._kill.start()

    def kill(self) -> None:
        """End the process and whatever it started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return

    def close(self) -> None:
        """After its end: nothing that it started stays, and its log is read to the end."""
        if self._kill is not None:
            self._kill.cancel()
        self.kill()
        if self._reader is not None:
            self._reader.join()
        if self.process is not None:
            forks.close(self.process)


# --- S3 ---------------------------------------------------------------------------------------------------------------


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI."""
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc:
        raise JobError(f"ClientError: {uri} is no S3 URI")
    return parts.netloc, _plain(parts.path.lstrip("/"))


def _plain(key: str) -> str:
    """A key of a job, refused where SageMaker might take it for another one: nothing says what it makes of an escape."""
    if set(key) & set("%:"):
        raise JobError(f"ClientError: nobody knows what becomes of {key}")
    return key


def list_keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    """Every key that begins with a prefix, sorted; what only marks a folder is none."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return sorted(item["Key"] for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/"))


def objects_of(s3: Any, uri: str, data_type: str) -> list[tuple[str, str, str]]:
    """(bucket, key, path below the channel's folder) of each object of a channel, in order of their keys.

    Raises:
        JobError: there is none, as a job fails on it.
    """
    try:
        found = list(_manifest_objects(s3, uri) if data_type == "ManifestFile" else _prefix_objects(s3, uri))
    except s3.exceptions.ClientError as error:
        raise JobError(f"ClientError: Data download failed: {uri}: {error}") from error
    if not found:
        raise JobError(
            f"ClientError: Data download failed: No S3 objects found under S3 URL {uri!r} given in input data source"
        )
    return sorted(found, key=lambda item: item[1])


def _prefix_objects(s3: Any, uri: str) -> Iterator[tuple[str, str, str]]:
    bucket, prefix = split_uri(uri)
    for key in list_keys(s3, bucket, prefix):
        rest = key[len(prefix) :]
        if prefix.endswith("/") or not prefix:
            yield bucket, key, rest
        elif rest.startswith("/"):
            yield bucket, key, rest[1:]
        else:
            yield bucket, key, prefix.rsplit("/", 1)[-1] + rest


def _manifest_objects(s3: Any, uri: str) -> Iterator[tuple[str, str, str]]:
    bucket, key = split_uri(uri)
    first, *names = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    source, prefix = split_uri(first["prefix"])
    for name in names:
        yield source, prefix + name, name


def download(s3: Any, objects: Iterable[tuple[str, str, str]], folder: Path, *, unpack: bool = False) -> None:
    """Copy objects into a folder; `unpack` opens gzip."""
    folder.mkdir(parents=True, exist_ok=True)
    for bucket, key, name in objects:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise JobError(f"ClientError: Data download failed: {key} would lie outside of its channel")
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
        with path.open("wb") as file:
            for part in body.iter_chunks(1 << 20):
                file.write(part)
        if unpack and name.endswith(".gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()


def upload(s3: Any, folder: Path, uri: str) -> None:
    """Copy every file of a folder below an S3 URI."""
    bucket, prefix = split_uri(uri)
    prefix = prefix if not prefix or prefix.endswith("/") else prefix + "/"
    for path in files_of(folder):
        with path.open("rb") as file:
            s3.put_object(Bucket=bucket, Key=prefix + _plain(path.relative_to(folder).as_posix()), Body=file)


def upload_archive(s3: Any, folders: Iterable[Path], uri: str) -> None:
    """Put the files of some folders, whose names are those below each folder, into a `.tar.gz`."""
    bucket, key = split_uri(uri)
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
            for folder in folders:
                for path in files_of(folder):
                    tar.add(path, path.relative_to(folder).as_posix(), recursive=False)
        archive.seek(0)
        s3.put_object(Bucket=bucket, Key=key, Body=archive)


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, default=str), encoding="utf-8")


def read_text(path: Path, limit: int = 1024) -> str:
    """What a container wrote, as far as SageMaker reads it; "" if it wrote nothing."""
    return path.read_text(encoding="utf-8", errors="replace")[:limit].strip() if path.is_file() else ""
