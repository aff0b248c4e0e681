"""Checkup of Dagster's storage: whether a run could be written down.

Elsewhere: findings about the files that were dropped (`pipeline.checkup`), about machine or account (`platforms`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from chronos_assets.defs.instance import open_instance
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.checkup import Finding, run_checks


def examine_instance(home: Path) -> list[Finding]:
    """Whether the Dagster instance in the folder `home` can be used; nothing where the first run is yet to make it."""
    return run_checks({"Dagster": partial(_storage, home)}, _explain) if (home / "dagster.yaml").is_file() else []


def _storage(home: Path) -> str:
    with open_instance(home, owned=False) as instance:
        _ = instance.compute_log_manager  # of a folder that a variable may have to name
    return f"the history of runs in {home} can be read"


def _explain(name: str, error: Exception) -> Finding:
    said = str(error) if isinstance(error, ChronosAssetsError) else f"{type(error).__name__}: {error}"
    return Finding(name, "failed", " ".join(said.split()))
