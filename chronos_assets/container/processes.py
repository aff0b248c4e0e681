"""Work of a job divided over processes of its own, one for each device.

Here: starting and ending them, and who does what. Elsewhere: what the work is (`workloads`).

A process is started afresh, since a GPU that is in use can't be used by a fork. It opens its worker once, takes one item after
another, and what it logs goes to the job's standard streams. It ends with the job: when that closes its pipe, or is gone.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from chronos_assets.container.contract import WorkloadError
from chronos_assets.errors import ChronosAssetsError

START_METHOD = "spawn"

Result = TypeVar("Result")


def divided(
    open_worker: Callable[[str], Callable[[int], Result]], devices: Sequence[str], items: Sequence[int]
) -> Iterator[Result]:
    """What workers make of the items, as they are done with them.

    Args:
        open_worker: gives the worker of a device, in its process; a function of a module, or a partial of one.
        devices: each with a process of its own.
        items: each is given to the next process that has nothing to do.

    Raises:
        WorkloadError: a process ended, or a worker failed with an error that has a message for people.
    """
    waiting = deque(items)
    started: dict[Any, tuple[str, BaseProcess]] = {}  # by the pipe to it
    context: Any = get_context(START_METHOD)
    try:
        for device in devices[: len(waiting)]:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, open_worker, device), daemon=True)
            process.start()
            theirs.close()
            started[ours] = (device, process)
            _give(ours, waiting.popleft(), device, process)
        busy = set(started)
        while busy:
            ready: Any = wait(list(busy))
            for pipe in ready:
                result = _answer(pipe, *started[pipe])
                if waiting:
                    _give(pipe, waiting.popleft(), *started[pipe])
                else:
                    busy.remove(pipe)
                yield result
    finally:
        for pipe, (_, process) in started.items():
            pipe.close()
            process.kill()
            process.join()


def _answer(pipe: Any, device: str, process: BaseProcess) -> Any:
    try:
        result, reason = pipe.recv()
    except (EOFError, ConnectionError):
        raise _process_ended(device, process) from None
    if reason:
        raise WorkloadError(f"on {device}: {reason}")
    return result


def _give(pipe: Any, item: int, device: str, process: BaseProcess) -> None:
    try:
        pipe.send(item)
    except ConnectionError:
        raise _process_ended(device, process) from None


def _process_ended(device: str, process: BaseProcess) -> WorkloadError:
    process.join()
    return WorkloadError(f"the process that worked on {device} {_ending(process.exitcode or 0)}")


def _ending(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed, as the system does when memory runs out: take an instance with more, or a smaller Chronos.BatchSize"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}: the job's log says why"


def _serve(pipe: Any, open_worker: Callable[[str], Callable[[int], Any]], device: str) -> None:
    """The life of a process: its worker's results, or the reason why there is none, until the job closes the pipe."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has its parent's handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the job gets it, too
    worker = None
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            os._exit(0)
        try:
            worker = worker or open_worker(device)
            answer = worker(item), ""
        except ChronosAssetsError as error:
            answer = None, str(error)
        pipe.send(answer)
