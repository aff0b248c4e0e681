"""One dataset group as a value: its settings, the platform's parts that work on it, its place in the asset graph.

Every factory of `defs` takes a `Group`, so that one code location can hold several side by side under key prefixes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.pipeline.partitions import forecast_partitions
from chronos_assets.platforms.endpoints import Endpoints
from chronos_assets.platforms.jobs import Jobs
from chronos_assets.platforms.metrics import Metrics
from chronos_assets.platforms.news_queue import NewsQueue
from chronos_assets.platforms.notices import Notices
from chronos_assets.platforms.platform import Platform
from chronos_assets.platforms.registry import Registry
from chronos_assets.platforms.store import Store, StoreError
from chronos_assets.platforms.tables import Tables
from chronos_assets.platforms.tuning import Tuning
from chronos_assets.settings import Settings

PARTS = (
    "store",
    "jobs",
    "tuning",
    "registry",
    "endpoints",
    "tables",
    "notices",
    "metrics",
    "train_queue",
    "model_queue",
)


@dataclass(frozen=True)
class Group:
    """A dataset group.

    The platform's parts are opened on first use, so that loading the definitions touches neither disk nor network;
    `overrides` replaces any of them (`PARTS`), as tests and other platforms do.
    """

    settings: Settings
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.overrides) - set(PARTS))
        if unknown:
            raise TypeError(f"a group has no part called {', '.join(unknown)}: it has {', '.join(PARTS)}")

    @cached_property
    def _platform(self) -> Platform:
        """What makes the parts that are not given."""
        if self.settings.deployment == "aws":
            from chronos_assets.platforms.aws.platform import AwsPlatform

            return AwsPlatform(self.settings)
        from chronos_assets.platforms.local.platform import LocalPlatform

        return LocalPlatform(self.settings)

    @cached_property
    def store(self) -> Store:
        """Where all files of the group live."""
        return self.overrides["store"] if "store" in self.overrides else self._platform.store()

    @cached_property
    def jobs(self) -> Jobs:
        """Runs workloads."""
        return self.overrides["jobs"] if "jobs" in self.overrides else self._platform.jobs(self.store)

    @cached_property
    def tuning(self) -> Tuning:
        """Searches for hyperparameters."""
        return self.overrides["tuning"] if "tuning" in self.overrides else self._platform.tuning(self.store)

    @cached_property
    def registry(self) -> Registry:
        """Versions of models."""
        return self.overrides["registry"] if "registry" in self.overrides else self._platform.registry(self.store)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Serves models."""
        return self.overrides["endpoints"] if "endpoints" in self.overrides else self._platform.endpoints(self.store)

    @cached_property
    def tables(self) -> Tables:
        """The SQL tables."""
        return self.overrides["tables"] if "tables" in self.overrides else self._platform.tables()

    @cached_property
    def notices(self) -> Notices:
        """Notifies people what a run did."""
        return self.overrides["notices"] if "notices" in self.overrides else self._platform.notices(self.store)

    @cached_property
    def metrics(self) -> Metrics:
        """Keeps numbers for dashboards and alarms outside of Dagster."""
        return self.overrides["metrics"] if "metrics" in self.overrides else self._platform.metrics()

    @cached_property
    def train_queue(self) -> NewsQueue | None:
        """Reports changes below `train/`; None where only a listing does."""
        return (
            self.overrides["train_queue"] if "train_queue" in self.overrides else self._platform.train_queue(self.store)
        )

    @cached_property
    def model_queue(self) -> NewsQueue | None:
        """Reports decisions about versions of the model; None where only the registry knows."""
        return self.overrides["model_queue"] if "model_queue" in self.overrides else self._platform.model_queue()

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's storage: `DAGSTER_HOME`, else the package's own."""
        if self.settings.dagster_home:
            return Path(self.settings.dagster_home).expanduser()
        return self.own_dagster_home

    @property
    def own_dagster_home(self) -> Path:
        """The folder of Dagster's storage that the package tidies: inside a local store, else in the working directory."""
        from chronos_assets.platforms.local.store import store_folder

        return (store_folder(self.settings.store) or Path()) / ".dagster"

    @cached_property
    def partitions(self) -> dg.TimeWindowPartitionsDefinition:
        """Time windows of the forecasts."""
        return forecast_partitions(self.settings)

    def key(self, name: str) -> dg.AssetKey:
        """Asset key of `name` under the group's prefix."""
        return dg.AssetKey([*self.settings.key_prefix, name])

    def named(self, name: str) -> str:
        """Name of a job or sensor of the group: unique in the code location."""
        return "_".join([*self.settings.key_prefix, name])

    def place(self, key: str) -> str:
        """Where an object or folder of the store is, for people: a path on this machine, or a URL."""
        try:
            return str(self.store.local_path(key))
        except StoreError:
            return self.store.uri(key)

    def read_json(self, key: str) -> dict[str, Any] | None:
        """The object in a JSON file of the store; None if there is no file, or none that holds one."""
        try:
            document = json.loads(self.store.get(key))
        except (FileNotFoundError, ValueError):
            return None
        return document if isinstance(document, dict) else None
