"""Dashboard and alarms of docker/cloudformation.yaml, which alone has them: over what is measured, as CloudWatch takes them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from chronos_assets.defs import measurements
from chronos_assets_tests.aws.moto_server import AwsServer
from chronos_assets_tests.aws.request_limits import violations
from chronos_assets_tests.docker.template import REGION, load, resolved

DAY = 86_400
MEASURED = {
    *measurements.SCORES.values(),
    measurements.ITEMS,
    measurements.SECONDS,
    measurements.FAILURES,
    measurements.SUCCESSES,
    measurements.AGE,
}
TOPIC = "arn:aws:sns:us-east-1:123456789012:notices"
NAMES = {"MetricsNamespace": "Ours", "DatasetGroup": "shop", "Topic": TOPIC, "StaleDays": "3"}


def made(resource: str) -> dict[str, Any]:
    """Properties of a resource of the template, for the data set `shop`."""
    found: dict[str, Any] = resolved(load()["Resources"][resource]["Properties"], NAMES)
    return found


def dashboard() -> dict[str, Any]:
    body: dict[str, Any] = json.loads(made("Dashboard")["DashboardBody"])
    return body


def alarms() -> list[dict[str, Any]]:
    """The alarms as PutMetricAlarm takes them: CloudFormation reads numbers from texts."""
    texts = [made(name) for name in ("FailureAlarm", "StaleAlarm")]
    return [{**alarm, "Threshold": float(alarm["Threshold"])} for alarm in texts]


@pytest.mark.process
def test_everything_that_is_shown_is_measured() -> None:
    text = json.dumps(dashboard())
    shown = set(re.findall(r'\["Ours", "(\w+)", "DataSet", "shop"', text))
    searched = set(re.findall(r'MetricName=(?:\\+")?(\w+)', text))
    assert shown | searched == MEASURED
    assert set(re.findall(r'DataSet=\\+"(\w+)', text)) == {"shop"}
    assert {widget["properties"]["region"] for widget in dashboard()["widgets"]} == {REGION}


def test_the_widgets_of_the_dashboard_do_not_overlap() -> None:
    places = [(widget["x"], widget["y"]) for widget in dashboard()["widgets"]]
    assert places == [(12 * (number % 2), 6 * (number // 2)) for number in range(len(places))]
    assert {(widget["width"], widget["height"]) for widget in dashboard()["widgets"]} == {(12, 6)}


def test_somebody_is_notified_of_a_failed_run_and_of_an_old_forecast_or_silence() -> None:
    failures, stale = alarms()
    for alarm in (failures, stale):
        assert alarm["Namespace"] == "Ours"
        assert alarm["Dimensions"] == [{"Name": "DataSet", "Value": "shop"}]
        assert alarm["AlarmActions"] == alarm["OKActions"] == [TOPIC]
    assert (failures["MetricName"], failures["Statistic"]) == (measurements.FAILURES, "Sum")
    assert (failures["Threshold"], failures["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert failures["TreatMissingData"] == "notBreaching"
    assert (stale["MetricName"], stale["Statistic"]) == (measurements.AGE, "Maximum")
    assert (stale["Threshold"], stale["ComparisonOperator"]) == (3, "GreaterThanThreshold")
    assert stale["TreatMissingData"] == "breaching"


def test_cloudwatch_takes_them(aws: AwsServer) -> None:
    cloudwatch = aws.clients()("cloudwatch")
    cloudwatch.put_dashboard(DashboardName="shop", DashboardBody=json.dumps(dashboard()))
    for alarm in alarms():
        assert violations("cloudwatch", "PutMetricAlarm", alarm) == []
        # CloudWatch looks back no further.
        assert alarm["Period"] * alarm["EvaluationPeriods"] <= 7 * DAY
        cloudwatch.put_metric_alarm(**alarm)
    there = cloudwatch.describe_alarms(AlarmNamePrefix="shop-")["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in there] == ["shop-failures", "shop-stale"]
