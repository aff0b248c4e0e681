"""What searches and pipelines need of a store, on the tests' own S3: published folders whose versions are told."""

from pathlib import Path
from typing import Any


class StubStore:
    """A store in the bucket `data`.

    Args:
        s3: boto3 client.
        scratch: folder for copies.
    """

    def __init__(self, s3: Any, scratch: Path) -> None:
        self.bucket, self.prefix, self.url = "data", "group", "s3://data/group"
        self.scratch = scratch
        self._s3 = s3
        self._shown: dict[str, str] = {}

    def put_folder(self, key: str, version: str, **files: bytes) -> None:
        """Show a version of a folder."""
        self._shown[key] = version
        for name, content in (files or {"part-0.parquet": b"shard"}).items():
            self.put(f"versions/{key}/{version}/{name}", content)

    def put(self, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket="data", Key=self.object_key(key), Body=data)

    def get(self, key: str) -> bytes:
        try:
            return bytes(self._s3.get_object(Bucket="data", Key=self.object_key(key))["Body"].read())
        except self._s3.exceptions.NoSuchKey as error:
            raise FileNotFoundError(key) from error

    def exists(self, key: str) -> bool:
        return self._s3.list_objects_v2(Bucket="data", Prefix=self.object_key(key))["KeyCount"] > 0

    def read(self, key: str, name: str) -> bytes:
        return self.get(f"versions/{key}/{self._shown.get(key, '')}/{name}")

    def shown(self, key: str) -> str | None:
        return self._shown.get(key)

    def snapshot_uri(self, key: str) -> str:
        return f"{self.url}/versions/{key}/{self._shown[key]}/"

    def object_key(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def object_uri(self, key: str) -> str:
        return f"{self.url}/{key}"

    uri = object_uri
