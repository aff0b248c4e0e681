"""Metrics in CloudWatch: each measurement by data set, and by data set and model.

Here: PutMetricData and its limits. Elsewhere: what is measured (`defs.measurements`), the dashboard and
the alarms (`docker/cloudformation.yaml`).

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.sagemaker.faults import fix_of, is_expired
from chronos_assets.platforms.metrics import Measurement, MetricsError

MAX_DATA = 1000  # of one request
MAX_BYTES = 900_000  # of 1 MB, by the estimate of `_size`
# CloudWatch takes no older ones, and none further ahead; an hour of room for the way there.
OLDEST, AHEAD = timedelta(days=14) - timedelta(hours=1), timedelta(hours=1)
MAX_DIMENSION = 1024

logger = logging.getLogger(__name__)


class CloudWatchMetrics:
    """`Metrics` in a namespace."""

    def __init__(self, clients: AwsClients, namespace: str) -> None:
        self._clients = clients
        self._namespace = namespace

    def put(self, group: str, measurements: Sequence[Measurement]) -> None:
        """See `Metrics.put`. What CloudWatch takes no more, because of its time, is left out and logged."""
        now = datetime.now(UTC)
        timely = [item for item in measurements if now - OLDEST <= item.at <= now + AHEAD]
        if len(timely) < len(measurements):
            logger.warning(
                "%d of %d measurements of %s are left out: CloudWatch takes none older than two weeks, or of later",
                len(measurements) - len(timely),
                len(measurements),
                group,
            )
        try:
            for batch in _batches([datum for item in timely for datum in data(group, item)]):
                self._clients("cloudwatch").put_metric_data(Namespace=self._namespace, MetricData=batch)
        except (BotoCoreError, ClientError) as error:
            fix = "; allow this identity cloudwatch:PutMetricData there, or correct CHRONOS_METRICS_NAMESPACE"
            raise MetricsError(
                f"CloudWatch refused metrics of {group} in the namespace {self._namespace}: {error}"
                f"{fix_of(error) if is_expired(error) else fix}"
            ) from error


def data(group: str, item: Measurement) -> Iterator[dict[str, Any]]:
    """The data of a measurement: one of the data set and, where a model made it, one of both."""
    data_set = {"Name": "DataSet", "Value": _dimension(group)}
    model = {"Name": "Model", "Value": _dimension(item.model)}
    for dimensions in ([data_set], [data_set, model])[: 2 if item.model else 1]:
        yield {
            "MetricName": item.name,
            "Dimensions": dimensions,
            "Timestamp": item.at,
            "Value": item.value,
            "Unit": item.unit,
        }


def _dimension(text: str) -> str:
    """A text as the value of a dimension: ASCII, not empty, not too long."""
    return text.encode("ascii", "replace").decode().strip()[:MAX_DIMENSION] or "-"


def _batches(items: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The data in requests that CloudWatch takes."""
    batch: list[dict[str, Any]] = []
    size = 0
    for item in items:
        if batch and (len(batch) == MAX_DATA or size + _size(item) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += _size(item)
    if batch:
        yield batch


def _size(item: dict[str, Any]) -> int:
    """Bytes of a datum in a request, at most: texts in URL encoding, and the names of their fields."""
    return 700 + 3 * sum(len(dimension["Value"]) for dimension in item["Dimensions"])
