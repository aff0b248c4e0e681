"""Scores of sums: against what their series add up to, and only where that is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.predictors.hierarchy import find_hierarchy
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata
from chronos_assets.timeseries.dataset.related import CovariateAttribute
from chronos_assets.timeseries.scoring.accuracy import evaluate_partition
from chronos_assets.timeseries.scoring.metrics_file import write_metrics
from chronos_assets.timeseries.scoring.sums import PublishedLevels
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    MadeSeries,
    make_params,
    write_dataset,
    write_forecast,
)

NAN = float("nan")
PARAMS = make_params(dimensions=("shop",))
CONTEXT_END = np.datetime64("2024-01-02T23:00", "us")  # of series that begin at 2024-01-01T00:00, after 48 hours
FIRST = np.datetime64("2024-01-03T00:00", "us")
PAST = {("a", "north"): 10.0, ("b", "north"): 20.0, ("a", "south"): 40.0}


def scored(
    folder: Path,
    ahead: Mapping[tuple[str, str], Sequence[float]],
    sums: Mapping[str, tuple[int, float]],
    levels: Collection[str] = ("total", "shop"),
) -> Any:
    """Metrics of sums by value and name: series that were flat until the as-of, sums by shop that are flat as well.

    ahead: what each series did after it. sums: value of a node -> how many series it had, and its forecast.
    """
    dataset = write_dataset(
        folder / "dataset",
        PARAMS,
        [MadeSeries(key, "2024-01-01", [PAST[key]] * 48 + list(values)) for key, values in ahead.items()],
    )
    bands = {name: [15.0] * 3 for name in ("p10", "p50", "p90")}
    forecast = write_forecast(folder / "forecast.parquet", PARAMS, str(FIRST), dict.fromkeys(PAST, bands))
    rows = [
        {
            "level": "total" if value == "total" else "shop",
            "value": value,
            "timestamp": FIRST + np.timedelta64(step, "h"),
        }
        | {"series": count, "mean": amount, "p10": amount - 2, "p50": amount, "p90": amount + 2}
        for value, (count, amount) in sums.items()
        for step in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "levels.parquet")
    groups = find_hierarchy(PAST, ["shop"], ("shop",), None)
    report = evaluate_partition(
        forecast,
        DatasetFolder(dataset),
        PARAMS,
        CONTEXT_END,
        sums=PublishedLevels(folder / "levels.parquet", groups, levels),
    )
    write_metrics(report, folder / "metrics.parquet")
    found = pq.read_table(folder / "metrics.parquet", filters=[("level", "=", "sum")]).to_pylist()
    return {(row["segment_value"], row["metric"]): row for row in found}


def test_a_sum_is_scored_by_what_its_series_add_up_to(tmp_path: Path) -> None:
    ahead = {("a", "north"): [11, 12, 13], ("b", "north"): [20, 20, 20], ("a", "south"): [40, 40, 44]}
    found = scored(tmp_path, ahead, {"total": (3, 72.0), "north": (2, 30.0), "south": (1, 40.0)})
    assert {row["segment_by"] for (value, _), row in found.items() if value != "total"} == {"shop"}
    north = found["north", "wape"]
    assert (north["value"], north["points"], north["excluded"]) == (pytest.approx((1 + 2 + 3) / (31 + 32 + 33)), 3, 0)
    # Seasonal naive of the sum is the sum of the series' own: 30, as the forecast was.
    assert north["seasonal_naive"] == pytest.approx(north["value"])
    assert found["north", "coverage_80"]["value"] == pytest.approx(2 / 3)
    assert found["total", "bias"]["value"] == pytest.approx(np.mean([72 - 71, 72 - 72, 72 - 77]))
    assert found["total", "mase"]["value"] is None
    assert found["south", "wape"]["item_id"] is None


def test_periods_and_sums_that_lack_a_series_are_left_out(tmp_path: Path) -> None:
    # An hour of one series wasn't observed, another series is gone, and a third one belongs to a sum of another size.
    ahead = {("a", "north"): [11.0, NAN, 13.0], ("b", "north"): [20.0] * 3}
    found = scored(tmp_path, ahead, {"total": (3, 72.0), "north": (2, 30.0), "south": (5, 40.0)})
    assert {value for value, _ in found} == {"total", "north"}
    assert (found["north", "wape"]["points"], found["north", "wape"]["excluded"]) == (2, 1)
    assert (found["total", "wape"]["value"], found["total", "wape"]["points"]) == (None, 0)


def test_levels_whose_nodes_have_other_series_by_now_are_told_apart_and_left_out(tmp_path: Path) -> None:
    keys = [("a",), ("b",), ("c",), ("d",)]

    def members(brands: str) -> dict[str, str]:
        attributes = tuple(CovariateAttribute(name, "category") for name in ("owner", "brand"))
        values = {
            "owner": np.array(["us" if brand in "xy" else "them" for brand in brands], dtype=object),
            "brand": np.array([*brands], dtype=object),
        }
        metadata = ItemMetadata(attributes, tuple(item for (item,) in keys), values)
        return find_hierarchy(keys, ["owner", "brand"], (), metadata).members()

    before, swapped, sold = members("xxyz"), members("xyxz"), members("xxzz")
    assert members("xxyz") == before
    # As many series as before are in each brand.
    assert [name for name in before if swapped[name] != before[name]] == ["brand"]
    assert [name for name in before if sold[name] != before[name]] == ["owner", "brand"]
    ahead = dict.fromkeys(PAST, [15.0] * 3)
    found = scored(tmp_path, ahead, {"total": (3, 45.0), "north": (2, 30.0)}, ["total"])
    assert {value for value, _ in found} == {"total"}
