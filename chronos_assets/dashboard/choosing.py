"""Choosing a series: by the page's address, or by typing a part of its name.

Here: the box, and the address that is a link to what was chosen. Elsewhere: what a page shows of it.
"""

from __future__ import annotations

import streamlit as st

from chronos_assets.dashboard.queries import ItemSeries, TableShape
from chronos_assets.dashboard.session import ask
from chronos_assets.dashboard.words import plain


def choose_series(shape: TableShape, title: str) -> ItemSeries | None:
    """The series that the page's address names, or the one that is searched for; None, and a hint, while there is none."""
    asked = _of_address(shape)
    default = [] if asked is None else [asked.name]
    suggestions = {series.name: series for series in ask("search", shape, "")}
    names = list(dict.fromkeys([*default, *suggestions]))
    if asked is not None and st.session_state.get("_address") != asked:
        # The address names another series than the box did: a link was followed.
        st.session_state["_address"] = asked
        st.session_state["search"] = asked.name
    text = st.selectbox(
        "Item",
        names,
        index=None,
        key="search",
        accept_new_options=True,
        placeholder="type a part of a name, then Enter",
        filter_mode="contains",
    )
    if not text:
        st.title(title)
        st.info("Type a part of a name to find a series, or choose one from Items to look at.")
        return None
    if asked is not None and text == asked.name:
        chosen: ItemSeries | None = asked
    elif text in suggestions:
        chosen = suggestions[text]
    else:
        chosen = _meant_series(shape, text, title)
    if chosen is not None:
        st.title(plain(chosen.name if title == "Item" else f"{title}: {chosen.name}"))
        st.session_state["_address"] = chosen
        st.query_params.from_dict(address_of(chosen))
    return chosen


def _meant_series(shape: TableShape, text: str, title: str) -> ItemSeries | None:
    """The series that a text means; where it means several, the one that is chosen among them."""
    found: list[ItemSeries] = ask("search", shape, text)
    exact = [series for series in found if text in (series.name, series.item)]
    if len(found) == 1 or len(exact) == 1:
        return (exact or found)[0]
    if not found:
        st.title(title)
        st.warning(f"No item has {plain(text)} in its name.")
        return None
    names = {series.name: series for series in exact or found}
    picked = st.radio(f"{len(names)} series match", list(names)[:20], index=None)
    if picked is None:
        st.caption("Choose one, or type more of the name.")
        return None
    return names[picked]


def _of_address(shape: TableShape) -> ItemSeries | None:
    """The series that the page's address names."""
    item = st.query_params.get("item")
    if not item:
        return None
    given = {name: st.query_params.get(_parameter(name)) for name in shape.dimensions}
    if all(value is not None for value in given.values()):
        return ItemSeries(item, tuple((name, str(value)) for name, value in given.items()))
    found = [series for series in ask("search", shape, item) if series.item == item]
    return found[0] if found else ItemSeries(item)


def address_of(series: ItemSeries) -> dict[str, str]:
    """The parameters of an address that name a series."""
    return {"item": series.item, **{_parameter(name): value for name, value in series.dimensions}}


def _parameter(dimension: str) -> str:
    """What a dimension is called in an address: where it would be the item's name, or Streamlit's, with a dash at its end."""
    return f"{dimension}-" if dimension == "item" or dimension.startswith("embed") else dimension
