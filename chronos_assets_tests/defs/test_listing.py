"""What counts as data, and the digest and memory of a listing."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.planning.cursor import adapter
from chronos_assets.planning.listing import (
    MAX_RECENT,
    MAX_RECENT_BYTES,
    Scan,
    compare,
    describe_ignored,
    is_train_file,
    listing_digest,
    spread_within,
    why_ignored,
)
from chronos_assets.platforms.store import ObjectInfo

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def info(key, etag="e", seconds=0.0, size=1):
    return ObjectInfo(f"train/{key}", size, etag, NOON + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("most", "chosen"), [(None, "edcba"), (50, "edcba"), (49, "eca"), (30, "eca"), (29, "eb"), (1, "e")]
)
def test_of_too_many_files_some_are_looked_at(most, chosen):
    files = [info(name, seconds=place, size=10) for place, name in enumerate("abcde")]
    assert [file.key[-1] for file in spread_within(files, most)] == list(chosen)
    assert spread_within([], most) == []


def scan(infos, overlap=HOUR):
    fold = Scan(overlap)
    for item in infos:
        fold.add(item)
    return fold.finish()


@pytest.mark.parametrize(
    "key",
    [
        "a.csv",
        "A.CSV",
        "a.csv.gz",
        "a.parquet",
        "2026/jan/a b.csv",
        "ü%20.csv",
        "a.tmp.csv",
        "part-0000",
        "a.parq",
        "sub/A.PQT",
    ],
)
def test_data_files_are_taken(key):
    assert is_train_file(info(key))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "folder marker"),
        ("sub/", "folder marker"),
        (".hidden.csv", "hidden"),
        ("_SUCCESS", "hidden"),
        ("_temporary/0/a.csv", "hidden"),
        (".git/a.csv", "hidden"),
        ("a.csv~", "temporary"),
        ("~$a.csv", "temporary"),
        (".~lock.a.csv#", "temporary"),
        ("#a.csv#", "temporary"),
        ("a.csv#3", "temporary"),
        ("a.csv.TMP", "temporary"),
        ("a.csv.part", "temporary"),
        ("a.csv.filepart", "temporary"),
        ("a.csv.crdownload", "temporary"),
        (".a.csv.swp", "temporary"),
        ("notes.txt", "neither CSV nor Parquet by its name"),
        ("README", "neither CSV nor Parquet by its name"),
        ("2024/License", "neither CSV nor Parquet by its name"),
        ("a.gz", "neither CSV nor Parquet by its name"),
    ],
)
def test_everything_else_is_left_out_for_a_reason(key, reason):
    assert why_ignored(info(key)) == reason


def test_empty_files_are_left_out():
    assert why_ignored(info("a.csv", size=0)) == "empty"


def test_what_is_left_out_is_reported_with_examples_but_markers_are_not():
    seen = scan([info(""), info("_SUCCESS"), *(info(f"n{number}.txt") for number in range(5))])
    assert describe_ignored(seen) == (
        "ignored: 1 hidden (_SUCCESS), 5 neither CSV nor Parquet by its name (n0.txt, n1.txt, n2.txt, …)"
    )
    assert describe_ignored(scan([info("")])) == ""


objects = st.dictionaries(
    st.sampled_from([f"{name}.csv" for name in "abcdefgh"]),
    st.tuples(st.sampled_from("xyz"), st.integers(-5000, 5000)),
    max_size=8,
)


def listing(content):
    return [info(key, etag, seconds) for key, (etag, seconds) in content.items()]


@pytest.mark.process
@given(objects, objects)
def test_the_digest_is_equal_for_equal_sets_of_keys_and_etags_only(one, other):
    same = {key: etag for key, (etag, _) in one.items()} == {key: etag for key, (etag, _) in other.items()}
    assert (listing_digest(listing(one)) == listing_digest(listing(other))) == same


@pytest.mark.process
@given(objects, st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_order_nor_on_what_is_no_data(content, chance):
    infos = [*listing(content), info("_SUCCESS"), info("x.tmp")]
    digest = listing_digest(listing(content))
    chance.shuffle(infos)
    assert listing_digest(infos) == scan(infos).content == digest


@given(objects, objects, st.integers(0, 3000))
def test_changes_are_named_exactly_or_there_are_others(one, other, overlap):
    old, new = (scan(listing(content), timedelta(seconds=overlap)) for content in (one, other))
    change = compare(old, new)
    if change.others:
        assert old.content != new.content or any(one[key][1] != other[key][1] for key in one.keys() & other.keys())
        return
    assert set(change.new) == {f"train/{key}" for key in other if key not in one}
    assert set(change.deleted) == {f"train/{key}" for key in one if key not in other}
    assert set(change.changed) == {f"train/{key}" for key in one if key in other and one[key][0] != other[key][0]}


def test_a_change_reads_well():
    old = scan([info("a.csv"), info("b.csv"), info("old.csv", seconds=-9999)])
    new = scan([info("b.csv", "f"), *(info(f"c{number}.csv") for number in range(5)), info("old.csv", seconds=-9999)])
    assert str(compare(old, new)) == "5 new (c0.csv, c1.csv, c2.csv, …), 1 changed (b.csv), 1 deleted (a.csv)"
    without = scan([info("b.csv", "f"), *(info(f"c{number}.csv") for number in range(5))])
    assert str(compare(new, without)) == "changes to files with other modification times"
    assert str(compare(old, old)) == "no change"


def read_back(value):
    """A part of a cursor as the next tick has it."""
    part = adapter(type(value))
    return part.validate_json(part.dump_json(value))


@given(objects, st.integers(0, 8))
def test_a_scan_goes_on_where_it_stopped(content, cut):
    infos = sorted(listing(content), key=lambda item: item.key)
    first = Scan(HOUR)
    for item in infos[:cut]:
        first.add(item)
    second = Scan(HOUR, read_back(first.state()))
    for item in infos[cut:]:
        second.add(item)
    assert second.objects == len(infos)
    assert second.ascending
    whole = scan(infos)
    resumed = second.finish()
    assert (resumed.total, resumed.files, resumed.size, resumed.high) == (
        whole.total,
        whole.files,
        whole.size,
        whole.high,
    )
    assert resumed.recent == whole.recent
    assert read_back(whole) == whole


def test_a_scan_notices_a_listing_out_of_order():
    fold = Scan(HOUR)
    fold.add(info("b.csv"))
    fold.add(info("a.csv"))
    assert not fold.ascending


@pytest.mark.process
@pytest.mark.parametrize("length", [10, 900])
@pytest.mark.parametrize("letter", ["k", "ü", "𝄞", '"'])
def test_memory_is_bounded_whatever_the_number_and_the_length_of_keys(length, letter):
    chance = random.Random(1)
    fold = Scan(timedelta(days=365))
    for number in range(5000):
        fold.add(info(f"{letter * length}{number:06d}.csv", f"{number:032x}", chance.randrange(10_000)))
        assert len(fold._recent) <= MAX_RECENT
    snapshot = fold.finish()
    assert snapshot.files == 5000
    assert 0 < len(snapshot.recent) <= MAX_RECENT
    assert len(json.dumps(snapshot.recent)) <= MAX_RECENT_BYTES
    # Those remembered are the newest.
    times = [modified for modified, _ in snapshot.recent.values()]
    assert min(times) >= snapshot.floor[0]


def test_names_of_the_newest_are_remembered_when_many_share_a_second():
    files = [info(f"{number:05d}.csv", str(number)) for number in range(2 * MAX_RECENT)]
    old, new = scan(files), scan([*files, info("99999.csv"), info("new.csv", seconds=1)])
    assert str(compare(old, new)) == "2 new (99999.csv, new.csv)"
    random.Random(1).shuffle(files)
    assert scan(files).recent == old.recent


def test_a_clock_ahead_of_all_others_hides_names_but_no_change():
    files = [info("a.csv"), info("skewed.csv", seconds=10**9)]
    old, new = scan(files), scan([*files, info("b.csv", seconds=5)])
    change = compare(old, new)
    assert (change.new, change.others) == ((), True)
    assert old.content != new.content
