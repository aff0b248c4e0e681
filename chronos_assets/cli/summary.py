"""What a run of the main job left, as the rows of its summary: read from what is published, not from what was meant."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chronos_assets.cli.common import UsageError, make_flag, program
from chronos_assets.defs.main_job import MainJobResult
from chronos_assets.pipeline import serving
from chronos_assets.pipeline.account import account_rows, import_rows, scenario_rows, unseen_rows
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.published import forecast_manifest, published_manifest, published_series
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.tuning import read_tuned
from chronos_assets.platforms.endpoints import EndpointError
from chronos_assets.platforms.notices import one_line
from chronos_assets.platforms.registry import PackageVersion
from chronos_assets.store_layout import FORECAST_KEY, accuracy_key
from chronos_assets.timeseries.published_files import FORECAST, METRICS
from chronos_assets.timeseries.scoring.gate import TITLES


def print_summary(group: Group, result: MainJobResult, data: Path | None) -> None:
    """Print where the forecast is, how good it is, which model made it, and what to do next.

    Raises:
        UsageError: there is nothing to show: no series could be forecast.
    """
    made, state = forecast_manifest(group, result.window.key), GroupState(group)
    manifest = published_manifest(group)
    if not made["series"] or manifest is None:
        print_rows("Not forecast", import_rows(state))
        raise UsageError(_nothing_forecast(group, made, result.window.key))
    option = f" --data {shlex.quote(str(data))}" if data is not None else ""
    rows = [
        *forecast_rows(group, manifest),
        ("SQL tables", group.tables.place(group.store)),
        ("data up to", f"{manifest['context_end']} (partition {manifest['as_of']})"),
        ("series, steps", f"{manifest['series']:,} series × {manifest['horizon']} steps"),
    ]
    rows += [
        *unseen_rows(state, manifest),
        *account_rows(state, manifest),
        *scenario_rows(state),
        ("model", f"{manifest['model']['reference']} ({manifest['model']['parameters']:,} parameters)"),
        *backtest_rows(group, result),
        *training_rows(group, result),
        (
            "what next",
            f"make ui{make_flag(data)}, then open http://127.0.0.1:3000, or the dashboard at the address that it prints",
        ),
        ("", f"{program()} query{option} {_first_series(group)}"),
    ]
    print_rows("Forecast published", rows)


def print_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a table of labels and texts; coloured in a terminal, plain elsewhere."""
    console = Console(highlight=False)
    console.print(f"\n[bold green]{title}[/]\n")
    for label, text in rows:
        # Not wrapped: a path is there to be copied.
        console.print(Text.assemble("  ", (f"{label:<14}", "bold cyan"), f" {text}"), soft_wrap=True)


def _nothing_forecast(group: Group, manifest: dict[str, Any], key: str) -> str:
    reasons = "; ".join(f"{number:,} {reason}" for reason, number in manifest["skipped_reasons"].items())
    last = GroupState(group).require_manifest().last
    return (
        f"no series could be forecast as of {key} ({reasons or 'none has begun'}); what was published before stays. "
        f"The train files end at {last}: is that right, and are the values?"
    )


def forecast_rows(group: Group, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the files of the current forecast are: the export, or the first of its parts, and the Parquet file."""
    names = [name for name in manifest.get("files", ("forecast.csv",)) if name != FORECAST]
    first = min(names, default="", key=lambda name: (len(name), name))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    places = [f"{group.place(f'{FORECAST_KEY}/{first}')}{more}"] if first else []
    places.append(group.place(f"{FORECAST_KEY}/{FORECAST}"))
    return [("" if number else "forecast", place) for number, place in enumerate(places)]


def backtest_rows(group: Group, result: MainJobResult) -> list[tuple[str, str]]:
    """Mean wQL and MASE over the backtest windows beside seasonal naive, as rows of the summary."""
    import pyarrow.parquet as pq

    if not result.backtest:
        why = "no earlier partition has a horizon that is observed" if result.backtest_asked else "not asked for"
        return [("backtest", f"none: {why}")]
    scores: dict[str, list[tuple[float, float]]] = {"wql": [], "mase": []}
    names: dict[str, None] = {}  # of the baselines, in order
    for window in result.backtest:
        path = group.store.snapshot(accuracy_key(window.key)) / METRICS
        for row in pq.read_table(path, filters=[("level", "=", "all")]).to_pylist():
            names[str(row.get("baseline") or "seasonal naive")] = None
            if row["metric"] in scores and row["value"] is not None and row["seasonal_naive"] is not None:
                scores[row["metric"]].append((row["value"], row["seasonal_naive"]))
    rows = [("backtest", f"{len(result.backtest)} as-of windows, {result.backtest[0].key} … {result.backtest[-1].key}")]
    for name, label in (("wql", "wQL"), ("mase", "MASE")):
        pairs = scores[name]
        if not pairs:
            rows.append((f"  {label}", "undefined for this data"))
            continue
        ours, naive = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        share = f"   ({ours / naive:.2f} times)" if naive > 0 else ""
        rows.append((f"  {label}", f"{ours:.4f}   {' or '.join(names)} {naive:.4f}{share}"))
    flattered = sum(forecast_manifest(group, window.key)["trained_on_later_data"] for window in result.backtest)
    if flattered:
        rows.append(
            ("", f"{flattered} of these windows were forecast by a model that was trained or chosen on later data")
        )
    return rows


def training_rows(group: Group, result: MainJobResult) -> list[tuple[str, str]]:
    """The last search, what the gate said, the version in use and the endpoint, as rows of the summary."""
    if result.training_failure:
        return [("training", "FAILED, see below")]
    state = GroupState(group)
    tuned, registered = read_tuned(group), state.versions
    if tuned is None or not registered:
        return [("training", result.training)]
    best, newest = tuned["candidates"][tuned["best"]], registered[-1]
    trials = [trial for candidate in tuned["candidates"] for trial in candidate["trials"]]
    failed = [trial for trial in trials if trial["state"] == "Failed"]
    chosen = ", ".join(f"{key} {_short(value)}" for key, value in best["chosen"].items())
    model = state.model_in_use
    rows = [
        ("trials", f"{len(trials)}; best: {chosen or 'as given'}, validation wQL {best['objective']:.4f}"),
        *(("", f"trial {trial['number']} failed: {one_line(trial.get('reason', ''))}") for trial in failed),
        ("gate", _gate(newest)),
        ("version", model.label if model.key else f"{model.label}, {model.note}"),
    ]
    return [*rows, *endpoint_rows(group)]


def _gate(version: PackageVersion) -> str:
    """The verdict, and the wQL of everything that was compared with each other."""
    gate = version.document.get("gate")
    if gate is None:  # registered by another program
        return f"{version.status}: {version.reason}"
    candidate, *others = gate["rows"]
    reported = ", ".join(f"{row.get('title') or TITLES[row['model']]} {_number(row['wql'])}" for row in others)
    return f"{version.status}: test wQL {_number(candidate['wql'])}; {reported}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def endpoint_rows(group: Group) -> list[tuple[str, str]]:
    """Whether the endpoint answers, which version, and the beginning of one answer."""
    group_state = GroupState(group)
    try:
        state = group.endpoints.describe(serving.endpoint_name(group_state))
    except EndpointError as error:
        return [("endpoint", str(error))]
    if state is None:
        return [("endpoint", f"none is running: {program()} endpoint deploy starts it")]
    if not state.healthy:
        return [("endpoint", f"{state.url} does not answer: {program()} endpoint deploy starts it again")]
    request = serving.golden_request(group_state)
    try:
        prediction = group.endpoints.invoke(state.name, request)["predictions"][0]
    except EndpointError as error:
        return [("endpoint", f"{state.url} gave no answer: {error}")]
    local = group.settings.deployment == "local"  # SageMaker hands on invocations only
    values = ", ".join(f"{value:.4g}" for value in prediction["mean"][:4])
    return [
        ("endpoint", f"{state.url}/invocations ({state.version})"),
        ("  sample", f"{request['inputs'][0]['item_id']}: mean {values} …"),
        *([("  queries", f"{state.url}: ForecastArn {serving.forecast_arn(group_state)}")] if local else []),
    ]


def _first_series(group: Group) -> str:
    """What `query` is to be given for the first series of the current forecast."""
    found = next(iter(published_series(group, 1)), None)
    if found is None:
        return "<item_id>"
    item, *values = found
    names = (published_manifest(group) or {})["dimensions"]
    options = [f"--dimension {shlex.quote(f'{name}={value}')} " for name, value in zip(names, values, strict=True)]
    return f"{''.join(options)}{'-- ' if item.startswith('-') else ''}{shlex.quote(item)}"
