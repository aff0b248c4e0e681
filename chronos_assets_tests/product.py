"""`chronos-assets run --no-training --data FOLDER` within the test's process: what it says, and what it publishes.

The same steps as the command takes, on a tiny model; forecasts are made here instead of in a process of their own, and the
SQL tables stay empty.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from chronos_assets.cli.common import settings_for
from chronos_assets.cli.copying import copy_data
from chronos_assets.cli.summary import print_summary
from chronos_assets.definitions import group_definitions
from chronos_assets.defs.launcher import Launcher
from chronos_assets.defs.main_job import run_main_job
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.run_settings import remember_training
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.window_settings import choose_windows, follow_data
from chronos_assets.store_layout import DATASET_KEY
from chronos_assets.timeseries.dataset.shards import iter_series, list_shards
from chronos_assets_tests.defs.line import Line
from chronos_assets_tests.defs.quick_jobs import NoTables, QuickJobs
from chronos_assets_tests.models.tiny import folder_of


@dataclass(frozen=True)
class Outcome:
    """What a run did. said: everything that the user reads. error: why it failed, empty if it didn't."""

    said: str
    error: str = ""


class Product:
    """A data folder, its store, and the commands on both.

    Args:
        root: gets `data`, with a `train` folder, and `store`.
        instance: Dagster's.
        env: variables of the commands.
    """

    def __init__(self, root: Path, instance: dg.DagsterInstance, env: Mapping[str, str] | None = None) -> None:
        self.data, self.store = root / "data", root / "store"
        self.instance = instance
        self._env = {"CHRONOS_STORE": str(self.store), "CHRONOS_BASE_MODEL": str(folder_of("bolt")), **(env or {})}
        (self.data / "train").mkdir(parents=True, exist_ok=True)

    def put(self, name: str, content: str | bytes) -> Path:
        """Write a file of the data folder."""
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @property
    def group(self) -> Group:
        """The group as the next command finds it."""
        group = Group(settings_for(self.data, self._env))
        group.overrides.update(jobs=QuickJobs(group.store), tables=NoTables())
        return group

    def line(self) -> Line:
        """The group, and its definitions."""
        group = self.group
        return Line(group, self.instance, group_definitions(group))

    def run(self, backtest: int = 0) -> Outcome:
        """`run --no-training --backtest-windows N --data DATA`."""
        text = io.StringIO()
        try:
            with redirect_stdout(text):
                self._run(backtest)
        except ChronosAssetsError as error:
            return Outcome(text.getvalue() + str(error), str(error))
        return Outcome(text.getvalue())

    def _run(self, backtest: int) -> None:
        group = self.group
        sys.stdout.writelines(f"{line}\n" for line in copy_data(self.data, group).lines())
        group = replace(group, settings=choose_windows(group, self._env, for_good=False))
        remember_training(group, False)
        launcher = Launcher(group, group_definitions(group), self.instance)
        result = run_main_job(launcher, backtest_windows=backtest, train=False, reopen=self._starting_with_data)
        print_summary(group, result, self.data)

    def _starting_with_data(self, group: Group) -> tuple[Group, dg.Definitions] | None:
        settings = follow_data(group, self._env)
        if settings == group.settings:
            return None
        group = replace(group, settings=settings)
        return group, group_definitions(group)

    @property
    def state(self) -> GroupState:
        """What the store says now."""
        return GroupState(self.group)

    @property
    def frequency(self) -> str:
        """What forecasts are made by."""
        return str(self.state.params.frequency)

    def forecast(self, kind: str = "p50") -> list[dict[str, str]]:
        """Rows of `forecast.csv` of one type, in order; the row of the last observation is the first of each series."""
        with (self.store / "forecast" / "forecast.csv").open() as file:
            return [row for row in csv.DictReader(file) if row["type"] == kind]

    def dates(self) -> list[str]:
        """Timestamps of the first series of `forecast.csv`, the last observation's first, as they are written."""
        params = self.state.params
        names = [name for name in (params.item_column, *params.dimensions) if name is not None]
        rows = self.forecast()
        first = [rows[0][name] for name in names]
        return [row[params.timestamp_column] for row in rows if [row[name] for name in names] == first]

    def values(self) -> list[float]:
        """Numbers of the first series, in step with `dates`."""
        name = self.state.params.target_column
        return [float(row[name]) for row in self.forecast()[: len(self.dates())]]

    def observed(self) -> dict[str, float]:
        """The dataset's observations of its first series, by timestamp."""
        for shard in list_shards(self.group.store.snapshot(DATASET_KEY)):
            for series in iter_series(shard, self.state.params.dimensions):
                pairs = zip(series.timestamps.tolist(), series.target.tolist(), strict=True)
                return {moment.isoformat(): value for moment, value in pairs if not math.isnan(value)}
        raise AssertionError("the dataset has no series")
