"""The files of an evaluation: what several models' errors were on the same held-out windows.

Here belong the two files of the folder, written and read. Making the forecasts is in `workloads.evaluate`, deciding by
them in `gate`, the metrics' arithmetic in `metrics`.

- `metrics.json`: what was compared and how (the writer's), and under `models` for each model its `metrics` over all
  points (null where undefined) and how many windows it `failed` to forecast; `left_out`: model -> why it has none.
- `losses.parquet`: one row for each model, series and window; every model has the same series and windows. Columns:
  model, item_id, dimensions (list of strings), window (from 0), points, absolute_actual (Σ |actual|), loss (mean of the
  next ones), loss_p10 ... (Σ weighted quantile loss), absolute_error, mase (NULL where undefined), coverage_80 ...
  (points inside).

A window that one of the models could not forecast is in neither: all are compared on the same points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import quantile_name
from chronos_assets.system import write_json
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.scoring.gate import SEASONAL_NAIVE, TITLES, Evaluation, Scores
from chronos_assets.timeseries.scoring.metrics import ErrorSums, central_bands

METRICS_FILE, LOSSES_FILE = "metrics.json", "losses.parquet"


class EvaluationError(ChronosAssetsError, ValueError):
    """The files of an evaluation can't be read; the message says which and why."""


@dataclass(frozen=True)
class Measured:
    """Errors of several models on the same windows.

    keys, windows (rows,): series, (item_id, *dimensions), and number of each row's window. errors: model -> sums of
    shape (rows,). failed: model -> windows that it could not forecast, where there are any. left_out: model -> why it
    was not measured.
    """

    keys: Sequence[Key]
    windows: NDArray[np.int64]
    errors: Mapping[str, ErrorSums]
    failed: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def metrics(self, model: str) -> dict[str, float | None]:
        """Every metric over all points, None where undefined; a point forecast has no bands to cover anything."""
        return {
            name: None if _undefined(measure.value) or _is_band(name, model) else float(measure.value)
            for name, measure in self.errors[model].total().measures().items()
        }


def write_evaluation(folder: Path, measured: Measured, header: Mapping[str, Any]) -> dict[str, Any]:
    """Write both files; the document of `metrics.json`. The same errors give the same bytes.

    `header` goes to the top of the document; its `models` (model -> JSON object), if any, gets the results added.
    """
    described = header.get("models", {})
    document = {
        **header,
        "models": {
            name: {
                **described.get(name, {}),
                "failed": measured.failed.get(name, 0),
                "metrics": measured.metrics(name),
            }
            for name in measured.errors
        },
        "left_out": dict(measured.left_out),
    }
    _write_losses(folder / LOSSES_FILE, measured)
    write_json(folder / METRICS_FILE, document, ensure_ascii=False, allow_nan=False)
    return document


def read_evaluation(folder: Path) -> Evaluation:
    """What `write_evaluation` left in a folder, as the gate needs it.

    Raises:
        EvaluationError: a file is missing, damaged, or not of the other.
    """
    try:
        document = json.loads((folder / METRICS_FILE).read_bytes())
        models: Mapping[str, Any] = document["models"]
        columns = ["model", "item_id", "dimensions", "window", "points", "absolute_actual", "loss"]
        table = pq.read_table(folder / LOSSES_FILE, columns=columns, partitioning=None).to_pydict()
        keys = [(item, *rest) for item, rest in zip(table["item_id"], table["dimensions"], strict=True)]
        series = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        shape = (len(models), len(series), max(table["window"], default=-1) + 1)
        losses, scale = np.full(shape, np.nan), np.full(shape, np.nan)
        places = (
            np.array([list(models).index(name) for name in table["model"]], dtype=np.intp),
            np.array([series[key] for key in keys], dtype=np.intp),
            np.array(table["window"], dtype=np.intp),
        )
        measured = np.array(table["points"], dtype=np.int64) > 0
        losses[places] = np.where(measured, np.array(table["loss"], dtype=np.float64), np.nan)
        scale[places] = np.where(measured, np.array(table["absolute_actual"], dtype=np.float64), np.nan)
        if not all(np.array_equal(scale[0], other, equal_nan=True) for other in scale[1:]):
            raise ValueError("the models were not measured on the same points")
        return Evaluation(
            scores={
                name: Scores(dict(entry["metrics"]), losses[place], int(entry["failed"]))
                for place, (name, entry) in enumerate(models.items())
            },
            scale=scale[0],
            left_out=dict(document["left_out"]),
            baseline=_baseline_name(models),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, pa.ArrowException) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise EvaluationError(f"the evaluation in {folder} can't be read ({said}): run it again") from error


def _write_losses(path: Path, measured: Measured) -> None:
    levels = next(iter(measured.errors.values())).levels
    bands = [name for name, _, _ in central_bands(levels)]
    schema = pa.schema(
        [
            ("model", pa.string()),
            ("item_id", pa.string()),
            ("dimensions", pa.list_(pa.string())),
            ("window", pa.int32()),
            ("points", pa.int64()),
            ("absolute_actual", pa.float64()),
            ("loss", pa.float64()),
            *((f"loss_{quantile_name(level)}", pa.float64()) for level in levels),
            ("absolute_error", pa.float64()),
            ("mase", pa.float64()),
            *((name, pa.int64()) for name in bands),
        ]
    )
    items = pa.array([key[0] for key in measured.keys], pa.string())
    dimensions = pa.array([list(key[1:]) for key in measured.keys], pa.list_(pa.string()))
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for model, errors in measured.errors.items():
            columns = [
                pa.array([model] * len(measured.keys), pa.string()),
                items,
                dimensions,
                pa.array(measured.windows.astype(np.int32)),
                pa.array(errors.points),
                pa.array(errors.absolute_actual),
                pa.array(errors.quantile_loss.mean(axis=-1)),
                *(pa.array(np.ascontiguousarray(losses)) for losses in errors.quantile_loss.T),
                pa.array(errors.absolute_error),
                # from_pandas: an undefined value becomes NULL.
                pa.array(errors.measures()["mase"].value, from_pandas=True),
                *(pa.array(np.ascontiguousarray(covered)) for covered in errors.covered.T),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _baseline_name(models: Mapping[str, Any]) -> str:
    """What the seasonal naive forecast is called; one that was measured by an older version has no name."""
    return str(models.get(SEASONAL_NAIVE, {}).get("baseline", {}).get("name", TITLES[SEASONAL_NAIVE]))


def _undefined(value: Any) -> bool:
    return bool(np.isnan(value))


def _is_band(metric: str, model: str) -> bool:
    return model == SEASONAL_NAIVE and metric.startswith("coverage_")
