"""Environment variables -> one typed, frozen `Settings`. No other module takes a setting from the environment.

What else reads it: a workload, which finds its folders through `CHRONOS_ML_ROOT` as a container would; whatever starts
another process, which hands it on; and the cache of downloaded models, which lies where `XDG_CACHE_HOME` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast, get_args

Cadence = Literal["hourly", "daily", "weekly", "monthly"]

# Few enough partitions for the UI to stay quick (about 10,000 days, 60,000 hours), early enough for most archives.
DEFAULT_PARTITION_START: Mapping[str, str] = {
    "hourly": "2020-01-01",
    "daily": "2000-01-01",
    "weekly": "2000-01-01",
    "monthly": "1970-01-01",
}


class SettingsError(ValueError):
    """An environment variable has a value that can't be used; the message names it and the mend."""


@dataclass(frozen=True)
class Settings:
    """Everything that a deployment may set, with the variable that sets it.

    Attributes:
        store: `CHRONOS_STORE`, folder (or `s3://bucket/prefix`) that holds `params.json`, `train/` and all results.
        partitions: `CHRONOS_PARTITIONS`, length of the forecast partitions' time windows.
        partition_start: `CHRONOS_PARTITION_START`, first day of the first window (ISO date).
        base_model: `CHRONOS_BASE_MODEL`, `bundled`, a Hub id, a folder or an `s3://` prefix.
        memory_limit: `CHRONOS_MEMORY_LIMIT`, what DuckDB may use during an import or a table refresh.
        settle_seconds: `CHRONOS_SETTLE_SECONDS`, how long `train/` must be unchanged before an import is requested.
        sensor_interval_seconds: `CHRONOS_SENSOR_SECONDS`, least time between two ticks of a sensor.
        ui_url: `CHRONOS_UI_URL`, address of the Dagster UI, for the links in notices.
        owners: `CHRONOS_OWNERS`, comma separated owners shown on every asset (`team:name` or a mail address).
        key_prefix: `CHRONOS_KEY_PREFIX`, slash separated prefix of every asset key, for several groups side by side.
        benchmark_data: `CHRONOS_BENCHMARK_DATA`, folder with the sets of the Chronos benchmark; empty: the Hub's.
        benchmark_models: `CHRONOS_BENCHMARK_MODELS`, comma separated models to measure; empty: the base model.
        dagster_home: `DAGSTER_HOME`, folder of Dagster's own storage; empty: `.dagster` in a local store.
    """

    store: str = "./store"
    partitions: Cadence = "daily"
    partition_start: str = DEFAULT_PARTITION_START["daily"]
    base_model: str = "bundled"
    memory_limit: str = "2GB"
    settle_seconds: float = 10.0
    sensor_interval_seconds: int = 15
    ui_url: str = "http://127.0.0.1:3000"
    owners: tuple[str, ...] = ("team:forecasting",)
    key_prefix: tuple[str, ...] = ()
    benchmark_data: str = ""
    benchmark_models: tuple[str, ...] = ()
    dagster_home: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `env` (the process environment if not given).

        Raises:
            SettingsError: a value is not one that the variable may have.
        """
        values = os.environ if env is None else env

        def text(name: str, default: str) -> str:
            return values.get(name, "").strip() or default

        partitions = _one_of("CHRONOS_PARTITIONS", text("CHRONOS_PARTITIONS", "daily"), get_args(Cadence))
        return cls(
            store=text("CHRONOS_STORE", cls.store),
            partitions=cast(Cadence, partitions),
            partition_start=_iso_date(
                "CHRONOS_PARTITION_START", text("CHRONOS_PARTITION_START", DEFAULT_PARTITION_START[partitions])
            ),
            base_model=model_reference(text("CHRONOS_BASE_MODEL", cls.base_model)),
            memory_limit=_memory("CHRONOS_MEMORY_LIMIT", text("CHRONOS_MEMORY_LIMIT", cls.memory_limit)),
            settle_seconds=_seconds("CHRONOS_SETTLE_SECONDS", text("CHRONOS_SETTLE_SECONDS", str(cls.settle_seconds))),
            sensor_interval_seconds=max(
                1,
                int(
                    _seconds("CHRONOS_SENSOR_SECONDS", text("CHRONOS_SENSOR_SECONDS", str(cls.sensor_interval_seconds)))
                ),
            ),
            ui_url=text("CHRONOS_UI_URL", cls.ui_url).rstrip("/"),
            owners=_owners("CHRONOS_OWNERS", text("CHRONOS_OWNERS", ",".join(cls.owners))),
            key_prefix=_key_prefix("CHRONOS_KEY_PREFIX", text("CHRONOS_KEY_PREFIX", "")),
            benchmark_data=text("CHRONOS_BENCHMARK_DATA", ""),
            benchmark_models=tuple(map(model_reference, _names(text("CHRONOS_BENCHMARK_MODELS", "")))),
            dagster_home=text("DAGSTER_HOME", ""),
        )

    def partition_start_time(self) -> datetime:
        """First instant of the first partition window, UTC."""
        return datetime.fromisoformat(self.partition_start).replace(tzinfo=UTC)


def model_reference(text: str) -> str:
    """A model's reference as every process understands it: a folder's path, which may be relative, made absolute."""
    folder = Path(text).expanduser()
    # As `models.checkpoints.resolve_model` tells a folder from an id of the Hub.
    is_folder = text != "bundled" and not text.startswith("amazon/") and (folder / "config.json").is_file()
    return str(folder.absolute()) if is_folder else text


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SettingsError(f"{name}={value!r}: set it to one of {', '.join(allowed)}")
    return value


def _iso_date(name: str, value: str) -> str:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except ValueError as error:
        raise SettingsError(f"{name}={value!r}: set it to a day as YYYY-MM-DD") from error


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise SettingsError(f"{name}={value!r}: set it to a number of seconds from 0 to 86400")
    return seconds


def _memory(name: str, value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?\s*(MB|GB|MiB|GiB)", value):
        raise SettingsError(f"{name}={value!r}: set it to an amount of memory such as 500MB or 2GB")
    return value


def _owners(name: str, value: str) -> tuple[str, ...]:
    owners = tuple(part.strip() for part in value.split(",") if part.strip())
    for owner in owners:
        if not re.fullmatch(r"team:[\w.-]+|[^@\s]+@[^@\s]+", owner):
            raise SettingsError(f"{name}={value!r}: {owner!r} is neither team:<name> nor a mail address")
    return owners


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _key_prefix(name: str, value: str) -> tuple[str, ...]:
    parts = tuple(part for part in value.split("/") if part)
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9_]+", part):
            raise SettingsError(f"{name}={value!r}: {part!r} may hold letters, digits and underscores only")
    return parts
