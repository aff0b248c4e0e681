"""The page Items to look at: series ranked by what needs eyes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from chronos_assets.dashboard import covariates, queries
from chronos_assets.dashboard.choosing import address_of
from chronos_assets.dashboard.queries import Filters, ItemSeries, TableShape
from chronos_assets.dashboard.session import ask, source, table
from chronos_assets.dashboard.words import csv_name, csv_text, plain
from chronos_assets.errors import ChronosAssetsError

# Ranking -> the column that it is by, and what it is good for.
_ABOUT = {
    "Share of the error": ("error_share", "Where improving one forecast would improve the whole most."),
    "Bias (tracking signal)": (
        "tracking_signal",
        "Misses on one side: beyond ±6 a forecast is usually looked at. Above zero it was too high.",
    ),
    "Change since the forecast before": (
        "relative_change",
        "What the newest forecast changed about the one before it, on the periods of both.",
    ),
    "Actuals outside the band": ("anomalies", "How many actuals were far outside of what was forecast."),
    "Volume": ("volume", "The sum of the current forecast."),
}
_PERCENT = ("relative_change", "error_share", "weighted_bias", "wape", "naive_wape")
_TITLES = {
    "volume": "volume",
    "relative_change": "change",
    "error_share": "share of the error",
    "tracking_signal": "tracking signal",
    "weighted_bias": "bias",
    "wape": "WAPE",
    "naive_wape": "WAPE of naive",
    "anomalies": "anomalies",
}


def show() -> None:
    """Draw the page."""
    st.title("Items to look at")
    shape = ask("columns")
    scored = ask("scored")
    forecast = source().forecast() or {}
    left, right = st.columns([2, 1])
    by = left.selectbox("Rank by", list(queries.RANKINGS), index=0 if scored else len(queries.RANKINGS) - 1, key="rank")
    as_of = right.selectbox("Scores as of", scored, key="scored", placeholder="none yet", disabled=len(scored) < 2)
    st.caption(_ABOUT[by][1])
    filters = _filters(shape)
    found = ask("ranking", shape, by, filters, scored_as_of=as_of or "", as_of=str(forecast.get("as_of", "")))
    if found.empty:
        st.info("No series matches: take a filter away.")
        return
    if not scored:
        st.caption("No forecast has been scored yet: shares, bias and errors are empty until the first one is.")
    _table(found, shape, by)


def _filters(shape: TableShape) -> Filters:
    described = _described()
    cells = st.columns(min(4, 1 + len(shape.dimensions) + len(described)))
    text = cells[0].text_input("Name contains", key="text", placeholder="part of a name")

    def chosen(place: int, name: str, values: Sequence[str], key: str) -> str | None:
        cell = cells[place % len(cells)]
        return cell.selectbox(plain(name), values, index=None, placeholder="all", key=f"{key}_{name}")

    dimensions = []
    for place, name in enumerate(shape.dimensions, start=1):
        value = chosen(place, name, ask("values_of", name), "dimension")
        if value is not None:
            dimensions.append((name, value))
    wanted = {}
    for place, (name, values) in enumerate(described.items(), start=1 + len(shape.dimensions)):
        value = chosen(place, name, values, "metadata")
        if value is not None:
            wanted[name] = value
    items = covariates.items_with(source().group.store, wanted) if wanted else None
    return Filters(text.strip(), tuple(dimensions), items)


def _described() -> dict[str, list[str]]:
    """Texts of the items' metadata; none, and a sentence, where they can't be read: the list needs none."""
    try:
        return covariates.categories(source().group.store)
    except ChronosAssetsError as error:
        st.warning(plain(error))
        return {}


def _table(found: pd.DataFrame, shape: TableShape, by: str) -> None:
    number = st.column_config.NumberColumn
    config = {
        "item_id": st.column_config.TextColumn("item", pinned=True),
        **{name: number(title, format="percent") for name, title in _TITLES.items() if name in _PERCENT},
        "volume": number("volume", format="compact"),
        "tracking_signal": number("tracking signal", format="%.1f"),
        "anomalies": number("anomalies", format="%d"),
    }
    note = f"The first {len(found):,} series." if len(found) == queries.LISTED else f"{len(found):,} series."
    st.caption(f"{note} Choose a row to see the series.")
    picked = table(
        found,
        height=min(560, 38 + 35 * len(found)),
        column_config=config,
        # What it is ranked by first: a phone shows two or three columns.
        column_order=sorted(
            found.columns, key=lambda name: (name not in shape.keys, name.lstrip("_") != _ABOUT[by][0])
        ),
        on_select="rerun",
        selection_mode="single-row",
        key="ranking",
    )
    st.download_button(
        "Download as CSV",
        lambda: csv_text(found),
        csv_name([by, "items"]),
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    rows = picked.selection.rows
    if rows:
        row = found.iloc[rows[0]]
        series = ItemSeries(str(row["item_id"]), tuple((name, str(row[name])) for name in shape.dimensions))
        st.session_state["series"] = series
        st.markdown(f"Chosen: **{plain(series.name)}**")
        if st.button("Open its page", type="primary", icon=":material/monitoring:"):
            st.switch_page(st.session_state["item_page"], query_params=address_of(series))
