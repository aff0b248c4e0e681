"""The real server: in a container's folders, behind a local endpoint, called by boto3 and by many at once."""

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from chronos_assets.container.contract import ROOT_VARIABLE, WorkloadError, Workspace, execute
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.platforms.endpoints import EndpointRequest
from chronos_assets.platforms.local.endpoints import LocalEndpoints
from chronos_assets.platforms.local.store import open_store
from chronos_assets.serving.schema import Limits, Parameters
from chronos_assets.workloads import serve
from chronos_assets.workloads.serve import (
    PORT_VARIABLE,
    SERVING_VARIABLE,
    Batching,
    build_endpoint,
    main,
    parse_settings,
)
from chronos_assets_tests import forks
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.models.tiny import folder_of, save_bolt
from chronos_assets_tests.ports import free_port
from chronos_assets_tests.timeseries.builders import make_params, write_forecast

LEVELS = (0.1, 0.5, 0.9)
GOLDEN = {"inputs": [{"target": [1.0, 2.0, 4.0] * 8}], "parameters": {"prediction_length": 6}}


FORECASTS = {"group": "demand", "current": "forecast", "partition": "history/as_of={}"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def endpoints(store):
    endpoints = LocalEndpoints(store)
    yield endpoints
    endpoints.delete("demand")


@pytest.fixture(scope="module")
def deployed(endpoints):
    request = EndpointRequest(
        "demand", folder_of("bolt"), "demand/3", "abc", GOLDEN, {"prediction_length": 4, "batch_wait_ms": 5}, FORECASTS
    )
    with forks.forked_endpoints():
        return endpoints.deploy(request, logging.getLogger(__name__))


@pytest.fixture(scope="module")
def runtime(deployed):
    import boto3
    from botocore.config import Config

    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=deployed.url,
        region_name="eu-central-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",  # noqa: S106 - the client wants one, the endpoint does not
        config=Config(proxies={}),
    )


def test_unmodified_boto3_invokes_it(runtime):
    body = json.dumps({"inputs": [{"target": [10001, 10002, 10003] * 5, "item_id": "a"}]})
    answer = runtime.invoke_endpoint(EndpointName="demand", ContentType="application/json", Body=body)
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "demand/3"
    (prediction,) = json.loads(answer["Body"].read())["predictions"]
    assert prediction["item_id"] == "a"
    assert len(prediction["mean"]) == 4


def test_boto3_speaks_csv_and_passes_parameters_as_custom_attributes(runtime):
    answer = runtime.invoke_endpoint(
        EndpointName="demand",
        ContentType="text/csv",
        Accept="text/csv",
        CustomAttributes="prediction_length=2&quantile_levels=0.5",
        Body=b"item_id,timestamp,target\na,2024-01-31,1\na,2024-02-29,2\n",
    )
    lines = answer["Body"].read().decode().splitlines()
    assert lines[0] == "item_id,timestamp,mean,0.5"
    assert [line.split(",")[:2] for line in lines[1:]] == [["a", "2024-03-31T00:00:00"], ["a", "2024-04-30T00:00:00"]]


def test_boto3_shows_which_field_is_wrong(runtime):
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match=r"ValidationError.*inputs\[0\].target\[1\]: true is not a number"):
        runtime.invoke_endpoint(
            EndpointName="demand", ContentType="application/json", Body='{"inputs": [{"target": [1, true]}]}'
        )
    with pytest.raises(ClientError, match="only 'demand'"):
        runtime.invoke_endpoint(EndpointName="other", ContentType="application/json", Body="{}")


def test_unmodified_boto3_queries_the_forecast_that_the_store_publishes(deployed, store):
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(proxies={}, signature_version=UNSIGNED)
    client = boto3.client("forecastquery", endpoint_url=deployed.url, region_name="eu-central-1", config=config)
    question = {
        "ForecastArn": "arn:aws:forecast:eu-central-1:123456789012:forecast/demand",
        "Filters": {"item_id": "a"},
    }
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.query_forecast(**question)
    for value in (3.5, 4.5):
        staged = store.scratch / "staged"
        write_forecast(staged / "forecast.parquet", make_params(), "2024-01-31T00:00", {("a",): {"p50": [value]}})
        store.publish("forecast", staged)
        answer = client.query_forecast(**question)
        assert answer["Forecast"] == {"Predictions": {"p50": [{"Timestamp": "2024-01-31T00:00:00", "Value": value}]}}


def test_many_at_once_get_the_batch_forecast(deployed, endpoints):
    rng = np.random.default_rng(1)
    series = [np.cumsum(rng.normal(size=int(rng.integers(3, 120)))) for _ in range(60)]
    bounds = [one.min() >= 0 for one in series]
    batch = Forecaster(load_model(folder_of("bolt")), 8, LEVELS).forecast(series, non_negative=bounds)

    def ask(index):
        document = {
            "inputs": [{"target": series[index].tolist()}],
            "parameters": {"prediction_length": 8, "quantile_levels": list(LEVELS)},
        }
        (prediction,) = endpoints.invoke("demand", document)["predictions"]
        made = np.stack([prediction[repr(level)] for level in LEVELS], axis=-1)
        return np.abs(made - batch.quantiles[index]).max() / np.abs(batch.quantiles[index]).max()

    with ThreadPoolExecutor(16) as pool:
        assert max(pool.map(ask, range(len(series)))) < 1e-5


def test_what_is_served_is_reported_and_logged_without_the_data(deployed, endpoints):
    endpoints.invoke("demand", {"inputs": [987654321, 1]})
    connection = http.client.HTTPConnection("127.0.0.1", deployed.details["port"])
    connection.request("GET", "/")
    page = connection.getresponse().read().decode()
    connection.close()
    assert "demand/3" in page
    assert "<svg" in page
    log = open(deployed.details["log"], encoding="utf-8").read()  # noqa: SIM115 - the server continues to write it
    assert "POST /invocations 200" in log
    assert "987654321" not in log


@pytest.fixture
def container(tmp_path):
    """The folders that a hosting container has: a model and nothing else."""
    save_bolt(tmp_path / "model")
    return Workspace(tmp_path)


def test_in_a_container_it_serves_the_model_folder_and_ends_well(container):
    port = free_port()
    env = {
        **os.environ,
        ROOT_VARIABLE: str(container.root),
        PORT_VARIABLE: str(port),
        SERVING_VARIABLE: json.dumps({"prediction_length": 3, "batch_wait_ms": 700, "version": "v7"}),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "chronos_assets.workloads.serve"], cwd=REPOSITORY, env=env, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while (status := ping(port)) is None:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert (status["version"], status["model"]["family"]) == ("v7", "bolt")
        with asked(port, {"inputs": [1, 2, 3]}) as answer:
            process.send_signal(signal.SIGTERM)
            status, document = answer()
        assert status == 200
        assert len(document["predictions"][0]["mean"]) == 3
        assert process.wait(60) == 0
        assert not container.failure_file.exists()
    finally:
        process.kill()
        process.communicate()


def ping(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ping", headers={"Connection": "close"})
        return json.loads(connection.getresponse().read())
    except ConnectionError:
        return None
    finally:
        connection.close()


@contextmanager
def asked(port, document):
    """A request that the server has begun to read; a function that waits for the answer."""
    body = json.dumps(document).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        said = b""
        while b"\r\n\r\n" not in said:
            said += connection.recv(1)
        assert said.startswith(b"HTTP/1.1 100")
        connection.sendall(body)

        def answer():
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, json.loads(response.read())

        yield answer


def post(port, document):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/invocations", json.dumps(document), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_pickled_weights_are_not_loaded(container, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", logging.getLogger().handlers)
    handler = signal.getsignal(signal.SIGTERM)
    (container.model / "model.safetensors").rename(container.model / "pytorch_model.bin")
    try:
        assert execute(main, container) == 1
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert "which could run code when loaded" in container.failure_file.read_text()


@pytest.mark.parametrize(
    ("document", "env", "words"),
    [
        ({"batch": 3}, {}, "batch not known"),
        ({"port": 0}, {}, "port is 0: it must be a whole number from 1"),
        ({"port": True}, {}, "port is True: it must be a whole number from 1"),
        ({"integers": 1}, {}, "integers is 1: it must be a valid boolean"),
        ({"batch_wait_ms": -1}, {}, "batch_wait_ms is -1: it must be a number from 0 to 3600000"),
        ({"golden": [1]}, {}, r"golden is \[1\]: it must be an object"),
        (
            {"deployment": {"folder": "d1"}},
            {},
            "deployment.state_file, deployment.previous, deployment.ports not given",
        ),
        ({"forecasts": FORECASTS}, {}, "forecasts need a host on loopback"),
        ({"forecasts": {"group": "a"}, "host": "::1"}, {}, "forecasts.current, forecasts.partition not given"),
        ({"forecasts": FORECASTS | {"partition": "x"}, "host": "::1"}, {}, "partition and scenario are texts"),
        ({}, {SERVING_VARIABLE: "{"}, "CHRONOS_SERVING is not a JSON object"),
        ({}, {SERVING_VARIABLE: "[]"}, "CHRONOS_SERVING is not a JSON object"),
        ({}, {PORT_VARIABLE: "http"}, "port is 'http': it must be a whole number"),
    ],
)
def test_parameters_that_cannot_be_are_named(document, env, words):
    with pytest.raises(WorkloadError, match=words):
        parse_settings(document, env)


def test_every_parameter_has_its_effect():
    document = {
        "endpoint": "e", "version": "v", "identity": "i", "model": "m", "golden": {"inputs": [1]},
        "prediction_length": 7, "quantile_levels": [0.5], "batch_wait_ms": 1, "max_body_bytes": 5, "max_answer_values": 6,
        "host": "::1", "port": 1,
    }  # fmt: skip
    settings = parse_settings(document, {PORT_VARIABLE: "81", SERVING_VARIABLE: '{"version": "w"}'})
    assert (settings.endpoint, settings.version, settings.identity, settings.model) == ("e", "w", "i", "m")
    assert (settings.host, settings.port) == ("::1", 81)
    endpoint = build_endpoint(settings, load_model(folder_of("bolt")), Batching(3, 4, 2, 9))
    assert endpoint.schema.defaults == Parameters(7, (0.5,))
    assert endpoint.schema.limits == Limits(max_body_bytes=5, max_answer_values=6)
    assert endpoint.golden == {"inputs": [1]}
    forecaster, batcher = endpoint.predictor._forecaster, endpoint.batcher
    assert (forecaster.batch_size, forecaster.whole_batches) == (2, False)
    assert (batcher._batch_size, batcher._wait_seconds, batcher._queue_length) == (3, 0.001, 4)
    assert endpoint.timeout_seconds == 9


def test_defaults_that_the_model_cannot_do_are_refused(tmp_path):
    narrow = load_model(save_bolt(tmp_path, levels=[0.2, 0.5, 0.8]))
    assert build_endpoint(parse_settings({}, {}), narrow).schema.defaults.quantile_levels == (0.5,)
    with pytest.raises(
        WorkloadError, match=r"quantile_levels\[0\]: 0.1: model unversioned forecasts levels from 0.2 to"
    ):
        build_endpoint(parse_settings({"quantile_levels": [0.1]}, {}), narrow)


def test_a_servers_log_does_not_grow_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "server.log"
    monkeypatch.setattr(serve, "LOG_BYTES", 2000)
    with path.open("a") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        log = logging.Logger("test")
        log.addHandler(serve._RotatedLog(path))
        for number in range(300):
            log.info("line %d", number)
            stderr.flush()
    lines = [*path.with_name("server.log.1").read_text().splitlines(), *path.read_text().splitlines()]
    assert path.stat().st_size <= 2100
    assert lines[-1] == "line 299"
    assert lines == [f"line {number}" for number in range(300 - len(lines), 300)]


def test_a_page_of_another_site_reads_nothing_of_a_local_endpoint(deployed):
    host = deployed.url.removeprefix("http://").partition("/")[0]

    def status(**headers):
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", "/ping", headers=headers)
        return connection.getresponse().status

    assert status() == 200
    assert status(Host="evil.example") == 421
    assert status(Origin="https://evil.example") == 403


def test_a_gpu_that_can_not_be_used_ends_the_server_with_the_reason(container, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(logging.getLogger(), "handlers", logging.getLogger().handlers)
    monkeypatch.setenv(SERVING_VARIABLE, json.dumps({"gpu": True}))
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert execute(main, container) == 1
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert "a GPU that torch can't use: its driver is too old" in container.failure_file.read_text()
