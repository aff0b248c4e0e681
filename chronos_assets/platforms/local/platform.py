"""The laptop's parts, joined: which class is which part, and what it is given of the settings.

Nothing is imported before it is used, so that loading the definitions stays quick.
"""

from __future__ import annotations

from chronos_assets.platforms.endpoints import Endpoints
from chronos_assets.platforms.jobs import Jobs
from chronos_assets.platforms.metrics import Metrics
from chronos_assets.platforms.notices import Notices
from chronos_assets.platforms.registry import Registry
from chronos_assets.platforms.store import Store
from chronos_assets.platforms.tables import Tables
from chronos_assets.platforms.tuning import Tuning
from chronos_assets.settings import Settings


class LocalPlatform:
    """`Platform` of this machine: files, processes, a server on the loopback address, DuckDB, a log."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def store(self) -> Store:
        """See `Platform.store`."""
        from chronos_assets.platforms.local.store import open_store

        return open_store(self._settings.store)

    def jobs(self, store: Store) -> Jobs:
        """See `Platform.jobs`."""
        from chronos_assets.platforms.local.jobs import LocalJobs

        return LocalJobs(store)

    def tuning(self, store: Store) -> Tuning:
        """See `Platform.tuning`."""
        from chronos_assets.platforms.local.tuning import LocalTuning

        return LocalTuning(store)

    def registry(self, store: Store) -> Registry:
        """See `Platform.registry`."""
        from chronos_assets.platforms.local.registry import LocalRegistry

        return LocalRegistry(store)

    def endpoints(self, store: Store) -> Endpoints:
        """See `Platform.endpoints`."""
        from chronos_assets.platforms.local.endpoints import LocalEndpoints

        return LocalEndpoints(store)

    def tables(self) -> Tables:
        """See `Platform.tables`."""
        from chronos_assets.platforms.local.tables import LocalTables

        return LocalTables(memory_limit=self._settings.memory_limit)

    def notices(self, store: Store) -> Notices:
        """See `Platform.notices`."""
        from chronos_assets.platforms.local.notices import LocalNotices

        return LocalNotices(store)

    def metrics(self) -> Metrics:
        """See `Platform.metrics`."""
        from chronos_assets.platforms.local.metrics import NoMetrics

        return NoMetrics()

    def train_queue(self, store: Store) -> None:
        """See `Platform.train_queue`."""

    def model_queue(self) -> None:
        """See `Platform.model_queue`: whoever decides here lets the endpoint follow at once."""
