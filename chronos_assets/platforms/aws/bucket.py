"""Single objects below an `s3://` prefix: what the local store does for a folder, and conditional writes.

Here: opening a bucket as boto3 would, calls of one request, errors in one line with how to fix it. Elsewhere:
published folders (`publishing.py`), copies on this machine (`cache.py`).

Endpoint, region and credentials are those that a boto3 client of the same environment would have, so that `AWS_PROFILE`,
the role of a task and `AWS_ENDPOINT_URL_S3` work. Nothing is asked, and boto3 not imported, before the first request.

https://developmentseed.org/obstore/latest/api/store/aws/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from botocore.exceptions import BotoCoreError, ClientError
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from chronos_assets.container.contract import KMS, encryption
from chronos_assets.platforms.aws.multipart_copy import MIB, S3Limits, copy_in_parts
from chronos_assets.platforms.aws.sagemaker.faults import SIGN_IN
from chronos_assets.platforms.objects import ObstoreObjects
from chronos_assets.platforms.store import StoreError, StoreKeyError, check_key

if TYPE_CHECKING:
    from obstore.store import S3Credential  # of its stubs alone

DOWNLOAD_BYTES = 8 << 20  # held in memory at a time
UPLOAD_PARTS = 4  # of one file at once
UPLOAD_PART_BYTES = 5 * MIB
COPY_PART_BYTES = 512 * MIB  # its content doesn't come here
REQUEST_TIMEOUT = timedelta(minutes=30)  # of a whole answer: a model is one, and the line may be slow
READ_TIMEOUT = timedelta(minutes=1)  # without a byte
# Argument of boto3's client -> obstore's name for it.
CLIENT_OPTIONS = {
    "endpoint_url": "endpoint",
    "region_name": "region",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
}
CREDENTIALS_SECONDS = 300  # how long credentials are used before boto3, which renews them in time, is asked again

_ANSWER = re.compile(r"<\?xml.*?<Code>([^<]*)</Code>.*?<Message>([^<]*)</Message>.*?</Error>", re.DOTALL)

# What an answer says -> what to do about it; the first that is found.
FIXES = (
    ("NoSuchBucket", "create the bucket or correct CHRONOS_STORE"),
    ("InvalidAccessKeyId", "correct the access key: `aws sts get-caller-identity` must answer"),
    ("SignatureDoesNotMatch", "correct the secret key: `aws sts get-caller-identity` must answer"),
    ("ExpiredToken", f"renew the credentials ({SIGN_IN})"),
    ("no AWS credentials", "set AWS_PROFILE, run `aws configure`, or give the task a role"),
    ("AuthorizationHeaderMalformed", "set AWS_REGION to the bucket's region"),
    ("PermanentRedirect", "set AWS_REGION to the bucket's region"),
    ("redirect", "set AWS_REGION to the bucket's region"),
    ("KMS.", "set CHRONOS_KMS_KEY to an enabled key of the bucket's region"),
    (
        "perform: kms:",
        "allow this identity kms:GenerateDataKey and kms:Decrypt on CHRONOS_KMS_KEY, or the bucket's key",
    ),
    (
        "AccessDenied",
        "allow this identity the bucket and the prefix: s3:ListBucket, GetObject, PutObject, DeleteObject",
    ),
    ("403", "allow this identity the bucket and the prefix: s3:ListBucket, GetObject, PutObject, DeleteObject"),
    ("invalid path", "rename or remove what is named here"),
    ("error sending request", "check the network, AWS_REGION and AWS_ENDPOINT_URL_S3"),
)


@dataclass(frozen=True, slots=True)
class TaggedContent:
    """An object's content, with what tells this content from the one before and after it."""

    data: bytes
    etag: str
    last_modified: datetime


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes around it) of an `s3://` URL.

    Raises:
        StoreError: it is none.
    """
    parts = urlsplit(url.rstrip("/"))
    if parts.query or parts.fragment:
        raise StoreError(f"store {url!r}: a prefix has no ? and no #: set CHRONOS_STORE to another one")
    if parts.scheme != "s3" or not parts.netloc:
        raise StoreError(f"store {url!r} names no bucket: set CHRONOS_STORE to s3://bucket/prefix")
    prefix = parts.path.strip("/")
    return parts.netloc, check_key(prefix) if prefix else ""


class S3Objects(ObstoreObjects):
    """The objects below `url`.

    Args:
        url: `s3://bucket/prefix`.
        options: arguments of obstore's `S3Store` that go before what boto3 says (`endpoint`, `retry_config`, ...).
        limits: what the server takes in one request.
        kms_key: KMS key that every object is written with (an id, ARN or alias); "": what the bucket encrypts with.
    """

    ordered = True

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        limits: S3Limits | None = None,
        kms_key: str = "",
    ) -> None:
        self.bucket, self.prefix = parse_url(url)
        self.url = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._options = dict(options or {})
        self._limits = limits or S3Limits()
        self.kms_key = kms_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @cached_property
    def _objects(self) -> Any:
        encrypted = {"server_side_encryption": KMS, "sse_kms_key_id": self.kms_key} if self.kms_key else {}
        options: dict[str, Any] = {**encrypted, **self._options}
        if "endpoint" in options:
            return S3Store(self.bucket, prefix=self.prefix or None, **options)
        meta = self._client.meta
        found = {
            "endpoint": meta.endpoint_url,
            # Without a region in the environment boto3 has this one for S3.
            "region": meta.region_name if meta.region_name != "aws-global" else "us-east-1",
            "credential_provider": _credentials_of(self._session),
            "client_options": {
                "allow_http": meta.endpoint_url.startswith("http://"),
                "timeout": REQUEST_TIMEOUT,
                "read_timeout": READ_TIMEOUT,
            },
        }
        return S3Store(self.bucket, prefix=self.prefix or None, **{**found, **options})

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.Session()

    @cached_property
    def _client(self) -> Any:
        """boto3's client of the same server, for what obstore has no call for."""
        given = {name: self._options[option] for name, option in CLIENT_OPTIONS.items() if option in self._options}
        return self._session.client("s3", **given)

    def uri(self, key: str) -> str:
        """See `Store.uri`: as S3 has it, nothing is escaped."""
        return f"{self.url}/{check_key(key)}"

    def object_key(self, key: str) -> str:
        """Key of an object in the bucket."""
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def get_tagged(self, key: str) -> TaggedContent | None:
        """Content and etag of an object that belong together; None if there is none."""
        try:
            with self._explained("read", key):
                answer = obstore.get(self._objects, check_key(key))
                return TaggedContent(
                    answer.bytes().to_bytes(),
                    str(answer.meta["e_tag"]),
                    answer.meta["last_modified"].astimezone(UTC),
                )
        except FileNotFoundError:
            return None

    def put_if(self, key: str, data: bytes, etag: str | None) -> bool:
        """Write an object if its etag is still this one (None: if there is none); whether it was written."""
        try:
            with self._explained("write", key):
                obstore.put(self._objects, check_key(key), data, mode="create" if etag is None else {"e_tag": etag})
        except StoreError as error:
            if isinstance(error.__cause__, (AlreadyExistsError, PreconditionError)):
                return False
            raise
        return True

    def copy(self, source: str, target: str, size: int) -> None:
        """Copy an object of `size` bytes within the bucket, without its content coming here.

        Raises:
            FileNotFoundError: there is no such object.
        """
        check_key(source), check_key(target)
        if size > self._limits.copy_bytes:
            self._copy_in_parts(source, target, size)
            return
        with self._explained("copy", source):
            obstore.copy(self._objects, source, target)

    def _copy_in_parts(self, source: str, target: str, size: int) -> None:
        part = self._limits.part_size(size, min(COPY_PART_BYTES, self._limits.copy_bytes))
        try:
            copy_in_parts(
                self._client,
                self.bucket,
                self.object_key(source),
                self.object_key(target),
                size=size,
                part=part,
                encryption=encryption(self.kms_key),
            )
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchKey":
                raise FileNotFoundError(f"{self.url}/{source}: no such object") from error
            raise StoreError(f"can't copy {self.url}/{source}: {error}{_fix(str(error))}") from error

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, 1,000 with a request; those that aren't there are fine."""
        names = [check_key(key) for key in keys]
        if names:
            with self._explained("delete", names[0]):
                obstore.delete(self._objects, names)

    def download(self, key: str, target: Path, *, etag: str | None = None) -> int:
        """Write an object's content to a new file, piece by piece; its size.

        Raises:
            FileNotFoundError: there is none, or its etag isn't this one any more.
        """
        try:
            with self._explained("read", key), target.open("xb") as file:
                options = {"options": {"if_match": etag}} if etag else {}
                for piece in obstore.get(self._objects, check_key(key), **options).stream(DOWNLOAD_BYTES):  # type: ignore[arg-type]
                    file.write(piece)
                return file.tell()
        except StoreError as error:
            if isinstance(error.__cause__, PreconditionError):
                raise FileNotFoundError(f"{self.url}/{key}: replaced while it was read") from None
            raise

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`."""
        with self._explained("write", key):
            obstore.put(self._objects, check_key(key), data)

    def put_file(self, key: str, source: Path) -> None:
        """See `Store.put_file`."""
        with self._explained("write", key):
            part = self._limits.part_size(source.stat().st_size, UPLOAD_PART_BYTES)
            obstore.put(self._objects, check_key(key), source, chunk_size=part, max_concurrency=UPLOAD_PARTS)

    @contextmanager
    def _explained(self, action: str, key: str, fix: str = "") -> Iterator[None]:
        """As for a folder, with what to do about it; a missing bucket is no missing object."""
        try:
            with super()._explained(action, key):
                yield
        except StoreKeyError:
            raise
        except StoreError as error:
            raise StoreError(f"{_plain(str(error))}{_fix(str(error))}") from error.__cause__
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            raise StoreError(
                f"can't {action} {self.url}/{key}: there is no bucket {self.bucket}{_fix('NoSuchBucket')}"
            ) from error


def _plain(message: str) -> str:
    """A message with what S3 says in place of the document that it says it in."""
    return _ANSWER.sub(r"\1: \2", message)


def _fix(message: str) -> str:
    return next((f"; {fix}" for sign, fix in FIXES if sign in message), "")


def _credentials_of(session: Any) -> Callable[[], S3Credential]:
    """The session's credentials, asked for when they are needed."""

    def credentials() -> S3Credential:
        found = session.get_credentials()
        if found is None:
            raise StoreError("no AWS credentials")
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(seconds=CREDENTIALS_SECONDS),
        }

    return credentials
