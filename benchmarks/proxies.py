"""The default predictor on sets that stand for the benchmark's: for choosing how predictors are learned.

    python -m benchmarks.proxies [FOLDER] [--cache FOLDER] [--seed N] [--sets NAME ...] [--json FILE] [--beside FILE]

FOLDER has the sample files, see `benchmarks.samples`; without it, those sets are left out. What members forecast is kept in
the cache's folder, so that another recipe is tried in seconds; only windows that no earlier recipe looked at are forecast.
The table has, for each set, the geometric means over its windows of wQL relative to the best member (in hindsight) and to
seasonal naive, of MASE likewise, and the share of actuals that the 80% band held. FILE gets the values of all windows;
`--beside` compares with such a file of an earlier recipe, by set.

The recipe that is landed was chosen here. The sets of the benchmark are for reporting only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.proxy_panels import of_panels
from benchmarks.proxy_sets import Proxy, every_set
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.predictors import selection
from chronos_assets.predictors.backtest_windows import REACH, BacktestPast, past_windows, seasonal_error
from chronos_assets.predictors.backtester import Backtester, JoinedBacktester, PastWindow
from chronos_assets.predictors.calibration import coverage
from chronos_assets.predictors.learning import learn
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS
from chronos_assets.predictors.pooled_backtests import open_pooled
from chronos_assets.predictors.zero_shot import open_backtester, zero_shot_recipe
from chronos_assets.timeseries.arrays import Floats

Scores = dict[str, float]
Identity = tuple[tuple[str, ...], int, int]
SHOWN = ("wql_best", "wql_naive", "mase_naive", "coverage_80")


class KeptBacktester(Backtester):
    """One that keeps what its members forecast in a file.

    Args:
        made: a backtester of the members.
        path: of the file; need not be there.
    """

    def __init__(self, made: Backtester, path: Path) -> None:
        super().__init__(made.members, made.seasons)
        self._path = path
        if path.exists():
            with np.load(path) as file:
                for length in {name.partition(" ")[2] for name in file.files}:
                    identities = map(json.loads, file[f"windows {length}"].tolist())
                    for (key, end, horizon), made_of_it in zip(identities, file[f"made {length}"], strict=True):
                        self._made[tuple(key), end, horizon] = made_of_it
        self._known = len(self._made)

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """Nothing is forgotten."""

    def keep(self) -> None:
        """Write the file, if there is anything new."""
        if len(self._made) == self._known:
            return
        by_length: dict[int, list[Identity]] = defaultdict(list)
        for identity in self._made:
            by_length[identity[2]].append(identity)
        arrays = {}
        for length, identities in by_length.items():
            arrays[f"windows {length}"] = np.array([json.dumps(identity) for identity in identities])
            arrays[f"made {length}"] = np.stack([self._made[identity] for identity in identities]).astype(np.float32)
        part = self._path.with_suffix(".part.npz")
        np.savez(part, **arrays)
        part.rename(self._path)

    def _forecast(self, windows: Sequence[PastWindow]) -> Floats:
        # As they are read again.
        return super()._forecast(windows).astype(np.float32).astype(np.float64)


def open_kept(proxy: Proxy, model: Any, cache: Path) -> KeptBacktester:
    """The backtester of a set: its file is of these series, members and this base model."""
    forecaster = Forecaster(model, proxy.horizon, LEVELS)
    made = open_backtester({"chronos": forecaster}, zero_shot_recipe(proxy.horizon, proxy.seasons))
    names = [member.name for member in made.members]
    digest = hashlib.sha256(json.dumps([model.description.digest, names, proxy.seasons]).encode())
    for values in proxy.series:
        digest.update(np.ascontiguousarray(values).tobytes())
    return KeptBacktester(
        made, cache / f"{proxy.name.replace(',', '').replace(' ', '_')}.{digest.hexdigest()[:12]}.npz"
    )


def windows_of(proxy: Proxy, origin: int) -> tuple[list[BacktestPast], list[PastWindow]]:
    """What is known before a window of a set, and the window of each series; 0 is the latest."""
    known, asked = [], []
    for place, values in enumerate(proxy.series):
        end = len(values) - origin * proxy.step
        start = end - proxy.horizon
        if start < 7 or not np.isfinite(values[start:end]).any() or not np.isfinite(values[:start]).any():
            continue
        past = np.asarray(values[:start], dtype=np.float64)
        known.append(BacktestPast((str(place),), past, past))
        scale = seasonal_error(past, proxy.season)
        asked.append(PastWindow((str(place),), past[-REACH:], values[start:end], scale, end - 1))
    return known, asked


def score(proxy: Proxy, origin: int, backtester: KeptBacktester) -> Scores:
    """Scores of the predictor that is learned before a window, in that window."""
    known, asked = windows_of(proxy, origin)
    recipe = zero_shot_recipe(proxy.horizon, proxy.seasons)
    past = past_windows(known, proxy.horizon, season=proxy.season)
    tried, pooled = open_pooled(past, recipe)
    predictor = learn(past, JoinedBacktester(backtester, tried) if tried else backtester, recipe, pooled=pooled)
    every = JoinedBacktester(backtester, Backtester([pooled], proxy.seasons)) if pooled else backtester
    made = every.forecast(asked).astype(np.float64)
    actuals = Actuals(np.stack([window.actual for window in asked]), np.array([window.scale for window in asked]))
    bounded = np.array([np.nanmin(window.history) >= 0 for window in asked])

    def cut_off(quantiles: Floats) -> Floats:
        return np.where(bounded[:, None, None], np.maximum(quantiles, 0.0), quantiles)

    names = [member.name for member in every.members]
    traits = predictor.traits_of([window.history for window in asked])
    weights = predictor.weights_of_series([window.key for window in asked], traits)
    own = made[[names.index(name) for name in predictor.members]]
    combined = cut_off(np.sort(selection.combine(own, weights), axis=2))
    lost = ~np.isfinite(combined).all(axis=(1, 2))
    combined[lost] = made[names.index("seasonal_naive")][lost]
    quantiles = cut_off(predictor.calibration.apply(combined))
    naive = np.repeat(_naive(asked, proxy)[:, :, None], len(LEVELS), axis=2)
    of_members = [actuals.value("AverageWeightedQuantileLoss", cut_off(one)) for one in made if np.isfinite(one).all()]
    wql, mase = (actuals.value(metric, quantiles) for metric in ("AverageWeightedQuantileLoss", "MASE"))
    return {
        "wql_best": wql / min(of_members),
        "wql_naive": wql / actuals.value("AverageWeightedQuantileLoss", naive),
        "mase_naive": mase / actuals.value("MASE", naive),
        "coverage_80": coverage(quantiles, actuals),
        "coverage_40": coverage(quantiles, actuals, (0.3, 0.7)),
        "coverage_raw": coverage(combined, actuals),
    }


def _naive(asked: Sequence[PastWindow], proxy: Proxy) -> Floats:
    rows = []
    for window in asked:
        seen = window.history[np.isfinite(window.history)]
        lag = proxy.season if proxy.season <= len(seen) else 1
        rows.append(np.resize(seen[-lag:], proxy.horizon))
    return np.stack(rows)


def means(of_windows: Sequence[Scores]) -> Scores:
    """A set's scores: geometric means of what is relative, means of shares."""
    found = {}
    for name in of_windows[0]:
        values = np.array([scores[name] for scores in of_windows])
        found[name] = float(values.mean() if name.startswith("coverage") else np.exp(np.log(values).mean()))
    return found


def summary(sets: Mapping[str, Scores]) -> str:
    """All sets in a line."""
    rows = list(sets.values())
    every = means(rows)
    covered = np.array([row["coverage_80"] for row in rows])
    best = np.array([row["wql_best"] for row in rows])
    return (
        f"{len(rows)} sets: wQL {every['wql_naive']:.4f} and MASE {every['mase_naive']:.4f} of seasonal naive, "
        f"wQL {every['wql_best']:.4f} of the best member, within 1.02 on {np.mean(best <= 1.02):.0%}, "
        f"at most {best.max():.3f}; "
        f"80% band {covered.mean():.1%} (before calibration {every['coverage_raw']:.1%}), "
        f"within 74-86% on {np.mean((covered >= 0.74) & (covered <= 0.86)):.0%}, off by {np.abs(covered - 0.8).mean():.3f}"
    )


def comparison(sets: Mapping[str, Scores], before: Mapping[str, Scores]) -> str:
    """How the sets that both have changed, in a line for each score."""
    names = [name for name in sets if name in before]
    lines = []
    for score_name in ("wql_naive", "mase_naive"):
        change = np.array([math.log(sets[name][score_name] / before[name][score_name]) for name in names])
        error = change.std(ddof=1) / math.sqrt(len(change)) if len(change) > 1 else math.nan
        lines.append(
            f"{score_name}: {math.exp(change.mean()):.4f} times as before (standard error {error:.4f}), "
            f"lower on {int((change < 0).sum())} of {len(names)}"
        )
    return "\n".join(lines)


def main() -> None:
    """Score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("store/proxies"))
    parser.add_argument("--seed", type=int, default=0, help="of the simulated sets and the panels; others only with 0")
    parser.add_argument("--sets", nargs="+", help="only those whose name has one of these words")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    model = load_model("bundled")
    windows: dict[str, list[Scores]] = defaultdict(list)
    print(f"{'set':34s} " + " ".join(f"{name:>12s}" for name in SHOWN))
    for proxy in chain(every_set(options.seed, options.folder), of_panels(options.seed)):
        if options.sets and not any(word in proxy.name for word in options.sets):
            continue
        backtester = open_kept(proxy, model, options.cache)
        began = time.process_time()
        windows[proxy.name] = [score(proxy, origin, backtester) for origin in range(proxy.origins)]
        backtester.keep()
        if backtester.forecast_windows:
            sys.stderr.write(f"{backtester.forecast_windows} windows forecast in {time.process_time() - began:.1f} s\n")
        scores = means(windows[proxy.name])
        print(f"{proxy.name:34s} " + " ".join(f"{scores[name]:12.3f}" for name in SHOWN), flush=True)
    sets = {name: means(rows) for name, rows in windows.items()}
    print(summary(sets))
    if options.json is not None:
        options.json.write_text(json.dumps(windows, indent=1) + "\n")
    if options.beside is not None:
        print(comparison(sets, {name: means(rows) for name, rows in json.loads(options.beside.read_text()).items()}))


if __name__ == "__main__":
    main()
