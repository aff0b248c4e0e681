"""Reading the benchmark: JSON lines, the ETT archive, a snapshot of the Hub, and what is broken in them."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.benchmark.data import FolderData, HubData, open_data
from chronos_assets.benchmark.tasks import TASKS, BenchmarkError
from chronos_assets_tests.timeseries.benchmark_folder import write_set
from chronos_assets_tests.timeseries.benchmark_sets import read_benchmark_set


def write_archive(path: Path, members: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


@pytest.mark.process
@pytest.mark.parametrize("name", ["nn5", "ETTh"])
def test_the_shared_sets_are_read_as_the_published_evaluation_cut_them(shared_data: Path, name: str) -> None:
    expected = read_benchmark_set(shared_data, name)
    data = open_data(str(shared_data / "benchmark"))
    windows = [window for values in data.series(name) for window in data.tasks[name].windows(values)]
    assert data.count(name) == len(expected.histories) == len(windows)
    for (history, actual), wanted, label in zip(windows, expected.histories, expected.actuals, strict=True):
        np.testing.assert_array_equal(history, wanted)
        np.testing.assert_array_equal(actual, label)


def test_the_shared_folder_has_fourteen_sets(shared_data: Path) -> None:
    assert len(open_data(str(shared_data / "benchmark")).tasks) == 14


def test_values_are_read_a_series_at_a_time(tmp_path: Path) -> None:
    write_set(tmp_path, "nn5", [[1.0, None, 3.0], [4.0]], "D")
    data = FolderData(tmp_path)
    assert (list(data.tasks), data.frequency("nn5"), data.count("nn5")) == (["nn5"], "D", 2)
    series = data.series("nn5")
    np.testing.assert_array_equal(next(series), [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(next(series), [4.0])


def test_a_set_may_be_plain_text(tmp_path: Path) -> None:
    (tmp_path / "nn5.jsonl").write_text('{"freq": "D", "target": [1, 2]}\n\n')
    data = FolderData(tmp_path)
    assert data.count("nn5") == 1
    assert data.tasks["nn5"] == TASKS["nn5"]


def test_the_digest_follows_the_bytes(tmp_path: Path) -> None:
    write_set(tmp_path, "nn5", [[1.0]], "D")
    before = FolderData(tmp_path).digest("nn5")
    write_set(tmp_path, "nn5", [[2.0]], "D")
    assert FolderData(tmp_path).digest("nn5") != before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"freq": "D", "target": [1]}\nnonsense\n', r"nn5.jsonl, line 2: not JSON"),
        ('{"freq": "D", "target": [1]}\n{"target": [1]}\n', "line 2: not an object with"),
        ('{"freq": "D", "target": [1]}\n{"freq": "h", "target": [1]}\n', "line 2: freq is 'h' after 'D'"),
        ('{"freq": "D", "target": ["x"]}\n', "line 1: target is not a list of numbers"),
        ('{"freq": "D", "target": [[1]]}\n', "line 1: target is not a flat list"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "nn5.jsonl").write_text(text)
    with pytest.raises(BenchmarkError, match=problem):
        list(FolderData(tmp_path).series("nn5"))


def test_a_file_cut_short_is_an_error(tmp_path: Path) -> None:
    path = write_set(tmp_path, "nn5", [list(range(1000))] * 20, "D")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BenchmarkError, match="can't be read"):
        list(FolderData(tmp_path).series("nn5"))


def test_a_folder_without_sets_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"put <set>.jsonl.gz files"):
        open_data(str(tmp_path))
    with pytest.raises(BenchmarkError, match="set CHRONOS_BENCHMARK_DATA to a folder"):
        open_data(str(tmp_path / "none"))


def test_members_of_the_archive_are_never_paths(tmp_path: Path) -> None:
    table = "date,a,b\n2024-01-01,1,2\n2024-01-02,,4\n"
    write_archive(tmp_path / "ETT-small.zip", {"../../ETTh1.csv": table, "/tmp/ETTh2.csv": table})
    data = FolderData(tmp_path)
    series = list(data.series("ETTh"))
    assert [list(values) for values in series[:2]] == [[1.0, pytest.approx(np.nan, nan_ok=True)], [2.0, 4.0]]
    assert data.count("ETTh") == 4
    assert {path.name for path in tmp_path.iterdir()} == {"ETT-small.zip"}
    assert not (tmp_path.parent.parent / "ETTh1.csv").exists()


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"ETTh1.csv": "date,a\n2024-01-01,1\n"}, "holds no ETTh2.csv"),
        ({"a/ETTh1.csv": "date,a\n1,1\n", "b/ETTh1.csv": "date,a\n1,1\n"}, "holds no ETTh1.csv .* or several"),
        ({"ETTh1.csv": "date,a\n2024-01-01,x\n"}, "ETTh1.csv, line 2: could not convert"),
        ({"ETTh1.csv": "date,a\n2024-01-01,1,2\n"}, "ETTh1.csv, line 2"),
        ({"ETTh1.csv": "date,a\n"}, "ETTh1.csv is empty"),
    ],
)
def test_a_broken_archive_is_named(tmp_path: Path, members: dict[str, str], problem: str) -> None:
    write_archive(tmp_path / "ETT-small.zip", members)
    with pytest.raises(BenchmarkError, match=problem):
        list(FolderData(tmp_path).series("ETTh"))


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "ETT-small.zip").write_bytes(b"PK nonsense")
    with pytest.raises(BenchmarkError, match=r"ETT-small.zip can't be read"):
        list(FolderData(tmp_path).series("ETTh"))


def snapshot(cache: Path, name: str, tables: list[pa.Table]) -> None:
    """What a download of a set leaves in the Hugging Face cache."""
    repository = cache / "datasets--autogluon--chronos_datasets"
    folder = repository / "snapshots" / ("0" * 40)
    (folder / name).mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text("0" * 40)
    for number, table in enumerate(tables):
        pq.write_table(table, folder / name / f"train-{number:05d}-of-{len(tables):05d}.parquet")


def test_a_snapshot_of_the_hub_is_read_from_the_cache(tmp_path: Path) -> None:
    def table(ids: list[str], **columns: list[list[float | None]]) -> pa.Table:
        days = [np.datetime64("2024-01-01", "ms") + np.arange(3) * np.timedelta64(1, "D")] * len(ids)
        return pa.table({"id": ids, "timestamp": [list(row) for row in days], **columns, "category": ["x"] * len(ids)})

    first = table(["a", "b"], target=[[1.0, None, 3.0], [4.0, 5.0, 6.0]], other=[[7.0, 8.0, 9.0], [1.0, 1.0, 1.0]])
    snapshot(tmp_path, "monash_weather", [first, table(["c"], target=[[2.0] * 3], other=[[3.0] * 3])])
    data = HubData(cache=tmp_path)
    assert data.frequency("monash_weather") == "D"
    series = list(data.series("monash_weather"))
    assert data.count("monash_weather") == len(series) == 6
    np.testing.assert_array_equal(series[0], [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(series[3], [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(series[5], [3.0, 3.0, 3.0])
    assert len(data.digest("monash_weather")) == 64
    with pytest.raises(BenchmarkError, match="has no Parquet files of set ercot"):
        data.count("ercot")

    short = pa.table({"timestamp": [[np.datetime64("2024-01-01", "ms")]], "target": [[1.0]]})
    for name, empty in (("m5", short), ("nn5", short[:0])):
        snapshot(tmp_path, name, [empty])
        with pytest.raises(BenchmarkError, match=f"set {name} .* have no frequency"):
            data.frequency(name)


def test_a_hub_that_cannot_be_reached_says_what_to_do_instead(tmp_path: Path) -> None:
    data = HubData(cache=tmp_path / "empty")
    with pytest.raises(BenchmarkError, match=r"could not be fetched .* set CHRONOS_BENCHMARK_DATA to a folder"):
        data.count("nn5")
    with pytest.raises(BenchmarkError, match="not one of"):
        data.count("m4_hourly")


def test_an_empty_source_is_the_hub() -> None:
    assert isinstance(open_data(""), HubData)
    assert len(open_data("autogluon/chronos_datasets").tasks) == 25


def test_a_set_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "nn5.jsonl.gz").write_bytes(gzip.compress(b""))
    data = FolderData(tmp_path)
    with pytest.raises(BenchmarkError, match="set m5 is not in"):
        data.count("m5")
    with pytest.raises(BenchmarkError, match="not JSON"):
        data.frequency("nn5")
