"""Work that is divided over processes: who does it, and how the job hears of one that ended."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chronos_assets.container import processes
from chronos_assets.container.contract import WorkloadError
from chronos_assets.container.processes import divided
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models import loading
from chronos_assets.predictors.calibration import Calibration
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.workloads import forecast
from chronos_assets_tests.models import tiny
from chronos_assets_tests.workloads.small_dataset import waves, write_dataset
from chronos_assets_tests.workloads.test_forecast import contents, days, run


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_METHOD", "fork")  # a new interpreter takes seconds


def working(device: str) -> Callable[[int], tuple[int, str, int]]:
    return lambda item: (item, device, os.getpid())


def of_one_kind(device: str) -> Callable[[int], int]:
    """Works on nothing but even numbers, on the first device."""

    def work(item: int) -> int:
        if item % 2:
            raise ChronosAssetsError(f"{item} is odd")
        return item

    if device == "second":
        raise ChronosAssetsError("no such device")
    return work


def dying(device: str) -> Callable[[int], int]:
    def work(item: int) -> int:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return item

    return work


def test_each_item_is_worked_on_once_by_a_process_of_its_device() -> None:
    found = list(divided(working, ["one", "two", "three"], range(7)))
    assert sorted(item for item, _, _ in found) == list(range(7))
    assert {device for _, device, _ in found} <= {"one", "two", "three"}
    pids = {device: pid for _, device, pid in found}
    assert os.getpid() not in pids.values()
    assert all(pids[device] == pid for _, device, pid in found)  # opened once
    assert [item for item, _, _ in divided(working, ["one", "two"], [5])] == [5]
    assert list(divided(working, ["one"], [])) == []


def test_what_a_worker_refuses_is_said_with_its_device() -> None:
    with pytest.raises(WorkloadError, match=r"^on first: 3 is odd$"):
        list(divided(of_one_kind, ["first"], [2, 3, 4]))
    with pytest.raises(WorkloadError, match=r"^on second: no such device$"):
        list(divided(of_one_kind, ["first", "second"], [2, 4, 6]))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_killed_process_ends_the_work_and_the_others(devices: int) -> None:
    with pytest.raises(WorkloadError, match=r"^the process that worked on gpu-\d was killed, .*Chronos.BatchSize$"):
        list(divided(dying, [f"gpu-{number}" for number in range(devices)], range(100)))
    assert not multiprocessing.active_children()


def in_turns(
    open_worker: Callable[[str], Callable[[int], Any]], devices: Sequence[str], items: Sequence[int]
) -> Iterator[Any]:
    """`divided` by workers of this process, the last items first: a fork of one that has used torch may hang."""
    workers = [open_worker(device) for device in devices]
    for item in reversed(items):
        yield workers[item % len(workers)](item)


@pytest.mark.parametrize("kind", ["predictor", "chronos2"])
def test_a_process_for_each_device_makes_the_same_bytes_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    dataset = write_dataset(tmp_path / "data", waves(14), shards=7)
    model = tiny.folder_of("chronos2")
    if kind == "predictor":
        model = shutil.copytree(tiny.folder_of("bolt"), tmp_path / "version")
        base = {"reference": "bundled"}
        Predictor(("tuned/1",), np.ones(1), Calibration.none(), (24,), 6, base=base).save(model)
    options = {"windows": days(1, 2), "min_observations": 3, "model": str(model)}
    whole, alone = run(tmp_path / "one", dataset, **options)
    monkeypatch.setattr(loading, "usable_devices", lambda: ("cpu", "cpu"))
    monkeypatch.setattr(forecast, "divided", in_turns)
    made, listener = run(tmp_path / "two", dataset, **options)
    assert contents(made) == contents(whole)
    assert [{**message, "seconds": 0} for message in listener.messages] == [
        {**message, "seconds": 0} for message in alone.messages
    ]
    assert "2 processes forecast, one on each of cpu, cpu" in listener.lines
    assert "series x windows forecast: 28 / 28 (100%)" in listener.lines
    assert not (tmp_path / "two" / "processing" / "scratch").exists()


def test_a_forecast_whose_process_is_killed_fails_and_leaves_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "usable_devices", lambda: ("cpu", "cpu"))
    monkeypatch.setattr(
        forecast, "open_shards", lambda root, predictors, device: lambda number: os.kill(os.getpid(), signal.SIGKILL)
    )
    with pytest.raises(WorkloadError, match="the process that worked on cpu was killed"):
        run(tmp_path / "job", write_dataset(tmp_path / "data", waves(4), shards=2))
    assert contents(tmp_path / "job" / "processing" / "output") == {}
    assert not (tmp_path / "job" / "processing" / "scratch").exists()
