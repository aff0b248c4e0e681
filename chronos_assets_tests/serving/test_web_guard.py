"""The guard around servers on loopback: what a page of another site sends, and what a program or our own page sends."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chronos_assets.serving.web_guard import WebGuard

OWN = "http://127.0.0.1:3000"


def answer(method="GET", path="/graphql", **request):
    """Status of a request to a guarded application that answers everything."""

    async def ask():
        routes = [Route("/{rest:path}", lambda _: PlainTextResponse("done"), methods=["GET", "POST", "DELETE"])]
        app = WebGuard(Starlette(routes=routes), json_only=["/graphql"])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=OWN) as client:
            return (await client.request(method, path, **request)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost", "LOCALHOST:3000", "[::1]:3000"])
def test_the_names_of_loopback_are_answered(host):
    assert answer(headers={"host": host}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:3000", "127.0.0.1@evil.example", "[::1", "10.0.0.1"]
)
def test_a_name_that_was_pointed_at_loopback_is_not(host):
    assert answer(headers={"host": host}) == 421
    assert answer("POST", json={}, headers={"host": host}) == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:4000", "http://localhost:3000", "file://"]
)
def test_pages_of_another_origin_are_refused(origin):
    assert answer("POST", json={}, headers={"origin": origin}) == 403
    assert answer(headers={"origin": origin}) == 403


def test_our_own_page_and_programs_get_through():
    assert (
        answer("POST", json={"query": "{ version }"}, headers={"origin": OWN, "sec-fetch-site": "same-origin"}) == 200
    )
    assert answer("POST", json={"query": "{ version }"}) == 200
    assert answer(path="/assets", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}) == 200


def test_a_query_in_a_link_is_refused():
    assert answer(params={"query": "mutation { launchRun }"}) == 405
    assert answer(path="/graphql/", params={"query": "mutation { launchRun }"}) == 405
    assert answer() == 200  # the page that explains it


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_what_a_form_can_send_is_no_query(kind):
    assert answer("POST", content=b'{"query": "mutation { x }"}', headers={"content-type": kind}) == 415


def test_a_form_of_another_site_changes_nothing_elsewhere_either():
    assert answer("POST", "/report_asset_materialization/a", headers={"sec-fetch-site": "cross-site"}) == 403


def test_a_websocket_of_another_origin_is_closed():
    sent = []

    async def app(_scope, _receive, _send):
        sent.append("handed on")

    async def send(message):
        sent.append(message["type"])

    def scope(origin):
        return {"type": "websocket", "path": "/graphql", "headers": [(b"host", b"127.0.0.1:3000"), (b"origin", origin)]}

    asyncio.run(WebGuard(app)(scope(b"https://evil.example"), None, send))
    asyncio.run(WebGuard(app)(scope(OWN.encode()), None, send))
    assert sent == ["websocket.close", "handed on"]
