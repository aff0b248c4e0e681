"""Dashboard and alarms: over metrics that are measured, and the same in the template as here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from chronos_assets.defs import measurements
from chronos_assets.platforms.aws.dashboard import DAY, alarms, dashboard
from chronos_assets_tests.aws.moto_server import AwsServer
from chronos_assets_tests.aws.request_limits import violations

TEMPLATE = Path(__file__).parents[3] / "docker" / "cloudformation.yaml"
MEASURED = {
    *measurements.SCORES.values(),
    measurements.ITEMS,
    measurements.SECONDS,
    measurements.FAILURES,
    measurements.SUCCESSES,
    measurements.AGE,
}
TOPIC = "arn:aws:sns:us-east-1:123456789012:notices"


class TemplateLoader(yaml.SafeLoader):
    """Reads `!Ref X` as the text ${X}, and `!Sub` as the text that it substitutes in."""


def _function(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return f"${{{value}}}" if name == "Ref" else value
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


TemplateLoader.add_multi_constructor("!", _function)


def template() -> dict[str, Any]:
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), TemplateLoader)["Resources"]  # noqa: S506 - a SafeLoader


def test_the_template_has_this_dashboard() -> None:
    body = template()["Dashboard"]["Properties"]["DashboardBody"]
    assert json.loads(body) == dashboard("${MetricsNamespace}", "${DatasetGroup}", "${AWS::Region}")


def test_the_template_has_these_alarms() -> None:
    resources = template()
    expected = alarms("${MetricsNamespace}", "${DatasetGroup}", "${Topic}", stale_days=1)
    found = [resources[name]["Properties"] for name in ("FailureAlarm", "StaleAlarm")]
    expected[1]["Threshold"] = ["StaleGiven", "${StaleDays}", ["AgeOfForecasts", "${Partitions}", "Days"]]
    assert found == expected


def test_everything_that_is_shown_is_measured() -> None:
    text = json.dumps(dashboard("N", "shop", "us-east-1"))
    shown = set(re.findall(r'\["N", "(\w+)", "DataSet", "shop"', text))
    searched = set(re.findall(r'MetricName=(?:\\+")?(\w+)', text))
    assert shown | searched == MEASURED
    assert {alarm["MetricName"] for alarm in alarms("N", "shop", TOPIC, 2)} <= MEASURED


def test_cloudwatch_takes_them(aws: AwsServer) -> None:
    cloudwatch = aws.clients()("cloudwatch")
    body = json.dumps(dashboard("ChronosAssets", "shop", "us-east-1"))
    cloudwatch.put_dashboard(DashboardName="shop", DashboardBody=body)
    for alarm in alarms("ChronosAssets", "shop", TOPIC, 7):
        assert violations("cloudwatch", "PutMetricAlarm", alarm) == []
        # CloudWatch looks back no further.
        assert alarm["Period"] * alarm["EvaluationPeriods"] <= 7 * DAY
        cloudwatch.put_metric_alarm(**alarm)
    made = cloudwatch.describe_alarms(AlarmNamePrefix="shop-")["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in made] == ["shop-failures", "shop-stale"]
