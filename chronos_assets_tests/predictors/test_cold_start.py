"""Cold starts: who is forecast from whom, what comes of it, and what is left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.predictors.cold_start import NO_ROW, NOBODY_ALIKE, add_cold_starts, mixture
from chronos_assets.predictors.few_observations import LATEST, level_of, try_on_donors
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata, read_item_metadata, write_item_metadata
from chronos_assets.timeseries.forecast.files import ForecastLayout, cold_start_keys, skipped_table, write_window

PERIODS = np.array(["2024-01-01", "2024-01-02"], "datetime64[us]")
LEVELS = [0.1, 0.5, 0.9]
BEFORE, FEW, LONG_AGO = (
    "no observation before the as-of",
    "2 observations, fewer than the 5 asked for",
    "no observation in the last 64 periods, which is all the model reads",
)


def metadata_of(folder: Path, rows: dict[str, tuple[str | None, float | None]]) -> ItemMetadata:
    """Brand and size of each item."""
    table = pa.table(
        {
            "item_id": pa.array(rows),
            "brand": pa.array([brand for brand, _ in rows.values()], pa.string()),
            "size": pa.array([size for _, size in rows.values()], pa.float64()),
        }
    )
    write_item_metadata(folder / "item_metadata", table)
    return read_item_metadata(folder / "item_metadata")


def window(
    folder: Path,
    medians: dict[tuple[str, ...], float],
    skipped: list[tuple[tuple[str, ...], str]],
    dimensions: tuple[str, ...] = (),
) -> Path:
    """A forecast of 0.8, 1 and 1.2 times a series' median, and its mean."""
    layout = ForecastLayout(dimensions, ("mean", "p10", "p50", "p90"), 2)

    def record(median: float) -> Any:
        values = np.tile([median, 0.8 * median, median, 1.2 * median], 2)
        return np.array([(0, median, values)], dtype=layout.record)[0]

    manifest = {
        "columns": list(layout.columns),
        "dimensions": list(dimensions),
        "horizon": 2,
        "mean": True,
        "quantiles": LEVELS,
        "rows": 2 * len(medians),
        "seed": 0,
        "series": len(medians),
        "skipped_count": len(skipped),
    }
    target = folder / "as_of=2024-01-01"
    rows = iter([(key, record(median)) for key, median in sorted(medians.items())])
    write_window(target, layout, PERIODS, [rows], skipped_table(skipped, dimensions), manifest)
    (target / "predictor.json").write_text("{}")
    return target


def shop(brands: int = 2, each: int = 40) -> tuple[dict[tuple[str, ...], float], dict[str, tuple[str | None, float]]]:
    """Medians and metadata of items whose brand makes their level: 10, 1,000, ..., give or take a tenth."""
    rng = np.random.default_rng(3)
    medians: dict[tuple[str, ...], float] = {}
    rows: dict[str, tuple[str | None, float]] = {}
    for brand in range(brands):
        for number in range(each):
            name = f"item {brand} {number:02d}"
            medians[name,] = float(10 * 100**brand * rng.uniform(0.9, 1.1))
            rows[name] = (f"brand {brand}", 1.0)
    return medians, rows


def medians_of(folder: Path) -> dict[str, list[float]]:
    table = pq.ParquetFile(folder / "forecast.parquet").read()
    found: dict[str, list[float]] = {}
    for item, value in zip(table.column("item_id").to_pylist(), table.column("p50").to_pylist(), strict=True):
        found.setdefault(item, []).append(value)
    return found


def test_items_without_a_past_get_the_level_of_their_category(tmp_path: Path) -> None:
    medians, rows = shop()
    rows |= {"cheap": ("brand 0", 1.0), "dear": ("brand 1", 1.0), "short": ("brand 1", 1.0)}
    skipped = [(("short",), FEW)]
    made = add_cold_starts(window(tmp_path, medians, skipped), tmp_path / "made", metadata_of(tmp_path, rows), None)
    assert made is not None
    assert (made["series"], made["rows"], made["skipped_count"]) == (83, 166, 0)
    assert made["cold_start"]["series"] == 3
    assert json.loads((tmp_path / "made" / "manifest.json").read_text()) == made
    found = medians_of(tmp_path / "made")
    assert list(found) == sorted(found)
    assert len(found) == 83
    assert found["cheap"] == [pytest.approx(10, rel=0.05)] * 2
    assert found["dear"] == [pytest.approx(1000, rel=0.05)] * 2
    assert found["short"] == found["dear"]
    assert {("cheap",), ("dear",), ("short",)} == cold_start_keys(tmp_path / "made", ())
    labels = pq.ParquetFile(tmp_path / "made" / "cold_starts.parquet").read().to_pylist()
    assert [(row["item_id"], row["reason"]) for row in labels] == [("cheap", NO_ROW), ("dear", NO_ROW), ("short", FEW)]
    assert pq.ParquetFile(tmp_path / "made" / "last_observed.parquet").metadata.num_rows == 80
    assert (tmp_path / "made" / "predictor.json").read_text() == "{}"


def test_those_with_the_nearest_number_count_most(tmp_path: Path) -> None:
    medians = {(f"item {number:03d}",): float(number) for number in range(1, 101)}
    rows: dict[str, tuple[str | None, float | None]] = {key[0]: ("x", median) for key, median in medians.items()}
    rows["new"] = ("x", 70.0)
    assert add_cold_starts(window(tmp_path, medians, []), tmp_path / "made", metadata_of(tmp_path, rows), True)
    assert medians_of(tmp_path / "made")["new"] == [pytest.approx(70, rel=0.05)] * 2


def test_who_has_no_metadata_or_another_reason_stays_skipped(tmp_path: Path) -> None:
    medians, rows = shop()
    skipped = [(("ended",), LONG_AGO), (("odd",), BEFORE), (("unknown",), BEFORE)]
    metadata = metadata_of(tmp_path, rows | {"ended": ("brand 0", 1.0), "odd": ("brand 9", None)})
    made = add_cold_starts(window(tmp_path, medians, skipped), tmp_path / "made", metadata, None)
    assert made is not None
    assert made["series"] == 80
    assert [(row["item"], row["reason"]) for row in made["skipped"]] == [
        (["ended"], LONG_AGO),
        (["odd"], NOBODY_ALIKE),
        (["unknown"], BEFORE),
    ]


def test_a_forecast_without_cold_starts_stays_as_it_is(tmp_path: Path) -> None:
    medians, rows = shop()
    source = window(tmp_path, medians, [(("unknown",), BEFORE)])
    assert add_cold_starts(source, tmp_path / "made", metadata_of(tmp_path, rows), None) is None
    assert not (tmp_path / "made").exists()


def test_items_that_outnumber_the_series_are_left_out_unless_they_are_wanted(tmp_path: Path) -> None:
    medians, rows = shop(each=2)
    rows |= {f"new {number}": ("brand 0", 1.0) for number in range(5)}
    source, metadata = window(tmp_path, medians, []), metadata_of(tmp_path, rows)
    made = add_cold_starts(source, tmp_path / "unasked", metadata, None)
    assert made is not None
    assert (made["series"], made["cold_start"]["series"], made["cold_start"]["left_out"]) == (4, 0, 5)
    made = add_cold_starts(source, tmp_path / "wanted", metadata, True)
    assert made is not None
    assert (made["series"], made["cold_start"]["series"], made["cold_start"]["left_out"]) == (9, 5, 0)


def test_with_dimensions_series_of_the_same_place_are_nearer_and_items_without_a_row_are_left_out(
    tmp_path: Path,
) -> None:
    medians = {
        (f"item {number}", store): 10.0 if store == "north" else 1000.0
        for number in range(40)
        for store in ("north", "south")
    }
    rows: dict[str, tuple[str | None, float | None]] = {f"item {number}": ("x", 1.0) for number in range(40)}
    metadata = metadata_of(tmp_path, rows | {"new": ("x", 1.0)})
    source = window(tmp_path, {**medians, ("late", "north"): 10.0}, [(("new", "south"), BEFORE)], ("store",))
    made = add_cold_starts(source, tmp_path / "made", metadata, None)
    assert made is not None
    assert made["cold_start"]["left_out"] == 0
    assert medians_of(tmp_path / "made")["new"] == [pytest.approx(1000)] * 2
    source = window(tmp_path / "other", medians, [], ("store",))
    made = add_cold_starts(source, tmp_path / "left", metadata, True)
    assert made is not None
    assert (made["series"], made["cold_start"]["left_out"]) == (80, 1)


def test_an_item_with_a_few_observations_is_forecast_at_its_own_level(tmp_path: Path) -> None:
    medians, rows = shop(brands=1)
    rows["young"] = ("brand 0", 1.0)
    past = {key: sales(median, seed) for seed, (key, median) in enumerate(medians.items())}
    past["young",] = np.where(np.arange(LATEST) < LATEST - 4, np.nan, sales(30, 99))
    made = add_cold_starts(
        window(tmp_path, medians, [(("young",), "4 observations, fewer than the 8 asked for")]),
        tmp_path / "made",
        metadata_of(tmp_path, rows),
        None,
        lambda keys: {key: past[key] for key in keys if key in past},
    )
    assert made is not None
    assert medians_of(tmp_path / "made")["young"] == [pytest.approx(30, rel=0.1)] * 2
    (label,) = pq.ParquetFile(tmp_path / "made" / "cold_starts.parquet").read().to_pylist()
    assert label["observations"] == 4
    assert label["credibility"] > 0.5
    few = made["cold_start"]["few_observations"]
    assert (few["series"], few["tried"]["items"], few["tried"]["observations"]) == (1, 40, 4)


def sales(level: float, seed: int) -> Any:
    """A level with a week's season and noise of a tenth."""
    rng = np.random.default_rng(seed)
    return level * (1 + 0.5 * np.sin(2 * np.pi * np.arange(LATEST) / 7)) * rng.normal(1, 0.1, LATEST)


def test_observations_count_the_more_the_more_there_are_and_the_less_they_scatter() -> None:
    levels, rng = np.array([[8.0], [10.0], [12.0]]), np.random.default_rng(1)
    calm, wild = (levels * rng.normal(1, noise, (3, LATEST)) for noise in (0.1, 0.4))

    def credibility(count: int, donors: Any) -> float:
        own = np.where(np.arange(LATEST) < LATEST - count, np.nan, 10.0)
        level = level_of(own, donors, np.full(3, 1 / 3))
        assert level is not None
        return level.credibility

    assert 0 < credibility(1, wild) < credibility(4, wild) < credibility(4, calm) < 1


def test_a_season_that_donors_share_is_in_no_level() -> None:
    donors = np.stack([sales(level, 1) for level in (5.0, 10.0, 20.0, 40.0)])
    own = np.where(np.arange(LATEST) < LATEST - 3, np.nan, 2 * donors[1])  # the three periods are none of a usual level
    level = level_of(own, donors, np.full(4, 0.25))
    assert level is not None
    moved = level.apply(donors)
    assert moved.mean() == pytest.approx(2 * donors[1].mean(), rel=0.05)
    assert moved.mean(axis=1).std() < 0.2 * donors.mean(axis=1).std()


def test_what_was_never_sold_brings_a_forecast_down_and_not_below_zero() -> None:
    donors = np.stack([sales(level, 1) for level in (5.0, 10.0, 40.0)])
    level = level_of(np.where(np.arange(LATEST) < LATEST - 6, np.nan, 0.0), donors, np.array([0.4, 0.3, 0.3]))
    assert level is not None
    assert 0 <= level.apply(donors).mean() < 0.3 * donors.mean()


def test_levels_of_series_around_zero_are_added() -> None:
    donors = np.stack([sales(1, seed) - 20 * (seed + 1) for seed in range(4)])
    level = level_of(np.where(np.arange(LATEST) < LATEST - 5, np.nan, 100.0), donors, np.full(4, 0.25))
    assert level is not None
    assert level.apply(donors).mean() == pytest.approx(100, rel=0.1)


def test_without_observations_of_the_item_or_of_donors_there_is_no_level() -> None:
    donors = np.stack([sales(5, 1)] * 2)
    assert level_of(np.full(LATEST, np.nan), donors, np.full(2, 0.5)) is None
    assert level_of(np.ones(LATEST), np.full((2, LATEST), np.nan), np.full(2, 0.5)) is None


@pytest.mark.parametrize("seed", [0, 100, 200])
def test_tried_on_donors_levels_beat_the_mean_of_a_few_observations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = {(f"item {number}",): sales(float(rng.lognormal(3, 1)), seed + number) for number in range(30)}

    def others(key: tuple[str, ...]) -> tuple[list[tuple[str, ...]], Any]:
        return [name for name in values if name != key], np.full(29, 1 / 29)

    tried = try_on_donors(values, others, 3, 14, 7)
    assert tried is not None
    assert tried["items"] == 30
    assert tried["wape"] < 0.7 * tried["naive_wape"]
    assert try_on_donors(values, others, LATEST, 14, 7) is None


def test_a_mixture_of_equal_forecasts_is_that_forecast() -> None:
    one = np.array([[10.0, 8.0, 10.0, 12.0]])
    mixed = mixture(np.stack([one, one, one]), np.array([0.5, 0.3, 0.2]), LEVELS, mean=True)
    np.testing.assert_allclose(mixed, one, rtol=0.02)


def test_a_mixture_holds_what_donors_differ_in() -> None:
    donors = np.array([[[9.0, 10.0, 11.0]], [[99.0, 100.0, 101.0]]])
    ((low, _, high),) = mixture(donors, np.array([0.5, 0.5]), LEVELS, mean=False)
    assert low == pytest.approx(10, abs=1)
    assert high == pytest.approx(100, abs=1)


def test_a_mixture_of_counts_is_of_counts_and_not_below_zero() -> None:
    donors = np.array([[[0.0, 1.0, 5.0]], [[0.0, 0.0, 2.0]]])
    mixed = mixture(donors, np.array([0.6, 0.4]), LEVELS, mean=False)
    assert np.all(mixed >= 0)
    assert np.all(mixed % 1 == 0)
    assert np.all(np.diff(mixed) >= 0)


def test_of_one_quantile_the_middle_donor_counts() -> None:
    donors = np.array([[[1.0]], [[2.0]], [[30.0]]])
    assert mixture(donors, np.array([0.2, 0.6, 0.2]), [0.9], mean=False)[0, 0] == pytest.approx(2.0)
