"""`run`: the main job, from a user's folder to published forecasts."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import typer

from chronos_assets.cli.common import CONFIG, UsageError, dagster_home, open_group, settings_for
from chronos_assets.cli.copying import copy_data
from chronos_assets.cli.summary import print_summary


def run(
    data: Annotated[
        Path | None, typer.Option(help="Folder with params.json and train/; it is only read.", show_default=False)
    ] = None,
    backtest_windows: Annotated[int, typer.Option(metavar="N", help="As-of windows to score.")] = 7,
    no_training: Annotated[
        bool, typer.Option("--no-training", help="Leave the model as it is, even if a training is due.")
    ] = False,
) -> None:
    """Import what is new, tune a model if one is due, forecast, score a backtest, publish, serve."""
    import dagster as dg

    from chronos_assets.definitions import group_definitions
    from chronos_assets.defs.main_job import MainJobError, end_dead_runs, open_instance, run_main_job

    # Dagster says of parts of its own Pipes that they are in preview; that is nothing a user can act on.
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    if backtest_windows < 0:
        raise UsageError("--backtest-windows must not be negative")
    settings = settings_for(data)
    home = dagster_home(settings)
    group = open_group(settings)
    if data is not None:
        copy_data(data, group)
    elif not any(group.store.list("train")):
        from chronos_assets.timeseries.dataset.sample import write_sample

        print(f"{group.store.url} has no train files: writing the sample (10 electricity clients, hourly, one year)")
        with tempfile.TemporaryDirectory() as folder:
            write_sample(Path(folder))
            copy_data(Path(folder), group)
    with open_instance(home, CONFIG) as instance:
        for run_id in end_dead_runs(instance):
            print(f"run {run_id} had died; marked as failed")
        try:
            result = run_main_job(
                group,
                group_definitions(group),
                instance,
                backtest_windows=backtest_windows,
                train=not no_training,
            )
        except MainJobError as error:
            raise UsageError(str(error)) from error
    if not result.runs:
        print("Nothing new: train files, parameters and model are those of the last run. No work was done.")
    print_summary(group, result, data)
    if result.training_failure:
        raise UsageError(f"the forecast is published, but the training failed: {result.training_failure}")
