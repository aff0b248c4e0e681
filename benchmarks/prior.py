"""Make `chronos_assets/predictors/prior.json`: weights of the members on synthetic series, before any data are seen.

    python -m benchmarks.prior

For each kind of series the weights are learned on one window of sixty series, and averaged over the kinds.
"""

import json
import sys
from collections import Counter

import numpy as np

from chronos_assets.kernelsynth import families
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.predictors import selection
from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows
from chronos_assets.predictors.backtester import Backtester
from chronos_assets.predictors.ensemble import open_member
from chronos_assets.predictors.learning import learn
from chronos_assets.predictors.members.catalogue import known_names
from chronos_assets.predictors.prior import PATH
from chronos_assets.predictors.recipe import Recipe

SERIES = 60
LEAST = 0.02

# Family, length of its series, horizon and candidate seasons.
KINDS: dict[str, list[tuple[str, int, int, tuple[int, ...]]]] = {
    "seasonal": [
        ("calendar", 1200, 48, (24, 168)), ("noisy_season", 600, 24, (24, 168)), ("business", 72, 12, (12,)),
        ("business", 36, 8, (4,)), ("counts", 300, 28, (7,)), ("intermittent", 300, 14, (7,)), ("stepped", 300, 14, (7,)),
    ],
    "plain": [
        ("random_walk", 30, 6, ()), ("trending", 40, 6, ()), ("autoregressive", 60, 8, ()), ("business", 24, 4, ()),
        ("stepped", 60, 8, ()),
    ],
}  # fmt: skip


def main() -> None:
    """Learn, average, write."""
    forecaster = Forecaster(load_model("bundled"), 24, [0.5])
    members = [open_member(name, {"chronos": forecaster}) for name in known_names()]
    selection.PRIOR_WINDOWS = 0.0
    document = {}
    for kind, sets in KINDS.items():
        total: Counter[str] = Counter()
        for number, (family, length, horizon, seasons) in enumerate(sets):
            rng = np.random.default_rng([20251125, number])
            values = families.draw(rng, {family: 1.0}, SERIES, length)
            series = [BacktestPast((str(place),), row, row) for place, row in enumerate(values.astype(np.float64))]
            windows = past_windows(series, horizon, season=1, windows=1)
            predictor = learn(windows, Backtester(members, seasons), Recipe(horizon, seasons))
            total.update({name: float(w) for name, w in zip(predictor.members, predictor.weights, strict=True)})
            sys.stderr.write(f"{kind}, {family}: {predictor.to_document()['weights']}\n")
        shares = {name: weight / len(sets) for name, weight in total.items()}
        kept = {name: share for name, share in shares.items() if share >= LEAST}
        document[kind] = {name: round(kept[name] / sum(kept.values()), 4) for name in sorted(kept)}
    PATH.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
