"""What-if forecasts: scenarios dropped into `what_if/`, each forecast beside the current forecast.

Here: which files are scenarios, reading them, the job, its result in the store. Elsewhere: what a scenario
may say (`predictors.scenario`), joining two forecasts (`timeseries.forecast.what_if`).

A scenario is `what_if/<name>.json`, with the service's `TimeSeriesTransformations`, or `what_if/<name>.csv`, with rows that
replace planned values: item_id, dimensions and timestamp, and a column for each attribute that is replaced. A CSV beside a JSON
of the same name belongs to the same scenario.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from chronos_assets.partition_folders import job_folder
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.forecast_states import forecast_states, made_from_now
from chronos_assets.pipeline.forecasts import forecast_job
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.staging import memory_limit_named, staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import window_for_key
from chronos_assets.platforms.jobs import job_name
from chronos_assets.platforms.store import ObjectInfo, manifest_of
from chronos_assets.predictors.scenario import (
    ITEM,
    TIMESTAMP,
    Replacement,
    Scenario,
    ScenarioError,
    Transformation,
    read_transformations,
)
from chronos_assets.store_layout import FORECAST_KEY, WHAT_IF_KEY, history_key, scenario_key, scenario_of
from chronos_assets.system import write_json
from chronos_assets.timeseries.forecast.what_if import PARQUET, WhatIfComparison, write_what_if
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST

SCENARIO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class WhatIfForecast:
    """What came of one scenario.

    Attributes:
        scenario: its name.
        as_of: partition of the baseline.
        comparison: of both forecasts.
        manifest: as it was published.
        seconds: of the job.
        facts: of the job, for people.
    """

    scenario: str
    as_of: str
    comparison: WhatIfComparison
    manifest: Mapping[str, Any]
    seconds: float
    facts: Mapping[str, Any]


def files_without_a_scenario(group: Group) -> list[str]:
    """Names of the files in `what_if/` that are no scenario, because of what they are called; not those of hidden files."""
    taken = {info.key for found in scenario_files(group).values() for info in found}
    names = (PurePosixPath(info.key).name for info in group.store.list(WHAT_IF_KEY) if info.key not in taken)
    return sorted(name for name in names if not name.startswith("."))


def scenario_files(group: Group) -> dict[str, list[ObjectInfo]]:
    """The files of each scenario that lies in `what_if/`, by its name; other files are skipped."""
    found: dict[str, list[ObjectInfo]] = {}
    for info in sorted(group.store.list(WHAT_IF_KEY), key=lambda info: info.key):
        path = PurePosixPath(info.key)
        if path.suffix.lower() in (".json", ".csv") and SCENARIO_NAME.fullmatch(path.stem):
            found.setdefault(path.stem, []).append(info)
    return found


def read_scenario(group: Group, name: str) -> Scenario:
    """The scenario of a name.

    Raises:
        ChronosAssetsError: there is none, or its files can't be read; says where and why.
    """
    files = scenario_files(group).get(name)
    if not files:
        raise StepError(f"there is no scenario {name}: put {name}.json or {name}.csv into {group.place(WHAT_IF_KEY)}")
    transformations: tuple[Transformation, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    kinds = [PurePosixPath(info.key).suffix.lower() for info in files]
    if len(set(kinds)) < len(kinds):
        listed = ", ".join(info.key for info in files)
        raise StepError(f"scenario {name} has several files of one kind, {listed}: keep one JSON and one CSV at most")
    try:
        for info in files:
            text = group.store.get(info.key).decode("utf-8-sig")
            if info.key.lower().endswith(".json"):
                transformations = read_transformations(json.loads(text), info.key)
            else:
                replacements = read_replacements(text, info.key)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StepError(f"{group.place(info.key)} can't be read: {error}") from error
    return Scenario(name, transformations, replacements)


def read_replacements(text: str, source: str) -> tuple[Replacement, ...]:
    """The rows of a CSV: keys first by their names, every other column an attribute; empty cells leave a value as it is.

    Args:
        text: of the file.
        source: its name, for messages.

    Raises:
        ScenarioError: a line has no timestamp, or another number of cells than the header, which names a column twice or
            lacks one.
    """
    rows = csv.reader(io.StringIO(text, newline=""))  # lines may end as they do on any system
    header = [name.strip() for name in next(rows, [])]
    if TIMESTAMP not in header or ITEM not in header:
        raise ScenarioError(f"{source}, line 1: the header must name {ITEM} and {TIMESTAMP}, and attributes to replace")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ScenarioError(f"{source}, line 1: the header names {', '.join(twice)} twice: keep one of them")
    found = []
    for number, cells in enumerate(rows, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise ScenarioError(f"{source}, line {number}: {len(cells)} cells, the header has {len(header)}")
        named = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        moment, item = named.pop(TIMESTAMP), named.pop(ITEM)
        found.append((number, item, moment, named))
    return tuple(
        Replacement({ITEM: item}, moment, {name: value for name, value in named.items() if value}, number)
        for number, item, moment, named in found
    )


def with_dimensions(scenario: Scenario, dimensions: tuple[str, ...]) -> Scenario:
    """The scenario with columns of its CSV that are dimensions taken for parts of the key."""

    def moved(row: Replacement) -> Replacement:
        own = {name: str(row.values[name]) for name in dimensions if name in row.values}
        rest = {name: value for name, value in row.values.items() if name not in own}
        return replace(row, key={**row.key, **own}, values=rest)

    return replace(scenario, replacements=tuple(moved(row) for row in scenario.replacements))


def on_clock(scenario: Scenario, clock: str | None) -> Scenario:
    """The scenario with times that have an offset on the clock of the dataset; a Z changes nothing, as in queries.

    Args:
        scenario: as its files have it.
        clock: IANA name of the dataset's zone; None for UTC.
    """

    def moved(text: str) -> str:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text  # refused where it is read, with its place
        if moment.tzinfo is None or text.upper().endswith("Z"):
            return text
        return moment.astimezone(ZoneInfo(clock or "UTC")).replace(tzinfo=None).isoformat()

    def changed(one: Transformation) -> Transformation:
        conditions = (
            replace(each, value=moved(each.value)) if each.attribute.lower() == TIMESTAMP else each
            for each in one.conditions
        )
        return replace(one, conditions=tuple(conditions))

    return replace(
        scenario,
        transformations=tuple(map(changed, scenario.transformations)),
        replacements=tuple(replace(row, timestamp=moved(row.timestamp)) for row in scenario.replacements),
    )


def baseline_problem(state: GroupState) -> str | None:
    """Why there is no current forecast to compare scenarios with; None if there is one."""
    shown = published_manifest(state.group)
    if shown is None:
        return "there is no current forecast to compare with: materialize forecasts first"
    made = forecast_states(state).get(shown["as_of"])
    if made is None or made.made_from != made_from_now(state):
        return (
            f"the current forecast ({shown['as_of']}) was made from other data, parameters or another model than there are "
            "now: materialize its partition of forecasts again"
        )
    return None


def stale_scenarios(state: GroupState) -> list[str]:
    """Scenarios that were not forecast from their files as they are, beside the current forecast; none while there is none."""
    group = state.group
    files = scenario_files(group)
    if not files or baseline_problem(state) is not None:
        return []
    made = {scenario_of(name): manifest for name, _, manifest in group.store.manifests("what_if_forecasts")}
    return [name for name in files if made.get(name, {}).get("made_from") != _made_from(group, files[name])]


def gone_scenarios(group: Group) -> list[str]:
    """Scenarios that were forecast and whose files are gone since."""
    return without_files(group, [name for name, _, _ in group.store.manifests("what_if_forecasts")])


def without_files(group: Group, folders: Iterable[str]) -> list[str]:
    """Those of the scenarios that these folders of `what_if_forecasts` are of whose files are gone."""
    made = [name for name in map(scenario_of, folders) if name is not None]
    files = scenario_files(group) if made else {}
    return [name for name in made if name not in files]


def withdraw_gone_scenarios(group: Group) -> None:
    """Withdraw the forecasts of scenarios whose files are gone: nobody keeps them beside the current forecast any more."""
    for name in gone_scenarios(group):
        group.store.withdraw(scenario_key(name))


def is_beside_current(group: Group, name: str) -> bool:
    """Whether a scenario was forecast beside the current forecast, and not beside an earlier one."""
    made = manifest_of(group.store, scenario_key(name)) or {}
    return list(made.get("made_from", ()))[-1:] == [str(group.store.shown(FORECAST_KEY))]


def _made_from(group: Group, files: Sequence[ObjectInfo]) -> list[str]:
    """What a scenario's forecast follows from: its files, and the baseline."""
    return [*(f"{info.key} {info.etag}" for info in files), str(group.store.shown(FORECAST_KEY))]


def make_what_if(state: GroupState, context: dg.AssetExecutionContext, name: str) -> WhatIfForecast:
    """Forecast a scenario as of the current forecast, and publish it beside that.

    Raises:
        ChronosAssetsError: the scenario can't be read or applied, or there is no current forecast.
    """
    group, params = state.group, state.params
    made_from = _made_from(group, scenario_files(group).get(name, []))
    scenario = on_clock(with_dimensions(read_scenario(group, name), params.dimensions), params.clock)
    if (problem := baseline_problem(state)) is not None:
        raise StepError(problem)
    as_of = str((published_manifest(group) or {})["as_of"])
    window = window_for_key(as_of, group.settings.partitions)
    job = job_name("what-if", *group.settings.key_prefix, name)
    request = forecast_job(state, context, [window], job, scenario=scenario.to_document())
    with group.jobs.run(context, request) as result, staging(group) as folder:
        made = result.outputs["forecast"] / job_folder(as_of)
        manifest = json.loads((made / MANIFEST).read_bytes())
        staged = folder / "what_if"
        staged.mkdir()
        with memory_limit_named(group):
            comparison = write_what_if(
                staged,
                name,
                as_of,
                made / FORECAST,
                group.store.snapshot(history_key(as_of)) / FORECAST,
                params.dimensions,
                export=params.export,
                memory_limit=group.settings.memory_limit,
            )
        (made / FORECAST).rename(staged / FORECAST)
        manifest |= {"comparison": comparison.to_document(), "scenario_name": name, "made_from": made_from}
        write_json(staged / MANIFEST, manifest, sort_keys=True)
        group.store.publish(scenario_key(name), staged, data=PARQUET)
    return WhatIfForecast(name, as_of, comparison, manifest, result.seconds, result.facts)
