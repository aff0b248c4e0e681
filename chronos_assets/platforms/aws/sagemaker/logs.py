"""Log lines of a SageMaker job, from CloudWatch.

Here: following the streams of a job while it runs, and their last lines once it has ended. Elsewhere:
what is done with the lines.

`GetLogEvents` has one quota for the whole account and region: a follower that finds nothing new, or is throttled, asks
less and less often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from chronos_assets.platforms.aws.sagemaker.faults import Timing, call_with_retries, code_of, is_passing, waits

_MOST_STREAMS = 20  # of a job with many instances: enough to see what it does
_PAGES = 10  # read at once; the rest is read the next time
_LINE = 1000  # characters of a line that are shown


class LogTail:
    """Follows the log of one job: `poll` as often as you like, it looks when it's time.

    Args:
        client: boto3's client of CloudWatch Logs.
        group: log group.
        prefix: what the names of the job's streams begin with.
        emit: gets each line.
        timing: how often to look.
        clock: seconds.
    """

    def __init__(
        self,
        client: Any,
        group: str,
        prefix: str,
        emit: Callable[[str], None],
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._group = group
        self._prefix = prefix
        self._emit = emit
        self._timing = timing
        self._clock = clock
        self._tokens: dict[str, str] = {}
        self._rest()
        self._due = clock()

    def poll(self, *, now: bool = False) -> None:
        """Hand over the lines that are new, if it's time to look or `now`."""
        if not now and self._clock() < self._due:
            return
        try:
            found = sum(map(self._read, _streams(self._client, self._group, self._prefix)))
        except Exception as error:
            if not is_passing(error):
                raise
            found = 0
        if found:
            self._rest()
        self._due = self._clock() + next(self._waits)

    def _rest(self) -> None:
        self._waits = waits(self._timing.logs_first, self._timing.logs_most)

    def _read(self, stream: str) -> int:
        """Hand over the new lines of one stream; how many there were."""
        count = 0
        for _ in range(_PAGES):
            token = self._tokens.get(stream)
            answer = self._client.get_log_events(
                logGroupName=self._group,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": token} if token else {}),
            )
            for event in answer["events"]:
                self._emit(_line(event))
            count += len(answer["events"])
            self._tokens[stream] = answer["nextForwardToken"]
            if answer["nextForwardToken"] == token:
                break
        return count


def last_lines(client: Any, group: str, prefix: str, timing: Timing, *, lines: int = 20) -> list[str]:
    """The last lines of a job's log, over all its streams, in order of their times; none if it has no log."""

    def read() -> list[tuple[int, str]]:
        events = []
        for stream in _streams(client, group, prefix):
            answer = client.get_log_events(
                logGroupName=group, logStreamName=stream, startFromHead=False, limit=min(10_000, lines)
            )
            events += [(int(event["timestamp"]), _line(event)) for event in answer["events"]]
        return events

    events = call_with_retries(read, timing, seconds=min(120.0, timing.outage))
    return [line for _, line in sorted(events, key=lambda event: event[0]) if line.strip()][-lines:]


def _streams(client: Any, group: str, prefix: str) -> Iterator[str]:
    try:
        answer = client.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix, limit=_MOST_STREAMS)
    except Exception as error:
        if code_of(error) == "ResourceNotFoundException":  # the first job of a kind makes the group
            return
        raise
    yield from (stream["logStreamName"] for stream in answer["logStreams"])


def _line(event: Any) -> str:
    text = str(event["message"]).rstrip()[:_LINE]
    return "".join(character if character.isprintable() or character == "\t" else " " for character in text)
