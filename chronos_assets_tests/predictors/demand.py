"""Generated demand whose drivers are known: shops with prices, promotions and holidays, and a load that follows the weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors.members.base import Covariates

ELASTICITY, PROMOTION, HOLIDAY = -1.8, 1.6, 1.4
COLD, HOT = 1.2, 2.0  # units for each degree below 12 and above 20


@dataclass(frozen=True)
class Demand:
    """One series: values (T + horizon,), and covariates at all of them."""

    values: NDArray[np.float64]
    covariates: Covariates


def shops(
    items: int = 30, periods: int = 240, horizon: int = 14, *, seed: int = 7, effects: bool = True
) -> list[Demand]:
    """Daily sales of items of different size and price, with a week's season and a trend; without effects, noise."""
    rng = np.random.default_rng(seed)
    count = periods + horizon
    time = np.arange(count)
    holiday = (time % 45 == 20).astype(float)
    found = []
    for _ in range(items):
        base = float(rng.choice([5.0, 9.0, 12.0, 20.0]))
        price = base * rng.choice([0.8, 0.9, 1.0, 1.0, 1.1], size=count // 7 + 1).repeat(7)[:count]
        promotion = (rng.random(count) < 0.12).astype(float)
        level = rng.lognormal(4, 1) * (1 + 0.001 * time) * (1 + 0.3 * np.sin(2 * np.pi * time / 7))
        drivers = (price / base) ** ELASTICITY * PROMOTION**promotion * HOLIDAY**holiday if effects else 1.0
        values = rng.poisson(level * drivers * np.exp(rng.normal(0, 0.1, count))).astype(float)
        known = {"price": price, "promotion": promotion, "holiday:US": holiday, "calendar:day_of_week": time % 7.0}
        found.append(Demand(values, Covariates(periods, {}, known, {"list_price": base})))
    return found


def load(days: int = 120, horizon: int = 24, *, seed: int = 3) -> Demand:
    """An hourly load around zero that rises below 12 and above 20 degrees, with a day's season and quieter week-ends."""
    rng = np.random.default_rng(seed)
    time = np.arange(24 * days + horizon)
    weather = rng.normal(16, 7, len(time) // 24 + 1).repeat(24)[: len(time)]
    temperature = weather + 4 * np.sin(2 * np.pi * (time - 6) / 24)
    values = 15 * np.sin(2 * np.pi * (time - 8) / 24) - 10 * ((time // 24) % 7 > 4) - 40
    values = values + response(temperature) + rng.normal(0, 2, len(time))
    known = {
        "temperature": temperature,
        "calendar:hour": time % 24.0,
        "calendar:day_of_week": (time // 24) % 7.0,
    }
    return Demand(values, Covariates(24 * days, {}, known, {}))


def response(temperature: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the weather adds to the load."""
    return COLD * np.maximum(12 - temperature, 0) + HOT * np.maximum(temperature - 20, 0)


def changed(covariates: Covariates, periods: int, **values: object) -> Covariates:
    """The covariates with others after the first so many periods."""
    known = dict(covariates.known)
    for name, value in values.items():
        known[name] = known[name].copy()
        known[name][periods:] = value
    return Covariates(covariates.periods, covariates.past, known, covariates.static)
