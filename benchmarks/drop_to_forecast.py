"""From a file dropped into `train/` of a running UI to its published forecast, and where the time goes.

    python -m benchmarks.drop_to_forecast           the month after the built-in sample, default settings, 3 drops
    python -m benchmarks.drop_to_forecast --drops 1

Makes a store with the sample's forecast, starts `chronos-assets ui` on it, waits until its sensors tick, and drops a day of
new rows at a time. The stages are those of Dagster's own records: when a run was asked for, launched, started, and ended.
CPU seconds are those of all of the UI's processes, for a machine that has other work; its load average is printed, too.
Exits with 1 where the median from drop to forecast is 20 seconds or more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np

MOST_SECONDS = 20.0
WAIT_SECONDS = 300.0
IDLE_SECONDS = 10.0
COMMAND = [sys.executable, "-m", "chronos_assets.cli"]
STAGES = (
    "noticed and settled",
    "queued",
    "process started",
    "imported",
    "noticed",
    "queued",
    "process started",
    "job started",
    "forecast",
)


def main() -> int:
    """Measure and print.

    Returns:
        1 where it takes too long.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drops", type=int, default=3)
    drops = parser.parse_args().drops
    with tempfile.TemporaryDirectory(prefix="drop-") as folder:
        root = Path(folder)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CHRONOS_", "DAGSTER_"))},
            "CHRONOS_STORE": str(root / "store"),
        }
        run(["run", "--no-training", "--backtest-windows", "0"], environment, root)
        run(["sample-july", str(root / "july.csv")], environment, root)
        days = list(by_day(root / "july.csv", root / "days"))[:drops]
        with ui(environment, root) as (store, meter):
            measured = [drop(day, store) for day in days]
            seconds = meter.seconds
    print(f"{'stage':24}{'median s':>9}{'CPU s':>7}")
    for number, stage in enumerate(STAGES):
        walls = [moments[number + 1] - moments[number] for moments in measured]
        work = [seconds(moments[number + 1]) - seconds(moments[number]) for moments in measured]
        print(f"{stage:24}{statistics.median(walls):9.1f}{statistics.median(work):7.1f}")
    totals = [moments[-1] - moments[0] for moments in measured]
    work = [seconds(moments[-1]) - seconds(moments[0]) for moments in measured]
    print(f"{'from drop to forecast':24}{statistics.median(totals):9.1f}{statistics.median(work):7.1f}", end="")
    print(f"   {min(totals):.1f} to {max(totals):.1f} s; idle: {meter.idle:.2f} CPU s a second")
    print("load average while it ran: {:.1f} {:.1f} {:.1f}, {} cores".format(*os.getloadavg(), os.cpu_count()))
    return 0 if statistics.median(totals) < MOST_SECONDS else 1


def run(arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """Run a command of the product to its end."""
    subprocess.run([*COMMAND, *arguments], env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def by_day(source: Path, folder: Path) -> Iterator[Path]:
    """A train file's rows as one file a day."""
    folder.mkdir()
    lines = source.read_text().splitlines(keepends=True)
    header = lines[0] if "timestamp" in lines[0] else ""
    days: dict[str, list[str]] = {}
    for line in lines[bool(header) :]:
        day = next(part for part in line.replace('"', "").replace(" ", "T").split(",") if part.startswith("2025-"))[:10]
        days.setdefault(day, []).append(line)
    for day, rows in sorted(days.items()):
        (folder / f"{day}.csv").write_text(header + "".join(rows))
        yield folder / f"{day}.csv"


class CpuMeter:
    """CPU seconds of a process and its descendants, those that have ended included, as time goes by."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> CpuMeter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def idle(self) -> float:
        """CPU seconds a second in the first `IDLE_SECONDS`."""
        start = self._samples[0][0]
        return (self.seconds(start + IDLE_SECONDS) - self.seconds(start)) / IDLE_SECONDS

    def seconds(self, moment: float) -> float:
        """What was used until a moment."""
        return float(np.interp(moment, *zip(*self._samples, strict=True)))

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self._samples.append((time.time(), cpu_seconds(self._pid)))


def cpu_seconds(root: int) -> float:
    """CPU seconds of a process and its descendants, from Linux's /proc."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        parents[int(folder.name)] = int(fields[1])
        used[int(folder.name)] = sum(map(int, fields[11:15]))
    family = {root}
    for pid in sorted(parents):  # a child may have the smaller number, where numbers have started again
        line = [pid]
        while line[-1] in parents and line[-1] not in family:
            line.append(parents[line[-1]])
        if line[-1] in family:
            family.update(line)
    return sum(used.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")


@contextmanager
def ui(environment: dict[str, str], folder: Path) -> Iterator[tuple[Path, CpuMeter]]:
    """`chronos-assets ui` on the store, once its sensors have ticked; the store's folder, and what it uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = Path(environment["CHRONOS_STORE"])
    with (folder / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "ui", "--port", str(port)],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with opened(store) as instance:
            wait(lambda: has_ticked(instance), "the sensors tick")
        time.sleep(10)  # until all of them have, and everything is imported
        with CpuMeter(process.pid) as meter:
            time.sleep(IDLE_SECONDS)
            yield store, meter
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def opened(store: Path) -> Iterator[dg.DagsterInstance]:
    """The store's Dagster instance."""
    home = next(path.parent for path in store.rglob("dagster.yaml"))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def has_ticked(instance: dg.DagsterInstance) -> bool:
    """Whether the daemon has asked a sensor."""
    states = instance.all_instigator_state()
    return any(instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1) for state in states)


def wait(done: Callable[[], object], what: str) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it isn't for long.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)


def drop(day: Path, store: Path) -> list[float]:
    """Drop a file and wait for its forecast; the moments at which the first of `STAGES` begins and each ends."""
    published = store / "forecast" / "forecast.csv"
    before = published.stat().st_mtime_ns
    dropped = time.time()
    shutil.copy(day, store / "train" / day.name)
    wait(lambda: published.stat().st_mtime_ns != before, "a new forecast is published")
    shown = time.time()
    with opened(store) as instance:
        wait(lambda: not unfinished(instance), "the runs end")
        records = instance.get_run_records(dg.RunsFilter(created_after=_moment(dropped)), ascending=True)
        imported, forecast = sorted(records, key=lambda record: record.create_timestamp)[:2]
        moments = [dropped]
        for record in (imported, forecast):
            stats = instance.get_run_stats(record.dagster_run.run_id)
            moments += [record.create_timestamp.timestamp(), stats.launch_time or 0.0, stats.start_time or 0.0]
            moments += [stats.end_time or 0.0]
        # The forecast's run goes on to refresh the tables.
        return [*moments[:-1], job_started(instance, forecast), shown]


def job_started(instance: dg.DagsterInstance, record: dg.RunRecord) -> float:
    """When the job of a run first reported."""
    entries = instance.all_logs(record.dagster_run.run_id)
    return next(entry.timestamp for entry in entries if "opened dagster pipes" in entry.user_message)


def unfinished(instance: dg.DagsterInstance) -> bool:
    """Whether a run has not ended."""
    states = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    return bool(instance.get_run_records(dg.RunsFilter(statuses=states), limit=1))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


if __name__ == "__main__":
    sys.exit(main())
