"""Archives of models, as SageMaker expects them: packed here, and unpacked with care, as others can write to the bucket, too.

Here: which members an archive may have, and how large it may be once it is unpacked. Elsewhere:
what the files mean.
"""

from __future__ import annotations

import errno
import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from chronos_assets.errors import ChronosAssetsError

MODEL_ARCHIVE = "model.tar.gz"  # what a training job leaves, and a model package or a serverless endpoint takes
MAX_BYTES = 8 << 30  # of all files; the largest Chronos model has 3 GB
MAX_MEMBERS = 10_000
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class _WholeInfo(tarfile.TarInfo):
    """A member whose header is whole: tarfile takes a damaged one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _WholeInfo:
        """The next member of an open archive; `ReadError` where its header is cut or has a wrong checksum."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it ends in the middle or is damaged: {error}") from error


class ArchiveError(ChronosAssetsError):
    """An archive that is damaged, or holds what it must not; the message says which member and why."""


def unpack(archive: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> None:
    """Unpack a `.tar.gz` of plain files and folders into an empty folder; nothing is written outside of it.

    Raises:
        ArchiveError: it is damaged, too large, or has another kind of member.
        OSError: this machine's disk is full or broken, of which the archive isn't to blame.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        # As a stream: members are checked one by one, before they are written, and a bomb is not unpacked to be counted.
        with tarfile.open(archive, "r|gz", tarinfo=_WholeInfo) as tar:
            for member in _checked(tar, archive, max_bytes, max_members):
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise ArchiveError(f"{archive.name} can't be unpacked: {error}") from error


def pack_folder(folder: Path, archive: Path) -> None:
    """An archive of a folder's files; the same files give the same bytes."""
    with (
        archive.open("wb") as written,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=written, mtime=0) as packed,  # a name would be in its header
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size, info.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(info, file)


def _checked(tar: tarfile.TarFile, archive: Path, max_bytes: int, max_members: int) -> Iterator[tarfile.TarInfo]:
    total = 0
    for number, member in enumerate(tar, 1):
        total += member.size
        reason = _problem(member)
        if number > max_members:
            reason = f"is one of more than {max_members}"
        elif total > max_bytes:
            reason = f"makes it larger than {max_bytes} bytes"
        if reason:
            raise ArchiveError(f"{archive.name}: its member {member.name!r} {reason}")
        yield member


def _problem(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "lies outside of the archive's folder"
    if not (member.isfile() or member.isdir()):
        return "is neither a file nor a folder"
    return ""
