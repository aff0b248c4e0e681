"""What the benchmark found: scores of models on sets, published ones beside them, and what they come to together.

Here belong results as values, relative scores, aggregates and their tables. Making forecasts is the workload's
(`workloads.zero_shot`), the picture is in `figure`.

A relative score is a model's over that of seasonal naive on the same series; an aggregate is the geometric mean of the
relative scores over the sets (Chronos paper, section 5.2).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from chronos_assets.benchmark.tasks import LEVELS, PROTOCOL, Benchmark, BenchmarkError, Task
from chronos_assets.system import document_digest

# What kind of model a bar is of. `published` scores were not measured here.
Kind = Literal["ours", "foundation", "local statistical", "published"]

SEASONAL_NAIVE = "Seasonal naive"
_PUBLISHED_NAIVE = "seasonal-naive"
# Models that chronos-forecasting has no results of: benchmarks/chronos_zeroshot/results of autogluon/fev (Apache-2.0), six
# digits, under the names that they are known by. Its rows of seasonal naive are those of chronos-forecasting.
PUBLISHED_ELSEWHERE = Path(__file__).parent / "published.csv"


@dataclass(frozen=True)
class Contender:
    """A model to be measured.

    Attributes:
        name: shown to people, unique in a benchmark.
        kind: see `Kind`.
        program: what makes its forecasts: `chronos`, or one of `workloads.zero_shot`'s others.
        reference: of a Chronos model, see `models.checkpoints.resolve_model`; else empty.
        version: digest of its weights, or version of its library.
        max_series: of a set at most so many series, evenly spaced over it, are forecast; all if None.
        max_history: latest values of each series that it is given; all if None.
    """

    name: str
    kind: Kind
    program: str
    reference: str
    version: str
    max_series: int | None = None
    max_history: int | None = None

    def identity(self, task: Task, set_digest: str) -> str:
        """Digest of everything that a result of this model on a set follows from."""
        parts = [PROTOCOL, LEVELS, asdict(task), set_digest, self.program, self.version, self.max_series]
        return document_digest([*parts, self.max_history])

    def sampled(self, count: int) -> Collection[int]:
        """Positions of the series that are forecast, of `count`: evenly spaced, the same every time."""
        if self.max_series is None or count <= self.max_series:
            return range(count)
        return frozenset((2 * number + 1) * count // (2 * self.max_series) for number in range(self.max_series))


@dataclass(frozen=True)
class Result:
    """Scores of a model on a set.

    Attributes:
        model, kind: of the contender, or the published model's name.
        set, benchmark: of the task.
        wql, mase: as published by chronos-forecasting; NaN where undefined.
        naive_wql, naive_mase: of seasonal naive on the same series.
        coverage: share of actuals in the band from p10 to p90; None of a point forecast, and where not known.
        series: number of series forecast; set_series: of those in the set. 0 where not known (published).
        fallbacks: series that the model could not forecast, and seasonal naive did.
        seconds: of forecasting alone, loading left out.
        members: `wql`, `mase` and `coverage_80` of each member of an ensemble by itself, on the same series.
    """

    model: str
    kind: Kind
    set: str
    benchmark: Benchmark
    wql: float
    mase: float
    naive_wql: float
    naive_mase: float
    coverage: float | None = None
    series: int = 0
    set_series: int = 0
    fallbacks: int = 0
    seconds: float = 0.0
    members: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def best_member(self) -> str | None:
        """The member with the least wQL; None of what is no ensemble."""
        return min(self.members, key=lambda name: _last(self.members[name]["wql"]), default=None)

    @property
    def times_best_member(self) -> float:
        """The wQL divided by that of the best member; NaN of what is no ensemble."""
        return _quotient(self.wql, self.members[self.best_member]["wql"]) if self.best_member else math.nan

    @property
    def relative_wql(self) -> float:
        """The wQL divided by that of seasonal naive."""
        return _quotient(self.wql, self.naive_wql)

    @property
    def relative_mase(self) -> float:
        """MASE over that of seasonal naive."""
        return _quotient(self.mase, self.naive_mase)

    @property
    def series_per_second(self) -> float | None:
        """Speed of forecasting, None where not measured."""
        return self.series / self.seconds if self.seconds > 0 else None

    def to_json(self) -> bytes:
        """One JSON document; null stands for NaN."""
        return (json.dumps(_without_nan(asdict(self)), indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes) -> Result:
        """Read what `to_json` wrote.

        Raises:
            BenchmarkError: it is something else.
        """
        try:
            document = json.loads(text)
            for key in ("wql", "mase", "naive_wql", "naive_mase"):
                document[key] = _or_nan(document[key])
            document["members"] = {
                member: {name: _or_nan(value) for name, value in found.items()}
                for member, found in document.get("members", {}).items()
            }
            return cls(**document)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BenchmarkError(f"not a result of the benchmark: {error!r}") from error


@dataclass(frozen=True)
class Aggregate:
    """What a model's results on the sets of one benchmark come to.

    Attributes:
        relative_wql, relative_mase: geometric means of the relative scores; NaN where one of them is undefined.
        coverage: mean of the sets' coverages; None where not known.
        sets: number of sets. sampled: whether only some of the series of a set were forecast.
        series: number forecast, seconds: of forecasting, over all sets.
    """

    model: str
    kind: Kind
    benchmark: Benchmark
    relative_wql: float
    relative_mase: float
    coverage: float | None
    sets: int
    sampled: bool
    series: int
    seconds: float


def aggregate(results: Iterable[Result]) -> list[Aggregate]:
    """Aggregates by benchmark and model: zero-shot first, then by relative wQL, best first."""
    groups: dict[tuple[Benchmark, str, Kind], list[Result]] = {}
    for result in results:
        groups.setdefault((result.benchmark, result.model, result.kind), []).append(result)
    found = [_aggregate(*key, group) for key, group in groups.items()]
    order = get_args(Benchmark)
    return sorted(found, key=lambda item: (order.index(item.benchmark), _last(item.relative_wql), item.model))


def _aggregate(benchmark: Benchmark, model: str, kind: Kind, results: Sequence[Result]) -> Aggregate:
    coverages = [result.coverage for result in results if result.coverage is not None]
    return Aggregate(
        model=model,
        kind=kind,
        benchmark=benchmark,
        relative_wql=geometric_mean([result.relative_wql for result in results]),
        relative_mase=geometric_mean([result.relative_mase for result in results]),
        coverage=float(np.mean(coverages)) if len(coverages) == len(results) else None,
        sets=len(results),
        sampled=any(result.series < result.set_series for result in results),
        series=sum(result.series for result in results),
        seconds=sum(result.seconds for result in results),
    )


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of numbers from 0 on; NaN of none, or if one is NaN."""
    if not values:
        return math.nan
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(values))))


def read_published(folder: Path, sets: Iterable[str]) -> list[Result]:
    """The scores in `published/results/<model>-{zero-shot,in-domain}.csv` below a folder, of these sets.

    Beside them, those of the zero-shot sets that other people have published (`PUBLISHED_ELSEWHERE`). Relative to the published
    seasonal naive, which is not among them itself. Nothing where there are no such files.

    Raises:
        BenchmarkError: a file is not what chronos-forecasting's are, or a set has no row of seasonal naive.
    """
    wanted = set(sets)
    results = []
    for benchmark in get_args(Benchmark):
        tables = {
            path.name.removesuffix(f"-{benchmark}.csv"): _read_scores(path)
            for path in sorted((folder / "published" / "results").glob(f"*-{benchmark}.csv"))
        }
        naive = tables.pop(_PUBLISHED_NAIVE, {})
        if tables and benchmark == "zero-shot":
            tables |= _published_elsewhere(naive)
        for model, scores in tables.items():
            for name in sorted(wanted & scores.keys()):
                if name not in naive:
                    raise BenchmarkError(f"{folder}: published seasonal-naive scores lack set {name} of {model}")
                results.append(Result(model, "published", name, benchmark, *scores[name], *naive[name]))
    return results


def _published_elsewhere(sets: Collection[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """(WQL, MASE) by model and set, of these sets."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    with PUBLISHED_ELSEWHERE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["dataset"] in sets:
                found.setdefault(row["model"], {})[row["dataset"]] = (float(row["WQL"]), float(row["MASE"]))
    return found


def _read_scores(path: Path) -> dict[str, tuple[float, float]]:
    """(WQL, MASE) by set."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["dataset"]: (float(row["WQL"]), float(row["MASE"])) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(f"{path} has no columns dataset, MASE, WQL with numbers: {error!r}") from error


RESULT_COLUMNS = (
    "benchmark", "set", "model", "kind", "wql", "mase", "relative_wql", "relative_mase", "coverage_80", "series",
    "set_series", "fallbacks", "seconds", "series_per_second",
)  # fmt: skip
AGGREGATE_COLUMNS = (
    "benchmark", "model", "kind", "relative_wql", "relative_mase", "coverage_80", "sets", "sampled", "seconds",
    "series_per_second",
)  # fmt: skip


def result_row(result: Result) -> dict[str, Any]:
    """A result as a row of `RESULT_COLUMNS`; None where there is no number."""
    return _row(
        RESULT_COLUMNS,
        {
            **asdict(result),
            "relative_wql": result.relative_wql,
            "relative_mase": result.relative_mase,
            "coverage_80": result.coverage,
            "series_per_second": result.series_per_second,
        },
    )


def aggregate_row(item: Aggregate) -> dict[str, Any]:
    """An aggregate as a row of `AGGREGATE_COLUMNS`; None where there is no number."""
    speed = item.series / item.seconds if item.seconds > 0 else None
    return _row(AGGREGATE_COLUMNS, {**asdict(item), "coverage_80": item.coverage, "series_per_second": speed})


def _row(columns: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(values[name]) for name in columns}


def _number(value: Any) -> Any:
    """Six digits are enough to compare; a published result has neither series nor seconds."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file of rows, empty where a value is None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _quotient(value: float, below: float) -> float:
    return value / below if below > 0 else math.nan


def _last(value: float) -> float:
    """A key that sorts NaN behind all numbers."""
    return math.inf if math.isnan(value) else value
