"""Chronos-Bolt checkpoints on simulators of their own, which share no code with the generator that they are trained on.

    python -m benchmarks.simulated chronos_assets/models/bundled [FOLDER ...] [--series 240]

By kind of series: quantile loss and absolute error of the median, in the errors that seasonal naive makes inside the
history, relative to seasonal naive's; the geometric mean over series of the former; and what the 80% band holds. Choices
about the bundled model are made by these and by the trainer's validation, never by a score on real sets. Each series is
padded by its own length alone, as the product does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.pretraining import load_model
from chronos_assets.models.pretraining_recipe import ModelShape

Floats = NDArray[np.float64]
Simulator = Callable[[np.random.Generator, int], Floats]

CONTEXT = 1024
SEED = 424242
LEVELS = np.arange(1, 10) / 10
HEAD = """| kind | rel. quantile loss | rel. absolute error | of a typical series | 80% band |
|---|---|---|---|---|"""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smoothed(rng: np.random.Generator, steps: int, season: int) -> Floats:
    """Exponential smoothing as a process, step by step (Hyndman et al., 2008): errors and seasons of either kind."""
    proportional, swinging, damped = rng.random(3) < (0.7, 0.6, 0.5)
    swinging &= season > 1
    alpha = rng.uniform(0.05, 0.8)
    beta, gamma = alpha * rng.uniform(0, 0.3), rng.uniform(0, 0.3) * (1 - alpha)
    damping = rng.uniform(0.85, 0.98) if damped else 1.0
    level = np.exp(rng.normal(6, 2))
    slope = level * rng.normal(0.05, 0.12) / max(season, 4)
    profile = rng.normal(0, 1, season)
    profile = (profile - profile.mean()) * log_uniform(rng, 0.02, 0.35)
    states = list(1 + profile if swinging else profile * level)
    noise = log_uniform(rng, 0.004, 0.12)
    values = np.empty(steps)
    for step in range(steps):
        base, state = level + damping * slope, states[step % season]
        mean = base * state if swinging else base + state
        error = rng.standard_normal() * noise * abs(mean if proportional else base)
        values[step] = mean + error
        own = error / state if swinging and state else error
        level, slope = base + alpha * own, damping * slope + beta * own
        if season > 1:
            states[step % season] = state + gamma * (error / base if swinging and base else error)
    return values


def airline(rng: np.random.Generator, steps: int, season: int) -> Floats:
    """The airline model, (0, 1, 1)(0, 1, 1) of logarithms (Box and Jenkins)."""
    near, far = rng.uniform(-0.1, 0.8), rng.uniform(0.2, 0.9)
    shocks = rng.standard_normal(steps + 60 + season)
    moved = shocks.copy()
    moved[1:] -= near * shocks[:-1]
    seasonal = moved.copy()
    seasonal[season:] -= far * moved[:-season]
    values = np.zeros(len(seasonal))
    for step in range(season + 1, len(values)):
        values[step] = values[step - 1] + values[step - season] - values[step - season - 1] + seasonal[step]
    kept = values[-steps:]
    return np.exp(kept / (kept.std() + 1e-9) * log_uniform(rng, 0.02, 0.4) + rng.normal(6, 2))


def monthly(rng: np.random.Generator, horizon: int) -> Floats:
    """Two to ten years of months."""
    steps = int(rng.integers(24, 121)) + horizon
    return airline(rng, steps, 12) if rng.random() < 0.25 else smoothed(rng, steps, 12)


def quarterly(rng: np.random.Generator, horizon: int) -> Floats:
    """Four to seventeen years of quarters."""
    steps = int(rng.integers(16, 70)) + horizon
    return airline(rng, steps, 4) if rng.random() < 0.25 else smoothed(rng, steps, 4)


def yearly(rng: np.random.Generator, horizon: int) -> Floats:
    """13 to 50 years: smoothed, or growing at a rate that is autocorrelated."""
    steps = int(rng.integers(13, 50)) + horizon
    if rng.random() < 0.6:
        return smoothed(rng, steps, 1)
    growth, keep, noise = rng.normal(0.04, 0.04), rng.uniform(0, 0.8), log_uniform(rng, 0.005, 0.1)
    rate = np.zeros(steps)
    for step in range(1, steps):
        rate[step] = keep * rate[step - 1] + noise * rng.standard_normal()
    return np.exp(rng.normal(7, 2) + np.cumsum(growth + rate))


def money(rng: np.random.Generator, horizon: int) -> Floats:
    """Sums of money by month: strong and smooth growth, a season in proportion, a large December, little noise."""
    steps = int(rng.integers(22, 109)) + horizon
    time, rate = np.arange(steps), np.empty(steps)
    usual, noise = rng.normal(0.01, 0.012), log_uniform(rng, 3e-4, 6e-3)
    now = usual
    for step in range(steps):
        now = usual + 0.9 * (now - usual) + noise * rng.standard_normal()
        rate[step] = now
    waves = [rng.normal() / k * np.sin(2 * np.pi * k * time / 12 + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3)]
    december = (time % 12 == rng.integers(12)) * rng.normal(0.05, 0.05)
    rough = log_uniform(rng, 0.002, 0.03) * rng.standard_normal(steps)
    return np.exp(
        np.cumsum(rate) + np.sum(waves, axis=0) * log_uniform(rng, 0.003, 0.12) + december + rough + rng.normal(8, 3)
    )


def returning(rng: np.random.Generator, steps: int, time: float) -> Floats:
    """An Ornstein-Uhlenbeck process of unit variance that forgets over `time` steps."""
    keep = np.exp(-1 / time)
    shocks = np.sqrt(1 - keep**2) * rng.standard_normal(steps)
    values = np.empty(steps)
    now = rng.standard_normal()
    for step in range(steps):
        now = keep * now + shocks[step]
        values[step] = now
    return values


def substation(rng: np.random.Generator, horizon: int, day: int) -> Floats:
    """Loads of a substation by weather, habits and machines, or the temperature of its oil, which lags behind."""
    steps = CONTEXT + horizon
    time = np.arange(steps) + rng.integers(0, 7 * day)
    turn = time / day % 1
    warmth = 8 * np.sin(2 * np.pi * (turn - 0.3)) * rng.uniform(0.3, 1)
    warmth += 5 * returning(rng, steps, 2.5 * day) + 2 * returning(rng, steps, day / 6)
    if rng.random() < 0.15:
        keep, oil, now = np.exp(-1 / rng.uniform(8, 60)), np.empty(steps), warmth[0]
        for step in range(steps):
            now = keep * now + (1 - keep) * (warmth[step] + 3 * max(0.0, np.sin(2 * np.pi * (turn[step] - 0.4))))
            oil[step] = now
        return 25 + oil + 0.15 * rng.standard_normal(steps)
    morning, evening = rng.uniform(0.28, 0.38), rng.uniform(0.75, 0.85)
    at_home = rng.uniform(0.2, 1) * np.exp(-(((turn - morning) / 0.05) ** 2))
    at_home += rng.uniform(0.5, 1.5) * np.exp(-(((turn - evening) / 0.08) ** 2)) + 0.3 * (np.abs(turn - 0.55) < 0.2)
    weekend = time // day % 7 >= 5
    load = at_home * (1 + rng.uniform(-0.3, 0.3) * weekend) * np.exp(0.2 * returning(rng, steps, day))
    load += 1 + rng.uniform(0, 0.03) * warmth + 0.12 * returning(rng, steps, 3 * day)
    load += 0.1 * returning(rng, steps, day / rng.uniform(4, 30)) + log_uniform(rng, 0.02, 0.35) * rng.standard_normal(
        steps
    )
    load += rng.choice([0, 0.5]) * (returning(rng, steps, rng.uniform(3, 12)) > 1.2)
    return np.round(load * rng.uniform(2, 12) - rng.choice([0, 8]), 2)


def week_of_hours(rng: np.random.Generator, horizon: int) -> Floats:
    """A regular week of hours, on a level that wanders a little."""
    steps = CONTEXT + horizon
    time = np.arange(steps)
    day = rng.uniform(0.2, 0.8) * np.sin(2 * np.pi * (time / 24 - 0.3))
    day += 0.3 * np.sin(4 * np.pi * time / 24 + rng.uniform(0, 2 * np.pi))
    factors = np.exp(0.05 * rng.standard_normal(7))
    factors[5:] *= rng.uniform(0.5, 1.1, 2)
    noise = 1 + log_uniform(rng, 0.005, 0.1) * rng.standard_normal(steps)
    return 1000 * np.exp(day) * factors[time // 24 % 7] * np.exp(0.05 * returning(rng, steps, 100)) * noise


def exchange_rate(rng: np.random.Generator, horizon: int) -> Floats:
    """A geometric random walk whose volatility clusters (GARCH)."""
    steps = CONTEXT + horizon
    returns = np.empty(steps)
    variance, last = 1.0, 0.0
    for step in range(steps):
        variance = 0.02 + 0.05 * last**2 + 0.93 * variance
        last = np.sqrt(variance) * rng.standard_normal()
        returns[step] = last
    return np.exp(0.006 * np.cumsum(returns) + rng.normal(0, 1))


def hours_elsewhere(rng: np.random.Generator, horizon: int) -> Floats:
    """Hours that repeat their day, half of them their week, on a level that jumps, bends or grows further than they swing."""
    steps = int(rng.integers(600, 961)) + horizon
    time = np.arange(steps)
    hour = time + rng.integers(0, 168)
    waves = [rng.normal() / k**1.2 * np.sin(2 * np.pi * (k * hour / 24 + rng.random())) for k in range(1, 8)]
    day: Floats = np.sum(waves, axis=0)
    if rng.random() < 0.5:
        factors = np.exp(0.15 * rng.standard_normal(7))
        factors[5:] *= rng.uniform(0.4, 0.9)
        day = day * factors[hour // 24 % 7] - rng.uniform(0, 1) * (hour // 24 % 7 >= 5)
    turn = int(rng.integers(steps // 4, steps - horizon - 12))
    bent = np.maximum(time - turn, 0) / (steps - turn)
    level = (1.0 * (time >= turn), bent, 3.5 * time / steps, np.exp(2.5 * time / steps) / 3)[rng.integers(4)]
    noise = log_uniform(rng, 0.01, 0.1) * rng.standard_normal(steps)
    return day / np.std(day) + log_uniform(rng, 1, 16) * rng.choice([-1, 1]) * level + noise


def economy(rng: np.random.Generator, horizon: int) -> Floats:
    """Decades of months of a country: output, prices and money, which grow smoothly, at a rate that changes slowly."""
    steps = int(rng.integers(300, 721)) + horizon
    rate = rng.normal(0.004, 0.003) + log_uniform(rng, 2e-4, 4e-3) * returning(rng, steps, log_uniform(rng, 1, 50))
    rough = log_uniform(rng, 1e-4, 4e-3) * rng.standard_normal(steps)
    return np.exp(rng.normal(6, 2) + np.cumsum(rate) + rough)


# Simulator, horizon and season of seasonal naive.
KINDS: Mapping[str, tuple[Simulator, int, int]] = {
    "monthly": (monthly, 12, 12),
    "quarterly": (quarterly, 8, 4),
    "yearly": (yearly, 6, 1),
    "money": (money, 12, 12),
    "quarter_hour": (lambda rng, horizon: substation(rng, horizon, 96), 24, 96),
    "hourly": (lambda rng, horizon: substation(rng, horizon, 24), 24, 24),
    "week_of_hours": (week_of_hours, 48, 168),
    "exchange_rate": (exchange_rate, 30, 1),
    "hours_elsewhere": (hours_elsewhere, 48, 24),
    "economy": (economy, 12, 12),
}


@dataclass(frozen=True)
class Score:
    """Of one kind of series; losses are relative to seasonal naive."""

    loss: float
    error: float
    typical_loss: float
    coverage: float


@torch.inference_mode()
def forecast(model: torch.nn.Module, histories: Sequence[Floats], horizon: int, patch: int) -> Floats:
    """Quantiles (n, levels of the model, horizon); histories are padded to whole patches and passed by length."""
    padded = [np.pad(h[-CONTEXT:], (-len(h[-CONTEXT:]) % patch, 0), constant_values=np.nan) for h in histories]
    quantiles: list[Floats] = [np.empty(0)] * len(padded)
    for length in sorted({len(row) for row in padded}):
        rows = [place for place, row in enumerate(padded) if len(row) == length]
        for part in (rows[start : start + 64] for start in range(0, len(rows), 64)):
            context = torch.tensor(np.stack([padded[place] for place in part]), dtype=torch.float32)
            for place, values in zip(part, model(context=context).quantile_preds.double().numpy(), strict=True):
                quantiles[place] = values[:, :horizon]
    return np.stack(quantiles)


def scored(model: torch.nn.Module, kind: str, number: int, shape: ModelShape) -> Score:
    """The score of `model` on `number` series of `kind`, the same for every model."""
    simulate, horizon, season = KINDS[kind]
    rng = np.random.default_rng((SEED, list(KINDS).index(kind)))
    series = [simulate(rng, horizon) for _ in range(number)]
    histories, actual = [s[:-horizon] for s in series], np.stack([s[-horizon:] for s in series])
    quantiles = forecast(model, histories, horizon, shape.patch_size)
    naive = np.stack([h[-season:][np.arange(horizon) % season] for h in histories])
    scale = np.array([np.abs(h[season:] - h[:-season]).mean() for h in histories])[:, None] + 1e-9
    levels = [int(np.argmin(np.abs(np.array(shape.quantiles) - level))) for level in LEVELS]
    error = actual[:, None] - quantiles[:, levels]
    loss = 2 * np.maximum(LEVELS[:, None] * error, (LEVELS[:, None] - 1) * error).mean(axis=1) / scale
    median, baseline = np.abs(error[:, len(levels) // 2]) / scale, np.abs(actual - naive) / scale
    typical = np.log((loss.mean(axis=1) + 1e-6) / (baseline.mean(axis=1) + 1e-6)).mean()
    return Score(
        loss=float(loss.mean() / baseline.mean()),
        error=float(median.mean() / baseline.mean()),
        typical_loss=float(np.exp(typical)),
        coverage=float(((error[:, 0] >= 0) & (error[:, -1] <= 0)).mean()),
    )


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path, help="folders of checkpoints of the bundled model's shape")
    parser.add_argument("--series", type=int, default=240, help="of each kind")
    options = parser.parse_args()
    shape = ModelShape()
    for folder in options.models:
        model = load_model(folder, shape).eval()
        scores = {kind: scored(model, kind, options.series, shape) for kind in KINDS}
        print(f"\n{folder}\n\n{HEAD}")
        for kind, score in scores.items():
            print(
                f"| {kind} | {score.loss:.3f} | {score.error:.3f} | {score.typical_loss:.3f} | {score.coverage:.0%} |"
            )
        means = [
            np.exp(np.mean([np.log(getattr(s, name)) for s in scores.values()]))
            for name in ("loss", "error", "typical_loss")
        ]
        coverage = np.mean([score.coverage for score in scores.values()])
        print(f"| **geometric mean** | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.3f} | {coverage:.0%} |")


if __name__ == "__main__":
    main()
