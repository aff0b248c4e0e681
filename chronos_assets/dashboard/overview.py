"""The page Overview: how fresh the forecast is, how good it was, what happened, and all series together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from chronos_assets.dashboard import charts
from chronos_assets.dashboard.covariates import items_with
from chronos_assets.dashboard.queries import Filters, TableShape
from chronos_assets.dashboard.session import ask, draw, in_words, say_clock, source, table
from chronos_assets.dashboard.words import ago, moment, number, percent, plain
from chronos_assets.params.reconciliation import TOTAL
from chronos_assets.pipeline.account import account_rows
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.tables import FIX

HISTORY_HORIZONS = 8  # how much of the past is drawn, in horizons
NOTICES = 8
ACCOUNT_SECONDS = 300  # for which what was left out is taken to be as it was found
MOST_ITEMS = 2000  # of a sum whose past is asked for

_METRICS = {"wQL": "wql", "WAPE": "wape", "MASE": "mase"}
_OUTCOMES = {"success": "succeeded", "failure": "failed", "canceled": "was cancelled"}
_ICONS = {"success": ":material/check_circle:", "failure": ":material/error:", "canceled": ":material/block:"}


def show() -> None:
    """Draw the page."""
    st.title("Overview")
    _runs()
    forecast = source().forecast()
    if forecast is None:
        _notices()
        ask("columns")  # says what is missing
        st.info("There is no forecast yet. " + plain(source().what_is_missing()))
        return
    _freshness(forecast)
    scores = ask("scores")
    _figures(scores)
    _total(forecast)
    _accuracy(scores)
    _segments()
    _account(forecast)
    _notices()


def _runs() -> None:
    for run in source().runs():
        since = f", since {ago(run.since, datetime.now(UTC)).removesuffix(' ago')}" if run.since else ", queued"
        st.info(f"In progress: {plain(run.work)}{since}. The result appears here when it is done.")


def _freshness(forecast: Mapping[str, Any]) -> None:
    """What the forecast was made from, and whether newer data are there."""
    dataset = source().dataset()
    series = forecast.get("series")
    st.markdown(
        f"The forecast uses data up to **{plain(moment(str(forecast['context_end'])))}** and runs from "
        f"{plain(moment(str(forecast['forecast_start'])))} to **{plain(moment(str(forecast['forecast_end'])))}**"
        f"{f', for {series:,} series' if isinstance(series, int) else ''}. "
        f"Model: {plain(forecast['model']['reference'])}."
    )
    say_clock()
    if dataset is not None and dataset.data_version != forecast.get("data_version"):
        st.warning(
            "The data have changed since this forecast was made. While `chronos-assets ui` runs, a new one comes by itself; "
            "`chronos-assets run` makes it now.",
            icon=":material/update:",
        )
    elif dataset is not None and dataset.last and dataset.last > str(forecast["context_end"]):
        st.caption(
            f"The data go on to {plain(moment(dataset.last))}, which this forecast hasn't seen: their window isn't forecast "
            "yet, or they are still to come on the clock of Chronos.TimeZone (UTC unless params.json names it)."
        )


def _figures(scores: pd.DataFrame) -> None:
    if scores.empty:
        st.info(
            "No forecast has been scored yet: its accuracy appears here once its periods have been observed. "
            "`chronos-assets backfill` forecasts and scores past windows."
        )
        return
    as_of = scores["as_of"].max()
    newest = scores[scores["as_of"] == as_of].set_index("metric")
    cells = st.columns(4)
    if "wql" in newest.index:
        own, naive = newest.loc["wql", "value"], newest.loc["wql", "seasonal_naive"]
        better = (
            None
            if pd.isna(own) or pd.isna(naive) or not naive
            else f"{100 * (own / naive - 1):+.0f} % vs. seasonal naive"
        )
        cells[0].metric(
            "wQL", number(own), better, delta_color="inverse", help="Weighted quantile loss: lower is better."
        )
    if "wape" in newest.index:
        own = newest.loc["wape", "value"]
        cells[1].metric("WAPE", percent(own, 1), help="Sum of absolute errors relative to the volume: lower is better.")
    if "weighted_bias" in newest.index:
        bias = newest.loc["weighted_bias", "value"]
        side = "too high" if bias > 0 else "too low"
        cells[2].metric(
            "Bias",
            percent(bias, 1),
            None if pd.isna(bias) or not bias else side,
            delta_color="off",
            delta_arrow="off",
            help="Sum of forecast minus actual, relative to the volume: zero is best.",
        )
    bands = [name for name in newest.index if name.startswith("coverage_")]
    band = max(bands, key=lambda name: int(name.removeprefix("coverage_")), default=None)  # the widest
    if band is not None:
        promised = int(band.removeprefix("coverage_"))
        cells[3].metric(
            f"Inside the {promised} % band",
            percent(newest.loc[band, "value"]),
            f"promised {promised} %",
            delta_color="off",
            delta_arrow="off",
            help="Share of the actual values that were inside the widest band of their forecast.",
        )
    st.caption(f"Scores of the forecast as of {plain(as_of)}, the newest whose periods have all been observed.")


def _total(forecast: Mapping[str, Any]) -> None:
    """All series together, or one of their sums: history, band, and earlier forecasts beside what happened."""
    st.subheader("All series together")
    shape, as_of = ask("columns").of_sums, str(forecast.get("as_of", ""))
    sums = ask("sums", as_of)
    level, value = (
        st.selectbox("Which sum", sums, format_func=lambda one: _sum_name(*one), key="sum") if sums else (TOTAL, TOTAL)
    )
    ahead = ask("sum_forecast", shape, as_of, level, value) if sums else ask("forecast_total", shape)
    if forecast.get("series") and list(ahead["timestamp"][:1]) != [pd.Timestamp(str(forecast["forecast_start"]))]:
        st.warning(
            f"The SQL tables, which these pages read, still hold another forecast: {FIX}.", icon=":material/update:"
        )
    periods = max(60, HISTORY_HORIZONS * int(forecast.get("horizon", 0)))
    filters = _of_sum(shape, level, value)
    past = pd.DataFrame(columns=["timestamp", "value"]) if filters is None else ask("history_total", periods, filters)
    scored = ask("scored")
    chosen = st.selectbox("Lay an earlier forecast over what happened", ["none", *scored], index=min(1, len(scored)))
    laid = None if chosen == "none" else _earlier(shape, chosen, level, value)
    draw(charts.series_chart(past, ahead, shape, earlier=laid))
    if filters is None:
        st.caption(f"The past of more than {MOST_ITEMS:,} items isn't drawn.")
    if shape.middle != "mean" and not sums:
        st.caption(
            "The line adds up the medians of the series. That is less than the total to expect where demand is intermittent: a "
            "median of 0 may have a mean of 0.4. With `mean` among ForecastTypes in params.json this line adds up means."
        )
    if shape.bands and not sums:
        st.caption(
            "The band adds up the quantiles of the series, as if all of them were high, or low, together: the total stays "
            "inside it more often than the band of a single series promises. Chronos.Reconcile in params.json gives sums "
            "bands of their own."
        )


def _earlier(shape: TableShape, as_of: str, level: str, value: str) -> pd.DataFrame:
    """An earlier forecast of a sum; of the total, where sums were not forecast then, the series' added up."""
    found = ask("sum_forecast", shape, as_of, level, value)
    if found.empty and level == TOTAL:
        found = ask("earlier_total", shape, as_of)
    return found.assign(as_of=as_of)


def _sum_name(level: str, value: str) -> str:
    return "everything" if level == TOTAL else f"{level}: {value}"


def _of_sum(shape: TableShape, level: str, value: str) -> Filters | None:
    """Which series a sum is of; None for too many items to ask for."""
    if level == TOTAL:
        return Filters()
    if level in shape.dimensions:
        return Filters(dimensions=((level, value),))
    items = items_with(source().group.store, {level: value})
    return Filters(items=items) if len(items) <= MOST_ITEMS else None


def _accuracy(scores: pd.DataFrame) -> None:
    if scores.empty:
        return
    st.subheader("Accuracy over time")
    left, right = st.columns(2)
    there = {title: metric for title, metric in _METRICS.items() if metric in set(scores["metric"])}
    if there:
        with left:
            title = st.segmented_control("Measure", list(there), default=next(iter(there))) or next(iter(there))
            draw(charts.scores_chart(scores, there[title]))
    with right:
        names = [
            name
            for name, there in (("Bands", scores["metric"].str.startswith("coverage_").any()), ("Bias", True))
            if there
        ]
        chosen = st.segmented_control("Calibration", names, default=names[0]) or names[0]
        chart = charts.coverage_chart if chosen == "Bands" else charts.bias_chart
        draw(chart(scores))
        st.caption(
            "Share of actual values inside each band; dashed: what it promises."
            if chosen == "Bands"
            else "Above zero the forecast was too high."
        )


def _segments() -> None:
    """Where the error comes from, by the values of the dimensions."""
    scored = ask("scored")
    found = ask("segments", scored[0]) if scored else pd.DataFrame()
    if found.empty:
        return
    st.subheader("Segments")
    shown = found.rename(
        columns={
            "segment_by": "by",
            "segment_value": "value",
            "error_share": "share of the error",
            "weighted_bias": "bias",
            "wape": "WAPE",
        }
    )
    form = st.column_config.NumberColumn(format="percent")
    table(shown, column_config={"share of the error": form, "bias": form, "WAPE": form})


@in_words
def _account(forecast: Mapping[str, Any]) -> None:
    """What was left out and assumed on the way from the files to the forecast."""
    dataset = source().dataset()
    if dataset is None or GroupState(source().group).readable_params is None:
        return
    lines: list[str] = []
    for label, text in _account_rows(dataset.data_version, json.dumps(forecast)):
        lines.append(f"- **{plain(label)}**: {plain(text)}" if label else f"    - {plain(text)}")
    with st.expander("What was left out and assumed", icon=":material/rule:"):
        st.markdown("\n".join(lines))


@st.cache_data(show_spinner=False, ttl=ACCOUNT_SECONDS, max_entries=4)
def _account_rows(data_version: str, manifest: str) -> list[tuple[str, str]]:
    """The rows of `run`'s summary about the data; read again for other data, another forecast, and after a while."""
    return account_rows(GroupState(source().group), json.loads(manifest))


def _notices() -> None:
    """What the last runs did, in words."""
    found = [
        notice
        for notice in source().notices(NOTICES)
        if _OUTCOMES.get(str(notice.get("outcome"))) and notice.get("time")
    ]
    if not found:
        return
    st.subheader("Last runs")
    now = datetime.now(UTC)
    for notice in found:
        when = ago(datetime.fromisoformat(str(notice["time"])), now)
        st.markdown(f"{_ICONS.get(str(notice['outcome']), '')} {plain(_reported(notice))}  \n:gray[{plain(when)}]")


def _reported(notice: Mapping[str, Any]) -> str:
    """A notice in a sentence or two."""
    what = _OUTCOMES[str(notice["outcome"])]
    word = "of" if notice.get("job") == "forecast_scenarios" else "as of"
    made = f" of {notice['made']}" if notice.get("made") else ""
    about = f" {word} {notice['as_of']}" if notice.get("as_of") else made
    place = f" in {notice['asset']}" if notice.get("asset") else ""
    reason = f": {notice['reason']}" if notice.get("reason") else "."
    odd = f" Actuals far outside the band: {notice['anomalies']}." if notice.get("anomalies") else ""
    return f"{notice.get('job') or 'A run'}{about} {what}{place}{reason}{odd}"
