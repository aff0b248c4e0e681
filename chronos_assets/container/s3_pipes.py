"""Dagster Pipes through S3, from a job's side: context from an object, messages in chunks.

Here: what makes it fit for results, not logs alone. Elsewhere: when it is used (`contract.py`).

The writer of `dagster_pipes` ends its thread at the first upload that fails, which loses all later messages while the job
succeeds; and it sleeps by the second. This one tries again, in the same order, and fails the job if the last try fails.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from typing import IO, Any

from dagster_pipes import (
    PipesContext,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    PipesS3MessageWriterChannel,
    open_dagster_pipes,
)

UPLOAD_SECONDS = 4.0  # a person who looks on waits so long for a line


def open_s3_pipes(encryption: Mapping[str, str]) -> AbstractContextManager[PipesContext]:
    """Open Pipes as the launcher's variables say, with the role of the job; see `S3MessageWriter` for the argument."""
    import boto3

    client = boto3.client("s3")
    return open_dagster_pipes(
        context_loader=PipesS3ContextLoader(client), message_writer=S3MessageWriter(client, encryption=encryption)
    )


class S3MessageWriter(PipesS3MessageWriter):
    """`PipesS3MessageWriter`, except for uploads that fail and encryption with a key.

    Args:
        client: boto3's S3 client.
        interval: seconds between two uploads.
        encryption: further arguments of `put_object`.
    """

    def __init__(
        self, client: Any, *, interval: float = UPLOAD_SECONDS, encryption: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(client, interval=interval)
        self._encryption = encryption or {}

    def make_channel(self, params: Mapping[str, Any]) -> _Channel:
        """See `PipesBlobStoreMessageWriter.make_channel`."""
        return _Channel(
            self._client, params["bucket"], params["key_prefix"], interval=self.interval, encryption=self._encryption
        )


class _Channel(PipesS3MessageWriterChannel):
    _chunk = ""  # lines that are on their way; the same ones until they have arrived

    def __init__(
        self, client: Any, bucket: str, key_prefix: str, *, interval: float, encryption: Mapping[str, str]
    ) -> None:
        super().__init__(client, bucket, key_prefix, interval=interval)
        self._encryption = encryption

    def upload_messages_chunk(self, payload: IO[str], index: int) -> None:
        """See `PipesBlobStoreMessageWriterChannel.upload_messages_chunk`."""
        self._client.put_object(
            Bucket=self._bucket, Key=f"{self._key_prefix}/{index}.json", Body=payload.read(), **self._encryption
        )

    @contextmanager
    def buffered_upload_loop(self) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._upload_until, args=(ended,), name="pipes messages", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._upload()
            self._upload()  # what came while a chunk was on its way

    def _upload_until(self, ended: threading.Event) -> None:
        while not ended.wait(self._interval):
            try:
                self._upload()
            except Exception as error:  # noqa: BLE001 - tried again; the last time it ends the job
                sys.stderr.write(f"messages to Dagster are late: {error}\n")

    def _upload(self) -> None:
        # A reader takes a chunk as soon as it is there: one that is sent again must not have grown.
        if not self._chunk:
            self._chunk = "\n".join(json.dumps(message) for message in self.flush_messages())
        if self._chunk:
            self.upload_messages_chunk(StringIO(self._chunk), self._counter)
            self._counter += 1
            self._chunk = ""
