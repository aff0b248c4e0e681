"""The page What-if: other values of what is known in advance, and what the forecast would be."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from chronos_assets.dashboard import charts, covariates
from chronos_assets.dashboard.choosing import choose_series
from chronos_assets.dashboard.queries import ItemSeries, TableShape
from chronos_assets.dashboard.scenario_forecast import UnanswerableError, question
from chronos_assets.dashboard.session import ask, ask_endpoint, draw, endpoint, in_words, say_clock, source
from chronos_assets.dashboard.source import NothingToShow
from chronos_assets.dashboard.words import csv_text, number, percent, plain
from chronos_assets.pipeline.what_if import SCENARIO_NAME, is_beside_current
from chronos_assets.platforms.endpoints import EndpointError
from chronos_assets.store_layout import WHAT_IF_KEY

MOST = 50  # percent that a slider changes a value by
SHOWN, SHOWN_HORIZONS = 24, 3  # periods of the past, at least
APART = 0.02  # of the forecast, from which on the endpoint's differs from the published one
AS_PLANNED = "as planned"
_SWITCH = {AS_PLANNED: None, "off": 0.0, "on": 1.0}


def show() -> None:
    """Draw the page."""
    shape = ask("columns")
    series = choose_series(shape, "What-if")
    if series is None:
        return
    forecast = ask("forecast", shape, series)
    found = covariates.related(source().group.store, series)
    planned = _planned(found, forecast)
    if found is None or planned.empty:
        st.info(
            "Nothing is known in advance for this series, so there is nothing to change: declare related time series that "
            "reach over the horizon, such as prices or promotions (see Covariates in the documentation)."
        )
    else:
        _scenario(series, shape, found, planned, ask("history", series), forecast)
    _results(series, shape)


def _planned(found: covariates.Related | None, forecast: pd.DataFrame) -> pd.DataFrame:
    """Values of the attributes known in advance in the periods of the forecast."""
    if found is None or not found.known or forecast.empty:
        return pd.DataFrame()
    names = ["timestamp", *(attribute.name for attribute in found.known)]
    return found.values.loc[found.values["timestamp"].isin(forecast["timestamp"]), names].reset_index(drop=True)


@st.fragment
@in_words
def _scenario(
    series: ItemSeries,
    shape: TableShape,
    found: covariates.Related,
    planned: pd.DataFrame,
    history: pd.DataFrame,
    published: pd.DataFrame,
) -> None:
    """Sliders and a table for the planned values, the forecast under them, and the scenario that comes of them."""
    st.subheader("Change what is planned")
    key = f"{series.name}_{planned['timestamp'].iloc[0]}"
    changed = _changed(found, planned, key)
    drawn = st.container()
    with st.expander("Each period"):
        edited = st.data_editor(
            changed,
            hide_index=True,
            width="stretch",
            disabled=["timestamp"],
            column_config=_columns(found, planned),
            key=f"table_{key}_{pd.util.hash_pandas_object(changed, index=False).sum()}",
        )
    rows = scenario_rows(series, planned, edited)
    with drawn:
        _answer(series, shape, found, planned, edited, history, published)
    if rows.empty:
        st.caption("Move a slider, or write other values into the table.")
        return
    st.caption(f"{len(rows)} of {len(planned)} periods are other than planned.")
    _keep(series, rows)


def _changed(found: covariates.Related, planned: pd.DataFrame, key: str) -> pd.DataFrame:
    """The planned values with what is chosen for all periods: a slider of percent, a switch, or one of the texts."""
    changed = planned.copy()
    cells = st.columns(max(1, min(3, len(found.known))))
    for place, attribute in enumerate(found.known):
        name, label = attribute.name, f"{plain(attribute.name)}: all periods"
        past = found.values[name].dropna()
        with cells[place % len(cells)]:
            if attribute.kind != "number":
                chosen = st.selectbox(
                    label, sorted(set(past)), index=None, placeholder="as planned", key=f"choice_{key}_{name}"
                )
                changed[name] = changed[name] if chosen is None else chosen
            elif set(past) <= {0.0, 1.0}:
                switch = st.segmented_control(
                    label, list(_SWITCH), default=AS_PLANNED, required=True, key=f"switch_{key}_{name}"
                )
                value = _SWITCH.get(str(switch))
                changed[name] = changed[name] if value is None else value
            else:
                by = st.slider(label, -MOST, MOST, 0, format="%+d %%", key=f"slider_{key}_{name}")
                changed[name] = changed[name] * (1 + by / 100)
    return changed


def _columns(found: covariates.Related, planned: pd.DataFrame) -> dict[str, Any]:
    """How the table shows the periods, and what may be written into it."""
    days = bool((planned["timestamp"] == planned["timestamp"].dt.normalize()).all())
    moment = st.column_config.DatetimeColumn("time", format="YYYY-MM-DD" if days else "YYYY-MM-DD HH:mm", pinned=True)
    texts = {
        attribute.name: st.column_config.SelectboxColumn(options=sorted(set(found.values[attribute.name].dropna())))
        for attribute in found.known
        if attribute.kind != "number"
    }
    return {"timestamp": moment, **texts}


def _answer(
    series: ItemSeries,
    shape: TableShape,
    found: covariates.Related,
    planned: pd.DataFrame,
    edited: pd.DataFrame,
    history: pd.DataFrame,
    published: pd.DataFrame,
) -> None:
    """The endpoint's forecast under the changed values, beside the one under those planned; else why there is none."""
    try:
        served = endpoint()
        asked = question(
            series.name,
            history,
            found.values,
            planned,
            reads=[attribute.name for attribute in found.attributes if served.read.reads(attribute.name)],
            ahead=[attribute.name for attribute in found.known if served.read.ahead(attribute.name)],
            frequency=served.frequency,
            middle=shape.middle,
        )
        with st.spinner("The endpoint is asked."):
            baseline = asked.read(ask_endpoint(served, asked.under()))
            what_if = asked.read(ask_endpoint(served, asked.under(edited)))
    except (NothingToShow, UnanswerableError, EndpointError) as error:
        st.info(plain(error), icon=":material/cloud_off:")
        return
    shown = pd.DataFrame({"timestamp": planned["timestamp"], "what_if": what_if, "baseline": baseline})
    _totals_and_lines(shown, history, shape)
    st.caption(
        f"Answered by {plain(served.version)}, the endpoint {plain(served.name)}. Totals are those of the whole horizon."
    )
    say_clock()
    if not served.current:
        st.caption(
            "Forecasts are made with another version by now: `chronos-assets endpoint deploy` brings the endpoint up to date."
        )
    difference = _relative_difference(shown, published)
    if difference > APART:
        st.caption(
            f"Its forecast of what is planned differs from the published one by {percent(difference, 1)}: look at what the "
            "change makes of it rather than at the level."
        )
    if unread := [attribute.name for attribute in found.known if not served.read.ahead(attribute.name)]:
        st.caption(f"The model doesn't use {plain(', '.join(unread))}: other values there move nothing.")


def _relative_difference(shown: pd.DataFrame, published: pd.DataFrame) -> float:
    """How far the endpoint's baseline is from the published forecast, relative to that."""
    both = shown.merge(published, on="timestamp")
    volume = float(both["middle"].abs().sum())
    return float((both["baseline"] - both["middle"]).abs().sum()) / volume if volume else 0.0


def _totals_and_lines(shown: pd.DataFrame, history: pd.DataFrame, shape: TableShape) -> None:
    """Totals and lines of a forecast under other values and of its baseline."""
    what_if, baseline = float(shown["what_if"].sum()), float(shown["baseline"].sum())
    left, right = st.columns(2)
    change = percent((what_if - baseline) / abs(baseline), 1) if baseline and what_if != baseline else None
    left.metric(f"Total of the {'medians' if shape.middle == 'p50' else 'forecast'}", number(what_if), change)
    right.metric("Baseline", number(baseline))
    draw(charts.scenario_chart(history.tail(max(SHOWN, SHOWN_HORIZONS * len(shown))), shown))


def scenario_rows(series: ItemSeries, planned: pd.DataFrame, edited: pd.DataFrame) -> pd.DataFrame:
    """What replaces planned values: the series' key, `timestamp`, and the attributes that differ anywhere; rows that differ."""
    attributes = [name for name in planned.columns if name != "timestamp"]
    same = (planned[attributes] == edited[attributes]) | (planned[attributes].isna() & edited[attributes].isna())
    kept = [name for name in attributes if not same[name].all()]
    rows = edited.loc[~same[kept].all(axis=1), ["timestamp", *kept]] if kept else edited.iloc[:0]
    rows = rows.assign(timestamp=rows["timestamp"].map(lambda moment: pd.Timestamp(moment).isoformat()))
    for name, value in reversed(list(series.key.items())):
        rows.insert(0, name, value)
    return rows


def _keep(series: ItemSeries, rows: pd.DataFrame) -> None:
    """Save the scenario where the setting allows it; else offer its file."""
    name = st.text_input("Name of the scenario", placeholder="cheaper-in-july", max_chars=63)
    if name and not SCENARIO_NAME.fullmatch(name):
        st.warning("Use letters, digits, hyphens and underscores, beginning with a letter or a digit.")
        return
    # As the scenario's reader takes it: names are compared, not run.
    text = rows.to_csv(index=False)
    place = source().group.place(f"{WHAT_IF_KEY}/{name or '<name>'}.csv")
    if not source().group.settings.dashboard_decisions:
        st.caption(
            f"Put the file at {plain(place)} to have it forecast; CHRONOS\\_DASHBOARD\\_DECISIONS=yes lets this page save it."
        )
        st.download_button("Download the scenario", csv_text(rows), f"{name or 'scenario'}.csv", "text/csv")
        return
    if st.button("Save the scenario", type="primary", disabled=not name, icon=":material/save:"):
        key = f"{WHAT_IF_KEY}/{name}.csv"
        if source().group.store.exists(key):
            st.warning(f"There is a scenario called {plain(name)} already: choose another name.")
            return
        source().group.store.put(key, text.encode())
        st.success(
            f"Saved as {plain(place)}. With `chronos-assets ui` running its forecast comes by itself, in a minute or so; it "
            "appears below."
        )


def _results(series: ItemSeries, shape: TableShape) -> None:
    """Forecasts of this series under the scenarios that there are."""
    found = ask("what_if", shape, series)
    if found.empty:
        return
    st.subheader("Scenarios")
    scenario = st.selectbox("Scenario", list(dict.fromkeys(found["scenario"])), key="scenario")
    shown = found[found["scenario"] == scenario]
    _totals_and_lines(shown, ask("history", series), shape)
    st.caption(f"Beside the forecast as of {plain(shown['as_of'].iloc[0])}. Totals are those of the whole horizon.")
    if not is_beside_current(source().group, scenario):
        st.warning(
            "It was not forecast beside the current forecast: either it is on its way, or it can't be applied any more, since "
            "its file is gone or its times lie before the horizon.",
            icon=":material/update:",
        )
