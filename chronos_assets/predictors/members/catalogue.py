"""Which members there are, by the names that files, parameters and tables use.

A statistical member is named by itself; a Chronos one is `chronos` with its rate: `chronos/1`, `chronos/mean4`,
`chronos/fine2`, `chronos/adjusted24`, and `tuned/...` for a checkpoint that was trained on the user's data; where the network
itself reads covariates, with that: `chronos/covariates`. The autoregression that is fitted to all series together is `pooled`.
A regression on covariates is named with who forecasts what it leaves: `regression/theta`, `regression/npts`,
`regression/chronos`, `regression/tuned`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from chronos_assets.params.predictor import (
    CHRONOS,
    COVARIATES,
    POOLED,
    RATES,
    REGRESSION,
    REGRESSION_BASES,
    STATISTICAL,
    TUNED,
)
from chronos_assets.predictors.members.autoregression import Autoregression
from chronos_assets.predictors.members.base import Member
from chronos_assets.predictors.members.damped_trend import DampedTrend
from chronos_assets.predictors.members.exponential_smoothing import ExponentialSmoothing
from chronos_assets.predictors.members.intermittent import Intermittent
from chronos_assets.predictors.members.random_walk import RandomWalk
from chronos_assets.predictors.members.recent_values import RecentValues
from chronos_assets.predictors.members.seasonal_naive import SeasonalNaive
from chronos_assets.predictors.members.theta import Theta

_STATISTICAL: Mapping[str, Callable[[], Member]] = {
    "theta": Theta,
    "ets": ExponentialSmoothing,
    "log_ets": partial(ExponentialSmoothing, "log_ets", logarithms=True),
    "damped_trend": DampedTrend,
    "autoregression": Autoregression,
    "seasonal_naive": SeasonalNaive,
    "random_walk": RandomWalk,
    "npts": RecentValues,
    "intermittent": Intermittent,
}
# Of a plain pass of the bundled network over 512 periods, see benchmarks.members. The regression's was measured as half of it
# beside a network that took twice as long.
STATISTICAL_COST = 0.1  # 0.02 to 0.19
REGRESSION_COST = 0.3  # for the effects of 512 periods
FIXED_SHARE = 0.3  # of a pass, whatever the length of what it reads: patches, decoder, rescaling
_NAME = re.compile(rf"({CHRONOS}|{TUNED})/(1|mean\d+|fine\d+|adjusted\d+|{COVARIATES})")


def statistical_members() -> list[Member]:
    """Every member that needs no checkpoint."""
    return [make() for make in _STATISTICAL.values()]


def statistical_member(name: str) -> Member:
    """The member of a name. Raises KeyError where there is none."""
    return _STATISTICAL[name]()


def checkpoint_of(name: str) -> str | None:
    """Which checkpoint a member needs: `chronos`, `tuned`, or None for one that needs none.

    Raises:
        ValueError: there is no such member.
    """
    base = residual_of(name)
    if base is not None:
        return checkpoint_of(base)
    if name in _STATISTICAL or name == POOLED:
        return None
    match = _NAME.fullmatch(name)
    if match is None or match[2] not in (*RATES, COVARIATES):
        raise ValueError(f"there is no member {name!r}: there are {', '.join((*known_names(), POOLED))}")
    return match[1]


def residual_of(name: str) -> str | None:
    """Name of the member that forecasts what a regression leaves; None for any other member's name."""
    kind, _, base = name.partition("/")
    if kind != REGRESSION or base not in REGRESSION_BASES:
        return None
    return f"{base}/1" if base in (CHRONOS, TUNED) else base


def reads_natively(name: str) -> bool:
    """Whether a member is a network that reads covariates itself."""
    return name in (f"{CHRONOS}/{COVARIATES}", f"{TUNED}/{COVARIATES}")


def reads_covariates(name: str) -> bool:
    """Whether a member's forecasts follow from covariates."""
    return reads_natively(name) or residual_of(name) is not None


def without_covariates(name: str) -> str | None:
    """Name of the member that a member which reads covariates would be without them; None for any other member's name."""
    return f"{name.partition('/')[0]}/1" if reads_natively(name) else residual_of(name)


def regression_names(checkpoints: Iterable[str], wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the regressions that some checkpoints make possible.

    Args:
        checkpoints: that there are.
        wanted: names, or `regression` for all; all if empty.
    """
    there = set(checkpoints)
    names = (f"{REGRESSION}/{base}" for base in REGRESSION_BASES if base not in (CHRONOS, TUNED) or base in there)
    return tuple(name for name in names if not wanted or REGRESSION in wanted or name in wanted)


def untuned(name: str) -> str:
    """Name of the member that a tuned checkpoint's was before it was tuned; any other member's own."""
    if residual_of(name) == f"{TUNED}/1":
        return f"{REGRESSION}/{CHRONOS}"
    return f"{CHRONOS}/{name.partition('/')[2]}" if name.startswith(f"{TUNED}/") else name


def rate_of(name: str) -> tuple[int, int, bool]:
    """Periods averaged, steps for one period, and whether the season is removed, of a Chronos member's name."""
    kind, number = re.fullmatch(r"(mean|fine|adjusted|)(\d+)", name.partition("/")[2]).groups()  # type: ignore[union-attr]
    value = int(number)
    return (1 if kind == "fine" else value, value if kind == "fine" else 1, kind == "adjusted")


def known_names() -> tuple[str, ...]:
    """Every member's name that needs no fit, of the base model at every rate."""
    return (*(f"{CHRONOS}/{rate}" for rate in RATES), *STATISTICAL)


def cost_of(name: str) -> float:
    """What a member's forecast takes, in plain passes of its network over contexts of its own length (and their covariates)."""
    base = residual_of(name)
    if base is not None:
        return REGRESSION_COST + cost_of(base)
    if checkpoint_of(name) is None:
        return STATISTICAL_COST
    if reads_natively(name):
        return (
            1.0  # a pass whose rows are as many times as many as there are attributes; who gives them wants them read
        )
    coarse, fine, adjusted = rate_of(name)
    del fine
    return FIXED_SHARE + (1 - FIXED_SHARE) / coarse + (STATISTICAL_COST / 2 if adjusted else 0.0)
