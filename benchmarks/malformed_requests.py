"""Malformed requests to a real server: 10,000 that a property-based generator made, none of which may be a 5xx.

    python -m benchmarks.malformed_requests
    python -m benchmarks.malformed_requests --requests 100000 --seed 7

The requests are those of the tests' strategy (wrong types, broken bytes, odd numbers and times, all content types), sent
over one connection to a server with a tiny model. Counted are the statuses; each 4xx must be JSON that names a field.
Exits with 1 on a 5xx, an answer that isn't one, a lost connection, or if it isn't the same process at the end.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from chronos_assets.platforms.endpoints import EndpointRequest
from chronos_assets.platforms.local.endpoints import LocalEndpoints
from chronos_assets.platforms.local.store import open_store
from chronos_assets_tests.models.tiny import save_bolt, save_chronos2
from chronos_assets_tests.workloads.requests import malformed

GOLDEN = {"inputs": [{"target": [1.0, 2.0, 3.0] * 20}]}
FAMILIES = {"bolt": save_bolt, "chronos2": save_chronos2}


def problem(status: int, body: bytes) -> str | None:
    """What is wrong with an answer."""
    if status == 200:
        return None
    if not 400 <= status < 500:
        return f"status {status}"
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError) as reason:
        return f"status {status} without JSON: {reason}"
    return None if error["field"] and error["message"] else f"status {status} names no field: {error}"


def send(port: int, count: int, number: int) -> tuple[Counter[int], list[str]]:
    """Statuses of all answers, and what was wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    statuses: Counter[int] = Counter()
    problems: list[str] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed())
    def one(case: tuple[str, bytes, str]) -> None:
        kind, body, query = case
        try:
            connection.request("POST", f"/invocations?{query}", body, {"Content-Type": kind})
            response = connection.getresponse()
            statuses[response.status] += 1
            wrong = problem(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            problems.append(f"{wrong}: {kind} ?{query} {body[:200]!r}")

    one()
    return statuses, problems


def main() -> int:
    """Deploy, send, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=sorted(FAMILIES), default="bolt")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        endpoints = LocalEndpoints(open_store(Path(folder) / "store"))
        model = FAMILIES[arguments.family](Path(folder) / "model")
        try:
            request = EndpointRequest("malformed", model, arguments.family, "tiny", GOLDEN)
            before = endpoints.deploy(request, logging.getLogger(__name__))
            begun = time.perf_counter()
            statuses, problems = send(before.details["port"], arguments.requests, arguments.seed)
            seconds = time.perf_counter() - begun
            after = endpoints.describe("malformed")
            if after is None or not after.healthy or after.details["process"] != before.details["process"]:
                problems.append(f"the server is not what it was: {after}")
        finally:
            endpoints.delete("malformed")
    told = ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
    print(f"{statuses.total():,} requests in {seconds:.0f} s; {told}; {len(problems)} problems")
    for text in problems[:20]:
        print(text)
    return 1 if problems or statuses.total() < arguments.requests * 0.99 else 0


if __name__ == "__main__":
    sys.exit(main())
