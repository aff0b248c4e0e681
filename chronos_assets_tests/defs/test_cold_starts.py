"""Cold starts in the graph: forecast with the others, labelled everywhere, the same bytes however they are made."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from chronos_assets.pipeline.account import cold_start_rows
from chronos_assets.pipeline.cold_starts import cold_starts
from chronos_assets.pipeline.published import published_manifest, published_series
from chronos_assets.settings import AwsSettings
from chronos_assets.store_layout import FORECAST_KEY, accuracy_key, history_key, levels_key, members_key
from chronos_assets_tests.defs.line import PARAMS, Line, failure_reason, hourly_rows, make_line
from chronos_assets_tests.defs.test_sharded_forecasts import DAY, NEXT, SharingJobs
from chronos_assets_tests.models.tiny import folder_of

ITEMS = [f"client {number:02d}" for number in range(30)]
METADATA = {"DatasetType": "ITEM_METADATA", "Schema": {"item_id": "string", "size": "float", "shop": "string"}}
SHOPS = {"Levels": ["shop"], "Method": "min_trace"}
MADE = (history_key(DAY), history_key(NEXT), members_key(DAY), levels_key(DAY), FORECAST_KEY)
NEW, SHORT = "a new client", "a young client"


def declared(**chronos: Any) -> str:
    document = {**PARAMS, "Datasets": [*PARAMS["Datasets"], METADATA]}  # type: ignore[misc]
    return json.dumps(
        document | {"Chronos": {"Training": {"Strategy": "NONE"}, "MinObservations": 5, "Reconcile": SHOPS, **chronos}}
    )


@pytest.fixture
def line(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    """A line with a member that has no weights to learn, unless a test gives other options."""
    chronos = getattr(request, "param", {"Predictor": {"Members": ["seasonal_naive"]}})
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(
            tmp_path / "store", instance, model=str(folder_of("bolt")), aws=AwsSettings(forecast_instances=3)
        )
        line.put("params.json", declared(**chronos))
        young = [f"2024-01-{moment}:00:00,200,{SHORT}" for moment in ("04 22", "04 23")]
        line.put("train/demand.csv", "\n".join([*hourly_rows(4, items=ITEMS), *young]) + "\n")
        sizes = {item: number for number, item in enumerate(ITEMS, 1)}
        rows = [
            f"{item},{size},{'north' if size > 15 else 'south'}" for item, size in {**sizes, NEW: 20, SHORT: 20}.items()
        ]
        line.put("item_metadata/items.csv", "\n".join(["item_id,size,shop", *rows]) + "\n")
        assert line.run(["target_time_series", "item_metadata"]).success
        yield line


def files(line: Line, *keys: str) -> dict[str, bytes]:
    return {
        f"{key}/{path.name}": path.read_bytes()
        for key in keys
        for path in sorted(line.group.store.snapshot(key).iterdir())
    }


SEVERAL = {"Predictor": {"Members": ["chronos/1", "theta", "seasonal_naive", "npts"]}}


@pytest.mark.parametrize("line", [SEVERAL], indirect=True, ids=["several members"])
def test_one_partition_a_range_and_several_instances_leave_the_same_bytes(line: Line, tmp_path: Path) -> None:
    line.group.__dict__["jobs"] = SharingJobs(line.group, tmp_path / "1", 1)
    assert line.run(["forecasts"], (DAY, NEXT)).success
    made = files(line, *MADE)
    assert cold_starts(line.group, json.loads(made[f"{history_key(DAY)}/manifest.json"])) == {(NEW,), (SHORT,)}
    assert line.run(["forecast_accuracy"], DAY).success
    scores = pq.ParquetFile(line.group.store.snapshot(accuracy_key(DAY)) / "metrics.parquet").read().to_pylist()
    sums = {row["segment_value"]: row for row in scores if (row["level"], row["metric"]) == ("sum", "wape")}
    # What newcomers without a row would have added to the other sums isn't known.
    assert {value: row["points"] for value, row in sums.items()} == {"total": 0, "north": 0, "south": 24}
    assert sums["south"]["value"] < 0.1
    for key in (DAY, NEXT):
        line.group.store.withdraw(history_key(key))
    line.group.store.withdraw(FORECAST_KEY)
    for number, key in enumerate((DAY, NEXT)):
        line.group.__dict__["jobs"] = SharingJobs(line.group, tmp_path / f"3 {number}", 3)
        assert line.run(["forecasts"], key).success
    assert files(line, *MADE) == made


def test_a_newcomer_is_forecast_checked_and_labelled(line: Line, tmp_path: Path) -> None:
    line.group.__dict__["jobs"] = SharingJobs(line.group, tmp_path / "jobs", 1)
    result = line.run(["forecasts"], "2024-01-04")
    assert result.success
    (coverage,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "every_series_is_forecast"]
    assert coverage.passed
    manifest = published_manifest(line.group)
    assert manifest is not None
    assert (manifest["series"], manifest["skipped_count"]) == (32, 0)
    assert line.metadata("forecasts", "2024-01-04")["cold_starts"] == 2
    (label, text), (_, few) = cold_start_rows(manifest)
    assert label == "cold starts"
    assert text.startswith("2 series")
    assert few.startswith(
        "1 of them at the level of their few observations; on 30 donors left 2 observations each: WAPE"
    )
    assert line.metadata("forecasts", "2024-01-04")["cold_starts_by_few_observations"] == 1
    assert not {(NEW,), (SHORT,)} & published_series(line.group, 5).keys()
    forecast = pq.ParquetFile(line.group.store.snapshot(FORECAST_KEY) / "forecast.parquet").read().to_pylist()
    middle = {
        item: [row["p50"] for row in forecast if row["item_id"] == item] for item in (NEW, SHORT, ITEMS[9], ITEMS[-1])
    }
    assert len(middle[NEW]) == 24
    assert abs(sum(middle[SHORT]) / 24 - 200) < 0.5 * abs(sum(middle[NEW]) / 24 - 200)
    assert sum(middle[ITEMS[9]]) < sum(middle[NEW]) < sum(middle[ITEMS[-1]])
    members = (
        pq.ParquetFile(line.group.store.snapshot(members_key("2024-01-04")) / "members.parquet").read().to_pylist()
    )
    levels = pq.ParquetFile(line.group.store.snapshot(levels_key("2024-01-04")) / "levels.parquet").read().to_pylist()
    first = {row["value"]: row for row in reversed(levels)}
    assert [(value, first[value]["series"]) for value in ("total", "north", "south")] == [
        ("total", 32), ("north", 17), ("south", 15),
    ]  # fmt: skip
    assert first["total"]["mean"] == pytest.approx(first["north"]["mean"] + first["south"]["mean"])
    assert line.metadata("forecasts", "2024-01-04")["levels"] == "total 1, shop 2 (min_trace)"
    own = [row for row in members if row["item_id"] == NEW]
    assert [(row["member"], row["member_rank"], row["member_weight"]) for row in own] == [("cold start", 1, 1.0)]
    exported = (line.group.store.snapshot(FORECAST_KEY) / "forecast.csv").read_text()
    assert exported.count(NEW) == 24 * 4


def test_without_them_the_forecast_is_of_the_past_alone(line: Line, tmp_path: Path) -> None:
    line.put(
        "params.json",
        declared(ColdStart=False, Predictor={"Members": ["seasonal_naive"]}, Reconcile={"Levels": ["shop"]}),
    )
    line.group.__dict__["jobs"] = SharingJobs(line.group, tmp_path / "jobs", 1)
    assert line.run(["target_time_series", "item_metadata"]).success
    assert line.run(["forecasts"], "2024-01-04").success
    manifest = published_manifest(line.group)
    assert manifest is not None
    assert (manifest["series"], manifest["skipped_count"]) == (30, 1)
    assert "cold_start" not in manifest


def test_levels_that_the_items_do_not_make_are_refused_before_anything_is_forecast(line: Line, tmp_path: Path) -> None:
    line.group.__dict__["jobs"] = SharingJobs(line.group, tmp_path / "jobs", 1)
    line.put("item_metadata/items.csv", "item_id,size,shop\nclient 00,1,\n")
    assert line.run(["item_metadata"]).success
    reason = failure_reason(line.run(["forecasts"], "2024-01-04"))
    assert reason.startswith("Chronos.Reconcile: items ")
    assert "28 more have no shop, so that the sums would lack them: add shop to the item metadata" in reason
    assert not (tmp_path / "jobs").exists()
