"""Trained candidates beside the zero-shot predictor, as the gate compares them, on the sets of `benchmarks.proxy_sets`.

    python -m benchmarks.trained [FOLDER] [--seed N] [--sets NAME ...] [--series 32] [--steps 60]

FOLDER has the sample files, see `benchmarks.samples`; without it, those sets are left out. Of each set with nine horizons or
more the bundled model is tuned on all but the last four horizons, validated on two, and both predictors are learned from what
comes before the last two, on which they are scored. The table has the wQL of the zero-shot predictor and how many times as high
that of the candidate is, their 80% bands, and the weight of the tuned members.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.proxy_sets import Proxy, every_set
from chronos_assets.models.finetuning import FinetunePlan, finetune
from chronos_assets.models.finetuning_data import Mixture, TrainingSeries, WindowShape, WindowSource
from chronos_assets.models.finetuning_validation import Validation, ValidationWindow
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.params.predictor import CHRONOS, TUNED
from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows, seasonal_error
from chronos_assets.predictors.calibration import coverage
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.zero_shot import learn_predictor, zero_shot_recipe
from chronos_assets.timeseries.arrays import Floats

CONTEXT, BLOCK, HELD_OUT = 512, 64, 4  # periods, periods, horizons


def tuned_model(series: Sequence[Floats], horizon: int, steps: int) -> Forecaster:
    """The bundled model, tuned as `make run` would tune it, but in one trial and without synthetic series."""
    model = load_model("bundled", trainable=True)
    past = [values[: len(values) - HELD_OUT * horizon] for values in series]
    source = WindowSource(
        "target",
        [TrainingSeries(values, np.isfinite(values)) for values in past],
        WindowShape(context_length=CONTEXT, prediction_length=BLOCK),
        min(horizon, BLOCK),
    )
    family = model.description.family
    mixture = Mixture({source: 1.0}, family=family, batch_size=32, context_length=CONTEXT, seed=0)
    windows = [
        ValidationWindow(values[:start][-CONTEXT:], values[start : start + horizon])
        for values in series
        for start in (len(values) - HELD_OUT * horizon, len(values) - (HELD_OUT - 1) * horizon)
    ]
    validation = Validation(Forecaster(model, horizon, (0.1, 0.5, 0.9), context_length=CONTEXT), windows)
    finetune(model, mixture.batch, FinetunePlan(max_steps=steps), validation.wql)
    return Forecaster(model, horizon, LEVELS)


def scored(proxy: Proxy, series: Sequence[Floats], predictor: Predictor, forecasters: dict[str, Forecaster]) -> Floats:
    """Both wQL and what the 80% band holds, over the last two windows of each series."""
    ensemble = Ensemble(predictor, forecasters, proxy.horizon, LEVELS)
    made, actual, scales = [], [], []
    for windows in (2, 1):
        past = [values[: len(values) - windows * proxy.horizon] for values in series]
        made.append(
            ensemble.forecast(
                past,
                keys=[(str(place),) for place in range(len(series))],
                non_negative=[bool(np.nanmin(values) >= 0) for values in past],
            ).quantiles
        )
        actual += [values[len(values) - windows * proxy.horizon :][: proxy.horizon] for values in series]
        scales += [seasonal_error(values, proxy.season) for values in past]
    quantiles, actuals = np.concatenate(made), Actuals(np.stack(actual), np.array(scales))
    return np.array([actuals.value("AverageWeightedQuantileLoss", quantiles), coverage(quantiles, actuals)])


def compare(proxy: Proxy, series: Sequence[Floats], steps: int) -> tuple[Floats, Floats, float]:
    """Scores of the zero-shot predictor and of the candidate, see `scored`, and the weight of the candidate's tuned members."""
    horizon, last = proxy.horizon, -1 - 2 * proxy.horizon
    forecasters = {CHRONOS: Forecaster(load_model("bundled"), horizon, LEVELS)}
    past = [
        BacktestPast((str(place),), values[: last + 1], values[: last + 1], end=last)
        for place, values in enumerate(series)
    ]
    windows = past_windows(past, horizon, season=proxy.season, anchor=last)
    zero_shot = learn_predictor(windows, forecasters, zero_shot_recipe(horizon, proxy.seasons))
    both = {**forecasters, TUNED: tuned_model(series, horizon, steps)}
    recipe = Recipe(horizon, proxy.seasons, per_item=True)
    candidate = learn_predictor(windows, both, recipe, trained_until=-1 - HELD_OUT * horizon)
    tuned = [name.startswith(TUNED) for name in candidate.members]
    return (
        scored(proxy, series, zero_shot, forecasters),
        scored(proxy, series, candidate, both),
        float(candidate.weights[tuned].sum()),
    )


def main() -> None:
    """Compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the simulated sets; others only with 0")
    parser.add_argument("--sets", nargs="+", help="only those whose name has one of these words")
    parser.add_argument("--series", type=int, default=32, help="of a set at most")
    parser.add_argument("--steps", type=int, default=60, help="of the training")
    options = parser.parse_args()
    changes = []
    print(f"{'set':34s} {'zero-shot':>10s} {'candidate':>10s} {'bands':>12s} {'tuned':>7s}")
    for proxy in every_set(options.seed, options.folder):
        long = [np.asarray(values, dtype=np.float64) for values in proxy.series if len(values) >= 9 * proxy.horizon]
        if 2 * len(long) < len(proxy.series) or (options.sets and not any(word in proxy.name for word in options.sets)):
            continue
        before, after, tuned = compare(proxy, long[: options.series], options.steps)
        changes.append(np.log(after[0] / before[0]))
        print(
            f"{proxy.name:34s} {before[0]:10.4f} {after[0] / before[0]:10.3f} "
            f"{before[1]:6.0%}{after[1]:6.0%} {tuned:7.2f}",
            flush=True,
        )
    if changes:
        print(
            f"{len(changes)} sets: {np.exp(np.mean(changes)):.4f} times, at most {np.exp(max(changes)):.3f}, "
            f"above 1 on {np.mean(np.array(changes) > 1e-9):.0%}"
        )


if __name__ == "__main__":
    main()
