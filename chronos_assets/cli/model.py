"""`model`: versions of the tuned model, and what people decide about them."""

from __future__ import annotations

import getpass
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chronos_assets.cli.common import DataOption, Printer, UsageError, make_flag, open_state

if TYPE_CHECKING:
    from chronos_assets.pipeline.state import GroupState
    from chronos_assets.platforms.registry import PackageVersion

app = typer.Typer(
    help="Versions of the tuned model: list, show, metrics, approve, reject, roll-back.", no_args_is_help=True
)

WIDTH = 100  # characters of a line

VersionArgument = Annotated[
    int | None, typer.Argument(help="Number of the version (default: the newest).", show_default=False)
]
ReasonOption = Annotated[str, typer.Option(help="Reason, for the version's history.")]


@app.command("list")
def list_versions(data: DataOption = None) -> None:
    """List the versions, oldest first; the one in use is marked."""
    _print_versions(open_state(data), data)


@app.command("approve")
def approve(version: VersionArgument = None, reason: ReasonOption = "", data: DataOption = None) -> None:
    """Put a version into use; newer approved ones are rejected. The endpoint follows."""
    _decide(data, "approve", version, reason)


@app.command("reject")
def reject(version: VersionArgument = None, reason: ReasonOption = "", data: DataOption = None) -> None:
    """Reject a version; if it was in use, the approved one before it takes its place."""
    _decide(data, "reject", version, reason)


@app.command("roll-back")
def roll_back(reason: ReasonOption = "", data: DataOption = None) -> None:
    """Reject the version in use; the approved one before it takes its place."""
    _decide(data, "roll_back", reason=reason)


@app.command("show")
def show(version: VersionArgument = None, data: DataOption = None) -> None:
    """Show a version's predictor: its members with their scores and weights, and what the ensemble gains."""
    chosen = _registered(version, data)
    print(f"{chosen.name}  {chosen.status}\n{_indented(chosen.reason)}")
    _print_predictor(chosen.document.get("predictor"))


@app.command("metrics")
def metrics(version: VersionArgument = None, data: DataOption = None) -> None:
    """Print a version's errors on the gate's test windows, as the JSON of Amazon Forecast's GetAccuracyMetrics."""
    from chronos_assets.params.predictor import DEFAULT_METRIC
    from chronos_assets.timeseries.scoring.service_documents import ScoredWindow, accuracy_document

    chosen = _registered(version, data)
    test = chosen.document.get("test")
    if test is None:
        raise UsageError(f"{chosen.name} was registered without all its metrics: `chronos-assets model show` has some")
    summary = ScoredWindow(None, None, int(test["series"]), test["metrics"])
    print(json.dumps(accuracy_document([], summary, DEFAULT_METRIC), indent=2))


def _registered(version: int | None, data: Path | None) -> PackageVersion:
    """A registered version; the newest without a number."""
    from chronos_assets.pipeline import training
    from chronos_assets.platforms.registry import listed

    state = open_state(data)
    name, registered = training.package_group(state), state.versions
    chosen = registered[-1:] if version is None else [item for item in registered if item.version == version]
    if not chosen:
        asked = "no version" if version is None else f"no version {version}"
        raise UsageError(f"there is {asked} of {name}: {listed(name, registered)}")
    return chosen[0]


def _print_predictor(predictor: Mapping[str, Any] | None) -> None:
    from chronos_assets.pipeline.predictors import gain_text, learned_text

    if predictor is None:
        print("the model alone: it was registered without a predictor")
        return
    print(f"{'member':<22}{'weight':>8}{'wQL':>10}{'MASE':>9}{'80% band':>10}{'series/s':>10}")
    for row in predictor["leaderboard"]:
        cells = [row["weight"], row["wql"], row["mase"], row["coverage"], row.get("series_per_second")]
        forms = ("8.1%", "10.4f", "9.3f", "10.1%", "10,.0f")
        widths = (8, 10, 9, 10, 10)
        texts = [
            " " * width if cell is None else f"{cell:{form}}"
            for cell, form, width in zip(cells, forms, widths, strict=True)
        ]
        print(f"{row['member']:<22}{''.join(texts)}".rstrip())
    print(f"ensemble: {gain_text(predictor.get('gain') or {})}")
    print(f"learned from {learned_text(predictor['learned'])}; {predictor['items']:,} items have weights of their own")


def _indented(reason: str) -> str:
    """A verdict below the line that it belongs to: it has a part for each model that was compared."""
    return textwrap.fill(reason, WIDTH, initial_indent=" " * 7, subsequent_indent=" " * 7, break_long_words=False)


def _decide(data: Path | None, action: str, version: int | None = None, reason: str = "") -> None:
    from chronos_assets.pipeline.decisions import decide_version
    from chronos_assets.pipeline.state import GroupState

    by = f"{getpass.getuser()} (command line)"
    state = open_state(data)
    decide_version(state, action, version, by=by, reason=reason, log=Printer())
    _print_versions(GroupState(state.group), data)  # the state before knows the versions as they were


def _print_versions(state: GroupState, data: Path | None) -> None:
    from chronos_assets.pipeline import training

    name, registered = training.package_group(state), state.versions
    if not registered:
        print(f"no version of {name} is registered yet: `make run{make_flag(data)}` trains one")
        return
    in_use = state.version_in_use
    for item in registered:
        mark = "*" if in_use is not None and item.version == in_use.version else " "
        wql = item.document["metrics"].get("wql")
        score = "" if wql is None else f"  wQL {wql:.4f}"
        print(f"{mark} {item.version:>3}  {item.status:<22} {item.document['created']}{score}")
        print(_indented(item.reason))
    print("* in use" if in_use is not None else "none is in use: the zero-shot base model forecasts")
