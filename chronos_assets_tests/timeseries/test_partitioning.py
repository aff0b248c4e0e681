"""Rows dealt out by hash: the same rows in the same order, in memory or on disk."""

import numpy as np
import pyarrow as pa
import pytest

from chronos_assets.timeseries.dataset.partitioning import PARTITIONS, RowPartitions


def batches(number=20, rows=50):
    random = np.random.default_rng(3)
    for batch in range(number):
        hashes = random.integers(0, 1 << 16, rows).astype(np.uint16)
        order = np.arange(batch * rows, (batch + 1) * rows)
        yield pa.record_batch({"k0": [f"item {value}" for value in hashes], "hash": hashes, "order": order})


def test_few_rows_stay_in_memory_as_one_partition(tmp_path):
    partitions = RowPartitions(tmp_path)
    for batch in batches():
        partitions.add(batch)
    assert partitions.finish() == 1
    assert list(tmp_path.iterdir()) == []
    assert partitions.read(0).column("order").to_pylist() == list(range(1000))


@pytest.mark.process
@pytest.mark.parametrize("memory_bytes", [1, 3000, 20_000])
def test_many_rows_go_to_disk_by_hash_and_keep_their_order(tmp_path, memory_bytes):
    partitions = RowPartitions(tmp_path, memory_bytes)
    for batch in batches():
        partitions.add(batch)
    assert partitions.finish() == PARTITIONS
    assert partitions.rows == 1000
    seen = []
    for number in range(PARTITIONS):
        table = partitions.read(number)
        assert set(np.asarray(table.column("hash")) // (65536 // PARTITIONS)) <= {number}
        order = table.column("order").to_pylist()
        assert order == sorted(order)
        assert table.column("k0").to_pylist() == [f"item {value}" for value in table.column("hash").to_pylist()]
        seen += order
    assert sorted(seen) == list(range(1000))


def test_empty_batches_are_no_rows(tmp_path):
    partitions = RowPartitions(tmp_path)
    partitions.add(next(batches()).slice(0, 0))
    assert (partitions.rows, partitions.finish()) == (0, 1)
