"""Days that wander: measurements whose near future depends on the last values more than on the day before.

Here belong records of hours and minutes that have a daily profile without repeating it: loads, temperatures, flows. What a
forecast must learn from them is how much to believe of the profile, and how fast to return to it.
"""

import numpy as np

from chronos_assets.kernelsynth import noise, pulses, regimes, seasons
from chronos_assets.kernelsynth.noise import Array

DAYS = (96, 24, 48, 144, 288, 12)
"""Steps in a day: quarter hours, hours, half hours, ten and five minutes, two hours."""

_SHARES = (0.38, 0.24, 0.15, 0.09, 0.09, 0.05)


def wandering_days(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return profiles whose strength, shape and level change from day to day, with persistent deviations (n, length).

    In some rows a day or two of the week are unlike the others, the day before says more of today than the days before it,
    deviations are calm and rough by turns, the level is that of a state which holds for a while, or a meter has stood
    still.
    """
    day = rng.choice(DAYS, (n, 1), p=_SHARES)
    cycles = np.arange(length) / day + rng.random((n, 1))
    share = between_days(rng, cycles, rng.uniform(0.0, 0.95, (n, 1))) * noise.log_uniform(rng, n, 0.05, 0.5)
    usual, other = (seasons.read_profile(seasons.profiles(rng, n), cycles) for _ in range(2))
    usual = np.where(rng.random((n, 1)) < 0.4, with_days_off(rng, usual, cycles), usual)
    strength = np.exp(between_days(rng, cycles, 0.6) * noise.log_uniform(rng, n, 0.03, 0.5))
    values = strength * (usual + share * other)
    values *= np.where(rng.random((n, 1)) < 0.1, 0.0, 1.0)

    values += noise.log_uniform(rng, n, 0.1, 3.0) * persistent(rng, n, length, longest=6.0 * day)
    states = np.take_along_axis(rng.standard_normal((n, regimes.STATES)), regimes.hidden_states(rng, n, length), axis=1)
    values += (rng.random((n, 1)) < 0.2) * noise.log_uniform(rng, n, 0.1, 1.5) * states
    values += noise.log_uniform(rng, n, 0.05, 1.0) * between_days(rng, cycles, 0.7) * (rng.random((n, 1)) < 0.4)
    rough = noise.log_uniform(rng, n, 0.01, 0.7) * noise.white(rng, n, length)
    # Consumption is rougher by day than by night.
    values += rough * np.where(rng.random((n, 1)) < 0.4, np.exp(0.5 * usual), 1.0)
    values += (rng.random((n, 1)) < 0.3) * noise.log_uniform(rng, n, 0.2, 1.5) * switched(rng, n, length)
    values = np.where(rng.random((n, 1)) < 0.25, np.exp((0.4 * values).clip(-6.0, 6.0)), values)
    values = np.where(rng.random((n, 1)) < 0.12, pulses.with_outages(rng, values), values)
    unit = values.std(axis=1, keepdims=True) / noise.log_uniform(rng, n, 4.0, 40.0) + 1e-9
    recorded: Array = np.where(rng.random((n, 1)) < 0.2, np.rint(values / unit) * unit, values)
    return recorded


def with_days_off(rng: np.random.Generator, usual: Array, cycles: Array) -> Array:
    """Give one or two days of each week a weaker and other profile on another level.

    `usual` (n, length) is the profile of the other days, `cycles` (n, length) counts days from any start.
    """
    n = len(cycles)
    weekday = (np.floor(cycles) + rng.integers(0, 7, (n, 1))) % 7
    other = seasons.read_profile(seasons.profiles(rng, n), cycles)
    off = rng.uniform(0.2, 1.0, (n, 1)) * usual + rng.uniform(0.0, 0.5, (n, 1)) * other + rng.normal(-0.4, 0.5, (n, 1))
    return np.where(weekday < rng.integers(1, 3, (n, 1)), off, usual)


def persistent(rng: np.random.Generator, n: int, length: int, longest: Array) -> Array:
    """Return sums (n, length) of three stationary first-order autoregressions, of unit variance in all.

    Each forgets over a time of its own, from 1.5 steps to `longest` (n, 1): gusts, weather, and the week's demand. They
    are calm and rough at the same times, by `noise.volatility`.
    """
    weights = np.sqrt(rng.dirichlet([0.7] * 3, n))
    values, volatility = np.zeros((n, length)), noise.volatility(rng, n, length)
    for column in range(3):
        keep = np.exp(-1.0 / np.exp(rng.uniform(np.log(1.5), np.log(longest))))
        shocks = np.sqrt(1.0 - keep**2) * noise.white(rng, n, length)
        # The first value is drawn as if the process had been running for long.
        shocks[:, :1] /= np.sqrt(1.0 - keep**2)
        values += weights[:, [column]] * noise.decaying_sum(volatility * shocks, keep)
    return values


def between_days(rng: np.random.Generator, cycles: Array, keep: Array | float) -> Array:
    """Return (n, length): a value of unit scale for each day, carried over by `keep`, on a line from one day to the next.

    `cycles` (n, length) counts days from any start; `keep` is one for all rows, or (n, 1).
    """
    n = len(cycles)
    first = np.floor(cycles[:, :1])
    position = cycles - first
    count = int(position.max()) + 2
    carried = np.broadcast_to(np.asarray(keep, dtype=float), (n, 1))
    daily = noise.standardised(noise.decaying_sum(rng.standard_normal((n, count)), carried))
    start = np.floor(position).astype(int)
    left, right = (np.take_along_axis(daily, start + step, axis=1) for step in (0, 1))
    between: Array = left + (position - start) * (right - left)
    return between


def switched(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return 0s and 1s (n, length): something that is on and off, each for 2 to 60 steps on average."""
    rate = 1.0 / noise.log_uniform(rng, n, 2.0, 60.0)
    return (np.cumsum(rng.random((n, length)) < rate, axis=1) % 2).astype(float)
