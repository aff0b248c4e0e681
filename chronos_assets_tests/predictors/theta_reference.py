"""The Theta recipe for one series at a time, in plain loops: what the batched member is compared with."""

from statistics import NormalDist

import numpy as np


def theta(values, horizon, seasons, levels, alphas):
    """Quantiles (horizon, levels) of what follows `values`, without gaps."""
    values = np.asarray(values, dtype=float)
    season = _season(values, seasons)
    n = len(values)
    multiplicative, pattern = _pattern(values, season) if season > 1 else (False, np.zeros(n))
    adjusted = values / pattern if multiplicative else values - pattern
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
        index = pattern[n - season + (step - 1) % season]
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


def _pattern(values, season):
    n, smooth = len(values), _smooth(values, season)
    multiplicative = values.min() > 0 and values.min() > 0.05 * values.mean()
    apart = values / smooth - 1 if multiplicative else values - smooth
    local = np.zeros(n)
    for t in range(n):
        same = [u for u in range(t % season, n, season) if not np.isnan(smooth[u])]
        shares = [np.exp(-abs(t - u) / season / 8) for u in same]
        local[t] = np.average(apart[same], weights=shares) if same else 0.0
    whole = -(-n // season) * season
    blocks = np.concatenate([np.zeros(whole - n), local]).reshape(-1, season)
    missing = whole - n  # phases before the first period, whose means are those of the periods after it
    for u in range(missing):
        same = [v for v in range(u - missing + season, n, season) if not np.isnan(smooth[v])]
        shares = [np.exp(-(v - u + missing) / season / 8) for v in same]
        blocks[0, u] = np.average(apart[same], weights=shares) if same else 0.0
    local = (blocks - blocks.mean(axis=1, keepdims=True)).ravel()[missing:]
    known = ~np.isnan(smooth)
    seasons, kept = known.sum() / season, np.exp(-1 / 8)
    averaged = (1 - kept**seasons) * (1 + kept) / ((1 + kept**seasons) * (1 - kept))
    chance = ((apart - local)[known] ** 2).mean() / max(averaged - 1, 1e-9)
    size = (local[-season:] ** 2).mean()
    local *= 1 - chance / size if chance < size else 0.0
    return multiplicative, np.maximum(1 + local, 0.05) if multiplicative else local
