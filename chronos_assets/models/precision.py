"""In what numbers a GPU multiplies matrices: float32, or shorter ones where a network's quantiles hardly differ.

Here: which numbers a device has, the tolerance, and how a network is tried. Elsewhere: which passes use them (`forecasting`).

TF32 keeps float32's range with ten bits of its fraction, bf16 with seven; each is several times quicker than the one before on
the GPUs that have it. Whether that matters depends on the network, so each is tried when a network is made ready, on the device
that it is on: the quickest is used with which no quantile of the rows that are tried moves by more than `TOLERANCE`, and is
recorded with the forecast. With bf16, norms, sums and what embeds or reads out values stay in float32 (`layers.ResidualBlock`).

On a CPU passes are in float32, also where it has instructions for bf16 (measured: twice as many products a second): what a
forecast is would depend on the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from chronos_assets.params.options import BF16, FLOAT32, PRECISIONS

if TYPE_CHECKING:
    import torch

    from chronos_assets.models.families import QuantileNetwork

TOLERANCE = 0.01  # deviations of a series
_AMPERE = 8  # compute capability of the first with both: https://docs.nvidia.com/cuda/ampere-tuning-guide/

log = logging.getLogger(__name__)


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """What a device multiplies in, the most exact first."""
    import torch

    ampere = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= _AMPERE
    return PRECISIONS if ampere else (FLOAT32,)


@contextmanager
def multiplying_in(precision: str, device: torch.device) -> Iterator[None]:
    """The process's GPUs multiply in TF32 or not, and this thread's products are in bf16 or not; then as before."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision == FLOAT32 else "high")
    try:
        with torch.autocast(device.type, torch.bfloat16) if precision == BF16 else nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def agreed_precision(
    network: QuantileNetwork, rows: torch.Tensor, length: int, device: torch.device, allowed: Sequence[str]
) -> str:
    """The least exact with which quantiles of `length` periods after `rows` (R, T) are within the tolerance."""
    import torch

    def made(precision: str) -> np.ndarray:
        with multiplying_in(precision, device), torch.inference_mode():
            return network.block(rows, length)

    exact = made(FLOAT32)
    for precision in reversed(allowed):
        if precision == FLOAT32:
            break
        apart = float(np.abs(made(precision) - exact).max())
        agrees = apart <= TOLERANCE  # what is not finite agrees with nothing
        log.info("quantiles in %s differ by %.2g deviations at most (%g allowed)", precision, apart, TOLERANCE)
        if agrees:
            return precision
    return FLOAT32
