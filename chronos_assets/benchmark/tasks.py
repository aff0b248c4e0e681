"""The Chronos benchmark's protocol: which sets, cut where, scored how.

Here belong tasks (a set's horizon, offset and rolls), seasons, levels, and the cutting of a series into history and
actuals. Where the series come from is in `data`, what comes out in `scores`.

The protocol is that of the Chronos paper (Ansari et al. 2024, https://arxiv.org/abs/2403.07815), as the configurations
in `scripts/evaluation/configs` of chronos-forecasting have it: the first window starts `offset` from the end of each
series, each of `num_rolls` windows is `prediction_length` steps after the one before, everything before a window is its
history, and seasons are GluonTS's defaults. Published results can be compared with it (`published/results`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.arrays import Floats

# Counts up when a score could come out otherwise for the same set and model, so that kept scores are made again.
PROTOCOL = 1

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Benchmark = Literal["zero-shot", "in-domain"]
HUB_REPOSITORY = "autogluon/chronos_datasets"
EXTRA_REPOSITORY = "autogluon/chronos_datasets_extra"

# GluonTS's default seasons (gluonts.time_feature.get_seasonality), by pandas' names of frequencies, old and new.
_SEASONS: Mapping[str, int] = {
    "s": 3600, "S": 3600, "min": 1440, "T": 1440, "h": 24, "H": 24, "D": 1, "B": 5, "W": 1, "M": 12, "ME": 12,
    "MS": 12, "Q": 4, "QE": 4, "QS": 4, "Y": 1, "YE": 1, "YS": 1, "A": 1, "AS": 1,
}  # fmt: skip


class BenchmarkError(ChronosAssetsError, ValueError):
    """The benchmark's data or configuration can't be used; one line with what, where and how to fix it."""


@dataclass(frozen=True)
class Task:
    """What is asked of a set.

    Attributes:
        name: of the set.
        benchmark: `zero-shot` sets were not seen by the published models in training, `in-domain` ones were.
        horizon: steps of each window.
        offset: where the first window starts, from the end of a series; negative.
        rolls: number of windows, one after the other.
        repository: of the set on the Hugging Face Hub.
    """

    name: str
    benchmark: Benchmark
    horizon: int
    offset: int
    rolls: int = 1
    repository: str = HUB_REPOSITORY

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w{1,64}", self.name):
            raise BenchmarkError(f"set {self.name!r}: a name has letters, digits and underscores only")
        if self.benchmark not in get_args(Benchmark):
            raise BenchmarkError(f"set {self.name}: {self.benchmark!r} is not one of {', '.join(get_args(Benchmark))}")
        if self.horizon < 1 or self.rolls < 1 or self.horizon * self.rolls > -self.offset:
            raise BenchmarkError(
                f"set {self.name}: {self.rolls} windows of {self.horizon} steps don't fit after offset {self.offset}"
            )

    def windows(self, values: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Each window's history (everything before it) and actuals (horizon,) of a series.

        Raises:
            BenchmarkError: the series ends before the first window starts.
        """
        if len(values) <= -self.offset:
            raise BenchmarkError(
                f"set {self.name}: a series of {len(values)} values has none before the window at {self.offset}"
            )
        first = len(values) + self.offset
        for start in range(first, first + self.rolls * self.horizon, self.horizon):
            yield values[:start], values[start : start + self.horizon]


def _tasks(benchmark: Benchmark, sets: Mapping[str, int], **others: Task) -> dict[str, Task]:
    """Tasks of one window at the end of each series, by name and horizon, and others."""
    return {name: Task(name, benchmark, horizon, -horizon) for name, horizon in sets.items()} | others


# The published configurations: a test compares them with the files.
TASKS: Mapping[str, Task] = {
    **_tasks(
        "zero-shot",
        {
            "monash_traffic": 24, "monash_australian_electricity": 48, "ercot": 24, "exchange_rate": 30, "nn5": 56,
            "monash_nn5_weekly": 8, "monash_weather": 30, "monash_covid_deaths": 30, "monash_fred_md": 12,
            "m4_quarterly": 8, "m4_yearly": 6, "dominick": 8, "m5": 28, "monash_tourism_monthly": 24,
            "monash_tourism_quarterly": 8, "monash_tourism_yearly": 4, "monash_car_parts": 12, "monash_hospital": 12,
            "monash_cif_2016": 12, "monash_m1_yearly": 6, "monash_m1_quarterly": 8, "monash_m1_monthly": 18,
            "monash_m3_monthly": 18, "monash_m3_yearly": 6, "monash_m3_quarterly": 8,
        },
        ETTm=Task("ETTm", "zero-shot", 24, -96, repository=EXTRA_REPOSITORY),
        ETTh=Task("ETTh", "zero-shot", 24, -24, repository=EXTRA_REPOSITORY),
    ),
    **_tasks(
        "in-domain",
        {
            "monash_electricity_hourly": 24, "monash_electricity_weekly": 8, "monash_kdd_cup_2018": 48, "m4_daily": 14,
            "m4_hourly": 48, "m4_monthly": 18, "m4_weekly": 13, "monash_pedestrian_counts": 48, "taxi_30min": 48,
            "uber_tlc_hourly": 24, "uber_tlc_daily": 7, "monash_rideshare": 24, "monash_temperature_rain": 30,
            "monash_london_smart_meters": 48,
        },
        electricity_15min=Task("electricity_15min", "in-domain", 24, -5376),
    ),
}  # fmt: skip


def read_tasks(folder: Path) -> Mapping[str, Task]:
    """The tasks of `published/configs/{zero-shot,in-domain}.yaml` below a folder; `TASKS` where it has none.

    Raises:
        BenchmarkError: a configuration is not what chronos-forecasting's are.
    """
    tasks: dict[str, Task] = {}
    for benchmark in get_args(Benchmark):
        path = folder / "published" / "configs" / f"{benchmark}.yaml"
        if path.is_file():
            tasks |= {task.name: task for task in _parse_tasks(path, benchmark)}
    return tasks or TASKS


def _parse_tasks(path: Path, benchmark: Benchmark) -> Iterator[Task]:
    import yaml  # type: ignore[import-untyped]

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BenchmarkError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
        raise BenchmarkError(f"{path} is not a list of sets with name, offset, prediction_length and num_rolls")
    for entry in entries:
        yield Task(
            name=str(entry.get("name")),
            benchmark=benchmark,
            horizon=_whole_number(path, entry, "prediction_length"),
            offset=_whole_number(path, entry, "offset"),
            rolls=_whole_number(path, entry, "num_rolls"),
            repository=str(entry.get("hf_repo", HUB_REPOSITORY)),
        )


def _whole_number(path: Path, entry: Mapping[Any, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BenchmarkError(f"{path}: {key} of {entry.get('name')!r} is {value!r}, not a whole number")
    return value


def candidate_seasons(frequency: str) -> tuple[int, ...]:
    """Seasons in periods that a forecaster may test for, of a pandas frequency (`h` 24 and 168, `W-SUN` 52, `B` 5).

    Raises:
        ValueError: it is no frequency.
    """
    name = frequency.partition("-")[0]
    return (5,) if name == "B" else Frequency.parse(name).candidate_seasons


def season(frequency: str) -> int:
    """Periods in one season of a pandas frequency (`h` 24, `15min` 96, `W-SUN` 1), by GluonTS's defaults.

    As there, a multiple that doesn't divide the season has none (1).

    Raises:
        BenchmarkError: no frequency that has a default.
    """
    match = re.fullmatch(r"(\d*)([A-Za-z]+)(-[A-Z]{3})?", frequency)
    if match is None or match[2] not in _SEASONS or match[1] == "0":
        raise BenchmarkError(f"frequency {frequency!r} has no default season: use one such as h, 15min, D, W, M, Q, Y")
    length, remainder = divmod(_SEASONS[match[2]], int(match[1] or 1))
    return 1 if remainder else length
