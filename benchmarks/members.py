"""Statistical members beside statsforecast's AutoTheta, and what members cost in passes of the network, in the same run.

    python -m benchmarks.members [--series 1000] [--length 512] [--horizon 24]

AutoTheta is given fewer series, since it fits one after another; it is warmed up first (numba compiles). Costs are processor
time of all threads, the least of three alternating repeats.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.predictors.ensemble import open_member
from chronos_assets.predictors.members.base import Contexts, Member
from chronos_assets.predictors.members.catalogue import cost_of, statistical_members
from chronos_assets.predictors.members.pooled_autoregression import fit_pooled
from chronos_assets.timeseries.arrays import Floats

SEASON = 24
SEASONS = (SEASON, 7 * SEASON)
PLAIN = "chronos/1"
NETWORK = (
    PLAIN,
    *(f"chronos/{rate}" for rate in ("mean2", "mean3", "mean4", "mean12", "mean24", "adjusted1", "adjusted4")),
)


def some_series(count: int, length: int) -> list[Floats]:
    """Hours with a day, a trend and noise; every tenth is sparse counts."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(length)
    day = 10 * np.sin(2 * np.pi * (time_axis / SEASON + rng.random((count, 1))))
    values = 100 + day + rng.normal(0, 0.05, (count, 1)) * time_axis + 3 * rng.normal(size=(count, length))
    values[::10] = rng.poisson(0.5, (len(values[::10]), length))
    return list(values)


def rate(work: Callable[[], object], count: int) -> float:
    """Series per second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def auto_theta(series: list[Floats], horizon: int) -> None:
    """Fit and forecast one series after another."""
    from statsforecast.models import AutoTheta

    for values in series:
        AutoTheta(season_length=SEASON).forecast(y=values, h=horizon, level=[80])


def passes(series: list[Floats], horizon: int) -> dict[str, float]:
    """What members take, in plain passes of the bundled network."""
    forecasters = {"chronos": Forecaster(load_model("bundled"), horizon, (0.1, 0.5, 0.9))}
    names = (*NETWORK, *(member.name for member in statistical_members()))
    members: dict[str, Member] = {name: open_member(name, forecasters) for name in names}
    if pooled := fit_pooled(series, horizon, SEASONS):
        members[pooled.name] = pooled
    contexts = Contexts(series, horizon, SEASONS)
    seconds = dict.fromkeys(members, float("inf"))
    for _ in range(3):
        for name, member in members.items():
            began = time.process_time()
            member.forecast(contexts)
            seconds[name] = min(seconds[name], time.process_time() - began)
    return {name: taken / seconds[PLAIN] for name, taken in seconds.items()}


def main() -> None:
    """Print a JSON document of rates, of how many times AutoTheta's each is, and of costs measured and reckoned with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--horizon", type=int, default=24)
    options = parser.parse_args()
    series = some_series(options.series, options.length)
    auto_theta(series[1:3], options.horizon)
    few = series[1:21]
    baseline = rate(lambda: auto_theta(few, options.horizon), len(few))
    rates = {}
    for member in statistical_members():
        contexts = Contexts(series, options.horizon, SEASONS)
        rates[member.name] = rate(partial(member.forecast, contexts), len(series))
    document = {
        "series_per_second": {"AutoTheta": round(baseline, 1)} | {name: round(value) for name, value in rates.items()},
        "times_auto_theta": {name: round(value / baseline, 1) for name, value in rates.items()},
        "passes": {
            name: {"measured": round(value, 2), "reckoned": round(cost_of(name), 2)}
            for name, value in passes(series, options.horizon).items()
        },
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
