"""Scratch folders: gone at the end, and after a kill at the next start, but never under a living owner."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.staging import staging
from chronos_assets.settings import Settings

OWNER = """
import sys
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.staging import staging
from chronos_assets.settings import Settings

with staging(Group(Settings(store=sys.argv[1]))) as folder:
    (folder / "large").write_text("rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(Settings(store=str(tmp_path / "store")))


def test_a_folder_is_removed_at_the_end_and_after_an_error(group: Group) -> None:
    with staging(group) as first:
        assert first.is_dir()
    with pytest.raises(KeyError), staging(group) as second:
        raise KeyError
    assert not first.exists()
    assert not second.exists()
    assert list(group.store.scratch.iterdir()) == []


def test_what_a_killed_owner_left_is_removed_by_the_next_one_and_a_living_owner_is_left_alone(
    group: Group, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", OWNER, str(tmp_path / "store")]
    owners = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = [Path(owner.stdout.readline().strip()) for owner in owners if owner.stdout is not None]
    try:
        owners[0].send_signal(signal.SIGKILL)
        owners[0].wait(30)
        with staging(group):
            assert not folders[0].exists()
            assert (folders[1] / "large").read_text() == "rows"
    finally:
        for owner in owners:
            owner.kill()
            owner.communicate()
