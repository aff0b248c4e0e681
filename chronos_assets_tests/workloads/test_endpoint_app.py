"""The endpoint over HTTP, in this process, with tiny models of every family."""

import asyncio
import json
import logging
import pickle
import re
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import pytest

from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.serving import bodies
from chronos_assets.serving.app import build_app
from chronos_assets.workloads.serve import Batching, ServeOptions, build_endpoint
from chronos_assets_tests.models.tiny import folder_of

LEVELS = (0.1, 0.25, 0.9)
RNG = np.random.default_rng(0)
SERIES = [np.cumsum(RNG.normal(size=length)) + 50 for length in (3, 17, 30, 64, 200)]


@cache
def model(family):
    return load_model(folder_of(family))


def served(scenario, family="bolt", **settings):
    """What a scenario makes of a client of an endpoint, and the endpoint itself."""
    batching = {name: settings.pop(name) for name in vars(Batching()) if name in settings}
    endpoint = build_endpoint(ServeOptions(**settings), model(family), Batching(**batching))

    async def main():
        endpoint.start()
        transport = httpx.ASGITransport(build_app(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            try:
                return await scenario(client, endpoint)
            finally:
                await endpoint.stop()

    return asyncio.run(asyncio.wait_for(main(), 60))


def posted(document, family="bolt", path="/invocations", **settings):
    """The response to one JSON request."""

    async def scenario(client, _):
        return await client.post(path, json=document)

    return served(scenario, family, **settings)


def asked(targets, horizon=5, levels=LEVELS, **parameters):
    return {
        "inputs": [{"target": list(target)} for target in targets],
        "parameters": {"prediction_length": horizon, "quantile_levels": list(levels), **parameters},
    }


def numbers(answer, levels=LEVELS):
    """Means (N, H) and quantiles (N, H, W) of an answer."""
    predictions = answer.json()["predictions"]
    means = np.array([prediction["mean"] for prediction in predictions])
    return means, np.stack([[p[repr(level)] for p in predictions] for level in levels], axis=-1)


@pytest.mark.process
@pytest.mark.parametrize("family", ["bolt", "chronos2"])
@pytest.mark.parametrize("horizon", [5, 40])
def test_the_numbers_are_those_of_the_batch_forecast(family, horizon):
    batch = Forecaster(model(family), horizon, LEVELS).forecast(
        SERIES, non_negative=[np.nanmin(one) >= 0 for one in SERIES]
    )
    mean, quantiles = numbers(posted(asked(SERIES, horizon), family))
    scale = np.abs(batch.quantiles).max(axis=(1, 2), keepdims=True)
    assert np.abs((quantiles - batch.quantiles) / scale).max() < 1e-5
    assert np.abs((mean - batch.mean) / scale[:, 0]).max() < 1e-5

    async def one_by_one(client, _):
        return await asyncio.gather(*(client.post("/invocations", json=asked([one], horizon)) for one in SERIES))

    alone = np.stack([numbers(answer)[1][0] for answer in served(one_by_one, family)])
    assert np.abs((alone - batch.quantiles) / scale).max() < 1e-5


def test_whole_numbers_are_answered_by_quantiles_of_whole_numbers_if_asked_for():
    counts = [float(number % 4) for number in range(30)]
    plain, rounded = (posted(asked([counts, [*counts, 0.5]]), integers=on) for on in (False, True))
    np.testing.assert_array_equal(numbers(rounded)[1][0], np.floor(numbers(plain)[1][0] + 0.5))
    np.testing.assert_array_equal(numbers(rounded)[1][1], numbers(plain)[1][1])
    np.testing.assert_array_equal(numbers(rounded)[0], numbers(plain)[0])


def test_large_numbers_keep_their_digits():
    """The blueprint's endpoint rounded its inputs to bfloat16, in which 9999 is 9984."""
    small = [-1.0, 0.0, 2.0, 0.0] * 5
    large = [10000 + value for value in small]
    mean, quantiles = numbers(posted(asked([[9999.0] * 20, large, small])))
    np.testing.assert_array_equal(mean[0], 9999.0)
    np.testing.assert_array_equal(quantiles[0], 9999.0)
    np.testing.assert_allclose(quantiles[1] - 10000, quantiles[2], atol=1e-4)


@pytest.mark.process
def test_samples_of_t5_do_not_depend_on_what_arrives_with_them():
    async def scenario(client, _):
        alone = await client.post("/invocations", json=asked(SERIES[:1]))
        answers = await asyncio.gather(*(client.post("/invocations", json=asked([one])) for one in SERIES[::-1]))
        return alone, answers[-1], await client.post("/invocations", json=asked(SERIES[1::-1]))

    alone, beside, second = served(scenario, "t5")
    assert alone.json() == beside.json()
    assert second.json()["predictions"][1] == alone.json()["predictions"][0]


def test_chronos_2_reads_covariates_dimensions_and_other_series():
    target = SERIES[2].tolist()
    price = np.sin(np.arange(35)).tolist()

    def with_covariates(future):
        return {
            "inputs": [
                {
                    "target": target,
                    "past_covariates": {"price": price[:30], "day": ["a", "b", "c"] * 10},
                    "future_covariates": {"price": future},
                }
            ],
            "parameters": {"prediction_length": 5},
        }

    both = {"inputs": [{"target": [target, target[::-1]], "item_id": "two"}], "parameters": {"prediction_length": 5}}
    pairs = [
        asked([target, other], cross_learning=learning)
        for learning in (True, False)
        for other in (target[::-1], [value**2 for value in target])
    ]

    async def scenario(client, _):
        documents = [with_covariates(price[30:]), with_covariates([9.0] * 5), both, *pairs]
        return await asyncio.gather(*(client.post("/invocations", json=document) for document in documents))

    known, other, two, *paired = served(scenario, "chronos2")
    assert known.status_code == 200
    assert known.json()["predictions"][0]["mean"] != other.json()["predictions"][0]["mean"]
    (prediction,) = two.json()["predictions"]
    assert np.array(prediction["0.5"]).shape == (2, 5)
    assert prediction["item_id"] == "two"
    assert np.isfinite(prediction["mean"]).all()
    learnt, learnt_otherwise, alone, alone_too = (answer.json()["predictions"][0]["mean"] for answer in paired)
    assert learnt != learnt_otherwise
    assert alone == alone_too


def test_what_needs_a_longer_block_than_chronos_2_has_is_refused():
    answer = posted(asked(SERIES[:2], 17, cross_learning=True), "chronos2")
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "parameters.prediction_length"
    assert "up to 16 periods" in answer.json()["error"]["message"]


@pytest.mark.parametrize("family", ["bolt", "t5"])
def test_other_families_refuse_covariates(family):
    document = {"inputs": [{"target": [1, 2], "past_covariates": {"x": [1, 2]}}]}
    answer = posted(document, family)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "inputs[0].past_covariates"


def test_levels_outside_of_the_models_range_are_refused():
    answer = posted(asked([[1, 2, 3]], levels=[0.5, 0.995]))
    assert answer.json()["error"]["field"] == "parameters.quantile_levels[1]"
    assert "from 0.01 to 0.99" in answer.json()["error"]["message"]


def test_routes():
    async def scenario(client, _):
        body = json.dumps(asked([[1, 2, 3]]))
        return [
            await client.get("/ping"),
            await client.post("/endpoints/demand/invocations", content=body),
            await client.post("/endpoints/other/invocations", content=body),
            await client.get("/invocations"),
            await client.post("/invocations/", content=body),
            await client.get("/favicon.ico"),
        ]

    answers = served(scenario, endpoint="demand", version="demand/3", identity="abc")
    assert [answer.status_code for answer in answers] == [200, 200, 404, 405, 404, 404]
    status = answers[0].json()
    assert (status["status"], status["endpoint"], status["version"]) == ("ok", "demand", "demand/3")
    assert status["content_types"] == ["application/json", "application/jsonlines", "text/csv"]
    assert answers[1].headers["x-amzn-invoked-production-variant"] == "demand/3"
    assert "only 'demand'" in answers[2].json()["error"]["message"]
    assert all(answer.json()["error"]["field"] for answer in answers[2:])


def test_other_content_types_both_ways():
    async def scenario(client, _):
        as_csv = {"content-type": "text/csv"}
        return [
            await client.post("/invocations?prediction_length=2", content="target\n1\n2\n4\n", headers=as_csv),
            await client.post(
                "/invocations", content='{"target": [1, 2, 4]}\n[]', headers={"content-type": "application/jsonlines"}
            ),
            await client.post("/invocations", json=asked([[1, 2, 4]], 2), headers={"accept": "text/csv"}),
            await client.post("/invocations", json=asked([[1, 2, 4]]), headers={"accept": "image/png"}),
        ]

    made, lines, converted, refused = served(scenario)
    assert made.headers["content-type"] == "text/csv; charset=utf-8"
    assert made.text.splitlines()[0] == "period,mean,0.1,0.5,0.9"
    assert len(made.text.splitlines()) == 3
    assert (lines.status_code, lines.json()["error"]["field"]) == (400, "line 2")
    assert converted.text.splitlines()[0] == "period,mean,0.1,0.25,0.9"
    assert refused.status_code == 406


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        *((kind, 415) for kind in ("application/x-npy", "application/x-pickle", "application/octet-stream")),
        *((kind, 400) for kind in ("application/json", "application/jsonlines", "text/csv")),
    ],
)
def test_nothing_is_unpickled(tmp_path, kind, status):
    """The blueprint's endpoint spoke pickles, with which a client runs code in the server."""
    array = np.empty(1, dtype=object)
    array[0] = Bomb(tmp_path / "exploded")
    body = pickle.dumps(array)

    async def scenario(client, _):
        return await client.post("/invocations", content=body, headers={"content-type": kind})

    answer = served(scenario)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert not (tmp_path / "exploded").exists()


def test_bodies_beyond_the_limit_are_413_however_they_come():
    async def chunks():
        for _ in range(10_000):
            yield b" " * 100
        raise AssertionError("it was read to its end")

    async def scenario(client, _):
        return await client.post("/invocations", content=b" " * 1001), await client.post(
            "/invocations", content=chunks()
        )

    for answer in served(scenario, max_body_bytes=1000):
        assert (answer.status_code, answer.json()["error"]["field"]) == (413, "body")


def test_a_compressed_body_is_refused():
    async def scenario(client, _):
        return await client.post("/invocations", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})

    assert served(scenario).status_code == 415


def test_one_series_without_a_forecast_fails_alone():
    far = [1.0, 2.0] + [None] * 100  # what was observed lies before all that the model reads

    async def scenario(client, _):
        documents = [asked([SERIES[0]]), asked([[1, 2, 3], far]), asked([SERIES[1]])]
        return await asyncio.gather(*(client.post("/invocations", json=document) for document in documents))

    answers = served(scenario, batch_wait_ms=50.0)
    assert [answer.status_code for answer in answers] == [200, 422, 200]
    error = answers[1].json()["error"]
    assert error["field"] == "inputs[1].target"
    assert "no observation in the last 64 periods" in error["message"]


def test_an_unforeseen_error_is_reported_without_the_data(caplog, monkeypatch):
    async def scenario(client, endpoint):
        monkeypatch.setattr(endpoint.batcher, "_run", fail)
        return await client.post("/invocations", json=asked([[31337, 2]]))

    def fail(_key, _items):
        raise KeyError("31337")

    with caplog.at_level(logging.INFO, "chronos_assets.endpoint"):
        answer = served(scenario)
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        500,
        "internal error: the server's log says where",
    )
    assert re.search(r"KeyError at .*test_endpoint_app.py:\d+", caplog.text)
    assert "31337" not in caplog.text + answer.text


def test_logs_have_no_payload(caplog):
    private = "only-the-client-knows"

    async def scenario(client, _):
        item = {"target": [1, 2, 987654321], "item_id": private}
        await client.post("/invocations", json={"inputs": [item]}, headers={"x-custom": private})
        await client.post(f"/endpoints/{private}/invocations?{private}=1", content=private)
        await client.post("/invocations", json={"inputs": [{"target": [private]}]})
        await client.request("SECRET", f"/{private}")

    with caplog.at_level(logging.DEBUG):
        served(scenario)
    lines = [record.getMessage() for record in caplog.records if record.name == "chronos_assets.endpoint"]
    assert [re.sub(r"[\d.]+ ms", "_ ms", line) for line in lines] == [
        "POST /invocations 200 _ ms, 1 series",
        "POST /endpoints/{name}/invocations 404 _ ms",
        "POST /invocations 400 _ ms",
        "other (unknown path) 404 _ ms",
    ]
    own = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert private not in own
    assert "987654321" not in own


def test_a_full_queue_is_503_with_retry_after():
    async def scenario(client, _):
        return await asyncio.gather(*(client.post("/invocations", json=asked(SERIES)) for _ in range(12)))

    answers = served(scenario, queue_length=10, batch_wait_ms=30.0)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    turned_away = answers[statuses.index(503)]
    assert int(turned_away.headers["retry-after"]) >= 1
    assert turned_away.headers["x-amzn-errortype"] == "ServiceUnavailable"


def test_an_answer_that_takes_too_long_is_503():
    async def scenario(client, _):
        return await client.post("/invocations", json=asked(SERIES))

    assert served(scenario, batch_wait_ms=2000.0, timeout_seconds=0.05).status_code == 503


def test_a_client_that_goes_away_is_not_forecast():
    passes = []

    async def scenario(_, endpoint):
        run = endpoint.batcher._run
        endpoint.batcher._run = lambda key, items: passes.append(len(items)) or run(key, items)
        app = build_app(endpoint)
        body = json.dumps(asked(SERIES)).encode()
        received = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])
        sent = []

        async def receive():
            return next(received)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b"", "headers": []}
        await app({**scope, "raw_path": b"/invocations", "http_version": "1.1"}, receive, send)
        assert endpoint.batcher.waiting == 0
        return sent

    assert served(scenario, batch_wait_ms=300.0)[0]["status"] == 499
    assert passes == []


def test_while_draining_clients_are_asked_to_close():
    async def scenario(client, endpoint):
        before = await client.get("/ping")
        endpoint.draining = True
        return before, await client.get("/ping")

    before, after = served(scenario)
    assert "connection" not in before.headers
    assert after.headers["connection"] == "close"


def test_the_page_shows_the_forecast_and_needs_nothing_from_elsewhere():
    golden = {"inputs": [{"target": [1.0, 2.0, 4.0] * 8}], "parameters": {"prediction_length": 6}}

    async def scenario(client, _):
        answer = await client.get("/", headers={"host": "127.0.0.1:8123"})
        odd = await client.get("/", headers={"host": '"><script>alert(1)</script>'})
        command = re.search(r"<pre>(.*?)</pre>", answer.text)[1]
        body = re.search(r"-d &#x27;(.*)&#x27;", command)[1].replace("&quot;", '"')
        return answer, odd, await client.post("/invocations", content=body)

    answer, odd, called = served(scenario, version="<b>demand/3</b>", golden=golden)
    assert answer.status_code == 200
    assert "&lt;b&gt;demand/3&lt;/b&gt;" in answer.text
    assert "<b>demand" not in answer.text
    assert "curl -s http://127.0.0.1:8123/invocations" in answer.text
    assert answer.text.count("<path") == 3
    assert not re.search(r"(src|href)=|url\(|@import|<script", answer.text)
    assert "script" not in odd.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert called.status_code == 200
    assert len(called.json()["predictions"][0]["mean"]) == 6


def test_bodies_that_together_are_too_large_are_asked_to_come_again(monkeypatch):
    monkeypatch.setattr(bodies, "ALL_BODIES", 1500)
    large = {"inputs": [{"target": [1.25] * 200}], "parameters": {"prediction_length": 2}}

    async def scenario(client, endpoint):
        answers = await asyncio.gather(*(client.post("/invocations", json=large) for _ in range(4)))
        again = await client.post("/invocations", json=large)
        return [answer.status_code for answer in answers], again.status_code, endpoint.bodies.held

    statuses, again, held = served(scenario, batch_wait_ms=50.0)
    assert sorted(statuses) == [200, 503, 503, 503]
    assert (again, held) == (200, 0)
