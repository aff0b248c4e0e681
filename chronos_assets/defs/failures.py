"""The edge between the package's errors and Dagster: what a step raises, Dagster shows as its failure.

Here: that translation. Elsewhere: what the errors say (beside what raises them).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from chronos_assets.errors import ChronosAssetsError, disk_trouble
from chronos_assets.platforms.jobs import JobError

TRANSIENT = "transient"  # metadata of a failure that the same run may not meet again


@contextmanager
def failures() -> Iterator[None]:
    """Raise the package's errors, and those of a disk, as `dg.Failure`: the UI then shows the message, not a traceback.

    Raises:
        dg.Failure: with the message of the error, which stays its cause, the facts of a job, and whether it is transient.
    """
    try:
        yield
    except ChronosAssetsError as error:
        facts = error.facts if isinstance(error, JobError) else {}
        raise dg.Failure(str(error), metadata={**facts, **({TRANSIENT: True} if error.transient else {})}) from error
    except dg.Failure:
        raise
    except Exception as error:
        if trouble := disk_trouble(error):
            raise dg.Failure(trouble, metadata={TRANSIENT: True}) from error
        raise
