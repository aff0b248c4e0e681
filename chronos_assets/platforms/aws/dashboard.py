"""The CloudWatch dashboard of a data set, and the alarms on failures and on staleness.

Belongs here: their documents, as functions of names alone. `docker/cloudformation.yaml` holds the same; a test keeps
them equal. Does not belong here: what the metrics mean (`defs.measurements`) or how they are put (`metrics`).

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

from typing import Any

DAY = 86_400
HOUR = 3_600

_WIDTH, _HEIGHT = 12, 6  # a dashboard is 24 units wide


def dashboard(namespace: str, data_set: str, region: str) -> dict[str, Any]:
    """Body of the dashboard: accuracy, quantile by quantile and model by model, and what the runs did.

    Args:
        namespace: of the metrics, `CHRONOS_METRICS_NAMESPACE`.
        data_set: name of the dataset group.
        region: where the metrics are.
    """
    scope = f'{{{namespace},DataSet}} DataSet="{data_set}"'
    by_model = f'{{{namespace},DataSet,Model}} DataSet="{data_set}"'
    graphs = [
        # A partial match: WQL and every quantile's own, whichever are forecast.
        ("wQL, overall and by quantile", [_search(f"{scope} MetricName=WQL", "Average", DAY)]),
        ("wQL by model", [_search(f'{by_model} MetricName="WQL"', "Average", DAY)]),
        ("MASE and WAPE", [_metric(namespace, name, data_set, "Average", DAY) for name in ("MASE", "WAPE")]),
        ("RMSE", [_metric(namespace, "RMSE", data_set, "Average", DAY)]),
        ("Items in the current forecast", [_metric(namespace, "Items", data_set, "Maximum", DAY)]),
        ("Seconds of a forecast job", [_metric(namespace, "Seconds", data_set, "Maximum", HOUR)]),
        ("Runs", [_metric(namespace, name, data_set, "Sum", HOUR) for name in ("Successes", "Failures")]),
        ("Age of the current forecast, days", [_metric(namespace, "ForecastAge", data_set, "Maximum", HOUR)]),
    ]
    return {
        "widgets": [
            {
                "type": "metric",
                "x": place % 2 * _WIDTH,
                "y": place // 2 * _HEIGHT,
                "width": _WIDTH,
                "height": _HEIGHT,
                "properties": {"title": title, "region": region, "view": "timeSeries", "metrics": metrics},
            }
            for place, (title, metrics) in enumerate(graphs)
        ]
    }


def _metric(namespace: str, name: str, data_set: str, statistic: str, period: int) -> list[Any]:
    return [namespace, name, "DataSet", data_set, {"stat": statistic, "period": period}]


def _search(what: str, statistic: str, period: int) -> list[Any]:
    return [{"expression": f"SEARCH('{what}', '{statistic}', {period})"}]


def alarms(namespace: str, data_set: str, topic: str, stale_days: int) -> list[dict[str, Any]]:
    """The alarms, as PutMetricAlarm and CloudFormation take them: runs failed; no new current forecast for days.

    Args:
        namespace: of the metrics, `CHRONOS_METRICS_NAMESPACE`.
        data_set: name of the dataset group.
        topic: ARN of the SNS topic that is notified.
        stale_days: how old the current forecast may be. Its age is reported each hour, since CloudWatch itself looks back no
            further than 7 days, and a monthly forecast is older than that.
    """
    common = {
        "Namespace": namespace,
        "Dimensions": [{"Name": "DataSet", "Value": data_set}],
        "AlarmActions": [topic],
        "OKActions": [topic],
    }
    return [
        {
            "AlarmName": f"{data_set}-failures",
            "AlarmDescription": "A run of the data set failed: see the notice, or the runs in Dagster",
            "MetricName": "Failures",
            "Statistic": "Sum",
            "Period": HOUR,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            **common,
        },
        {
            "AlarmName": f"{data_set}-stale",
            "AlarmDescription": (
                "The current forecast is old, or Dagster's daemon is silent: see whether train files arrive, and the runs"
            ),
            "MetricName": "ForecastAge",
            "Statistic": "Maximum",
            "Period": DAY,
            "EvaluationPeriods": 2,
            "Threshold": stale_days,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "breaching",
            **common,
        },
    ]
