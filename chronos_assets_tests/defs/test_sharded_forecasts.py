"""Forecasts that several instances make in parts: what is published is what one instance would have left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from chronos_assets.definitions import group_definitions
from chronos_assets.pipeline.dataset import SHARDS_PER_INSTANCE, dataset_is_current, last_observations
from chronos_assets.pipeline.endpoint_comparison import contexts_of, published_series
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.jobs import JobRequest, JobResult
from chronos_assets.settings import AwsSettings
from chronos_assets.store_layout import DATASET_KEY, FORECAST_KEY, history_key
from chronos_assets.timeseries.dataset import importing
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets.workloads import forecast, learn
from chronos_assets_tests.defs.line import Line, failure_reason, hourly_rows, make_line
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root

DAY, NEXT = "2024-01-02", "2024-01-03"


class SharingJobs:
    """Runs the workload in this process, once for each of the instances that share a job's sharded channel."""

    def __init__(self, group: Group, folder: Path, instances: int) -> None:
        self.group, self.folder, self.instances = group, folder, instances
        self.lost: set[str] = set()  # instances whose parts don't come back
        self.shares: list[list[str]] = []

    def expect(self, workload: str) -> None:
        pass

    def run(self, context: Any, request: JobRequest) -> JobResult:
        if request.workload == "learn":
            return self._learn(request)
        assert request.sharded == "dataset"
        listener = Listener()
        dataset = self.group.store.snapshot(request.inputs["dataset"])
        shards = sorted(path.name for path in dataset.glob("part-*"))
        tails = sorted(path.name for path in dataset.glob("tail-*"))  # which every instance gets
        assert len(tails) in (0, len(shards))
        output = self.folder / "output"
        names = tuple(f"algo-{number + 1}" for number in range(self.instances))
        self.shares = [shards[number :: self.instances] for number in range(self.instances)]
        for name, share in zip(names, self.shares, strict=True):
            root = self.folder / name
            others = {
                channel: self.group.store.snapshot(key)
                for channel, key in request.inputs.items()
                if channel != "dataset"
            }
            workspace = processing_root(root, request.parameters, others)
            (workspace.inputs / "dataset").mkdir()
            for file in (DATASET_MANIFEST, *share, *tails):
                (workspace.inputs / "dataset" / file).symlink_to(dataset / file)
            (root / "config").mkdir()
            hosts = {"current_host": name, "hosts": names}
            (root / "config" / "resourceconfig.json").write_text(json.dumps(hosts))
            forecast.main(workspace, listener)
            output.mkdir(parents=True, exist_ok=True)
            workspace.output("forecast").rename(output / name)
        kept = tuple(name for name in names if name not in self.lost)
        return JobResult({"forecast": output}, tuple(listener.messages), 1.0, instances=kept)

    def _learn(self, request: JobRequest) -> JobResult:
        """The zero-shot predictors, learned by one instance from all series before the others forecast some each."""
        root = self.folder / "learn"
        channels = {channel: self.group.store.snapshot(key) for channel, key in request.inputs.items()}
        workspace, listener = processing_root(root, request.parameters, channels), Listener()
        learn.main(workspace, listener)
        return JobResult({"predictors": workspace.output("predictors")}, tuple(listener.messages), 1.0)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # With tails, as larger datasets have them: 36 of 96 hours.
    monkeypatch.setattr(importing, "tail_start", lambda first, last, wholes: last - 35)
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(
            tmp_path / "store",
            instance,
            model=str(folder_of("bolt")),
            aws=AwsSettings(forecast_instances=3),
        )
        items = [f"client {number:02d}" for number in range(30)]
        line.put("train/demand.csv", "\n".join(hourly_rows(4, items=items)) + "\n")
        assert line.run(["target_time_series"]).success
        assert any(line.group.store.snapshot(DATASET_KEY).glob("tail-*"))
        yield line


def published(line: Line) -> dict[str, bytes]:
    """Every file of the forecasts, by its path."""
    return {
        f"{key}/{path.name}": path.read_bytes()
        for key in (FORECAST_KEY, history_key(DAY), history_key(NEXT))
        for path in sorted(line.group.store.snapshot(key).iterdir())
    }


def test_the_parts_of_all_instances_are_published_as_the_forecast_of_one(line: Line, tmp_path: Path) -> None:
    manifest = Manifest.read(line.group.store.snapshot(DATASET_KEY))
    assert manifest.n_shards == 3 * SHARDS_PER_INSTANCE
    group = line.group
    found = []
    for instances in (1, 3):
        jobs = SharingJobs(group, tmp_path / str(instances), instances)
        group.__dict__["jobs"] = jobs
        for key in (FORECAST_KEY, history_key(DAY), history_key(NEXT)):
            group.store.withdraw(key)
        assert line.run(["forecasts"], (DAY, NEXT)).success
        metadata = {key: line.metadata("forecasts", key) for key in (DAY, NEXT)}
        for values in metadata.values():
            for name in [name for name in values if "seconds" in name or "per_second" in name]:
                del values[name]
        found.append((published(line), metadata))
        counts = [len(share) for share in jobs.shares]
        assert max(counts) - min(counts) <= 1
    assert found[0][0] == found[1][0]
    assert found[0][1] == found[1][1]


def test_more_instances_cut_the_dataset_finer_and_leave_its_version(line: Line) -> None:
    stale = line.state
    before = stale.require_manifest()
    assert dataset_is_current(line.state, line.instance)
    for instances, current in ((2, True), (5, False)):
        group = Group(replace(line.group.settings, aws=AwsSettings(forecast_instances=instances)))
        assert dataset_is_current(GroupState(group), line.instance) == current
    assert Line(group, line.instance, group_definitions(group)).run(["target_time_series"]).success
    after = Manifest.read(line.group.store.snapshot(DATASET_KEY))
    assert (after.n_shards, after.data_version) == (5 * SHARDS_PER_INSTANCE, before.data_version)
    # Who read the manifest before the import finds every series in the shards after it.
    keys = [(f"client {number:02d}",) for number in range(30)]
    assert last_observations(stale, keys) == dict.fromkeys(keys, "2024-01-04T23:00:00")
    assert dataset_is_current(GroupState(group), line.instance)


def test_a_part_that_is_lost_fails_the_run_and_publishes_nothing(line: Line, tmp_path: Path) -> None:
    jobs = SharingJobs(line.group, tmp_path / "jobs", 3)
    jobs.lost = {"algo-2"}
    line.group.__dict__["jobs"] = jobs
    reason = failure_reason(line.run(["forecasts"], DAY))
    assert reason.startswith(f"partition {DAY}: no part is of part-")
    assert line.group.store.shown(history_key(DAY)) is None


def test_what_a_model_read_of_a_series_is_found_in_the_shard_that_holds_it(line: Line, tmp_path: Path) -> None:
    dataset = Manifest.read(line.group.store.snapshot(DATASET_KEY))
    line.group.__dict__["jobs"] = SharingJobs(line.group, tmp_path / "jobs", 2)
    line.put("train/demand.csv", "\n".join(hourly_rows(4)) + "\n")
    assert line.run(["target_time_series"]).success
    sparse = Manifest.read(line.group.store.snapshot(DATASET_KEY))
    assert len(sparse.shards) < sparse.n_shards == dataset.n_shards
    assert line.run(["forecasts"], "2024-01-04").success
    manifest = published_manifest(line.group)
    assert manifest is not None
    keys = list(published_series(line.group, 3))
    contexts = contexts_of(line.state, manifest, keys)
    assert [float(np.nanmax(contexts[key])) for key in keys] == [number * 21.0 for number in (3, 1, 2)]
