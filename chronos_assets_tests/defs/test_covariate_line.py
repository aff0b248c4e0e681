"""Covariates in the graph: declared, dropped, imported, checked, seen by sensors and by the main job."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from chronos_assets.pipeline.covariate_imports import stale_inputs
from chronos_assets.pipeline.covariate_kinds import RELATED_KIND, covariate_files
from chronos_assets_tests import forks
from chronos_assets_tests.defs.line import FIRST, ITEMS, PARAMS, Line, failure_reason, make_line
from chronos_assets_tests.defs.test_sensors import CountingRegistry, CountingStore, Daemon
from chronos_assets_tests.models.tiny import folder_of

DATASETS = [
    {
        "DatasetType": "RELATED_TIME_SERIES",
        "Schema": {"item_id": "string", "timestamp": "timestamp", "price": "float"},
    },
    {"DatasetType": "ITEM_METADATA", "Schema": {"item_id": "string", "brand": "string"}},
]
INPUTS = ["target_time_series", "related_time_series", "item_metadata"]


def declared(**chronos: Any) -> str:
    document = {**PARAMS, "Datasets": [*PARAMS["Datasets"], *DATASETS]}  # type: ignore[misc]
    return json.dumps(document | {"Chronos": {"Training": {"Strategy": "NONE"}, **chronos}})


def prices(days: int, *, value: float = 1.0) -> str:
    rows = ["item_id,timestamp,price"]
    for item in ITEMS:
        quoted = '"' + item.replace('"', '""') + '"'
        rows += [f"{quoted},{FIRST + timedelta(hours=hour)},{value + hour % 5}" for hour in range(24 * days)]
    return "\n".join(rows) + "\n"


def brands() -> str:
    return "item_id,brand\n" + "".join(f'"{item.replace(chr(34), chr(34) * 2)}",b{n}\n' for n, item in enumerate(ITEMS))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = make_line(
            tmp_path / "store",
            instance,
            model=str(folder_of("bolt")),
            days=4,
            settle_seconds=15,
            sensor_interval_seconds=15,
        )
        made.put("params.json", declared())
        made.put("related/prices.csv", prices(5))
        made.put("item_metadata/items.csv", brands())
        yield made


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def test_covariates_are_published_beside_the_dataset_and_checked(line: Line) -> None:
    result = line.run(INPUTS)
    assert result.success
    related, items = line.state.related_manifest, line.state.metadata_manifest
    assert related is not None
    assert items is not None
    related.check(line.state.require_manifest())
    assert [(each.name, each.known_in_advance) for each in related.attributes] == [("price", True)]
    assert (related.series, items.items) == (3, 3)
    assert line.metadata("related_time_series")["data_version"] == related.data_version
    assert line.table("related_time_series", "attributes")[0]["attribute"] == "price"
    assert stale_inputs(line.state, line.instance) == []
    evaluations = checks_of(result)
    assert {name for name in evaluations if not evaluations[name]} == set()
    assert {"one_row_per_series_and_period", "every_series_to_the_horizon", "one_row_per_item"} <= evaluations.keys()


def test_what_is_missing_fails_a_check_and_not_the_import(line: Line) -> None:
    line.put(
        "related/prices.csv",
        "item_id,timestamp,price\nclient_a,2024-01-01 00:00:00,2\nclient_a,2024-01-05 00:00:00,2\n",
    )
    line.put("item_metadata/items.csv", "item_id,brand\nclient_a,x\n")
    evaluations = checks_of(line.run(INPUTS))
    assert {name for name, passed in evaluations.items() if not passed} == {
        "every_series_to_the_horizon",
        "every_attribute_varies",
        "every_item_has_metadata",
    }


def test_without_a_declaration_there_is_nothing_and_files_are_named(line: Line) -> None:
    line.put("params.json", json.dumps(PARAMS))
    # Recorded as empty by the first import, or Dagster would warn whoever materializes forecasts that inputs are missing.
    assert line.run(["target_time_series"]).success
    empty = line.metadata("item_metadata")
    assert (empty["dagster/row_count"], empty["notes"]) == (0, "- item metadata: none are declared")
    result = line.run(INPUTS)
    assert result.success
    assert line.state.related_manifest is None
    assert "declares no data set of the type RELATED_TIME_SERIES" in line.metadata("related_time_series")["notes"]
    assert all(checks_of(result).values())
    assert stale_inputs(line.state, line.instance) == []


def test_a_bad_row_fails_the_import_and_what_was_there_stays(line: Line) -> None:
    assert line.run(INPUTS).success
    before = line.state.related_manifest
    line.put("related/prices.csv", prices(5) + "client_a,2024-01-01 00:00:00,cheap\n")
    result = line.run(["related_time_series"])
    assert "related/prices.csv, line 362, column price: 'cheap' is not a number" in failure_reason(result)
    assert line.state.related_manifest == before
    line.put("params.json", declared(BadRows="quarantine"))
    assert line.run(INPUTS).success
    (rejected,) = (line.root / "rejected").iterdir()
    assert "cheap" in rejected.read_text()


def test_a_withdrawn_declaration_withdraws_what_was_published(line: Line) -> None:
    assert line.run(INPUTS).success
    line.put("params.json", json.dumps(PARAMS))
    assert stale_inputs(line.state, line.instance) == INPUTS
    assert line.run(INPUTS).success
    assert (line.state.related_manifest, line.state.metadata_manifest) == (None, None)


def test_files_beside_the_train_files_are_reported_by_their_names(line: Line) -> None:
    for name in ("related/prices.csv", "item_metadata/items.csv"):
        (line.root / name).unlink()
    line.put("train/shop.related.csv", prices(5))
    line.put("train/shop.metadata.csv", brands())
    assert [info.key for info in covariate_files(line.group, RELATED_KIND)] == ["train/shop.related.csv"]
    assert line.run(INPUTS).success
    assert line.state.require_manifest().files.keys() == {"train/demand.csv"}
    related = line.state.related_manifest
    assert related is not None
    assert related.files.keys() == {"train/shop.related.csv"}


def test_the_sensor_waits_for_all_files_of_a_drop_and_imports_what_changed(line: Line) -> None:
    daemon = Daemon(line)
    daemon.tick("train_files_sensor")
    line.put("related/more.csv", prices(1, value=2.0))  # the drop goes on
    assert not daemon.tick("train_files_sensor").run_requests
    (request,) = daemon.until_request("train_files_sensor")
    assert request.asset_selection == [line.group.key(name) for name in INPUTS]
    assert daemon.launch(request).success
    assert not daemon.until_request("train_files_sensor")
    observed = line.instance.fetch_observations(line.group.key("related_files"), limit=1).records
    assert observed[0].asset_observation is not None
    assert observed[0].asset_observation.metadata["files"].value == 2

    line.put("item_metadata/items.csv", brands().replace("b2", "b9"))
    assert "the item metadata have changed: waiting" in str(daemon.tick("new_data_sensor").skip_reason)
    (request,) = daemon.until_request("train_files_sensor")
    assert request.asset_selection == [line.group.key(name) for name in INPUTS[1:]]
    assert "files of covariates changed" in request.tags["chronos/reason"]
    assert daemon.launch(request).success
    assert not daemon.until_request("train_files_sensor")

    # With covariates and a scenario, too, no tick reads anything twice.
    line.put("what_if/cheaper.json", "{}")
    store, registry = CountingStore(line.group.store), CountingRegistry(line.group.registry)
    vars(line.group).update(store=store, registry=registry)
    for sensor in ("train_files_sensor", "new_data_sensor", "what_if_sensor"):
        store.reads.clear()
        registry.listings = 0
        daemon.tick(sensor)
        assert {key: count for key, count in store.reads.items() if count > 1} == {}, sensor
        assert store.reads or sensor == "what_if_sensor"
        assert registry.listings <= 1


def test_new_train_files_cut_the_covariates_again(line: Line) -> None:
    assert line.run(INPUTS).success
    rows = [f"{datetime(2024, 1, 5) + timedelta(hours=hour)},{hour},client_a" for hour in range(24)]
    line.put("train/later.csv", "\n".join(rows) + "\n")
    assert stale_inputs(line.state, line.instance) == INPUTS
    assert line.run(["target_time_series"]).success
    # What is published does not fit the dataset any more.
    assert stale_inputs(line.state, line.instance) == INPUTS[1:]
    assert line.run(INPUTS[1:]).success
    related = line.state.related_manifest
    assert related is not None
    related.check(line.state.require_manifest())
    assert [each.known_in_advance for each in related.attributes] == [False]


def test_another_number_of_shards_cuts_the_covariates_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.put("related/prices.csv", prices(4))
    assert line.run(INPUTS).success
    version = line.state.require_manifest().data_version
    monkeypatch.setattr("chronos_assets.pipeline.dataset_import.least_shards", lambda _group: 3)
    assert line.run(["target_time_series"]).success
    assert line.state.require_manifest().data_version == version
    assert stale_inputs(line.state, line.instance) == INPUTS[1:]
    assert line.run(INPUTS[1:]).success
    related = line.state.related_manifest
    assert related is not None
    assert related.n_shards == 3
    # Several shards have tails: of a file with the next hour nothing else is read or written.
    hour = f"{FIRST + timedelta(days=4)}"
    line.put(
        "related/next.csv", "\n".join(["item_id,timestamp,price", *(f"{item},{hour},9" for item in ITEMS[:1])]) + "\n"
    )
    result = line.run(INPUTS[1:2])
    assert checks_of(result)["one_row_per_series_and_period"]
    count = len(related.shards)
    said = f"1 of 2 files read, 1 unchanged; 0 of {count} shards rewritten, 1 with a new tail only, {count - 1} kept"
    assert line.metadata("related_time_series")["what_was_read"] == said


def test_without_params_files_beside_the_train_files_are_declared(line: Line) -> None:
    line.put("related/prices.csv", prices(5))
    (line.root / "params.json").unlink()
    (line.root / "train/demand.csv").unlink()
    rows = ["date,sku,sales,weather"]
    rows += [
        f"{FIRST + timedelta(hours=hour)},{item},{hour % 7},{hour % 3}" for item in ITEMS[:2] for hour in range(96)
    ]
    line.put("train/sales.csv", "\n".join(rows) + "\n")
    line.put("related/prices.csv", prices(5).replace("item_id,timestamp", "sku,date"))
    line.put("item_metadata/items.csv", brands().replace("item_id", "sku"))
    assert stale_inputs(line.state, line.instance) == ["target_time_series"]
    assert line.run(["target_time_series"]).success
    params = line.state.params
    assert params.related is not None
    assert params.metadata is not None
    assert [each.name for each in params.related.covariates] == ["price"]
    assert [each.name for each in params.metadata.covariates] == ["brand"]
    assert stale_inputs(line.state, line.instance) == INPUTS[1:]
    assert line.run(INPUTS[1:]).success
    assert stale_inputs(line.state, line.instance) == []
    notes = line.metadata("target_time_series")["notes"]
    assert 'add "Related": ["weather"] to Chronos' in notes

    # Nobody touched the file: it follows what lies beside the train files.
    line.put("related/prices.csv", prices(5).replace("item_id,timestamp,price", "sku,date,cost"))
    assert stale_inputs(line.state, line.instance) == INPUTS
    assert line.run(INPUTS).success
    related = line.state.related_manifest
    assert related is not None
    assert [each.name for each in related.attributes] == ["cost"]
    assert stale_inputs(line.state, line.instance) == []


@pytest.mark.parametrize(
    ("asset", "function"),
    [
        ("related_time_series", "chronos_assets.timeseries.dataset.related_writing:write_related_file"),
        ("related_time_series", "chronos_assets.timeseries.dataset.related_writing:related_version"),
        ("item_metadata", "chronos_assets.timeseries.dataset.metadata_importing:write_item_metadata"),
    ],
)
def test_an_import_that_is_killed_leaves_what_was_there(line: Line, asset: str, function: str) -> None:
    assert line.run(INPUTS).success
    before = (line.state.related_manifest, line.state.metadata_manifest)
    line.put("related/prices.csv", prices(5, value=3.0))
    line.put("item_metadata/items.csv", brands().replace("b1", "b7"))
    command = ("chronos_assets_tests.defs.killed_import", str(line.root), asset, function)
    killed = forks.run(*command, folder=line.root, environment=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (line.state.related_manifest, line.state.metadata_manifest) == before

    assert stale_inputs(line.state, line.instance) == INPUTS[1:]
    assert line.run(INPUTS[1:]).success
    assert line.state.related_manifest != before[0]
    assert line.state.metadata_manifest != before[1]
    # What the killed process had staged is gone.
    assert not [path for path in line.group.store.scratch.iterdir() if path.is_dir() and any(path.rglob("*.parquet"))]
