"""A realistic sample in the shape users of the old pipeline have: params.json and train/electricity.csv, and a later month.

Made up, seeded, the same bytes every time. Here belongs the process that makes the numbers; where they go is the
caller's choice. It knows nothing of models, so a backtest on it says something.

Electricity in kWh per hour of ten clients (households, shops, offices, bakeries, factories), 2024-07-01 to 2025-06-30.
Each has a daily profile for working days and free days, reacts to a common temperature (season and weather) by heating
or cooling, takes notice of public holidays and of its own closing days, and carries autocorrelated noise. As in life,
meters fail: stretches without rows, single rows missing, and in two clients an outlier.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Floats

FIRST, END, AFTER = np.datetime64("2024-07-01T00", "h"), np.datetime64("2025-07-01T00", "h"), "2025-08-01T00"
HORIZON = 72

_HOLIDAYS = (
    "2024-08-01",
    "2024-12-25",
    "2024-12-26",
    "2025-01-01",
    "2025-04-18",
    "2025-04-21",
    "2025-05-01",
    "2025-05-29",
    "2025-06-09",
)


@dataclass(frozen=True)
class _Kind:
    """A kind of client.

    Attributes:
        name: of the kind.
        peak: kWh per hour of a busy hour.
        working: (hour, share of the peak) between which the profile of a working day runs.
        free: the same of a day off.
        heating: share of the peak per degree below 15.
        cooling: share of the peak per degree above 22.
        noise: its standard deviation, as a share.
        free_days: the days of the week that look like a Sunday.
        closing: (first, last) day of the year's break.
    """

    name: str
    peak: float
    working: tuple[tuple[float, float], ...]
    free: tuple[tuple[float, float], ...]
    heating: float
    cooling: float
    noise: float
    free_days: tuple[int, ...] = (5, 6)
    closing: tuple[str, str] | None = None


_KINDS = (
    _Kind(
        "household",
        1.6,
        ((0, 0.22), (5, 0.2), (7, 0.62), (9, 0.35), (12, 0.5), (15, 0.34), (19, 1.0), (22, 0.6), (24, 0.22)),
        ((0, 0.26), (6, 0.2), (9, 0.55), (12, 0.85), (15, 0.6), (19, 0.95), (22, 0.62), (24, 0.26)),
        heating=0.03,
        cooling=0.008,
        noise=0.16,
    ),
    _Kind(
        "shop",
        28.0,
        ((0, 0.2), (6, 0.22), (8, 0.7), (10, 0.95), (14, 1.0), (18, 0.97), (20, 0.45), (22, 0.22), (24, 0.2)),
        ((0, 0.2), (24, 0.2)),
        heating=0.006,
        cooling=0.03,
        noise=0.05,
        free_days=(6,),
    ),
    _Kind(
        "office",
        55.0,
        ((0, 0.18), (6, 0.2), (8, 0.8), (11, 1.0), (12.5, 0.88), (15, 0.98), (18, 0.55), (21, 0.22), (24, 0.18)),
        ((0, 0.18), (12, 0.21), (24, 0.18)),
        heating=0.012,
        cooling=0.025,
        noise=0.045,
        closing=("2024-12-23", "2025-01-03"),
    ),
    _Kind(
        "bakery",
        34.0,
        ((0, 0.55), (2, 1.0), (6, 0.95), (9, 0.5), (14, 0.35), (19, 0.18), (22, 0.16), (24, 0.55)),
        ((0, 0.3), (3, 0.75), (7, 0.7), (11, 0.3), (14, 0.15), (24, 0.3)),
        heating=0.004,
        cooling=0.01,
        noise=0.06,
        free_days=(6,),
    ),
    _Kind(
        "factory",
        420.0,
        ((0, 0.62), (5, 0.65), (7, 0.98), (12, 0.9), (14, 1.0), (20, 0.8), (22, 0.68), (24, 0.62)),
        ((0, 0.34), (6, 0.3), (18, 0.3), (24, 0.34)),
        heating=0.002,
        cooling=0.004,
        noise=0.035,
        closing=("2024-12-21", "2025-01-05"),
    ),
)

# The order in which kinds are dealt out to clients.
_DEAL = (0, 1, 0, 2, 4, 0, 1, 3, 0, 2)


def write_sample(folder: Path, *, seed: int = 10, clients: int = 10) -> None:
    """Write `params.json` and `train/electricity.csv` into `folder`: hourly rows of one year, as in the real sample.

    The CSV has no header; its columns are those of the schema: timestamp, target_value, item_id.
    """
    (folder / "train").mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(sample_params(), indent=2) + "\n", encoding="utf-8")
    _write(folder / "train" / "electricity.csv", FIRST, END, seed, clients)


def write_july(path: Path) -> None:
    """Write July 2025 of the same clients: what comes after `write_sample`, to drop into `train/`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, END, np.datetime64(AFTER, "h"), seed=10, clients=10)


def sample_params() -> dict[str, Any]:
    """The parameter file of the sample, in the service's own shape."""
    attributes = (("timestamp", "timestamp"), ("target_value", "float"), ("item_id", "string"))
    return {
        "DatasetGroup": {"DatasetGroupName": "ElectricitySample", "Domain": "CUSTOM"},
        "Predictor": {
            "ForecastHorizon": HORIZON,
            "FeaturizationConfig": {"ForecastFrequency": "H"},
        },
        "Forecast": {"ForecastTypes": ["0.10", "0.50", "0.90", "mean"]},
        "TimestampFormat": "yyyy-MM-dd HH:mm:ss",
        "Datasets": [
            {
                "Domain": "CUSTOM",
                "DatasetType": "TARGET_TIME_SERIES",
                "DataFrequency": "H",
                "Schema": {"Attributes": [{"AttributeName": name, "AttributeType": kind} for name, kind in attributes]},
            }
        ],
        "PerformDelete": False,
    }


def _write(path: Path, first: np.datetime64, end: np.datetime64, seed: int, clients: int) -> None:
    hours = np.arange(FIRST, np.datetime64(AFTER, "h"))
    chosen = np.flatnonzero((hours >= first) & (hours < end))
    texts = [str(hour).replace("T", " ") + ":00:00" for hour in hours]
    temperature = _temperature(hours, _Random(seed, 0))
    with path.open("w", encoding="utf-8", newline="") as out:
        for client in range(clients):
            kind = _KINDS[_DEAL[client % len(_DEAL)]]
            name = f"{kind.name}_{1 + sum(_KINDS[_DEAL[other % len(_DEAL)]] is kind for other in range(client))}"
            values = _client(kind, hours, temperature, client, _Random(seed, client + 1))
            # Rounded, so that the last bit of a logarithm, which differs between machines, never shows.
            out.writelines(
                f"{texts[place]},{values[place]:.3f},{name}\n" for place in chosen if not np.isnan(values[place])
            )


class _Random:
    """Normal numbers from a seed, by a method that no version of numpy will change: PCG64's bits and Box-Muller."""

    def __init__(self, seed: int, stream: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))

    def uniform(self, n: int) -> Floats:
        return self._generator.random(n)

    def normal(self, n: int) -> Floats:
        radius = np.sqrt(-2 * np.log(1 - self.uniform(n)))
        return np.asarray(radius * np.cos(2 * np.pi * self.uniform(n)))

    def autocorrelated(self, n: int, memory: float) -> Floats:
        """(n,) of unit variance, each carrying on `memory` of the one before."""
        shocks = self.normal(n) * np.sqrt(1 - memory**2)
        values = np.empty(n)
        value = shocks[0] / np.sqrt(1 - memory**2)
        for step in range(n):
            value = memory * value + shocks[step]
            values[step] = value
        return values


def _temperature(hours: NDArray[np.datetime64], random: _Random) -> Floats:
    """Degrees Celsius in each hour: season, time of day, and weather that lasts a few days."""
    year = (hours - np.datetime64("2024-01-01T00", "h")).astype(float) / (24 * 365.25)
    season = 10.5 - 9.5 * np.cos(2 * np.pi * (year - 0.055))
    daily = 3.5 * np.cos(2 * np.pi * (_hour_of_day(hours) - 15) / 24)
    return season + daily + 3.2 * random.autocorrelated(len(hours), 0.985)


def _client(kind: _Kind, hours: NDArray[np.datetime64], temperature: Floats, client: int, random: _Random) -> Floats:
    """Consumption in kWh of one client in each hour, NaN where its meter failed."""
    peak = kind.peak * (0.75 + 0.5 * random.uniform(1)[0])
    shift = 0.6 * random.normal(1)[0]
    hour = _hour_of_day(hours) + shift
    free = _free_days(kind, hours)
    profile = np.where(free, _profile(kind.free, hour), _profile(kind.working, hour))
    weather = kind.heating * np.clip(15 - temperature, 0, None) + kind.cooling * np.clip(temperature - 22, 0, None)
    # A slow drift: appliances come and go.
    drift = 0.04 * random.autocorrelated(len(hours), 0.9995)
    noise = kind.noise * random.autocorrelated(len(hours), 0.7)
    values = peak * (profile + weather) * np.exp(drift + noise)
    return _with_failures(values, client, random)


def _hour_of_day(hours: NDArray[np.datetime64]) -> Floats:
    return np.asarray((hours - hours.astype("datetime64[D]")).astype(float))


def _free_days(kind: _Kind, hours: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    days = hours.astype("datetime64[D]")
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    free = np.isin(weekday, kind.free_days) | np.isin(days, np.array(_HOLIDAYS, dtype="datetime64[D]"))
    if kind.closing:
        free |= (days >= np.datetime64(kind.closing[0])) & (days <= np.datetime64(kind.closing[1]))
    return free


def _profile(points: tuple[tuple[float, float], ...], hour: Floats) -> Floats:
    """The daily profile through `points`, at hours that may lie a little outside of the day."""
    return np.interp(hour % 24, [at for at, _ in points], [share for _, share in points])


def _with_failures(values: Floats, client: int, random: _Random) -> Floats:
    """The values with the meter's failures: a stretch or two without rows, single rows missing, an outlier."""
    year = int((END - FIRST).astype(int))
    values = values.copy()
    for length in (30, 5)[: client % 3]:
        start = int(random.uniform(1)[0] * (year - 1000))
        values[start : start + length * (1 + client % 4)] = np.nan
    values[np.flatnonzero(random.uniform(len(values)) < 0.0006)] = np.nan
    if client in {4, 5}:
        place = int((0.3 + 0.5 * random.uniform(1)[0]) * year)
        values[place] += 4 * np.nanmax(values)
    return values
