"""What the dashboard's pages need where a test opens them without a browser."""

from collections.abc import Iterator

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner


@pytest.fixture
def fresh_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pages that remember nothing of others, and don't look for components of Streamlit's in all installed packages.

    That search, which a server makes once, takes four fifths of the time of a page that a test opens. And after each page
    Streamlit collects garbage among all that the tests before have left.
    """
    st.config.set_option("runner.postScriptGC", False)
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", lambda **_: [])
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()
