"""boto3 clients, made when they are first asked for: loading the definitions must not import boto3's service models.

Here: how clients are configured. Credentials and endpoints are left to boto3: environment variables
(`AWS_PROFILE`, `AWS_ENDPOINT_URL`, ...), profiles, the role of the task.
"""

from __future__ import annotations

import threading
from typing import Any

from chronos_assets.settings import Settings

# Describe calls of many jobs share one quota per account: botocore waits, with jitter, and tries again.
RETRIES = {"mode": "standard", "max_attempts": 8}
CONNECT_SECONDS, READ_SECONDS = 10, 60


class AwsClients:
    """Clients of one region, each made once; safe to share between threads.

    Args:
        region: name of the region; boto3's own choice if not given.
        **given: clients to use as they are, by service name.
    """

    def __init__(self, region: str | None = None, **given: Any) -> None:
        self._region = region
        self._clients = dict(given)
        self._lock = threading.Lock()

    def __call__(self, service: str) -> Any:
        """The client of a service, by boto3's name for it (`s3`, `sagemaker`, `logs`, ...)."""
        with self._lock:
            if service not in self._clients:
                import boto3
                from botocore.config import Config

                config = Config(retries=RETRIES, connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
                self._clients[service] = boto3.client(service, region_name=self._region, config=config)
            return self._clients[service]


def clients_of(settings: Settings) -> AwsClients:
    """Clients of the deployment's region."""
    return AwsClients(settings.aws.region or None)
