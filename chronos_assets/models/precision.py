"""In what numbers a GPU multiplies matrices: float32, or TF32 where a network's quantiles hardly differ.

Here: whether a device has TF32, the tolerance, and how a network is tried. Elsewhere: which passes use it (`forecasting`).

TF32 keeps float32's range with ten bits of its fraction, and is several times quicker on the GPUs that have it. Whether that
matters depends on the network, so each is tried when it is made ready, on the device that it is on: TF32 is used where no
quantile of the rows that are tried moves by more than `TOLERANCE`, and recorded with the forecast.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from chronos_assets.models.families import QuantileNetwork

FLOAT32, TF32 = "float32", "tf32"
TOLERANCE = 0.01  # deviations of a series
_AMPERE = 8  # compute capability of the first with TF32: https://docs.nvidia.com/cuda/ampere-tuning-guide/

log = logging.getLogger(__name__)


def has_tf32(device: torch.device) -> bool:
    """Whether a device multiplies in TF32 at all."""
    import torch

    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= _AMPERE


@contextmanager
def multiplying_in(precision: str) -> Iterator[None]:
    """The process's GPUs multiply in it; what was set before is put back."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == TF32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def agreed_precision(network: QuantileNetwork, rows: torch.Tensor, length: int) -> str:
    """TF32 where the quantiles of `length` periods after `rows` (R, T) are within the tolerance, else float32."""
    import torch

    made = {}
    for precision in (FLOAT32, TF32):
        with multiplying_in(precision), torch.inference_mode():
            made[precision] = network.block(rows, length)
    apart = float(np.abs(made[TF32] - made[FLOAT32]).max())
    agreed = TF32 if apart <= TOLERANCE else FLOAT32  # what is not finite agrees with nothing
    log.info("quantiles in TF32 differ by %.2g deviations at most (%g allowed): passes in %s", apart, TOLERANCE, agreed)
    return agreed
