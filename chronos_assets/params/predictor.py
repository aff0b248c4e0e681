"""How forecasts are made and their members weighed: `Chronos.Predictor`, `OptimizationMetric` and `AlgorithmArn`.

Here belong the names of members and metrics, the values of the section, and which member answers each algorithm of Amazon
Forecast. What the members do is in `predictors.members`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, cast, get_args

from chronos_assets.params.declared_options import Option, read_options, whole
from chronos_assets.params.document import MISSING, Section, nearest

OptimizationMetric = Literal["AverageWeightedQuantileLoss", "WAPE", "RMSE", "MASE", "MAPE"]
METRICS: tuple[OptimizationMetric, ...] = get_args(OptimizationMetric)
DEFAULT_METRIC: OptimizationMetric = "AverageWeightedQuantileLoss"

# The base model, and the checkpoint that was tuned on the user's data: each at several sampling rates.
CHRONOS, TUNED = "chronos", "tuned"
STATISTICAL = (
    "theta", "ets", "log_ets", "damped_trend", "autoregression", "seasonal_naive", "random_walk", "npts", "intermittent",
)  # fmt: skip
POOLED = "pooled"  # an autoregression that is fitted to all series of the data set
# A regression on covariates, by who forecasts what it leaves.
REGRESSION, REGRESSION_BASES = "regression", (TUNED, CHRONOS, "theta", "npts")

# Means of so many periods, interpolations to so many steps, and means after the season is removed.
COARSE, FINE, ADJUSTED = (2, 3, 4, 6, 8, 12, 24), (2, 3), (1, 4, 24)
COVARIATES = "covariates"  # in place of a rate: the network reads covariates beside the series
RATES = ("1", *(f"mean{n}" for n in COARSE), *(f"fine{n}" for n in FINE), *(f"adjusted{n}" for n in ADJUSTED))

MEMBER_NAMES = (
    *(CHRONOS, TUNED, *STATISTICAL, POOLED, REGRESSION),
    *(f"{name}/{rate}" for name in (CHRONOS, TUNED) for rate in (*RATES, COVARIATES)),
    *(f"{REGRESSION}/{name}" for name in REGRESSION_BASES),
)

_WORDS = {
    CHRONOS: "the Chronos model",
    TUNED: "the Chronos model, tuned on your data",
    "theta": "the Theta method: half a straight trend, half smoothing",
    "ets": "exponential smoothing",
    "log_ets": "exponential smoothing in logarithms: growth by so many percent",
    "damped_trend": "exponential smoothing with a trend that fades",
    "autoregression": "autoregression: each step follows from those before it",
    "seasonal_naive": "the last season again",
    "random_walk": "the last value again",
    "npts": "the distribution of past values of the same phase, recent ones weighing most",
    "intermittent": "how likely there is any demand, and how large it is then",
    POOLED: "autoregression with the same coefficients for all series",
    REGRESSION: "effects of the covariates",
    "cold start": "a mixture of the forecasts of items with like metadata",
}

# The service's algorithms, by the last part of their ARN, and what stands nearest to each.
ALGORITHMS = {
    "ETS": ("ets", "log_ets"),
    "NPTS": ("npts",),
    "ARIMA": ("autoregression",),
    "Prophet": ("chronos/adjusted1", "theta"),
    "Deep_AR_Plus": (CHRONOS, TUNED, POOLED),  # which are fitted to all series together, too
    "CNN-QR": (CHRONOS, TUNED, POOLED),
}
_ARN = "arn:aws:forecast:::algorithm/"


def member_in_words(name: str) -> str:
    """What a member does, for people who don't know its name; its name where there is nothing to say."""
    base, _, rate = name.partition("/")
    does = _WORDS.get(base, name)
    if base == REGRESSION and rate:
        return f"{does}, and for what they leave: {_WORDS.get(rate, rate)}"
    number = rate.lstrip("abcdefghijklmnopqrstuvwxyz")
    how = {
        "mean": f"on means of {number} periods",
        "fine": f"on {number} interpolated steps for each period",
        "adjusted": f"on the history without its season{f', in means of {number} periods' if number != '1' else ''}",
        COVARIATES: "reading the covariates itself",
    }.get(rate.removesuffix(number), "")
    return f"{does}, {how}" if how else does


def _read_members(section: Section, key: str) -> tuple[str, ...] | None:
    value = section.take(key)
    if value is MISSING:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        section.wrong(key, "this must be a list of members", 'write for example ["chronos", "theta"]')
        return None
    for name in names:
        if name not in MEMBER_NAMES:
            listed = f"write some of {', '.join((CHRONOS, TUNED, *STATISTICAL, POOLED, REGRESSION))}"
            section.wrong(key, f"{name!r} is not a member", nearest(name, MEMBER_NAMES) or listed)
    if len(set(names)) < len(names):
        section.wrong(key, "a member is listed twice", "keep one of them")
    if names == [POOLED]:
        section.wrong(
            key, "where series are few or short there is no such member", 'write for example ["pooled", "theta"]'
        )
    return tuple(names)


@dataclass(frozen=True)
class PredictorParams:
    """How to learn a predictor.

    Attributes:
        members: that may be in it, see `MEMBER_NAMES`; all if empty.
        per_item: whether items get weights of their own.
        backtest_windows: windows of each series that a zero-shot predictor is learned from, at least.
        max_cost: how many plain passes of the network the members may take together.
        metric: that the weights lower.
    """

    members: Annotated[tuple[str, ...], Option("Members", _read_members, list)] = ()
    per_item: Annotated[bool, Option("PerItem", Section.truth)] = True
    backtest_windows: Annotated[int, Option("BacktestWindows", whole(1, 12))] = 2
    max_cost: Annotated[float, Option("MaxCost", Section.positive)] = 8.0
    metric: OptimizationMetric = DEFAULT_METRIC

    def to_document(self) -> dict[str, Any]:
        """What workloads are given."""
        return asdict(self)


def read_predictor_options(chronos: Section | None, metric: str | None, algorithm: tuple[str, ...]) -> PredictorParams:
    """The `Predictor` section of `Chronos`; what is wrong with it goes to the section's findings.

    Args:
        chronos: its parent, if there is one.
        metric: the service's `OptimizationMetric`, if it was given.
        algorithm: members that answer the `AlgorithmArn`, if one was given; `Members` comes before it.
    """
    chosen = cast(OptimizationMetric, metric or DEFAULT_METRIC)
    section = chronos.section("Predictor") if chronos is not None else None
    if section is None:
        return PredictorParams(members=algorithm, metric=chosen)
    read = read_options(PredictorParams, section, metric=chosen)
    section.finish({})
    return read if read.members else replace(read, members=algorithm)


def read_algorithm(predictor: Section) -> tuple[str, ...]:
    """Members that answer the service's `AlgorithmArn`, and say so in a note; none where it wasn't given."""
    if not predictor.has("AlgorithmArn"):
        return ()
    arns = tuple(f"{_ARN}{name}" for name in ALGORITHMS)
    arn = predictor.choice("AlgorithmArn", arns)
    if arn is None:
        return ()
    name = arn.removeprefix(_ARN)
    members = ALGORITHMS[name]
    predictor.findings.note(
        f"{predictor.key('AlgorithmArn')} = {name}: forecasts are made by the nearest members, {' and '.join(members)}; "
        "remove the key for the ensemble of all, or choose members in Chronos.Predictor.Members."
    )
    return members
