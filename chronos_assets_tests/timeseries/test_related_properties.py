"""Related time series on the grid, whatever rows come: held against pandas."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronos_assets.params.attributes import RelatedFilling
from chronos_assets.predictors.covariates import CovariateFolders
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets_tests.timeseries.test_related_importing import Drop, daily, days

pytestmark = pytest.mark.process  # each example is an import

ITEMS = ("a", "b", "c")
HOURS = pd.date_range("2023-12-31", "2024-01-09 23:00", freq="h")
DATASET_END, HORIZON_END = pd.Timestamp("2024-01-04"), pd.Timestamp("2024-01-07")
GRID = pd.date_range("2024-01-01", HORIZON_END, freq="D")
FILLED = {"zero": 0.0, "value": 7.5}

ROWS = st.dictionaries(
    st.tuples(st.sampled_from(ITEMS), st.sampled_from(list(HOURS))),
    st.tuples(st.one_of(st.none(), st.integers(-50, 50)), st.sampled_from(["", "", "sale", "feast"])),
    min_size=1,
    max_size=25,
)
METHODS = st.sampled_from(["nan", "zero", "value"])


def gridded(
    rows: dict[tuple[str, pd.Timestamp], tuple[int | None, str]], filling: RelatedFilling, end: Any = DATASET_END
) -> Any:
    """By item, attribute and day: means, the most frequent texts (of several the first one by the alphabet).

    Gaps of numbers are filled between values, to the end, and beyond.
    """
    frame = pd.DataFrame([(item, moment, *values) for (item, moment), values in rows.items()])
    frame.columns = ["item", "moment", "price", "event"]
    frame["day"] = frame["moment"].dt.floor("D")
    frame["event"] = frame["event"].replace("", None)
    inside = frame[frame["day"].isin(GRID)]
    found: dict[str, dict[str, pd.Series]] = {}
    for item, part in inside.groupby("item"):
        price = part.groupby("day")["price"].apply(lambda values: values.astype(float).mean()).reindex(GRID)
        known = price.dropna().index
        if len(known):
            for day in GRID[price.isna()]:
                if known[0] < day < known[-1]:
                    method = filling.middlefill
                elif known[-1] < day <= end:
                    method = filling.backfill
                elif day > max(known[-1], end):
                    method = filling.futurefill
                else:
                    continue
                price[day] = FILLED.get(method, math.nan)
        texts = part.dropna(subset="event").groupby("day")["event"]
        event = texts.apply(lambda values: min(values.mode())).reindex(GRID) if len(texts) else pd.Series(None, GRID)
        found[str(item)] = {"price": price, "event": event}
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, middle=METHODS, back=METHODS, future=METHODS, known=st.booleans())
def test_rows_become_periods_as_pandas_makes_them(rows: Any, middle: Any, back: Any, future: Any, known: bool) -> None:
    filling = RelatedFilling(
        middlefill=middle, middlefill_value=7.5 if middle == "value" else None,
        backfill=back, backfill_value=7.5 if back == "value" else None,
        futurefill=future, futurefill_value=7.5 if future == "value" else None,
    )  # fmt: skip
    columns = {"price": "float", "event": "string"}
    params = daily(columns=columns, filling={"price": filling}, known={"price": known})
    assert params.related is not None
    assert params.related.dataset is not None
    schema = replace(params.related.dataset, timestamp_format="yyyy-MM-dd HH:mm:ss")
    params = replace(params, related=replace(params.related, dataset=schema))
    lines = [
        f"{item},{moment},{'' if price is None else price},{event}" for (item, moment), (price, event) in rows.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        drop = Drop(Path(folder), params, [(item,) for item in ITEMS], shards=1)
        drop.put("\n".join(["item_id,timestamp,price,event", *lines]) + "\n")
        found = drop.series()
        manifest = RelatedManifest.read(Path(folder) / "related")
        if not known:
            see_what_was_known(found, manifest, rows, filling)
            return
        expected = gridded(rows, filling)
        for item in ITEMS:
            one = found.get((item,))
            for name in ("price", "event"):
                got = days(one, manifest, name) if one is not None else {}
                for day, value in expected[item][name].items() if item in expected else ():
                    mine = got.get(f"{day:%d}")
                    if pd.isna(value):
                        assert mine is None or (isinstance(mine, float) and math.isnan(mine)), (item, name, day)
                    else:
                        assert mine == pytest.approx(value) if name == "price" else mine == value, (item, name, day)


def see_what_was_known(found: Any, manifest: RelatedManifest, rows: Any, filling: RelatedFilling) -> None:
    """As of each day, a price that nobody knows in advance is what the rows up to that day would have made."""
    source = CovariateFolders(manifest.grid, manifest=manifest)
    first = int(manifest.grid.ordinal(GRID[:1].to_numpy())[0])
    for count, day in enumerate(pd.date_range(GRID[0], DATASET_END), start=1):
        until = {key: values for key, values in rows.items() if key[1] < day + pd.Timedelta(days=1)}
        expected = gridded(until, filling, day) if until else {}
        for item, one in found.items():
            got = source.as_of(item, one, first + count - 1, count, 3).past["price"]
            there = expected[item[0]]["price"][:day] if item[0] in expected else [math.nan] * count
            assert got.tolist() == pytest.approx(list(there), nan_ok=True), (item, day)
