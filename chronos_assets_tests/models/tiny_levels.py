"""Quantile levels of the published families."""

LEVELS_21 = (0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99)  # Chronos-2 and the bundled model
LEVELS_9 = tuple(round(0.1 * step, 1) for step in range(1, 10))  # Chronos-Bolt
