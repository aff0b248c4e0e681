"""The default predictor beside its members and seasonal naive on the sample data sets: electricity, household power, M5.

    python -m benchmarks.samples FOLDER

FOLDER has `amazon_forecast/testing-data/train/item-demand-time.csv` (72 hours ahead),
`household_power/household_power_hourly.csv.gz` (24 hours) and `m5_sample/m5_y_{train,test}_sample.parquet` (28 days); what
isn't there is left out. The last windows are forecast, each by a predictor that was learned from what came before it.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.predictors.backtest_windows import SAMPLE, BacktestPast, past_windows, rank, seasonal_error
from chronos_assets.predictors.calibration import coverage
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, Contexts
from chronos_assets.predictors.zero_shot import learn_predictor, open_backtester, zero_shot_recipe
from chronos_assets.timeseries.arrays import Floats


class Sample(NamedTuple):
    """A data set: its series by name, how often a value comes, and how many are forecast how often."""

    series: dict[str, Floats]
    frequency: str
    horizon: int
    windows: int


def electricity(folder: Path) -> Sample:
    """Hours of a few clients."""
    path = folder / "amazon_forecast" / "testing-data" / "train" / "item-demand-time.csv"
    return Sample(_series("SELECT column2, column0, column1 FROM read_csv(?, header = false)", path), "H", 72, 3)


def household(folder: Path) -> Sample:
    """Hours of what one household's meters show."""
    path = folder / "household_power" / "household_power_hourly.csv.gz"
    table = "SELECT * EXCLUDE (minutes_observed) FROM read_csv(?)"
    return Sample(
        _series(f"SELECT name, datetime, value FROM (UNPIVOT ({table}) ON COLUMNS(* EXCLUDE datetime))", path),
        "H",
        24,
        3,
    )


def m5(folder: Path) -> Sample:
    """Days of items sold."""
    path = folder / "m5_sample" / "m5_y_*_sample.parquet"
    found = _series("SELECT DISTINCT id, date, quantity_sold FROM read_parquet(?)", path)
    return Sample({name: values for name, values in found.items() if len(values) > 4 * 28}, "D", 28, 1)


def _series(sql: str, path: Path) -> dict[str, Floats]:
    """Series by name of a query for name, time and value; every sample is without gaps."""
    found: dict[str, list[float]] = defaultdict(list)
    rows = f"SELECT name, value FROM ({sql}) AS row(name, moment, value) ORDER BY name, moment"
    for name, value in duckdb.execute(rows, [str(path)]).fetchall():
        found[str(name)].append(float("nan") if value is None else float(value))
    return {name: np.array(values) for name, values in found.items()}


SAMPLES: dict[str, Callable[[Path], Sample]] = {"electricity": electricity, "household": household, "m5": m5}


def rows(sample: Sample) -> Iterator[tuple[str, float, float, float]]:
    """Name, wQL, MASE and coverage of the ensemble and every member over all windows."""
    frequency = Frequency.parse(sample.frequency)
    forecasters = {"chronos": Forecaster(load_model("bundled"), sample.horizon, LEVELS)}
    recipe = zero_shot_recipe(sample.horizon, frequency.candidate_seasons)
    backtester = open_backtester(forecasters, recipe)
    made: dict[str, list[Floats]] = defaultdict(list)
    actual: list[Floats] = []
    scales: list[float] = []
    for number in reversed(range(sample.windows)):
        ends = {name: len(values) - number * sample.horizon for name, values in sample.series.items()}
        past = {name: values[: ends[name] - sample.horizon] for name, values in sample.series.items()}
        keys = sorted(sorted(past, key=lambda name: rank(0, (name,)))[:SAMPLE])
        known = [BacktestPast((name,), past[name], past[name]) for name in keys]
        windows = past_windows(known, sample.horizon, season=frequency.seasonality)
        predictor = learn_predictor(windows, forecasters, recipe, backtester=backtester)
        ensemble = Ensemble(predictor, forecasters, sample.horizon, LEVELS)
        made["ensemble"].append(ensemble.forecast(list(past.values()), keys=[(name,) for name in past]).quantiles)
        contexts = Contexts(list(past.values()), sample.horizon, frequency.candidate_seasons)
        for member in backtester.members:
            made[member.name].append(member.forecast(contexts))
        actual += [values[ends[name] - sample.horizon : ends[name]] for name, values in sample.series.items()]
        scales += [seasonal_error(values, frequency.seasonality) for values in past.values()]
    actuals = Actuals(np.stack(actual), np.array(scales))
    for name, parts in made.items():
        quantiles = np.concatenate(parts)
        if np.isfinite(quantiles).all():
            wql, mase = (actuals.value(metric, quantiles) for metric in ("AverageWeightedQuantileLoss", "MASE"))
            yield name, wql, mase, coverage(quantiles, actuals)


def main() -> int:
    """Print a table in markdown for each sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found = 0
    for name, read in SAMPLES.items():
        try:
            sample = read(folder)
        except duckdb.IOException as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        found += 1
        print(f"\n| {name}: {len(sample.series)} series | wQL | MASE | 80% band |\n|---|---|---|---|")
        first, *members = rows(sample)
        for member, wql, mase, covered in (first, *sorted(members, key=lambda row: row[1])):
            print(f"| {member} | {wql:.4f} | {mase:.3f} | {covered:.0%} |", flush=True)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
