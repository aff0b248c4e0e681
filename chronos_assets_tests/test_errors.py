"""Errors at Dagster's edge. That all have one root is in `test_imports`."""

import errno

import dagster as dg
import pytest

from chronos_assets.defs.failures import failures
from chronos_assets.defs.outcomes import RunFailure, failure_of
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.jobs import JobError
from chronos_assets.platforms.store import StoreError, StoreKeyError


def test_an_error_reaches_the_ui_as_a_failure_with_its_message() -> None:
    with pytest.raises(dg.Failure) as failure, failures():
        raise StoreKeyError("a key can't start with a slash: remove it")
    assert failure.value.description == "a key can't start with a slash: remove it"
    assert isinstance(failure.value.__cause__, ChronosAssetsError)


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (StoreError("can't read s3://data/params.json: no route to host"), True),
        (JobError("AWS gave no answer for too long", transient=True), True),
        (JobError("forecast job failed: it needs more memory", {"exit_status": 1}), False),
        (StoreKeyError("a key can't start with a slash: remove it"), False),
    ],
)
def test_only_what_may_pass_is_tried_again_by_a_sensor(error: ChronosAssetsError, retried: bool) -> None:
    @dg.asset
    def refused() -> None:
        with failures():
            raise error

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([refused], instance=instance, raise_on_error=False)
        assert failure_of(instance, run.run_id) == RunFailure("refused", str(error), foreseen=not retried)


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(KeyError), failures():
        raise KeyError("a bug")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device (in the store, or in "),
        (OSError(errno.ENOSPC, "No space left on device", "/store/x"), "/store/x: No space left on device: free some"),
        (
            OSError(errno.EROFS, "Read-only file system", "/store/x"),
            "/store/x: Read-only file system: make it writable",
        ),
        (
            RuntimeError('FATAL Error: Could not write file "/x": No space left on device'),
            "no space is left on the disk",
        ),
    ],
)
def test_a_disk_that_takes_no_more_is_named_with_the_way_out(error: Exception, words: str) -> None:
    with pytest.raises(dg.Failure) as failure, failures():
        raise error
    assert failure.value.description is not None
    assert failure.value.description.startswith(words)
