"""What the UI shows of the forecast line: values of the pure parts -> Dagster metadata; and what all metadata is made of.

Elsewhere: the training line's (`training_metadata`), the benchmark's (`benchmark`).

Tables have a fixed schema, so that an empty one still renders, and few rows, so that the event log stays small. Markdown
stays under 1,000 characters, which the UI draws in place.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams, quantile_name
from chronos_assets.pipeline.accuracy import WindowAccuracy
from chronos_assets.pipeline.dataset_import import ImportResult
from chronos_assets.pipeline.forecasts import ForecastRun, WindowForecast
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.levels import published_levels
from chronos_assets.pipeline.predictors import by_weight, gain_text, learned_text
from chronos_assets.pipeline.tables import LINEAGE
from chronos_assets.store_layout import DATASET_KEY, accuracy_key, history_key
from chronos_assets.timeseries.checks import CheckOutcome

TABLE_ROWS = 20
# Of numbers in tables of many columns: the page cuts off what is wider than its middle.
COLUMN_DIGITS, LEADERBOARD_DIGITS = 4, 3
TITLE_LENGTH = 40
# Scores that are numbers of their own, so that the UI draws them over the partitions; coverage is, too.
PLOTTED = {"wql", "mase", "wape", "rmse", "mape", "bias", "weighted_bias", "tracking_signal"}

Metadata = dict[str, Any]


def dataset(group: Group, imported: ImportResult) -> Metadata:
    """Of `target_time_series`."""
    manifest = imported.manifest
    params = imported.params
    keys = [dg.TableColumn("item_id", "string", "item"), *_dimension_columns(params.dimensions)]
    return {
        "dagster/row_count": manifest.rows,
        "dagster/uri": _uri(group, DATASET_KEY),
        "dagster/column_schema": dg.TableSchema(
            [
                *keys,
                dg.TableColumn("timestamp", "timestamp", f"start of the period, {params.frequency.description}"),
                dg.TableColumn("target", "double", "value of the period; NaN where nothing is known"),
                dg.TableColumn("filled", "boolean", "true where nothing was observed"),
            ]
        ),
        "series": manifest.series,
        "first": manifest.first,
        "last": manifest.last,
        "frequency": manifest.frequency,
        "observed": manifest.observed,
        "filled": manifest.filled,
        "duplicates_resolved": manifest.duplicates,
        "rejected_rows": sum(manifest.rejected.values()),
        "shards": len(manifest.shards),
        "files": counts_table("file", sorted(manifest.files.items())),
        "rejected": counts_table("reason", sorted(manifest.rejected.items())),
        "notes": list_markdown([*params.notes, *manifest.notes]),
        **({"remarks": list_markdown(imported.remarks)} if imported.remarks else {}),
        "data_version": manifest.data_version,
        "train_digest": imported.train_digest,
        "params_digest": params.digest,
        **job(imported.facts),
    }


def leaderboard(predictor: Mapping[str, Any] | None) -> Metadata:
    """Of a predictor's summary: its members beside the ensemble, and what the ensemble gains; nothing of a model alone."""
    if predictor is None:
        return {}
    columns = {"member": "string", "weight": "float", "wql": "float", "mase": "float", "coverage": "float"}
    names = {name: name for name, kind in columns.items() if kind == "float"}
    if any(row.get("series_per_second") is not None for row in predictor["leaderboard"]):
        columns["series/s"] = "float"
        names["series/s"] = "series_per_second"
    rows = (
        {
            "member": str(row["member"]),
            **{name: rounded(row.get(key), LEADERBOARD_DIGITS) for name, key in names.items()},
        }
        for row in sorted(predictor["leaderboard"], key=lambda row: row["weight"] == 0)  # those that count stand first
    )
    return {
        "leaderboard": table(columns, rows),
        "members": ", ".join(f"{name} {weight:.0%}" for name, weight in by_weight(predictor["weights"])),
        "ensemble_gain": gain_text(predictor.get("gain") or {}),
        "learned_from": learned_text(predictor["learned"]),
    }


def _cold_starts(made: Mapping[str, Any] | None) -> Metadata:
    """How many series have no past, how many a few observations, and how those did when donors were treated alike."""
    if made is None:
        return {}
    few = made.get("few_observations") or {}
    tried = few.get("tried") or {}
    return {
        "cold_starts": made["series"],
        **({"cold_starts_by_few_observations": few["series"]} if few else {}),
        **({"few_observations_wape": tried["wape"], "naive_wape_of_few": tried["naive_wape"]} if tried else {}),
    }


def forecast(group: Group, made: ForecastRun, window: WindowForecast) -> Metadata:
    """Of one partition of `forecasts`: pictures first, then what it is, then what it was made from."""
    manifest, message, params = window.manifest, window.message, made.params
    model = manifest["model"]
    values: Metadata = {
        f"picture_{number}": dg.MetadataValue.md(markdown)
        for number, markdown in enumerate(sparklines(message.get("sparks", ()), _dates(manifest)), 1)
    }
    values |= {
        "series": manifest["series"],
        "skipped_series": manifest["skipped_count"],
        "not_started_series": manifest["not_started"],
        **_cold_starts(manifest.get("cold_start")),
        **({"levels": _levels_text(levels)} if (levels := published_levels(group, window.key)) is not None else {}),
        "horizon": manifest["horizon"],
        "dagster/partition_row_count": manifest["rows"],
        "as_of": manifest["window_end"],
        "context_end": manifest["context_end"],
        "forecast_start": manifest["forecast_start"],
        "forecast_end": manifest["forecast_end"],
        "periods_behind": manifest["periods_behind"],
        "published": window.published,
        "model": model["reference"],
        "model_note": made.model.note or "the version in use",
        "trained_on_later_data": manifest["trained_on_later_data"],
        "unrolled": manifest["unrolled"],
        "method": manifest["method"],
        "crossed_quantiles": manifest["crossed"],
        **leaderboard(manifest.get("predictor")),
    }
    if manifest["skipped_count"]:
        values["skipped"] = table(
            {"series": "string", "reason": "string"},
            ({"series": str(row["item"]), "reason": str(row["reason"])} for row in message["skipped"]),
        )
    return values | {
        "windows_in_run": len(made.windows),
        "seconds_in_run": round(made.seconds, 2),
        "dagster/uri": _uri(group, history_key(window.key)),
        "dagster/column_schema": _forecast_schema(params),
        "model_digest": model["digest"],
        "data_version": manifest["data_version"],
        "params_digest": params.digest,
        **job(made.facts),
    }


def _levels_text(levels: Mapping[str, Any]) -> str:
    """How many sums there are of each level, the total first."""
    counts = ", ".join(f"{name} {nodes:,}" for name, nodes in levels["levels"].items())
    return f"{counts} ({levels['method']})"


def job(facts: Mapping[str, Any]) -> Metadata:
    """What a platform reports of a job or a search, with its addresses to be clicked; nothing on a laptop."""
    return {
        name: dg.MetadataValue.url(value) if str(value).startswith("https://") else value
        for name, value in facts.items()
    }


def _forecast_schema(params: ForecastParams) -> dg.TableSchema:
    types = [("mean", "mean, integrated over the quantiles")] if params.mean else []
    types += [(quantile_name(level), f"{level:g} quantile") for level in params.quantiles]
    return dg.TableSchema(
        [
            dg.TableColumn("item_id", "string", "item"),
            *_dimension_columns(params.dimensions),
            dg.TableColumn("timestamp", "timestamp", f"start of the period, {params.frequency.description}"),
            *(dg.TableColumn(name, "double", text) for name, text in types),
        ]
    )


def accuracy(group: Group, window: WindowAccuracy) -> Metadata:
    """Of one partition of `forecast_accuracy`: every metric beside seasonal naive, the main ones as plottable numbers."""
    overall = window.report.overall()
    values: Metadata = {
        "dagster/uri": _uri(group, accuracy_key(window.key)),
        "dagster/partition_row_count": window.rows,
        "dagster/column_schema": _metrics_schema(window.report.dimensions),
        "model": window.model,
        "series": len(window.report.series),
        "points": window.report.points,
        "excluded_points": window.report.excluded,
        "data_version": window.data_version,
        "forecast_version": window.forecast_version,
        "baseline": window.report.baseline.name,
        "anomalies": len(window.report.anomalies),
        "worst_anomalies": table(
            {"series": "string", "timestamp": "string", "actual": "float", "low": "float", "high": "float"},
            (
                {**row, **{name: rounded(row[name], COLUMN_DIGITS) for name in ("actual", "low", "high")}}
                for row in window.report.worst_anomalies(TABLE_ROWS)
            ),
        ),
        "metrics": table(
            {"metric": "string", "value": "float", "seasonal_naive": "float", "points": "int", "excluded": "int"},
            (
                {
                    "metric": name,
                    "value": rounded(comparison.value),
                    "seasonal_naive": rounded(comparison.seasonal_naive),
                    "points": comparison.points,
                    "excluded": comparison.excluded,
                }
                for name, comparison in overall.items()
            ),
            limit=100,
        ),
    }
    for name, comparison in overall.items():
        if name in PLOTTED or name.startswith("coverage_"):
            if comparison.value is not None:
                values[name] = float(comparison.value)
            if comparison.seasonal_naive is not None:
                values[f"{name}_seasonal_naive"] = float(comparison.seasonal_naive)
    wql = overall.get("wql")  # none where the mean alone is forecast
    if wql is not None and wql.value is not None and wql.seasonal_naive:
        values["wql_relative_to_seasonal_naive"] = float(wql.value / wql.seasonal_naive)
    return values


def _metrics_schema(dimensions: Sequence[str]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(
                "level",
                "string",
                "all: the whole dataset; segment: its series with one value of a dimension or of metadata; item: one series",
            ),
            dg.TableColumn("item_id", "string", "item"),
            *_dimension_columns(dimensions),
            dg.TableColumn("segment_by", "string", "of a segment: the dimension or attribute"),
            dg.TableColumn("segment_value", "string", "of a segment: its value"),
            dg.TableColumn("metric", "string"),
            dg.TableColumn("value", "double", "null where undefined, such as a ratio to zero"),
            dg.TableColumn("seasonal_naive", "double", "the same metric of the seasonal naive forecast"),
            dg.TableColumn(
                "baseline", "string", "which seasonal naive forecast: the one that was hardest to beat before"
            ),
            dg.TableColumn("points", "int", "observed values that it was computed from"),
            dg.TableColumn("excluded", "int", "values of the horizon that were left out"),
        ]
    )


def tables(group: Group, rows: Mapping[str, int], made_from: str) -> Metadata:
    """Of `forecast_tables`; `made_from` is the digest of what they show."""
    return {
        LINEAGE: made_from,
        "dagster/uri": group.tables.place(group.store),
        "dagster/row_count": sum(rows.values()),
        "tables": counts_table("table", rows.items()),
        "try_it": dg.MetadataValue.md(
            "```sql\nSELECT * FROM forecast_vs_history WHERE item_id = '…' ORDER BY timestamp, type\n```"
        ),
    }


def failing_rows(failed: Sequence[tuple[str, CheckOutcome]]) -> dg.MetadataValue:
    """Failing rows of check outcomes, each with its partition where there is one."""
    rows = [
        {**({"partition": key} if key else {}), **{name: _cell(value) for name, value in row.items()}}
        for key, outcome in failed
        for row in outcome.failing_rows
    ]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["problem"]
    return table(dict.fromkeys(names, "string"), ({name: row.get(name, "") for name in names} for row in rows))


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _uri(group: Group, key: str) -> str:
    return group.place(key)


def _dimension_columns(names: Sequence[str]) -> list[dg.TableColumn]:
    return [dg.TableColumn(name, "string", "dimension") for name in names]


def table(schema: Mapping[str, str], rows: Iterable[Mapping[str, Any]], limit: int = TABLE_ROWS) -> dg.MetadataValue:
    """A table of the columns in `schema` (name -> type), with the first `limit` of the rows."""
    records = [dg.TableRecord(dict(row)) for _, row in zip(range(limit), rows, strict=False)]
    columns = [dg.TableColumn(name, kind) for name, kind in schema.items()]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def counts_table(what: str, counts: Iterable[tuple[str, int]], of: str = "rows") -> dg.MetadataValue:
    """A table of how many rows (or what `of` says) each of some things has."""
    return table({what: "string", of: "int"}, ({what: name, of: count} for name, count in counts))


def list_markdown(lines: Sequence[str]) -> dg.MetadataValue:
    """Lines as a list, cut so that the UI draws it in place."""
    text = "\n".join(f"- {line}" for line in lines) or "none"
    return dg.MetadataValue.md(text if len(text) < 1000 else text[:990] + " …")


def rounded(value: float | None, digits: int = 6) -> float | None:
    """So many digits, or None where there is no finite number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def png(alternative: str, picture: bytes) -> dg.MetadataValue:
    """A picture, which the UI shows behind a click where its text is too long to be drawn in place."""
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{base64.b64encode(picture).decode()})")


def _dates(manifest: Mapping[str, Any]) -> str:
    """What a forecast's picture is about in time: the last period that it saw, and the last one that it covers."""
    seen, end = (str(manifest[name]).removesuffix("T00:00:00") for name in ("context_end", "forecast_end"))
    return f"data to {seen}, forecast to {end}"


def sparklines(sparks: Sequence[Mapping[str, Any]], dates: str = "") -> list[str]:
    """A picture in markdown of each {"item", "history", "median", "low", "high"}; the band may be missing."""
    import numpy as np

    from chronos_assets.timeseries.forecast.sparkline import (
        MARKDOWN_LIMIT,
        Outlook,
        escape_markdown,
        sparkline_markdown,
    )

    def floats(values: Sequence[float | None]) -> Any:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    pictures = []
    for spark in sparks:
        low, high = spark.get("low"), spark.get("high")
        band = {} if low is None or high is None else {"low": floats(low), "high": floats(high)}
        outlook = Outlook(history=floats(spark["history"]), median=floats(spark["median"]), **band)
        title = f"**{escape_markdown(str(spark['item'])[:TITLE_LENGTH])}**{f' {dates}' if dates else ''}\n\n"
        picture = sparkline_markdown(str(spark["item"]), outlook, limit=MARKDOWN_LIMIT - len(title))
        pictures.append(title + picture)
    return pictures
