"""The endpoint's page for people: what is served, a sample forecast, and how to call it.

Here: HTML, self-contained, with every text escaped. Elsewhere: HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from chronos_assets.serving.schema import Parameters, Prediction, SeriesInput
from chronos_assets.timeseries.arrays import Floats

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_CURL_VALUES = 24

_WIDTH, _HEIGHT, _LEFT = 720, 220, 60
_LINE = 'fill="none" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round"'
_PAST, _MIDDLE = f'{_LINE} stroke="#888"', f'{_LINE} stroke="#36f"'
_BAND = 'fill="#36f" fill-opacity=".25"'

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; }
table { border-collapse: collapse; margin: 1rem 0; }
td { padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
td:first-child { color: #888; }
svg { width: 100%; height: auto; border: 1px solid #8884; border-radius: 6px; }
pre { background: #8882; padding: .8rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class SampleAnswer:
    """A request's document, its first series, and that series' forecast."""

    document: Mapping[str, Any]
    series: SeriesInput
    parameters: Parameters
    prediction: Prediction


def render_page(status: Mapping[str, Any], sample: SampleAnswer, host: str) -> str:
    """The page.

    Args:
        status: what `GET /ping` reports.
        sample: drawn, and shown as a command to copy.
        host: as the browser called the server; one with odd characters is not repeated.
    """
    model = status["model"]
    low, high = model["quantile_range"]
    rows = {
        "version": status["version"],
        "model": f"{model['reference']} ({model['family']}, {model['parameters']:,} weights)",
        "reads": f"the latest {model['context_length']} periods",
        "quantiles": f"{low:g} to {high:g}",
        "content types": ", ".join(status["content_types"]),
    }
    table = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in rows.items())
    levels = ", ".join(f"{level:g}" for level in sample.parameters.quantile_levels)
    where = host if _HOST.fullmatch(host) else "127.0.0.1"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(status["endpoint"])}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(status['endpoint'])}</h1>"
        f"<table>{table}</table><h2>A sample forecast</h2>{_picture(sample)}"
        f"<p>Grey: what was observed. Blue: the forecast of {sample.parameters.prediction_length} periods, at the levels "
        f"{escape(levels)}.</p><h2>Call it</h2><pre>{escape(_curl(sample.document, where))}</pre>"
        f"<p>With boto3: <code>boto3.client(&quot;sagemaker-runtime&quot;, endpoint_url=&quot;http://{escape(where)}"
        f"&quot;).invoke_endpoint(EndpointName=&quot;{escape(status['endpoint'])}&quot;, "
        "ContentType=&quot;application/json&quot;, Body=…)</code></p></body></html>"
    )


def _picture(sample: SampleAnswer) -> str:
    """The end of the series, the level nearest to the median and the band of the outermost levels, as an SVG."""
    levels = sample.parameters.quantile_levels
    quantiles = sample.prediction.quantiles.reshape(-1, len(levels))[: sample.parameters.prediction_length]
    history = np.atleast_2d(sample.series.target)[0][-4 * max(24, len(quantiles)) :]
    middle = quantiles[:, min(range(len(levels)), key=lambda place: abs(levels[place] - 0.5))]
    low, high = quantiles.min(axis=1), quantiles.max(axis=1)
    seen = np.concatenate([history[np.isfinite(history)], low, high])
    bottom, top = float(seen.min()), float(seen.max())
    count = len(history) + len(quantiles)
    columns = _LEFT + np.arange(count) * (_WIDTH - _LEFT - 4) / max(1, count - 1)
    ahead = columns[len(history) :]

    def rows(values: Floats) -> Floats:
        # Halves keep the span finite for values near the largest float.
        share = (values / 2 - bottom / 2) / ((top / 2 - bottom / 2) or 1.0)
        return _HEIGHT - 8 - share * (_HEIGHT - 16)

    joined = np.concatenate([history[-1:], middle])
    shapes = [
        _path(np.concatenate([ahead, ahead[::-1]]), rows(np.concatenate([high, low[::-1]])), "z", _BAND),
        _path(columns[: len(history)], rows(history), "", _PAST),
        _path(columns[len(history) - 1 :], rows(joined), "", _MIDDLE),
        f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{top:.4g}</text>',
        f'<text x="{_LEFT - 6}" y="{_HEIGHT - 6}" text-anchor="end">{bottom:.4g}</text>',
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" fill="#888" font-size="11" role="img" '
        f'aria-label="a sample forecast">{"".join(shapes)}</svg>'
    )


def _path(columns: Floats, rows: Floats, end: str, style: str) -> str:
    """A line through the points, with a gap where a row is NaN; a lone point is drawn as a dot."""
    commands = []
    pen_down = False
    for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
        if not np.isfinite(row):
            pen_down = False
            continue
        commands.append(f"{'L' if pen_down else 'M'}{column:.1f} {row:.1f}" + ("" if pen_down else "h0"))
        pen_down = True
    return f'<path d="{"".join(commands)}{end}" {style}/>'


def _curl(document: Mapping[str, Any], host: str) -> str:
    """A command that works when it is pasted: the sample's request with few values."""
    inputs = document["inputs"]
    short: Any = inputs[-_CURL_VALUES:]
    if isinstance(inputs[0], Mapping):
        target = inputs[0]["target"]
        short = [{"target": target[-_CURL_VALUES:] if not isinstance(target[0], list) else target}]
    request: dict[str, Any] = {"inputs": short}
    parameters = {
        name: value for name, value in (document.get("parameters") or {}).items() if name not in ("freq", "batch_size")
    }
    if parameters:
        request["parameters"] = parameters
    body = json.dumps(request).replace("'", "'\\''")
    return f"curl -s http://{host}/invocations -H 'Content-Type: application/json' -d '{body}'"
