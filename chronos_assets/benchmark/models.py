"""Which models the benchmark measures: those configured, seasonal naive, and those of libraries that are installed.

Here belong their names, kinds and limits; what makes their forecasts is in `benchmark.contenders`.

The statistical models fit each series by itself, which takes up to a second: they are given a part of the series of a large
set, evenly spaced, and are compared with seasonal naive on the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Final

from chronos_assets.benchmark.scores import SEASONAL_NAIVE, Contender, Kind

NAIVE_PROGRAM: Final = "seasonal-naive"
CHECKPOINT_PROGRAM: Final = "chronos"
ETS_PROGRAM: Final = "auto-ets"
THETA_PROGRAM: Final = "auto-theta"
PREDICTOR_PROGRAM: Final = "predictor"

DEFAULT_PREDICTOR = "default"

STATISTICAL_SERIES = 100
STATISTICAL_HISTORY = 500

# Program -> its name, its kind, and the distribution of an optional extra that it comes from.
_OPTIONAL: Final[dict[str, tuple[str, Kind, str]]] = {
    ETS_PROGRAM: ("AutoETS", "local statistical", "statsforecast"),
    THETA_PROGRAM: ("AutoTheta", "local statistical", "statsforecast"),
}


def local_contenders(*, optional: bool = True) -> list[Contender]:
    """Seasonal naive and, with `optional`, AutoETS and AutoTheta where their library is installed."""
    found = [Contender(SEASONAL_NAIVE, "local statistical", NAIVE_PROGRAM, "", "1")]
    for program, (name, kind, distribution) in _OPTIONAL.items() if optional else ():
        try:
            installed = version(distribution)
        except PackageNotFoundError:
            continue
        found.append(
            Contender(
                name,
                kind,
                program,
                "",
                f"{distribution} {installed}",
                max_series=STATISTICAL_SERIES,
                max_history=STATISTICAL_HISTORY,
            )
        )
    return found


def chronos_contender(reference: str, digest: str, *, ours: bool) -> Contender:
    """A checkpoint of a Chronos family: a Hub id by its name, `bundled`, a folder by its last part.

    Args:
        reference: see `models.checkpoints.resolve_model`.
        digest: of its configuration and weights.
        ours: whether it was trained by this project, or tuned by this dataset group.
    """
    name = PurePath(reference).name or reference
    return Contender(name, "ours" if ours else "foundation", CHECKPOINT_PROGRAM, reference, digest)


def predictor_contender(reference: str, digest: str) -> Contender:
    """The default predictor, zero-shot: members, and weights from quick backtests on each set's own past.

    Args:
        reference: of the base model.
        digest: of its configuration and weights.
    """
    from chronos_assets.predictors.predictor import RECIPE_VERSION

    return Contender(DEFAULT_PREDICTOR, "ours", PREDICTOR_PROGRAM, reference, f"{digest} recipe {RECIPE_VERSION}")


def with_unique_names(contenders: Sequence[Contender]) -> list[Contender]:
    """The contenders without repetitions; those of one name distinguished by the start of their digests."""
    first: dict[tuple[str, str], Contender] = {}
    for item in contenders:
        first.setdefault((item.program, item.version), item)
    distinct = list(first.values())
    names = [item.name for item in distinct]
    return [
        item if names.count(item.name) == 1 else replace(item, name=f"{item.name} {item.version[:6]}")
        for item in distinct
    ]
