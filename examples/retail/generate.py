"""A small shop whose demand follows price, promotions, holidays and what its items are: `python examples/retail/generate.py`.

Everything is drawn from one seed, so that the files beside this program can be made again, byte for byte. The true effects are
the constants below: a forecast with covariates should find them.
"""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np

SEED = 20240101
FIRST, LAST = date(2023, 1, 1), date(2024, 4, 30)
HORIZON = 14

ELASTICITY = {"food": -1.2, "drinks": -1.8, "household": -0.8}
PROMOTION_LIFT = 0.45
HOLIDAY = -0.55  # shops are closed for half of the day
DAY_BEFORE_HOLIDAY = 0.30
WEEKDAYS = (0.90, 0.88, 0.92, 1.00, 1.20, 1.35, 0.75)
# German holidays of the two years; Black Friday is a day of the shop's own.
HOLIDAYS = [
    *("2023-01-01", "2023-04-07", "2023-04-10", "2023-05-01", "2023-05-18", "2023-05-29", "2023-10-03", "2023-12-25"),
    *("2023-12-26", "2024-01-01", "2024-03-29", "2024-04-01", "2024-05-01", "2024-05-09"),
]
BLACK_FRIDAY = "2023-11-24"

# item -> category, brand, size in kilograms or litres, usual price, units on a usual day
ITEMS = {
    "bread": ("food", "Korn", 0.5, 2.50, 60),
    "butter": ("food", "Alm", 0.25, 2.20, 34),
    "cheese": ("food", "Alm", 0.4, 4.80, 18),
    "cola": ("drinks", "Fizz", 1.5, 1.80, 42),
    "detergent": ("household", "Rein", 2.0, 7.50, 28),
    "juice": ("drinks", "Sonne", 1.0, 2.60, 25),
    "lemonade": ("drinks", "Fizz", 1.5, 1.60, 30),
    "pasta": ("food", "Korn", 0.5, 1.40, 48),
    "soap": ("household", "Rein", 0.3, 2.10, 45),
    "tissues": ("household", "Weich", 0.6, 3.20, 50),
    "water": ("drinks", "Quelle", 1.5, 0.70, 75),
    "yoghurt": ("food", "Alm", 0.5, 1.30, 40),
}
# Listed from May on: it has attributes and a price, but no past.
NEW_ITEM = {"oat drink": ("drinks", "Korn", 1.0, 2.00, 0)}

PARAMS = {
    "DatasetGroup": {"DatasetGroupName": "retail", "Domain": "RETAIL"},
    "Datasets": [
        {
            "DatasetType": "TARGET_TIME_SERIES",
            "DataFrequency": "D",
            "Schema": {"item_id": "string", "timestamp": "timestamp", "demand": "float"},
        },
        {
            "DatasetType": "RELATED_TIME_SERIES",
            "DataFrequency": "D",
            "Schema": {"item_id": "string", "timestamp": "timestamp", "price": "float", "promotion": "integer"},
        },
        {
            "DatasetType": "ITEM_METADATA",
            "Schema": {"item_id": "string", "category": "string", "brand": "string", "size": "float"},
        },
    ],
    "TimestampFormat": "yyyy-MM-dd",
    "Predictor": {
        "ForecastHorizon": HORIZON,
        "FeaturizationConfig": {"ForecastFrequency": "D"},
        "DataConfig": {"AdditionalDatasets": [{"Name": "holiday", "Configuration": {"CountryCode": ["DE"]}}]},
    },
    "Forecast": {"ForecastTypes": ["0.10", "0.50", "0.90", "mean"]},
    "Chronos": {"Holidays": {"Days": {"Black Friday": ["2023-11-24", "2024-11-29"]}}},
}


def days() -> list[date]:
    """From the first day to the end of the horizon after the last."""
    return [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1 + HORIZON)]


def prices(random: np.random.Generator, usual: float, count: int) -> np.ndarray:
    """The price of each day: it changes every month or two, by up to 15%."""
    price, values = usual, np.empty(count)
    change = 0
    for day in range(count):
        if day == change:
            price = round(usual * (1 + random.uniform(-0.15, 0.15)), 2)
            change = day + int(random.integers(30, 60))
        values[day] = price
    return values


def promotions(random: np.random.Generator, count: int) -> np.ndarray:
    """Whether the item is promoted on each day: a week, every six weeks or so."""
    promoted = np.zeros(count, dtype=int)
    day = int(random.integers(0, 40))
    while day < count:
        promoted[day : day + 7] = 1
        day += int(random.integers(35, 50))
    return promoted


def demand(
    random: np.random.Generator, category: str, usual: tuple[float, float], price: np.ndarray, promoted: np.ndarray
) -> np.ndarray:
    """Units sold on each day; usual: the price and the units of a usual day."""
    calendar = days()
    closed = np.array([day.isoformat() in HOLIDAYS for day in calendar])
    before = np.append(closed[1:], False) & ~closed
    friday = np.array([day.isoformat() == BLACK_FRIDAY for day in calendar])
    expected = usual[1] * (price / usual[0]) ** ELASTICITY[category]
    expected *= np.array([WEEKDAYS[day.weekday()] for day in calendar])
    expected *= 1 + PROMOTION_LIFT * promoted
    expected *= 1 + HOLIDAY * closed
    expected *= 1 + DAY_BEFORE_HOLIDAY * before
    expected *= 1 + 0.8 * friday
    return random.poisson(expected * random.gamma(60, 1 / 60, len(expected)))


def main(folder: Path) -> None:
    """Write params.json, train/, related/ and item_metadata/ into a folder."""
    random = np.random.default_rng(SEED)
    calendar = days()
    sales, related, metadata = [], [], []
    for item, (category, brand, size, usual_price, units) in {**ITEMS, **NEW_ITEM}.items():
        price, promoted = prices(random, usual_price, len(calendar)), promotions(random, len(calendar))
        sold = demand(random, category, (usual_price, units), price, promoted)
        begin = calendar.index(LAST) + 1 if item in NEW_ITEM else 0
        for number, day in enumerate(calendar):
            if number >= begin:
                related.append((item, day.isoformat(), f"{price[number]:.2f}", promoted[number]))
            if begin <= number and day <= LAST:
                sales.append((item, day.isoformat(), sold[number]))
        metadata.append((item, category, brand, size))
    _write(folder / "train" / "sales.csv", ("item_id", "timestamp", "demand"), sales)
    _write(folder / "related" / "prices.csv", ("item_id", "timestamp", "price", "promotion"), related)
    _write(folder / "item_metadata" / "items.csv", ("item_id", "category", "brand", "size"), metadata)
    (folder / "params.json").write_text(json.dumps(PARAMS, indent=2) + "\n", encoding="utf-8")


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(__file__).parent)
