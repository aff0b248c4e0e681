"""Named families of series, each a process one meets in practice, and the mixtures a model is trained on.

Here belongs how components are put together. A family is a function `(rng, n, length) -> (n, length)` floats with no
missing values; everything random comes from `rng`, so that a seed fixes the series.
"""

from collections.abc import Callable, Mapping

import numpy as np

from chronos_assets.kernelsynth import (
    causal,
    compounding,
    counts,
    days,
    few_cycles,
    gaussian,
    noise,
    prices,
    pulses,
    realism,
    regimes,
    seasons,
    smoothing,
    trends,
)
from chronos_assets.kernelsynth.noise import Array

Family = Callable[[np.random.Generator, int, int], Array]


def clean_season(rng: np.random.Generator, n: int, length: int) -> Array:
    """One season, or two, repeated exactly or nearly so: the skill of copying a cycle of any period."""
    second = (rng.random((n, 1)) < 0.3) * rng.uniform(0.1, 1.0, (n, 1))
    values = seasons.season(rng, n, length) + second * seasons.season(rng, n, length)
    noise_scale = noise.log_uniform(rng, n, 0.002, 0.1) * (rng.random((n, 1)) < 0.7)
    return np.asarray(values + noise_scale * noise.white(rng, n, length))


def noisy_season(rng: np.random.Generator, n: int, length: int) -> Array:
    """Up to three seasons that drift, on a trend, in noise of any strength."""
    drift = float(np.exp(rng.uniform(np.log(0.05), np.log(1.5))))
    values = seasons.season(rng, n, length, drift)
    values += (rng.random((n, 1)) < 0.5) * rng.uniform(0.1, 1.0, (n, 1)) * seasons.season(rng, n, length)
    values += (rng.random((n, 1)) < 0.4) * noise.log_uniform(rng, n, 0.1, 5.0) * trends.trend(rng, n, length)
    values += (rng.random((n, 1)) < 0.3) * noise.log_uniform(rng, n, 0.1, 2.0) * noise.smooth_walk(rng, n, length)
    colour = rng.uniform(0.0, 1.0, (n, 1)) * (rng.random((n, 1)) < 0.4)
    return np.asarray(values + noise.log_uniform(rng, n, 0.03, 2.0) * noise.coloured(rng, n, length, colour))


def calendar(rng: np.random.Generator, n: int, length: int) -> Array:
    """Load, traffic and power: days within weeks, with autocorrelated noise that grows with the level."""
    drift = float(rng.choice([0.0, 0.1, 0.5]))
    base = noise.standardised(seasons.calendar(rng, n, length, drift))
    level = (rng.random((n, 1)) < 0.6) * noise.log_uniform(rng, n, 0.05, 1.0) * noise.smooth_walk(rng, n, length)
    level += (rng.random((n, 1)) < 0.2) * noise.log_uniform(rng, n, 0.1, 3.0) * trends.trend(rng, n, length)
    colour = rng.uniform(0.0, 2.0, (n, 1))
    shocks = noise.log_uniform(rng, n, 0.02, 1.5) * noise.coloured(rng, n, length, colour)
    shocks += noise.log_uniform(rng, n, 0.01, 0.5) * noise.white(rng, n, length)
    # Sums over many customers are far more regular than one of them.
    calm = np.where(rng.random((n, 1)) < 0.55, noise.log_uniform(rng, n, 0.02, 0.5), 1.0)
    additive = base + calm * (level + shocks)
    # In the multiplicative form peaks are noisier than nights, and nothing falls below zero.
    multiplicative = np.exp((rng.uniform(0.2, 0.8, (n, 1)) * additive).clip(-6.0, 6.0))
    return np.asarray(np.where(rng.random((n, 1)) < 0.5, additive, multiplicative))


def regular_days(rng: np.random.Generator, n: int, length: int) -> Array:
    """Sums over many customers: days, or days within weeks, that repeat all but exactly, on a level that goes elsewhere.

    The level may have a trend, grow, jump, wander or stay, and by so much that the cycle is small beside it, and what can
    be known of the cycle smaller still.
    """
    day = rng.choice([24, 48, 96, 12], (n, 1), p=[0.7, 0.12, 0.1, 0.08])
    cycles = np.arange(length) / day + rng.random((n, 1))
    daily = seasons.read_profile(seasons.profiles(rng, n), cycles)
    weekly = seasons.calendar(rng, n, length, kinds=REGULAR_CALENDARS)
    base = noise.standardised(np.where(rng.random((n, 1)) < 0.5, daily, weekly))
    swing = (rng.random((n, 1)) < 0.4) * noise.log_uniform(rng, n, 0.01, 0.3)
    values = base * np.exp(swing * noise.smooth_walk(rng, n, length))
    kind = rng.choice(6, (n, 1), p=[0.2, 0.25, 0.1, 0.28, 0.1, 0.07])
    level = np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3, kind == 4],
        [
            np.zeros((n, length)),
            4.0 * trends.trend(rng, n, length),
            trends.growth(rng, n, length) ** 2,
            trends.steps(rng, n, length),
            noise.smooth_walk(rng, n, length),
        ],
        noise.standardised(noise.random_walk(rng, n, length)),
    )
    values += noise.log_uniform(rng, n, 0.2, 16.0) * level
    values += noise.log_uniform(rng, n, 0.003, 0.2) * noise.coloured(rng, n, length, rng.uniform(0.0, 2.0, (n, 1)))
    values += noise.log_uniform(rng, n, 0.002, 0.1) * noise.white(rng, n, length)
    proportional = np.exp(rng.uniform(0.1, 0.7, (n, 1)) * noise.standardised(values))
    return np.where(rng.random((n, 1)) < 0.3, proportional, values)


def business(rng: np.random.Generator, n: int, length: int) -> Array:
    """Monthly, quarterly, weekly and yearly records: growth times season times noise, on a wandering level."""
    period = rng.choice([12, 4, 52, 7, 6, 24, 3, 13], (n, 1), p=[0.45, 0.2, 0.1, 0.1, 0.04, 0.05, 0.03, 0.03])
    cycles = (np.arange(length) + rng.integers(0, 365, (n, 1))) / period
    drift = 0.3 * noise.smooth_walk(rng, n, length) * (rng.random((n, 1)) < 0.4)
    seasonal = (
        seasons.read_profile(seasons.profiles(rng, n), cycles) * noise.log_uniform(rng, n, 0.01, 0.6) * np.exp(drift)
    )
    seasonal *= rng.random((n, 1)) < 0.75
    # Steps and trends are per season, so that a short window of a long series still moves.
    walk = np.cumsum(noise.white(rng, n, length), axis=1) * noise.log_uniform(rng, n, 0.001, 0.05)
    walk *= rng.random((n, 1)) < 0.7
    growth = np.arange(length) * rng.normal(0.0, 0.1, (n, 1)) / period * (rng.random((n, 1)) < 0.6)
    shocks = noise.log_uniform(rng, n, 0.005, 0.3) * noise.white(rng, n, length)
    log_level = seasonal + walk + growth.clip(-4.0, 4.0) + shocks
    linear = 1.0 + seasonal + walk + 0.5 * growth + shocks
    return np.asarray(np.where(rng.random((n, 1)) < 0.5, np.exp(log_level.clip(-8.0, 8.0)), linear))


def random_walk(rng: np.random.Generator, n: int, length: int) -> Array:
    """Prices and levels: random walks, some with momentum, geometric, watched through noise, or with a season on top."""
    values = np.where(rng.random((n, 1)) < 0.7, noise.random_walk(rng, n, length), noise.momentum(rng, n, length))
    geometric = np.exp((values * noise.log_uniform(rng, n, 0.001, 0.03)).clip(-8.0, 8.0))
    values = np.where(rng.random((n, 1)) < 0.3, geometric, values)
    scale = values.std(axis=1, keepdims=True)
    seen = (rng.random((n, 1)) < 0.3) * noise.log_uniform(rng, n, 0.01, 0.3) * scale
    seasonal = (rng.random((n, 1)) < 0.25) * noise.log_uniform(rng, n, 0.05, 1.0) * scale
    return np.asarray(values + seen * noise.white(rng, n, length) + seasonal * seasons.season(rng, n, length))


def autoregressive(rng: np.random.Generator, n: int, length: int) -> Array:
    """Stationary processes: autoregressions, and noise of every colour from white to nearly a random walk."""
    coloured = noise.coloured(rng, n, length, rng.uniform(0.0, 2.2, (n, 1)))
    return np.where(rng.random((n, 1)) < 0.5, noise.autoregression(rng, n, length), coloured)


def trending(rng: np.random.Generator, n: int, length: int) -> Array:
    """Trends with noise and no season, additive or growing exponentially."""
    values = noise.log_uniform(rng, n, 0.5, 100.0) * trends.trend(rng, n, length) + noise.coloured(
        rng, n, length, rng.uniform(0.0, 2.0, (n, 1))
    )
    growing = trends.growth(rng, n, length) * np.exp(
        noise.log_uniform(rng, n, 0.002, 0.3) * noise.white(rng, n, length)
    )
    return np.where(rng.random((n, 1)) < 0.7, values, growing)


def stepped(rng: np.random.Generator, n: int, length: int) -> Array:
    """Levels that hold and then jump, with or without a season and noise: settings, tariffs, regimes."""
    rate = noise.log_uniform(rng, n, 2.0 / length, 20.0 / length)
    jumps = (rng.random((n, length)) < rate) * rng.standard_normal((n, length))
    returning = rng.random((n, 1)) < 0.3
    last = np.maximum.accumulate(np.where(jumps != 0, np.arange(length), 0), axis=1)
    held = np.take_along_axis(jumps, last, axis=1)
    values = np.where(returning, held, np.cumsum(jumps, axis=1))
    values = values + (rng.random((n, 1)) < 0.5) * noise.log_uniform(rng, n, 0.1, 1.0) * seasons.season(rng, n, length)
    return values + (rng.random((n, 1)) < 0.8) * noise.log_uniform(rng, n, 0.01, 0.5) * noise.white(rng, n, length)


def fine_grained(rng: np.random.Generator, n: int, length: int) -> Array:
    """Quarter hours and minutes: days of 48 to 288 steps, near steps alike, days of unlike level, bursts and outages."""
    day = rng.choice([48, 96, 144, 288], (n, 1), p=[0.2, 0.5, 0.15, 0.15])
    cycles = np.arange(length) / day + rng.random((n, 1))
    base = seasons.read_profile(seasons.profiles(rng, n), cycles)
    amplitude = np.exp(noise.log_uniform(rng, n, 0.05, 0.6) * noise.smooth_walk(rng, n, length))
    colour = rng.uniform(0.5, 2.0, (n, 1))
    near = noise.log_uniform(rng, n, 0.05, 2.0) * noise.coloured(rng, n, length, colour)
    rough = noise.log_uniform(rng, n, 0.02, 1.0) * noise.white(rng, n, length)
    # Consumption is rougher by day than by night.
    rough *= np.where(rng.random((n, 1)) < 0.5, np.exp(0.5 * base), 1.0)
    bursts = (rng.random((n, 1)) < 0.4) * noise.log_uniform(rng, n, 0.2, 3.0) * rng.choice([-1.0, 1.0], (n, 1))
    bursts = bursts * pulses.shaped(rng, pulses.arrivals(rng, n, length), longest=24)
    values = amplitude * base + near + rough + bursts
    values = np.where(rng.random((n, 1)) < 0.3, np.exp((0.5 * values).clip(-6.0, 6.0)), values)
    return np.where(rng.random((n, 1)) < 0.2, pulses.with_outages(rng, values), values)


def mixed(rng: np.random.Generator, n: int, length: int) -> Array:
    """Convex combinations of two or three standardised series of other families (TSMixup of the Chronos paper)."""
    sources = [calendar, noisy_season, clean_season, random_walk, gaussian.composed, business, autoregressive]
    sources += [smoothing.exponential_smoothing, fine_grained, regimes.switching, pulses.pulses, causal.causal_graph]
    weights = rng.dirichlet([1.5] * 3, n)
    weights[:, 2] *= rng.random(n) < 0.5
    values = np.zeros((n, length))
    for column in range(3):
        picked = rng.integers(len(sources), size=n)
        part = np.empty((n, length))
        for number, family in enumerate(sources):
            rows = np.flatnonzero(picked == number)
            if rows.size:
                part[rows] = family(rng, rows.size, length)
        values += weights[:, [column]] * noise.standardised(part)
    return values


REGULAR_CALENDARS = np.array([*([[24, 7]] * 8), [48, 7], [96, 7]])
"""What `regular_days` nests: the hours of a week mostly, see `seasons.CALENDARS`."""

FAMILIES: Mapping[str, Family] = {
    "clean_season": clean_season,
    "noisy_season": noisy_season,
    "calendar": calendar,
    "business": business,
    "counts": counts.counts,
    "intermittent": counts.intermittent,
    "random_walk": random_walk,
    "autoregressive": autoregressive,
    "gaussian_process": gaussian.composed,
    "trending": trending,
    "stepped": stepped,
    "chaotic": noise.chaotic_map,
    "mixed": mixed,
    "smoothing": smoothing.exponential_smoothing,
    "fine_grained": fine_grained,
    "switching": regimes.switching,
    "pulses": pulses.pulses,
    "causal_graph": causal.causal_graph,
    "compounding": compounding.compounding,
    "wandering_days": days.wandering_days,
    "prices": prices.prices,
    "regular_days": regular_days,
    "few_cycles": few_cycles.few_cycles,
}
"""Every family by name."""

CURRICULUM_START: Mapping[str, float] = {"clean_season": 0.8, "noisy_season": 0.1, "calendar": 0.1}
"""The mixture a model starts with. Copying a cycle is learnt late, or never, when other series drown it."""

REALISTIC: Mapping[str, float] = {
    "clean_season": 0.04,
    "noisy_season": 0.05,
    "calendar": 0.18,
    "business": 0.03,
    "counts": 0.02,
    "intermittent": 0.01,
    "random_walk": 0.05,
    "autoregressive": 0.02,
    "gaussian_process": 0.02,
    "trending": 0.01,
    "stepped": 0.01,
    "chaotic": 0.005,
    "mixed": 0.02,
    "smoothing": 0.02,
    "fine_grained": 0.04,
    "switching": 0.01,
    "pulses": 0.005,
    "causal_graph": 0.01,
    "compounding": 0.06,
    "wandering_days": 0.16,
    "prices": 0.12,
    "regular_days": 0.08,
    "few_cycles": 0.03,
}
"""The mixture a model ends with, for long contexts: hours, minutes, days, long records. The weights add up to 1."""

SHORT: Mapping[str, float] = {
    "clean_season": 0.03,
    "noisy_season": 0.04,
    "calendar": 0.01,
    "business": 0.11,
    "counts": 0.03,
    "intermittent": 0.01,
    "random_walk": 0.07,
    "autoregressive": 0.02,
    "gaussian_process": 0.02,
    "trending": 0.04,
    "stepped": 0.03,
    "mixed": 0.03,
    "smoothing": 0.12,
    "switching": 0.01,
    "causal_graph": 0.01,
    "compounding": 0.15,
    "prices": 0.05,
    "few_cycles": 0.22,
}
"""The same for contexts of up to `SHORT_CONTEXT` steps: months, quarters and years. The weights add up to 1."""

LONG: Mapping[str, float] = {
    "clean_season": 0.05,
    "noisy_season": 0.06,
    "calendar": 0.17,
    "business": 0.01,
    "counts": 0.02,
    "intermittent": 0.01,
    "random_walk": 0.06,
    "autoregressive": 0.02,
    "gaussian_process": 0.02,
    "trending": 0.01,
    "stepped": 0.01,
    "chaotic": 0.005,
    "mixed": 0.02,
    "smoothing": 0.01,
    "fine_grained": 0.04,
    "switching": 0.01,
    "pulses": 0.005,
    "causal_graph": 0.01,
    "compounding": 0.03,
    "wandering_days": 0.17,
    "prices": 0.11,
    "regular_days": 0.14,
    "few_cycles": 0.01,
}
"""The same for contexts of more than `MIDDLE_CONTEXT` steps: weeks of hours and minutes. The weights add up to 1."""

SHORT_CONTEXT, MONTHS_CONTEXT, MIDDLE_CONTEXT = 128, 256, 512


def realistic(context_length: int) -> Mapping[str, float]:
    """Return the mixture that series with `context_length` steps of context come from: what is short is another thing.

    Above `SHORT_CONTEXT` and up to `MONTHS_CONTEXT` steps it is the mean of two: these are months as well as days.
    """
    if context_length > MIDDLE_CONTEXT:
        return LONG
    if context_length > MONTHS_CONTEXT:
        return REALISTIC
    if context_length <= SHORT_CONTEXT:
        return SHORT
    return {name: (SHORT.get(name, 0.0) + REALISTIC.get(name, 0.0)) / 2 for name in FAMILIES}


def draw(rng: np.random.Generator, weights: Mapping[str, float], n: int, length: int) -> Array:
    """Return `n` series (n, length) of families drawn by `weights` (name to relative frequency), in random order.

    Some rows are spoilt as real data is: outliers, level shifts, floors and caps, rounding. None has missing values.
    """
    names = list(weights)
    share = np.array([weights[name] for name in names], dtype=float)
    number_of_each = rng.multinomial(n, share / share.sum())
    parts = [FAMILIES[name](rng, int(k), length) for name, k in zip(names, number_of_each, strict=True) if k]
    values = np.concatenate(parts)[rng.permutation(n)]
    spoilers = (realism.with_outliers, realism.with_level_shifts, realism.with_floor_or_cap, realism.with_rounding)
    for spoil, chance in zip(spoilers, (0.06, 0.05, 0.05, 0.06), strict=True):
        rows = np.flatnonzero(rng.random(n) < chance)
        if rows.size:
            values[rows] = spoil(rng, values[rows])
    return values
