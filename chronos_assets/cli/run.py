"""`run`: the main job, from a user's folder to published forecasts."""

from __future__ import annotations

import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.cli.common import UsageError, dagster_home, open_group, settings_for
from chronos_assets.cli.copying import copy_data
from chronos_assets.cli.output import new_log, raw_output_to
from chronos_assets.cli.summary import print_summary

if TYPE_CHECKING:
    from chronos_assets.defs.main_job import MainJobResult
    from chronos_assets.pipeline.group import Group


def run(
    data: Annotated[
        Path | None, typer.Option(help="Folder with params.json and train/; it is only read.", show_default=False)
    ] = None,
    backtest_windows: Annotated[int, typer.Option(metavar="N", help="As-of windows to score.")] = 7,
    no_training: Annotated[
        bool,
        typer.Option(
            "--no-training",
            help="Leave the model as it is, even if a training is due; `ui` does so, too, until a run without it.",
        ),
    ] = False,
) -> None:
    """Import what is new, tune a model if one is due, forecast, score a backtest, publish, serve."""
    from chronos_assets.pipeline.run_settings import remember_training

    if backtest_windows < 0:
        raise UsageError("--backtest-windows must not be negative")
    settings = settings_for(data)
    home = dagster_home(settings)
    group = open_group(settings)
    if data is not None:
        copy_data(data, group)
    elif not any(group.store.list("train")):
        _write_sample(group)
    remember_training(group, not no_training)
    result = _main_job(group, home, backtest_windows, train=not no_training)
    if not result.runs:
        print("Nothing new: train files, parameters and model are those of the last run. No work was done.")
    print_summary(group, result, data)
    if result.training_failure:
        raise UsageError(f"the forecast is published, but the training failed: {result.training_failure}")


def _write_sample(group: Group) -> None:
    from chronos_assets.timeseries.dataset.sample import write_sample

    print(f"{group.store.url} has no train files: writing the sample (10 electricity clients, hourly, one year)")
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder))
        copy_data(Path(folder), group)


def _main_job(group: Group, home: Path, backtest_windows: int, *, train: bool) -> MainJobResult:
    """Run the main job, shown to the user as it goes; what jobs and libraries write goes to a log file in `home`."""
    import dagster as dg

    from chronos_assets.cli.interrupts import Interrupts
    from chronos_assets.cli.live import view
    from chronos_assets.definitions import group_definitions
    from chronos_assets.defs.console import line_handler, messages_to
    from chronos_assets.defs.dead_runs import end_dead_runs
    from chronos_assets.defs.instance import open_instance
    from chronos_assets.defs.main_job import MainJobError, run_main_job
    from chronos_assets.platforms.local.processes import workload_environment
    from chronos_assets.platforms.local.warm_workers import warm_workers

    # Dagster says of parts of its own Pipes that they are in preview; that is nothing a user can act on.
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    log = new_log(home / "logs")
    local = group.settings.deployment == "local"
    with (
        open_instance(home, owned=not group.settings.dagster_home) as instance,
        raw_output_to(log) as user,
        warm_workers(workload_environment(Path("/"), {})) if local else nullcontext(),
        view(user) as shown,
        messages_to(shown, line_handler(sys.stderr)),  # the log has the lines, too
        Interrupts(shown.note) as interrupts,
    ):
        for run_id in end_dead_runs(instance):
            shown.note(f"run {run_id} had died; marked as failed")
        try:
            return run_main_job(
                group,
                group_definitions(group),
                instance,
                backtest_windows=backtest_windows,
                train=train,
                note=shown.note,
                check_interrupt=interrupts.check,
            )
        except MainJobError as error:
            print(error, file=sys.stderr)  # into the log
            raise UsageError(str(error), log) from error
