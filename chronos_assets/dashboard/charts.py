"""Charts: data frames of `queries` -> Altair.

Here: marks, colours, tooltips. Elsewhere: which data, which page.

What a chart looks like depends on which columns it has, and hardly ever changes: Altair makes the Vega-Lite of each kind once
(it checks every part against its schema, which takes far longer than the data do), and each view brings its data.

Colours are those of Okabe and Ito, which colour-blind people tell apart (https://jfly.uni-koeln.de/color/); lines differ in
their dashes, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from chronos_assets.dashboard.words import number
from chronos_assets.params.predictor import member_in_words

if TYPE_CHECKING:
    from chronos_assets.dashboard.queries import TableShape

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#808080"
SKY_BLUE = "#56B4E9"  # in place of blue on black
HEIGHT, SCORES_HEIGHT, ATTRIBUTE_HEIGHT = 380, 220, 160  # axes and titles included

TIME = "time"
_OBSERVED, _FORECAST, _EARLIER, _ODD = "observed", "forecast", "earlier forecast", "far outside the band"

Bands = tuple[tuple[str, str], ...]
"""Pairs of columns, the widest first."""


@dataclass(frozen=True)
class DataChart:
    """A chart and what it shows.

    Attributes:
        spec: Vega-Lite, whose data are named.
        data: by those names.
    """

    spec: Mapping[str, Any]
    data: Mapping[str, pd.DataFrame]

    def whole(self, *, dark: bool = False) -> dict[str, Any]:
        """Vega-Lite with its data, for a light or a dark page."""
        spec = json.loads(json.dumps(self.spec).replace(BLUE, SKY_BLUE)) if dark else self.spec
        return {**spec, "datasets": dict(self.data)}


def series_chart(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    shape: TableShape,
    *,
    earlier: pd.DataFrame | None = None,
    anomalies: pd.DataFrame | None = None,
) -> DataChart:
    """Observations, the forecast with its bands, earlier forecasts laid over them, anomalies; x zooms and pans.

    history: `timestamp`, `value`. forecast: `timestamp`, `middle`, quantiles. earlier: the same and `as_of`. anomalies:
    `timestamp`, `value`, `low`, `high`.
    """
    points = _hover_rows(history, forecast, shape)
    data = {"history": history[["timestamp", "value"]], "forecast": _joined(history, forecast), "hover": points}
    if earlier is not None and not earlier.empty:
        data["earlier"] = earlier
    if anomalies is not None and not anomalies.empty:
        data["anomalies"] = _with_times(anomalies[["timestamp", "value", "low", "high"]])
    bands = tuple((low, high) for low, high in shape.bands if low in forecast and high in forecast)
    over = next(
        ((low, high) for low, high in shape.bands if "earlier" in data and {low, high} <= {*data["earlier"]}), None
    )
    names = tuple(name for name in points.columns if name not in ("timestamp", TIME))
    return DataChart(_series_spec(bands, over, names, "earlier" in data, "anomalies" in data), data)


@lru_cache(maxsize=64)
def _series_spec(
    bands: Bands, over: tuple[str, str] | None, names: tuple[str, ...], earlier: bool, odd: bool
) -> Mapping[str, Any]:
    """Of `series_chart`: bands of the forecast, one of the earlier ones, columns to hover, whether there are the others."""
    x = _x()
    kind = _kind([_OBSERVED, _FORECAST, *([_EARLIER] if earlier else []), *([_ODD] if odd else [])])
    hover = alt.selection_point(nearest=True, on="pointerover", fields=["timestamp"], empty=False, name="hover")
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
    layers: list[Any] = [
        _of("forecast")
        .mark_area(color=BLUE, opacity=0.16 + 0.1 * place, line=False)
        .encode(x=x, y=alt.Y(f"{low}:Q", title=None), y2=f"{high}:Q")
        for place, (low, high) in enumerate(bands)
    ]
    if over is not None:
        area = _of("earlier").mark_area(color=ORANGE, opacity=0.12)
        layers.append(area.encode(x=x, y=f"{over[0]}:Q", y2=f"{over[1]}:Q", detail="as_of:N"))
    if earlier:
        layers.append(
            _line("earlier", "middle", _EARLIER, x, kind, strokeDash=[5, 3], strokeWidth=1.5).encode(detail="as_of:N")
        )
    layers.append(_line("history", "value", _OBSERVED, x, kind, strokeWidth=1.5))
    layers.append(_line("forecast", "middle", _FORECAST, x, kind, strokeWidth=2))
    if odd:
        layers.append(_anomaly_layer(x, kind))
    tooltip = [_time_tooltip(), *(alt.Tooltip(f"{name}:N") for name in names)]
    layers.append(
        _of("hover")
        .mark_rule(color=GREY)
        .encode(x=x, opacity=alt.condition(hover, alt.value(0.6), alt.value(0)), tooltip=tooltip)
        .add_params(hover, zoom)
    )
    return _spec(alt.layer(*layers).properties(height=HEIGHT))


def scores_chart(scores: pd.DataFrame, metric: str) -> DataChart:
    """A score over the as-ofs, beside that of seasonal naive where it has one."""
    own = scores[scores["metric"] == metric]
    long = pd.concat(
        [
            own.assign(of="forecast")[["as_of", "of", "value"]],
            own.assign(of="seasonal naive", value=own["seasonal_naive"])[["as_of", "of", "value"]].dropna(),
        ]
    )
    return DataChart(_scores_spec(_METRICS.get(metric, metric)), {"scores": long})


@lru_cache(maxsize=16)
def _scores_spec(title: str) -> Mapping[str, Any]:
    lines = _over_time({"forecast": BLUE, "seasonal naive": ORANGE}, title)
    return _spec(alt.layer(*lines).properties(height=SCORES_HEIGHT))


def coverage_chart(scores: pd.DataFrame) -> DataChart:
    """The share of actuals inside each band over the as-ofs, beside the promised one as a dashed line."""
    bands = scores[scores["metric"].str.startswith("coverage_")]
    long = bands.assign(of=bands["metric"].str.replace("coverage_", "") + " % band")[["as_of", "of", "value"]]
    names = tuple(dict.fromkeys(long["of"]))
    promised = pd.DataFrame({"of": names, "value": [int(name.split()[0]) / 100 for name in names]})
    return DataChart(_coverage_spec(names), {"scores": long, "promised": promised})


@lru_cache(maxsize=16)
def _coverage_spec(names: Sequence[str]) -> Mapping[str, Any]:
    colours = dict(zip(names, [BLUE, GREEN, ORANGE, VERMILION, GREY] * len(names), strict=False))
    rule = _of("promised").mark_rule(strokeDash=[4, 4]).encode(y="value:Q", color=_colour(colours))
    return _spec(alt.layer(rule, *_over_time(colours, "share inside")).properties(height=SCORES_HEIGHT))


def bias_chart(scores: pd.DataFrame) -> DataChart:
    """The weighted bias over the as-ofs, around zero."""
    own = scores[scores["metric"] == "weighted_bias"].assign(of="weighted bias")[["as_of", "of", "value"]]
    return DataChart(_bias_spec(), {"scores": own, "zero": pd.DataFrame({"value": [0.0]})})


@lru_cache(maxsize=1)
def _bias_spec() -> Mapping[str, Any]:
    zero = _of("zero").mark_rule(color=GREY).encode(y="value:Q")
    lines = _over_time({"weighted bias": BLUE}, "bias / volume")
    return _spec(alt.layer(zero, *lines).properties(height=SCORES_HEIGHT))


def attribute_chart(values: pd.DataFrame, name: str, *, numbers: bool) -> DataChart:
    """One attribute over time: a line of numbers, or points of texts. values: `timestamp` and the attribute."""
    shown = values[["timestamp", name]].rename(columns={name: "y"}).dropna()
    return DataChart(_attribute_spec(name, numbers), {"values": _with_times(shown)})


@lru_cache(maxsize=256)
def _attribute_spec(name: str, numbers: bool) -> Mapping[str, Any]:
    x = _x()
    tooltip = [
        _time_tooltip(),
        alt.Tooltip("y:Q" if numbers else "y:N", title=name),
    ]
    chart = _of("values").properties(title=alt.Title(name, anchor="start", fontSize=12), height=ATTRIBUTE_HEIGHT)
    if numbers:
        y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s", tickCount=3))
        return _spec(chart.mark_line(color=GREEN, interpolate="step-after").encode(x=x, y=y, tooltip=tooltip))
    ticks = chart.mark_tick(color=GREEN, thickness=3, opacity=1).properties(height=alt.Step(16))
    return _spec(ticks.encode(x=x, y=alt.Y("y:N", title=None), tooltip=tooltip))


def scenario_chart(history: pd.DataFrame, forecasts: pd.DataFrame) -> DataChart:
    """A scenario's forecast beside the baseline.

    history: `timestamp`, `value`. forecasts: `timestamp`, `what_if`, `baseline`.
    """
    last = history.dropna(subset=["value"]).tail(1).rename(columns={"value": "y"})[["timestamp", "y"]]
    long = pd.concat(
        [
            history.assign(of="observed", y=history["value"])[["timestamp", "of", "y"]],
            last.assign(of="baseline"),  # so that the lines meet
            last.assign(of="what-if"),
            forecasts.assign(of="baseline", y=forecasts["baseline"])[["timestamp", "of", "y"]],
            forecasts.assign(of="what-if", y=forecasts["what_if"])[["timestamp", "of", "y"]],
        ]
    )
    return DataChart(_scenario_spec(), {"lines": _with_times(long)})


@lru_cache(maxsize=1)
def _scenario_spec() -> Mapping[str, Any]:
    x = _x()
    colours = {"observed": GREY, "baseline": BLUE, "what-if": VERMILION}
    tooltip = [
        _time_tooltip(),
        alt.Tooltip("of:N", title=" "),
        alt.Tooltip("y:Q", title="value", format=",.4~g"),
    ]
    base = _of("lines").encode(x=x, y=_y("y"), color=_colour(colours), tooltip=tooltip)
    dashes = alt.Scale(domain=list(colours), range=[[1, 0], [1, 0], [5, 3]])
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=alt.StrokeDash("of:N", legend=None, scale=dashes))
    return _spec(
        alt.layer(lines, base.mark_point(opacity=0, size=200, filled=True))
        .properties(height=HEIGHT)
        .interactive(bind_y=False)
    )


def weights_chart(weights: pd.DataFrame) -> DataChart:
    """Members and how much each counts."""
    counted = weights[weights["weight"] > 0]
    return DataChart(_weights_spec(), {"weights": counted.assign(does=counted["member"].map(member_in_words))})


@lru_cache(maxsize=1)
def _weights_spec() -> Mapping[str, Any]:
    return _spec(
        _of("weights")
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("weight:Q", title="share", axis=alt.Axis(format="%")),
            y=alt.Y("member:N", title=None, sort="-x", axis=alt.Axis(labelLimit=200)),
            tooltip=["member:N", alt.Tooltip("weight:Q", format=".1%"), alt.Tooltip("does:N", title="is")],
        )
        .properties(height=alt.Step(22))
    )


def impact_chart(impacts: pd.DataFrame) -> DataChart:
    """Attributes and what each adds to a forecast: to the right above the usual, to the left below it."""
    return DataChart(_impact_spec(), {"impacts": impacts})


@lru_cache(maxsize=1)
def _impact_spec() -> Mapping[str, Any]:
    return _spec(
        _of("impacts")
        .mark_bar()
        .encode(
            x=alt.X("impact:Q", title="beside the usual, over the horizon", axis=alt.Axis(format="~s")),
            y=alt.Y("attribute:N", title=None, sort=None, axis=alt.Axis(labelLimit=200)),
            color=alt.condition(alt.datum.impact > 0, alt.value(BLUE), alt.value(ORANGE)),
            tooltip=["attribute:N", alt.Tooltip("impact:Q", format=",.4~g")],
        )
        .properties(height=alt.Step(22))
    )


_METRICS = {"wql": "wQL", "wape": "WAPE", "mase": "MASE"}
_KINDS = {_OBSERVED: GREY, _FORECAST: BLUE, _EARLIER: ORANGE, _ODD: VERMILION}


def _x() -> alt.X:
    """Time; a label says the month and year, the day, or the hour, however far the reader zooms in."""
    label = (
        "hours(datum.value) || minutes(datum.value) ? timeFormat(datum.value, '%H:%M') : "
        "date(datum.value) == 1 ? timeFormat(datum.value, '%b %Y') : timeFormat(datum.value, '%d %b')"
    )
    return alt.X("timestamp:T", title=None, axis=alt.Axis(labelOverlap=True, labelExpr=label))


def _of(data: str) -> alt.Chart:
    """A chart of data that are given by their name."""
    return alt.Chart(alt.NamedData(name=data))


def _spec(chart: alt.Chart | alt.LayerChart | alt.FacetChart) -> Mapping[str, Any]:
    """The Vega-Lite of a chart; the page's theme says what its surroundings look like."""
    found: dict[str, Any] = chart.to_dict()
    return {name: value for name, value in found.items() if name not in ("$schema", "config")}


def _over_time(colours: dict[str, str], title: str) -> list[alt.Chart]:
    """Lines and points of `value` over `as_of`, one for each `of`."""
    base = _of("scores").encode(
        x=alt.X("as_of:O", title="as of", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
        color=_colour(colours),
        tooltip=["as_of:O", alt.Tooltip("of:N", title=" "), alt.Tooltip("value:Q", format=".4~g")],
    )
    dashed = base.mark_line().encode(strokeDash=alt.StrokeDash("of:N", legend=None))
    return [dashed, base.mark_point(filled=True, size=45)]


def _colour(colours: dict[str, str]) -> alt.Color:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(
        "of:N",
        scale=scale,
        legend=alt.Legend(title=None, orient="top", symbolType="circle", symbolStrokeWidth=0, symbolOpacity=1),
    )


def _y(column: str) -> alt.Y:
    return alt.Y(f"{column}:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s"))


def _kind(kinds: Sequence[str]) -> alt.Color:
    """The colours of what there is; two side by side, as a phone has room for."""
    scale = alt.Scale(domain=list(kinds), range=[_KINDS[kind] for kind in kinds])
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", columns=2)
    return alt.Color("kind:N", scale=scale, legend=legend)


def _line(data: str, column: str, name: str, x: alt.X, kind: alt.Color, **style: Any) -> alt.Chart:
    named = _of(data).transform_calculate(kind=f"'{name}'")
    line: alt.Chart = named.mark_line(**style).encode(x=x, y=_y(column), color=kind)
    return line


def _anomaly_layer(x: alt.X, kind: alt.Color) -> alt.Chart:
    tooltip = [_time_tooltip(_ODD)]
    tooltip += [alt.Tooltip(f"{name}:Q", format=",.4~g") for name in ("value", "low", "high")]
    points = _of("anomalies").transform_calculate(kind=f"'{_ODD}'")
    marks: alt.Chart = points.mark_point(shape="triangle-up", size=110, filled=True, opacity=1).encode(
        x=x, y="value:Q", color=kind, tooltip=tooltip
    )
    return marks


def _joined(history: pd.DataFrame, forecast: pd.DataFrame) -> pd.DataFrame:
    """The forecast, begun with the last observation, so that the lines meet."""
    known = history.dropna(subset=["value"])
    if known.empty or forecast.empty or known["timestamp"].iloc[-1] >= forecast["timestamp"].iloc[0]:
        return forecast
    last = known.iloc[-1]
    first = {name: last["value"] for name in forecast.columns if name != "timestamp"}
    return pd.concat([pd.DataFrame([{"timestamp": last["timestamp"], **first}]), forecast], ignore_index=True)


def _hover_rows(history: pd.DataFrame, forecast: pd.DataFrame, shape: TableShape) -> pd.DataFrame:
    """What is known of each time, as text: the observation, the forecast."""
    observed = history[["timestamp", "value"]].rename(columns={"value": "observed"})
    names = {"middle": "median" if shape.middle == "p50" else shape.middle}
    quantiles = [name for name in shape.quantiles if name != shape.middle and name in forecast]
    predicted = forecast[["timestamp", "middle", *quantiles]].rename(columns=names)
    known = observed.merge(predicted, on="timestamp", how="outer").sort_values("timestamp")
    return _with_times(known.assign(**{name: known[name].map(number) for name in known.columns if name != "timestamp"}))


def _with_times(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their time as a text: browsers can't show the hour that their own zone skips in spring."""
    texts = np.datetime_as_string(rows["timestamp"].to_numpy("datetime64[m]"))
    return rows.assign(**{TIME: [text.replace("T", " ") for text in texts.tolist()]})


def _time_tooltip(title: str = TIME) -> alt.Tooltip:
    return alt.Tooltip(f"{TIME}:N", title=title)
