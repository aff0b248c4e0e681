"""`validate`, `melt` and `sample-july`: a user's files, before a run reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_assets.cli.common import UsageError, settings_for

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams


def validate(path: Annotated[Path, typer.Argument(help="The params.json to check, or its folder.")]) -> int:
    """Report everything that is wrong with a params.json, at once."""
    from chronos_assets.params.forecast import ParamsError
    from chronos_assets.params.reader import load_params
    from chronos_assets.pipeline.training_limits import beyond_the_model

    if path.is_dir():
        if not (path / "params.json").exists():
            raise UsageError(
                f"{path} has no params.json, so that there is nothing to check: a run infers one from train/"
            )
        path /= "params.json"
    try:
        params = load_params(path.read_bytes(), source=str(path))
    except ParamsError as error:
        # All of it, however long: it is what was asked for.
        print(f"chronos-assets: {error}", file=sys.stderr)
        return 1
    beyond = beyond_the_model(params.training, settings_for(None).base_model)
    if beyond:
        print("\n".join([f"chronos-assets: {path}:", *(f"  {problem}" for problem in beyond)]), file=sys.stderr)
        return 1
    quantiles = ", ".join(f"{level:g}" for level in params.quantiles) or "none"
    print(f"{path} is valid: {params.horizon} periods of {params.frequency}, quantiles {quantiles}")
    for line in _covariates(params):
        print(line)
    for note in params.notes:
        print(f"note: {note}")
    return 0


def _covariates(params: ForecastParams) -> Iterator[str]:
    """What explains the target, and where its files belong."""
    for what, source, folder in (
        ("related time series", params.related, "related/"),
        ("item metadata", params.metadata, "item_metadata/"),
    ):
        if source is not None:
            own = {attribute.name for attribute in source.columns}
            places = [
                f"{each.name} (of {'the train files' if each.name in own else folder})" for each in source.covariates
            ]
            yield f"{what}: {', '.join(places)}"
    if params.holidays is not None:
        names = [*params.holidays.countries, *(name for name, _ in params.holidays.days)]
        yield f"holidays: {', '.join([*names, *filter(None, [params.holidays.file])])}"


def melt(
    path: Annotated[Path, typer.Argument(help="A CSV or Parquet file with a column for each series.")],
    output: Annotated[Path, typer.Argument(help="The CSV file to write: timestamp, item_id, target_value.")],
    column: Annotated[
        list[str] | None, typer.Option(help="A column that is a series; repeatable (default: all columns of numbers).")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A column that distinguishes rows of one timestamp, such as a store; repeatable."),
    ] = None,
) -> None:
    """Convert a wide file to rows, one for each series and timestamp; a date and a time in two columns become one."""
    from datetime import UTC, datetime

    from chronos_assets.timeseries.dataset.melting import melt as rewrite
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder: give a path in one that exists")
    if output.exists():
        raise UsageError(f"{output} already exists: remove it, or give another path")
    rows, series = rewrite(TrainFile(path, path.name, datetime.now(UTC)), output, column or (), keep or ())
    print(f"{output} written: {rows:,} rows of {len(series)} columns ({', '.join(series)})")


def sample_july(path: Annotated[Path, typer.Argument(help="File to write, in a store's train/.")]) -> None:
    """Write the month after the built-in sample, to drop into train/."""
    from chronos_assets.timeseries.dataset.sample import write_july

    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder: give a path in the store's train/")
    write_july(path)
    print(f"{path} written")
