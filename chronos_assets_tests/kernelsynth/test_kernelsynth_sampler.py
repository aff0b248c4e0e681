"""Which random numbers make which series, in one process and in many."""

import itertools
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from chronos_assets.kernelsynth.sampler import iter_series
from chronos_assets_tests.waiting import wait_until

KEYS = [(stream, number) for stream in range(2) for number in range(40)]


def series(keys=KEYS, **changes):
    parameters = {"seed": 7, "length": 60} | changes
    return [(str(expression), values.tobytes()) for expression, values in iter_series(keys, **parameters)]


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers():
    alone = series()
    assert series(workers=1) == alone
    assert series(workers=2) == alone
    assert series(workers=3) == alone
    assert len({values for _, values in alone}) == len(KEYS)


def test_a_series_depends_on_its_key_alone():
    alone = series()
    assert series(KEYS[::-1]) == alone[::-1]
    assert series([(1, 5)]) == [alone[45]]
    assert series([(1, 5)], seed=8) != [alone[45]]
    assert series([]) == []
    assert series([], workers=2) == []


def test_series_are_the_same_when_their_factors_are_already_known():
    first = series(length=77)
    assert series(length=77) == first


def test_only_the_series_asked_for_are_waited_for():
    with closing(iter_series(((0, number) for number in itertools.count()), seed=1, length=30, workers=2)) as endless:
        taken = [values for _, values in itertools.islice(endless, 100)]
    assert np.array_equal(taken[99], next(iter_series([(0, 99)], seed=1, length=30))[1])


ENDLESS = """
import itertools, multiprocessing
from chronos_assets.kernelsynth.sampler import iter_series

if __name__ == "__main__":
    made = iter_series(((0, number) for number in itertools.count()), seed=1, length=30, workers=2)
    next(made)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    while True:
        pass
"""


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended, but that nobody has waited for, doesn't."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_sampler_needs_numpy_alone():
    code = "import sys; from chronos_assets.kernelsynth import sampler; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "scipy", "sklearn", "dagster", "gluonts", "chronos"} & set(loaded)
