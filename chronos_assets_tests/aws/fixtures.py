"""The fixtures of AWS on this machine.

Here: the session's servers and the state between tests. Elsewhere: the servers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chronos_assets_tests.aws.moto_server import AwsServer
    from chronos_assets_tests.aws.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """This worker's S3 server, for buckets of the tests' own."""
    from chronos_assets_tests.aws.s3_server import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[AwsServer]:
    """This worker's executing server; use `aws`."""
    from chronos_assets_tests.aws.moto_server import AwsServer

    server = AwsServer(tmp_path_factory.mktemp("aws"), s3_server.env)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def aws(aws_server: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """The executing server without anything in it, and the environment of its client."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in aws_server.env.items():
        monkeypatch.setenv(name, value)
    yield aws_server
    aws_server.reset()
