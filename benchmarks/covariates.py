"""What covariates bring on real data: the default predictor with and without them, beside seasonal naive, at rolling origins.

    python -m benchmarks.covariates FOLDER [--origins 3] [--series 200] [--sets m5 electronics instruments] [--json FILE]

FOLDER has `m5_sample/` (functime's extract of M5: events, SNAP days, states) and `amazon_forecast/related/` (the samples of
Amazon Forecast: prices of consumer electronics; loss rates and customer requests of instruments). Each origin's predictor is
learned from what was known by then. `--shuffled` gives every series the covariates of its own periods in random order.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.calendar.holidays import HolidayCalendar, holiday_columns
from chronos_assets.models.checkpoints import BUNDLED, describe_model
from chronos_assets.params.predictor import CHRONOS
from chronos_assets.predictors.backtest_windows import SAMPLE, BacktestPast, past_windows, rank
from chronos_assets.predictors.calibration import coverage
from chronos_assets.predictors.covariates import calendar_columns
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, Covariates
from chronos_assets.predictors.members.regression import History
from chronos_assets.predictors.opening import Network
from chronos_assets.predictors.zero_shot import learn_predictor, zero_shot_recipe
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.baselines import seasonal_naive

WQL = "AverageWeightedQuantileLoss"


@dataclass(frozen=True)
class Drawn:
    """One series: values (T,), what is known at all its periods, and what is constant."""

    key: tuple[str, ...]
    first: int
    values: Floats
    known: dict[str, np.ndarray]
    static: dict[str, float | str]


@dataclass(frozen=True)
class BenchmarkData:
    """Series on one grid, and the horizon that they are forecast for."""

    grid: Grid
    horizon: int
    series: list[Drawn]
    holidays: HolidayCalendar | None = None


def m5(folder: Path, most: int) -> BenchmarkData:
    """Daily sales with events and SNAP days; state, store, department and category as metadata."""
    place = folder / "m5_sample"
    parts = []
    for part in ("train", "test"):
        known = pd.read_parquet(place / f"m5_X_{part}_sample.parquet")
        parts.append(known.merge(pd.read_parquet(place / f"m5_y_{part}_sample.parquet"), on=["id", "date"]))
    frame = pd.concat(parts).sort_values(["id", "date"])
    frame["date"] = pd.to_datetime(frame["date"])
    metadata = ["state_id", "store_id", "dept_id", "cat_id"]
    grid = Grid(Frequency.parse("D"))
    found = []
    for item, rows in _some(frame, ["id"], most):
        state = str(rows["state_id"].iloc[0])
        known = {
            name: rows[name].fillna("").astype(str).to_numpy(dtype=str) for name in ("event_name_1", "event_type_1")
        }
        known["snap"] = rows[f"snap_{state}"].to_numpy(dtype=float) if f"snap_{state}" in rows else np.zeros(len(rows))
        static: dict[str, float | str] = {name: str(rows[name].iloc[0]) for name in metadata}
        found.append(_drawn(item, grid, rows["date"], rows["quantity_sold"], known, static))
    return BenchmarkData(grid, 28, found, HolidayCalendar(("US",)))


def electronics(folder: Path, most: int) -> BenchmarkData:
    """Monthly demand of items in stores, with prices."""
    place = folder / "amazon_forecast" / "related"
    frame = pd.read_csv(place / "consumer_electronics_TTS.csv", parse_dates=["timestamp"])
    prices = pd.read_csv(place / "consumer_electronics_RTS.csv", parse_dates=["timestamp"])
    frame = frame.merge(prices, on=["item_id", "store_id", "timestamp"]).sort_values(
        ["item_id", "store_id", "timestamp"]
    )
    grid = Grid(Frequency.parse("M"))
    found = [
        _drawn(key, grid, rows["timestamp"], rows["demand"], {"price": rows["price"].to_numpy(dtype=float)}, {})
        for key, rows in _some(frame, ["item_id", "store_id"], most)
    ]
    return BenchmarkData(grid, 3, found)


def instruments(folder: Path, most: int) -> BenchmarkData:
    """Monthly orders of musical instruments, with loss rates, customer requests and the kind as metadata."""
    place = folder / "amazon_forecast" / "related"
    frame = pd.read_csv(place / "instrument_TTS.csv", parse_dates=["Timestamp"])
    related = pd.read_csv(place / "instrument_RTS.csv", parse_dates=["Timestamp"])
    kinds = pd.read_csv(place / "instrument_IM.csv").set_index("Model_ID")["Model_Type"]
    for table in (frame, related):
        table["Timestamp"] = table["Timestamp"].dt.to_period("M").dt.to_timestamp()
    keys = ["Model_ID", "Timestamp"]
    frame = frame.groupby(keys, as_index=False)["Order_Quantity"].sum()
    frame = frame.merge(related.groupby(keys, as_index=False).mean(), on=keys, how="left").sort_values(keys)
    grid = Grid(Frequency.parse("M"))
    found = []
    for key, rows in _some(frame, ["Model_ID"], most):
        known = {name: rows[name].to_numpy(dtype=float) for name in ("Loss_Rate", "Customer_Request")}
        kind: dict[str, float | str] = {"Model_Type": str(kinds.get(key[0], ""))}
        found.append(_drawn(key, grid, rows["Timestamp"], rows["Order_Quantity"], known, kind))
    return BenchmarkData(grid, 6, found)


SETS = {"m5": m5, "electronics": electronics, "instruments": instruments}


def _some(frame: pd.DataFrame, keys: list[str], most: int) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """At most so many series, chosen by a digest of their keys."""
    groups = {tuple(map(str, key)): rows for key, rows in frame.groupby(keys)}
    for key in sorted(sorted(groups, key=lambda key: rank(0, key))[:most]):
        yield key, groups[key]


def _drawn(
    key: tuple[str, ...],
    grid: Grid,
    times: "pd.Series[pd.Timestamp]",
    values: "pd.Series[float]",
    known: dict[str, np.ndarray],
    static: dict[str, float | str],
) -> Drawn:
    """A series on the grid; periods without a row are unknown."""
    ordinals = grid.ordinal(times.to_numpy().astype("datetime64[us]"))
    first, count = int(ordinals[0]), int(ordinals[-1] - ordinals[0]) + 1
    target = np.full(count, np.nan)
    target[ordinals - first] = values.to_numpy(dtype=float)
    spread = {}
    for name, column in known.items():
        empty = np.full(count, np.nan) if column.dtype.kind == "f" else np.full(count, "", dtype=column.dtype)
        empty[ordinals - first] = column
        spread[name] = empty
    return Drawn(key, first, target, spread, static)


def covariates(data: BenchmarkData, one: Drawn, cut: int, generator: np.random.Generator | None) -> Covariates:
    """What is known of a series before its period `cut`, for the horizon; shuffled, if a generator is given."""
    count = cut + data.horizon
    known = {name: values[:count] for name, values in one.known.items()}
    if data.holidays is not None:
        known |= holiday_columns(data.grid, one.first, count, data.holidays)
    if generator is not None:
        order = generator.permutation(count)
        known = {name: values[order] for name, values in known.items()}
    known |= calendar_columns(data.grid, one.first, count)
    return Covariates(cut, {}, known, one.static)


def score(
    data: BenchmarkData, origins: int, *, use: bool, shuffled: bool
) -> tuple[dict[str, float], dict[str, float], float]:
    """Scores of the predictor and of seasonal naive over all origins, and the mean weight of regressions."""
    network = Network(describe_model(BUNDLED), data.horizon, LEVELS)
    forecasters = {CHRONOS: network.alone}
    seasons, season = data.grid.frequency.candidate_seasons, data.grid.frequency.seasonality
    recipe = zero_shot_recipe(data.horizon, seasons)
    made, actual, scales, naive, weights = [], [], [], [], []
    for origin in range(1, origins + 1):
        past = []
        for one in data.series:
            cut = len(one.values) - origin * data.horizon
            if cut >= 2 * data.horizon and np.isfinite(one.values[:cut]).sum() > 5:
                generator = np.random.default_rng(cut) if shuffled else None
                known = covariates(data, one, cut, generator) if use else None
                history = one.values[:cut]
                past.append((one, BacktestPast(one.key, history, history, None, one.first + cut - 1, known)))
        sample = sorted(past, key=lambda pair: rank(0, pair[1].key))[:SAMPLE]
        windows = past_windows([item for _, item in sample], data.horizon, season=season)
        histories = [History(item.values, item.covariates) for _, item in sample if item.covariates]
        predictor = learn_predictor(windows, forecasters, recipe, histories=histories)
        named = dict(zip(predictor.members, predictor.weights.tolist(), strict=True))
        weights.append(sum(weight for name, weight in named.items() if name.startswith("regression/")))
        ensemble = Ensemble(predictor, network.forecasters(predictor), data.horizon, LEVELS)
        contexts = [item.values for _, item in past]
        found = ensemble.forecast(
            contexts, covariates=[item.covariates or Covariates() for _, item in past] if use else None
        )
        for (one, item), quantiles in zip(past, found.quantiles, strict=True):
            cut = len(item.values)
            made.append(quantiles)
            actual.append(one.values[cut : cut + data.horizon])
            lag = np.abs(item.values[season:] - item.values[:-season])
            scales.append(float(np.nanmean(lag)) if np.isfinite(lag).any() else np.nan)
            points = seasonal_naive(item.values, max(seasons, default=1), data.horizon)
            naive.append(np.repeat(points[:, None], len(LEVELS), axis=1))
    actuals = Actuals(np.stack(actual), np.array(scales))
    return (
        _scores(np.stack(made), actuals),
        {name: value for name, value in _scores(np.stack(naive), actuals).items() if name != "coverage_80"},
        float(np.mean(weights)),
    )


def _scores(made: Floats, actuals: Actuals) -> dict[str, float]:
    seen = replace(actuals, values=np.where(np.isfinite(made).all(axis=2), actuals.values, np.nan))
    filled = np.where(np.isfinite(made), made, 0.0)
    return {
        "wql": round(seen.value(WQL, filled), 4),
        "mase": round(seen.value("MASE", filled), 4),
        "coverage_80": round(coverage(filled, seen), 3),
    }


def run(folder: Path, names: Sequence[str], origins: int, most: int, *, shuffled: bool) -> dict[str, object]:
    """Scores of each set."""
    found: dict[str, object] = {}
    for name in names:
        began = time.monotonic()
        data = SETS[name](folder, most)
        without, naive, _ = score(data, origins, use=False, shuffled=False)
        known, _, weight = score(data, origins, use=True, shuffled=shuffled)
        found[name] = {
            "series": len(data.series),
            "origins": origins,
            "horizon": data.horizon,
            "with": known,
            "without": without,
            "seasonal_naive": naive,
            "weight_of_regressions": round(weight, 3),
            "wql_ratio": round(known["wql"] / without["wql"], 4),
            "seconds": round(time.monotonic() - began, 1),
        }
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Print a JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--origins", type=int, default=3)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = run(options.folder, options.sets, options.origins, options.series, shuffled=options.shuffled)
    text = json.dumps(found, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
