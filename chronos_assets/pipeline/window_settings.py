"""The forecast windows of a store: their length follows the frequency, their start the data, unless a variable sets them.

Here: choosing both once, and the document in the store that remembers them. Arithmetic on windows is in
`planning.windows`, the partition definitions in `pipeline.partitions`.

A partition's key means another window at another length, and a running UI knows the length that it began with. So the first
command on a store chooses the length for good: `run` by the frequency of its data, `ui` on a store without data takes days.
The start only says which windows are listed; it follows the oldest data with each command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import get_args

from chronos_assets.calendar.frequencies import Frequency, Unit
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import window_of
from chronos_assets.settings import DEFAULT_PARTITION_START, Cadence, Settings
from chronos_assets.store_layout import WINDOWS_KEY

LENGTH, START = "CHRONOS_PARTITIONS", "CHRONOS_PARTITION_START"
# More windows make Dagster's pages slow: one row of the year 1900 among hours is no reason for them.
_MOST_WINDOWS = 60_000
_SECONDS: Mapping[Cadence, int] = {"hourly": 3600, "daily": 86_400, "weekly": 604_800, "monthly": 2_678_400}


def windows_for(frequency: Frequency) -> Cadence:
    """Windows in which data of a frequency come: days for everything up to days."""
    match frequency.unit:
        case Unit.WEEK:
            return "weekly"
        case Unit.MONTH | Unit.YEAR:
            return "monthly"
        case _:
            return "daily"


def with_remembered_windows(settings: Settings, folder: Path, env: Mapping[str, str]) -> Settings:
    """The settings with the windows of the store in `folder`, where no variable sets them.

    A document that can't be read counts as none.
    """
    if env.get(LENGTH):
        return settings
    try:
        document = json.loads((folder / WINDOWS_KEY).read_bytes())
        length, start = document["length"], date.fromisoformat(document["start"]).isoformat()
    except (OSError, ValueError, KeyError, TypeError):
        return settings
    if length not in get_args(Cadence):
        return settings
    settings = replace(settings, partitions=length)
    return settings if env.get(START) else replace(settings, partition_start=start)


def choose_windows(group: Group, env: Mapping[str, str], *, for_good: bool) -> Settings:
    """The group's settings with its windows, chosen and remembered if this is the first command on its store.

    Args:
        group: opened with the settings that the store remembers.
        env: variables; what they set is neither chosen nor remembered.
        for_good: days are remembered, too, where there are no data yet to choose by.
    """
    settings = group.settings
    if env.get(LENGTH) or settings.deployment != "local":
        return settings
    if group.store.head(WINDOWS_KEY) is None:
        length = _length_by_data(group)
        if length is None and not for_good:
            return settings
        settings = replace(settings, partitions=length or settings.partitions)
        if not env.get(START):
            settings = replace(settings, partition_start=DEFAULT_PARTITION_START[settings.partitions])
        _remember(group, settings)
    return settings


def follow_data(group: Group, env: Mapping[str, str]) -> Settings:
    """The group's settings with a start no later than its data, which is remembered; as they are without data."""
    settings = group.settings
    try:
        manifest = GroupState(group).manifest
    except ChronosAssetsError:
        return settings  # what needs the dataset says why it can't be read
    if manifest is None or env.get(START) or env.get(LENGTH) or settings.deployment != "local":
        return settings
    first, last = datetime.fromisoformat(manifest.first), datetime.fromisoformat(manifest.last)
    known = settings.partition_start
    most = timedelta(seconds=_MOST_WINDOWS * _SECONDS[settings.partitions])
    if last - first > most:
        if last.date().isoformat() >= known:
            return settings
        first = last - most
    start = window_of(first, settings.partitions).start.date()
    if known != DEFAULT_PARTITION_START[settings.partitions] and known <= start.isoformat():
        return settings
    settings = replace(settings, partition_start=start.isoformat())
    _remember(group, settings)
    return settings


def _length_by_data(group: Group) -> Cadence | None:
    """Windows for the group's frequency; days where forecasts were made by days before; None without data to tell."""
    if next(iter(group.store.list("history")), None) is not None:
        return group.settings.partitions
    try:
        return windows_for(GroupState(group).written_params.frequency)
    except ChronosAssetsError:
        return None  # the import says why


def _remember(group: Group, settings: Settings) -> None:
    document = {"length": settings.partitions, "start": settings.partition_start}
    group.store.put(WINDOWS_KEY, (json.dumps(document) + "\n").encode())
