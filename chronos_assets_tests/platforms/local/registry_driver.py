"""Writers of a registry that are killed or run together: run as a process of its own, since it forks and kills.

`python -m chronos_assets_tests.platforms.local.registry_driver <scenario> <empty folder>` prints one JSON line of
counts, or ends with a traceback.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chronos_assets.platforms.local.registry import LocalRegistry
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.registry import PackageVersion, approve, approved_version, roll_back
from chronos_assets_tests.platforms.local.publishing_driver import every_step, fork, wait

GROUP = "retail"
LENGTH = 500  # of a document: long enough to be read half written


def register(folder: Path, identity: str, status: str = "Approved") -> PackageVersion:
    """Register a version of `identity`, whose document says so all along."""
    return LocalRegistry(open_store(folder)).register(
        GROUP,
        model=f"models/{identity}",
        identity=identity,
        document={"of": identity, "long": [identity] * LENGTH},
        status=status,
        reason="tried",
    )


def read(folder: Path) -> list[PackageVersion]:
    """All versions; any that is half written, or another's, ends with an error."""
    versions = LocalRegistry(open_store(folder)).versions(GROUP)
    assert [item.version for item in versions] == list(range(1, len(versions) + 1))
    for item in versions:
        assert item.document == {"of": item.identity, "long": [item.identity] * LENGTH}
        assert item.history[-1]["status"] == item.status
        assert item.history[0]["reason"] == "tried"
    return versions


def statuses(folder: Path) -> list[str]:
    return [item.status for item in read(folder)]


def in_use(folder: Path) -> int | None:
    version = approved_version(read(folder))
    return version.version if version else None


def tidy(place: Path) -> None:
    """The next writer works, changes only what it is to change, and leaves nothing half made."""
    before = read(place)
    LocalRegistry(open_store(place)).set_status(GROUP, 1, "Rejected", reason="by the next writer", by="test")
    after = read(place)
    assert after[1:] == before[1:]
    assert after[0].status == "Rejected"
    assert register(place, "next").version == len(before) + 1
    names = sorted(path.name for path in (place / "packages" / GROUP).iterdir())
    assert names == sorted([".lock", *(f"{item.version}.json" for item in read(place))]), names


def two_versions(place: Path) -> None:
    register(place, "one")
    register(place, "two")


def scenario_first(folder: Path) -> dict:
    """There was no group before."""
    return every_step(
        folder,
        lambda place: None,
        lambda place: register(place, "one") and None,
        lambda place: statuses(place) == ["Approved"],
        tidy,
    )


def scenario_next(folder: Path) -> dict:
    """Two versions are there."""
    return every_step(
        folder,
        two_versions,
        lambda place: register(place, "three") and None,
        lambda place: [item.identity for item in read(place)] == ["one", "two", "three"],
        tidy,
    )


def scenario_status(folder: Path) -> dict:
    """A status changes; repeating it adds to the history, and nothing else."""

    def change(place: Path) -> None:
        LocalRegistry(open_store(place)).set_status(GROUP, 2, "Rejected", reason="looked at", by="test")

    def changed(place: Path) -> bool:
        assert statuses(place)[0] == "Approved"
        return statuses(place)[1] == "Rejected"

    return every_step(folder, two_versions, change, changed, tidy)


def scenario_approve(folder: Path) -> dict:
    """The oldest of four is approved, and the newer ones rejected: in use is the newest, or the oldest."""

    def prepare(place: Path) -> None:
        register(place, "one", "Rejected")
        for identity in ("two", "three", "four"):
            register(place, identity)

    def change(place: Path) -> None:
        approve(LocalRegistry(open_store(place)), GROUP, 1, by="test")

    def changed(place: Path) -> bool:
        assert in_use(place) in (4, 1), in_use(place)
        return in_use(place) == 1

    return every_step(folder, prepare, change, changed, tidy)


def scenario_roll_back(folder: Path) -> dict:
    """Either version is in use; whether to repeat is seen from which."""

    def change(place: Path) -> None:
        if in_use(place) == 2:
            roll_back(LocalRegistry(open_store(place)), GROUP, by="test")

    def changed(place: Path) -> bool:
        assert in_use(place) in (2, 1), in_use(place)
        return in_use(place) == 1

    return every_step(folder, two_versions, change, changed, tidy)


def scenario_together(folder: Path) -> dict:
    """Six processes register ten versions each, one identity of all being the same; readers watch."""
    stop = folder / "stop"
    folder.joinpath("store").mkdir()

    def writer(number: int) -> None:
        for turn in range(10):
            made = register(folder / "store", f"{number}-{turn}")
            assert made.identity == f"{number}-{turn}"
            register(folder / "store", "common")
            LocalRegistry(open_store(folder / "store")).set_status(
                GROUP, made.version, "Rejected", reason=f"by {number}", by="test", expected="Approved"
            )

    def watch() -> None:
        highest = 0
        while not stop.exists():
            count = len(read(folder / "store"))
            assert count >= highest, "a version was lost"
            highest = count

    watcher = fork(watch)
    writers = [fork(lambda number=number: writer(number)) for number in range(6)]
    try:
        assert [wait(pid) for pid in writers] == [0] * 6
    finally:
        stop.touch()
        assert wait(watcher) == 0
    versions = read(folder / "store")
    wanted = {f"{number}-{turn}" for number in range(6) for turn in range(10)} | {"common"}
    assert {item.identity for item in versions} == wanted
    assert {item.status for item in versions if item.identity != "common"} == {"Rejected"}
    return {"versions": len(versions), "highest": versions[-1].version}


def main() -> None:
    """Run the scenario that the command line names."""
    scenario = globals()[f"scenario_{sys.argv[1]}"]
    sys.stdout.write(json.dumps(scenario(Path(sys.argv[2]))) + "\n")


if __name__ == "__main__":
    main()
