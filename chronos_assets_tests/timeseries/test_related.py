"""Related time series and item metadata on disk: what is written is read back, in the dataset's shards and order."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest, read_item_metadata, write_item_metadata
from chronos_assets.timeseries.dataset.related import RelatedManifest, iter_related
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest, shard_number
from chronos_assets_tests.timeseries.builders import (
    MadeRelated,
    MadeSeries,
    make_metadata,
    make_params,
    make_related,
    write_dataset,
)

KEYS = [(f"item{number}", "north" if number % 2 else "south") for number in range(20)]
START = "2024-01-01T00:00:00"


def dataset(folder: Path, shards: int = 3) -> Path:
    series = [MadeSeries(key, START, [1.0, 2.0, 3.0]) for key in KEYS]
    return write_dataset(folder / "dataset", make_params(dimensions=("region",)), series, shards=shards)


def related(folder: Path) -> RelatedManifest:
    series = [
        MadeRelated(key, START, {"price": [float(n), math.nan, 1.5, 2.5], "event": ["sale", None, "sale", key[0]]})
        for n, key in enumerate(KEYS)
    ]
    return make_related(folder / "related", dataset(folder), series, known=["price"])


def test_a_shard_of_the_dataset_is_read_beside_the_one_shard_of_its_number(tmp_path: Path) -> None:
    manifest = related(tmp_path)
    read = RelatedManifest.read(tmp_path / "related")
    assert read == manifest
    read.check(Manifest.read(tmp_path / "dataset"))
    assert [(each.name, each.kind, each.known_in_advance, each.last) for each in read.attributes] == [
        ("price", "number", True, "2024-01-01T03:00:00"),
        ("event", "category", False, "2024-01-01T03:00:00"),
    ]
    found = []
    for number in range(read.n_shards):
        shard = read.shard(tmp_path / "related", number)
        keys = [one.key for one in iter_related(shard, read)] if shard else []
        assert keys == sorted(key for key in KEYS if shard_number(key, read.n_shards) == number)
        found += keys
    assert sorted(found) == sorted(KEYS)


@pytest.mark.parametrize("batch_rows", [1, 3, 100_000])
def test_series_are_whole_however_they_are_batched(tmp_path: Path, batch_rows: int) -> None:
    manifest = related(tmp_path)
    grid = manifest.grid
    for number in range(manifest.n_shards):
        shard = manifest.shard(tmp_path / "related", number)
        assert shard is not None
        for one in iter_related(shard, manifest, batch_rows=batch_rows):
            assert grid.start(one.first) == np.datetime64(START)
            assert len(one) == 4
            np.testing.assert_array_equal(one.values["price"], [KEYS.index(one.key), math.nan, 1.5, 2.5])
            assert one.values["event"].tolist() == ["sale", None, "sale", one.key[0]]
            # Whoever keeps a series keeps no more than it: not the batch that it was read with.
            assert all(values.base is None for values in one.values.values())


def test_related_time_series_of_another_dataset_are_refused(tmp_path: Path) -> None:
    manifest = related(tmp_path)
    other = Manifest.read(dataset(tmp_path / "other", shards=4))
    with pytest.raises(DatasetError, match="materialize related_time_series again"):
        manifest.check(other)
    with pytest.raises(DatasetError, match="materialize related_time_series again"):
        manifest.check(replace(Manifest.read(tmp_path / "dataset"), data_version="newer"))


def test_the_data_version_follows_the_values(tmp_path: Path) -> None:
    first, same = related(tmp_path / "a"), related(tmp_path / "b")
    assert first.data_version == same.data_version
    changed = make_related(tmp_path / "c", tmp_path / "a" / "dataset", [MadeRelated(KEYS[0], START, {"price": [2.0]})])
    assert changed.data_version != first.data_version


def test_metadata_are_read_back_by_item(tmp_path: Path) -> None:
    make_metadata(
        tmp_path / "m", {"b": {"brand": "x", "size": 2.0}, "a": {"brand": None, "size": None}, "001": {"brand": "y"}}
    )
    read = read_item_metadata(tmp_path / "m")
    assert read.items == ("001", "a", "b")
    assert read.of("b") == {"brand": "x", "size": 2.0}
    assert read.of("a")["brand"] is None
    assert math.isnan(read.of("001")["size"])  # type: ignore[arg-type]
    assert "b" in read
    assert "c" not in read
    assert read.of("c")["brand"] is None


def test_categories_with_too_many_values_are_left_out(tmp_path: Path) -> None:
    make_metadata(
        tmp_path / "m",
        {"a": {"brand": "x", "code": "1a"}, "b": {"brand": None, "code": "1b"}, "c": {"brand": "y", "code": "1c"}},
    )
    assert read_item_metadata(tmp_path / "m").categories(2) == {"brand": {"a": "x", "c": "y"}}


def test_two_rows_of_one_item_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="several rows"):
        write_item_metadata(tmp_path, pa.table({"item_id": ["a", "a"], "size": [1.0, 2.0]}))


@pytest.mark.parametrize("kind", [RelatedManifest, MetadataManifest])
@pytest.mark.parametrize("text", ["", "[]", '{"format_version": 99}', '{"format_version": 1}'])
def test_a_broken_manifest_is_a_clear_error(kind: type[RelatedManifest] | type[MetadataManifest], text: str) -> None:
    with pytest.raises(DatasetError, match=r"import the data again|upgrade"):
        kind.from_json(text)
