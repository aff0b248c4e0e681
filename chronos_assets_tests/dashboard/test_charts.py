"""Charts: what a tooltip says doesn't depend on the browser."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from chronos_assets.dashboard import charts
from chronos_assets.dashboard.queries import TableShape

NIGHT = pd.date_range("2024-03-31 01:00", periods=4, freq="h")  # 02:00 is skipped in Berlin


def test_tooltips_have_the_time_as_a_text_since_a_browsers_zone_may_skip_it() -> None:
    values = pd.DataFrame({"timestamp": NIGHT, "value": np.arange(4.0)})
    forecast = values.assign(middle=1.0, p10=0.0, p90=2.0)[["timestamp", "middle", "p10", "p90"]]
    odd = values.assign(low=0.0, high=1.0)
    shape = TableShape(("item_id",), ("p10", "p90"), "middle")
    drawn = {
        "hover": charts.series_chart(values, forecast, shape),
        "anomalies": charts.series_chart(values, forecast, shape, anomalies=odd),
        "values": charts.attribute_chart(values, "value", numbers=True),
        "lines": charts.scenario_chart(values, values.assign(what_if=1.0, baseline=2.0)),
    }
    for name, chart in drawn.items():
        assert {"2024-03-31 02:00", "2024-03-31 03:00"} <= set(chart.data[name][charts.TIME])
        tooltips = [tooltip for tooltip in _tooltips(chart.whole()) if tooltip["type"] == "temporal"]
        assert not tooltips, json.dumps(tooltips)


def _tooltips(node: object) -> list[dict[str, str]]:
    """Every part of a tooltip, however deep."""
    if isinstance(node, list):
        return [found for child in node for found in _tooltips(child)]
    if not isinstance(node, dict):
        return []
    own = node.get("tooltip")
    return [*(own if isinstance(own, list) else []), *_tooltips([value for value in node.values() if value is not own])]
