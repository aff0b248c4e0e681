"""The benchmark's protocol: the published tasks, GluonTS's windows and seasons, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chronos_assets.benchmark.tasks import TASKS, BenchmarkError, Task, read_tasks, season

pytestmark = pytest.mark.filterwarnings("ignore:Using `json`-module:UserWarning")


def test_the_tasks_are_those_of_the_published_configurations(shared_data: Path) -> None:
    read = read_tasks(shared_data / "benchmark")
    assert read == dict(TASKS)
    assert read is not TASKS
    assert [sum(task.benchmark == kind for task in read.values()) for kind in ("zero-shot", "in-domain")] == [27, 15]


def test_a_folder_without_configurations_has_the_usual_tasks(tmp_path: Path) -> None:
    assert read_tasks(tmp_path) is TASKS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- name: [", "can't be read"),
        ("name: nn5", "not a list of sets"),
        ("- name: nn5\n  offset: -8\n  num_rolls: 1", "prediction_length of 'nn5' is None"),
        ("- {name: nn5, offset: -8, prediction_length: true, num_rolls: 1}", "is True, not a whole number"),
        ("- {name: nn5, offset: -8, prediction_length: 5, num_rolls: 2}", "2 windows of 5 steps don't fit"),
        ("- {name: ../nn5, offset: -8, prediction_length: 8, num_rolls: 1}", "letters, digits and underscores only"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "published" / "configs" / "zero-shot.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=problem):
        read_tasks(tmp_path)


@pytest.mark.parametrize("task", [Task("a", "zero-shot", 5, -5), Task("a", "zero-shot", 3, -20, rolls=4)])
def test_windows_are_those_of_gluonts(task: Task) -> None:
    import pandas as pd
    from gluonts.dataset.split import split

    values = np.arange(40.0)
    _, template = split([{"target": values, "start": pd.Period("2024-01-01", "h")}], offset=task.offset)
    theirs = template.generate_instances(task.horizon, windows=task.rolls)
    ours = list(task.windows(values))
    assert len(ours) == task.rolls
    for (history, actual), (given, label) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(history, given["target"])
        np.testing.assert_array_equal(actual, label["target"])


def test_a_series_without_a_history_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="a series of 5 values has none before"):
        list(Task("a", "zero-shot", 5, -5).windows(np.arange(5.0)))


@pytest.mark.parametrize(
    "frequency", ["s", "30min", "15min", "min", "7min", "h", "6h", "5h", "D", "B", "W", "W-SUN", "M", "3M", "Q", "Y"]
)
def test_seasons_are_those_of_gluonts(frequency: str) -> None:
    from gluonts.time_feature import get_seasonality

    assert season(frequency) == get_seasonality(frequency)


@pytest.mark.parametrize("frequency", ["", "0h", "fortnight", "h; rm"])
def test_a_frequency_without_a_season_is_refused(frequency: str) -> None:
    with pytest.raises(BenchmarkError, match="has no default season"):
        season(frequency)
