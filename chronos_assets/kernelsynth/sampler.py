"""Series of KernelSynth: one random expression of kernels, and one draw from its Gaussian process, for each.

Here: which random numbers make which series, and how the work is shared out. Elsewhere: files
(`workloads.generate`).

Series number i of stream s under a seed is made from a generator of its own, `SeedSequence(seed, spawn_key=(s, i))`. So
it doesn't depend on how many series are made, by how many processes, or in which order. For the few that take a dense
factorisation this holds to the last bit only if the linear algebra library runs on one thread
(`OPENBLAS_NUM_THREADS=1` before numpy is loaded): how a factorisation is split over threads changes its rounding.
"""

from __future__ import annotations

import multiprocessing.connection
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from threading import Thread

import numpy as np

from chronos_assets.kernelsynth.bank import Floats
from chronos_assets.kernelsynth.expressions import Expression, draw_expression
from chronos_assets.kernelsynth.terms import factorise

MAX_KERNELS = 5
"""The paper's."""

Key = tuple[int, int]
"""A series: the stream of the seed that it belongs to, and its number there, both from 0."""

_CHUNK = 32  # series that a worker makes at a time: tens of milliseconds of work


def draw_series(rng: np.random.Generator, length: int, max_kernels: int = MAX_KERNELS) -> tuple[Expression, Floats]:
    """Draw an expression of 1 to `max_kernels` kernels, and a series (length,) from its process.

    `length` is at least 2.
    """
    expression = draw_expression(rng, max_kernels)
    return expression, draw_values(rng, expression, length)


def draw_values(rng: np.random.Generator, expression: Expression, length: int) -> Floats:
    """Draw a series (length,) from the Gaussian process with mean 0 and the covariance `expression`."""
    values = np.zeros(length)
    for term in expression.expand():
        factor = factorise(term, length)
        values += factor.draw(rng.standard_normal((1, factor.size)))[0]
    return values


def iter_series(
    keys: Iterable[Key], *, seed: int, length: int, max_kernels: int = MAX_KERNELS, workers: int = 1
) -> Generator[tuple[Expression, Floats], None, None]:
    """Make the series that `keys` name, in their order.

    Args:
        keys: stream and number of each series.
        seed: a number from 0.
        length: of each series, at least 2.
        max_kernels: of each expression.
        workers: processes to make them in, 1 for this one. Memory is that of a few hundred series per worker.

    Yields:
        The expression of a series, and the series (length,). Close the iterator (`contextlib.closing`) to end the workers
        before all series are made.
    """
    make = partial(_draw_series, seed=seed, length=length, max_kernels=max_kernels)
    if workers == 1:
        for key in keys:
            yield from make([key])
        return
    waiting = iter(keys)
    chunks = iter(lambda: list(islice(waiting, _CHUNK)), [])
    # Forking a process that has threads, as one with a linear algebra library has, can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        ahead = deque(pool.submit(make, chunk) for chunk in islice(chunks, 2 * workers))
        while ahead:
            yield from ahead.popleft().result()
            ahead.extend(pool.submit(make, chunk) for chunk in islice(chunks, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_series(keys: Sequence[Key], *, seed: int, length: int, max_kernels: int) -> list[tuple[Expression, Floats]]:
    return [
        draw_series(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)), length, max_kernels)
        for key in keys
    ]


def _end_with_parent() -> None:
    """A worker waits for work forever, which it must not do once its sender has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_exit_after, args=(parent.sentinel,), name="parent", daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
