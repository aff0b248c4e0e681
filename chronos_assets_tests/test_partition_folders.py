"""The names of partitions' folders: as Hive and Spark escape them, and as earlier releases wrote them."""

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chronos_assets.partition_folders import (
    NoFolderError,
    at_either,
    by_folder,
    escape,
    job_folder,
    partition_folder,
    partition_of,
    places,
    unescape,
)

HOUR = "2025-06-20-13:00"
OWN, FORMER = "as_of=2025-06-20-13%3A00", "as_of=2025-06-20-13:00"


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("%:=/3A0aé\x7f"), max_size=12))
@example("2025-06-20-13:00")
@example("100%3A")
def test_what_is_escaped_comes_back(value):
    escaped = escape(value)
    assert unescape(escaped) == value
    assert not set(escaped) & set("\x00\x1f\x7f\"#'*/:=?\\{[]^")
    assert partition_of(partition_folder(value)) == value


def test_days_have_the_name_that_they_had():
    assert partition_folder("2025-06-20") == job_folder("2025-06-20") == "as_of=2025-06-20"
    assert places("history/as_of=2025-06-20") == ("history/as_of=2025-06-20",)


def test_hours_have_a_former_name_that_is_tried_after_their_own():
    assert partition_folder(HOUR) == OWN
    assert job_folder(HOUR) == "as_of=2025-06-20-13_x3A00"  # nothing to escape in a URI
    assert partition_of(OWN) == partition_of(FORMER) == HOUR
    assert places(f"a/{OWN}") == (f"a/{OWN}", f"a/{FORMER}", f"a/{OWN}")
    assert places(f"a/{FORMER}") == (f"a/{FORMER}",)
    assert list(by_folder([FORMER, "notes", OWN, "as_of=2025-06-20-12%3A00"])) == [
        places("as_of=2025-06-20-12%3A00"),
        places(OWN),
        ("notes",),
    ]


def test_other_folders_are_no_partitions():
    assert [partition_of(name) for name in ("scenario=hot", "notes", "as_of")] == [None] * 3


def test_a_folder_that_is_moved_between_two_looks_is_found():
    there = {FORMER}

    def take(place):
        found = place in there
        there.clear()
        there.add(OWN)  # by a publisher, at the same time
        if not found:
            raise NoFolderError(place)
        return place

    assert at_either(OWN, take) == OWN


def test_a_file_that_the_folder_lacks_is_not_taken_from_the_former_one():
    def take(place):
        raise FileNotFoundError(f"no file in {place}")

    with pytest.raises(FileNotFoundError, match="no file in as_of=2025-06-20-13%3A00"):
        at_either(OWN, take)


def test_readers_of_hive_folders_see_the_key(tmp_path):
    folder = tmp_path / partition_folder(HOUR)
    folder.mkdir()
    pq.write_table(pa.table({"p50": [1.0]}), folder / "forecast.parquet")
    sql = f"SELECT as_of, p50 FROM read_parquet('{tmp_path}/*/*.parquet', hive_partitioning = true)"
    assert duckdb.sql(sql).fetchall() == [(HOUR, 1.0)]
    read = pyarrow.dataset.dataset(tmp_path, partitioning="hive").to_table()
    assert read.to_pylist() == [{"p50": 1.0, "as_of": HOUR}]
