"""A container that serves a model: its files, its process, its answers.

Here: what a model's container is given and how it is asked. Elsewhere: what is served under which name
(`sagemaker_endpoints.py`, `sagemaker_transform.py`).

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import http.client
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from chronos_assets_tests.aws.cloud import Cloud
from chronos_assets_tests.aws.job_process import (
    DEFAULT_PACKAGE,
    Container,
    JobError,
    container_command,
    container_environment,
    download,
    objects_of,
    split_uri,
)
from chronos_assets_tests.ports import free_port

SERVING_VARIABLE = "CHRONOS_SERVING"
ANSWER_SECONDS = 60.0  # of a real-time endpoint

_LOOK_SECONDS = 0.02


class Answer:
    """What a container answered.

    Attributes:
        status, headers, body: of its HTTP response.
    """

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


class ServingContainer:
    """A container of a model, on a port of this machine.

    Args:
        model: the container of a CreateModel request.
        folder: what it sees as `/opt/ml`.
        log_group, log_stream: where its log goes.
        environment: variables beside the model's.
    """

    def __init__(
        self,
        cloud: Cloud,
        model: Mapping[str, Any],
        folder: Path,
        *,
        log_group: str,
        log_stream: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._cloud = cloud
        self._model = model
        self._folder = folder
        self._port = free_port()
        variables = {**(model.get("Environment") or {}), **(environment or {})}
        # A container listens on all its interfaces; this machine's are not only its own.
        serving = {**json.loads(variables.get(SERVING_VARIABLE) or "{}"), "host": "127.0.0.1"}
        self._container = Container(
            "algo-1",
            folder,
            container_command(["python", "-m", DEFAULT_PACKAGE, "serve"], cloud.package),
            container_environment(
                {
                    **cloud.container_env,
                    **variables,
                    SERVING_VARIABLE: json.dumps(serving),
                    "SAGEMAKER_BIND_TO_PORT": str(self._port),
                }
            ),
            lambda lines: cloud.log(log_group, log_stream, lines),
            cloud.namespaces,
        )

    @property
    def pid(self) -> int | None:
        """Of its process, once it was started."""
        return self._container.process.pid if self._container.process is not None else None

    def start(self) -> None:
        """Lay out the model's files and start the process.

        Raises:
            JobError: the files can't be had.
        """
        target = self._folder / "model"
        if self._folder.exists():
            shutil.rmtree(self._folder)
        target.mkdir(parents=True)
        url, source = self._model.get("ModelDataUrl"), (self._model.get("ModelDataSource") or {}).get("S3DataSource")
        if source is not None:
            if source["CompressionType"] == "Gzip":
                url = source["S3Uri"]
            else:
                download(self._cloud.s3, objects_of(self._cloud.s3, source["S3Uri"], "S3Prefix"), target)
        if url is not None:
            _unpack(self._cloud.s3, url, target)
        self._container.start()

    def wait(self, seconds: float) -> bool:
        """Whether it answers its ping within so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._container.ended() is None:
            with suppress(OSError):
                if self._request("GET", "/ping", {}, b"", 2.0).status == 200:
                    return True
            time.sleep(_LOOK_SECONDS)
        return False

    def invoke(self, body: bytes, headers: Mapping[str, str], seconds: float = ANSWER_SECONDS) -> Answer:
        """Its answer to `POST /invocations`; `OSError` if there is none."""
        return self._request("POST", "/invocations", headers, body, seconds)

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            return Answer(connection.getresponse())
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {error!r}") from error
        finally:
            connection.close()

    def stop(self, grace_seconds: float) -> None:
        """End it, and wait until it has."""
        if self._container.process is None:
            return
        self._container.stop(grace_seconds)
        while self._container.ended() is None:
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        if self._container.process is not None:
            self._container.kill()
            self._container.process.wait()
            self._container.close()


def _unpack(s3: Any, url: str, folder: Path) -> None:
    bucket, key = split_uri(url)
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    except s3.exceptions.ClientError as error:
        raise JobError(f"Failed to download model data for container: {url}: {error}") from error
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(body, file)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            archive.extractall(folder, filter="data")
