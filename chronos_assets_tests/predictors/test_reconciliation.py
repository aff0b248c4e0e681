"""Sums of series: they add up, their bands hold what the sums are unsure of, and MinTrace is MinTrace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.predictors.hierarchy import Hierarchy, LevelsError, find_hierarchy
from chronos_assets.predictors.reconciliation import check_size, min_trace, write_levels
from chronos_assets.timeseries.dataset.item_metadata import read_item_metadata
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.forecast.files import WindowFolder
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    Key,
    MadeSeries,
    make_metadata,
    make_params,
    write_dataset,
    write_forecast,
)

PAST, HORIZON = 200, 3
LEVELS = (0.1, 0.5, 0.9)
PARAMS = make_params(mean=True, frequency="D", quantiles=LEVELS)
SHOPS = {(f"item-{number:02d}",): f"shop {number % 3}" for number in range(12)}


def normal_forecast(mean: float, deviation: float) -> dict[str, list[float]]:
    scores = normal_scores(LEVELS)
    quantiles = {
        f"p{int(level * 100)}": [mean + deviation * score] * HORIZON
        for level, score in zip(LEVELS, scores, strict=True)
    }
    return {"mean": [mean] * HORIZON, **quantiles}


def made(
    tmp_path: Path,
    series: Mapping[Key, Any],
    forecasts: Mapping[Key, dict[str, list[float]]],
    *,
    metadata: Mapping[Key, str] | None = None,
    method: Any = "bottom_up",
    params: ForecastParams = PARAMS,
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows of the sums, by level and value."""
    dataset = write_dataset(
        tmp_path / "dataset", params, [MadeSeries(key, "2024-01-01", values) for key, values in series.items()]
    )
    manifest = Manifest.read(dataset)
    end = params.grid.start(np.array([manifest.span(params.grid)[1] + 1]))[0]
    folder = tmp_path / "forecast"
    write_forecast(folder / "forecast.parquet", params, str(end), forecasts)
    columns = list(next(iter(forecasts.values())))
    document = {"dimensions": [], "columns": columns, "horizon": HORIZON, "series": len(forecasts)}
    document |= {"quantiles": list(LEVELS), "context_end": manifest.last}
    (folder / "manifest.json").write_text(json.dumps(document))
    items = None
    if metadata is not None:
        make_metadata(tmp_path / "items", {key[0]: {"shop": shop} for key, shop in metadata.items()})
        items = read_item_metadata(tmp_path / "items")
    hierarchy = find_hierarchy(forecasts, ["shop"] if metadata else [], (), items)
    path = tmp_path / "levels.parquet"
    summary = write_levels(path, WindowFolder.read(folder), DatasetFolder(dataset), hierarchy, method, params.grid)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in pq.read_table(path).to_pylist():
        rows.setdefault((row["level"], row["value"]), []).append(row)
    assert summary["rows"] == sum(map(len, rows.values()))
    return rows


def deviation_of(rows: list[dict[str, Any]]) -> float:
    return (rows[0]["p90"] - rows[0]["p10"]) / float(normal_scores([0.9])[0]) / 2


def shocks(kind: str, chance: np.random.Generator) -> np.ndarray:
    """Series that change independently, or all alike, (items, periods)."""
    own = chance.normal(size=(len(SHOPS), PAST))
    shared = chance.normal(size=PAST)
    return 50 + (own if kind == "apart" else np.tile(shared, (len(SHOPS), 1)))


@pytest.mark.parametrize("method", ["bottom_up", "min_trace"])
def test_the_means_of_each_level_add_up(tmp_path: Path, method: str) -> None:
    chance = np.random.default_rng(1)
    values = shocks("apart", chance)
    forecasts = {key: normal_forecast(float(chance.uniform(40, 60)), 1.0) for key in SHOPS}
    rows = made(tmp_path, dict(zip(SHOPS, values, strict=True)), forecasts, metadata=SHOPS, method=method)
    assert set(rows) == {("total", "total"), *(("shop", shop) for shop in set(SHOPS.values()))}
    shops = np.sum([[row["mean"] for row in rows["shop", shop]] for shop in set(SHOPS.values())], axis=0)
    total = [row["mean"] for row in rows["total", "total"]]
    np.testing.assert_allclose(shops, total, rtol=1e-12)
    assert [row["series"] for row in rows["shop", "shop 1"]] == [4] * HORIZON
    assert str(rows["total", "total"][0]["timestamp"]) == "2024-07-19 00:00:00"
    items = sum(forecast["mean"][0] for forecast in forecasts.values())
    if method == "bottom_up":
        assert total[0] == pytest.approx(items)
    else:
        # The past says 50 each, with less doubt about the sum than about what the items' forecasts say.
        assert abs(total[0] - 600) < abs(items - 600)
    for part in rows.values():
        assert part[0]["p10"] < part[0]["p50"] < part[0]["p90"]


@pytest.mark.parametrize(("kind", "truth"), [("apart", np.sqrt(12)), ("alike", 12.0)])
def test_a_band_is_as_wide_as_the_series_move_together(tmp_path: Path, kind: str, truth: float) -> None:
    values = shocks(kind, np.random.default_rng(2))
    forecasts = {key: normal_forecast(50.0, 1.0) for key in SHOPS}
    rows = made(tmp_path, dict(zip(SHOPS, values, strict=True)), forecasts)
    assert deviation_of(rows["total", "total"]) == pytest.approx(truth, rel=0.25)


def test_bands_hold_what_they_promise(tmp_path: Path) -> None:
    """Series that share half of their shocks: the sum's 80% band holds 80% of its actuals."""
    chance = np.random.default_rng(3)
    past = np.sqrt(0.5) * chance.normal(size=PAST) + np.sqrt(0.5) * chance.normal(size=(len(SHOPS), PAST))
    rows = made(tmp_path, dict(zip(SHOPS, 50 + past, strict=True)), {key: normal_forecast(50.0, 1.0) for key in SHOPS})
    shared, own = chance.normal(size=4000), chance.normal(size=(len(SHOPS), 4000))
    actual = (50 + np.sqrt(0.5) * shared + np.sqrt(0.5) * own).sum(axis=0)
    band = rows["total", "total"][0]
    assert ((actual > band["p10"]) & (actual < band["p90"])).mean() == pytest.approx(0.8, abs=0.08)
    sum_of_quantiles = 12 * (50 + normal_scores([0.9])[0])
    assert band["p90"] < sum_of_quantiles


def test_a_sum_of_one_series_has_its_band(tmp_path: Path) -> None:
    skewed = {"mean": [10.0] * HORIZON, "p10": [4.0] * HORIZON, "p50": [7.0] * HORIZON, "p90": [30.0] * HORIZON}
    rows = made(tmp_path, {("a",): shocks("apart", np.random.default_rng(4))[0]}, {("a",): skewed})
    for name, expected in skewed.items():
        assert rows["total", "total"][0][name] == pytest.approx(expected[0])


def test_a_past_too_short_to_tell_is_taken_as_all_together_and_nothing_is_below_zero(tmp_path: Path) -> None:
    keys: list[Key] = [("a",), ("b",)]
    forecasts = {key: normal_forecast(1.0, 0.5) for key in keys}
    rows = made(tmp_path, {key: [1.0, 2.0, 3.0] for key in keys}, forecasts)
    assert deviation_of(rows["total", "total"]) == pytest.approx(1.0)
    wide = {key: normal_forecast(1.0, 3.0) | {"p10": [0.0] * HORIZON} for key in keys}
    rows = made(tmp_path / "wide", {key: [1.0, 2.0, 3.0] for key in keys}, wide)
    assert rows["total", "total"][0]["p10"] >= 0


def test_without_a_mean_it_is_that_of_the_quantiles_and_a_mean_alone_has_no_band(tmp_path: Path) -> None:
    values = shocks("apart", np.random.default_rng(5))
    series = dict(zip(SHOPS, values, strict=True))
    bands = {
        key: {name: column for name, column in normal_forecast(5.0, 1.0).items() if name != "mean"} for key in SHOPS
    }
    rows = made(tmp_path, series, bands)
    assert rows["total", "total"][0]["mean"] == pytest.approx(60)


def nested() -> Hierarchy:
    keys: list[Key] = [
        (f"{place}", shop, town) for place, (shop, town) in enumerate([("s1", "x"), ("s2", "x"), ("s3", "y")])
    ]
    return find_hierarchy(keys, ["town", "shop"], ["shop", "town"], None)


def test_min_trace_is_the_published_formula() -> None:
    hierarchy, chance = nested(), np.random.default_rng(6)
    leaves, nodes = hierarchy.leaves, len(hierarchy.nodes)
    bottom, own = chance.normal(10, 3, size=(leaves, 2)), chance.normal(20, 3, size=(nodes, 2))
    bottom_deviation, own_deviation = chance.uniform(1, 3, size=(leaves, 2)), chance.uniform(1, 3, size=(nodes, 2))
    found = min_trace(hierarchy, bottom, bottom_deviation, own, own_deviation)
    summing = np.vstack([hierarchy.matrix(), np.eye(leaves)])
    for step in range(2):
        inverse = np.diag(np.concatenate([own_deviation[:, step], bottom_deviation[:, step]]) ** -2.0)
        both = np.concatenate([own[:, step], bottom[:, step]])
        expected = np.linalg.solve(summing.T @ inverse @ summing, summing.T @ inverse @ both)
        np.testing.assert_allclose(found[:, step], expected, rtol=1e-8)


def test_levels_are_dimensions_and_metadata_each_nested_in_the_one_before() -> None:
    hierarchy = nested()
    assert hierarchy.nodes == (
        ("total", "total"), ("town", "x"), ("town", "y"), ("shop", "s1"), ("shop", "s2"), ("shop", "s3"),
    )  # fmt: skip
    np.testing.assert_array_equal(hierarchy.sums(np.array([1.0, 2.0, 4.0])), [7, 3, 4, 1, 2, 4])


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        (["shop", "town"], r"town 'x' is in shop 's1' and in 's2': levels must be nested"),
        (["brand"], "brand must come from item metadata, and there are none"),
    ],
)
def test_columns_that_make_no_levels_are_named(levels: list[str], reason: str) -> None:
    keys: list[Key] = [("a", "s1", "x"), ("b", "s2", "x")]
    with pytest.raises(LevelsError, match=reason):
        find_hierarchy(keys, levels, ["shop", "town"], None)


def test_items_without_a_value_are_named(tmp_path: Path) -> None:
    make_metadata(tmp_path, {"a": {"brand": "x"}, "b": {"brand": None}})
    keys: list[Key] = [(name,) for name in "abcdef"]
    with pytest.raises(LevelsError, match="items b, c, d and 2 more have no brand"):
        find_hierarchy(keys, ["brand"], [], read_item_metadata(tmp_path))


def test_min_trace_of_too_many_sums_is_refused() -> None:
    keys: list[Key] = [(f"{number}", f"{number}") for number in range(1001)]
    hierarchy = find_hierarchy(keys, ["shop"], ["shop"], None)
    check_size(hierarchy, "bottom_up")
    with pytest.raises(LevelsError, match='these levels have 1,002: leave out the narrowest level, or write "Method"'):
        check_size(hierarchy, "min_trace")
