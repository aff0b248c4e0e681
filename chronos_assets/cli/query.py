"""`query`: the published forecast of one item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from chronos_assets.cli.common import DataOption, UsageError, make_flag, open_group, settings_for
from chronos_assets.store_layout import FORECAST_KEY, history_key
from chronos_assets.timeseries.published_files import FORECAST

if TYPE_CHECKING:
    from chronos_assets.pipeline.group import Group
    from chronos_assets.timeseries.forecast.query import SeriesQuestion


def query(
    item_id: Annotated[str, typer.Argument(help="Name of the item, as in the train files.", show_default=False)],
    data: DataOption = None,
    dimension: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Filter by a forecast dimension.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First timestamp, ISO 8601.")] = None,
    end: Annotated[str | None, typer.Option(help="Last timestamp, ISO 8601.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="WINDOW", help="Partition to ask, instead of the current forecast.", show_default=False),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the members that made it, with their weights.")
    ] = False,
    format: Annotated[Literal["table", "json", "csv"], typer.Option(help="Output format.")] = "table",
) -> None:
    """Print the current forecast of one item, or a past one."""
    from chronos_assets.pipeline.state import GroupState
    from chronos_assets.timeseries.forecast.query import SeriesQuestion, in_utc, render_csv, render_table

    group = open_group(settings_for(data))
    ask = SeriesQuestion(item_id, _dimensions(dimension or []), _moment("--start", start), _moment("--end", end))
    answer = _past(group, as_of, ask) if as_of is not None else _current(group, ask, data)
    if explain:
        _explain(group, as_of, ask)
        return
    if GroupState(group).clock_shown == "UTC":
        answer = in_utc(answer)
    if format == "json":
        print(json.dumps(answer, indent=2))
    else:
        print(render_csv(answer) if format == "csv" else render_table(answer))


def _explain(group: Group, as_of: str | None, ask: SeriesQuestion) -> None:
    """Print the members that made an item's forecast, and their weights."""
    from chronos_assets.params.predictor import member_in_words
    from chronos_assets.pipeline.cold_starts import cold_starts
    from chronos_assets.pipeline.predictors import (
        by_weight,
        gain_text,
        learned_text,
        predictor_that_made,
        traits_of_item,
    )
    from chronos_assets.timeseries.dataset.series_keys import series_name

    manifest, predictor = predictor_that_made(group, as_of)
    asked = (ask.item_id, *(ask.dimensions.get(name, "") for name in manifest["dimensions"]))
    if asked in cold_starts(group, manifest):
        print("a cold start: without a past, its forecast is made of those of the items whose metadata are most alike")
        return
    if predictor is None:
        print(f"made by {manifest['model']['reference']} alone")
        return
    keys = [key for key in predictor.items if key[0] == ask.item_id]
    print(f"made by {manifest['model']['reference']} and other members; learned from {learned_text(predictor.learned)}")
    print(f"ensemble: {gain_text(predictor.gain)}")
    traits = traits_of_item(group, manifest, ask.item_id) if predictor.traits is not None else {}
    for key in keys or [asked]:
        found = predictor.weights_of(key, traits.get(key))
        weights = dict(zip(predictor.members, found.tolist(), strict=True))
        others = "those of all items" if predictor.weights_of(key) is predictor.weights else "those of its segment"
        changed = ", changed by what its history looks like" if key in traits else ""
        print(f"{series_name(key)}, weights of its own{changed}:" if keys else f"weights, {others}{changed}:")
        for name, weight in by_weight(weights):
            if weight > 0:
                print(f"  {name:<22}{weight:>7.1%}  {member_in_words(name)}")


def _current(group: Group, ask: SeriesQuestion, data: Path | None) -> dict[str, Any]:
    try:
        return group.tables.query(group.store, ask)
    except FileNotFoundError as error:
        raise UsageError(
            f"no forecast in {group.place(FORECAST_KEY)} yet: run `make run{make_flag(data)}` first"
        ) from error


def _past(group: Group, key: str, ask: SeriesQuestion) -> dict[str, Any]:
    """The answer of a partition's forecast, from the history."""
    from chronos_assets.planning.windows import window_for_key
    from chronos_assets.timeseries.forecast.query import query_forecast

    try:
        window_for_key(key, group.settings.partitions)
    except ValueError as error:
        raise UsageError(f"--as-of: {error}") from error
    try:
        path = group.store.snapshot(history_key(key)) / FORECAST
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no forecast as of {key}: chronos-assets backfill --from {key} --to {key} makes it"
        ) from error
    return query_forecast(path, ask)


def _moment(option: str, text: str | None) -> datetime | None:
    """A time in the data's own clock; a Z, which answers in UTC have, changes nothing."""
    try:
        return None if text is None else datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError as error:
        raise UsageError(f"{option} {text}: write it as 2025-06-30 or 2025-06-30T12:00:00") from error


def _dimensions(pairs: Sequence[str]) -> dict[str, str]:
    named = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--dimension {pair}: write NAME=VALUE")
        named[name] = value
    return named
