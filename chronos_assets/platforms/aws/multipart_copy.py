"""Copies of objects that are too large for one request: part by part, within the bucket.

Here: how an object is divided, and the requests of one such copy. Elsewhere: which objects are copied
(`publishing.py`), errors in words (`bucket.py`).

obstore knows `CopyObject` only, which refuses what is larger than 5 GiB. boto3's managed copy would do, but asks for the
object's tags and annotations too, which takes permissions that nothing else here needs.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

CONCURRENCY = 8  # parts of one object at once

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class S3Limits:
    """What S3 takes in one request. The defaults are AWS's; a test's server may have smaller ones.

    Attributes:
        copy_bytes: largest object that one request copies.
        part_bytes: smallest part of an object in parts, except for the last.
        parts: most parts of an object.
    """

    copy_bytes: int = 5 * GIB
    part_bytes: int = 5 * MIB
    parts: int = 10_000

    def part_size(self, size: int, wanted: int) -> int:
        """Bytes of each part of an object of `size` bytes: `wanted`, or as many more as the number of parts asks for."""
        return max(wanted, self.part_bytes, -(-size // self.parts))


def ranges(size: int, part: int) -> Iterator[tuple[int, int]]:
    """First and last byte of each part."""
    for start in range(0, size, part):
        yield start, min(start + part, size) - 1


def copy_in_parts(
    client: Any, bucket: str, source: str, target: str, *, size: int, part: int, encryption: Mapping[str, str]
) -> None:
    """Copy an object of `size` bytes in parts of `part` bytes; on an error nothing of it is left.

    Args:
        client: boto3's S3 client.
        bucket: of both objects.
        source: key of what is copied.
        target: key of the copy.
        size: bytes of the source.
        part: bytes of each part.
        encryption: arguments of the request that begins the copy.
    """
    upload = client.create_multipart_upload(Bucket=bucket, Key=target, **encryption)["UploadId"]

    def copied(item: tuple[int, tuple[int, int]]) -> dict[str, Any]:
        number, (first, last) = item
        answer = client.upload_part_copy(
            Bucket=bucket,
            Key=target,
            UploadId=upload,
            PartNumber=number,
            CopySource={"Bucket": bucket, "Key": source},
            CopySourceRange=f"bytes={first}-{last}",
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    try:
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            parts = list(pool.map(copied, enumerate(ranges(size, part), 1)))
        client.complete_multipart_upload(Bucket=bucket, Key=target, UploadId=upload, MultipartUpload={"Parts": parts})
    except BaseException:
        client.abort_multipart_upload(Bucket=bucket, Key=target, UploadId=upload)
        raise
