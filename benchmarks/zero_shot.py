"""The zero-shot benchmark without Dagster: scores of models on the Chronos paper's sets. For reporting only.

    python -m benchmarks.zero_shot [FOLDER] [--models MODEL ...] [--sets SET ...] [--output FOLDER] [--json FILE]

FOLDER (or the environment's CHRONOS_BENCHMARK_DATA) holds the sets as JSON lines, `ETT-small.zip`, and `published/` with
the configurations and result tables of chronos-forecasting; without one the sets come from the Hugging Face Hub. Prints
two tables in markdown and leaves them in the output folder as `tables.md`, beside results.csv, aggregate.csv, figure.png
and figure.svg. Results are kept in its `.results`: run again after a kill, it continues with the next model or set.

The first model is `default`: the default predictor, zero-shot, which learns its members' weights from quick backtests on each
set's own past, as a run does; the others are bare checkpoints and peers. FILE gets the absolute values:
{"<model>": {"<set>": {"wql", "mase", "coverage_80", "series_per_second"}}}. Each member of the default predictor is scored by
itself, too: the best one of each set, by wQL, is `best member of default` in FILE, and the last line says how often the
ensemble is within 1.02 times its wQL.
"""

import argparse
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from chronos_assets.benchmark.data import BenchmarkData, open_data
from chronos_assets.benchmark.models import chronos_contender, local_contenders, predictor_contender, with_unique_names
from chronos_assets.benchmark.report import write_report
from chronos_assets.benchmark.scores import Contender, Result, aggregate, aggregate_row, read_published
from chronos_assets.benchmark.tasks import Benchmark, BenchmarkError
from chronos_assets.container.contract import WorkloadError
from chronos_assets.models.checkpoints import BUNDLED, ModelError, describe_model
from chronos_assets.workloads.zero_shot import describe, measure

BESIDE = ("chronos-bolt-tiny", "chronos-t5-tiny")
WITHIN = 1.02  # times the wQL of its best member that an ensemble may be


def kept_or_measured(folder: Path, data: BenchmarkData, name: str, contender: Contender) -> Result:
    """The result that an earlier run left in `folder`, or a new one."""
    path = folder / f"{contender.identity(data.tasks[name], data.digest(name))[:32]}.json"
    if path.exists():
        return Result.from_json(path.read_bytes())
    result = measure(data, name, contender)
    part = path.with_suffix(".part")
    part.write_bytes(result.to_json())
    part.rename(path)
    return result


def absolute_values(results: Sequence[Result]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Scores by model and set; None where undefined."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for result in results:
        own = {"wql": result.wql, "mase": result.mase, "coverage_80": result.coverage}
        found.setdefault(result.model, {})[result.set] = _finite(own | {"series_per_second": result.series_per_second})
        if result.best_member is not None:
            best = dict(result.members[result.best_member]) | {"series_per_second": None}
            found.setdefault(f"best member of {result.model}", {})[result.set] = _finite(best)
    return found


def _finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


def beside_best_members(results: Sequence[Result]) -> str:
    """How the ensembles' wQL are beside those of their best members, in a sentence; empty without any."""
    times = {result.set: result.times_best_member for result in results if result.members}
    if not times:
        return ""
    within = sum(value <= WITHIN for value in times.values())
    worst = max(times, key=lambda name: times[name])
    return (
        f"{within} of {len(times)} sets are within {WITHIN:g} times the wQL of the best member of their ensemble; "
        f"the most is {times[worst]:.3f} times, of {worst}"
    )


def markdown_tables(results: Sequence[Result], model: str, beside: Sequence[str] = ()) -> str:
    """Two tables for a page: the aggregates of all models, and a model's scores on every set, others' beside them."""
    return "\n\n".join([_aggregate_table(results), _set_table(results, model, beside)]) + "\n"


def _aggregate_table(results: Sequence[Result]) -> str:
    lines = ["| model | kind | rel. wQL | rel. MASE | 80% band | sets | series/s |", "|---|---|---|---|---|---|---|"]
    for item in aggregate(results):
        if item.benchmark == "zero-shot":
            row = aggregate_row(item)
            name = f"**{item.model}**" if item.kind == "ours" else item.model
            cells = [name, item.kind, _digits(row["relative_wql"]), _digits(row["relative_mase"])]
            cells += [_percent(item.coverage), f"{item.sets}{' ¹' if item.sampled else ''}"]
            lines.append("| " + " | ".join([*cells, _digits(row["series_per_second"], ".0f")]) + " |")
    if any(item.sampled for item in aggregate(results)):
        lines += ["", "¹ some of the series of large sets, relative to seasonal naive on the same"]
    return "\n".join(lines)


def _set_table(results: Sequence[Result], model: str, beside: Sequence[str]) -> str:
    found = {(result.set, result.model): result for result in results}
    ensemble = any(result.members for result in results if result.model == model)
    columns = ["wQL", "MASE", "80% band", "rel. wQL", "rel. MASE", *(f"{name} rel. wQL / MASE" for name in beside)]
    columns += ["best member: wQL / MASE", "times its wQL"] if ensemble else []
    lines = [f"| {model} | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for benchmark in get_args(Benchmark):
        for result in sorted((r for r in results if (r.model, r.benchmark) == (model, benchmark)), key=lambda r: r.set):
            cells = [_digits(result.wql, ".4f"), _digits(result.mase), _percent(result.coverage)]
            cells += [_digits(result.relative_wql), _digits(result.relative_mase)]
            for name in beside:
                other = found.get((result.set, name))
                cells.append(f"{_digits(other.relative_wql)} / {_digits(other.relative_mase)}" if other else "")
            cells += _best_member(result) if ensemble else []
            label = result.set if benchmark == "zero-shot" else f"{result.set} (in-domain, not aggregated)"
            lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines)


def _best_member(result: Result) -> list[str]:
    if result.best_member is None:
        return ["", ""]
    best = result.members[result.best_member]
    scores = f"{result.best_member}: {_digits(best['wql'], '.4f')} / {_digits(best['mase'])}"
    return [scores, _digits(result.times_best_member)]


def _digits(value: float | None, form: str = ".3f") -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:{form}}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the files."""
    parser = argparse.ArgumentParser(description="Zero-shot scores of Chronos models, beside published ones.")
    parser.add_argument("folder", nargs="?", default=os.environ.get("CHRONOS_BENCHMARK_DATA", ""))
    parser.add_argument("--models", nargs="+", default=[BUNDLED], help="bundled, Hub ids, folders")
    parser.add_argument("--sets", nargs="+", help="only these sets")
    parser.add_argument(
        "--alone", action="store_true", help="only the models and seasonal naive, no optional libraries"
    )
    parser.add_argument("--json", type=Path, help="file for the absolute values")
    parser.add_argument("--output", type=Path, default=Path("store/benchmark-accuracy"))
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    try:
        run(options)
    except (BenchmarkError, ModelError, WorkloadError) as error:
        sys.exit(str(error))


def run(options: argparse.Namespace) -> None:
    """Measure what no earlier run has, then report."""
    data = open_data(options.folder)
    chronos = [
        chronos_contender(model, describe_model(model).digest, ours=model == BUNDLED) for model in options.models
    ]
    default = predictor_contender(options.models[0], describe_model(options.models[0]).digest)
    contenders = with_unique_names([default, *chronos, *local_contenders(optional=not options.alone)])
    sets = options.sets or list(data.tasks)
    if unknown := sorted(set(sets) - set(data.tasks)):
        raise BenchmarkError(f"there is no set {', '.join(unknown)}: there are {', '.join(data.tasks)}")
    kept = options.output / ".results"
    kept.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results = []
    for name in sets:
        for contender in contenders:
            results.append(kept_or_measured(kept, data, name, contender))
            print(f"{time.monotonic() - began:6.0f} s  {describe(results[-1])}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(absolute_values(results), indent=1, allow_nan=False) + "\n")
    published = read_published(Path(options.folder), sets) if options.folder else []
    write_report(options.output, results, published)
    tables = markdown_tables([*results, *published], contenders[0].name, BESIDE if published else ())
    (options.output / "tables.md").write_text(tables)
    print(
        f"\n{tables}\n{beside_best_members(results)}\n{time.monotonic() - began:.0f} s; tables and figure in {options.output}"
    )


if __name__ == "__main__":
    main()
