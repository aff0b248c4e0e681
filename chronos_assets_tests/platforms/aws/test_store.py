"""The store in a bucket does what the one on a folder does, and publishing into it completes after any kill."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chronos_assets.platforms.aws.cache import Cache
from chronos_assets.platforms.aws.multipart_copy import MIB, S3Limits
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.store import PublishError, StoreError, StoreKeyError
from chronos_assets.store_layout import history_key
from chronos_assets_tests.aws.s3_server import S3Server
from chronos_assets_tests.platforms.aws.store_driver import KEY, copies_of, folders, options_of, said, stable, stage

NOON = datetime(2026, 1, 1, 12)
HOUR = timedelta(hours=1)
HOURLY = history_key("2026-01-01-10:00")


@pytest.fixture(scope="session")
def bucket(s3_server):
    """URL of the bucket of these tests."""
    s3_server.client().create_bucket(Bucket="stores")
    return "s3://stores"


@pytest.fixture
def open_s3(bucket, s3_server, tmp_path):
    """Open the test's store in the bucket, as often as it likes."""
    url = f"{bucket}/{uuid.uuid4().hex}"

    def make(cache="cache", **arguments):
        arguments = {"options": options_of(s3_server.endpoint), **arguments}
        return S3Store(url, cache=tmp_path / cache, **arguments)

    return make


@pytest.fixture
def remote(open_s3):
    return open_s3()


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    """A store of either kind."""
    return open_store(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("remote")


def staged(store, **files):
    folder = Path(tempfile.mkdtemp(dir=store.scratch))
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def keys(store, prefix):
    return sorted(info.key for info in store.list(prefix))


def raw_key(store, key):
    return f"{store.prefix}/{key}"


# Either kind


def test_objects_are_written_read_listed_and_deleted(store, tmp_path):
    store.put("train/a.csv", b"one")
    (tmp_path / "file").write_bytes(b"three")
    store.put_file("train/sub/b ü%20.csv", tmp_path / "file")
    store.put("trainer/c.csv", b"not below train/")
    assert store.get("train/a.csv") == b"one"
    assert keys(store, "train") == keys(store, "train/") == ["train/a.csv", "train/sub/b ü%20.csv"]
    assert [info.key for info in store.list("train", after="train/a.csv")] == ["train/sub/b ü%20.csv"]
    info = store.head("train/sub/b ü%20.csv")
    assert (info.key, info.size) == ("train/sub/b ü%20.csv", 5)
    assert abs(info.last_modified - datetime.now(UTC)) < HOUR
    assert info in list(store.list("train"))
    assert store.fetch("train/sub/b ü%20.csv").read_bytes() == b"three"
    assert store.fetch("train/sub/b ü%20.csv").name == "b ü%20.csv"
    store.delete("train/a.csv")
    store.delete("train/a.csv")
    assert store.head("train/a.csv") is None
    assert not store.exists("train/a.csv")
    assert not store.exists("train")
    for take in (store.get, store.fetch):
        with pytest.raises(FileNotFoundError, match=r"train/a\.csv"):
            take("train/a.csv")
    assert list(store.list("nothing")) == []


def test_a_fetched_object_that_was_overwritten_is_fetched_anew(store):
    for text in (b"1", b"2", b"3", b"1"):
        store.put("train/a.csv", text)
        assert store.fetch("train/a.csv").read_bytes() == text


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../b", "a\0b", "a\nb", "a//b", ""])
def test_no_operation_takes_a_key_outside_the_root(store, key, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("x")
    for operation in (
        store.get,
        store.head,
        store.delete,
        store.exists,
        store.fetch,
        store.snapshot,
        store.shown,
        store.withdraw,
        store.uri,
        lambda key: store.put(key, b"x"),
        lambda key: store.put_file(key, source / "a"),
        lambda key: store.publish(key, source),
        lambda key: store.publish_forecast(key, source, NOON),
        lambda key: store.read(key, "a"),
    ):
        with pytest.raises(StoreKeyError):
            operation(key)
    assert list(store.list("")) == []


def test_a_folder_is_published_read_and_withdrawn(store):
    assert store.shown("a/b") is None
    with pytest.raises(FileNotFoundError, match="a/b"):
        store.snapshot("a/b")
    assert not store.withdraw("a/b")
    source = staged(store, manifest__json='{"n": 1}', data__csv="1")
    (source / "sub").mkdir()
    (source / "sub" / "more.bin").write_bytes(b"\0")
    version = store.publish("a/b", source)
    assert not source.exists()
    assert store.shown("a/b") == version
    folder = store.snapshot("a/b")
    assert (folder / "data.csv").read_text() == store.read("a/b", "data.csv").decode() == "1"
    assert (folder / "sub" / "more.bin").read_bytes() == b"\0"
    assert keys(store, "a/b") == ["a/b/data.csv", "a/b/manifest.json", "a/b/sub/more.bin"]
    assert json.loads(store.read("a/b", "manifest.json")) == {"n": 1}
    with pytest.raises(FileNotFoundError):
        store.read("a/b", "nothing")
    after = store.publish("a/b", staged(store, data__csv="2"))
    assert after != version
    assert (folder / "data.csv").read_text() == "1"
    assert store.read("a/b", "data.csv") == b"2"
    assert keys(store, "a/b") == ["a/b/data.csv"]
    assert store.withdraw("a/b")
    assert store.shown("a/b") is None
    assert keys(store, "a/b") == []
    assert not store.withdraw("a/b")
    assert store.publish("a/b", staged(store, data__csv="2")) is not None
    assert store.read("a/b", "data.csv") == b"2"


def test_the_same_content_again_changes_nothing_and_older_content_comes_back(store):
    first = store.publish("a", staged(store, data="1"))
    second = store.publish("a", staged(store, data="2"))
    before = list(store.list(""))
    source = staged(store, data="2")
    assert store.publish("a", source) == second
    assert not source.exists()
    assert sorted(store.list(""), key=str) == sorted(before, key=str)
    assert store.publish("a", staged(store, data="1")) == first
    assert store.read("a", "data") == b"1"


def test_a_forecast_never_goes_back_in_time_unless_the_later_one_lost_its_data(store):
    assert store.publish_forecast("forecast", staged(store, a="noon"), NOON)
    source = staged(store, a="before")
    assert not store.publish_forecast("forecast", source, NOON - HOUR)
    assert source.exists()
    assert store.read("forecast", "a") == b"noon"
    assert store.publish_forecast("forecast", staged(store, a="again"), NOON.replace(tzinfo=UTC))
    assert not store.publish_forecast("forecast", staged(store, a="before"), NOON - HOUR, withdrawn=[NOON + HOUR])
    assert store.publish_forecast("forecast", staged(store, a="before"), NOON - HOUR, withdrawn=[NOON])
    assert store.read("forecast", "a") == b"before"
    assert store.publish_forecast("forecast", staged(store, a="after"), NOON + HOUR)
    assert store.withdraw("forecast")
    assert store.publish_forecast("forecast", staged(store, a="long ago"), NOON - 100 * HOUR)


def test_manifests_come_in_order_of_the_folders_names(store):
    names = ["as_of=2026-01-01", "as_of=2026-01-01-10:00", "as_of=2026-01-02"]
    for number, name in enumerate(reversed(names)):
        store.publish(f"history/{name}", staged(store, manifest__json=json.dumps({"n": number, "long": "x" * 70_000})))
    store.publish("history/without", staged(store, a="1"))
    store.publish("history/withdrawn", staged(store, manifest__json="{}"))
    store.withdraw("history/withdrawn")
    found = list(store.manifests("history"))
    assert [(name, version, manifest["n"]) for name, version, manifest in found] == [
        (name, store.shown(f"history/{name}"), 2 - number) for number, name in enumerate(names)
    ]
    assert list(store.manifests("nothing")) == []


def test_a_folder_of_an_earlier_release_is_read_until_its_partition_is_published_again(store):
    former = "history/as_of=2026-01-01-10:00"
    old = store.publish(former, staged(store, manifest__json='{"n": 1}', predictor="old"))
    under_way = store.snapshot(HOURLY)
    assert store.shown(HOURLY) == old
    assert (under_way / "predictor").read_text() == store.read(HOURLY, "predictor").decode() == "old"
    assert list(store.manifests("history")) == [("as_of=2026-01-01-10:00", old, {"n": 1})]
    new = store.publish(HOURLY, staged(store, manifest__json='{"n": 2}'))
    assert list(store.manifests("history")) == [("as_of=2026-01-01-10%3A00", new, {"n": 2})]
    assert store.shown(HOURLY) == new
    assert store.shown(former) is None
    assert keys(store, former) == []
    assert keys(store, HOURLY) == [f"{HOURLY}/manifest.json"]
    assert (under_way / "predictor").read_text() == "old"
    with pytest.raises(FileNotFoundError):
        store.read(HOURLY, "predictor")
    store.publish(HOURLY, staged(store, manifest__json='{"n": 3}'))
    assert former not in str(list(store.list("versions" if store.ordered else "history")))
    store.publish(former, staged(store, manifest__json='{"n": 4}'))
    assert store.withdraw(HOURLY)
    assert list(store.manifests("history")) == []
    assert not store.withdraw(HOURLY)


def test_what_is_no_folder_of_plain_files_is_refused(store):
    source = staged(store, a="1")
    with pytest.raises(PublishError, match="not a folder"):
        store.publish("a", source / "nothing")
    os.symlink("a", source / "link")
    with pytest.raises(PublishError, match="only plain files"):
        store.publish("a", source)
    assert store.shown("a") is None


def test_readers_see_one_version_while_publishers_alternate(store):
    done = threading.Event()
    store.publish(KEY, stage(store, 0))
    mixes, seen = [], set()

    def reader():
        while not done.is_set():
            found = said(store)
            seen.update(found)
            if len(found) != 1 or "-" in found or not store.read(KEY, "manifest.json").strip().isdigit():
                mixes.append(found)

    readers = [threading.Thread(target=reader) for _ in range(2)]
    for thread in readers:
        thread.start()
    for number in range(12):
        store.publish(KEY, stage(store, number))
        time.sleep(0.1)  # a reader has until the second publishing after the one that it reads
    done.set()
    for thread in readers:
        thread.join()
    assert mixes == []
    assert len(seen) > 2


# Publishing into a bucket


def test_files_that_sql_engines_must_not_read_are_hidden_from_them(remote):
    source = staged(remote, part__parquet="1", manifest__json="{}", _kept="x")
    remote.publish("dataset/x", source, data="part*.parquet")
    assert keys(remote, "dataset/x") == ["dataset/x/_kept", "dataset/x/_manifest.json", "dataset/x/part.parquet"]
    assert remote.read("dataset/x", "manifest.json") == b"{}"
    assert sorted(path.name for path in remote.snapshot("dataset/x").iterdir()) == [
        "_kept",
        "manifest.json",
        "part.parquet",
    ]
    uri = remote.snapshot_uri("dataset/x")
    assert uri.startswith(f"{remote.url}/versions/dataset/x/{remote.shown('dataset/x')}-")
    assert uri.endswith("/")
    with pytest.raises(PublishError, match="underscore"):
        remote.publish("dataset/y", staged(remote, a="1", _a="2"), data="part*")


def drive(scenario, s3_server, bucket, folder):
    url = f"{bucket}/{uuid.uuid4().hex}"
    module = "chronos_assets_tests.platforms.aws.store_driver"
    command = [sys.executable, "-m", module, scenario, s3_server.endpoint, url, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("scenario", "least"), [("first", 16), ("replace", 16), ("withdraw", 6), ("rename", 6)])
def test_killed_before_every_request_readers_see_old_or_new_and_a_rerun_completes(
    scenario, least, s3_server, bucket, tmp_path, record_property
):
    counts = drive(scenario, s3_server, bucket, tmp_path)
    record_property("counts", counts)
    assert counts["kills"] >= least
    assert counts["saw_old"] > 0
    assert counts["saw_new"] > 0


def test_publishers_at_the_same_time_lose_nothing_and_the_latest_wins(s3_server, bucket, tmp_path, record_property):
    counts = drive("together", s3_server, bucket, tmp_path)
    record_property("counts", counts)
    assert counts["publishings"] == 16


def before_its_pointer(store, act):
    """Have `act` called once, just before this store writes a pointer."""
    write = store.put_if

    def put_if(*args):
        store.put_if = write
        act()
        return write(*args)

    store.put_if = put_if


@pytest.mark.parametrize("first_is_later", [True, False])
@pytest.mark.parametrize("shown_before", [True, False])
def test_of_two_that_race_the_later_as_of_wins_in_either_order(open_s3, first_is_later, shown_before):
    slow, fast = open_s3("a"), open_s3("b")
    if shown_before:
        fast.publish_forecast(KEY, stage(fast, 0), NOON - HOUR)
    instants = (NOON + HOUR, NOON) if first_is_later else (NOON, NOON + HOUR)
    before_its_pointer(slow, lambda: fast.publish_forecast(KEY, stage(fast, 2), instants[1]))
    assert slow.publish_forecast(KEY, stage(slow, 1), instants[0]) == first_is_later
    winner = 1 if first_is_later else 2
    assert said(slow) == said(fast) == {str(winner)}
    assert stable(slow) == copies_of(winner)
    assert len(folders(slow)) == (1 + shown_before if not first_is_later else 2 + shown_before)


def test_copies_made_too_late_are_made_again(open_s3):
    slow, fast = open_s3("a"), open_s3("b")
    fast.publish(KEY, stage(fast, 0))
    copy = slow.copy

    def late(*args):
        slow.copy = copy
        fast.publish(KEY, stage(fast, 2))
        copy(*args)

    slow.copy = late
    slow.publish(KEY, stage(slow, 1))
    assert said(slow) == {"2"}
    assert stable(slow) == copies_of(2)


def test_copies_that_others_changed_are_healed_by_a_rerun(remote):
    remote.publish(KEY, stage(remote, 1))
    remote.put(f"{KEY}/forecast.parquet", b"edited")
    remote.put(f"{KEY}/more", b"added")
    remote.delete(f"{KEY}/manifest.json")
    remote.publish(KEY, stage(remote, 1))
    assert stable(remote) == copies_of(1)
    (folder,) = folders(remote)
    remote.delete(f"versions/{KEY}/{folder}/manifest.json")
    remote.publish(KEY, stage(remote, 1))
    assert said(remote) == {"1"}
    shutil.rmtree(remote.snapshot(KEY))
    assert said(remote) == {"1"}


def test_replaced_versions_stay_for_their_readers_and_then_go(open_s3):
    patient, hasty = open_s3(), open_s3(leftover_seconds=0)
    for number in range(4):
        patient.publish(KEY, stage(patient, number))
    uri = patient.snapshot_uri(KEY)
    assert len(folders(patient)) == 4
    abandoned = f"versions/{KEY}/{'0' * 16}-{'1' * 8}/forecast.parquet"
    foreign = f"versions/{KEY}/by hand/a"
    patient.put(abandoned, b"of a killed publisher")
    patient.put(foreign, b"x")
    patient.publish(KEY, stage(patient, 4))
    assert patient.exists(abandoned)
    hasty.publish(KEY, stage(hasty, 5))
    assert not patient.exists(abandoned)
    assert patient.exists(foreign)
    assert len(folders(patient)) == 3  # shown, the one before, what was put there by hand
    assert not list(patient.list(uri.removeprefix(f"{patient.url}/")))
    assert said(patient) == {"5"}


def test_what_was_published_since_is_not_taken_for_a_leftover(open_s3):
    slow, fast = open_s3("a", leftover_seconds=0), open_s3("b")
    slow.publish(KEY, stage(slow, 0))
    write = slow.put_if

    def late(*args):
        written = write(*args)
        fast.publish(KEY, stage(fast, 2))
        return written

    slow.put_if = late
    slow.publish(KEY, stage(slow, 1))
    assert said(slow) == {"2"}
    assert len(folders(fast)) == 3  # what is shown, the one before, and the one that fast's pointer keeps for a day


def test_what_a_killed_server_acknowledged_is_there_and_a_retry_completes(tmp_path):
    with S3Server() as server:
        server.client().create_bucket(Bucket="stores")

        def opened(cache, retries):
            backoff = {
                "init_backoff": timedelta(milliseconds=20),
                "max_backoff": timedelta(milliseconds=100),
                "base": 2,
            }
            retry = {"max_retries": retries, "retry_timeout": timedelta(seconds=60), "backoff": backoff}
            options = {**options_of(server.endpoint), "retry_config": retry}
            return S3Store("s3://stores/shop", cache=tmp_path / cache, options=options)

        hasty, patient = opened("a", 0), opened("b", 500)
        hasty.put("train/a.csv", b"1")
        hasty.publish(KEY, stage(hasty, 1))
        before_its_pointer(hasty, server.kill)
        source = stage(hasty, 2)
        with pytest.raises(StoreError, match="check the network"):
            hasty.publish(KEY, source)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(patient.put, "train/b.csv", b"2")
            server.start()
            waiting.result()
        assert patient.get("train/a.csv") + patient.get("train/b.csv") == b"12"
        assert said(patient) == {"1"}
        assert stable(patient) == copies_of(1)

        copy = hasty.copy

        def without_a_server(*args):
            server.kill()
            copy(*args)

        hasty.copy = without_a_server
        with pytest.raises(StoreError, match="check the network"):
            hasty.publish(KEY, source)
        hasty.copy = copy
        server.start()
        assert said(patient) == {"2"}
        hasty.publish(KEY, source)
        assert stable(patient) == copies_of(2)
        assert not source.exists()


# Errors


def test_what_is_in_the_way_is_reported_and_left_alone(remote):
    remote.put("forecast/by hand.csv", b"x")
    with pytest.raises(PublishError, match="not published by this code: move them away"):
        remote.publish("forecast", staged(remote, a="1"))
    assert keys(remote, "") == ["forecast/by hand.csv"]
    remote.publish("a/b", staged(remote, a="1"))
    with pytest.raises(PublishError, match="a part of it is published"):
        remote.publish("a", staged(remote, a="1"))
    with pytest.raises(PublishError, match="is inside the published folder a/b"):
        remote.publish("a/b/c", staged(remote, a="1"))
    for key in ("versions/x", ".current/x", ".stable/x"):
        with pytest.raises(PublishError, match="kept"):
            remote.publish(key, staged(remote, a="1"))
    empty = staged(remote)
    with pytest.raises(PublishError, match="no file"):
        remote.publish("empty", empty)
    remote.withdraw("a/b")
    remote.publish("a", staged(remote, a="1"))
    with pytest.raises(StoreError, match="not on this machine"):
        remote.local_path("a")


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"[]",
        b"",
        b"\xff",
        {"folder": "../../etc"},
        {"files": {"../../outside": {"object": "a", "size": 1, "etag": "x"}}},
        {"files": {"/outside": {"object": "a", "size": 1, "etag": "x"}}},
        {"files": {"a": {"object": "../../outside", "size": 1, "etag": "x"}}},
        {"files": {"a": {"object": "a\n", "size": 1, "etag": "x"}}},
        {"files": ["a"]},
        {"withdrawn": ["../x"]},
        {"as_of": "yesterday"},
    ],
)
def test_a_damaged_pointer_is_reported_and_its_names_never_become_paths(remote, damage, tmp_path):
    remote.publish("a/b", staged(remote, a="1", manifest__json="{}"))
    if isinstance(damage, dict):
        document = json.loads(remote.get(".current/a/b.json"))
        damage = json.dumps({**document, **damage}).encode()
    remote.put(".current/a/b.json", damage)
    for operation in (
        lambda: remote.snapshot("a/b"),
        lambda: remote.read("a/b", "a"),
        lambda: remote.shown("a/b"),
        lambda: remote.publish("a/b", staged(remote, a="1")),
        lambda: remote.withdraw("a/b"),
        lambda: list(remote.manifests("a")),
    ):
        with pytest.raises(StoreError, match=r"\.current/a/b\.json is no pointer .*: delete it"):
            operation()
    assert not list(tmp_path.rglob("outside*"))


def test_names_of_objects_that_are_no_keys_are_reported(remote, s3_server):
    client = s3_server.client()
    client.put_object(Bucket=remote.bucket, Key=raw_key(remote, "train/line\nbreak.csv"), Body=b"x")
    with pytest.raises(StoreError, match="rename or remove") as error:
        list(remote.list("train"))
    assert "break.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_the_console_made_is_in_nobodys_way(remote, s3_server):
    client = s3_server.client()
    for folder in ("train/", "forecast/", "history/"):
        client.put_object(Bucket=remote.bucket, Key=raw_key(remote, folder), Body=b"")
    remote.put("train/a.csv", b"x")
    remote.publish("forecast", staged(remote, a="1"))
    assert "train/a.csv" in keys(remote, "train")
    assert remote.read("forecast", "a") == b"1"
    assert list(remote.manifests("history")) == []


@pytest.mark.parametrize(
    ("environment", "url", "message"),
    [
        ({}, "s3://no-such-bucket/x", "create the bucket or correct CHRONOS_STORE"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, None, "correct the secret key"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, None, "correct the access key"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, None, "set AWS_PROFILE"),
    ],
)
def test_errors_say_how_to_fix_them(environment, url, message, s3_server, bucket, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in {**s3_server.env, **environment}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    store = S3Store(url or f"{bucket}/x", cache=tmp_path / "cache")
    for operation in (
        lambda: store.get("a"),
        lambda: store.put("a", b"x"),
        lambda: list(store.list("train")),
        lambda: store.snapshot("a"),
        lambda: store.publish("a", staged(store, a="1")),
    ):
        with pytest.raises(StoreError, match=message) as error:
            operation()
        assert not {"\n", "<"} & set(str(error.value))  # what S3 says, not the document that it says it in
        assert s3_server.env["AWS_SECRET_ACCESS_KEY"] not in str(error.value)


@pytest.mark.parametrize("kms_key", ["alias/mine", ""])
def test_every_object_is_written_with_the_key(kms_key, aws, tmp_path, monkeypatch):
    # moto's own S3 knows encryption, which SeaweedFS without a key server refuses.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", aws.url)
    limits = S3Limits(copy_bytes=6 * MIB, part_bytes=5 * MIB)
    store = S3Store("s3://encrypted/shop", cache=tmp_path, limits=limits, kms_key=kms_key)
    store._client.create_bucket(Bucket="encrypted")
    store.put("train/a.csv", b"one")
    large = tmp_path / "large"
    large.write_bytes(bytes(11 * MIB))
    store.put_file("train/b.csv", large)
    assert store.put_if("packages/1.json", b"1", None)
    assert not store.put_if("packages/1.json", b"2", None)
    folder = staged(store, a__csv="1")
    large.rename(folder / "large.bin")
    store.publish("dataset", folder)
    store.copy("train/a.csv", "train/c.csv", 3)
    store.withdraw("dataset")
    store.publish("dataset", staged(store, a__csv="2"))
    found = [store._client.head_object(Bucket="encrypted", Key=raw_key(store, info.key)) for info in store.list("")]
    assert len(found) > 6
    assert {(head.get("SSEKMSKeyId"), head.get("ServerSideEncryption") == "aws:kms") for head in found} == {
        (kms_key or None, bool(kms_key))
    }


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "https://bucket/x", "s3://bucket/../x", "s3://bucket/x?y"])
def test_other_urls_are_refused(url, tmp_path):
    with pytest.raises(StoreError):
        S3Store(url, cache=tmp_path)


# Copies on this machine


def test_a_copy_that_was_cut_short_is_not_taken_for_whole(tmp_path):
    cache = Cache(tmp_path, "s3://b/x")

    def cut(_name, target):
        target.write_text("12")

    def whole(_name, target):
        target.write_text("123")

    def broken(_name, _target):
        raise OSError("connection reset")

    with pytest.raises(StoreError, match="other sizes"):
        cache.folder("a", "1", {"x": 3}, cut)
    with pytest.raises(OSError, match="reset"):
        cache.folder("a", "1", {"x": 3}, broken)
    folder = cache.folder("a", "1", {"x": 3}, whole)
    assert (folder / "x").read_text() == "123"
    assert cache.folder("a", "1", {"x": 3}, broken) == folder
    (folder / "x").write_text("1")  # a power failure
    assert (cache.folder("a", "1", {"x": 3}, whole) / "x").read_text() == "123"
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".") and ".broken" not in path.name]


def test_the_two_newest_copies_stay_and_others_go_once_nobody_asks(tmp_path):
    def fill(_name, target):
        target.write_text("x")

    patient, hasty = Cache(tmp_path, "s3://b/x"), Cache(tmp_path, "s3://b/x", unused_seconds=-1)
    made = [patient.folder("a", str(number), {"f": 1}, fill) for number in range(4)]
    assert all(path.is_dir() for path in made)
    killed = made[0].parent / ".incoming-killed"
    killed.mkdir()
    for age, path in enumerate([*reversed(made), killed], 1):
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    newest = hasty.folder("a", "4", {"f": 1}, fill)
    assert sorted(newest.parent.iterdir()) == [made[3], newest]
    with pytest.raises(StoreKeyError):
        patient.folder("../a", "1", {"f": 1}, fill)
    with pytest.raises(StoreKeyError):
        patient.folder("a", "5", {"../f": 1}, fill)
