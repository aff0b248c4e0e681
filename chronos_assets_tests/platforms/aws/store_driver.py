"""Publishers into a bucket that are killed: run as a process of its own, since it forks and kills.

`python -m chronos_assets_tests.platforms.aws.store_driver <scenario> <s3://bucket/prefix> <empty folder>` prints one JSON
line of counts, or ends with a traceback. Every file of version n holds n, so that a mix of versions shows. The process
itself makes no request: what obstore starts for the first one doesn't survive a fork.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import obstore

from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.store_layout import history_key
from chronos_assets_tests.aws.s3_server import ACCESS_KEY, REGION, SECRET_KEY

KEY = "history/as_of=2026-01-01"
FORMER, HOURLY = "history/as_of=2026-01-01-10:00", history_key("2026-01-01-10:00")
NAMES = ("forecast.parquet", "sub/more.bin", "manifest.json")
START = datetime(2026, 1, 1)
REQUESTS = ("get", "put", "copy", "delete", "list", "head")


def options_of(endpoint: str) -> dict:
    """What obstore needs to find the tests' server, without boto3."""
    return {
        "endpoint": endpoint,
        "region": REGION,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "client_options": {"allow_http": True},
    }


def stage(store, number: int) -> Path:
    """A staged folder of version `number`."""
    staged = Path(tempfile.mkdtemp(dir=store.scratch))
    for name in NAMES:
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_text(f"{number}\n")
    return staged


def said(store, key: str = KEY) -> set[str]:
    """What the files of the version say that readers see; {'-'} if there is none."""
    try:
        folder = store.snapshot(key)
    except FileNotFoundError:
        return {"-"}
    return {(folder / name).read_text().strip() for name in NAMES}


def stable(store, key: str = KEY) -> set[tuple[str, str]]:
    """The copies under stable names, and what they say."""
    return {(info.key.removeprefix(f"{key}/"), store.get(info.key).decode().strip()) for info in store.list(key)}


def copies_of(number: int, names: tuple[str, ...] = NAMES) -> set[tuple[str, str]]:
    """What `stable` gives for version `number`."""
    return {(name, str(number)) for name in names}


def folders(store, key: str = KEY) -> set[str]:
    """The folders of versions that there are."""
    start = f"versions/{key}/"
    return {info.key.removeprefix(start).partition("/")[0] for info in store.list(start)}


def die_at(step: int) -> None:
    """From now on this process is killed just before its `step`-th request."""
    seen, lock = 0, threading.Lock()

    def wrapped(call: Callable) -> Callable:
        def counted(*args, **kwargs):
            nonlocal seen
            with lock:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in REQUESTS:
        setattr(obstore, name, wrapped(getattr(obstore, name)))


def in_child(work: Callable[[], object]) -> tuple[int, Callable[[], object]]:
    """Start `work` in a child; its pid, and a function that waits for what it returned (minus the signal if killed)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)

    def result() -> object:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status > 0:
            raise SystemExit("a child failed, see above")
        return status if status < 0 else json.loads(answer)

    return pid, result


def every_request(
    open_at: Callable[..., S3Store],
    prepare: Callable,
    work: Callable,
    outcome: tuple[str, str],
    check: Callable,
    key: str = KEY,
) -> dict[str, int]:
    """Kill `work` before each of its requests: readers then see old or new, and a rerun completes."""
    before, after = outcome
    kills = old = new = 0
    while True:
        step = kills + 1
        place = f"step-{step}"

        def killed(place=place, step=step) -> None:
            store = open_at(place)
            prepare(store)
            die_at(step)
            work(store)

        ended = in_child(killed)[1]()

        def checked(place=place) -> str:
            store = open_at(place)
            seen = said(store, key)
            assert seen in ({before}, {after}), seen
            assert not (stable(store, FORMER) and stable(store, HOURLY))  # engines would count its rows twice
            assert len(list(store.manifests("history"))) == (seen != {"-"})
            work(store)
            assert said(store, key) == {after}
            check(store, open_at(place, leftover_seconds=0))
            return seen.pop()

        seen = in_child(checked)[1]()
        if ended is None:
            assert seen == after
            return {"kills": kills, "saw_old": old, "saw_new": new}
        assert ended == -signal.SIGKILL
        kills += 1
        old += seen == before
        new += seen == after


def publish(number: int, key: str = KEY) -> Callable[[S3Store], None]:
    def work(store: S3Store) -> None:
        store.publish(key, stage(store, number))

    return work


def published(store: S3Store, tidy: S3Store) -> None:
    """The copies are those of version 2; at most one upload is left, and goes with the next publishing."""
    assert stable(store) == copies_of(2), stable(store)
    assert len(folders(store)) <= 3
    tidy.publish(KEY, stage(tidy, 3))
    assert len(folders(tidy)) == 2, folders(tidy)
    assert stable(tidy) == copies_of(3)


def renamed(store: S3Store, _tidy: S3Store) -> None:
    """Only the folder's own name shows it, and what the former one showed goes with the next publishing."""
    assert stable(store, HOURLY) == copies_of(2)
    assert stable(store, FORMER) == set()
    publish(3, HOURLY)(store)
    assert not folders(store, FORMER)


def withdrawn(store: S3Store, _tidy: S3Store) -> None:
    assert not folders(store)
    assert not stable(store)
    assert not store.withdraw(KEY)


def together(open_at: Callable[..., S3Store]) -> dict[str, int]:
    """Publishers at the same time: one forecast, where the latest wins, and a folder for each."""
    publishers, each = 4, 4
    order = list(range(publishers * each))
    random.Random(5).shuffle(order)

    def publisher(mine: list[int]) -> int:
        store = open_at("together")
        shown = 0
        for number in mine:
            shown += store.publish_forecast("forecast", stage(store, number), START + timedelta(hours=number))
            store.publish(f"history/as_of={number}", stage(store, number))
        return shown

    waits = [in_child(lambda mine=order[start::publishers]: publisher(mine))[1] for start in range(publishers)]
    shown = sum(int(wait()) for wait in waits)  # type: ignore[call-overload]

    def checked() -> None:
        store = open_at("together")
        latest = max(order)
        assert said(store, "forecast") == {str(latest)}
        assert stable(store, "forecast") == copies_of(latest), stable(store, "forecast")
        for number in order:
            assert said(store, f"history/as_of={number}") == {str(number)}
        assert len(list(store.manifests("history"))) == len(order)

    in_child(checked)[1]()
    return {"publishings": len(order), "shown": shown}


def main() -> None:
    scenario, endpoint, url, folder = sys.argv[1:]

    def open_at(place: str, **arguments) -> S3Store:
        return S3Store(f"{url}/{place}", cache=Path(folder, place), options=options_of(endpoint), **arguments)

    if scenario == "first":
        counts = every_request(open_at, lambda _: None, publish(2), ("-", "2"), published)
    elif scenario == "replace":
        counts = every_request(open_at, publish(1), publish(2), ("1", "2"), published)
    elif scenario == "rename":
        counts = every_request(open_at, publish(1, FORMER), publish(2, HOURLY), ("1", "2"), renamed, HOURLY)
    elif scenario == "withdraw":
        counts = every_request(open_at, publish(1), lambda store: store.withdraw(KEY), ("1", "-"), withdrawn)
    else:
        counts = together(open_at)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
