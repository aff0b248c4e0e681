"""Whether a fine-tuned model may be used: its errors against those of the models that it would replace.

Here belongs the decision alone, from numbers. Making forecasts and summing their errors is in `workloads.evaluate`, its
files in `evaluation_files`, keeping the verdict in `platforms`.

The rule: a candidate is approved if its wQL is not above that of any reference: the base model as it is, the version in
use, the seasonal naive forecast. All are measured on the same points. The interval beside each difference says how much
of it may be chance; the rule doesn't ask it, since of two models that can't be distinguished the better one is taken.

The interval is that of a paired bootstrap (Efron & Tibshirani 1993, chapter 13, percentiles): series are drawn with
replacement, each with all its windows and with the losses of both models, since windows of one series are alike, and
errors of two models on one window still more so. With a single series its windows are drawn instead; with a single
window there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from chronos_assets.timeseries.arrays import Floats

CANDIDATE, BASE, APPROVED, SEASONAL_NAIVE = "candidate", "base", "approved", "seasonal_naive"
TITLES = {
    CANDIDATE: "candidate",
    BASE: "zero-shot base",
    APPROVED: "approved version",
    SEASONAL_NAIVE: "seasonal naive",
}

CONFIDENCE = 0.95  # of the interval of a difference
RESAMPLES = 2000

_DRAWS_AT_ONCE = 1_000_000
_LEAST_DEFINED = 0.9  # of the resamples: where more have nothing to divide by, percentiles of the others mislead


@dataclass(frozen=True)
class Scores:
    """Errors of one model.

    measures: metric -> value over all points, None where undefined. losses (series, windows): quantile losses summed
    over the points of a window, mean over the levels; NaN where the window has no point. failed: windows that this
    model couldn't forecast; they are compared for no model.
    """

    measures: Mapping[str, float | None]
    losses: Floats
    failed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Errors of several models on the same points.

    scores: by model, `CANDIDATE` and any of the others. scale (series, windows): sums of |actual| over the points of a
    window, NaN where it has none. left_out: models that should have been compared, and why they were not. baseline: what
    people call the seasonal naive forecast that was compared, with its season.
    """

    scores: Mapping[str, Scores]
    scale: Floats
    left_out: Mapping[str, str] = field(default_factory=dict)
    baseline: str = TITLES[SEASONAL_NAIVE]

    def title(self, model: str) -> str:
        """What people call a model."""
        return self.baseline if model == SEASONAL_NAIVE else TITLES[model]

    @property
    def windows(self) -> int:
        """Windows that were compared, over all series."""
        return int(np.isfinite(self.scale).sum())


@dataclass(frozen=True)
class Difference:
    """wQL of one model minus that of another; negative: the first is better.

    value: None where wQL is undefined. low, high: the interval, None where there is none. unit: what was drawn.
    """

    value: float | None
    low: float | None
    high: float | None
    unit: Literal["series", "windows"] | None


@dataclass(frozen=True)
class GateRow:
    """One model in the table of the gate.

    model: one of `TITLES`; title: what people call it, seasonal naive with its season. wql, mase, coverage: None where
    undefined; `coverage` is that of the band named `GateDecision.band`. relative: its wQL divided by the candidate's.
    difference, low, high: the candidate's wQL minus this model's, and the interval; None for the candidate. verdict: of
    the candidate against this model; for the candidate its status.
    """

    model: str
    title: str
    wql: float | None
    relative: float | None
    mase: float | None
    coverage: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str

    def to_document(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class GateDecision:
    """What the gate says.

    status: for the registry. reason: one line. rows: the candidate, then each reference. band: the metric shown as
    coverage, None without a band.
    """

    status: Literal["Approved", "Rejected", "PendingManualApproval"]
    reason: str
    rows: tuple[GateRow, ...]
    band: str | None

    def to_document(self) -> dict[str, Any]:
        """The decision as JSON values."""
        return asdict(self)


def paired_bootstrap(
    candidate: Floats,
    reference: Floats,
    scale: Floats,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The difference of two models' wQL, Σ (candidate - reference) / Σ scale, with its interval.

    Args:
        candidate: (series, windows) losses, as `Scores.losses`.
        reference: (series, windows) losses, as `Scores.losses`.
        scale: (series, windows), as `Evaluation.scale`; NaN in the same places as both losses.
        resamples: how many are drawn.
        seed: the same one gives the same interval.

    Raises:
        ValueError: shapes or missing windows disagree.
    """
    if candidate.ndim != 2 or not candidate.shape == reference.shape == scale.shape:
        raise ValueError(f"losses {candidate.shape}, {reference.shape} and scale {scale.shape} must agree")
    known = np.isfinite(scale)
    if not (np.array_equal(known, np.isfinite(candidate)) and np.array_equal(known, np.isfinite(reference))):
        raise ValueError("the models were not measured on the same windows")
    extra = np.where(known, candidate - reference, 0.0)
    weight = np.where(known, scale, 0.0)
    whole = _ratios(extra.sum(), weight.sum())
    if not len(whole):
        return Difference(None, None, None, None)
    value = float(whole[0])
    unit: Literal["series", "windows"]
    rows = known.any(axis=1)
    if rows.sum() > 1:
        unit, parts = "series", (extra.sum(axis=1)[rows], weight.sum(axis=1)[rows])
    elif known.sum() > 1:
        unit, parts = "windows", (extra[known], weight[known])
    else:
        return Difference(value, None, None, None)
    drawn = _resampled_ratios(*parts, resamples, np.random.default_rng(seed))
    if len(drawn) < _LEAST_DEFINED * resamples:
        return Difference(value, None, None, None)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(value, float(low), float(high), unit)


def decide(evaluation: Evaluation, approval: Literal["auto", "manual"] = "auto") -> GateDecision:
    """Approve or reject the candidate, or with `manual` leave it to a person with the same text.

    Where a wQL is undefined (all actuals are zero, or none was observed) a person has to decide as well. A candidate
    that could not forecast more windows than a model that it would replace is rejected whatever its errors.

    Raises:
        ValueError: there is no candidate, no reference, or no such approval.
    """
    if approval not in ("auto", "manual"):
        raise ValueError(f"approval {approval!r}: use auto or manual")
    candidate = evaluation.scores.get(CANDIDATE)
    references = [name for name in TITLES if name != CANDIDATE and name in evaluation.scores]
    if candidate is None or not references:
        raise ValueError(f"a candidate and a reference are compared, there is {', '.join(evaluation.scores) or 'none'}")
    differences = {
        name: paired_bootstrap(candidate.losses, evaluation.scores[name].losses, evaluation.scale)
        for name in references
    }
    failing = [
        name
        for name in references
        if name != SEASONAL_NAIVE and candidate.failed > evaluation.scores[name].failed  # which never fails
    ]
    worse = [name for name in references if (differences[name].value or 0.0) > 0]
    undefined = any(difference.value is None for difference in differences.values())
    status: Literal["Approved", "Rejected"] = "Rejected" if failing or worse else "Approved"
    reason = _reason(evaluation, differences, failing, worse)
    reason += "".join(f"; {evaluation.title(name)} not compared: {why}" for name, why in evaluation.left_out.items())
    band = next((name for name in candidate.measures if name == "coverage_80"), None) or next(
        (name for name in candidate.measures if name.startswith("coverage_")), None
    )
    held = approval == "manual" or (undefined and not failing)
    final: Literal["Approved", "Rejected", "PendingManualApproval"] = "PendingManualApproval" if held else status
    rows = tuple(_row(name, evaluation, band, differences.get(name), final) for name in (CANDIDATE, *references))
    return GateDecision(final, reason, rows, band)


def _resampled_ratios(extra: Floats, weight: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Σ extra / Σ weight of draws with replacement, (resamples,) less those with nothing to divide by."""
    count = len(extra)
    at_once = max(1, _DRAWS_AT_ONCE // count)
    ratios = []
    for start in range(0, resamples, at_once):
        chosen = generator.integers(0, count, size=(min(at_once, resamples - start), count))
        ratios.append(_ratios(extra[chosen].sum(axis=1), weight[chosen].sum(axis=1)))
    return np.concatenate(ratios)


def _ratios(above: Any, below: Any) -> Floats:
    """The quotients that are defined, (at most n,): of a denominator that is not zero, nor so small as to overflow."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotients = np.atleast_1d(np.divide(above, below))
    return np.asarray(quotients[np.isfinite(quotients)])


def _reason(
    evaluation: Evaluation,
    differences: Mapping[str, Difference],
    failing: list[str],
    worse: list[str],
) -> str:
    """Why, in one line; the first of the references is the one that the user thinks of first."""
    candidate = evaluation.scores[CANDIDATE]
    over = f"over {evaluation.windows} windows of {int(np.isfinite(evaluation.scale).any(axis=1).sum())} series"
    if failing:
        counts = ", ".join(f"{evaluation.title(name)}: {evaluation.scores[name].failed}" for name in failing)
        return f"windows that the candidate could not forecast: {candidate.failed} ({counts})"
    if any(difference.value is None for difference in differences.values()):
        return f"wQL is undefined {over}: no actual differs from zero"
    own = f"wQL {_number(candidate.measures['wql'])}"
    if worse:
        reported = "; ".join(_against(name, evaluation, differences[name]) for name in worse)
        return f"{own} is above {reported}; {over}"
    reported = "; ".join(_against(name, evaluation, difference) for name, difference in differences.items())
    return f"{own} is not above {reported}; {over}"


def _against(name: str, evaluation: Evaluation, difference: Difference) -> str:
    """`zero-shot base 0.085 by 0.005 (5.9 %; 95 % interval of the difference 0.001 to 0.009)`."""
    reference = evaluation.scores[name].measures["wql"]
    value = difference.value
    share = f"{100 * value / reference:+.1f} %" if reference and value is not None else f"{_number(value)}"
    if difference.low is None or difference.high is None:
        interval = "no interval from a single window" if difference.unit is None else "no interval"
    else:
        interval = (
            f"{100 * CONFIDENCE:g} % interval of the difference {_number(difference.low)} to {_number(difference.high)}"
        )
    return f"{evaluation.title(name)} {_number(reference)} ({share}, {interval})"


def _row(name: str, evaluation: Evaluation, band: str | None, difference: Difference | None, status: str) -> GateRow:
    measures = evaluation.scores[name].measures
    wql, own = measures.get("wql"), evaluation.scores[CANDIDATE].measures.get("wql")
    return GateRow(
        model=name,
        title=evaluation.title(name),
        wql=wql,
        relative=wql / own if wql is not None and own else None,
        mase=measures.get("mase"),
        coverage=measures.get(band) if band else None,
        difference=difference.value if difference else None,
        low=difference.low if difference else None,
        high=difference.high if difference else None,
        verdict=_verdict(difference) if difference else status,
    )


def _verdict(difference: Difference) -> str:
    """`better` and `worse` are of the candidate."""
    if difference.value is None:
        return "undefined"
    if difference.value == 0:
        return "equal"
    word = "better" if difference.value < 0 else "worse"
    if difference.low is None or difference.high is None:
        return f"{word}, of unknown certainty"
    return f"{word}, may be chance" if difference.low <= 0 <= difference.high else word


def _number(value: float | None) -> str:
    """Four digits, as people compare them."""
    return "undefined" if value is None or math.isnan(value) else f"{value:.4g}"
