"""The page What-if: other values of what is known in advance, and what the forecast would be."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from chronos_assets.dashboard import charts, covariates
from chronos_assets.dashboard.choosing import choose_series
from chronos_assets.dashboard.queries import ItemSeries, TableShape
from chronos_assets.dashboard.session import ask, source
from chronos_assets.dashboard.words import csv_text, number, percent, plain
from chronos_assets.pipeline.what_if import SCENARIO_NAME
from chronos_assets.store_layout import WHAT_IF_KEY

MOST = 50  # percent that a slider changes a value by
SHOWN_HORIZONS = 3


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
        _scenario(series, found, planned)
    _results(series, shape)


def _planned(found: covariates.Related | None, forecast: pd.DataFrame) -> pd.DataFrame:
    """Values of the attributes known in advance in the periods of the forecast."""
    if found is None or not found.known or forecast.empty:
        return pd.DataFrame()
    names = ["timestamp", *(attribute.name for attribute in found.known)]
    return found.values.loc[found.values["timestamp"].isin(forecast["timestamp"]), names].reset_index(drop=True)


def _scenario(series: ItemSeries, found: covariates.Related, planned: pd.DataFrame) -> None:
    """Sliders and a table for the planned values, and the scenario that comes of them."""
    st.subheader("Change what is planned")
    numbers = [attribute.name for attribute in found.known if attribute.kind == "number"]
    changed = planned.copy()
    cells = st.columns(max(1, min(3, len(numbers))))
    for place, name in enumerate(numbers):
        with cells[place % len(cells)]:
            by = st.slider(
                f"{plain(name)}: all periods", -MOST, MOST, 0, format="%+d %%", key=f"slider_{series.name}_{name}"
            )
        changed[name] = changed[name] * (1 + by / 100)
    edited = st.data_editor(
        changed,
        hide_index=True,
        width="stretch",
        disabled=["timestamp"],
        key=f"table_{series.name}_{[st.session_state.get(f'slider_{series.name}_{name}') for name in numbers]}",
    )
    rows = scenario_rows(series, planned, edited)
    if rows.empty:
        st.caption("Move a slider, or write other values into the table.")
        return
    st.caption(f"{len(rows)} of {len(planned)} periods are other than planned.")
    _keep(series, rows)


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
    place = source().group.store.uri(f"{WHAT_IF_KEY}/{name or '<name>'}.csv")
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
    what_if, baseline = float(shown["what_if"].sum()), float(shown["baseline"].sum())
    left, right = st.columns(2)
    left.metric(
        "Total of the forecast", number(what_if), percent((what_if - baseline) / abs(baseline), 1) if baseline else None
    )
    right.metric("Baseline", number(baseline))
    history = ask("history", series).tail(SHOWN_HORIZONS * len(shown))
    st.altair_chart(charts.scenario_chart(history, shown), width="stretch")
    st.caption(f"Beside the forecast as of {plain(shown['as_of'].iloc[0])}; whole horizon.")
