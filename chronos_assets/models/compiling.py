"""Whether a network is compiled for its GPU before it forecasts: where that pays for itself.

Here: the estimate, and how a compiled network is tried. Elsewhere: what a pass does (`forecasting`).

`torch.compile` takes about a minute for each length of contexts and makes a pass an eighth quicker, since products, which it
leaves alone, are most of it. So it pays for jobs that keep a GPU busy for half an hour. What a job has to do is
estimated from the series of the whole dataset, not of the windows or shards at hand: last bits differ between compiled and
other passes, and a forecast is to have the same in a range of windows and alone. (Measured on an H200 by
`python -m benchmarks.gpu --compile`, with a small-sized Bolt in bf16.)

Never on a CPU: its products run in the same library either way, jobs there take minutes, and images have no C++ compiler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from subprocess import CalledProcessError

import numpy as np
import torch

from chronos_assets.models.batching import read_config, tokens_of
from chronos_assets.models.families import BoltNetwork, Chronos2Network, QuantileNetwork
from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.precision import TOLERANCE

SECONDS_TO_COMPILE = 180.0  # three lengths of contexts: most series of a dataset have one or two
SAVED = 0.12
SPEED = 3e13  # operations a second of a data centre's GPU, in its shorter numbers; 5e13 of the H200
_LENGTHS = 64  # that are compiled at most, each for itself; torch's 8 would leave the others to chance

log = logging.getLogger(__name__)


def pays_for_itself(model: LoadedModel, series: int, context_length: int) -> bool:
    """Whether compiling a network saves more than it takes, for a job of so many series."""
    if model.device.type != "cuda" or model.network is None or model.description.family == "t5":
        return False
    tokens = tokens_of(read_config(model.description), context_length)
    seconds = 2.0 * model.description.parameters * tokens * series / SPEED
    return SAVED * seconds > SECONDS_TO_COMPILE


def compiled(network: QuantileNetwork, rows: torch.Tensor, length: int) -> QuantileNetwork | None:
    """The same network, compiled; None where it can't be, or gives other quantiles of `length` periods after `rows` (R, T)."""
    if not isinstance(network, BoltNetwork | Chronos2Network):
        return None
    candidate = replace(network, network=compile_network(network.network))
    try:
        with torch.inference_mode():
            made, expected = (each.block(rows, length) for each in (candidate, network))
    except (RuntimeError, OSError, ImportError, CalledProcessError) as error:
        log.warning("torch.compile failed, passes run as they are: %s", str(error).strip().partition("\n")[0])
        return None
    apart = float(np.abs(made - expected).max())
    log.info("compiled; quantiles differ by %.2g deviations at most (%g allowed)", apart, TOLERANCE)
    return candidate if apart <= TOLERANCE else None


def compile_network(network: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A network that compiles itself for each shape that it meets."""
    torch._dynamo.config.recompile_limit = _LENGTHS
    compiling: Callable[..., torch.Tensor] = torch.compile(network, dynamic=False)
    return compiling
