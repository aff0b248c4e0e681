"""Score a Chronos-Bolt checkpoint on the zero-shot sets of a folder, as the Chronos paper does. For reporting only.

    python benchmarks/zero_shot.py [FOLDER] [--model CHECKPOINT] [--limit SERIES] [--published MODEL ...]

FOLDER (or the environment's CHRONOS_BENCHMARK_DATA) holds the sets as JSON lines (`<name>.jsonl.gz`: item_id, start,
freq, target), `ETT-small.zip`, and `published/` with the configurations and result tables of chronos-forecasting.
Horizons and offsets are those of the configurations; metrics and seasons GluonTS's. Relative scores are to the
published seasonal naive; their geometric mean is over the zero-shot sets, and the in-domain sets are only shown.
"""

import argparse
import csv
import gzip
import json
import math
import os
import re
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from chronos import BaseChronosPipeline
from gluonts.dataset.split import split
from gluonts.ev.metrics import MASE, MeanWeightedSumQuantileLoss
from gluonts.model.evaluation import evaluate_forecasts
from gluonts.model.forecast import QuantileForecast

LEVELS = [round(0.1 * k, 1) for k in range(1, 10)]
BUNDLED = Path(__file__).parent.parent / "chronos_assets" / "models" / "bundled"


def read_configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """Return prediction_length, offset and kind ('zero-shot', 'in-domain') by set, from the published files."""
    found = {}
    for kind in ("zero-shot", "in-domain"):
        text = (folder / "published" / "configs" / f"{kind}.yaml").read_text()
        for entry in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
            fields = dict(re.findall(r"^\s*(\w+): (\S+)$", entry, flags=re.MULTILINE))
            found[fields["name"]] = {
                "kind": kind,
                "offset": int(fields["offset"]),
                "prediction_length": int(fields["prediction_length"]),
            }
    return found


def read_published(folder: Path, model: str) -> dict[str, dict[str, float]]:
    """Return {set: {'MASE': ..., 'WQL': ...}} of a published model."""
    rows = {}
    for path in sorted((folder / "published" / "results").glob(f"{model}-*.csv")):
        if "agg-rel" not in path.name:
            with path.open() as file:
                rows |= {row["dataset"]: {k: float(row[k]) for k in ("MASE", "WQL")} for row in csv.DictReader(file)}
    return rows


def read_sets(folder: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each set's name and its series as GluonTS entries."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as file:
            rows = [json.loads(line) for line in file]
        keys = ("item_id", "start", "freq", "target")
        yield path.name.removesuffix(".jsonl.gz"), [_entry(*(row[key] for key in keys)) for row in rows]
    archive = folder / "ETT-small.zip"
    if archive.exists():
        for name, freq in (("ETTh", "h"), ("ETTm", "15min")):
            entries = []
            with zipfile.ZipFile(archive) as files:
                for number in (1, 2):
                    with files.open(f"ETT-small/{name}{number}.csv") as file:
                        table = pd.read_csv(file)
                    start = table["date"].iloc[0]
                    entries += [_entry(f"{c}{number}", start, freq, table[c]) for c in table.columns if c != "date"]
            yield name, entries


def _entry(item_id: str, start: str, freq: str, target: Any) -> dict[str, Any]:
    values = np.array([np.nan if v is None else v for v in target], dtype=np.float32)
    return {"item_id": item_id, "start": pd.Period(start, freq=freq), "target": values}


def forecast(
    pipeline: BaseChronosPipeline, contexts: list[np.ndarray], horizon: int, batch_size: int = 64
) -> np.ndarray:
    """Return quantiles at LEVELS, shape (series, levels, horizon); batches hold contexts of like length."""
    result = np.empty((len(contexts), len(LEVELS), horizon), dtype=np.float32)
    order = np.argsort([len(c) for c in contexts])
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        quantiles, _ = pipeline.predict_quantiles(
            [torch.from_numpy(contexts[i]) for i in rows], prediction_length=horizon, quantile_levels=LEVELS
        )
        result[rows] = quantiles.numpy().transpose(0, 2, 1)
    return result


def score(pipeline: BaseChronosPipeline, entries: list[dict[str, Any]], config: dict[str, Any]) -> dict[str, float]:
    """Return MASE, WQL, coverage of the 80% band, and seconds of forecasting."""
    horizon = config["prediction_length"]
    _, template = split(entries, offset=config["offset"])
    test = template.generate_instances(horizon, windows=1)
    inputs, labels = list(test.input), np.stack([label["target"] for label in test.label])
    began = time.monotonic()
    quantiles = forecast(pipeline, [entry["target"] for entry in inputs], horizon)
    seconds = time.monotonic() - began
    forecasts = [
        QuantileForecast(q, forecast_keys=[str(level) for level in LEVELS], start_date=e["start"] + len(e["target"]))
        for q, e in zip(quantiles, inputs, strict=True)
    ]
    metrics = evaluate_forecasts(
        forecasts, test_data=test, metrics=[MASE(), MeanWeightedSumQuantileLoss(LEVELS)], batch_size=5000
    ).iloc[0]
    inside = (labels >= quantiles[:, 0]) & (labels <= quantiles[:, -1])
    return {
        "MASE": float(metrics["MASE[0.5]"]),
        "WQL": float(metrics["mean_weighted_sum_quantile_loss"]),
        "coverage": float(inside[~np.isnan(labels)].mean()),
        "seconds": seconds,
    }


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean of positive values."""
    return math.exp(float(np.mean(np.log(values))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Zero-shot scores of a Chronos-Bolt checkpoint.")
    parser.add_argument("folder", nargs="?", default=os.environ.get("CHRONOS_BENCHMARK_DATA"))
    parser.add_argument("--model", default=str(BUNDLED))
    parser.add_argument("--limit", type=int, help="score only the first series of each set")
    parser.add_argument("--published", nargs="*", default=["chronos-bolt-tiny", "chronos-t5-tiny"])
    options = parser.parse_args()
    if not options.folder:
        parser.error("name the folder of the sets, or set CHRONOS_BENCHMARK_DATA")
    folder = Path(options.folder)
    warnings.filterwarnings("ignore")
    pipeline = BaseChronosPipeline.from_pretrained(options.model)
    configurations = read_configurations(folder)
    naive = read_published(folder, "seasonal-naive")
    others = {name: read_published(folder, name) for name in options.published}

    scores = {}
    for name, entries in read_sets(folder):
        scores[name] = score(pipeline, entries[: options.limit], configurations[name])
        s = scores[name]
        print(f"{name}: {len(entries[: options.limit])} series in {s['seconds']:.1f} s", flush=True)

    columns = ["wQL", "MASE", "80% band", "rel. wQL", "rel. MASE", *(f"{other} rel. wQL / MASE" for other in others)]
    print("\n| set | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for kind in ("zero-shot", "in-domain"):
        names = [name for name in scores if configurations[name]["kind"] == kind]
        rows = [(name, [scores[name], *(other[name] for other in others.values())]) for name in names]
        relative = {
            name: [tuple(each[metric] / naive[name][metric] for metric in ("WQL", "MASE")) for each in row]
            for name, row in rows
        }
        for name in names:
            s, r = scores[name], relative[name]
            label = name if kind == "zero-shot" else f"{name} ({kind}, not aggregated)"
            cells = [f"{s['WQL']:.4f}", f"{s['MASE']:.3f}", f"{s['coverage']:.0%}", f"{r[0][0]:.3f}", f"{r[0][1]:.3f}"]
            print(f"| {label} | " + " | ".join(cells + [f"{a:.3f} / {b:.3f}" for a, b in r[1:]]) + " |")
        if kind == "zero-shot" and names:
            aggregate = [
                tuple(geometric_mean([relative[name][column][metric] for name in names]) for metric in (0, 1))
                for column in range(1 + len(others))
            ]
            coverage = np.mean([scores[name]["coverage"] for name in names])
            cells = ["", "", f"{coverage:.0%}", f"{aggregate[0][0]:.3f}", f"{aggregate[0][1]:.3f}"]
            cells += [f"{a:.3f} / {b:.3f}" for a, b in aggregate[1:]]
            print(f"| **geometric mean of {len(names)}** | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
