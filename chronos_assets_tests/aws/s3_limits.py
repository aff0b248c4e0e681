"""What S3 refuses and SeaweedFS takes: a server in front of it that answers as S3 does, and hands everything else on.

Here: limits of sizes and parts, and conditional headers. Elsewhere: storing anything.

The limits may be smaller than S3's, so that a test reaches them; the rules are those of
https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from chronos_assets.platforms.aws.multipart_copy import S3Limits

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization"}


class Refused(Exception):
    """An answer of S3's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class StrictS3:
    """S3's rules in front of the server at `endpoint` (http://host:port). A context manager; not started before.

    Attributes:
        conflicts: how many of the next conditional writes lose against another one that is under way.
        requests: what it was asked, `<verb> <kind>`: PUT copy, PUT part, PUT part copy, POST complete, ...
    """

    def __init__(self, endpoint: str, limits: S3Limits) -> None:
        self.backend = urlsplit(endpoint).netloc
        self.limits = limits
        self.conflicts = 0
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.part_sizes: dict[str, dict[int, int]] = defaultdict(dict)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """URL that clients use."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def check(self, verb: str, query: Mapping[str, str], headers: Mapping[str, str], source_size: int | None) -> None:
        """Refuse what S3 refuses of a request that writes.

        Args:
            source_size: bytes of the object that is copied; None if none is.

        Raises:
            Refused: with S3's code.
        """
        if verb == "PUT":
            self._check_conditions(headers)
            if "partNumber" in query:
                self._check_part(query, headers, source_size)
            elif source_size is not None and source_size > self.limits.copy_bytes:
                raise Refused(
                    400,
                    "InvalidRequest",
                    "The specified copy source is larger than the maximum allowable size for a copy source: "
                    f"{self.limits.copy_bytes}",
                )
            elif int(headers.get("content-length", 0)) > self.limits.copy_bytes:
                raise Refused(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        elif verb == "POST" and "uploadId" in query:
            sizes = self.part_sizes[query["uploadId"]]
            if any(size < self.limits.part_bytes for number, size in sizes.items() if number != max(sizes)):
                raise Refused(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")

    def _check_conditions(self, headers: Mapping[str, str]) -> None:
        absent, tag = headers.get("if-none-match"), headers.get("if-match")
        if (absent is not None and absent != "*") or tag == "*" or (absent and tag):
            raise Refused(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
        with self.lock:
            if (absent or tag) and self.conflicts > 0:
                self.conflicts -= 1
                raise Refused(
                    409,
                    "ConditionalRequestConflict",
                    "The conditional request cannot succeed due to a conflicting operation",
                )

    def _check_part(self, query: Mapping[str, str], headers: Mapping[str, str], source_size: int | None) -> None:
        number = int(query["partNumber"])
        if not 1 <= number <= self.limits.parts:
            raise Refused(
                400, "InvalidArgument", f"Part number must be an integer between 1 and {self.limits.parts}, inclusive"
            )
        size = int(headers.get("content-length", 0)) if source_size is None else source_size
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("x-amz-copy-source-range", "")):
            size = int(found[2]) - int(found[1]) + 1
        if size > self.limits.copy_bytes:
            raise Refused(400, "InvalidRequest", "The specified copy range is larger than the maximum allowable size")
        with self.lock:
            self.part_sizes[query["uploadId"]][number] = size

    def source_size(self, headers: Mapping[str, str], sizes: Mapping[str, int]) -> int | None:
        """Bytes of the object that a request copies, if it was written through this server; None if it copies none."""
        source = headers.get("x-amz-copy-source")
        return None if source is None else sizes.get(unquote(source).lstrip("/").partition("?")[0], 0)


def _handler(strict: StrictS3) -> type[BaseHTTPRequestHandler]:
    sizes: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            strict.requests.append(f"{self.command} {_kind(query, headers)}".strip())
            try:
                strict.check(self.command, query, headers, strict.source_size(headers, sizes))
            except Refused as refused:
                self._send(refused.status, {"Content-Type": "application/xml"}, _error(refused))
                return
            connection = HTTPConnection(strict.backend, timeout=60)
            try:
                # The host that was signed is this one's.
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                if answer.status < 300:
                    self._note_size(unquote(parts.path).lstrip("/"), query, headers)
                self._hand_on(answer)
            finally:
                connection.close()

        def _note_size(self, name: str, query: Mapping[str, str], headers: Mapping[str, str]) -> None:
            if self.command == "PUT" and "partNumber" not in query:
                copied = strict.source_size(headers, sizes)
                length = headers.get("x-amz-decoded-content-length") or headers.get("content-length", 0)
                sizes[name] = int(length) if copied is None else copied
            elif self.command == "POST" and "uploadId" in query:
                sizes[name] = sum(strict.part_sizes[query["uploadId"]].values())

        def _hand_on(self, answer: HTTPResponse) -> None:
            # An answer to HEAD says how long the object is, and has no body.
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            length = kept.pop("Content-Length", None) if self.command == "HEAD" else None
            body = answer.read()
            self._send(
                answer.status, {name: v for name, v in kept.items() if name.lower() != "content-length"}, body, length
            )

        def _send(self, status: int, headers: Mapping[str, str], body: bytes, length: str | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - names of the base class

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def _kind(query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    copies = "copy" if "x-amz-copy-source" in headers else ""
    if "partNumber" in query:
        return f"part {copies}".strip()
    if "uploadId" in query:
        return "upload"
    return "uploads" if "uploads" in query else copies


def _error(refused: Refused) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refused.code}</Code>'
        f"<Message>{refused.message}</Message></Error>"
    ).encode()
