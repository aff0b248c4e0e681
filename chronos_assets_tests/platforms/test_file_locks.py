"""Locks hold a file under its name, and end with their holder."""

import os
import subprocess
import sys
import threading

import pytest

from chronos_assets.platforms.file_locks import lock_file, locked_file


def test_a_second_holder_waits_no_longer_than_asked(tmp_path):
    path = tmp_path / "lock"
    with locked_file(path), pytest.raises(TimeoutError, match="is locked by another process"):
        lock_file(path, seconds=0.1)
    os.close(lock_file(path, seconds=0))


@pytest.mark.parametrize("action", ["unlink", "rename"])
@pytest.mark.parametrize("seconds", [None, 10.0])
def test_who_waits_for_a_file_that_goes_away_gets_the_one_that_has_the_name_then(tmp_path, action, seconds):
    path = tmp_path / "lock"
    got: list[int] = []
    with locked_file(path):
        waiter = threading.Thread(target=lambda: got.append(lock_file(path, seconds=seconds)))
        waiter.start()
        waiter.join(0.2)
        assert not got
        if action == "unlink":
            path.unlink()
        else:
            path.rename(tmp_path / "other")
    waiter.join(10)
    assert os.path.samestat(os.fstat(got[0]), path.stat())
    with pytest.raises(TimeoutError):
        lock_file(path, seconds=0)
    os.close(got[0])


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    script = (
        "import sys, time, pathlib\n"
        "from chronos_assets.platforms.file_locks import lock_file\n"
        "lock_file(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(600)\n"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TimeoutError):
        lock_file(path, seconds=0)
    holder.kill()
    holder.communicate()
    os.close(lock_file(path, seconds=5))
