"""Charts: data frames of `queries` -> Altair.

Here: marks, colours, tooltips. Elsewhere: which data, which page.

Colours are those of Okabe and Ito, which colour-blind people tell apart (https://jfly.uni-koeln.de/color/); lines differ in
their dashes, too. All are readable on white and on black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from chronos_assets.dashboard.words import number

if TYPE_CHECKING:
    from chronos_assets.dashboard.queries import TableShape

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#808080"
HEIGHT, SCORES_HEIGHT, ATTRIBUTE_HEIGHT = 380, 220, 160  # axes and titles included

_OBSERVED, _FORECAST, _EARLIER, _ODD = "observed", "forecast", "earlier forecast", "far outside the band"


def series_chart(
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    shape: TableShape,
    *,
    earlier: pd.DataFrame | None = None,
    anomalies: pd.DataFrame | None = None,
    title: str = "",
) -> alt.LayerChart | alt.FacetChart:
    """Observations, the forecast with its bands, earlier forecasts laid over them, anomalies; x zooms and pans.

    history: `timestamp`, `value`. forecast: `timestamp`, `middle`, quantiles. earlier: the same and `as_of`. anomalies:
    `timestamp`, `value`, `low`, `high`.
    """
    x = alt.X("timestamp:T", title=None, axis=alt.Axis(labelOverlap=True))
    hover = alt.selection_point(nearest=True, on="pointerover", fields=["timestamp"], empty=False, name="hover")
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="zoom")
    layers: list[Any] = []
    joined = _joined(history, forecast)
    for place, (low, high) in enumerate(shape.bands):
        if low in forecast and high in forecast:
            layers.append(
                alt.Chart(joined)
                .mark_area(color=BLUE, opacity=0.16 + 0.1 * place, line=False)
                .encode(x=x, y=alt.Y(f"{low}:Q", title=None), y2=f"{high}:Q")
            )
    if earlier is not None and not earlier.empty:
        layers += _earlier_layers(earlier, shape, x)
    layers.append(_line(history, "value", _OBSERVED, x, strokeWidth=1.5))
    layers.append(_line(joined, "middle", _FORECAST, x, strokeWidth=2))
    if anomalies is not None and not anomalies.empty:
        layers.append(_anomaly_layer(anomalies, x))
    points = _hover_rows(history, forecast, shape)
    tooltip = [alt.Tooltip("timestamp:T", title="time", format="%Y-%m-%d %H:%M")]
    tooltip += [alt.Tooltip(f"{name}:N") for name in points.columns if name != "timestamp"]
    rule = (
        alt.Chart(points)
        .mark_rule(color=GREY)
        .encode(x=x, opacity=alt.condition(hover, alt.value(0.6), alt.value(0)), tooltip=tooltip)
        .add_params(hover, zoom)
    )
    layers.append(rule)
    chart = alt.layer(*layers).properties(height=HEIGHT)
    return chart.properties(title=alt.Title(title, fontSize=13)) if title else chart


def scores_chart(scores: pd.DataFrame, metric: str) -> alt.LayerChart | alt.FacetChart:
    """A score over the as-ofs, beside that of seasonal naive where it has one."""
    own = scores[scores["metric"] == metric]
    long = pd.concat(
        [
            own.assign(of="forecast")[["as_of", "of", "value"]],
            own.assign(of="seasonal naive", value=own["seasonal_naive"])[["as_of", "of", "value"]].dropna(),
        ]
    )
    lines = _over_time(long, {"forecast": BLUE, "seasonal naive": ORANGE}, metric)
    return alt.layer(*lines).properties(height=SCORES_HEIGHT)


def coverage_chart(scores: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """The share of actuals inside each band over the as-ofs, beside the promised one as a dashed line."""
    bands = scores[scores["metric"].str.startswith("coverage_")]
    long = bands.assign(of=bands["metric"].str.replace("coverage_", "") + " % band")[["as_of", "of", "value"]]
    names = list(dict.fromkeys(long["of"]))
    colours = dict(zip(names, [BLUE, GREEN, ORANGE, VERMILION, GREY] * len(names), strict=False))
    promised = pd.DataFrame({"of": names, "value": [int(name.split()[0]) / 100 for name in names]})
    rule = alt.Chart(promised).mark_rule(strokeDash=[4, 4]).encode(y="value:Q", color=_colour(colours))
    return alt.layer(rule, *_over_time(long, colours, "share inside")).properties(height=SCORES_HEIGHT)


def bias_chart(scores: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """The weighted bias over the as-ofs, around zero."""
    own = scores[scores["metric"] == "weighted_bias"].assign(of="weighted bias")[["as_of", "of", "value"]]
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=GREY).encode(y="value:Q")
    return alt.layer(zero, *_over_time(own, {"weighted bias": BLUE}, "bias / volume")).properties(height=SCORES_HEIGHT)


def attribute_chart(values: pd.DataFrame, name: str, *, numbers: bool) -> alt.Chart:
    """One attribute over time: a line of numbers, or points of texts. values: `timestamp` and the attribute."""
    shown = values[["timestamp", name]].rename(columns={name: "y"}).dropna()
    x = alt.X("timestamp:T", title=None, axis=alt.Axis(labelOverlap=True))
    tooltip = [alt.Tooltip("timestamp:T", title="time", format="%Y-%m-%d %H:%M"), alt.Tooltip("y", title=name)]
    chart = alt.Chart(shown, title=alt.Title(name, anchor="start", fontSize=12)).properties(height=ATTRIBUTE_HEIGHT)
    if numbers:
        y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s", tickCount=3))
        return chart.mark_line(color=GREEN, interpolate="step-after").encode(x=x, y=y, tooltip=tooltip)
    return chart.mark_tick(color=GREEN, thickness=3).encode(x=x, y=alt.Y("y:N", title=None), tooltip=tooltip)


def scenario_chart(history: pd.DataFrame, forecasts: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """A scenario's forecast beside the baseline.

    history: `timestamp`, `value`. forecasts: `timestamp`, `what_if`, `baseline`.
    """
    x = alt.X("timestamp:T", title=None, axis=alt.Axis(labelOverlap=True))
    colours = {"observed": GREY, "baseline": BLUE, "what-if": VERMILION}
    long = pd.concat(
        [
            history.assign(of="observed", y=history["value"])[["timestamp", "of", "y"]],
            forecasts.assign(of="baseline", y=forecasts["baseline"])[["timestamp", "of", "y"]],
            forecasts.assign(of="what-if", y=forecasts["what_if"])[["timestamp", "of", "y"]],
        ]
    )
    tooltip = [
        alt.Tooltip("timestamp:T", title="time", format="%Y-%m-%d %H:%M"),
        alt.Tooltip("of:N", title=" "),
        alt.Tooltip("y:Q", title="value", format=",.4~g"),
    ]
    base = alt.Chart(long).encode(x=x, y=_Y, color=_colour(colours), tooltip=tooltip)
    dashes = alt.Scale(domain=list(colours), range=[[1, 0], [1, 0], [5, 3]])
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=alt.StrokeDash("of:N", legend=None, scale=dashes))
    return (
        alt.layer(lines, base.mark_point(opacity=0, size=200, filled=True))
        .properties(height=HEIGHT)
        .interactive(bind_y=False)
    )


def weights_chart(weights: pd.DataFrame) -> alt.Chart:
    """Members and how much each counts."""
    return (
        alt.Chart(weights[weights["weight"] > 0])
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("weight:Q", title="share", axis=alt.Axis(format="%")),
            y=alt.Y("member:N", title=None, sort="-x"),
            tooltip=["member:N", alt.Tooltip("weight:Q", format=".1%")],
        )
        .properties(height=alt.Step(22))
    )


def impact_chart(impacts: pd.DataFrame) -> alt.Chart:
    """Attributes and what each adds to a forecast: to the right above the usual, to the left below it."""
    return (
        alt.Chart(impacts)
        .mark_bar()
        .encode(
            x=alt.X("impact:Q", title="beside the usual, over the horizon", axis=alt.Axis(format="~s")),
            y=alt.Y("attribute:N", title=None, sort=None),
            color=alt.condition(alt.datum.impact > 0, alt.value(BLUE), alt.value(ORANGE)),
            tooltip=["attribute:N", alt.Tooltip("impact:Q", format=",.4~g")],
        )
        .properties(height=alt.Step(22))
    )


def _over_time(long: pd.DataFrame, colours: dict[str, str], title: str) -> list[alt.Chart]:
    """Lines and points of `value` over `as_of`, one for each `of`."""
    base = alt.Chart(long).encode(
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


_Y = alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~s"))
_KINDS = {_OBSERVED: GREY, _FORECAST: BLUE, _EARLIER: ORANGE, _ODD: VERMILION}


def _kind(name: str) -> alt.Color:
    scale = alt.Scale(domain=list(_KINDS), range=list(_KINDS.values()))
    return alt.Color("kind:N", scale=scale, legend=alt.Legend(title=None, orient="top", symbolType="stroke"))


def _line(frame: pd.DataFrame, column: str, kind: str, x: alt.X, **style: Any) -> alt.Chart:
    shown = frame[["timestamp", column]].rename(columns={column: "y"}).assign(kind=kind)
    return alt.Chart(shown).mark_line(**style).encode(x=x, y=_Y, color=_kind(kind))


def _earlier_layers(earlier: pd.DataFrame, shape: TableShape, x: alt.X) -> list[alt.Chart]:
    layers = []
    band = next(((low, high) for low, high in shape.bands if low in earlier and high in earlier), None)
    if band is not None:
        area = alt.Chart(earlier).mark_area(color=ORANGE, opacity=0.12)
        layers.append(area.encode(x=x, y=f"{band[0]}:Q", y2=f"{band[1]}:Q", detail="as_of:N"))
    shown = earlier[["timestamp", "middle", "as_of"]].rename(columns={"middle": "y"}).assign(kind=_EARLIER)
    line = alt.Chart(shown).mark_line(strokeDash=[5, 3], strokeWidth=1.5)
    layers.append(line.encode(x=x, y="y:Q", color=_kind(_EARLIER), detail="as_of:N"))
    return layers


def _anomaly_layer(anomalies: pd.DataFrame, x: alt.X) -> alt.Chart:
    shown = anomalies[["timestamp", "value", "low", "high"]].rename(columns={"value": "y"}).assign(kind=_ODD)
    tooltip = [alt.Tooltip("timestamp:T", title="far outside the band", format="%Y-%m-%d %H:%M")]
    tooltip += [
        alt.Tooltip(f"{name}:Q", format=",.4~g", title=title)
        for name, title in (("y", "value"), ("low", "low"), ("high", "high"))
    ]
    return (
        alt.Chart(shown)
        .mark_point(shape="triangle-up", size=110, filled=True, opacity=1)
        .encode(x=x, y="y:Q", color=_kind(_ODD), tooltip=tooltip)
    )


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
    return known.assign(**{name: known[name].map(number) for name in known.columns if name != "timestamp"})
