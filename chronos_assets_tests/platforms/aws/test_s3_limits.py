"""Publishing stays within what S3 takes: sizes of copies, numbers of parts, conditional writes."""

import hashlib
import uuid

import pytest

from chronos_assets.container.remote_files import RemoteFiles
from chronos_assets.platforms.aws.multipart_copy import GIB, MIB, S3Limits, ranges
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.folder_files import folder_digest
from chronos_assets.platforms.store import PublishError, StoreError
from chronos_assets_tests.aws.s3_limits import StrictS3
from chronos_assets_tests.platforms.aws.store_driver import KEY, copies_of, options_of, said, stable, stage

# S3's own smallest part, so that what obstore sends is held to it, too.
SMALL = S3Limits(copy_bytes=6 * MIB, part_bytes=5 * MIB, parts=4)


@pytest.fixture(scope="session")
def bucket(s3_server):
    s3_server.client().create_bucket(Bucket="limits")
    return "limits"


@pytest.fixture
def strict(s3_server):
    with StrictS3(s3_server.endpoint, SMALL) as server:
        yield server


@pytest.fixture
def open_store(strict, bucket, tmp_path):
    def opened(limits):
        url = f"s3://{bucket}/{uuid.uuid4().hex}"
        return S3Store(url, cache=tmp_path / "cache", options=options_of(strict.endpoint), limits=limits)

    return opened


def staged(store, content):
    folder = stage(store, 1)
    (folder / "forecast.csv").write_bytes(content)
    return folder


def test_an_object_above_the_limit_of_a_copy_is_published_in_parts(strict, open_store):
    store = open_store(SMALL)
    content = bytes(range(256)) * (14 * MIB // 256) + b"end"
    store.publish(KEY, staged(store, content))
    assert store.get(f"{KEY}/forecast.csv") == content
    assert (store.snapshot(KEY) / "forecast.csv").read_bytes() == content
    assert strict.requests.count("PUT part copy") == 3
    # What is there is as it was made: nothing is copied a second time.
    strict.requests.clear()
    store.publish(KEY, staged(store, content))
    assert not [request for request in strict.requests if "copy" in request]


def test_what_is_in_the_store_is_published_without_coming_here(strict, open_store, tmp_path):
    store = open_store(SMALL)
    part = bytes(7 * MIB)
    for name, content in {"part-0.parquet": part, "_manifest.json": b"{}"}.items():
        store.put(f".jobs/import/{name}", content)
    strict.requests.clear()
    version = store.publish(
        KEY, ".jobs/import", data="*.parquet", known={"part-0.parquet": hashlib.sha256(part).hexdigest()}
    )
    # In two parts for the version, and in two for the copy under its stable name.
    assert strict.requests.count("PUT part copy") == 4
    assert "PUT part" not in strict.requests
    folder = store.snapshot(KEY)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "part-0.parquet": part,
        "_manifest.json": b"{}",
    }
    # The same version as that of the files from here.
    assert version == folder_digest(folder)[:16] == store.shown(KEY)
    with pytest.raises(PublishError, match=r"part-1\.parquet is missing"):
        store.publish(KEY, ".jobs/import", data="*.parquet", known={"part-1.parquet": "0" * 64})
    assert store.shown(KEY) == version
    # A job that leaves a part of it, and says where the rest is.
    there, urls = store.addresses(KEY)
    assert there == version
    assert set(urls) == {"part-0.parquet", "_manifest.json"}
    remote = RemoteFiles(urls)
    remote.__dict__["_client"] = store._client  # that of the test's server
    assert remote.read("part-0.parquet") == part
    remote.fetch("part-0.parquet", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == part
    with pytest.raises(FileNotFoundError, match=r"there is no part-1\.parquet"):
        remote.read("part-1.parquet")
    store.put(".jobs/next/_manifest.json", b"[]")
    kept = {"part-0.parquet": urls["part-0.parquet"]}
    known = {"part-0.parquet": hashlib.sha256(part).hexdigest()}
    strict.requests.clear()
    store.publish(KEY, ".jobs/next", data="*.parquet", known=known, kept=kept)
    assert strict.requests.count("PUT part copy") == 4
    assert "PUT part" not in strict.requests
    assert {path.name: path.read_bytes() for path in store.snapshot(KEY).iterdir()} == {
        "part-0.parquet": part,
        "_manifest.json": b"[]",
    }
    # Published from here, what is kept stays there all the same.
    here = tmp_path / "dataset"
    here.mkdir()
    (here / "_manifest.json").write_bytes(b"{}")
    strict.requests.clear()
    url = store.open(KEY).keep("part-0.parquet", here / "part-0.parquet")
    assert store.publish(KEY, here, data="*.parquet", known=known, kept={"part-0.parquet": url}) == version
    assert "PUT part" not in strict.requests
    gone = {"part-0.parquet": f"{urls['part-0.parquet']}-gone"}
    with pytest.raises(PublishError, match=r"part-0\.parquet is missing"):
        store.publish(KEY, ".jobs/next", data="*.parquet", known=known, kept=gone)


def test_of_a_large_folder_only_what_is_asked_for_is_here(open_store, monkeypatch):
    store = open_store(SMALL)
    store.publish(KEY, stage(store, 1))
    folder = store.open(KEY)
    version = store.shown(KEY)
    store.publish(KEY, stage(store, 2))
    monkeypatch.setattr("chronos_assets.platforms.aws.store.COPIED_BYTES", 0)
    with folder.borrow({"manifest.json", "nothing"}) as here:
        # Of the version that was opened, whatever is shown now.
        assert {path.name: path.read_bytes() for path in here.iterdir()} == {
            "manifest.json": folder.read("manifest.json")
        }
    assert not here.exists()
    assert folder.version == version != store.shown(KEY)
    # A small one is copied as a whole, once.
    monkeypatch.setattr("chronos_assets.platforms.aws.store.COPIED_BYTES", 1 << 20)
    with folder.borrow({"manifest.json"}) as here:
        assert len(list(here.iterdir())) > 1
    assert here.exists()
    store.withdraw(KEY)
    monkeypatch.setattr("chronos_assets.platforms.aws.store.COPIED_BYTES", 0)
    with pytest.raises(StoreError, match="was replaced long before it was read"), folder.borrow({"manifest.json"}):
        pass


def test_the_server_refuses_what_s3_refuses(open_store):
    store = open_store(S3Limits())
    with pytest.raises(StoreError, match="copy source is larger than the maximum"):
        store.publish(KEY, staged(store, bytes(7 * MIB)))


def test_a_file_of_too_many_parts_is_uploaded_in_larger_ones(strict, open_store, tmp_path):
    (tmp_path / "file").write_bytes(bytes(23 * MIB))
    with pytest.raises(StoreError, match="between 1 and 4"):
        open_store(S3Limits()).put_file("train/a.csv", tmp_path / "file")
    strict.requests.clear()
    store = open_store(SMALL)
    store.put_file("train/a.csv", tmp_path / "file")
    assert strict.requests.count("PUT part") == SMALL.parts
    assert store.head("train/a.csv").size == 23 * MIB


def test_parts_of_the_largest_objects_are_within_the_limits():
    limits = S3Limits()
    for size in (1, 5 * GIB, 5 * GIB + 1, 5 * 1024 * GIB):
        part = limits.part_size(size, 5 * MIB)
        sizes = [last - first + 1 for first, last in ranges(size, part)]
        assert sum(sizes) == size
        assert len(sizes) <= 10_000
        assert all(5 * MIB <= part <= 5 * GIB for part in sizes[:-1])


def test_a_copy_that_fails_leaves_no_parts(open_store, bucket, s3_server):
    store = open_store(SMALL)
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        store.copy("nothing.csv", "target.csv", 14 * MIB)
    uploads = s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert not [upload for upload in uploads if upload["Key"].endswith("target.csv")]


def test_a_conditional_write_that_meets_another_one_is_tried_again(strict, open_store):
    store = open_store(SMALL)
    store.publish(KEY, stage(store, 1))
    for number in (2, 3):
        strict.conflicts = 1
        store.publish(KEY, stage(store, number))
        assert strict.conflicts == 0
        assert said(store) == {str(number)}
        assert stable(store) == copies_of(number)


def test_a_write_under_a_condition_needs_an_object_that_meets_it(open_store):
    store = open_store(SMALL)
    assert not store.put_if("a.json", b"1", '"0123456789abcdef0123456789abcdef"')
    assert store.put_if("a.json", b"1", None)
    assert not store.put_if("a.json", b"2", None)
    assert store.put_if("a.json", b"2", store.get_tagged("a.json").etag)
    assert store.get("a.json") == b"2"
