"""Weights before anything was learned, for series of which there is no past to learn from.

Here belongs the prior: `prior.json` beside this module holds it, learned on synthetic series only (`benchmarks.prior` makes
it), for data with candidate seasons and without. A member that it doesn't know gets no weight from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from chronos_assets.predictors.members.catalogue import untuned
from chronos_assets.timeseries.arrays import Floats

PATH = Path(__file__).parent / "prior.json"


def prior_weights(names: Sequence[str], *, seasonal: bool) -> Floats:
    """Weights (M,) of members, summing to 1; a tuned checkpoint shares the weight of the base model at its rate."""
    known = _read()["seasonal" if seasonal else "plain"]
    shared = np.array([known.get(untuned(name), 0.0) for name in names]) * votes(names)
    total = float(shared.sum())
    return np.asarray(shared / total if total > 0 else np.full(len(names), 1 / len(names)))


def votes(names: Sequence[str]) -> Floats:
    """What each member counts, (M,), before anything tells them apart: a tuned checkpoint and its base model have one vote."""
    bases = [untuned(name) for name in names]
    return np.array([1 / bases.count(base) for base in bases])


@cache
def _read() -> Mapping[str, Mapping[str, float]]:
    document: Mapping[str, Mapping[str, float]] = json.loads(PATH.read_bytes())
    return document
