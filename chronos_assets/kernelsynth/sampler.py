"""Series of KernelSynth: one random expression of kernels, and one draw from its Gaussian process, for each.

Belongs here: which random numbers make which series, and how the work is shared out. Does not belong here: files
(`workloads.generate`).

Series number i of stream s under a seed is made from a generator of its own, `SeedSequence(seed, spawn_key=(s, i))`. So
it doesn't depend on how many series are made, by how many processes, or in which order.

To the last bit this holds if the linear algebra library runs on one thread, as workers of `iter_series` do when
the process that calls it has `OPENBLAS_NUM_THREADS=1`: how a product is split over threads can change its rounding.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice

import numpy as np

from chronos_assets.kernelsynth.bank import Floats
from chronos_assets.kernelsynth.expressions import Expression, draw_expression
from chronos_assets.kernelsynth.terms import factorise

MAX_KERNELS = 5
"""The paper's."""

_CHUNK = 256  # series that a worker makes at a time: a tenth of a second's work


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
    count: int, *, seed: int, stream: int = 0, length: int = 1024, max_kernels: int = MAX_KERNELS, workers: int = 1
) -> Iterator[tuple[Expression, Floats]]:
    """Make `count` series, in order, in `workers` processes (1: in this one).

    Args:
        count: how many.
        seed: a number from 0.
        stream: of the seed's independent streams, which one: a number from 0.
        length: of each, at least 2.
        max_kernels: per expression.
        workers: processes; they are started anew, and are gone when the iterator is exhausted or closed.
    """
    make = partial(_chunk, seed=seed, stream=stream, length=length, max_kernels=max_kernels)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    if workers == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from make(chunk)
        return
    # Forking a process that has threads, as one with a linear algebra library has, can hang.
    pool = ProcessPoolExecutor(min(workers, len(chunks)), mp_context=multiprocessing.get_context("spawn"))
    try:
        # A window of chunks ahead, so that memory doesn't grow with `count`.
        waiting = iter(chunks)
        ahead = [pool.submit(make, chunk) for chunk in islice(waiting, 2 * workers)]
        while ahead:
            yield from ahead.pop(0).result()
            ahead.extend(pool.submit(make, chunk) for chunk in islice(waiting, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _chunk(numbers: range, *, seed: int, stream: int, length: int, max_kernels: int) -> list[tuple[Expression, Floats]]:
    return [
        draw_series(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, n))), length, max_kernels)
        for n in numbers
    ]
