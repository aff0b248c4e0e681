"""Errors at Dagster's edge. That all have one root is in `test_imports`."""

import dagster as dg
import pytest

from chronos_assets.defs.failures import failures
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.store import StoreKeyError


def test_an_error_reaches_the_ui_as_a_failure_with_its_message() -> None:
    with pytest.raises(dg.Failure) as failure, failures():
        raise StoreKeyError("a key can't start with a slash: remove it")
    assert failure.value.description == "a key can't start with a slash: remove it"
    assert isinstance(failure.value.__cause__, ChronosAssetsError)


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(KeyError), failures():
        raise KeyError("a bug")
