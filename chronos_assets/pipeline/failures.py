"""The edge between the package's errors and Dagster: what a step raises, Dagster shows as its failure.

Here: that translation. Elsewhere: what the errors say (beside what raises them).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from chronos_assets.errors import ChronosAssetsError


@contextmanager
def failures(*kinds: type[ChronosAssetsError]) -> Iterator[None]:
    """Raise the package's errors as `dg.Failure`: the UI then shows the message, not a traceback.

    Args:
        kinds: which of them; all if none are given.

    Raises:
        dg.Failure: with the message of the error, which stays its cause.
    """
    wanted = kinds or (ChronosAssetsError,)
    try:
        yield
    except wanted as error:
        raise dg.Failure(str(error)) from error
