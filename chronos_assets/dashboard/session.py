"""What every page begins with: the source, cached answers, charts, and errors in words.

Here: Streamlit's caches, and the edge at which an error becomes a sentence. Elsewhere: what a page shows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import pandas as pd
import streamlit as st

from chronos_assets.dashboard import queries
from chronos_assets.dashboard.charts import DataChart
from chronos_assets.dashboard.source import NothingToShow, ServedModel, StoreSource
from chronos_assets.dashboard.words import plain
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.tables import SqlTables
from chronos_assets.settings import Settings

logger = logging.getLogger(__name__)

Page = Callable[[], None]
P = ParamSpec("P")
ENDPOINT_SECONDS = 15  # for which the endpoint is taken to be as it was found


@st.cache_resource(show_spinner=False)
def source() -> StoreSource:
    """Where everything comes from, by the settings of the environment."""
    return StoreSource(Group(Settings.from_env()))


def ask(question: str, *arguments: Any, **named: Any) -> Any:
    """The answer of a function of `queries` about the tables as they are now; asked once for each version of them.

    Raises:
        NothingToShow: there are no tables.
        TablesError: they can't be read.
    """
    return _answer(source().tables_version(), question, arguments, named)


@st.cache_data(show_spinner=False, max_entries=2000)
def _answer(version: str, question: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return getattr(queries, question)(_tables(version), *arguments, **named)


@st.cache_resource(show_spinner=False, max_entries=2)
def _tables(version: str) -> SqlTables:
    """The tables; opened once for each version."""
    return source().tables()


@st.cache_data(show_spinner=False, ttl=ENDPOINT_SECONDS)
def endpoint() -> ServedModel:
    """The group's endpoint; see `StoreSource.endpoint`."""
    return source().endpoint()


def ask_endpoint(served: ServedModel, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its answer to a request; asked once for each version that it serves.

    Raises:
        EndpointError: it refuses, or doesn't answer.
    """
    return _answered(served.name, served.identity, json.dumps(request, allow_nan=False))


@st.cache_data(show_spinner=False, max_entries=200)
def _answered(name: str, identity: str, request: str) -> Mapping[str, Any]:
    return source().group.endpoints.invoke(name, json.loads(request))


def draw(chart: DataChart) -> None:
    """Show a chart, as wide as there is room."""
    st.vega_lite_chart(chart.whole(dark=st.context.theme.type == "dark"), width="stretch")


def say_clock() -> None:
    """Say which clock times are of, where they aren't as in the train files."""
    params = GroupState(source().group).readable_params
    zone = "" if params is None or params.time_zone in (None, "UTC") else plain(params.time_zone)
    if params is not None and params.in_utc:
        st.caption(f"Times are UTC{f'; the export has them on the clock of {zone}' if zone else ''}.")
    elif zone:
        st.caption(f"Times are on the clock of {zone}.")


def table(frame: pd.DataFrame, **options: Any) -> Any:
    """Show a table as wide as there is room, with a dash where there is no value; `st.dataframe` has the options."""
    return st.dataframe(frame, hide_index=True, width="stretch", placeholder="–", **options)


def in_words(page: Callable[P, None]) -> Callable[P, None]:
    """A page, or a part of one, whose errors are sentences; what nobody expected goes to the log as well."""

    @wraps(page)
    def shown(*given: P.args, **named: P.kwargs) -> None:
        try:
            page(*given, **named)
        except NothingToShow as nothing:
            st.info(plain(nothing), icon=":material/hourglass_empty:")
        except (ChronosAssetsError, OSError) as error:
            logger.warning("%s", error)
            st.error(plain(error), icon=":material/error:")
        except Exception as error:
            if type(error).__module__.startswith("streamlit"):
                raise  # how a page ends early
            if "dagster" in type(error).__module__:
                st.error(plain(error), icon=":material/error:")
                return
            logger.exception("a page can't be shown")
            st.error(
                f"This page can't be shown: {plain(type(error).__name__)}. The server's log has the details; reload the page, "
                "and if it stays so, run `chronos-assets doctor`.",
                icon=":material/error:",
            )

    return shown
