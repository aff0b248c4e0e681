"""Wide files as rows."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from chronos_assets.params.inference import infer
from chronos_assets.timeseries.dataset.melting import MeltError, melt
from chronos_assets.timeseries.dataset.sampling import sample_files
from chronos_assets.timeseries.dataset.train_files import TrainFile

WIDE = "date,HU FL,it's,note\n" + "".join(
    f"2024-01-{day:02d},{day}.5,{'' if day == 3 else day},x\n" for day in range(1, 31)
)


def _file(path: Path, data: str | bytes) -> TrainFile:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return TrainFile(path, path.name, datetime(2024, 1, 1, tzinfo=UTC))


def _parquet(path: Path) -> TrainFile:
    source = _file(path.with_suffix(".csv"), WIDE)
    duckdb.sql(f"COPY (FROM read_csv('{source.path}')) TO '{path}' (FORMAT parquet)")
    return TrainFile(path, path.name, source.last_modified)


@pytest.mark.parametrize("kind", ["csv", "gz", "parquet"])
def test_each_column_of_numbers_becomes_a_series(tmp_path: Path, kind: str) -> None:
    source = {
        "csv": lambda: _file(tmp_path / "w.csv", WIDE),
        "gz": lambda: _file(tmp_path / "w.csv.gz", gzip.compress(WIDE.encode())),
        "parquet": lambda: _parquet(tmp_path / "w.parquet"),
    }[kind]()
    target = tmp_path / "long.csv"
    assert melt(source, target) == (59, ("HU FL", "it's"))
    sample = sample_files([TrainFile(target, "long.csv", source.last_modified)])
    params = infer(sample.header, sample.rows)
    assert (params.item_column, params.timestamp_column, params.target_column) == (
        "item_id",
        "timestamp",
        "target_value",
    )
    sums = duckdb.sql(f"SELECT item_id, sum(target_value) FROM '{target}' GROUP BY 1 ORDER BY 1").fetchall()
    assert sums == [("HU FL", sum(range(1, 31)) + 15), ("it's", sum(range(1, 31)) - 3)]


def test_some_columns_only(tmp_path: Path) -> None:
    assert melt(_file(tmp_path / "w.csv", WIDE), tmp_path / "long.csv", ["hu_fl"]) == (30, ("HU FL",))


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeltError, match="those of numbers are HU FL, it's"):
        melt(_file(tmp_path / "w.csv", WIDE), tmp_path / "long.csv", ["price"])


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeltError, match="no header"):
        melt(_file(tmp_path / "w.csv", "2024-01-01,1,2\n2024-01-02,3,4\n"), tmp_path / "long.csv")
