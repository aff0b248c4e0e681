"""A platform: the parts that a group is made of."""

from __future__ import annotations

from typing import Protocol

from chronos_assets.platforms.endpoints import Endpoints
from chronos_assets.platforms.jobs import Jobs
from chronos_assets.platforms.metrics import Metrics
from chronos_assets.platforms.news_queue import NewsQueue
from chronos_assets.platforms.notices import Notices
from chronos_assets.platforms.registry import Registry
from chronos_assets.platforms.store import Store
from chronos_assets.platforms.tables import Tables
from chronos_assets.platforms.tuning import Tuning


class Platform(Protocol):
    """Makes the parts of a dataset group; each is made once, when it is first used."""

    def store(self) -> Store:
        """Where all files live."""

    def jobs(self, store: Store) -> Jobs:
        """Runs workloads."""

    def tuning(self, store: Store) -> Tuning:
        """Searches for hyperparameters."""

    def registry(self, store: Store) -> Registry:
        """Versions of models."""

    def endpoints(self, store: Store) -> Endpoints:
        """Serves models."""

    def tables(self) -> Tables:
        """The SQL tables."""

    def notices(self, store: Store) -> Notices:
        """Notifies people what a run did."""

    def metrics(self) -> Metrics:
        """Keeps numbers."""

    def train_queue(self, store: Store) -> NewsQueue | None:
        """Reports changes below `train/`; None where only a listing does."""

    def model_queue(self) -> NewsQueue | None:
        """Reports decisions about versions of the model; None where only the registry knows."""
