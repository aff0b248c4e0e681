"""Averaged exponential smoothing of one series, value by value: what the vectorised member is compared with."""

import math
from itertools import product

import numpy as np

from chronos_assets.models.quantiles import normal_scores

GRID = [(a, 0.0, 1.0) for a in (0.1, 0.3, 0.5, 0.75, 1.0)] + [
    (a, a * share, phi)
    for a, share, phi in product((0.1, 0.3, 0.5, 0.75, 1.0), (0.05, 0.2, 0.5), (0.8, 0.9, 0.97, 1.0))
]


def ets(values, horizon, levels):
    """Quantiles (horizon, levels) of what follows a series without a season, of three observations at least."""
    first = np.asarray(values[:6], dtype=float)
    slope = 0.5 * float(np.polyfit(np.arange(len(first)), first, 1)[0])
    start = first.mean() - slope * ((len(first) - 1) / 2 + 1)
    counted = max(len(values) - 2, 1)
    models = []
    for alpha, beta, phi in GRID:
        level, trend, squares = start, slope if beta else 0.0, 0.0
        for place, value in enumerate(values):
            error = value - level - phi * trend
            squares += error**2 if place >= 2 else 0.0
            level, trend = level + phi * trend + alpha * error, phi * trend + beta * error
        parameters = 2 if beta == 0 else 5 if phi < 1 else 4
        penalty = 2 * parameters * (parameters + 1) / max(counted - parameters - 1, 1)
        criterion = counted * math.log(max(squares / counted, 1e-300)) + 2 * parameters + penalty
        centre, spread, effects = [], [], 0.0
        for step in range(1, horizon + 1):
            added = sum(phi**power for power in range(1, step + 1))
            centre.append(level + added * trend)
            spread.append(squares / counted * (1 + effects))
            effects += (alpha + beta * added) ** 2
        models.append((criterion, centre, spread))
    least = min(criterion for criterion, _, _ in models)
    weights = np.exp([-min(criterion - least, 60) / 2 for criterion, _, _ in models])
    weights /= weights.sum()
    centre = weights @ np.array([model[1] for model in models])
    deviation = np.sqrt(weights @ np.array([model[2] for model in models]))
    return centre[:, None] + deviation[:, None] * normal_scores(levels)
