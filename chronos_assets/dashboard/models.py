"""The page Models: versions, how they were judged, and, where a setting allows it, decisions about them."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from chronos_assets.dashboard.session import ask, source, table
from chronos_assets.dashboard.source import NothingToShow
from chronos_assets.dashboard.words import moment, number, percent, plain
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ParamsError
from chronos_assets.params.predictor import member_in_words
from chronos_assets.params.reader import load_params
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.registry import PackageVersion, approved_version
from chronos_assets.platforms.tables import TablesError
from chronos_assets.store_layout import PARAMS_KEY
from chronos_assets.timeseries.scoring.gate import TITLES

logger = logging.getLogger(__name__)

_BAND = "inside the 80 % band"
_NAMES = {"wql": "wQL", "mase": "MASE", "coverage_80": _BAND}
_GATE_COLUMNS = {
    "wql": "wQL",
    "mase": "MASE",
    "coverage": "inside its band",
    "difference": "candidate's wQL minus its own",
    "low": "95 % interval from",
    "high": "to",
    "verdict": "the candidate is",
}
_STATUS = {"Approved": "approved", "Rejected": "rejected", "PendingManualApproval": "waits for approval"}


def show() -> None:
    """Draw the page."""
    st.title("Models")
    if decided := st.session_state.pop("decided", ""):
        st.success(plain(decided), icon=":material/gavel:")
    versions = _versions()
    in_use = approved_version(versions)
    if in_use is None:
        st.info(
            f"No version is in use: the base model `{source().group.settings.base_model}` forecasts."
            + ("" if versions else " `chronos-assets run`, or the job retrain, tunes a model on the data.")
        )
    else:
        st.success(f"In use: **{plain(in_use.name)}**", icon=":material/check_circle:")
    _leaderboard()
    if not versions:
        return
    st.subheader("Versions")
    newest_first = list(reversed(versions))
    table(_table(newest_first, in_use))
    names = {item.name: item for item in newest_first}
    chosen = names[st.selectbox("Version", list(names), key="version")]
    _gate(chosen)
    _history(chosen)
    _decisions(chosen, in_use)


def _versions() -> list[PackageVersion]:
    """Every version, in order.

    Raises:
        NothingToShow: it isn't clear which group's.
    """
    group = source().group
    try:
        params = load_params(group.store.get(PARAMS_KEY), source=PARAMS_KEY)
    except FileNotFoundError as error:
        raise NothingToShow(source().what_is_missing()) from error
    except ParamsError as error:
        raise NothingToShow(f"{error}\nCorrect params.json; then the models appear here.") from error
    return group.registry.versions(params.package_group)


def _table(versions: Sequence[PackageVersion], in_use: PackageVersion | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "version": [item.version for item in versions],
            "status": ["in use" if item == in_use else _STATUS[item.status] for item in versions],
            "made": [moment(str(item.document.get("created", ""))[:16]) for item in versions],
            "wQL": [(item.document.get("metrics") or {}).get("wql") for item in versions],
            "MASE": [(item.document.get("metrics") or {}).get("mase") for item in versions],
            "why": [item.reason for item in versions],
        }
    )


def _leaderboard() -> None:
    """The members of the newest forecast."""
    try:
        found = ask("leaderboard")
    except (NothingToShow, TablesError) as error:
        st.caption(plain(error))
        return
    if found.empty:
        return
    st.subheader("Leaderboard")
    shown = found.drop(columns="as_of").rename(columns={"member_weight": "weight", **_NAMES})
    shown["what it is"] = [
        "all members together" if name == "ensemble" else member_in_words(name) for name in found["member"]
    ]
    share = st.column_config.NumberColumn(format="percent")
    table(shown, column_config={_BAND: share, "weight": share})
    st.caption(
        f"On the past windows that the weights of the forecast as of {plain(found['as_of'].iloc[0])} were learned from."
    )


def _gate(version: PackageVersion) -> None:
    """What the gate compared it with, and what it said."""
    gate: Any = version.document.get("gate") or {}
    rows = gate.get("rows") or []
    st.subheader("Gate")
    st.markdown(plain(version.reason))
    if rows:
        share = st.column_config.NumberColumn(format="percent")
        config = {
            _GATE_COLUMNS["coverage"]: share,
            "relative": st.column_config.NumberColumn(help="its wQL over that of the candidate"),
        }
        table(_gate_table(rows), column_config=config)


def _gate_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What the gate compared, under the names that people read."""
    found = pd.DataFrame([{**row, "model": row.get("title") or TITLES.get(row["model"], row["model"])} for row in rows])
    return found.drop(columns="title", errors="ignore").rename(columns=_GATE_COLUMNS)


def _history(version: PackageVersion) -> None:
    with st.expander("What was decided about it"):
        for entry in version.history:
            status = _STATUS.get(str(entry.get("status")), str(entry.get("status")))
            when = moment(str(entry.get("at", ""))[:16])
            st.markdown(
                f"{plain(when)}: {plain(status)} by {plain(entry.get('by', ''))}. {plain(entry.get('reason', ''))}"
            )
    metrics = ", ".join(
        f"{_NAMES.get(name, name)} {percent(value) if name == 'coverage_80' else number(value)}"
        for name, value in (version.document.get("metrics") or {}).items()
    )
    base = version.document.get("base_model", "")
    st.caption(plain(f"Tuned from {base}. {metrics}"))


def _decisions(version: PackageVersion, in_use: PackageVersion | None) -> None:
    """Approve, reject, roll back: with a reason, and only where the setting allows it."""
    if not source().group.settings.dashboard_decisions:
        st.caption("Decisions are made with `chronos-assets model`; CHRONOS_DASHBOARD_DECISIONS=yes allows them here.")
        return
    st.subheader("Decide")
    with st.form("decision", border=True):
        reason = st.text_input("Reason", max_chars=300, placeholder="for the version's history")
        left, middle, right = st.columns(3)
        pressed = {
            "approve": left.form_submit_button(
                f"Approve {version.name}", disabled=version == in_use, width="stretch", icon=":material/check:"
            ),
            "reject": middle.form_submit_button(
                f"Reject {version.name}",
                disabled=version.status == "Rejected",
                width="stretch",
                icon=":material/close:",
            ),
            "roll_back": right.form_submit_button(
                # Its name makes it another button once another version is in use: pressed on a page that is out of date, it
                # does nothing, instead of rolling back one more version.
                "Roll back" if in_use is None else f"Roll back {in_use.name}",
                disabled=in_use is None,
                width="stretch",
                icon=":material/undo:",
                help="The version in use is rejected; the approved one before it, or the base model, takes its place.",
            ),
        }
    action = next((name for name, was in pressed.items() if was), None)
    if action is None:
        return
    if not reason.strip():
        st.warning("Say why: the reason is kept with the version.")
        return
    _decide(action, version, reason.strip())


class _KeptMessages:
    """A log that keeps its messages, for the page."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    warning = info


def _decide(action: str, version: PackageVersion, reason: str) -> None:
    """Carry out a decision, and say what its result was."""
    from chronos_assets.pipeline.decisions import decide_version

    said = _KeptMessages()
    number_of = None if action == "roll_back" else version.version
    try:
        with st.spinner("The decision is carried out; the endpoint follows where one is up."):
            decide_version(GroupState(source().group), action, number_of, by=_decider(), reason=reason, log=said)
    except ChronosAssetsError as error:
        st.error(plain(error), icon=":material/error:")
        return
    logger.info("%s of %s by %s: %s", action, version.name, _decider(), reason)
    st.session_state["decided"] = f"Done: {'; '.join(said.lines)}."
    st.rerun()


def _decider() -> str:
    """Who decides: the one that is logged in, else the user of this machine."""
    if st.user.get("is_logged_in"):
        return f"{st.user.get('email') or st.user.get('name') or st.user.get('sub')} (dashboard)"
    return f"{getpass.getuser()} (dashboard)"
