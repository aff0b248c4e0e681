"""Files of a published folder that a job fetches by itself, one by one: those that it turns out to need.

Here: the list that a platform lays into an input channel instead of the files, and reading one. Which platform writes what
addresses is its own affair; the job's role may read the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REMOTE_FILES = "remote-files.json"


class RemoteFiles:
    """Files by their names. urls: of each, `file:///…` or `s3://…`. From any thread."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self.urls = urls

    @classmethod
    def of(cls, channel: Path) -> RemoteFiles:
        """The files of an input channel."""
        return cls(json.loads((channel / REMOTE_FILES).read_text(encoding="utf-8")))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        url = self._url(name)
        if url.startswith("file:"):
            return Path(unquote(urlsplit(url).path)).read_bytes()
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return self._read_object(bucket, key)

    def fetch(self, name: str, target: Path) -> None:
        """Show a file at a path that nothing is at, to be read only; `FileNotFoundError` if there is none."""
        url = self._url(name)
        if url.startswith("file:"):
            target.symlink_to(Path(unquote(urlsplit(url).path)))
            return
        bucket, _, key = url.removeprefix("s3://").partition("/")
        self._client.download_file(bucket, key, str(target))

    def keep(self, name: str, target: Path) -> str:
        """URL of a file that is to be a part of what the job leaves: it stays where it is, and isn't written to `target`.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._url(name)

    def _url(self, name: str) -> str:
        if name not in self.urls:
            raise FileNotFoundError(f"there is no {name}")
        return self.urls[name]

    def _read_object(self, bucket: str, key: str) -> bytes:
        try:
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(f"there is no s3://{bucket}/{key}") from error
        return content

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.client("s3")


def remote_files_document(urls: Mapping[str, str]) -> str:
    """What `RemoteFiles.of` reads."""
    return json.dumps(dict(urls), ensure_ascii=False)
