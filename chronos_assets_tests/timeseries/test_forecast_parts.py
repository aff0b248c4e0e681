"""Merging the parts of a window's forecast: the bytes of one instance, and parts that are refused."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.timeseries.dataset.shards import shard_number
from chronos_assets.timeseries.forecast import files
from chronos_assets.timeseries.forecast.files import (
    MAX_NAMED,
    ForecastLayout,
    PartsError,
    merge_forecast_parts,
    merge_messages,
    skipped_summary,
    skipped_table,
    write_window,
)
from chronos_assets.timeseries.published_files import MANIFEST

LAYOUT = ForecastLayout(("store",), ("mean", "p10"), 3)
PERIODS = np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "datetime64[us]")
SHARDS = [f"part-{number:05d}.parquet" for number in range(6)]


def record(key):
    """Of a series: values that tell it from all others, odd ones among them."""
    rng = np.random.default_rng(list("\0".join(key).encode()))
    values = rng.choice([-0.0, 0.1, np.nan, np.inf, 5e-324, rng.normal()], size=6)
    return np.array([(int(rng.integers(1 << 50)), values[0], values)], dtype=LAYOUT.record)[0]


def write(folder, fates, shards=None):
    """The files of the series in `fates`, key -> None (forecast), "" (not started) or the reason why it can't be."""
    forecast = sorted(key for key, fate in fates.items() if fate is None)
    skipped = skipped_table([(key, fate) for key, fate in fates.items() if fate], LAYOUT.dimensions)
    manifest = {
        "as_of": "2024-01-01",
        "data_version": "one",
        "dimensions": list(LAYOUT.dimensions),
        "columns": list(LAYOUT.columns),
        "horizon": LAYOUT.horizon,
        "series": len(forecast),
        "rows": len(forecast) * LAYOUT.horizon,
        "not_started": sum(fate == "" for fate in fates.values()),
        "crossed": 2 * len(forecast),
        "non_negative": len(forecast),
        "raised": len(forecast),
        "flat": len(fates),
        **skipped_summary(skipped),
        **({} if shards is None else {"part": {"shards": shards, "dataset": SHARDS}}),
    }
    write_window(folder, LAYOUT, PERIODS, [iter([(key, record(key)) for key in forecast])], skipped, manifest)
    return folder


def deal(fates, instances):
    """Series and shards of each instance."""
    for instance in range(instances):
        shards = SHARDS[instance::instances]
        yield (
            {key: fate for key, fate in fates.items() if SHARDS[shard_number(key, len(SHARDS))] in shards},
            None if len(shards) == len(SHARDS) else shards,
        )


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


keys = st.tuples(st.text(st.characters(codec="utf-8"), max_size=3), st.sampled_from(["", "é", "\U0001d11e", "\uffff"]))
outcomes = st.sampled_from([None, None, None, "", "no observation", "too short"])


@pytest.mark.process
@given(st.dictionaries(keys, outcomes, max_size=25), st.integers(1, 8), st.sampled_from([1, 9, 16_384]))
def test_the_parts_of_any_number_of_instances_become_the_bytes_of_one(fates, instances, rows):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        folder = Path(root)
        # Row groups and blocks that end anywhere.
        patch.setattr(files, "_ROWS_PER_GROUP", 12)
        patch.setattr(files, "_ROWS_AT_ONCE", rows)
        whole = write(folder / "whole", fates)
        parts = [
            write(folder / str(number) / "as_of=2024-01-01", *dealt)
            for number, dealt in enumerate(deal(fates, instances))
        ]
        manifest = merge_forecast_parts(parts[::-1], folder / "merged")
        assert contents(folder / "merged") == contents(whole)
        assert manifest == json.loads((whole / MANIFEST).read_text())


def peak_of_merge(folder, count, monkeypatch):
    """Bytes that Arrow holds at most while the forecasts of `count` series are merged."""
    fates = {(f"{number:05d}", ""): None for number in range(count)}
    parts = [write(folder / str(number), *dealt) for number, dealt in enumerate(deal(fates, 3))]
    sizes = [pa.total_allocated_bytes()]
    inner = files._grouped

    def measured(*args):
        for group in inner(*args):
            sizes.append(pa.total_allocated_bytes())
            yield group

    with monkeypatch.context() as patch:
        patch.setattr(files, "_grouped", measured)
        merge_forecast_parts(parts, folder / "merged")
    return max(sizes) - sizes[0]


@pytest.mark.process
def test_the_memory_of_a_merge_does_not_grow_with_the_series(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_ROWS_PER_GROUP", 1500)
    monkeypatch.setattr(files, "_ROWS_AT_ONCE", 300)
    few, many = (peak_of_merge(tmp_path / str(count), count, monkeypatch) for count in (2000, 8000))
    assert 0 < many < 1.2 * few


def test_equal_shards_share_the_work_evenly():
    counts = np.bincount([shard_number((f"item {number}",), 16) for number in range(20_000)], minlength=16)
    for instances in (2, 4, 8):
        shares = [counts[instance::instances].sum() for instance in range(instances)]
        assert max(shares) - min(shares) < counts.max()
        assert max(shares) < 1.06 * 20_000 / instances


@pytest.fixture
def parts(tmp_path):
    fates = {(f"{number}", ""): None for number in range(12)}
    return [write(tmp_path / f"algo-{number + 1}", *dealt) for number, dealt in enumerate(deal(fates, 3))]


def change(folder, **fields):
    document = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**document, **fields}))


def drop_last(parts):
    del parts[-1]


def repeat(parts):
    parts[2] = parts[0]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (drop_last, r"no part is of part-00002\.parquet, part-00005\.parquet: an instance didn't get its shards"),
        (repeat, r"algo-1 and .*algo-1 are both of part-00000\.parquet"),
        (lambda parts: change(parts[1], data_version="two"), 'data_version is "one" in the first and "two" in the'),
        (lambda parts: change(parts[1], params_digest="x"), 'params_digest is null in the first and "x" in the second'),
        (lambda parts: (parts[1] / MANIFEST).unlink(), r"no forecast in .*algo-2: did that instance end early"),
        (lambda parts: shutil.rmtree(parts[1]), r"no forecast in .*algo-2"),
        (
            lambda parts: change(parts[1], series=99),
            r"algo-2/forecast\.parquet has \d+ rows where its manifest says 297",
        ),
        (lambda parts: change(parts[1], part={"shards": [], "dataset": []}), "of differently cut datasets"),
    ],
    ids=["missing", "twice", "other data", "other parameters", "no manifest", "no folder", "damaged", "other shards"],
)
def test_parts_that_are_not_those_of_one_run_are_refused(parts, tmp_path, damage, complaint):
    damage(parts)
    with pytest.raises(PartsError, match=complaint):
        merge_forecast_parts(parts, tmp_path / "merged")


def test_a_series_in_two_parts_is_refused(parts, tmp_path):
    again = write(tmp_path / "again", {("0", ""): None, ("1", ""): None}, SHARDS[1::3])
    with pytest.raises(PartsError, match=r"series [01] /  was forecast twice"):
        merge_forecast_parts([parts[0], again, parts[2]], tmp_path / "merged")


def message(keys, skipped, seconds):
    def named(key):
        return {"item": " / ".join(key), "key": list(key)}

    return {
        "window": "2024-01-01",
        "method": "m",
        "series": len(keys),
        "not_started": 1,
        "crossed": len(keys),
        "non_negative": len(keys),
        "raised": 0,
        "flat": 0,
        "skipped_count": len(skipped),
        "skipped": [{**named(key), "reason": "short"} for key in sorted(skipped)[:MAX_NAMED]],
        "sparks": [{**named(key), "median": [1.0]} for key in sorted(keys)[:3]],
        "seconds": seconds,
    }


def test_messages_become_that_of_one_instance():
    # By their keys, not by how these read: "a / b" comes after "a!".
    keys = [("a", "b"), ("a!", ""), ("a", ""), ("c", "x"), ("b", "")]
    skipped = [(f"s{number:02d}", "") for number in range(50)]
    merged = merge_messages(
        [message(keys[:2], skipped[::2], 1.5), message([], [], 4.0), message(keys[2:], skipped[1::2], 2.5)]
    )
    assert merged == {**message(keys, skipped, 4.0), "not_started": 3}
    assert len(merged["skipped"]) == MAX_NAMED
    assert [spark["item"] for spark in merged["sparks"]] == ["a / ", "a / b", "a! / "]
