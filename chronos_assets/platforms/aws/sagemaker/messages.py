"""Dagster Pipes through S3, at places that follow from the job's name.

Here: where context and messages lie, writing the one and reading the others. Elsewhere: what the
container does; it opens Pipes with `dagster_pipes.PipesS3ContextLoader` and `PipesS3MessageWriter`.

dagster-aws's own readers and injectors choose random places, so that a run which finds its job running can't hear it;
and `PipesBlobStoreMessageReader` counts on where another session has stopped, sleeps by the second, and waits ten of them
for messages after a job has ended. S3 shows what was written at once: once the job has ended, all its chunks are there.

```
<prefix>/<job name>/context.json    what the container learns about the run; rewritten by a run that finds the job running
<prefix>/<job name>/1.json, ...     what it tells: chunks of lines, each a message
```
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, takewhile
from typing import Any

from dagster import PipesContextInjector, PipesMessageReader, PipesSession
from dagster._core.pipes.context import PipesMessageHandler, build_external_execution_context_data
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, encode_param

from chronos_assets.platforms.aws.sagemaker.faults import Timing, code_of, is_passing, waits

CONTEXT = "context.json"
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_LAST_TRIES = 8  # at reading a chunk once the job has ended


class S3Place:
    """Where the Pipes of one job lie.

    Args:
        bucket: bucket; prefix: of all jobs' Pipes, without slashes at its ends.
        name: of the job.
        longest: characters that an environment variable of the job may have.
    """

    def __init__(self, bucket: str, prefix: str, name: str, longest: int = 256) -> None:
        self.bucket = bucket
        readable = "/".join(part for part in (prefix, name) if part)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        fits = all(len(encode_param(value)) <= longest for value in _params(bucket, readable))
        # With a long prefix the readable name would not fit in what an environment variable may hold.
        self.folder = readable if fits else "/".join(part for part in (prefix, digest) if part)

    def key(self, name: str) -> str:
        """Key of an object."""
        return f"{self.folder}/{name}"

    @property
    def context_params(self) -> dict[str, str]:
        """Where the container finds its context."""
        return _params(self.bucket, self.folder)[0]

    @property
    def message_params(self) -> dict[str, str]:
        """Where the container leaves its messages."""
        return _params(self.bucket, self.folder)[1]


def _params(bucket: str, folder: str) -> tuple[dict[str, str], dict[str, str]]:
    return {"bucket": bucket, "key": f"{folder}/{CONTEXT}"}, {"bucket": bucket, "key_prefix": folder}


class PlacedS3ContextInjector(PipesContextInjector):
    """Leaves the context at a place that is known beforehand. It stays there: the job may outlive the session.

    Args:
        client: boto3's S3 client.
        place: where it is left.
        encryption: further arguments of `put_object`.
    """

    def __init__(self, client: Any, place: S3Place, encryption: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._place = place
        self._encryption = dict(encryption or {})

    @contextmanager
    def inject_context(self, context: Any) -> Iterator[Mapping[str, str]]:
        """See `PipesContextInjector.inject_context`."""
        self._client.put_object(
            Bucket=self._place.bucket,
            Key=self._place.key(CONTEXT),
            Body=json.dumps(context).encode(),
            **self._encryption,
        )
        yield self._place.context_params

    def no_messages_debug_text(self) -> str:
        """See `PipesContextInjector.no_messages_debug_text`."""
        return (
            f"The context is at s3://{self._place.bucket}/{self._place.key(CONTEXT)}: give PipesS3ContextLoader to "
            "open_dagster_pipes in the job, and let the job's role read there."
        )


class PlacedS3MessageReader(PipesMessageReader):
    """Reads the chunks of messages of one job from the first on. One reader serves one session.

    Args:
        client: boto3's S3 client.
        place: where they lie.
        timing: how often to look.
    """

    def __init__(self, client: Any, place: S3Place, timing: Timing) -> None:
        self._client = client
        self._place = place
        self._timing = timing
        self.failure: BaseException | None = None  # what ended the reading early, if anything did

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[Mapping[str, str]]:
        """See `PipesMessageReader.read_messages`."""
        ended = threading.Event()
        thread = threading.Thread(target=self._read, args=(handler, ended), name="pipes messages", daemon=True)
        thread.start()
        try:
            yield self._place.message_params
        finally:
            ended.set()
            thread.join()

    def forget(self) -> None:
        """Remove the messages of a former job of this name, which somebody has deleted: those of a new one take their places.

        The last ones first: what a killed removal leaves begins with the first, by which the next one finds it.
        """
        there = list(takewhile(lambda number: self._chunk(number) is not None, count(1)))
        for number in reversed(there):
            self._client.delete_object(Bucket=self._place.bucket, Key=self._place.key(f"{number}.json"))

    def no_messages_debug_text(self) -> str:
        """See `PipesMessageReader.no_messages_debug_text`."""
        return (
            f"Looked for messages at s3://{self._place.bucket}/{self._place.folder}/: give PipesS3MessageWriter to "
            "open_dagster_pipes in the job, and let the job's role write there."
        )

    def _read(self, handler: Any, ended: threading.Event) -> None:
        try:
            for chunk in self._chunks(ended):
                for line in chunk.splitlines():
                    message = json.loads(line) if line.strip() else {}
                    if PIPES_PROTOCOL_VERSION_FIELD in message:
                        handler.handle_message(message)
        except BaseException as error:  # noqa: BLE001 - of another thread: who waits for the job raises it
            self.failure = error
            handler.report_pipes_framework_exception("reader of the job's messages", sys.exc_info())

    def _chunks(self, ended: threading.Event) -> Iterator[str]:
        """Chunk after chunk; over once the job has ended and there is no further one."""
        number, failures = 1, 0
        pauses = waits(self._timing.retry_first, self._timing.retry_most)
        while True:
            last = ended.is_set()  # asked before looking: nothing is written after it
            try:
                chunk = self._chunk(number)
            except Exception as error:
                failures += 1
                if not is_passing(error) or (last and failures > _LAST_TRIES):
                    raise
                # Not `ended`: that is set, and would not wait, when it matters most.
                threading.Event().wait(next(pauses))
                continue
            failures = 0
            if chunk is not None:
                number += 1
                yield chunk
            elif last:
                return
            else:
                ended.wait(self._timing.messages)

    def _chunk(self, number: int) -> str | None:
        try:
            answer = self._client.get_object(Bucket=self._place.bucket, Key=self._place.key(f"{number}.json"))
            return str(answer["Body"].read(), "utf-8")
        except Exception as error:
            if code_of(error) in _ABSENT:
                return None
            raise


class _SilentReader(PipesMessageReader):
    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[Mapping[str, str]]:
        yield {}

    def no_messages_debug_text(self) -> str:
        return "The job doesn't speak Pipes."


def silent_session(context: Any, extras: Mapping[str, Any] | None) -> PipesSession:
    """The session of a job that doesn't speak Pipes: `open_pipes_session` would warn that there were no messages."""
    return PipesSession(
        context_data=build_external_execution_context_data(context, dict(extras or {})),
        message_handler=PipesMessageHandler(context, _SilentReader()),
        context_injector_params={},
        message_reader_params={},
        context=context,
    )
