"""`backfill`: forecasts and scores of past windows."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_assets.cli.common import DataOption, dagster_home, open_group, settings_for
from chronos_assets.cli.execution import executing


def backfill(
    first: Annotated[
        str, typer.Option("--from", metavar="WINDOW", help="First partition, such as 2025-06-01, or a moment in it.")
    ],
    last: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="WINDOW",
            help="Last partition, or a moment in it (default: that of the last observation).",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Forecast past windows as they would have been forecast then, and score them.

    The UI shows the partitions; the current forecast stays. What was made from the same data and model is not made again.
    """
    from chronos_assets.defs.backfill import run_backfill

    settings = settings_for(data)
    group = open_group(settings)
    with executing(group, dagster_home(settings)) as launcher:
        done = run_backfill(launcher, first, last)
    print(
        f"{len(done.windows):,} windows, {done.windows[0].key} … {done.windows[-1].key}: "
        f"{len(done.made):,} forecast, {len(done.scored):,} scored"
    )
    print(f"history      {group.place('history')}")
    print(f"SQL tables   {group.tables.place(group.store)} (forecast_history, accuracy)")
