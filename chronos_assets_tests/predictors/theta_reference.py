"""The Theta recipe for one series at a time, in plain loops: what the batched member is compared with."""

from statistics import NormalDist

import numpy as np


def theta(values, horizon, seasons, levels, alphas):
    """Quantiles (horizon, levels) of what follows `values`, without gaps."""
    values = np.asarray(values, dtype=float)
    season = _season(values, seasons)
    multiplicative, profile = _profile(values, season) if season > 1 else (False, np.zeros(1))
    n = len(values)
    phases = [(n - 1 - t) % season for t in range(n)]
    adjusted = [v / profile[p] if multiplicative else v - profile[p] for v, p in zip(values, phases, strict=True)]
    time = np.arange(n)
    slope, intercept = np.polyfit(time, adjusted, 1) if n > 1 else (0.0, adjusted[0])
    curved = [2 * y - (intercept + slope * t) for t, y in enumerate(adjusted)]
    best = None
    for alpha in alphas:
        level, squared = curved[0], 0.0
        for value in curved[1:]:
            error = value - level
            squared += error**2
            level += alpha * error
        if best is None or squared < best[0]:
            best = (squared, alpha, level)
    squared, alpha, level = best
    deviation = np.sqrt(squared / max(n - 1, 1)) / 2
    result = np.empty((horizon, len(levels)))
    for step in range(1, horizon + 1):
        centre = (level + intercept + slope * (n - 1 + step)) / 2
        spread = deviation * np.sqrt(1 + (step - 1) * alpha**2)
        index = profile[(season - 1 - (step - 1) % season) % season]
        for column, p in enumerate(levels):
            value = centre + spread * NormalDist().inv_cdf(p)
            result[step - 1, column] = value * index if multiplicative else value + index
    return result


def _season(values, seasons):
    n, best, found = len(values), 0.0, 1
    for season in seasons:
        if n < 2 * season:
            continue
        smooth = _smooth(values, season)
        rest = [v - s for v, s in zip(values, smooth, strict=True) if not np.isnan(s)]
        rest, dependence = np.array(rest), 1.0
        if len(rest) - season < season:
            rest = np.diff(values)
        else:
            near = (rest[1:] * rest[:-1]).mean() / max((rest**2).mean(), 1e-300)
            dependence = min((1 + near**2) / max(1 - near**2, 1e-9), 6.0)
        pairs = len(rest) - season
        energy = (rest**2).mean()
        if energy <= 1e-24 * max(np.abs(rest).max(), 1e-100) ** 2:
            continue
        correlation = (rest[season:] * rest[:-season]).mean() / energy if pairs > 0 else 0.0
        margin = correlation - 1.96 * np.sqrt(dependence / max(pairs, 1))
        if margin > best:
            best, found = margin, season
    return found


def _smooth(values, season):
    n, half = len(values), season // 2
    smooth = [np.nan] * n
    for t in range(half, n - half):
        if season % 2:
            smooth[t] = values[t - half : t + half + 1].mean()
        else:
            smooth[t] = (values[t - half] / 2 + values[t - half + 1 : t + half].sum() + values[t + half] / 2) / season
    return smooth


def _profile(values, season):
    n, smooth = len(values), _smooth(values, season)
    multiplicative = values.min() > 0 and values.min() > 0.05 * values.mean()
    profile = np.zeros(season)
    for phase in range(season):
        chosen = [t for t in range(n) if (n - 1 - t) % season == phase and not np.isnan(smooth[t])]
        parts = [values[t] / smooth[t] if multiplicative else values[t] - smooth[t] for t in chosen]
        profile[phase] = np.mean(parts) if parts else 0.0
    if multiplicative:
        return True, np.maximum(profile / profile.mean(), 0.05)
    return False, profile - profile.mean()
