"""The listing sensor over a store in a bucket: what is a change there, and that a restart of the server is none."""

import json
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.definitions import group_definitions
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.settings import Settings
from chronos_assets_tests.aws.s3_server import S3Server
from chronos_assets_tests.defs.line import PARAMS, Line, hourly_rows
from chronos_assets_tests.defs.test_sensors import Daemon
from chronos_assets_tests.platforms.aws.store_driver import options_of

pytestmark = pytest.mark.process  # an S3 server is started, killed and started again

SENSOR = "train_files_sensor"


def test_new_and_overwritten_files_are_imported_once_each_whatever_becomes_of_the_server(tmp_path: Path) -> None:
    with S3Server() as server, dg.DagsterInstance.ephemeral() as instance:
        server.client().create_bucket(Bucket="stores")
        store = S3Store("s3://stores/shop", cache=tmp_path / "cache", options=options_of(server.endpoint))
        settings = Settings(
            store=str(tmp_path / "unused"), partition_start="2023-12-01", settle_seconds=15, sensor_interval_seconds=15
        )
        group = Group(settings, {"store": store})
        daemon = Daemon(Line(group, instance, group_definitions(group)))
        text = "\n".join(hourly_rows(2)) + "\n"
        store.put("params.json", json.dumps(PARAMS).encode())
        store.put("train/a.csv", text.encode())

        def imports() -> int:
            requests = daemon.until_request(SENSOR)
            assert all(daemon.launch(request).success for request in requests)
            return len(requests)

        assert imports() == 1
        assert imports() == 0
        server.kill()
        server.start()
        assert imports() == 0
        store.put("train/a.csv", text.replace(",10,", ",11,").encode())
        assert imports() == 1
        store.put("train/b.csv", text.replace("2024-01", "2024-02").encode())
        assert imports() == 1
        store.delete("train/b.csv")
        assert imports() == 1
        assert imports() == 0
