"""Publishers that are killed, readers that watch them: run as a process of its own, since it forks and kills.

`python -m chronos_assets_tests.platforms.local.publishing_driver <scenario> <empty folder>` prints one JSON line of
counts, or ends with a traceback. Every file of version n holds n, so that a mix of versions shows.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from chronos_assets.platforms.local.publishing import AS_OF_FILE, VERSIONS, publish_directory, publish_forecast

NAMES = ("forecast.csv", "forecast.parquet", "sub/more.bin")
START = datetime(2026, 1, 1)


def stage(folder: Path, number: int) -> Path:
    """A staged folder of version `number`; the files are long enough to take several writes to copy."""
    staged = folder / f"staged-{os.getpid()}"
    if staged.exists():
        shutil.rmtree(staged)
    for name in NAMES:
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_text(f"{number}\n" * 2000)
    return staged


def read(target: Path) -> set[str]:
    """What the files of one version of `target` say, through one descriptor of the folder; {'-'} if there is none."""
    while True:
        try:
            folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return {"-"}
        said = set()
        try:
            for name in NAMES:
                with open(os.open(name, os.O_RDONLY, dir_fd=folder)) as file:
                    said |= set(file.read().split())
        except FileNotFoundError:
            continue  # two versions later this one is removed: look again
        finally:
            os.close(folder)
        return said


def fork(work: Callable[[], None]) -> int:
    """Start `work` in a child; its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """0, the exit status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at(step: int) -> Callable[[], int]:
    """From now on this process is killed just before its `step`-th call to the file system; gives how many there were."""
    seen = 0

    def wrapped(call: Callable) -> Callable:
        def counted(*args, **kwargs):
            nonlocal seen
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    names = (
        "open write pwrite pread fsync ftruncate close replace rename link symlink unlink rmdir mkdir readlink stat "
        "lstat scandir listdir"
    )
    for name in names.split():
        setattr(os, name, wrapped(getattr(os, name)))
    fcntl.flock = wrapped(fcntl.flock)
    io.open = wrapped(io.open)
    return lambda: seen


def every_step(folder: Path, prepare: Callable[[Path], None], publish: Callable[[Path], None], check, tidy) -> dict:
    """Kill `publish` at each of its steps in turn: the reader then sees old or new, and a rerun completes."""
    step = kills = old = new = 0
    while True:
        step += 1
        place = folder / f"step-{step}"
        place.mkdir()
        prepare(place)

        def killed(place=place, step=step):
            die_at(step)
            publish(place)

        status = wait(fork(killed))
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
        kills += 1
        if check(place):
            new += 1
        else:
            old += 1
        assert wait(fork(lambda place=place: publish(place))) == 0
        assert check(place), "the rerun did not complete"
        tidy(place)
        shutil.rmtree(place)
    assert check(place)
    tidy(place)
    return {"kills": kills, "saw_old": old, "saw_new": new}


def tidy_folder(place: Path) -> None:
    """Nothing is left but the link, the lock, the version shown and the one before."""
    names = sorted(path.name for path in (place / VERSIONS).iterdir())
    versions = [name for name in names if name.startswith("forecast-")]
    assert sorted([*versions, "lock"]) == names, names
    assert 1 <= len(versions) <= 2, names
    assert sorted(path.name for path in place.iterdir() if not path.name.startswith("staged-")) == [
        VERSIONS,
        "forecast",
    ]


def saw(place: Path, old: set[str], new: set[str]) -> bool:
    said = read(place / "forecast")
    assert said in (old, new), f"a reader saw {said}"
    return said == new


def publish_two(place: Path) -> None:
    publish_directory(place / "forecast", stage(place, 2))


def scenario_first(folder: Path) -> dict:
    """There was nothing before."""
    return every_step(folder, lambda place: None, publish_two, lambda place: saw(place, {"-"}, {"2"}), tidy_folder)


def scenario_replace(folder: Path) -> dict:
    """Two versions were published before, one of them with the content that comes again."""

    def prepare(place: Path) -> None:
        publish_two(place)
        publish_directory(place / "forecast", stage(place, 1))

    return every_step(folder, prepare, publish_two, lambda place: saw(place, {"1"}, {"2"}), tidy_folder)


def scenario_new_version(folder: Path) -> dict:
    """Three versions in a row: the oldest is removed."""

    def prepare(place: Path) -> None:
        publish_directory(place / "forecast", stage(place, 0))
        publish_directory(place / "forecast", stage(place, 1))

    return every_step(folder, prepare, publish_two, lambda place: saw(place, {"1"}, {"2"}), tidy_folder)


def scenario_ordinary_folder(folder: Path) -> dict:
    """Someone copied the store, and the link became a folder."""

    def prepare(place: Path) -> None:
        os.rename(stage(place, 1), place / "forecast")

    return every_step(folder, prepare, publish_two, lambda place: saw(place, {"1"}, {"2"}), tidy_folder)


def scenario_other_file_system(folder: Path) -> dict:
    """The staged folder can't be moved, only copied."""
    rename = os.rename

    def no_rename(source, target, **kwargs):
        if "staged-" in str(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **kwargs)

    os.rename = no_rename
    return every_step(
        folder,
        lambda place: publish_directory(place / "forecast", stage(place, 1)) and None,
        publish_two,
        lambda place: saw(place, {"1"}, {"2"}),
        tidy_folder,
    )


def scenario_forecast(folder: Path) -> dict:
    """The current forecast goes forward in time."""

    def publish(place: Path, number: int = 2) -> None:
        assert publish_forecast(place / "forecast", stage(place, number), START + timedelta(days=number))

    return every_step(
        folder, lambda place: publish(place, 1), publish, lambda place: saw(place, {"1"}, {"2"}), tidy_folder
    )


def watch(target: Path, stop: Path, counts: Path) -> None:
    """Read until told to stop; a mix of versions, or a version older than one seen before, ends with an error."""
    reads, highest, versions = 0, 0, set()
    while not stop.exists():
        said = read(target)
        assert len(said) == 1, f"a reader saw a mix: {said}"
        if said != {"-"}:
            number = int(said.pop())
            assert number >= highest, f"went back from {highest} to {number}"
            highest = number
            versions.add(number)
        reads += 1
    counts.write_text(json.dumps({"reads": reads, "versions": len(versions)}))


def with_readers(folder: Path, work: Callable[[], dict], readers: int = 2) -> dict:
    """`work`, watched by readers all along."""
    stop = folder / "stop"
    reports = [folder / f"reader-{number}" for number in range(readers)]
    pids = [fork(lambda report=report: watch(folder / "forecast", stop, report)) for report in reports]
    try:
        counts = work()
    finally:
        stop.touch()
        assert [wait(pid) for pid in pids] == [0] * readers
    seen = [json.loads(report.read_text()) for report in reports]
    return counts | {name: sum(report[name] for report in seen) for name in ("reads", "versions")}


def scenario_random(folder: Path) -> dict:
    """A publisher in a loop is killed at random moments; each next one continues where it was."""
    chance = random.Random(1)

    def work() -> dict:
        kills = reruns = 0
        for _ in range(60):
            shown = read(folder / "forecast")
            first = 1 if shown == {"-"} else int(shown.pop()) + 1

            def publish_on(first=first):
                for number in range(first, first + 10_000):
                    publish_directory(folder / "forecast", stage(folder, number))

            pid = fork(publish_on)
            time.sleep(chance.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
            assert wait(pid) == -signal.SIGKILL
            kills += 1
            shutil.rmtree(folder / f"staged-{pid}", ignore_errors=True)
            reruns += len(list((folder / VERSIONS).glob("*"))) > 3 if (folder / VERSIONS).exists() else 0
        # The next publishing after the last kill completes, and tidies up.
        shown = read(folder / "forecast")
        publish_directory(folder / "forecast", stage(folder, int(shown.pop()) + 1))
        left = sorted(path.name for path in (folder / VERSIONS).iterdir())
        assert len(left) == 3, left
        return {"kills": kills, "left_half_done": reruns, "published": int(read(folder / "forecast").pop())}

    return with_readers(folder, work)


def scenario_together(folder: Path) -> dict:
    """Publishers at the same time, each with as-ofs in any order: readers never go back."""

    def publisher(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            number = chance.randrange(1, 1000)
            staged = stage(folder, number)
            publish_forecast(folder / "forecast", staged, START + timedelta(days=number))
            # What was refused stays with its owner.
            assert not staged.exists() or (staged / AS_OF_FILE).exists()

    def work() -> dict:
        pids = [fork(lambda seed=seed: publisher(seed)) for seed in range(3)]
        assert [wait(pid) for pid in pids] == [0] * 3
        expected = max(
            chance.randrange(1, 1000) for chance in [random.Random(seed) for seed in range(3)] for _ in range(40)
        )
        assert read(folder / "forecast") == {str(expected)}
        return {"publishings": 120}

    return with_readers(folder, work)


def main() -> None:
    """Run the scenario that the command line names."""
    scenario = globals()[f"scenario_{sys.argv[1]}"]
    sys.stdout.write(json.dumps(scenario(Path(sys.argv[2]))) + "\n")


if __name__ == "__main__":
    main()
