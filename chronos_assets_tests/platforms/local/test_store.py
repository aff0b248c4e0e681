"""The store on a local folder: what lists, what doesn't, what is refused."""

import itertools
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.store import StoreError, StoreKeyError


def keys(store, prefix):
    return sorted(info.key for info in store.list(prefix))


def test_objects_are_written_read_listed_and_deleted(tmp_path):
    store = open_store(tmp_path / "store")
    store.put("train/a.csv", b"one")
    store.put("train/sub/b.csv", b"three")
    store.put("trainer/c.csv", b"not below train/")
    assert store.get("train/a.csv") == b"one"
    assert keys(store, "train") == keys(store, "train/") == ["train/a.csv", "train/sub/b.csv"]
    assert len(keys(store, "")) == 3
    info = store.head("train/sub/b.csv")
    assert info is not None
    assert (info.key, info.size) == ("train/sub/b.csv", 5)
    assert info in list(store.list("train"))
    store.delete("train/a.csv")
    store.delete("train/a.csv")
    assert store.head("train/a.csv") is None
    assert not store.exists("train/a.csv")
    assert not store.exists("train")
    with pytest.raises(FileNotFoundError, match=r"train/a\.csv: no such object"):
        store.get("train/a.csv")


def test_a_missing_folder_lists_nothing(tmp_path):
    assert list(open_store(tmp_path).list("train")) == []


@pytest.mark.parametrize(
    "name", ["b c.csv", "ü.csv", "nfdü.csv", "p%20q.csv", "p%q.csv", "z#1.csv", "q?.csv", "a*.csv", "[x].csv", ".h"]
)
def test_odd_names_survive_a_round_trip(tmp_path, name):
    store = open_store(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).write_bytes(b"by hand")
    assert keys(store, "train") == [f"train/{name}"]
    assert store.get(f"train/{name}") == b"by hand"
    store.put(f"train/{name}", b"through the store")
    assert (tmp_path / "train" / name).read_bytes() == b"through the store"
    assert store.local_path(f"train/{name}") == tmp_path / "train" / name


@given(
    st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=40)
)
def test_every_key_that_can_be_put_lists_under_the_same_name(tmp_path_factory, name):
    store = open_store(tmp_path_factory.mktemp("store"))
    try:
        store.put(f"train/{name}", b"x")
    except StoreError:
        return  # refused, never stored elsewhere
    assert keys(store, "train") == [f"train/{name}"]
    assert store.get(f"train/{name}") == b"x"


def test_times_are_aware_utc_with_fractions(tmp_path):
    store = open_store(tmp_path)
    store.put("a", b"")
    os.utime(tmp_path / "a", ns=(0, 1_700_000_000_123_456_000))
    info = store.head("a")
    assert info is not None
    assert info.last_modified == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert info.last_modified.utcoffset() is not None


def test_the_etag_tells_a_rewrite_a_touch_and_a_replacement_that_keeps_time_and_size(tmp_path):
    store = open_store(tmp_path)
    path = tmp_path / "a"
    seen = set()

    def look():
        info = store.head("a")
        assert info is not None
        assert '"' not in info.etag
        seen.add(info.etag)

    path.write_text("1")
    os.utime(path, ns=(0, 10**18))
    look()
    look()
    assert len(seen) == 1
    path.write_text("2")  # same size, new time
    look()
    os.utime(path, ns=(0, 2 * 10**18))
    look()
    other = tmp_path / "b"
    other.write_text("3")
    os.utime(other, ns=(0, 2 * 10**18))
    os.replace(other, path)  # same time and size, another file
    look()
    assert len(seen) == 4


def test_a_published_folder_lists_through_its_link_and_dangling_links_do_not(tmp_path):
    store = open_store(tmp_path)
    store.put(".versions/forecast-1/forecast.csv", b"x")
    os.symlink(".versions/forecast-1", tmp_path / "forecast")
    (tmp_path / "train").mkdir()
    os.symlink("nowhere", tmp_path / "train" / "gone.csv")
    os.symlink("../.versions/forecast-1/forecast.csv", tmp_path / "train" / "linked.csv")
    assert keys(store, "forecast") == ["forecast/forecast.csv"]
    assert store.get("forecast/forecast.csv") == b"x"
    assert keys(store, "train") == ["train/linked.csv"]


@pytest.mark.parametrize("name", [b"tab\t.csv", b"new\nline.csv", b"latin\xff.csv"])
def test_a_name_that_cannot_be_a_key_is_reported_and_not_left_out(tmp_path, name):
    (tmp_path / "train").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/" + name)).write_text("x")
    with pytest.raises(StoreError) as error:
        list(open_store(tmp_path).list("train"))
    message = str(error.value)
    assert name.split(b".")[0][:3].decode() in message
    assert "rename or remove" in message
    assert "\n" not in message


def test_a_loop_of_links_is_reported(tmp_path):
    (tmp_path / "train").mkdir()
    os.symlink("..", tmp_path / "train" / "loop")
    with pytest.raises(StoreError, match="loop"):
        list(open_store(tmp_path).list("train"))


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../b", "a\0b", ""])
def test_no_operation_takes_a_key_outside_the_root(tmp_path, key):
    store = open_store(tmp_path / "store")
    for operation in (store.get, store.head, store.delete, store.exists, store.local_path, store.uri):
        with pytest.raises(StoreKeyError):
            operation(key)
    with pytest.raises(StoreKeyError):
        store.put(key, b"x")
    if key:
        with pytest.raises(StoreKeyError):
            list(store.list(key))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_names_kept_for_temporary_files_are_refused(tmp_path):
    with pytest.raises(StoreError, match="temporary"):
        open_store(tmp_path).put("a.csv#1", b"x")


def test_errors_of_the_file_system_are_one_line_with_the_key(tmp_path):
    store = open_store(tmp_path)
    store.put("folder/a", b"x")
    for operation in (
        lambda: store.put("folder", b"x"),
        lambda: store.head("folder/a/b"),
        lambda: store.delete("folder"),
    ):
        with pytest.raises(StoreError, match="folder") as error:
            operation()
        assert "\n" not in str(error.value)


def test_a_reader_sees_old_or_new_content_while_a_writer_replaces_it(tmp_path):
    store = open_store(tmp_path)
    contents = [bytes([digit]) * 100_000 for digit in (48, 49)]
    store.put("a", contents[0])
    done = threading.Event()

    def write():
        for turn in range(100):
            store.put("a", contents[turn % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        assert store.get("a") in contents
        reads += 1
    writer.join()
    assert reads > 10
    assert keys(store, "") == ["a"]


def test_a_listing_goes_on_while_files_come_and_go(tmp_path):
    store = open_store(tmp_path)
    for number in range(300):
        store.put(f"train/stays-{number}.csv", b"x")
    done = threading.Event()

    def churn():
        for turn in itertools.count():
            path = tmp_path / "train" / f"sub-{turn % 7}"
            path.mkdir(exist_ok=True)
            (path / "comes.csv").write_bytes(b"x")
            (path / "comes.csv").unlink()
            path.rmdir()
            if done.is_set():
                break

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            assert sum("stays" in info.key for info in store.list("train")) == 300
    finally:
        done.set()
        thread.join()


def test_urls_of_every_kind_open_the_same_folder(tmp_path, monkeypatch):
    open_store(tmp_path / "my store").put("a b.csv", b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    uri = (tmp_path / "my store").as_uri()
    for url in ("my store", "./my store", "~/my store", tmp_path / "my store", uri):
        store = open_store(url)
        assert store.url == uri
        assert store.get("a b.csv") == b"x"
    assert open_store(uri).uri("a b.csv") == f"{uri}/a%20b.csv"
    assert not open_store(uri).ordered


@pytest.mark.parametrize("url", ["gs://bucket/x", "https://host/x", "file://host/x", "s3://"])
def test_other_urls_are_refused_with_the_variable_to_set(url):
    with pytest.raises(StoreError):
        open_store(url)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        open_store(tmp_path / "file")


def test_a_bucket_is_no_store_of_this_machine():
    with pytest.raises(StoreError, match="set CHRONOS_STORE to a folder, or CHRONOS_DEPLOYMENT to aws"):
        open_store("s3://bucket/some/prefix/")
