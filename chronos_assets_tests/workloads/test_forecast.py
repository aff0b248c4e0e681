"""The forecast workload on small datasets: what it writes, what it refuses, and that windows don't see each other."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.container.contract import WorkloadError, Workspace
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models import forecasting
from chronos_assets.models.checkpoints import ModelError
from chronos_assets.predictors import backtest, forecast_tasks
from chronos_assets.predictors.calibration import Calibration
from chronos_assets.predictors.predictor import Predictor, PredictorError
from chronos_assets.predictors.traits import TraitEffects
from chronos_assets.timeseries.dataset.shards import DatasetError, list_shards
from chronos_assets.timeseries.forecast.files import merge_forecast_parts, merge_messages
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets.workloads import forecast
from chronos_assets_tests import forks
from chronos_assets_tests.models import tiny
from chronos_assets_tests.models.tiny_levels import LEVELS_9
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root
from chronos_assets_tests.workloads.small_dataset import waves, write_dataset

FILES = ["forecast.parquet", "last_observed.parquet", "manifest.json", "skipped.parquet"]


def days(*numbers: int) -> list[dict[str, str]]:
    return [{"key": f"2024-01-{day:02d}", "end": f"2024-01-{day + 1:02d}T00:00:00"} for day in numbers]


def prepare(root: Path, dataset: Path, **changes: Any) -> Workspace:
    parameters = {
        "windows": days(2),
        "frequency": "H",
        "horizon": 6,
        "quantiles": [0.1, 0.5, 0.9],
        "mean": True,
        "model": str(tiny.folder_of("bolt")),
        "batch_size": 4,
        **changes,
    }
    return processing_root(root, parameters, {"dataset": dataset})


def run(root: Path, dataset: Path, **changes: Any) -> tuple[Path, Listener]:
    workspace, listener = prepare(root, dataset, **changes), Listener()
    forecast.main(workspace, listener)
    return workspace.output("forecast"), listener


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_window_has_its_files_in_the_agreed_shape(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(), shards=3)
    output, listener = run(tmp_path / "job", dataset)
    folder = output / "as_of=2024-01-02"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    table = pq.read_table(folder / "forecast.parquet", partitioning=None)
    assert table.schema.names == ["item_id", "timestamp", "mean", "p10", "p50", "p90"]
    assert [str(kind) for kind in table.schema.types] == ["string", "timestamp[us]", *["double"] * 4]
    assert table.num_rows == 5 * 6
    rows = table.select(["item_id", "timestamp"]).to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["item_id"], row["timestamp"]))
    assert str(rows[0]["timestamp"]) == "2024-01-03 00:00:00"
    assert str(rows[5]["timestamp"]) == "2024-01-03 05:00:00"
    low, middle, high = (table[name].to_numpy() for name in ("p10", "p50", "p90"))
    assert np.all(low <= middle)
    assert np.all(middle <= high)
    assert not np.array_equal(table["mean"].to_numpy(), middle)
    last = pq.read_table(folder / "last_observed.parquet", partitioning=None).to_pylist()
    assert [row["item_id"] for row in last] == [f"item-{number:02d}" for number in range(5)]
    assert {str(row["timestamp"]) for row in last} == {"2024-01-02 23:00:00"}
    assert last[2]["target"] == waves()[("item-02",)][1][47]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["as_of"] == "2024-01-02"
    assert manifest["window_end"] == "2024-01-03T00:00:00"
    assert manifest["context_end"] == "2024-01-02T23:00:00"
    assert manifest["data_version"] == "version"
    assert manifest["live"] == {"in_time": False, "width": 1.0, "partitions": 0}  # its horizon is in the data
    assert (manifest["series"], manifest["rows"], manifest["skipped"]) == (5, 30, [])
    assert manifest["model"]["family"] == "bolt"
    assert len(manifest["model"]["digest"]) == 64
    assert not manifest["unrolled"]
    assert manifest["passes"] == {"device": "cpu", "rows": 4}
    (message,) = listener.messages
    assert (message["window"], message["series"], message["skipped"]) == ("2024-01-02", 5, [])
    assert len(message["sparks"]) == 3
    assert [spark["item"] for spark in message["sparks"]] == ["item-04", "item-03", "item-02"]  # the largest first
    assert len(message["sparks"][0]["median"]) == 6
    assert "series x windows forecast: 5 / 5 (100%)" in listener.lines
    assert not (tmp_path / "job" / "processing" / "scratch").exists()


@pytest.mark.parametrize("family", ["bolt", "chronos2", "t5"])
def test_one_window_and_a_range_give_the_same_bytes(tmp_path, family):
    series = waves(7)
    series[("late",)] = ("2024-01-03T05:00:00", np.arange(43.0))
    series[("flat",)] = ("2024-01-01T00:00:00", np.full(96, 3.0))
    series[("empty",)] = ("2024-01-01T12:00:00", np.full(84, np.nan))
    dataset = write_dataset(tmp_path / "data", series, shards=2)
    options = {"model": str(tiny.folder_of(family)), "horizon": 20}
    together, _ = run(tmp_path / "range", dataset, windows=days(1, 2, 3), **options)
    alone, _ = run(tmp_path / "alone", dataset, windows=days(2), **options)
    backwards, _ = run(tmp_path / "backwards", dataset, windows=days(3, 2), **options)
    whole = contents(together)
    assert len(whole) == 12
    assert contents(alone) == {name: data for name, data in whole.items() if "2024-01-02" in name}
    assert contents(backwards) == {name: data for name, data in whole.items() if "2024-01-01" not in name}


def test_the_bytes_depend_on_no_chunk_and_no_fallback(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "data", waves(9))
    expected, _ = run(tmp_path / "plain", dataset, windows=days(1, 2, 3))
    monkeypatch.setattr(forecast_tasks, "_MAX_TASKS", 5)
    chunked, _ = run(tmp_path / "chunked", dataset, windows=days(1, 2, 3))
    assert contents(chunked) == contents(expected)
    monkeypatch.setattr(forecasting.Forecaster, "_try_rows", lambda *_: False)
    apart, _ = run(tmp_path / "apart", dataset, windows=days(1, 2, 3))
    single, _ = run(tmp_path / "single", dataset, windows=days(2))
    assert contents(single).items() <= contents(apart).items()


@pytest.fixture
def few_items(monkeypatch):
    monkeypatch.setattr(backtest, "LEAST_ITEMS", 5)  # so that weights follow from what series look like


@dataclass(frozen=True)
class Learned:
    """Windows of three days for which the default predictor was learned. shards: of `dataset`, the content of `enough`."""

    dataset: Path
    options: dict[str, Any]
    output: Path
    listener: Listener
    shards: int = 2


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    root = tmp_path_factory.mktemp("learned")
    dataset = write_dataset(root / "data", enough(), shards=Learned.shards)
    options = {"model": "bundled", "zero_shot": ZERO_SHOT}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backtest, "LEAST_ITEMS", 5)
        output, listener = run(root / "job", dataset, windows=days(2, 3, 4), **options)
    return Learned(dataset, options, output, listener)


def of_days(output: Path, *numbers: int) -> dict[str, bytes]:
    wanted = tuple(f"as_of=2024-01-{number:02d}" for number in numbers)
    return {name: data for name, data in contents(output).items() if name.startswith(wanted)}


@pytest.mark.usefixtures("few_items")
def test_weights_that_were_learned_before_from_the_same_are_not_learned_again(tmp_path, learned):
    before = (learned.output / "as_of=2024-01-02" / "predictor.json").read_bytes()
    name = json.loads(before)["learned"]["key"]

    def run_knowing(content: bytes, folder: str, **changes: Any) -> tuple[dict[str, bytes], Listener]:
        options = learned.options | {"windows": days(2)} | changes
        workspace, listener = prepare(tmp_path / folder, learned.dataset, **options), Listener()
        known = workspace.inputs / "predictors"
        known.mkdir()
        (known / f"{name}.json").write_bytes(content)
        forecast.main(workspace, listener)
        return contents(workspace.output("forecast")), listener

    again, listener = run_knowing(before, "again", windows=days(2, 3))
    assert again == of_days(learned.output, 2, 3)
    assert [line.split(" learned")[0] for line in listener.lines if " learned from " in line] == [
        "weights of 2024-01-03"
    ]
    # Nothing is taken for another horizon, nor from a damaged file.
    _, listener = run_knowing(before, "other", horizon=5)
    assert sum(" learned from " in line for line in listener.lines) == 1
    damaged, listener = run_knowing(b"{}", "damaged")
    assert damaged == of_days(learned.output, 2)
    assert any(line.startswith("weights of 2024-01-02 are learned again: ") for line in listener.lines)


def test_what_comes_after_the_as_of_changes_no_byte(tmp_path):
    series = waves(4)
    series[("gappy",)] = ("2024-01-01T00:00:00", np.sin(np.arange(96.0)))
    gap = {("gappy",): range(40, 60)}  # from inside the second day into the third
    options = {"windows": days(2), "filling": {"middlefill": "max", "backfill": "mean"}}
    dataset = write_dataset(tmp_path / "data", series, filled=gap)
    expected, _ = run(tmp_path / "job", dataset, **options)
    changed = {
        key: (start, np.concatenate([values[:48], values[48:] * 1e6])) for key, (start, values) in series.items()
    }
    changed[("new",)] = ("2024-01-03T00:00:00", np.arange(24.0))
    cut = {key: (start, values[:48]) for key, (start, values) in series.items()}
    for name, other, holes in (("changed", changed, gap), ("cut", cut, {("gappy",): range(40, 48)})):
        data = write_dataset(tmp_path / f"{name} data", other, filled=holes)
        output, _ = run(tmp_path / name, data, **options)
        for file in ("forecast.parquet", "last_observed.parquet", "skipped.parquet"):
            path = Path("as_of=2024-01-02") / file
            assert (output / path).read_bytes() == (expected / path).read_bytes(), (name, file)
    forecasts = pq.read_table(expected / "as_of=2024-01-02" / "forecast.parquet", partitioning=None)
    assert set(forecasts["item_id"].to_pylist()) == {key[0] for key in series}


def test_series_are_named_when_they_can_not_be_forecast(tmp_path):
    series = waves(2)
    series[("empty",)] = ("2024-01-01T00:00:00", np.full(96, np.nan))
    series[("late",)] = ("2024-01-04T00:00:00", np.arange(24.0))
    series[("short",)] = ("2024-01-02T22:00:00", np.arange(50.0))
    output, listener = run(tmp_path / "job", write_dataset(tmp_path / "data", series), min_observations=3)
    manifest = json.loads((output / "as_of=2024-01-02" / "manifest.json").read_text())
    assert manifest["series"] == 2
    assert manifest["not_started"] == 1
    assert manifest["skipped"] == [
        {"item": ["empty"], "reason": "no observation before the as-of"},
        {"item": ["short"], "reason": "2 observations, fewer than the 3 asked for"},
    ]
    assert sum(manifest["skipped_reasons"].values()) == manifest["skipped_count"] == 2
    rows = pq.read_table(output / "as_of=2024-01-02" / "skipped.parquet", partitioning=None).to_pylist()
    assert [row["item_id"] for row in rows] == ["empty", "short"]
    reason = "no observation before the as-of"
    assert listener.messages[0]["skipped"][0] == {"item": "empty", "key": ["empty"], "reason": reason}


def test_dimensions_are_columns_and_order_the_series(tmp_path):
    wave = np.sin(np.arange(60.0))
    series = {key: ("2024-01-01T00:00:00", wave + number) for number, key in enumerate(
        [("b", "x"), ("a", "é"), ("a", "z"), ("a", "")])}  # fmt: skip
    dataset = write_dataset(tmp_path / "data", series, dimensions=["store"], shards=3)
    output, _ = run(tmp_path / "job", dataset, dimensions=["store"], horizon=2)
    table = pq.read_table(output / "as_of=2024-01-02" / "forecast.parquet", partitioning=None)
    assert table.schema.names[:3] == ["item_id", "store", "timestamp"]
    keys = list(zip(table["item_id"].to_pylist(), table["store"].to_pylist(), strict=True))[::2]
    assert keys == [("a", ""), ("a", "z"), ("a", "é"), ("b", "x")]


def run_one_of(
    instances: int, number: int, root: Path, dataset: Path, options: dict[str, Any]
) -> tuple[Path, Listener]:
    """Run as one of several instances, with its share of the dataset."""
    share = root / f"data-{number}"
    share.mkdir(parents=True)
    (share / DATASET_MANIFEST).symlink_to(dataset / DATASET_MANIFEST)
    for shard in list_shards(dataset)[number::instances]:
        (share / shard.name).symlink_to(shard)
    hosts = [f"algo-{host + 1}" for host in range(instances)]
    job = root / f"job-{number}"
    (job / "config").mkdir(parents=True)
    (job / "config" / "resourceconfig.json").write_text(json.dumps({"current_host": hosts[number], "hosts": hosts}))
    return run(job, share, **options)


def test_parts_of_a_predictor_whose_weights_follow_from_traits_are_one_forecast(tmp_path):
    folder = tmp_path / "version"
    shutil.copytree(tiny.folder_of("bolt"), folder)
    effects = TraitEffects(np.zeros(6), np.ones(6), np.linspace(-0.4, 0.4, 12).reshape(6, 2))
    shares = np.array([0.5, 0.5])
    base = Predictor(("tuned/1", "theta"), shares, Calibration.none(), (24,), 6, base={"reference": "bundled"})
    options: dict[str, Any] = {"model": str(folder)}
    dataset = write_dataset(tmp_path / "data", enough(6), shards=3)
    made = {}
    for name, predictor in (("with", replace(base, traits=effects)), ("without", base)):
        predictor.save(folder)
        made[name], _ = run(tmp_path / name, dataset, **options)
    replace(base, traits=effects).save(folder)
    window = "as_of=2024-01-02"
    parts = [run_one_of(2, number, tmp_path, dataset, options)[0] / window for number in range(2)]
    merge_forecast_parts(parts, tmp_path / "merged")
    whole = contents(made["with"] / window)
    assert contents(tmp_path / "merged") == {name: whole[name] for name in contents(tmp_path / "merged")}
    assert (made["without"] / window / "forecast.parquet").read_bytes() != whole["forecast.parquet"]


# Of eight instances one is idle. Chronos-2's arithmetic mixes the series of a batch.
@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_instances_that_share_a_dataset_leave_parts_of_the_same_forecast(tmp_path, family):
    series = waves(14)
    series[("empty",)] = ("2024-01-01T12:00:00", np.full(84, np.nan))
    series[("late",)] = ("2024-01-04T00:00:00", np.arange(24.0))
    series[("short",)] = ("2024-01-02T22:00:00", np.arange(50.0))
    dataset = write_dataset(tmp_path / "data", series, shards=7)
    options: dict[str, Any] = {"windows": days(1, 2), "min_observations": 3, "model": str(tiny.folder_of(family))}
    whole, alone = run(tmp_path / "alone", dataset, **options)
    assert len(list_shards(dataset)) == 7
    for instances in (1, 2, 4, 8):
        root = tmp_path / str(instances)
        outputs, listeners = zip(
            *(run_one_of(instances, number, root, dataset, options) for number in range(instances)),
            strict=True,
        )
        manifests = [json.loads((output / "as_of=2024-01-02" / "manifest.json").read_text()) for output in outputs]
        assert [len(manifest.get("part", {"shards": range(7)})["shards"]) for manifest in manifests] == [
            len(range(number, 7, instances)) for number in range(instances)
        ]
        for number, window in enumerate(["as_of=2024-01-01", "as_of=2024-01-02"]):
            merge_forecast_parts([output / window for output in outputs], root / "merged" / window)
            message = merge_messages([listener.messages[number] for listener in listeners])
            assert {**message, "seconds": 0} == {**alone.messages[number], "seconds": 0}
        assert contents(root / "merged") == contents(whole)


def test_a_long_horizon_says_that_it_was_unrolled(tmp_path):
    output, listener = run(tmp_path / "job", write_dataset(tmp_path / "data", waves(2)), horizon=40)
    manifest = json.loads((output / "as_of=2024-01-02" / "manifest.json").read_text())
    assert manifest["unrolled"]
    assert manifest["model"]["block_length"] == 16
    assert "blocks of 16 periods" in manifest["method"]
    assert listener.messages[0]["unrolled"]


def test_months_are_forecast_on_the_calendar(tmp_path):
    series = {("a",): ("2020-01-01T00:00:00", np.arange(48.0))}
    dataset = write_dataset(tmp_path / "data", series, frequency="M")
    hours = [{"key": "2023-11-15-23:00", "end": "2023-11-16T00:00:00"}]
    output, _ = run(tmp_path / "job", dataset, frequency="M", horizon=3, windows=hours)
    rows = pq.read_table(output / "as_of=2023-11-15-23_x3A00" / "forecast.parquet", partitioning=None)[
        "timestamp"
    ].to_pylist()
    assert [str(row)[:10] for row in rows] == ["2023-12-01", "2024-01-01", "2024-02-01"]
    windows = [{"key": "2023-11-15", "end": "2023-11-16T00:00:00"}]
    whole, _ = run(tmp_path / "whole", dataset, frequency="M", horizon=3, windows=windows, complete_periods=True)
    rows = pq.read_table(whole / "as_of=2023-11-15" / "forecast.parquet", partitioning=None)["timestamp"].to_pylist()
    assert [str(row)[:10] for row in rows] == ["2023-11-01", "2023-12-01", "2024-01-01"]


def test_a_window_after_the_data_forecasts_from_their_end_and_says_how_far_behind_it_is(tmp_path):
    live = {"2024-01-09": {"width": 1.5, "partitions": 3}}
    output, listener = run(tmp_path / "job", write_dataset(tmp_path / "data", waves(1)), windows=days(9), live=live)
    manifest = json.loads((output / "as_of=2024-01-09" / "manifest.json").read_text())
    assert manifest["context_end"] == "2024-01-04T23:00:00"
    assert manifest["periods_behind"] == listener.messages[0]["periods_behind"] == 5 * 24
    assert manifest["live"] == {"in_time": True, "width": 1.0, "partitions": 0}  # of a predictor's bands alone


def test_a_dataset_without_all_of_its_shards_is_refused_before_any_work(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(), shards=3)
    missing = list_shards(dataset)[1]
    missing.unlink()
    with pytest.raises(DatasetError, match=f"the dataset lacks {missing.name} of its manifest: import"):
        run(tmp_path / "job", dataset)
    assert contents(tmp_path / "job" / "processing") == {}


def test_a_window_before_the_data_is_refused_before_any_work_with_the_first_that_can_be_forecast(tmp_path):
    dataset = write_dataset(tmp_path / "data", {("a",): ("2024-01-03T06:00:00", np.arange(30.0))})
    with pytest.raises(WorkloadError, match=r"window 2024-01-01, 2024-01-02: .*ends after 2024-01-03T06:00"):
        run(tmp_path / "job", dataset, windows=days(1, 2, 3))
    assert contents(tmp_path / "job" / "processing") == {}


def test_a_quantile_outside_of_the_models_range_is_refused_before_any_work(tmp_path):
    model = tiny.save_bolt(tmp_path / "narrow", levels=LEVELS_9)
    with pytest.raises(ModelError, match=r"quantile 0\.05 is outside .*0\.1 to 0\.9"):
        run(tmp_path / "job", write_dataset(tmp_path / "data", waves(1)), quantiles=[0.05, 0.5], model=str(model))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"windows": []}, "windows is"),
        ({"windows": [{"key": "../x", "end": "2024-01-02"}]}, "can't be the name of a folder"),
        ({"windows": [{"key": "a"}]}, "must have key and end"),
        ({"windows": [{"key": "a", "end": "soon"}]}, "soon"),
        ({"windows": days(2) * 2}, "given twice"),
        ({"horizon": 0}, "horizon is 0"),
        ({"quantiles": [0.123]}, "0.123"),
        ({"quantiles": [], "mean": False}, "neither a quantile nor the mean"),
        ({"colour": "red"}, "colour not known"),
        ({"frequency": "fortnight"}, "fortnight"),
        ({"frequency": "D"}, "the dataset has frequency H"),
        ({"dimensions": ["store"]}, "dimensions"),
        ({"model": "no/such/model"}, "no such folder"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_impossible_parameters_are_refused_with_what_is_wrong(tmp_path, changes, complaint):
    with pytest.raises(ChronosAssetsError, match=complaint):
        run(tmp_path / "job", write_dataset(tmp_path / "data", waves(1)), **changes)


def test_a_mean_alone_can_be_asked_for(tmp_path):
    output, _ = run(tmp_path / "job", write_dataset(tmp_path / "data", waves(1)), quantiles=[])
    table = pq.read_table(output / "as_of=2024-01-02" / "forecast.parquet", partitioning=None)
    assert table.schema.names == ["item_id", "timestamp", "mean"]


def test_a_models_channel_is_used_under_the_name_of_the_parameters(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(1))
    workspace = prepare(tmp_path / "job", dataset, model="amazon/some-model")
    (workspace.inputs / "model").symlink_to(tiny.folder_of("chronos2"))
    forecast.main(workspace, Listener())
    manifest = json.loads((workspace.output("forecast") / "as_of=2024-01-02" / "manifest.json").read_text())
    assert manifest["model"]["reference"] == "amazon/some-model"
    assert manifest["model"]["family"] == "chronos2"


PROGRAM = "chronos_assets.workloads.forecast"


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "CHRONOS_ML_ROOT": str(root)}


def test_the_program_fails_with_one_line(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(1))
    prepare(tmp_path / "job", dataset, model="no/such/model")
    command = [sys.executable, "-m", PROGRAM]
    done = subprocess.run(command, env=environment(tmp_path / "job"), capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    reason = (tmp_path / "job" / "output" / "failure").read_text()
    assert reason.startswith("model 'no/such/model': there is no such folder")
    assert "\n" not in reason.strip()


def test_a_killed_program_leaves_no_finished_window_and_runs_again_to_the_same_bytes(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(12))
    options: dict[str, Any] = {"windows": days(1, 2, 3)}
    expected, _ = run(tmp_path / "whole", dataset, **options)
    workspace = prepare(tmp_path / "killed", dataset, **options)
    started = {"folder": tmp_path, "environment": environment(workspace.root), "kind": forks.CONTAINER}
    before_a_manifest = ("chronos_assets.timeseries.forecast.files:write_json", "1")
    killed = forks.run(forks.KILLED, *before_a_manifest, PROGRAM, **started)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(workspace.output("forecast").glob("*/forecast.parquet"))) == 1
    assert list(workspace.output("forecast").glob("*/manifest.json")) == []
    scratch = workspace.scratch
    (scratch / "window-00000").mkdir(parents=True, exist_ok=True)
    (scratch / "window-00000" / "00000.keys").write_text('["of the killed run"]\n')
    again = forks.run(PROGRAM, **started)
    assert again.returncode == 0, again.stderr
    assert contents(workspace.output("forecast")) == contents(expected)
    assert not scratch.exists()


def counts_and_changes() -> dict[tuple[str, ...], tuple[str, np.ndarray]]:
    rng = np.random.default_rng(8)
    sold = rng.poisson(0.4, 96).astype(float)
    returned = np.where(np.arange(96) == 60, -2.0, sold)  # on the third day
    return {(name,): ("2024-01-01", values) for name, values in (("sold", sold), ("returned", returned))}


def lowest(folder: Path, key: str) -> dict[str, float]:
    table = pq.read_table(folder / f"as_of={key}" / "forecast.parquet", partitioning=None).to_pylist()
    found: dict[str, float] = {}
    for row in table:
        values = [row["mean"], row["p10"], row["p50"], row["p90"]]
        found[row["item_id"]] = min(found.get(row["item_id"], np.inf), *values)
    return found


def test_series_that_never_were_below_zero_by_the_as_of_are_not_forecast_below_it(tmp_path):
    dataset = write_dataset(tmp_path / "data", counts_and_changes())
    windows = days(2, 4)
    folders = {}
    for rule in (None, True, False):
        folders[rule], listener = run(tmp_path / f"job-{rule}", dataset, windows=windows, non_negative=rule)
        told = {message["window"]: (message["non_negative"], message["raised"]) for message in listener.messages}
        expected = {None: (2, 1), True: (2, 2), False: (0, 0)}[rule]
        assert (told["2024-01-02"][0], told["2024-01-04"][0]) == expected
        manifest = json.loads((folders[rule] / "as_of=2024-01-04" / "manifest.json").read_text())
        assert (manifest["non_negative"], manifest["raised"]) == told["2024-01-04"]
    assert set(lowest(folders[None], "2024-01-02").values()) == {0.0}  # nothing had been returned yet
    by_history = lowest(folders[None], "2024-01-04")
    assert by_history["sold"] == 0.0
    assert by_history["returned"] < 0
    assert set(lowest(folders[True], "2024-01-04").values()) == {0.0}
    assert max(lowest(folders[False], "2024-01-04").values()) < 0


@pytest.mark.parametrize("integers", [True, False])
def test_series_of_whole_numbers_have_quantiles_of_whole_numbers_only_if_asked_for(tmp_path, integers):
    sold = counts_and_changes()[("sold",)][1]
    half = np.where(np.arange(96) == 60, 2.5, sold)  # on the third day
    series = {(name,): ("2024-01-01", values) for name, values in (("sold", sold), ("half", half))}
    dataset = write_dataset(tmp_path / "data", series)
    folder, _ = run(tmp_path / "job", dataset, windows=days(2, 4), integers=integers)
    whole = {}
    for key in ("2024-01-02", "2024-01-04"):
        table = pq.read_table(folder / f"as_of={key}" / "forecast.parquet", partitioning=None).to_pylist()
        for row in table:
            values = [row["p10"], row["p50"], row["p90"]]
            assert values == sorted(values)
            whole.setdefault((key[-2:], row["item_id"]), []).extend(value == round(value) for value in values)
    expected = {("02", "sold"): integers, ("02", "half"): integers, ("04", "sold"): integers, ("04", "half"): False}
    assert {place: all(found) for place, found in whole.items()} == expected


# Of a member for each kind: all that there are take four times as long to learn the weights of.
MEMBERS = ["chronos/1", "chronos/mean2", "theta", "seasonal_naive", "npts"]
ZERO_SHOT = {"members": MEMBERS, "metric": "AverageWeightedQuantileLoss", "backtest_windows": 2, "max_cost": 8.0}


def enough(count: int = 5) -> dict[tuple[str, ...], tuple[str, np.ndarray]]:
    """Five days of hours, with a day."""
    rng = np.random.default_rng(4)
    hours = np.arange(120)
    return {
        (f"item {number}",): (
            "2024-01-01T00:00:00",
            20 + 5 * np.sin(2 * np.pi * hours / 24 + number) + rng.normal(size=120),
        )
        for number in range(count)
    }


@pytest.mark.usefixtures("few_items")
def test_the_default_predictor_is_learned_before_each_as_of_and_the_same_in_a_range_and_alone(tmp_path, learned):
    together, listener = learned.output, learned.listener
    alone, _ = run(tmp_path / "alone", learned.dataset, windows=days(3), **learned.options)
    assert contents(alone) == of_days(together, 3)
    manifest = json.loads((together / "as_of=2024-01-03" / "manifest.json").read_bytes())
    made = manifest["predictor"]
    assert made["learned"]["until"] == "2024-01-03T23:00:00"
    assert abs(sum(made["weights"].values()) - 1) < 1e-5
    assert made["leaderboard"][0]["member"] == "ensemble"
    traits = pq.read_table(together / "as_of=2024-01-03" / "last_observed.parquet", partitioning=None)["traits"]
    assert [len(row) for row in traits.to_pylist()] == [len(made["traits"])] * 5
    assert len(made["traits"]) > 0
    assert manifest["method"].startswith("calibrated average of ")
    assert manifest["trained_on_later_data"] is False
    assert any("weights of 2024-01-03 learned from" in line for line in listener.lines)


@pytest.mark.usefixtures("few_items")
def test_what_comes_after_the_as_of_changes_no_byte_of_the_default_predictor(tmp_path, learned):
    series = enough()
    changed = {
        key: (start, np.concatenate([values[:72], values[72:] * 1e3])) for key, (start, values) in series.items()
    }
    changed[("new",)] = ("2024-01-05T00:00:00", np.arange(24.0))
    dataset = write_dataset(tmp_path / "changed data", changed, shards=learned.shards)
    output, _ = run(tmp_path / "changed", dataset, windows=days(3), **learned.options)
    path = Path("as_of=2024-01-03") / "forecast.parquet"
    assert (output / path).read_bytes() == (learned.output / path).read_bytes()


def test_a_folder_with_a_predictor_forecasts_as_an_ensemble_and_one_without_as_a_model(tmp_path):
    dataset = write_dataset(tmp_path / "data", enough())
    folder = tmp_path / "version"
    shutil.copytree(tiny.folder_of("bolt"), folder)
    bare, _ = run(tmp_path / "bare", dataset, model=str(folder))
    learned = Predictor(
        ("tuned/1", "theta"), np.array([0.5, 0.5]), Calibration.none(), (24,), 6, base={"reference": "bundled"}
    )
    learned.save(folder)
    output, _ = run(tmp_path / "ensemble", dataset, model=str(folder))
    manifest = json.loads((output / "as_of=2024-01-02" / "manifest.json").read_bytes())
    assert manifest["predictor"]["weights"] == {"tuned/1": 0.5, "theta": 0.5}
    assert "predictor" not in json.loads((bare / "as_of=2024-01-02" / "manifest.json").read_bytes())
    (folder / "predictor.json").write_text("{}")
    with pytest.raises(PredictorError, match=r"predictor.json can't be read as a predictor: format is None"):
        run(tmp_path / "damaged", dataset, model=str(folder))
