"""What the UI shows of the training line: trials, the gate's table, versions, the endpoint with a sample forecast.

Tables have a fixed schema, so that an empty one still renders. Elsewhere: the forecast line's (`metadata`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from chronos_assets.defs.metadata import (
    COLUMN_DIGITS,
    Metadata,
    counts_table,
    job,
    leaderboard,
    png,
    rounded,
    sparklines,
    table,
)
from chronos_assets.pipeline.clean_up import CleanedUp
from chronos_assets.pipeline.decisions import Decided
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.packaging import Packaged
from chronos_assets.pipeline.serving import Deployed
from chronos_assets.pipeline.synthetic import Synthetic
from chronos_assets.pipeline.tuning import Tuned
from chronos_assets.store_layout import SYNTHETIC_KEY
from chronos_assets.timeseries.scoring.gate import GateRow

TRIAL_ROWS = 1000  # what `Chronos.Training.MaxJobs` allows


def synthetic(group: Group, made: Synthetic) -> Metadata:
    """Of `synthetic_dataset`: pictures of a few series with their kernels first."""
    sparks = [
        {"item": example["expression"], "history": example["values"], "median": []}
        for example in made.message.get("examples", ())
    ]
    pictures = {f"picture_{number}": dg.MetadataValue.md(text) for number, text in enumerate(sparklines(sparks), 1)}
    return pictures | {
        "splits": counts_table("split", made.manifest["sizes"].items(), of="series"),
        "parameters": dg.MetadataValue.json(made.manifest["parameters"]),
        "seconds": round(made.seconds, 2),
        "series_per_second": rounded(made.message.get("series_per_second")),
        "dagster/uri": group.place(SYNTHETIC_KEY),
        "data_version": made.manifest["data_version"],
        **job(made.facts),
    }


def tuned(group: Group, made: Tuned) -> Metadata:
    """Of `tuned_checkpoints`: every trial, the loss curves, the best one."""
    from chronos_assets.defs.trial_pictures import loss_curves_png

    best = made.document["candidates"][made.document["best"]]
    report = best["report"]
    trials = [trial for of_base in made.trials.values() for trial in of_base]
    pictures = {
        "loss_curves" if candidate is best else f"loss_curves_{number}": png(
            f"loss and validation wQL of the trials of {candidate['base_model']}",
            loss_curves_png(
                made.trials[candidate["base_model"]],
                base_validation=candidate["report"].get("base_validation_wql"),
            ),
        )
        for number, candidate in enumerate(made.document["candidates"], 1)
    }
    return {
        "trials": table(
            {
                "trial": "int",
                "best": "bool",
                "validation_wql": "float",
                "hyperparameters": "string",
                "state": "string",
                "base_model": "string",
                "last_loss": "float",
                "steps": "int",
                "seconds": "float",
                "reason": "string",
            },
            _trial_rows(made, best),
            limit=TRIAL_ROWS,
        ),
        **pictures,
        "best_validation_wql": rounded(best["objective"]),
        "base_validation_wql": rounded(report.get("base_validation_wql")),
        "best_hyperparameters": dg.MetadataValue.json(dict(best["chosen"])),
        "base_model": best["base_model"],
        "trials_made": len(trials),
        "trials_resumed": made.resumed,
        "training_cutoff": report.get("training_cutoff") or "no series of the user's",
        "dagster/uri": group.place(best["model"]),
        "model_digest": best["digest"],
        "data_version": made.document["data_version"] or "none",
        "synthetic_version": made.document["synthetic_version"],
        **job(made.facts),
    }


def _trial_rows(made: Tuned, best: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for base, trials in made.trials.items():
        for trial in trials:
            yield {
                "base_model": base,
                "trial": trial.number,
                "state": trial.state,
                "hyperparameters": ", ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                                             for name, value in trial.hyperparameters.items()),
                "validation_wql": rounded(trial.objective),
                "last_loss": rounded(trial.losses[-1][1]) if trial.losses else None,
                "steps": trial.losses[-1][0] if trial.losses else 0,
                "seconds": round(trial.seconds, 1),
                "best": base == best["base_model"] and trial.number == best["trial"],
                "reason": trial.reason,
            }  # fmt: skip


def package(group: Group, made: Packaged) -> Metadata:
    """Of `model_package`: the gate's table and verdict, the version as the registry has it."""
    version, document = made.version, made.version.document
    columns = {
        "name": "string",
        "wql": "float",
        "mase": "float",
        "coverage": "float",
        "verdict": "string",
        "difference": "string",
    }
    rows = (
        {name: _cell(row.to_document().get(name), kind) for name, kind in columns.items()}
        | {"name": row.title, "difference": _difference(row)}
        for row in made.decision.rows
    )
    return {
        "gate": table(columns, rows),
        **leaderboard(document.get("predictor")),
        "version": version.name,
        "status": version.status,
        "reason": version.reason,
        "seconds": round(made.seconds, 2),
        "history": table(
            {"at": "string", "status": "string", "by": "string", "reason": "string"},
            (
                {name: str(entry.get(name, "")) for name in ("at", "status", "by", "reason")}
                for entry in version.history
            ),
        ),
        "base_model": document["base_model"],
        "training_cutoff": document["training_cutoff"] or "no series of the user's",
        "registered": dg.MetadataValue.json(json.loads(json.dumps(dict(document)))),
        "model": version.name,
        "model_digest": document["model_digest"],
        "dagster/uri": group.place(version.model),
        **job(made.facts),
        **{name: float(value) for name, value in document["metrics"].items() if isinstance(value, int | float)},
    }


def endpoint(group: Group, made: Deployed) -> Metadata:
    """Of `endpoint`: a sample forecast, where it is, what it serves."""
    state, first = made.state, made.request["inputs"][0]
    prediction = made.answer["predictions"][0]
    levels = sorted((name for name in prediction if name.replace(".", "", 1).isdigit()), key=float)
    spark = {
        "item": first["item_id"],
        "history": first["target"],
        "median": prediction.get("0.5", prediction["mean"]),
        **({"low": prediction[levels[0]], "high": prediction[levels[-1]]} if len(levels) > 1 else {}),
    }
    body = json.dumps({"inputs": [{"target": [1, 2, 3, 4]}], "parameters": {"prediction_length": 4}})
    call = f"curl -s {state.url}/invocations -H 'Content-Type: application/json' -d '{body}'"
    if group.settings.deployment == "aws":
        # Which signs the request.
        call = (
            f"aws sagemaker-runtime invoke-endpoint --endpoint-name {state.name} --content-type application/json "
            f"--cli-binary-format raw-in-base64-out --body '{body}' /dev/stdout"
        )
    return {
        "sample_forecast": dg.MetadataValue.md(sparklines([spark])[0]),
        "url": dg.MetadataValue.url(state.url),
        "invocations": dg.MetadataValue.url(f"{state.url}/invocations"),
        "version": state.version,
        "deployed": state.changed,
        "note": made.model.note or f"serves the version in use, {made.model.label}",
        "try_it": dg.MetadataValue.md(f"```sh\n{call}\n```"),
        "details": dg.MetadataValue.json(dict(state.details)),
        "model_digest": made.model.digest,
    }


def decision(made: Decided) -> Metadata:
    """Of a decision about a version."""
    before, after = made.change.before, made.change.after
    return {
        "in_use_before": before.name if before is not None else "zero-shot base model",
        "in_use_now": made.model.label,
        "note": made.model.note or (after.reason if after is not None else ""),
        "rejected": ", ".join(item.name for item in made.change.rejected) or "none",
        "endpoint": f"{made.endpoint.url} serves {made.endpoint.version}" if made.endpoint else "no endpoint is up",
    }


def cleaned_up(removed: CleanedUp | None) -> Metadata:
    """Of what `PerformDelete` removed; nothing where it isn't asked for."""
    if removed is None:
        return {}
    return {
        "endpoint_stopped": removed.endpoint or "none was up",
        "checkpoints_deleted": ", ".join(removed.models) or "none were there",
    }


def _difference(row: GateRow) -> str:
    """The candidate's wQL minus a model's, and its interval, in one cell: the page cuts wide tables off."""
    if row.difference is None:
        return ""
    interval = "" if row.low is None or row.high is None else f" ({row.low:.2g} to {row.high:.2g})"
    return f"{row.difference:.2g}{interval}"


def _cell(value: Any, kind: str) -> Any:
    if kind == "float":
        return rounded(value, COLUMN_DIGITS)
    return "" if value is None else str(value)
