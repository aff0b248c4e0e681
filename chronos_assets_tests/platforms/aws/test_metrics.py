"""Metrics in CloudWatch: what can be read back, and what CloudWatch would not take."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chronos_assets.platforms.aws.metrics import CloudWatchMetrics, data
from chronos_assets.platforms.metrics import Measurement, MetricsError
from chronos_assets_tests.aws.moto_server import AwsServer

NOW = datetime.now(UTC)


def read(aws: AwsServer, name: str, **dimensions: str) -> list[float]:
    statistics = aws.clients()("cloudwatch").get_metric_statistics(
        Namespace="ChronosAssets",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=NOW - timedelta(days=20),
        EndTime=NOW + timedelta(days=1),
        Period=60,
        Statistics=["Maximum"],  # moto sums up metrics with further dimensions, too
    )
    return [point["Maximum"] for point in statistics["Datapoints"]]


def test_a_measurement_is_kept_by_data_set_and_by_model(aws: AwsServer) -> None:
    metrics = CloudWatchMetrics(aws.clients(), "ChronosAssets")
    metrics.put("shop", [Measurement("WQL", 0.25, NOW, model="bolt"), Measurement("Failures", 1.0, NOW, "Count")])
    assert read(aws, "WQL", DataSet="shop") == [0.25]
    assert read(aws, "WQL", DataSet="shop", Model="bolt") == [0.25]
    assert read(aws, "Failures", DataSet="shop") == [1.0]
    assert read(aws, "Failures", DataSet="other") == []
    metrics.put("shop", [])


def test_what_cloudwatch_takes_no_more_is_left_out_and_reported(
    aws: AwsServer, caplog: pytest.LogCaptureFixture
) -> None:
    old, early = NOW - timedelta(days=15), NOW + timedelta(hours=5)
    with caplog.at_level(logging.WARNING):
        CloudWatchMetrics(aws.clients(), "ChronosAssets").put(
            "shop", [Measurement("Items", float(value), at) for value, at in enumerate((old, NOW, early))]
        )
    assert read(aws, "Items", DataSet="shop") == [1.0]
    assert "2 of 3 measurements of shop are left out" in caplog.text


class Requests:
    """Stands for a client, and keeps what it is asked to put."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def put_metric_data(self, Namespace: str, MetricData: list[Any]) -> None:  # noqa: N803 - boto3's name
        self.sizes.append(len(MetricData))


@pytest.mark.parametrize("model", ["", "m" * 3000])
def test_requests_keep_the_limits(model: str) -> None:
    requests = Requests()
    metrics = CloudWatchMetrics(lambda _: requests, "ChronosAssets")  # type: ignore[arg-type]
    metrics.put("shop", [Measurement("Items", 1.0, NOW, model=model)] * 2500)
    assert sum(requests.sizes) == (5000 if model else 2500)
    assert max(requests.sizes) <= 1000
    # Half of the data have a model: a name in URL encoding, and the fields' own names.
    assert max(requests.sizes) * (700 + (3 * 1024 if model else 0) / 2) < 1_000_000


def test_names_become_values_that_a_dimension_may_have() -> None:
    (one, both) = data("größe", Measurement("WQL", 1.0, NOW, model=" m " * 1000))
    assert one["Dimensions"] == [{"Name": "DataSet", "Value": "gr??e"}]
    assert len(both["Dimensions"][1]["Value"]) == 1024


@pytest.mark.parametrize(
    ("code", "fix"), [("AccessDenied", "cloudwatch:PutMetricData"), ("ExpiredToken", ": renew the credentials")]
)
def test_a_refusal_names_the_fix(aws: AwsServer, code: str, fix: str) -> None:
    aws.faults.refuse("PutMetricData", code, "no")
    with pytest.raises(MetricsError, match=rf"CloudWatch refused .*{fix}"):
        CloudWatchMetrics(aws.clients(), "ChronosAssets").put("shop", [Measurement("WQL", 1.0, NOW)])
