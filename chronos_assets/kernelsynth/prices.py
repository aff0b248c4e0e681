"""Prices: what is known of tomorrow is today's value, and how far it may move.

Here belong series of markets: rates of exchange, shares, goods. They wander without going anywhere, and whoever sees a
direction or a week in them is wrong. What a forecast must learn from them is to stay where the series ends, and how wide
its band must be after calm days and after rough ones.
"""

import numpy as np

from chronos_assets.kernelsynth import noise, regimes
from chronos_assets.kernelsynth.noise import Array


def prices(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return sums of shocks of unit size whose volatility clusters (n, length), half of the rows as logarithms.

    Most rows are martingales. A seventh has the slight drift of a market, a fifth is slowly drawn back to where it began,
    a fifth is watched through noise (the spread between bid and ask). Some rest at weekends, or on days without a trade,
    and some have calm regimes in which they are all but fixed.
    """
    returns = noise.volatility(rng, n, length) * noise.white(rng, n, length)
    states = (n, regimes.STATES)
    pegged = np.exp(rng.normal(0.0, 1.2, states)) * np.where(rng.random(states) < 0.2, 0.03, 1.0)
    by_regime = np.take_along_axis(pegged, regimes.hidden_states(rng, n, length), axis=1)
    returns *= np.where(rng.random((n, 1)) < 0.2, by_regime, 1.0)

    weekend = (np.arange(length) + rng.integers(0, 7, (n, 1))) % 7 < 2
    without_trade = rng.random((n, length)) < rng.uniform(0.02, 0.5, (n, 1))
    rest = rng.choice(3, (n, 1), p=[0.75, 0.13, 0.12])
    returns = np.where(((rest == 1) & weekend) | ((rest == 2) & without_trade), 0.0, returns)

    returns += (rng.random((n, 1)) < 0.15) * rng.normal(0.0, 0.06, (n, 1))
    back = length * noise.log_uniform(rng, n, 0.15, 3.0)
    keep = np.where(rng.random((n, 1)) < 0.2, np.exp(-1.0 / back), 1.0)
    values = noise.decaying_sum(returns, keep)
    spread = (rng.random((n, 1)) < 0.2) * noise.log_uniform(rng, n, 0.1, 1.5)
    values += spread * rng.standard_normal((n, length))
    scale = noise.log_uniform(rng, n, 0.001, 0.02)
    return np.where(rng.random((n, 1)) < 0.5, np.exp((scale * values).clip(-4.0, 4.0)), values)
