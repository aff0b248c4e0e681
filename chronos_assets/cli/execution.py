"""Runs of a command: on the store's Dagster instance, shown as they go, ended when the user wants it.

Here: what `run` and `backfill` share around their runs. Which runs there are is in `defs.main_job` and `defs.backfill`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from chronos_assets.cli.common import UsageError
from chronos_assets.cli.output import new_log, raw_output_to
from chronos_assets.errors import ChronosAssetsError

if TYPE_CHECKING:
    from chronos_assets.cli.live import View
    from chronos_assets.defs.launcher import Launcher
    from chronos_assets.pipeline.group import Group


@contextmanager
def executing(group: Group, home: Path) -> Iterator[Launcher]:
    """What launches the runs of a block; what jobs and libraries write goes to a log file in `home`.

    Raises:
        UsageError: a run failed, or Dagster's storage did; the message is its reason, and the log has the whole of it.
    """
    from chronos_assets.cli.interrupts import Interrupts
    from chronos_assets.cli.live import view
    from chronos_assets.definitions import group_definitions
    from chronos_assets.defs.console import line_handler, messages_to
    from chronos_assets.defs.dead_runs import end_dead_runs
    from chronos_assets.defs.instance import open_instance, storage_trouble
    from chronos_assets.defs.launcher import Launcher
    from chronos_assets.platforms.local.processes import workload_environment
    from chronos_assets.platforms.local.warm_workers import warm_workers

    log = new_log(home / "logs")
    local = group.settings.deployment == "local"
    with (
        open_instance(home, owned=not group.settings.dagster_home) as instance,
        raw_output_to(log) as user,
        warm_workers(workload_environment(Path("/"))) if local else nullcontext(),
        view(user) as shown,
        messages_to(shown, line_handler(sys.stderr)),  # the log has the lines, too
        Interrupts(shown.note, partial(_end_at_once, shown)) as interrupts,
    ):
        for run_id in end_dead_runs(instance):
            shown.note(f"run {run_id} had died; marked as failed")
        try:
            yield Launcher(group, group_definitions(group), instance, shown.note, interrupts.check)
        except UsageError:
            raise
        except ChronosAssetsError as error:
            print(error, file=sys.stderr)  # into the log
            raise UsageError(str(error), log) from error
        except Exception as error:
            if trouble := storage_trouble(error, home):
                raise UsageError(trouble, log) from error
            raise


def _end_at_once(shown: View, status: int) -> NoReturn:
    """End this process without waiting for anything: its jobs end with it, the next command finds its run dead."""
    shown.note("ended; what was under way is done again by the next run")
    shown.abandon()
    os._exit(status)
