"""QueryForecast under load: answers per minute over 100,000 items, by a server and a client that share the machine.

    python -m benchmarks.query_forecast
    python -m benchmarks.query_forecast --items 1000000 --seconds 20

The server is the command `chronos-assets endpoint forecasts` on a store with one published forecast. Each client is a
connection of its own that sends its next question, about an item drawn at random, when it has the answer; all clients are one
process beside the server's. `boto3` is one client of Amazon's SDK, which takes longer for a question than the server for the
answer. Exits with 1 if any answer is not that item's, and prints the machine's load, since rates on a busy machine mean little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np

from chronos_assets.platforms.local.store import open_store
from chronos_assets.timeseries.forecast.files import ForecastLayout, skipped_table, write_window

LAYOUT = ("mean", "p10", "p50", "p90")


def publish(folder: Path, items: int, horizon: int) -> None:
    """A forecast whose median begins with the item's number."""
    layout = ForecastLayout((), LAYOUT, horizon)
    rng = np.random.default_rng(0)

    def series() -> Iterator[tuple[tuple[str, ...], np.void]]:
        for number in range(items):
            record = np.zeros((), layout.record)
            record["values"] = rng.uniform(1, 1000, horizon * len(LAYOUT)).round(3)
            record["values"][LAYOUT.index("p50")] = number
            yield (f"item_{number:07d}",), record

    store = open_store(folder)
    staged = store.scratch / "forecast"
    periods = np.datetime64("2025-01-01T00", "h") + np.arange(horizon)
    write_window(staged, layout, periods, [series()], skipped_table([], []), {})
    store.publish_forecast("forecast", staged, datetime(2025, 1, 1))


async def load(port: int, arn: str, items: int, clients: int, seconds: float) -> tuple[list[float], int, float]:
    """Latencies of all answers, how many were wrong, and the seconds that it took."""
    latencies: list[float] = []
    wrong = 0
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal wrong
        dice = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < until:
            item = dice.randrange(items)
            body = json.dumps({"ForecastArn": arn, "Filters": {"item_id": f"item_{item:07d}"}}).encode()
            writer.write(
                b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\n"
                b"X-Amz-Target: AmazonForecastRuntime.QueryForecast\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
            latencies.append(time.perf_counter() - begun)
            points = json.loads(answer).get("Forecast", {}).get("Predictions", {}).get("p50", [{}])
            wrong += points[0].get("Value") != item
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return latencies, wrong, time.perf_counter() - begun


def load_with_boto3(port: int, arn: str, items: int, seconds: float) -> tuple[list[float], int, float]:
    """The same with one client of the SDK."""
    import boto3

    client = boto3.client(
        "forecastquery",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 - the client wants one
    )
    latencies: list[float] = []
    wrong = 0
    dice = random.Random(0)
    begun = time.perf_counter()
    while (now := time.perf_counter()) < begun + seconds:
        item = dice.randrange(items)
        answer = client.query_forecast(ForecastArn=arn, Filters={"item_id": f"item_{item:07d}"})
        latencies.append(time.perf_counter() - now)
        wrong += answer["Forecast"]["Predictions"]["p50"][0]["Value"] != item
    return latencies, wrong, time.perf_counter() - begun


def main() -> int:
    """Publish, serve, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder), arguments.items, arguments.horizon)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        server = subprocess.Popen(
            [sys.executable, "-m", "chronos_assets.cli", "endpoint", "forecasts", "--port", str(port)],
            env={**os.environ, "CHRONOS_STORE": folder, "CHRONOS_DEPLOYMENT": "local"},
            stdout=subprocess.PIPE,
            text=True,
        )
        with server:
            told = server.stdout.readline() if server.stdout is not None else ""
            try:
                return measure(port, told.rpartition(" ")[2].strip(), arguments)
            finally:
                server.send_signal(signal.SIGTERM)


def measure(port: int, arn: str, arguments: argparse.Namespace) -> int:
    """Print the table; 1 if an answer was wrong."""
    (first,), wrong, _ = asyncio.run(load(port, arn, arguments.items, 1, 0.001))
    print(f"{arguments.items:,} items of {arguments.horizon} periods; the first answer came after {first:.2f} s")
    print(f"{'clients':>8}{'answers/min':>13}{'p50':>10}{'p99':>10}{'wrong':>7}{'load':>7}")
    for clients in (1, 8, 64, "boto3"):
        if isinstance(clients, int):
            found = asyncio.run(load(port, arn, arguments.items, clients, arguments.seconds))
        else:
            found = load_with_boto3(port, arn, arguments.items, arguments.seconds)
        latencies, errors, seconds = found
        wrong += errors
        p50, p99 = 1000 * np.quantile(latencies, (0.5, 0.99))
        rate = 60 * len(latencies) / seconds
        print(
            f"{clients:>8}{rate:>13,.0f}{p50:>7.1f} ms{p99:>7.1f} ms{errors:>7}{os.getloadavg()[0]:>7.1f}", flush=True
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
