"""Archives of jobs: what is unpacked, and what is refused before it is written."""

import errno
import gzip
import io
import os
import tarfile

import pytest

from chronos_assets.container.archives import ArchiveError, pack_folder, unpack


def archive(path, *members):
    """An archive of (name, content, type) members."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))
    return path


def test_files_and_folders_are_unpacked(tmp_path):
    made = archive(
        tmp_path / "model.tar.gz",
        ("./", b"", tarfile.DIRTYPE),
        ("./config.json", b"{}", tarfile.REGTYPE),
        ("code/model.safetensors", b"weights", tarfile.REGTYPE),
    )
    unpack(made, tmp_path / "model")
    assert (tmp_path / "model/config.json").read_bytes() == b"{}"
    assert (tmp_path / "model/code/model.safetensors").read_bytes() == b"weights"


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path, monkeypatch):
    made = archive(tmp_path / "model.tar.gz", ("config.json", b"{}", tarfile.REGTYPE))

    def full(*_given, **_named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    with pytest.raises(OSError, match="No space left on device"):
        unpack(made, tmp_path / "model")


def test_a_folder_is_packed_to_the_same_bytes_whenever_it_was_made(tmp_path):
    folder = tmp_path / "version"
    (folder / "base").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "base/config.json").write_bytes(b"[]")
    pack_folder(folder, tmp_path / "a.tar.gz")
    os.utime(folder / "config.json", (0, 0))
    pack_folder(folder, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    unpack(tmp_path / "a.tar.gz", tmp_path / "again")
    found = {path.relative_to(tmp_path / "again").as_posix(): path for path in (tmp_path / "again").rglob("*.json")}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "config.json": b"{}",
        "base/config.json": b"[]",
    }


@pytest.mark.parametrize(
    "name, kind, problem",
    [
        ("../config.json", tarfile.REGTYPE, "outside"),
        ("a/../../config.json", tarfile.REGTYPE, "outside"),
        ("/tmp/config.json", tarfile.REGTYPE, "outside"),
        ("config.json", tarfile.SYMTYPE, "neither a file nor a folder"),
        ("config.json", tarfile.LNKTYPE, "neither a file nor a folder"),
        ("null", tarfile.CHRTYPE, "neither a file nor a folder"),
        ("pipe", tarfile.FIFOTYPE, "neither a file nor a folder"),
    ],
)
def test_what_would_leave_the_folder_or_is_no_plain_file_is_refused(tmp_path, name, kind, problem):
    made = archive(tmp_path / "model.tar.gz", (name, b"", kind))
    with pytest.raises(ArchiveError, match=problem):
        unpack(made, tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []
    assert not (tmp_path / "config.json").exists()


def test_too_much_is_refused(tmp_path):
    made = archive(tmp_path / "a.tar.gz", *((f"{n}", bytes(100), tarfile.REGTYPE) for n in range(3)))
    with pytest.raises(ArchiveError, match="larger than 250 bytes"):
        unpack(made, tmp_path / "x", max_bytes=250)
    with pytest.raises(ArchiveError, match="more than 2"):
        unpack(made, tmp_path / "y", max_members=2)


def test_what_is_no_archive_is_refused(tmp_path):
    made = archive(tmp_path / "a.tar.gz", ("weights", bytes(range(256)) * 100, tarfile.REGTYPE))
    whole = made.read_bytes()
    for content in (b"", b"nothing", gzip.compress(b"nothing of the kind"), whole[: len(whole) // 2]):
        made.write_bytes(content)
        with pytest.raises(ArchiveError, match=r"a\.tar\.gz"):
            unpack(made, tmp_path / "x")


@pytest.mark.parametrize("damage", ["cut in the second header", "wrong checksum", "no end"])
def test_an_archive_that_is_damaged_between_its_members_is_refused(tmp_path, damage):
    members = [("config.json", b"{}", tarfile.REGTYPE), ("weights", b"w" * 100, tarfile.REGTYPE)]
    plain = gzip.decompress(archive(tmp_path / "a.tar.gz", *members).read_bytes())
    damaged = {
        "cut in the second header": plain[: 1024 + 200],
        "wrong checksum": plain[:1024] + b"X" + plain[1025:],
        "no end": plain[:1024],
    }[damage]
    made = tmp_path / "b.tar.gz"
    made.write_bytes(gzip.compress(damaged))
    with pytest.raises(ArchiveError, match=r"b\.tar\.gz can't be unpacked"):
        unpack(made, tmp_path / "x")
