"""Workload: synthetic series for training, validation and test, drawn by KernelSynth.

    python -m chronos_assets.workloads.generate

Parameters (one JSON document; none must be given):

```
seed          0: another seed, other series
length        1024: values per series
max_kernels   5: kernels per series, at most
sizes         {"train": 100, "validation": 100, "test": 100}: series of each split; those left out keep their default
start         "2000-01-01T00:00:00": time of each series' first value
workers       processes; null: as many as there are cores if there is work for them
```

Channels: writes to `synthetic`

- `train.arrow`, `validation.arrow`, `test.arrow`: item_id, start, target, as GluonTS reads them
  (`timeseries.dataset.gluonts_arrow`);
- `manifest.json`: the parameters that made them, the sizes, bytes and digest of each file, and `data_version`, a digest
  of all three.

The splits are independent. The same parameters give the same bytes, whatever the number of workers, and a series
depends on neither the sizes nor the other splits: a larger split begins with the smaller one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, field
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any

# Each process works on one thread: a factorisation split over threads is rounded in another way, and gives other bytes.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator

from chronos_assets.container.contract import Reporter, Workspace, run_workload
from chronos_assets.container.parameters import checked, read_parameters, whole_number
from chronos_assets.kernelsynth.expressions import Expression
from chronos_assets.kernelsynth.sampler import MAX_KERNELS, iter_series
from chronos_assets.system import file_digest
from chronos_assets.timeseries.dataset.gluonts_arrow import Entry, write_arrow
from chronos_assets.timeseries.published_files import MANIFEST

SPLITS = ("train", "validation", "test")
"""In the order of the streams of random numbers that they are drawn from."""
EXAMPLES = 6  # series of the first split that the message shows
_EXAMPLE_POINTS = 120
_VALUES_FOR_WORKERS = 5_000_000  # some seconds of work: below that, workers cost more than they save
_START = "2000-01-01T00:00:00"


def _time(value: Any) -> str:
    """The time as it is recorded: to the second."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None or moment.microsecond:
        raise ValueError(f'it must be a time in whole seconds, such as "{_START}", without a zone')
    return moment.isoformat()


@checked
@dataclass(frozen=True)
class Sizes:
    """How many series each split has."""

    train: Annotated[int, whole_number(1, 10_000_000)] = 100
    validation: Annotated[int, whole_number(1, 10_000_000)] = 100
    test: Annotated[int, whole_number(1, 10_000_000)] = 100


@checked
@dataclass(frozen=True)
class GenerateRequest:
    """The parameters, checked. workers: None for as many as there is work for."""

    seed: Annotated[int, whole_number(0, 2**63 - 1)] = 0
    length: Annotated[int, whole_number(2, 8192)] = 1024  # the longest context of the models
    max_kernels: Annotated[int, whole_number(1, 10)] = MAX_KERNELS
    sizes: Sizes = Sizes()
    start: Annotated[str, PlainValidator(_time)] = _START
    workers: Annotated[int, whole_number(1, 256)] | None = None

    @property
    def processes(self) -> int:
        """How many processes make the series."""
        if self.workers:
            return self.workers
        return (os.cpu_count() or 1) if sum(astuple(self.sizes)) * self.length > _VALUES_FOR_WORKERS else 1

    @property
    def recorded(self) -> dict[str, Any]:
        """The parameters that the series depend on."""
        return {name: value for name, value in asdict(self).items() if name != "workers"}


@dataclass
class _Progress:
    """What is reported while series are made."""

    reporter: Reporter
    total: int
    done: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, expression: Expression, values: NDArray[np.float64]) -> None:
        self.done += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append({"expression": str(expression), "values": _thinned(values)})
        self.reporter.progress(self.done, self.total, "series made")


def parse_request(document: Mapping[str, Any]) -> GenerateRequest:
    """Check the parameters.

    Raises:
        WorkloadError: one is unknown or impossible.
    """
    return read_parameters(GenerateRequest, "generator", document)


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Make the three files and the manifest."""
    request = parse_request(workspace.parameters())
    sizes = asdict(request.sizes)
    folder = workspace.output("synthetic")
    started = time.monotonic()
    keys = ((stream, number) for stream, split in enumerate(SPLITS) for number in range(sizes[split]))
    progress = _Progress(reporter, sum(sizes.values()))
    series = iter_series(
        keys,
        seed=request.seed,
        length=request.length,
        max_kernels=request.max_kernels,
        workers=request.processes,
    )
    with closing(series):
        for split in SPLITS:
            write_arrow(_file(folder, split), _entries(split, request, series, progress))
    manifest = _manifest(folder, request)
    text = json.dumps(manifest, indent=2, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    seconds = time.monotonic() - started
    reporter.message(
        {
            "synthetic": {
                **sizes,
                "length": request.length,
                "data_version": manifest["data_version"],
                "seconds": round(seconds, 3),
                "series_per_second": round(progress.total / seconds, 1),
                "workers": request.processes,
                "examples": progress.examples,
            }
        }
    )


def _entries(
    split: str, request: GenerateRequest, series: Iterator[tuple[Expression, Any]], progress: _Progress
) -> Iterator[Entry]:
    start = np.datetime64(request.start, "s")
    for number, (expression, values) in enumerate(islice(series, getattr(request.sizes, split))):
        progress.add(expression, values)
        yield f"{split}-{number}", start, values


def _manifest(folder: Path, request: GenerateRequest) -> dict[str, Any]:
    files = {}
    for split in SPLITS:
        path = _file(folder, split)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    everything = hashlib.sha256("".join(f"{name} {about['sha256']}\n" for name, about in files.items()).encode())
    return {
        "data_version": everything.hexdigest(),
        "files": files,
        "parameters": request.recorded,
        "sizes": asdict(request.sizes),
    }


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.arrow"


def _thinned(values: NDArray[np.float64]) -> list[float]:
    """At most `_EXAMPLE_POINTS` of the values, with six digits: of each bucket the lowest and the highest, in order.

    Every n-th value would draw a fast season as a slow one.
    """
    kept = values
    if len(values) > _EXAMPLE_POINTS:
        edges = np.linspace(0, len(values), _EXAMPLE_POINTS // 2 + 1).astype(int)
        extremes = [
            start + index
            for start, end in pairwise(edges.tolist())
            for index in sorted({int(values[start:end].argmin()), int(values[start:end].argmax())})
        ]
        kept = values[extremes]
    return [float(f"{value:.6g}") for value in kept]


if __name__ == "__main__":
    run_workload(main)
