"""The dataset on disk: streamed series by series, found by hash, described by a manifest."""

import json

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.timeseries.dataset.shards import (
    HASHES,
    DatasetError,
    Manifest,
    Shard,
    iter_series,
    key_hash,
    list_shards,
    shard_number,
)
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

HOUR = np.timedelta64(3_600_000_000, "us")
FIRST = np.datetime64("2024-01-01T00", "us")


def manifest_of(**changes):
    fields = {
        "data_version": "d",
        "first": "2024-01-01T00:00:00",
        "last": "2024-01-02T00:00:00",
        "frequency": "H",
        "dimensions": ("store",),
        "series": 2,
        "rows": 4,
        "observed": 3,
        "filled": 1,
        "missing": 0,
        "aggregated": 0,
        "duplicates": 0,
        "rejected": {"bad_timestamp": 1},
        "files": {"train/é.csv": 4},
        "n_shards": 4,
        "shards": (Shard("part-00002.parquet", 4, 2, 100, "s"),),
        "notes": ("a note",),
    }
    return Manifest(**(fields | changes))


def write(path, series, dimensions=(), row_group_size=4):
    """A shard by hand: series as key -> targets (NaN is filled), hourly."""
    names = ["item_id", *dimensions]
    columns = {name: [key[place] for key, values in series.items() for _ in values] for place, name in enumerate(names)}
    target = np.array([value for values in series.values() for value in values], dtype=float)
    columns["timestamp"] = pa.array(np.concatenate([FIRST + HOUR * np.arange(len(v)) for v in series.values()]))
    columns["target"] = pa.array(target)
    columns["filled"] = pa.array(np.isnan(target))
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size, store_schema=False)


class TestSeries:
    SERIES = {("a",): [1, 2, 3, 4, 5, 6], ("b",): [7], ("c",): [8, float("nan")], ("d",): list(range(9))}  # noqa: RUF012

    @pytest.mark.parametrize("batch_rows", [1, 2, 3, 5, 100])
    def test_series_come_whole_whatever_the_batches(self, tmp_path, batch_rows):
        write(tmp_path / "x.parquet", self.SERIES)
        found = list(iter_series(tmp_path / "x.parquet", batch_rows=batch_rows))
        assert [series.key for series in found] == list(self.SERIES)
        for series in found:
            np.testing.assert_array_equal(series.target, self.SERIES[series.key])
            np.testing.assert_array_equal(series.filled, np.isnan(self.SERIES[series.key]))
            np.testing.assert_array_equal(series.timestamps, FIRST + HOUR * np.arange(len(series.target)))
            assert series.timestamps.dtype == np.dtype("datetime64[us]")

    def test_neighbours_that_share_a_part_of_their_key_are_distinguished(self, tmp_path):
        series = {("a", "x"): [1, 2], ("a", "y"): [3], ("b", "y"): [4, 5]}
        write(tmp_path / "x.parquet", series, ("store",))
        found = list(iter_series(tmp_path / "x.parquet", ("store",), batch_rows=2))
        assert {series.key: series.target.tolist() for series in found} == series

    def test_only_what_is_before_an_instant(self, tmp_path):
        write(tmp_path / "x.parquet", self.SERIES)
        until = np.datetime64("2024-01-01T02:00", "m")
        found = {series.key[0]: len(series.target) for series in iter_series(tmp_path / "x.parquet", until=until)}
        assert found == {"a": 2, "b": 1, "c": 2, "d": 2}
        assert list(iter_series(tmp_path / "x.parquet", until=FIRST)) == []

    def test_an_empty_shard_has_no_series(self, tmp_path):
        write(tmp_path / "x.parquet", {("a",): []})
        assert list(iter_series(tmp_path / "x.parquet")) == []


class TestManifest:
    def test_it_reads_back_as_it_was(self):
        manifest = manifest_of()
        assert Manifest.from_json(manifest.to_json()) == manifest
        assert manifest.last_timestamp - manifest.first_timestamp == 24 * HOUR

    def test_a_folder_without_one_is_no_dataset(self, tmp_path):
        with pytest.raises(DatasetError, match="import the train files first"):
            Manifest.read(tmp_path)

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"format_version": 1}'])
    def test_a_broken_one_says_what_to_do(self, text):
        with pytest.raises(DatasetError, match="import the data again"):
            Manifest.from_json(text)

    def test_one_of_a_newer_version_is_refused(self):
        document = json.loads(manifest_of().to_json()) | {"format_version": 3}
        with pytest.raises(DatasetError, match="has format 3, this version reads 2"):
            Manifest.from_json(json.dumps(document))

    def test_shards_are_those_it_names(self, tmp_path):
        (tmp_path / DATASET_MANIFEST).write_text(manifest_of().to_json())
        (tmp_path / "part-00009.parquet").touch()
        assert list_shards(tmp_path) == [tmp_path / "part-00002.parquet"]


class TestPlaces:
    KEYS = (("item", "Grüße"), ("1", ""), ("世界",), ("client_12",))

    def test_the_hash_is_the_same_everywhere(self):
        assert [key_hash(key) for key in self.KEYS] == [35017, 53472, 20731, 4742]

    @pytest.mark.parametrize("key", KEYS)
    def test_sql_has_the_same(self, key):
        sql = "SELECT (md5_number_lower(concat_ws(chr(31), ?)) >> 48)::INTEGER"
        joined = "\x1f".join(key)
        assert duckdb.execute(sql, [joined]).fetchall() == [(key_hash(key),)]

    def test_shards_share_the_hashes_evenly_and_completely(self):
        keys = [(f"item {number}",) for number in range(20_000)]
        counts = np.bincount([shard_number(key, 7) for key in keys], minlength=7)
        assert len(counts) == 7
        assert (np.abs(counts - 20_000 / 7) < 200).all()
        assert (HASHES - 1) * 7 // HASHES == 6
