"""The page Item: one series, what was forecast for it, and what happened."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from chronos_assets.dashboard import charts, covariates
from chronos_assets.dashboard.choosing import choose_series
from chronos_assets.dashboard.queries import ItemSeries, TableShape
from chronos_assets.dashboard.session import ask, draw, in_words, say_clock, source, table
from chronos_assets.dashboard.words import csv_name, csv_text, number, percent, plain

ATTRIBUTES = 10  # of an explanation
RECENT, RECENT_HORIZONS = 60, 5  # periods that are drawn at first, at least
_SCORES = {"wape": "WAPE", "mase": "MASE", "wql": "wQL", "weighted_bias": "bias", "tracking_signal": "tracking signal"}
_ANOMALY_COLUMNS = {
    "as_of": "forecast as of",
    "timestamp": "period",
    "value": "observed",
    "deviation": "how far",
    "low": "band from",
    "middle": "median",
    "high": "band to",
}


def show() -> None:
    """Draw the page."""
    shape = ask("columns")
    series = choose_series(shape, "Item")
    if series is None:
        return
    forecast = ask("forecast", shape, series)
    if forecast.empty:
        why = _why_not(series, shape) or "it may be too short, or gone from the newest data"
        st.info(f"There is no forecast of {plain(series.name)}: {plain(why)}.")
    history = ask("history", series)
    earlier, anomalies = ask("earlier", shape, series), ask("anomalies", series)
    if forecast.empty and history.empty and earlier.empty:
        return
    _chart(series, shape, history, forecast, earlier, anomalies)
    _downloads(series, shape, history, forecast)
    _covariates(series, forecast)
    left, right = st.columns(2)
    with left:
        _scores(series)
    with right:
        _members(series)
        _explanation(series)
    if not anomalies.empty:
        st.subheader("Actuals far outside the band")
        shown = anomalies.sort_values("timestamp", ascending=False).rename(columns=_ANOMALY_COLUMNS)
        table(shown)
        st.caption(
            "How far: the distance from the median in half widths of the band. At ±1 a value is on its edge; from "
            "Chronos.Anomalies.Threshold on (2 unless params.json says otherwise) it is listed here."
        )


def _why_not(series: ItemSeries, shape: TableShape) -> str:
    """Why the current forecast left a series out, if its manifest names it."""
    key = [series.key.get(name, "") for name in shape.keys]
    left_out = (source().forecast() or {}).get("skipped") or ()
    return next((str(each["reason"]) for each in left_out if each["item"] == key), "")


def _chart(
    series: ItemSeries,
    shape: TableShape,
    history: pd.DataFrame,
    forecast: pd.DataFrame,
    earlier: pd.DataFrame,
    anomalies: pd.DataFrame,
) -> None:
    as_ofs = list(dict.fromkeys(earlier["as_of"]))[::-1]
    last = history["timestamp"].max()
    share = (earlier["timestamp"] <= last).groupby(earlier["as_of"]).mean()  # of its periods that have happened
    happened = [as_of for as_of in as_ofs if share[as_of] > 0]
    done = [as_of for as_of in happened if share[as_of] == 1]
    laid = st.multiselect(
        "Earlier forecasts, laid over what happened",
        as_ofs,
        default=done[:1] or happened[-1:],
        placeholder="none",
        key=f"laid_{series.name}",
    )
    shown = earlier[earlier["as_of"].isin(laid)]
    recent = max(RECENT, RECENT_HORIZONS * len(forecast))
    whole = len(history) <= recent or st.toggle(f"Whole history ({len(history):,} periods)", key="whole")
    past = history if whole else history.tail(recent)
    odd = anomalies[anomalies["timestamp"] >= past["timestamp"].min()]
    draw(charts.series_chart(past, forecast, shape, earlier=shown, anomalies=odd))
    st.caption("Drag to move, scroll to zoom, double-click to go back. The toolbar above the chart saves it as PNG.")
    say_clock()


def _downloads(series: ItemSeries, shape: TableShape, history: pd.DataFrame, forecast: pd.DataFrame) -> None:
    st.download_button(
        "Download as CSV",
        lambda: csv_text(_side_by_side(series, shape, history, forecast)),  # made by the click
        csv_name([series.name]),
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    st.caption("This page's address is a link to this series: copy it to share.")


def _side_by_side(series: ItemSeries, shape: TableShape, history: pd.DataFrame, forecast: pd.DataFrame) -> pd.DataFrame:
    """Observations and forecast of a series side by side, named by its key."""
    types = dict.fromkeys([*shape.quantiles, shape.middle])
    forecast = forecast.rename(columns={"middle": shape.middle})[["timestamp", *types]]
    observed = history.rename(columns={"value": "observed"})[["timestamp", "observed"]]
    whole = observed.merge(forecast, on="timestamp", how="outer").sort_values("timestamp")
    for name, value in reversed(list(series.key.items())):
        whole.insert(0, name, value, allow_duplicates=True)
    return whole


@in_words
def _covariates(series: ItemSeries, forecast: pd.DataFrame) -> None:
    """Its related time series, one below the other, and its item's metadata."""
    store = source().group.store
    described = covariates.metadata(store, series.item)
    if described:
        st.markdown(
            "Item: " + ", ".join(f"{plain(name)} **{plain(_shown(value))}**" for name, value in described.items())
        )
    found = covariates.related(store, series)
    if found is None or found.values.empty:
        return
    st.subheader("What else is known")
    recent = found.values.tail(max(RECENT, (RECENT_HORIZONS + 1) * len(forecast)))
    for attribute in found.attributes:
        draw(charts.attribute_chart(recent, attribute.name, numbers=attribute.kind == "number"))
    st.caption(f"Known in advance: {plain(', '.join(attribute.name for attribute in found.known) or 'none of them')}.")


def _shown(value: float | str | None) -> str:
    return number(value) if isinstance(value, float) else value or "–"


def _scores(series: ItemSeries) -> None:
    st.subheader("Accuracy")
    scores = ask("item_scores", series)
    if scores.empty:
        st.caption("None of its forecasts has been scored yet.")
        return
    newest = scores[scores["as_of"] == scores["as_of"].max()].set_index("metric")
    rows = []
    for metric, title in _SCORES.items():
        if metric in newest.index:
            form = percent if metric in ("wape", "weighted_bias") else number
            value, naive = newest.loc[metric, "value"], newest.loc[metric, "seasonal_naive"]
            rows.append({"measure": title, "forecast": form(value), "seasonal naive": form(naive)})
    table(pd.DataFrame(rows))
    st.caption(f"As of {plain(scores['as_of'].max())}. Its share of the whole error: {_share(newest)}.")
    if scores["as_of"].nunique() > 1:
        there = [metric for metric in ("wape", "mase", "wql") if metric in set(scores["metric"])]
        if there:
            draw(charts.scores_chart(scores, there[0]))


def _share(newest: pd.DataFrame) -> str:
    return percent(newest.loc["error_contribution", "value"], 1) if "error_contribution" in newest.index else "–"


def _members(series: ItemSeries) -> None:
    st.subheader("What makes its forecast")
    weights = ask("weights", series)
    if weights.empty:
        st.caption("One model alone, or the weights of all series together; the page Models has them.")
        return
    draw(charts.weights_chart(weights))
    st.caption(
        f"Shares of the members in its forecast as of {plain(weights['as_of'].iloc[0])}. Hover over a bar to read what it does."
    )


def _explanation(series: ItemSeries) -> None:
    """What each attribute adds to its forecast, where one was explained."""
    impacts = ask("explanations", series)
    if impacts.empty:
        return
    st.subheader("What moves it")
    draw(charts.impact_chart(impacts.head(ATTRIBUTES)))
    st.caption(
        f"What each attribute adds to the forecast as of {plain(impacts['as_of'].iloc[0])}, in units of the target."
    )
