"""One dataset group as a value: its settings, the platform's parts that work on it, its place in the asset graph.

Every factory of `defs` takes a `Group`, so that one code location can hold several side by side under key prefixes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.defs.partitions import forecast_partitions
from chronos_assets.settings import Settings

if TYPE_CHECKING:
    from chronos_assets.platforms.base import Endpoints, Jobs, Notices, Registry, Store, Tables, Tuning

PARTS = ("store", "jobs", "tuning", "registry", "endpoints", "tables", "notices")


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
    def store(self) -> Store:
        """Where all files of the group live."""
        if "store" in self.overrides:
            return self.overrides["store"]
        from chronos_assets.platforms.local.store import open_store

        return open_store(self.settings.store)

    @cached_property
    def jobs(self) -> Jobs:
        """Runs workloads."""
        if "jobs" in self.overrides:
            return self.overrides["jobs"]
        from chronos_assets.platforms.local.jobs import LocalJobs

        return LocalJobs(self.store)

    @cached_property
    def tuning(self) -> Tuning:
        """Searches for hyperparameters."""
        if "tuning" in self.overrides:
            return self.overrides["tuning"]
        from chronos_assets.platforms.local.tuning import LocalTuning

        return LocalTuning(self.store)

    @cached_property
    def registry(self) -> Registry:
        """Versions of models."""
        if "registry" in self.overrides:
            return self.overrides["registry"]
        from chronos_assets.platforms.local.registry import LocalRegistry

        return LocalRegistry(self.store)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Serves models."""
        if "endpoints" in self.overrides:
            return self.overrides["endpoints"]
        from chronos_assets.platforms.local.endpoints import LocalEndpoints

        return LocalEndpoints(self.store)

    @cached_property
    def tables(self) -> Tables:
        """The SQL tables."""
        if "tables" in self.overrides:
            return self.overrides["tables"]
        from chronos_assets.platforms.local.tables import LocalTables

        return LocalTables(memory_limit=self.settings.memory_limit)

    @cached_property
    def notices(self) -> Notices:
        """Tells people what a run did."""
        if "notices" in self.overrides:
            return self.overrides["notices"]
        from chronos_assets.platforms.local.notices import LocalNotices

        return LocalNotices(self.store)

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
