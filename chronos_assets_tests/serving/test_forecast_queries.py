"""Published forecasts over Amazon Forecast Query's protocol: botocore's own client in front of the application."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.loaders import Loader

from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.serving import bodies, forecast_queries
from chronos_assets.serving.forecast_queries import ForecastPlaces, ForecastQueries, QueryFault, parse_question
from chronos_assets.serving.forecast_server import ForecastServer, build_forecast_app
from chronos_assets.timeseries.forecast.lookup import ForecastLookup
from chronos_assets.timeseries.forecast.query import SeriesQuestion
from chronos_assets.timeseries.forecast.what_if import write_what_if
from chronos_assets_tests.timeseries.builders import make_params, write_forecast

FIRST = "2014-11-30T22:00"
ARN = "arn:aws:forecast:eu-central-1:123456789012:forecast/electricity_usage"
QUERY = "AmazonForecastRuntime.QueryForecast"
WHAT_IF = "AmazonForecastRuntime.QueryWhatIfForecast"

Scenario = Callable[[httpx.AsyncClient, ForecastQueries], Awaitable[Any]]


def publish(root: Path, key: str, value: float, item: str = "client_1") -> None:
    """A forecast of one item, three steps of one value."""
    staged = root / "staged"
    write_forecast(staged / "forecast.parquet", make_params(), FIRST, {(item,): {"p50": [value] * 3}})
    publish_directory(root / key, staged)


def publish_scenario(root: Path, scenario: str, value: float) -> None:
    """A what-if forecast of one item, as the asset `what_if_forecasts` leaves it."""
    forecasts = []
    for name, shown in (("made", value), ("base", value - 1)):
        path = root / f"{name}.parquet"
        params = make_params(dimensions=("store",))
        forecasts.append(write_forecast(path, params, FIRST, {("client_1", "north"): {"p50": [shown] * 3}}))
    staged = root / "staged"
    staged.mkdir(exist_ok=True)
    write_what_if(staged, scenario, "2014-11-29", *forecasts, ["store"])
    publish_directory(root / "what_if" / f"scenario={scenario}", staged)


def places(root: Path, **changes: str) -> ForecastPlaces:
    given = {
        "group": "electricity-usage",
        "current": str(root / "forecast"),
        "partition": str(root / "history" / "as_of={}"),
    }
    return ForecastPlaces(**(given | changes))


def served(root: Path, play: Scenario, **changes: str) -> Any:
    """What a scenario makes of a client of a server, and what answers it."""
    queries = ForecastQueries(places(root, **changes))

    async def main() -> Any:
        transport = httpx.ASGITransport(build_forecast_app(ForecastServer(queries)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await play(client, queries)

    return asyncio.run(asyncio.wait_for(main(), 60))


def post(client: httpx.AsyncClient, document: Any, target: str = QUERY, **headers: str) -> Any:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target} | headers
    return client.post("/", content=content, headers=given)


def question(arn: str = ARN, item: str = "client_1", **more: Any) -> dict[str, Any]:
    return {"ForecastArn": arn, "Filters": {"item_id": item}, **more}


def asked(root: Path, document: Any, target: str = QUERY, **changes: str) -> httpx.Response:
    return served(root, lambda client, _: post(client, document, target), **changes)


def median(answer: httpx.Response) -> float:
    assert answer.status_code == 200, answer.text
    return float(answer.json()["Forecast"]["Predictions"]["p50"][0]["Value"])


# Errors of both operations in the service's own model, as boto3 has it; every JSON 1.1 client knows those of the protocol.
_SERVICE = Loader().load_service_model("forecastquery", "service-2")
MODELLED = frozenset.intersection(
    *(frozenset(error["shape"] for error in operation["errors"]) for operation in _SERVICE["operations"].values())
)
OF_THE_PROTOCOL = frozenset({"UnknownOperationException", "SerializationException", "InternalFailure"})


def test_every_error_is_one_of_the_services_model() -> None:
    source = inspect.getsource(forecast_queries)
    raised = set(re.findall(r'"([A-Z][A-Za-z]+(?:Exception|Failure))"', source))
    assert {"InvalidNextTokenException", "ResourceInUseException", "LimitExceededException"} <= raised
    assert raised <= MODELLED | OF_THE_PROTOCOL
    operations = {target.partition(".")[2] for target in forecast_queries._OPERATIONS}
    assert operations == set(_SERVICE["operations"])
    assert {target.partition(".")[0] for target in forecast_queries._OPERATIONS} == {
        _SERVICE["metadata"]["targetPrefix"]
    }


def fault(answer: httpx.Response) -> tuple[int, str, str]:
    document = answer.json()
    assert document.keys() == {"__type", "Message"}
    assert answer.headers["x-amzn-errortype"] == document["__type"]
    assert document["__type"] in MODELLED | OF_THE_PROTOCOL
    return answer.status_code, document["__type"], document["Message"]


def test_the_current_forecast_is_answered(tmp_path: Path) -> None:
    publish(tmp_path, "forecast", 7.5)
    answer = asked(tmp_path, question(StartDate="2014-11-30T23:00:00", EndDate="2014-11-30T23:00:00Z"))
    assert answer.json() == {"Forecast": {"Predictions": {"p50": [{"Timestamp": "2014-11-30T23:00:00", "Value": 7.5}]}}}
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-requestid"]
    answer = asked(tmp_path, question(StartDate="2014-11-30T23:00:00Z"), clock="UTC")
    assert answer.json()["Forecast"]["Predictions"]["p50"][0]["Timestamp"] == "2014-11-30T23:00:00Z"


def test_arns_name_the_current_forecast_a_partition_or_a_scenario(tmp_path: Path) -> None:
    for key, value in (("forecast", 1.0), ("history/as_of=2014-11-29", 2.0), ("history/as_of=2014-11-29-05:00", 3.0)):
        publish(tmp_path, key, value)
    publish_scenario(tmp_path, "spring-sale", 4.0)
    scenario = str(tmp_path / "what_if" / "scenario={}")
    assert median(asked(tmp_path, question())) == 1.0
    assert median(asked(tmp_path, question("arn:aws-cn:forecast:::forecast/electricity-usage"))) == 1.0
    assert median(asked(tmp_path, question(f"{ARN}/2014-11-29"))) == 2.0
    assert median(asked(tmp_path, question(f"{ARN}/2014-11-29-05:00"))) == 3.0  # of an earlier release
    publish(tmp_path, "history/as_of=2014-11-29-05%3A00", 3.5)
    assert median(asked(tmp_path, question(f"{ARN}/2014-11-29-05:00"))) == 3.5
    what_if = {
        "WhatIfForecastArn": ARN.replace(":forecast/", ":what-if-forecast/") + "/spring-sale",
        "Filters": {"item_id": "client_1"},
    }
    answer = asked(tmp_path, what_if, WHAT_IF, scenario=scenario)
    assert median(answer) == 4.0
    assert list(answer.json()["Forecast"]["Predictions"]) == ["p50"]  # not the baseline
    with_store = what_if | {"Filters": {"item_id": "client_1", "store": "north"}}
    assert median(asked(tmp_path, with_store, WHAT_IF, scenario=scenario)) == 4.0
    assert fault(asked(tmp_path, what_if, WHAT_IF))[1] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (f"{ARN}/2014-11-28", "ResourceNotFoundException"),
        (f"{ARN}/..", "ResourceNotFoundException"),
        (f"{ARN}/../../../etc", "ResourceNotFoundException"),
        (f"{ARN}/2014-11-29/../..", "ResourceNotFoundException"),
        (f"{ARN}/2014-11-29\0", "ResourceNotFoundException"),
        (f"{ARN}/{{0.__class__}}", "ResourceNotFoundException"),
        (ARN.replace("electricity_usage", "another"), "ResourceNotFoundException"),
        (ARN.replace(":forecast/", ":predictor/"), "InvalidInputException"),
        (ARN.replace(":forecast/", ":what-if-forecast/"), "InvalidInputException"),
        ("electricity_usage", "InvalidInputException"),
        ("", "InvalidInputException"),
        (f"{ARN}/{'x' * 300}", "InvalidInputException"),
    ],
)
def test_other_arns_lead_nowhere(tmp_path: Path, arn: str, code: str) -> None:
    publish(tmp_path, "forecast", 1.0)
    publish(tmp_path, "history/as_of=2014-11-29", 2.0)
    assert fault(asked(tmp_path, question(arn)))[:2] == (400, code)


@pytest.mark.parametrize(
    ("document", "code", "message"),
    [
        (
            question(item="client_2"),
            "ResourceNotFoundException",
            "no forecast of item 'client_2'; near it are 'client_1'",
        ),
        (question(item="' OR 1=1 --"), "ResourceNotFoundException", "no forecast of item"),
        (question(StartDate="2015-01-01T00:00:00"), "InvalidInputException", "no forecast in that time"),
        (
            question(StartDate="2014-12-02T00:00:00", EndDate="2014-12-01T00:00:00"),
            "InvalidInputException",
            "after the end",
        ),
        (question(StartDate="2014-12-01"), "InvalidInputException", "StartDate='2014-12-01': write yyyy-MM-dd"),
        (question(EndDate="2014-13-01T00:00:00"), "InvalidInputException", "EndDate='2014-13-01T00:00:00'"),
        (question(EndDate=5), "InvalidInputException", "EndDate is missing or no text"),
        (question(NextToken="abc"), "InvalidNextTokenException", "leave NextToken out"),
        (question(Filter={}), "InvalidInputException", "'Filter' is no parameter of QueryForecast"),
        ({"Filters": {"item_id": "a"}}, "InvalidInputException", "ForecastArn is missing"),
        ({"ForecastArn": ARN}, "InvalidInputException", "Filters must be an object of 1 to 50"),
        ({"ForecastArn": ARN, "Filters": {}}, "InvalidInputException", "Filters must be an object of 1 to 50"),
        ({"ForecastArn": ARN, "Filters": {"store": "a"}}, "InvalidInputException", "Filters has no item_id"),
        ({"ForecastArn": ARN, "Filters": {"item_id": 5}}, "InvalidInputException", "Filters.item_id is missing or no"),
        (
            question() | {"Filters": {"item_id": "a", "x y": "b"}},
            "InvalidInputException",
            "'x y' is no name of a column",
        ),
        (
            question() | {"Filters": {"item_id": "client_1", "x": "b"}},
            "InvalidInputException",
            "'x' is not a dimension",
        ),
        ([], "SerializationException", "no JSON object"),
        (b"{", "SerializationException", "not JSON"),
        (b"\xff", "SerializationException", "not UTF-8"),
        (b"[" * 100_000, "SerializationException", "nested too deeply"),
        (
            b'{"Filters": {"item_id": "\\ud800"}, "ForecastArn": "%s"}' % ARN.encode(),
            "InvalidInputException",
            "Unicode",
        ),
    ],
)
def test_questions_without_an_answer_get_the_service_s_errors(
    tmp_path: Path, document: Any, code: str, message: str
) -> None:
    publish(tmp_path, "forecast", 1.0)
    status, found, text = fault(asked(tmp_path, document))
    assert (status, found) == (400, code)
    assert message in text


def test_only_the_protocol_s_requests_are_read(tmp_path: Path) -> None:
    publish(tmp_path, "forecast", 1.0)

    async def scenario(client: httpx.AsyncClient, _: ForecastQueries) -> list[httpx.Response]:
        return [
            # What a form or a script of another site's page can send without asking first.
            *[
                await post(client, question(), **{"content-type": kind})
                for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "")
            ],
            await post(client, question(), **{"content-encoding": "gzip"}),
            await post(client, question(item="a" * 300_000)),
            await post(client, question(), "AmazonForecastRuntime.DeleteForecast"),
            await post(client, question(), **{"content-type": "application/x-amz-json-1.1; charset=utf-8"}),
        ]

    answers = served(tmp_path, scenario)
    assert [answer.status_code for answer in answers] == [415] * 5 + [413, 400, 200]
    assert fault(answers[-2])[1] == "UnknownOperationException"


def test_what_is_published_is_answered_from_the_next_request_on(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, _: ForecastQueries) -> list[Any]:
        found: list[Any] = [fault(await post(client, question()))[1]]
        for value in (1.0, 2.0, 3.0, 1.0):
            publish(tmp_path, "forecast", value)
            found += [median(await post(client, question())) for _ in range(2)]
        return found

    assert served(tmp_path, scenario) == ["ResourceNotFoundException", 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 1.0, 1.0]


@pytest.mark.process
def test_while_it_is_replaced_every_answer_is_one_version_s(tmp_path: Path) -> None:
    """Each version has its number as every value of every item: a mix would show two."""
    items = [f"item_{number:02}" for number in range(40)]

    def replace(version: int) -> None:
        values = {"p10": [version] * 3, "p50": [version] * 3}
        write_forecast(
            tmp_path / "staged" / "forecast.parquet", make_params(), FIRST, {(item,): values for item in items}
        )
        publish_directory(tmp_path / "forecast", tmp_path / "staged")
        time.sleep(0.05)  # a reader has until the second publishing after the one that it reads

    async def scenario(client: httpx.AsyncClient, _: ForecastQueries) -> list[set[float]]:
        done = threading.Event()
        replaced = asyncio.to_thread(lambda: ([replace(version) for version in range(1, 25)], done.set()))
        writer = asyncio.create_task(replaced)
        found = []
        finished = False
        while not finished:
            finished = done.is_set()  # before the last questions, which therefore see the last version
            for answer in await asyncio.gather(*(post(client, question(item=item)) for item in items[:8])):
                types = answer.json()["Forecast"]["Predictions"]
                found.append({point["Value"] for points in types.values() for point in points})
        await writer
        return found

    replace(0)
    found = served(tmp_path, scenario)
    assert all(len(values) == 1 for values in found)
    assert found[-8:] == [{24.0}] * 8


def test_a_file_is_opened_once_for_all_who_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, "forecast", 1.0)
    opened: list[Path] = []

    class Counted(ForecastLookup):
        def __init__(self, source: Path, *rest: Any) -> None:
            opened.append(source)
            super().__init__(source, *rest)

    monkeypatch.setattr(forecast_queries, "ForecastLookup", Counted)

    async def scenario(client: httpx.AsyncClient, _: ForecastQueries) -> list[httpx.Response]:
        return await asyncio.gather(*(post(client, question()) for _ in range(20)))

    assert {median(answer) for answer in served(tmp_path, scenario)} == {1.0}
    assert len(opened) == 1


def test_too_many_who_wait_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, "forecast", 1.0)
    monkeypatch.setattr(forecast_queries, "MAX_WAITING", 3)
    monkeypatch.setattr(bodies, "ALL_BODIES", 2000)

    async def scenario(client: httpx.AsyncClient, _: ForecastQueries) -> tuple[list[Any], Any, Any]:
        answers = await asyncio.gather(*(post(client, question()) for _ in range(5)))
        return answers, await post(client, question()), await post(client, question(item="a" * 1900))

    answers, later, large = served(tmp_path, scenario)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 400, 400]
    assert {fault(answer)[1] for answer in answers if answer.status_code == 400} == {"LimitExceededException"}
    assert median(later) == 1.0
    assert fault(large)[1] == "LimitExceededException"


def test_a_forecast_that_is_replaced_faster_than_it_can_be_read_is_in_use(tmp_path: Path) -> None:
    publish(tmp_path, "forecast", 1.0)
    queries = ForecastQueries(places(tmp_path))
    gone = str(tmp_path / "gone.parquet"), 0, 0, 0
    queries._shown = lambda place, name: gone  # type: ignore[method-assign]
    with pytest.raises(QueryFault, match="is being replaced") as caught:
        asyncio.run(queries.answer(parse_question(QUERY, json.dumps(question()).encode())))
    assert caught.value.code == "ResourceInUseException"


def test_a_damaged_file_is_an_internal_failure_until_it_is_replaced(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, _: ForecastQueries) -> tuple[Any, float]:
        staged = tmp_path / "staged" / "forecast.parquet"
        write_forecast(staged, make_params(), FIRST, {("a",): {"p50": [1.0]}, ("b",): {"p50": [1.0, 2.0]}})
        publish_directory(tmp_path / "forecast", tmp_path / "staged")
        damaged = await post(client, question())
        publish(tmp_path, "forecast", 1.0)
        return fault(damaged), median(await post(client, question()))

    (status, code, message), value = served(tmp_path, scenario)
    assert (status, code, value) == (500, "InternalFailure", 1.0)
    assert "is damaged: not every series has the same timestamps" in message


def test_a_question_is_read_into_its_parts() -> None:
    document = question(StartDate="2014-12-01T08:00:00Z", EndDate=None) | {"Filters": {"store": "s", "item_id": "a"}}
    asked = parse_question(QUERY, json.dumps(document).encode())
    assert asked.arn == ARN
    assert asked.series == SeriesQuestion("a", {"store": "s"}, datetime(2014, 12, 1, 8))
