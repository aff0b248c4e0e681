"""Keys, job names: the rules every platform shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.platforms.job_names import MAX_NAME
from chronos_assets.platforms.jobs import JobResult, check_job_name, job_name
from chronos_assets.platforms.store import StoreKeyError, check_key


@pytest.mark.parametrize(
    "key", ["params.json", "train/a b.csv", "train/ü.csv", "train/p%20q.csv", "history/as_of=2024-01-01-10:00/x", "..a"]
)
def test_ordinary_keys_are_taken_as_they_are(key):
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/..",
        "a//b",
        "a/",
        "./a",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "x" * 1025,
        "bad\udcff.csv",
    ],
)
def test_keys_that_leave_the_root_or_cannot_be_stored_are_refused_by_name(key):
    with pytest.raises(StoreKeyError) as error:
        check_key(key)
    assert repr(key) in str(error.value)


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=4))
def test_job_names_are_valid_and_deterministic(parts):
    name = job_name(*parts)
    assert check_job_name(name) == name
    assert len(name) <= MAX_NAME
    assert name == job_name(*parts)


def test_job_names_tell_apart_what_letters_and_digits_do_not():
    names = {job_name("f", "2024-01-01-10:00"), job_name("f", "2024-01-01 10:00"), job_name("f-2024", "01-01-10:00")}
    assert len(names) == 3


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "a.b", "..", "a" * 64, "a\n"])
def test_other_job_names_are_refused(name):
    with pytest.raises(ValueError, match="job name"):
        check_job_name(name)


def test_a_result_keeps_its_files_only_when_publishing_failed():
    class Files:
        def __init__(self):
            self.closed = []

        def close(self, *, keep=False):
            self.closed.append(keep)

    files = Files()
    with JobResult(outputs={}, messages=(), seconds=0.0, files=files):
        pass
    with pytest.raises(RuntimeError), JobResult(outputs={}, messages=(), seconds=0.0, files=files):
        raise RuntimeError("publishing failed")
    assert files.closed == [False, True]
