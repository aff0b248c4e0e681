"""`run`: the main job, from a user's folder to published forecasts."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.cli.common import UsageError, dagster_home, open_group, settings_for
from chronos_assets.cli.copying import copy_data
from chronos_assets.cli.execution import executing
from chronos_assets.store_layout import TRAIN_KEY

if TYPE_CHECKING:
    import dagster as dg

    from chronos_assets.pipeline.group import Group


def run(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with train/ and, if you have one, params.json; it is only read.", show_default=False),
    ] = None,
    backtest_windows: Annotated[int, typer.Option(metavar="N", help="Number of past windows to score.")] = 7,
    no_training: Annotated[
        bool,
        typer.Option(
            "--no-training",
            help="Train no model, even if one is due; neither does `ui`, until you run without this option.",
        ),
    ] = False,
) -> None:
    """Import what is new, tune a model if one is due, forecast, score a backtest, publish, serve."""
    from chronos_assets.cli.summary import print_summary
    from chronos_assets.defs.main_job import run_main_job
    from chronos_assets.pipeline.run_settings import remember_training
    from chronos_assets.pipeline.window_settings import choose_windows

    if backtest_windows < 0:
        raise UsageError("--backtest-windows must not be negative")
    settings = settings_for(data)
    home = dagster_home(settings)
    group = open_group(settings)
    if data is not None:
        for line in copy_data(data, group).lines():
            print(line)
    elif not any(group.store.list("train")):
        _write_sample(group)
    group = open_group(choose_windows(group, os.environ, for_good=False))
    remember_training(group, not no_training)
    with executing(group, home) as launcher:
        result = run_main_job(
            launcher, backtest_windows=backtest_windows, train=not no_training, reopen=_starting_with_its_data
        )
    if not result.runs:
        print("Nothing new: train files, parameters and model are those of the last run. No work was done.")
    print_summary(group, result, data)
    if result.training_failure:
        raise UsageError(f"the forecast is published, but the training failed: {result.training_failure}")


def _starting_with_its_data(group: Group) -> tuple[Group, dg.Definitions] | None:
    """The group with windows from its first observation on, and its definitions; None if that's where they begin."""
    from chronos_assets.definitions import group_definitions
    from chronos_assets.pipeline.window_settings import follow_data

    settings = follow_data(group, os.environ)
    if settings == group.settings:
        return None
    group = replace(group, settings=settings)
    return group, group_definitions(group)


def _write_sample(group: Group) -> None:
    from chronos_assets.timeseries.dataset.sample import write_sample

    where = group.place(TRAIN_KEY)
    print(f"{where} has no files yet: writing the sample there (10 electricity clients, hourly, one year)")
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder))
        copy_data(Path(folder), group)
