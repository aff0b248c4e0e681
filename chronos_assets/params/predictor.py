"""How forecasts are made and their members weighed: `Chronos.Predictor`, `OptimizationMetric` and `AlgorithmArn`.

Here belong the names of members and metrics, the values of the section, and which member answers each algorithm of Amazon
Forecast. What the members do is in `predictors.members`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from chronos_assets.params.document import MISSING, Section, nearest

OptimizationMetric = Literal["AverageWeightedQuantileLoss", "WAPE", "RMSE", "MASE", "MAPE"]
METRICS: tuple[OptimizationMetric, ...] = get_args(OptimizationMetric)
DEFAULT_METRIC: OptimizationMetric = "AverageWeightedQuantileLoss"

# The base model, and the checkpoint that was tuned on the user's data: each at several sampling rates.
CHRONOS, TUNED = "chronos", "tuned"
STATISTICAL = ("theta", "ets", "damped_trend", "seasonal_naive", "random_walk", "npts", "intermittent")
# A regression on covariates, by who forecasts what it leaves.
REGRESSION, REGRESSION_BASES = "regression", (TUNED, CHRONOS, "theta", "npts")

# Means of so many periods, interpolations to so many steps, and means after the season is removed.
COARSE, FINE, ADJUSTED = (2, 3, 4, 6, 8, 12, 24), (2, 3), (1, 4, 24)
COVARIATES = "covariates"  # in place of a rate: the network reads covariates beside the series
RATES = ("1", *(f"mean{n}" for n in COARSE), *(f"fine{n}" for n in FINE), *(f"adjusted{n}" for n in ADJUSTED))

MEMBER_NAMES = (
    *(CHRONOS, TUNED, *STATISTICAL, REGRESSION),
    *(f"{name}/{rate}" for name in (CHRONOS, TUNED) for rate in (*RATES, COVARIATES)),
    *(f"{REGRESSION}/{name}" for name in REGRESSION_BASES),
)

# The service's algorithms, by the last part of their ARN, and what stands nearest to each.
ALGORITHMS = {
    "ETS": ("ets",),
    "NPTS": ("npts",),
    "ARIMA": ("theta",),
    "Prophet": ("chronos/adjusted1", "theta"),
    "Deep_AR_Plus": (CHRONOS, TUNED),
    "CNN-QR": (CHRONOS, TUNED),
}
_ARN = "arn:aws:forecast:::algorithm/"


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

    members: tuple[str, ...] = ()
    per_item: bool = True
    backtest_windows: int = 2
    max_cost: float = 8.0
    metric: OptimizationMetric = DEFAULT_METRIC

    def to_document(self) -> dict[str, Any]:
        """What workloads are given."""
        return {
            "members": list(self.members),
            "per_item": self.per_item,
            "backtest_windows": self.backtest_windows,
            "max_cost": self.max_cost,
            "metric": self.metric,
        }


def read_predictor_options(chronos: Section | None, metric: str | None, algorithm: tuple[str, ...]) -> PredictorParams:
    """The `Predictor` section of `Chronos`; what is wrong with it goes to the section's findings.

    Args:
        chronos: its parent, if there is one.
        metric: the service's `OptimizationMetric`, if it was given.
        algorithm: members that answer the `AlgorithmArn`, if one was given; `Members` comes before it.
    """
    default = PredictorParams()
    chosen = cast(OptimizationMetric, metric or default.metric)
    section = chronos.section("Predictor") if chronos is not None else None
    if section is None:
        return PredictorParams(members=algorithm, metric=chosen)
    read = PredictorParams(
        members=_read_members(section) or algorithm,
        per_item=section.boolean("PerItem", default.per_item),
        backtest_windows=section.integer("BacktestWindows", low=1, high=12) or default.backtest_windows,
        max_cost=section.positive("MaxCost") or default.max_cost,
        metric=chosen,
    )
    section.finish({})
    return read


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


def predictor_document(params: PredictorParams) -> dict[str, Any]:
    """The JSON value of the section that reads back as `params`: only what differs from the defaults, without the metric."""
    default = PredictorParams()
    options: tuple[tuple[str, Any, Any], ...] = (
        ("Members", list(params.members), []),
        ("PerItem", params.per_item, default.per_item),
        ("BacktestWindows", params.backtest_windows, default.backtest_windows),
        ("MaxCost", params.max_cost, default.max_cost),
    )
    return {key: value for key, value, standard in options if value != standard}


def _read_members(section: Section) -> tuple[str, ...]:
    value = section.take("Members")
    if value is MISSING:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        section.wrong("Members", "this must be a list of members", 'write for example ["chronos", "theta"]')
        return ()
    for name in names:
        if name not in MEMBER_NAMES:
            listed = f"write some of {', '.join((CHRONOS, TUNED, *STATISTICAL, REGRESSION))}"
            section.wrong("Members", f"{name!r} is not a member", nearest(name, MEMBER_NAMES) or listed)
    if len(set(names)) < len(names):
        section.wrong("Members", "a member is listed twice", "keep one of them")
    return tuple(names)
