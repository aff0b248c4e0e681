"""The page about queries holds: its script, with the port changed, talks to a real server that has a store and no model."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chronos_assets.cli import endpoint
from chronos_assets.platforms.local.store import open_store
from chronos_assets.timeseries.dataset.sample import sample_params
from chronos_assets_tests import forks
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.ports import free_port
from chronos_assets_tests.timeseries.builders import make_params, write_forecast

PAGE = (REPOSITORY / "docs" / "query-forecast.md").read_text()
ARN = "arn:aws:forecast:us-east-1:000000000000:forecast/ElectricitySample"


def publish(store_folder: Path, value: float) -> None:
    store = open_store(store_folder)
    staged = store.scratch / "forecast"
    forecasts = {(f"household_{number}",): {"mean": [value] * 30, "p50": [value + number] * 30} for number in (1, 2)}
    write_forecast(staged / "forecast.parquet", make_params(), "2025-06-30T20:00", forecasts)
    store.publish_forecast("forecast", staged, datetime(2025, 6, 30))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "params.json").write_text(json.dumps(sample_params()))
    publish(folder, 10.0)
    return folder


@pytest.fixture(scope="module")
def port(store: Path) -> Iterator[int]:
    """The port of the command `endpoint forecasts`."""
    number = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CHRONOS_", "DAGSTER_"))}
    command = [sys.executable, "-m", "chronos_assets.cli", "endpoint", "forecasts", "--port", str(number)]
    process = subprocess.Popen(
        command, env={**inherited, "CHRONOS_STORE": str(store)}, cwd=store, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert f"http://127.0.0.1:{number}" in told
        assert f"ForecastArn {ARN}" in told
        yield number
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def client(port: int) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "forecastquery",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="eu-west-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 - the client wants one
        config=Config(proxies={}, retries={"total_max_attempts": 3}),
    )


def test_the_page_s_script_prints_the_published_forecast(port: int, tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "127.0.0.1:8090" in script
    (tmp_path / "script.py").write_text(script.replace("8090", str(port)))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["p50 2025-07-01T00:00:00 11.0", "mean 2025-07-01T00:00:00 10.0"]


def test_the_client_raises_the_service_s_exceptions(client: Any) -> None:
    from botocore.exceptions import ClientError

    filters = {"item_id": "household_1"}
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="near it are 'household_1', 'household_2'"):
        client.query_forecast(ForecastArn=ARN, Filters={"item_id": "household_3"})
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="nothing is published there"):
        client.query_forecast(ForecastArn=f"{ARN}/2025-06-20", Filters=filters)
    with pytest.raises(client.exceptions.InvalidInputException, match="write yyyy-MM-ddTHH:mm:ss"):
        client.query_forecast(ForecastArn=ARN, Filters=filters, StartDate="July")
    with pytest.raises(client.exceptions.InvalidNextTokenException):
        client.query_forecast(ForecastArn=ARN, Filters=filters, NextToken="abc")
    arn = ARN.replace(":forecast/", ":what-if-forecast/")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.query_what_if_forecast(WhatIfForecastArn=f"{arn}/spring-sale", Filters=filters)
    with pytest.raises(ClientError) as caught:
        client.query_forecast(ForecastArn="arn:aws:forecast:::forecast/other", Filters=filters)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_every_error_of_the_page_is_the_service_s(client: Any) -> None:
    told = set(re.findall(r"^\| `(\w+Exception)`", PAGE, re.MULTILINE))
    model = client.meta.service_model.operation_model("QueryForecast")
    assert told == {shape.name for shape in model.error_shapes}


def test_what_is_published_is_seen_at_once(client: Any, store: Path) -> None:
    for value in (20.0, 10.0):
        publish(store, value)
        answer = client.query_forecast(ForecastArn=ARN, Filters={"item_id": "household_2"})
        assert answer["Forecast"]["Predictions"]["mean"][0]["Value"] == value


def test_pages_of_other_sites_are_refused(port: int) -> None:
    body = json.dumps({"ForecastArn": ARN, "Filters": {"item_id": "household_1"}})
    protocol = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonForecastRuntime.QueryForecast"}

    def status(**headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(
            "POST", "/", body, {**protocol, **{name.replace("_", "-"): headers[name] for name in headers}}
        )
        found = connection.getresponse().status
        connection.close()
        return found

    assert status() == 200
    assert status(Host="attacker.example") == 421
    assert status(Origin="https://attacker.example") == 403
    assert status(Sec_Fetch_Site="cross-site") == 403
    assert status(Content_Type="text/plain") == 415


def test_a_bucket_is_asked_once_a_second_for_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    now = [100.0]
    monkeypatch.setattr(endpoint.time, "monotonic", lambda: now[0])
    folder_at = endpoint._looked_up(lambda place: (asked.append(place), Path(f"{place}-{len(asked)}"))[1])
    assert [folder_at("a"), folder_at("a"), folder_at("b")] == [Path("a-1"), Path("a-1"), Path("b-2")]
    now[0] += 1.0
    assert folder_at("a") == Path("a-3")
    assert asked == ["a", "b", "a"]


def test_parameters_that_cannot_be_read_are_a_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text("{")
    environment = {**os.environ, "CHRONOS_STORE": str(tmp_path)}
    done = forks.run("chronos_assets.cli", "endpoint", "forecasts", folder=tmp_path, environment=environment)
    assert done.returncode == 1
    assert "params.json" in done.stderr
    assert "Traceback" not in done.stderr
