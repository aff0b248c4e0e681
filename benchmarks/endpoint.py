"""The endpoint under load: throughput and latency at 1, 8 and 64 clients, with and without batching across requests.

    python benchmarks/endpoint.py                        the bundled model, 512 values a request, 24 periods
    python benchmarks/endpoint.py --seconds 20 --rounds 3

Two servers, deployed as a run deploys them, differ in one parameter: `batch_size` 64, and 1. They are asked in turns,
round after round, so that a busy machine hurts both alike; the other one rests meanwhile. Each client is a connection of
its own that sends its next request when it has the answer; all clients are one process beside the server's. Time is from
the first byte of a request to the last of its answer. Exits with 1 if any answer is not 200 with the periods asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np

from chronos_assets.platforms.endpoints import EndpointRequest
from chronos_assets.platforms.local.endpoints import LocalEndpoints
from chronos_assets.platforms.local.store import open_store

CLIENTS = (1, 8, 64)
DISTINCT = 256  # requests, so that no answer is asked for twice in a row
GOLDEN = {"inputs": [{"target": [1.0, 2.0, 3.0] * 20}], "parameters": {"prediction_length": 24}}


@dataclass
class Found:
    """What the clients of one server saw, over all rounds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: int = 0

    @property
    def throughput(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, level: float) -> float:
        """Of the latency, in milliseconds."""
        return float(1000 * np.quantile(self.latencies, level))


def requests(length: int, horizon: int) -> list[bytes]:
    """Bodies of different series: a day, a level and noise of their own."""
    rng = np.random.default_rng(0)
    hours = np.arange(length)
    bodies = []
    for _ in range(DISTINCT):
        day = np.sin((hours + rng.integers(24)) * np.pi / 12)
        target = rng.uniform(10, 100) * (2 + day + rng.normal(0, 0.2, length))
        document = {"inputs": [{"target": target.round(4).tolist()}], "parameters": {"prediction_length": horizon}}
        bodies.append(json.dumps(document).encode())
    return bodies


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, bytes]:
    """Status and body of one answer."""
    writer.write(
        b"POST /invocations HTTP/1.1\r\nHost: endpoint\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def load(port: int, clients: int, seconds: float, bodies: list[bytes], horizon: int, found: Found) -> None:
    """Ask with `clients` connections for some time, and add to what was found."""
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        while (begun := time.perf_counter()) < until:
            status, answer = await ask(reader, writer, bodies[turn % DISTINCT])
            found.latencies.append(time.perf_counter() - begun)
            # A look at the whole answer would take the clients longer than the server's turn.
            if status != 200 or answer.count(b",") < 4 * (horizon - 1):
                found.errors += 1
            turn += clients
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    found.seconds += time.perf_counter() - begun


def main() -> int:
    """Deploy, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=512, help="values of a request's series")
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--model", default="bundled")
    arguments = parser.parse_args()
    bodies = requests(arguments.length, arguments.horizon)
    with tempfile.TemporaryDirectory() as folder:
        endpoints = LocalEndpoints(open_store(folder))
        try:
            return compare(endpoints, bodies, arguments)
        finally:
            for name in ("batched", "single"):
                endpoints.delete(name)


def compare(endpoints: LocalEndpoints, bodies: list[bytes], arguments: argparse.Namespace) -> int:
    """Both servers at every number of clients; 1 if there was an error."""
    ports = {}
    for name, batch_size in (("batched", 64), ("single", 1)):
        parameters = {"batch_size": batch_size}
        request = EndpointRequest(name, arguments.model, name, name, GOLDEN, parameters)
        ports[name] = endpoints.deploy(request, logging.getLogger(__name__)).details["port"]
    print(f"{'clients':>7}  {'server':<18}{'answers/s':>10}{'p50':>10}{'p99':>10}{'errors':>8}")
    errors = 0
    for clients in CLIENTS:
        found = {name: Found() for name in ports}
        for port in ports.values():
            asyncio.run(load(port, clients, 1.0, bodies, arguments.horizon, Found()))
        for _ in range(arguments.rounds):
            for name, port in ports.items():
                asyncio.run(load(port, clients, arguments.seconds, bodies, arguments.horizon, found[name]))
        for name, title in (("batched", "batching"), ("single", "without batching")):
            one = found[name]
            errors += one.errors
            print(
                f"{clients:>7}  {title:<18}{one.throughput:>10.1f}{one.quantile(0.5):>7.1f} ms"
                f"{one.quantile(0.99):>7.1f} ms{one.errors:>8}",
                flush=True,
            )
        ratio = found["batched"].throughput / found["single"].throughput
        print(f"{'':>7}  {ratio:.2f} times the throughput", flush=True)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
