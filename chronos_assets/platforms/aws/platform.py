"""The parts on AWS, joined: which class is which part, and what it is given of the settings.

Nothing is imported before it is used, so that loading the definitions imports no boto3 and makes no client.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from chronos_assets.platforms.aws.clients import AwsClients, clients_of
from chronos_assets.platforms.endpoints import Endpoints
from chronos_assets.platforms.jobs import Jobs
from chronos_assets.platforms.metrics import Metrics
from chronos_assets.platforms.news_queue import NewsQueue
from chronos_assets.platforms.notices import Notices
from chronos_assets.platforms.registry import Registry
from chronos_assets.platforms.store import Store
from chronos_assets.platforms.tables import Tables
from chronos_assets.platforms.tuning import Tuning
from chronos_assets.settings import Settings

if TYPE_CHECKING:
    from chronos_assets.platforms.aws.deployment import AwsDeployment
    from chronos_assets.platforms.aws.store import S3Store


def code_location(settings: Settings) -> str:
    """What everything that is made on AWS is tagged with, so that it is found again: this group's part of the account."""
    return "-".join(["chronos-assets", *settings.key_prefix]).replace("_", "-")


def cache_folder(settings: Settings) -> Path:
    """Folder of this machine for copies of the store's objects."""
    return Path(settings.aws.cache or "~/.cache/chronos-assets").expanduser()


def deployment(settings: Settings, store: Store, clients: AwsClients | None = None) -> AwsDeployment:
    """A group's place in its account; with clients that were made before."""
    from chronos_assets.platforms.aws.deployment import AwsDeployment

    return AwsDeployment(clients or clients_of(settings), _s3(store), settings.aws, code_location(settings))


class AwsPlatform:
    """`Platform` of an account: S3, SageMaker, Glue and Athena, SNS, CloudWatch."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def clients(self) -> AwsClients:
        """Clients that all parts share."""
        return clients_of(self._settings)

    def store(self) -> Store:
        """See `Platform.store`."""
        from chronos_assets.platforms.aws.store import S3Store

        aws = self._settings.aws
        return S3Store(self._settings.store, cache=cache_folder(self._settings), kms_key=aws.kms_key)

    def jobs(self, store: Store) -> Jobs:
        """See `Platform.jobs`."""
        from chronos_assets.platforms.aws.jobs import SageMakerJobs

        return SageMakerJobs(deployment(self._settings, store, self.clients))

    def tuning(self, store: Store) -> Tuning:
        """See `Platform.tuning`."""
        from chronos_assets.platforms.aws.tuning import SageMakerTuning

        return SageMakerTuning(deployment(self._settings, store, self.clients))

    def registry(self, store: Store) -> Registry:
        """See `Platform.registry`."""
        from chronos_assets.platforms.aws.registry import SageMakerRegistry

        return SageMakerRegistry(deployment(self._settings, store, self.clients))

    def endpoints(self, store: Store) -> Endpoints:
        """See `Platform.endpoints`."""
        from chronos_assets.platforms.aws.endpoints import SageMakerEndpoints

        return SageMakerEndpoints(deployment(self._settings, store, self.clients))

    def tables(self) -> Tables:
        """See `Platform.tables`."""
        from chronos_assets.platforms.aws.tables import AthenaTables

        return AthenaTables(self.clients, self._settings.aws)

    def notices(self, store: Store) -> Notices:
        """See `Platform.notices`."""
        from chronos_assets.platforms.aws.notices import SnsNotices

        return SnsNotices(self.clients, _s3(store), self._settings.aws.topic)

    def metrics(self) -> Metrics:
        """See `Platform.metrics`."""
        from chronos_assets.platforms.aws.metrics import CloudWatchMetrics

        return CloudWatchMetrics(self.clients, self._settings.aws.metrics_namespace)

    def train_queue(self, store: Store) -> NewsQueue | None:
        """See `Platform.train_queue`."""
        from chronos_assets.platforms.aws.train_queue import SqsTrainQueue

        url, s3 = self._settings.aws.train_queue, _s3(store)
        return (
            SqsTrainQueue(
                self.clients, url, bucket=s3.bucket, prefix=s3.prefix, visibility_seconds=self._hidden_seconds
            )
            if url
            else None
        )

    def model_queue(self) -> NewsQueue | None:
        """See `Platform.model_queue`."""
        from chronos_assets.platforms.aws.model_queue import SqsModelQueue

        url = self._settings.aws.model_queue
        return SqsModelQueue(self.clients, url, visibility_seconds=self._hidden_seconds) if url else None

    @property
    def _hidden_seconds(self) -> int:
        """How long a message is hidden from other looks: longer than until the next one, which deletes it."""
        return max(300, 4 * self._settings.sensor_interval_seconds)


def _s3(store: Store) -> S3Store:
    """The store as what jobs can reach; settings refuse another one with this platform."""
    return cast("S3Store", store)
