"""The error of the steps themselves: what is there can't be used, and no other room's error says so.

Here: that error. Elsewhere: errors of what a step calls, which pass through it as they are (`errors` names the tree), and
what Dagster shows of all of them (`defs.failures`).
"""

from chronos_assets.errors import ChronosAssetsError


class StepError(ChronosAssetsError):
    """A step can't do its work with what is there; the message says what is wrong, where, and how to fix it."""
