"""`query`: the published forecast of one item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import typer

from chronos_assets.cli.common import DataOption, UsageError, open_group, settings_for


def query(
    item_id: str,
    data: DataOption = None,
    dimension: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Filter by a forecast dimension.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First timestamp, ISO 8601.")] = None,
    end: Annotated[str | None, typer.Option(help="Last timestamp, ISO 8601.")] = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="How to print it.")] = "table",
) -> None:
    """The current forecast of one item."""
    from chronos_assets.timeseries.forecast.query import QueryError, render_table

    group = open_group(settings_for(data))
    dimensions = _dimensions(dimension or [])
    first, last = _moment("--start", start), _moment("--end", end)
    try:
        answer = group.tables.query(group.store, item_id, dimensions=dimensions, start=first, end=last)
    except FileNotFoundError as error:
        raise UsageError(f"no forecast in {group.store.url} yet: run `make run` first") from error
    except QueryError as error:
        raise UsageError(str(error)) from error
    print(json.dumps(answer, indent=2) if format == "json" else render_table(answer))


def _moment(option: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: write it as 2014-11-30 or 2014-11-30T12:00:00") from error


def _dimensions(pairs: Sequence[str]) -> dict[str, str]:
    named = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--dimension {pair}: write NAME=VALUE")
        named[name] = value
    return named
