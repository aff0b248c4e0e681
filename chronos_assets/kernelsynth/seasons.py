"""Seasonal components: profile shapes, single seasons of any period, and calendars of two nested periods.

Here belongs whatever repeats. Trends, noise and the ways real data is spoilt live in their own modules.
Every function is vectorised over series: `n` rows, each with its own period, phase and shape.
"""

import numpy as np

from chronos_assets.kernelsynth.noise import Array, log_uniform, smooth_walk

PROFILE_POINTS = 512
"""Resolution of a profile table: one cycle of a season, longer than the longest common period (a year of days)."""

COMMON_PERIODS = np.array(
    (
        *(
            4,
            5,
            6,
            7,
            8,
            10,
            12,
            13,
            14,
            15,
            16,
            18,
            20,
            21,
            24,
            26,
            28,
            30,
            36,
            40,
            42,
            48,
            52,
            60,
            64,
            72,
            84,
            90,
            91,
        ),
        *(96, 100, 104, 112, 120, 128, 144, 168, 182, 192, 240, 256, 288, 336, 365),
        *(4, 7, 12, 12, 24, 24, 24, 48, 52, 96, 168),
    )
)
"""Periods met in practice; those of the usual calendars are repeated so that they are drawn more often."""

CALENDARS = np.array(
    [
        *(
            [24, 7],
            [24, 7],
            [24, 7],
            [24, 7],
            [24, 7],
            [24, 7],
            [24, 7],
            [24, 7],
            [24, 7],
            [48, 7],
            [48, 7],
            [48, 7],
            [96, 7],
            [96, 7],
            [96, 7],
            [144, 7],
            [12, 7],
            [7, 52],
            [7, 52],
            [8, 7],
            [24, 5],
        ),
        *([6, 4], [4, 13], [12, 5]),
    ]
)
"""Nested periods as (steps in the short cycle, short cycles in the long one); the hours of a week most often."""


def periods(rng: np.random.Generator, n: int, longest: float) -> Array:
    """Return `n` periods in steps, at most `longest` where `longest` >= 4: mostly common, some of any real length."""
    common = rng.choice(COMMON_PERIODS, n).astype(float)
    anything = np.exp(rng.uniform(np.log(3.0), np.log(400.0), n))
    anything = np.where(rng.random(n) < 0.7, np.rint(anything), anything)
    chosen = np.where(rng.random(n) < 0.65, common, anything)
    # Halving, not clipping: clipped periods would pile up on one value.
    while (too_long := chosen > max(longest, 4.0)).any():
        chosen = np.where(too_long, np.maximum(np.rint(chosen / rng.integers(2, 4, n)), 3.0), chosen)
    return chosen


def profiles(rng: np.random.Generator, n: int) -> Array:
    """Return `n` cycles of shape (n, PROFILE_POINTS), each with mean 0 and standard deviation 1.

    Four kinds: random harmonics, from one sine to white noise; blocks of constant level; a few bumps, broad or
    sharp; and bumps cut off at a floor, like daylight or opening hours.
    """
    phase = np.arange(PROFILE_POINTS) / PROFILE_POINTS

    harmonics = np.arange(1, PROFILE_POINTS // 2 + 1)
    decay = rng.uniform(0.0, 3.0, (n, 1))
    spectrum = rng.standard_normal((n, harmonics.size)) + 1j * rng.standard_normal((n, harmonics.size))
    spectrum *= harmonics**-decay
    spectrum[:, 0] *= rng.random(n) < 0.9
    harmonic = np.fft.irfft(np.concatenate([np.zeros((n, 1)), spectrum], axis=1), n=PROFILE_POINTS, axis=1)

    blocks = rng.integers(2, 13, (n, 1))
    levels = rng.standard_normal((n, 12))
    block = np.take_along_axis(levels, (phase * blocks).astype(int), axis=1)

    bump = np.zeros((n, PROFILE_POINTS))
    for number in range(3):
        present = (rng.random((n, 1)) < 0.6) if number else 1.0
        sharpness = log_uniform(rng, n, 0.5, 300.0)
        angle = 2 * np.pi * (phase - rng.random((n, 1)))
        bump += present * rng.uniform(0.3, 1.0, (n, 1)) * np.exp(sharpness * (np.cos(angle) - 1.0))

    floor = np.quantile(harmonic, rng.uniform(0.2, 0.8), axis=1, keepdims=True)
    kind = rng.choice(4, n, p=[0.5, 0.15, 0.2, 0.15])[:, None]
    table = np.select([kind == 0, kind == 1, kind == 2], [harmonic, block, bump], np.maximum(harmonic, floor))
    table = table - table.mean(axis=1, keepdims=True)
    return np.asarray(table / (table.std(axis=1, keepdims=True) + 1e-9))


def read_profile(table: Array, cycles: Array) -> Array:
    """Read `table` (n, PROFILE_POINTS) at `cycles` (n, length), a position counted in cycles, of any sign."""
    index = ((cycles % 1.0) * PROFILE_POINTS + 0.5).astype(int) % PROFILE_POINTS
    return np.take_along_axis(table, index, axis=1)


def season(rng: np.random.Generator, n: int, length: int, drift: float = 0.0) -> Array:
    """Return `n` seasons of shape (n, length) and unit scale, each with its own period, phase and profile.

    A period is a little over half of the series at most, so that it can be learnt. `drift` >= 0 is how far amplitude,
    phase and shape wander over the series; 0 repeats one cycle exactly.
    """
    period = periods(rng, n, 0.55 * length)[:, None]
    cycles = np.arange(length) / period + rng.random((n, 1))
    if drift == 0.0:
        return read_profile(profiles(rng, n), cycles)
    wanders = rng.random((3, n, 1)) < 0.5
    cycles = cycles + wanders[0] * 0.15 * drift * smooth_walk(rng, n, length)
    values = read_profile(profiles(rng, n), cycles)
    fade = wanders[1] * (0.5 + 0.5 * np.tanh(drift * smooth_walk(rng, n, length)))
    values = (1 - fade) * values + fade * read_profile(profiles(rng, n), cycles)
    return np.asarray(values * np.exp(wanders[2] * 0.5 * drift * smooth_walk(rng, n, length)))


def calendar(rng: np.random.Generator, n: int, length: int, drift: float = 0.0, kinds: Array | None = None) -> Array:
    """Return `n` nested seasons of shape (n, length) and about unit scale: days in weeks, weeks in years.

    Some of the short cycles of every long one, like weekends, have another level and another profile. The long cycle may
    be longer than the series: a few days of quarter hours. `drift` is how far the amplitude wanders, `kinds` (k, 2) are what
    calendars there are, by default `CALENDARS`.
    """
    kinds = CALENDARS if kinds is None else kinds
    fits = kinds[kinds[:, 0] <= 0.3 * length]
    if not len(fits):
        return season(rng, n, length)
    short, count = fits[rng.integers(len(fits), size=n)].T[:, :, None]
    step = np.arange(length) + rng.integers(0, short * count, (n, 1))
    day = (step // short) % count
    cycles = step / short

    usual = profiles(rng, n)
    other = rng.uniform(0.0, 1.0, (n, 1)) * usual + rng.uniform(0.0, 0.8, (n, 1)) * profiles(rng, n)
    days_off = rng.integers(1, 3, (n, 1))
    is_off = (day < days_off) & (rng.random((n, 1)) < 0.8)
    base = np.where(is_off, read_profile(other, cycles), read_profile(usual, cycles))

    # The long cycle's own shape: a level of each day, or a smooth curve through the week.
    day_level = np.take_along_axis(rng.standard_normal((n, int(kinds[:, 1].max()))), day, axis=1)
    long_level = np.where(rng.random((n, 1)) < 0.6, day_level, read_profile(profiles(rng, n), cycles / count))
    strength = log_uniform(rng, n, 0.05, 2.0)
    off_level = is_off * rng.normal(-0.7, 0.7, (n, 1))
    modulated = base * np.exp(0.4 * rng.random((n, 1)) * day_level + drift * smooth_walk(rng, n, length))
    return np.asarray(modulated + strength * (long_level + off_level))
