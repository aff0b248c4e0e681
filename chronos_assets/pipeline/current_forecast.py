"""The current forecast: what `forecast/` shows, when it gives way, and whether it is whole.

Elsewhere: making forecasts (`forecasts`), atomic publishing that never goes back in time (`platforms.store`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.forecast_states import forecast_states, state_of
from chronos_assets.pipeline.forecast_windows import main_windows
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.moments import as_datetime, moment_of, timestamp
from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.forecasts import ForecastState, is_shown
from chronos_assets.planning.windows import Window
from chronos_assets.store_layout import FORECAST_KEY, history_key
from chronos_assets.system import file_digest, write_json
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST


def publish_current(state: GroupState, params: ForecastParams, window: Window) -> bool:
    """Publish `window`'s forecast from `history/` to `forecast/`, unless one with later data is there; whether it was.

    One with later data gives way to that of the last observation once those data are gone.
    """
    from chronos_assets.timeseries.forecast.csv_export import write_forecast_csv

    group = state.group
    source = group.store.snapshot(history_key(window.key))
    with staging(group) as folder:
        staged = folder / "forecast"
        staged.mkdir()
        shutil.copyfile(source / FORECAST, staged / FORECAST)
        names = [FORECAST]
        if params.export.format == "CSV":
            export = write_forecast_csv(
                staged,
                source / FORECAST,
                source / "last_observed.parquet" if params.join_row else None,
                params,
                memory_limit=group.settings.memory_limit,
            )
            names += [file.name for file in export.files]
        made = json.loads((source / MANIFEST).read_bytes())
        files = {name: _file_facts(staged / name) for name in names}
        write_json(staged / MANIFEST, made | {"files": files}, sort_keys=True)
        shown = published_manifest(group)
        gives_way = shown is not None and _gives_way(state, shown, made, window)
        withdrawn = [moment_of(shown, name) for name in ("context_end", "window_end")] if shown and gives_way else []
        return group.store.publish_forecast(FORECAST_KEY, staged, moment_of(made, "context_end"), withdrawn=withdrawn)


def _gives_way(state: GroupState, shown: Mapping[str, Any], made: Mapping[str, Any], window: Window) -> bool:
    """Whether the current forecast has to make room for one just made, whatever instant the store keeps of it.

    It has less data behind it or just as much (older stores kept the end of its window), or it saw observations that are
    gone, and the one just made is that of the last observation there is.
    """
    if moment_of(shown, "context_end") <= moment_of(made, "context_end"):
        return True
    gone = timestamp(str(shown["context_end"])) > state.require_manifest().last_timestamp
    return bool(gone) and window == main_windows(state, 0)[0]


def forecast_is_shown(state: GroupState, key: str) -> bool:
    """Whether `forecast/` is whole and the right one to show, `key` being the partition of the last observation."""
    made = forecast_states(state)[key]
    return is_shown(made, shown_state(state, thorough=True), as_datetime(state.require_manifest().last_timestamp))


def shown_state(state: GroupState, *, thorough: bool = False) -> ForecastState | None:
    """The current forecast; None if there is none, or one of its files is missing or damaged.

    Args:
        state: of the group.
        thorough: read the files, to see damage that leaves their size as it was.
    """
    manifest = published_manifest(state.group)
    if manifest is None or not _is_whole(state.group, manifest.get("files", {}), thorough):
        return None
    return state_of(manifest, "shown", state.model_in_use)


def _is_whole(group: Group, files: Mapping[str, Mapping[str, Any]], thorough: bool) -> bool:
    """Whether the files of the current forecast are those that were published; older forecasts don't say which."""
    for name in files or ("forecast.csv", FORECAST):
        there = group.store.head(f"{FORECAST_KEY}/{name}")
        if there is None or (name in files and there.size != files[name]["bytes"]):
            return False
    if not thorough or not files:
        return True
    folder = group.store.snapshot(FORECAST_KEY)
    return all(_file_facts(folder / name) == facts for name, facts in files.items())


def _file_facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}
