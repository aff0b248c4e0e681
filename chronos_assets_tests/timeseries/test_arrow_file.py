"""Arrow files of series, beside GluonTS's own writer and reader."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from chronos_assets.timeseries.dataset import gluonts_arrow
from chronos_assets.timeseries.dataset.gluonts_arrow import ArrowFileError, Entry, read_arrow, write_arrow

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gluonts asks for a faster JSON library
    from gluonts.dataset.arrow import ArrowWriter, File
    from gluonts.dataset.common import FileDataset

START = np.datetime64("2000-01-01T00:00:00", "s")


def entries(count: int = 5) -> list[Entry]:
    rng = np.random.default_rng(0)
    return [
        (f"item-{number}", START + np.timedelta64(number, "h"), rng.normal(size=3 + number)) for number in range(count)
    ]


def as_gluonts(rows: list[Entry]) -> list[dict[str, object]]:
    return [{"item_id": name, "start": start, "target": target} for name, start, target in rows]


def same(read: list[Entry], wanted: list[Entry]) -> bool:
    return len(read) == len(wanted) and all(
        one[:2] == other[:2] and np.array_equal(one[2], other[2], equal_nan=True)
        for one, other in zip(read, wanted, strict=True)
    )


def test_the_bytes_are_those_of_gluonts(tmp_path):
    assert write_arrow(tmp_path / "ours.arrow", entries()) == 5
    ArrowWriter().write_to_file(as_gluonts(entries()), tmp_path / "theirs.arrow")
    assert (tmp_path / "ours.arrow").read_bytes() == (tmp_path / "theirs.arrow").read_bytes()


def test_many_batches_are_written_as_gluonts_does_and_read_back(tmp_path):
    rows = [
        (str(number), START, np.array([number, -number / 7])) for number in range(2 * gluonts_arrow.ROWS_PER_BATCH + 3)
    ]
    write_arrow(tmp_path / "ours.arrow", iter(rows))
    ArrowWriter().write_to_file(as_gluonts(rows), tmp_path / "theirs.arrow")
    assert (tmp_path / "ours.arrow").read_bytes() == (tmp_path / "theirs.arrow").read_bytes()
    assert same(list(read_arrow(tmp_path / "ours.arrow")), rows)


def test_gluonts_reads_them(tmp_path):
    path = tmp_path / "ours.arrow"
    write_arrow(path, entries())
    rows = list(File.infer(path))
    assert [row["item_id"] for row in rows] == [name for name, _, _ in entries()]
    assert [row["start"] for row in rows] == [pd.Timestamp(start) for _, start, _ in entries()]
    assert all(np.array_equal(row["target"], target) for row, (_, _, target) in zip(rows, entries(), strict=True))
    first, *_ = FileDataset(path, freq="h")
    assert first["start"] == pd.Period("2000-01-01 00:00", "h")
    assert first["target"].dtype == np.float32


@pytest.mark.parametrize("compression", [None, "lz4"])
def test_what_gluonts_writes_is_read(tmp_path, compression):
    rows = [
        {
            "start": pd.Period("2024-03-01 05:00", "h"),
            "target": np.array([1.5, np.nan, 2.5], dtype=np.float32),
            "item_id": "a",
            "extra": 3,
        },
        {"start": pd.Period("2024-03-02", "h"), "target": np.array([], dtype=np.float32), "item_id": "b", "extra": 4},
    ]
    ArrowWriter(compression=compression).write_to_file(rows, tmp_path / "theirs.arrow")
    wanted = [
        ("a", np.datetime64("2024-03-01T05:00:00", "s"), np.array([1.5, np.nan, 2.5])),
        ("b", np.datetime64("2024-03-02T00:00:00", "s"), np.array([])),
    ]
    read = list(read_arrow(tmp_path / "theirs.arrow"))
    assert same(read, wanted)
    assert read[0][2].dtype == np.float64
    read[0][2][0] = 7.0  # a reader may change what it was given


def test_a_file_without_series_is_empty(tmp_path):
    assert write_arrow(tmp_path / "none.arrow", []) == 0
    assert list(read_arrow(tmp_path / "none.arrow")) == []


def table(path: Path, **columns: pa.Array) -> Path:
    whole = pa.table(columns)
    with path.open("wb") as file, pa.ipc.new_file(file, whole.schema) as writer:
        writer.write_table(whole)
    return path


GOOD = {
    "item_id": pa.array(["a"]),
    "start": pa.array([START]),
    "target": pa.array([[1.0, 2.0]], pa.list_(pa.float64())),
}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target": None}, "has no column target; it has item_id, start"),
        ({"start": pa.array(["2024"])}, "start and target are string and list<item: double>, not a timestamp"),
        ({"target": pa.array([["x"]])}, "not a timestamp and a list of floats"),
        ({"target": pa.array([1.0])}, "not a timestamp and a list of floats"),
        ({"item_id": pa.array([None], pa.string())}, "empty cells in column item_id"),
        ({"start": pa.array([np.datetime64("2024-01-01T00:00:00.5", "ms")])}, "would lose data"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, changes, message):
    columns = {name: column for name, column in (GOOD | changes).items() if column is not None}
    path = table(tmp_path / "odd.arrow", **columns)
    with pytest.raises(ArrowFileError, match=r"odd\.arrow") as caught:
        list(read_arrow(path))
    assert message in str(caught.value)


def test_the_good_columns_of_those_tests_are_read(tmp_path):
    assert same(list(read_arrow(table(tmp_path / "good.arrow", **GOOD))), [("a", START, np.array([1.0, 2.0]))])


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ArrowFileError, match=r"there is no file .*none\.arrow"):
        list(read_arrow(tmp_path / "none.arrow"))
    whole = tmp_path / "cut.arrow"
    write_arrow(whole, entries())
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(ArrowFileError, match=r"cut\.arrow is not a readable Arrow file"):
        list(read_arrow(whole))
