"""The dashboard's script, which Streamlit runs for each visitor: `server` starts it.

Here: who may enter, and the pages. Elsewhere: what a page shows.
"""

from __future__ import annotations

import streamlit as st

from chronos_assets.dashboard import item, items, models, overview, what_if
from chronos_assets.dashboard.session import Page, in_words, source

st.set_page_config(page_title="Forecasts", page_icon=":material/monitoring:", layout="wide")


# Streamlit's own download of a table writes names as they are: a spreadsheet would run those that look like formulas.
_STYLE = """<style>
[data-testid="stElementToolbarButton"]:has(button[aria-label="Download as CSV"]) { display: none; }
.stMainBlockContainer { padding-top: 4rem; }
</style>"""


def _page(show: Page, title: str, path: str, icon: str, *, default: bool = False) -> st.Page:
    return st.Page(in_words(show), title=title, url_path=path, icon=f":material/{icon}:", default=default)


def main() -> None:
    """Let those in who may read the pages, and show the one that is asked for."""
    st.html(_STYLE)
    if source().group.settings.dashboard_login and not st.user.get("is_logged_in"):
        st.title("Forecasts")
        st.button("Log in", on_click=st.login, type="primary")
        return
    item_page = _page(item.show, "Item", "item", "monitoring")
    st.session_state["item_page"] = item_page
    pages = [
        _page(overview.show, "Overview", "overview", "home", default=True),
        _page(items.show, "Items to look at", "items", "format_list_numbered"),
        item_page,
        _page(what_if.show, "What-if", "what-if", "tune"),
        _page(models.show, "Models", "models", "model_training"),
    ]
    chosen = st.navigation(pages, position="top")
    if st.user.get("is_logged_in"):
        st.sidebar.button("Log out", on_click=st.logout)
    chosen.run()


main()
