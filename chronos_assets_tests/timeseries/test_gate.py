"""The gate: which candidates it approves, what it says, and that its interval is one."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.timeseries.scoring.gate import (
    APPROVED,
    BASE,
    CANDIDATE,
    SEASONAL_NAIVE,
    Evaluation,
    Scores,
    decide,
    paired_bootstrap,
)

NAN = float("nan")


def evaluation(scale=None, failed=None, **losses) -> Evaluation:
    """An evaluation of losses (series, windows) by model, with the wQL that follows from them."""
    tables = {name: np.asarray(table, dtype=float) for name, table in losses.items()}
    scale = np.ones_like(next(iter(tables.values()))) if scale is None else np.asarray(scale, dtype=float)
    total = np.nansum(scale)
    return Evaluation(
        {
            name: Scores(
                {
                    "wql_p50": None,
                    "wql": float(np.nansum(table) / total) if total else None,
                    "mase": 0.9,
                    "coverage_98": 0.97,
                    "coverage_80": 0.75,
                },
                table,
                (failed or {}).get(name, 0),
            )
            for name, table in tables.items()
        },
        scale,
    )


def noisy(seed, level, series=20, windows=2):
    return np.abs(np.random.default_rng(seed).normal(level, level / 4, size=(series, windows)))


def test_a_candidate_that_is_better_than_all_is_approved_with_the_numbers():
    decision = decide(
        evaluation(candidate=noisy(1, 0.4), base=noisy(2, 0.5), approved=noisy(3, 0.45), seasonal_naive=noisy(4, 0.8))
    )
    assert decision.status == "Approved"
    assert [row.model for row in decision.rows] == [CANDIDATE, BASE, APPROVED, SEASONAL_NAIVE]
    own, base, *_ = decision.rows
    assert (own.verdict, own.difference, own.low, own.high, own.relative) == ("Approved", None, None, None, 1.0)
    assert base.relative == pytest.approx(base.wql / own.wql)
    assert base.difference == pytest.approx(own.wql - base.wql)
    assert base.low < base.difference < base.high < 0
    assert (base.verdict, base.mase, base.coverage, decision.band) == ("better", 0.9, 0.75, "coverage_80")
    assert decision.reason.startswith(f"wQL {own.wql:.4g} is not above zero-shot base {base.wql:.4g} (")
    assert "approved version" in decision.reason
    assert decision.reason.endswith("over 40 windows of 20 series")
    assert "\n" not in decision.reason
    json.dumps(decision.to_document(), allow_nan=False)
    json.dumps([row.to_document() for row in decision.rows], allow_nan=False)


@pytest.mark.parametrize("worse_than", [BASE, APPROVED, SEASONAL_NAIVE])
def test_a_candidate_that_is_worse_than_one_is_rejected_and_says_by_how_much(worse_than):
    losses = {name: noisy(5, 0.5) for name in (BASE, APPROVED, SEASONAL_NAIVE)} | {CANDIDATE: noisy(5, 0.4)}
    losses[worse_than] = losses[CANDIDATE] * 0.9
    decision = decide(evaluation(**losses))
    assert decision.status == "Rejected"
    title = {BASE: "zero-shot base", APPROVED: "approved version", SEASONAL_NAIVE: "seasonal naive"}[worse_than]
    assert f"is above {title}" in decision.reason
    assert "(+11.1 %, 95 % interval of the difference 0.0" in decision.reason
    others = {"zero-shot base", "approved version", "seasonal naive"} - {title}
    assert not any(other in decision.reason for other in others)
    verdicts = {row.model: row.verdict for row in decision.rows}
    assert verdicts.pop(CANDIDATE) == "Rejected"
    assert verdicts.pop(worse_than) == "worse"
    assert set(verdicts.values()) == {"better"}


def test_being_worse_by_chance_is_still_worse_and_said_to_be_chance():
    candidate = noisy(6, 0.5)
    base = candidate + np.random.default_rng(7).normal(0, 0.1, candidate.shape)
    base -= (base - candidate).mean() + 1e-3
    decision = decide(evaluation(candidate=candidate, base=base))
    assert decision.status == "Rejected"
    assert decision.rows[1].low < 0 < decision.rows[1].high
    assert decision.rows[1].verdict == "worse, may be chance"
    assert decide(evaluation(candidate=base, base=candidate)).rows[1].verdict == "better, may be chance"


def test_the_same_model_is_equal_and_approved():
    losses = noisy(8, 0.5)
    decision = decide(evaluation(candidate=losses, base=losses.copy(), approved=losses.copy()))
    assert decision.status == "Approved"
    for row in decision.rows[1:]:
        assert (row.difference, row.low, row.high, row.verdict) == (0.0, 0.0, 0.0, "equal")


@pytest.mark.parametrize("level", [0.4, 0.6])
def test_manual_leaves_it_to_a_person_with_the_same_text(level):
    measured = evaluation(candidate=noisy(1, level), base=noisy(2, 0.5))
    manual, auto = decide(measured, "manual"), decide(measured, "auto")
    assert manual.status == manual.rows[0].verdict == "PendingManualApproval"
    assert manual.reason == auto.reason
    assert manual.rows[1:] == auto.rows[1:]


def test_a_candidate_that_fails_where_another_model_does_not_is_rejected():
    better = {"candidate": noisy(1, 0.1), "base": noisy(2, 0.5), "seasonal_naive": noisy(3, 0.9)}
    decision = decide(evaluation(**better, failed={CANDIDATE: 3, BASE: 2}))
    assert decision.status == "Rejected"
    assert decision.reason == "windows that the candidate could not forecast: 3 (zero-shot base: 2)"
    assert decide(evaluation(**better, failed={CANDIDATE: 2, BASE: 2})).status == "Approved"
    assert decide(evaluation(**better, failed={CANDIDATE: 1, BASE: 2})).status == "Approved"


def test_without_a_denominator_a_person_has_to_decide():
    table = np.ones((3, 2))
    for scale in (np.zeros((3, 2)), np.full((3, 2), NAN)):
        losses = np.where(np.isnan(scale), NAN, table)
        decision = decide(evaluation(scale=scale, candidate=losses * 2, base=losses))
        assert decision.status == "PendingManualApproval"
        assert decision.reason.startswith("wQL is undefined over")
        assert decision.rows[1].verdict == "undefined"
        json.dumps(decision.to_document(), allow_nan=False)
    failing = evaluation(scale=np.zeros((3, 2)), candidate=table, base=table, failed={CANDIDATE: 1})
    assert decide(failing).status == "Rejected"


def test_a_perfect_candidate_has_no_relative_error():
    decision = decide(evaluation(candidate=np.zeros((3, 2)), base=np.ones((3, 2))))
    assert (decision.status, decision.rows[1].relative) == ("Approved", None)
    decision = decide(evaluation(candidate=np.ones((3, 2)), base=np.zeros((3, 2))))
    assert decision.status == "Rejected"
    assert "zero-shot base 0 (1, " in decision.reason


def test_one_series_has_the_interval_of_its_windows_and_one_window_none():
    candidate, base = noisy(1, 0.4, 1, 12), noisy(2, 0.5, 1, 12)
    several = paired_bootstrap(candidate, base, np.ones((1, 12)))
    assert several.unit == "windows"
    assert several.low < several.value < several.high
    single = decide(evaluation(candidate=candidate[:, :1], base=base[:, :1]))
    assert (single.rows[1].low, single.rows[1].high) == (None, None)
    assert single.rows[1].difference is not None
    assert "no interval from a single window" in single.reason
    assert single.rows[1].verdict.endswith("of unknown certainty")
    # A second series that has no point is none.
    candidate, base = (np.vstack([table[:, :2], [[NAN, NAN]]]) for table in (candidate, base))
    scale = np.array([[1.0, 1.0], [NAN, NAN]])
    assert paired_bootstrap(candidate, base, scale).unit == "windows"


def test_series_are_drawn_whole():
    # The windows of a series are copies of each other: they tell nothing new, and must not narrow the interval.
    candidate, base = noisy(1, 0.4, 15, 1), noisy(2, 0.5, 15, 1)
    one = paired_bootstrap(candidate, base, np.ones((15, 1)))
    many = paired_bootstrap(np.tile(candidate, 9), np.tile(base, 9), np.ones((15, 9)))
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


def test_an_interval_of_hardly_any_resamples_is_none():
    scale = np.zeros((4, 1))
    scale[0] = 1.0
    difference = paired_bootstrap(np.full((4, 1), 0.5), np.full((4, 1), 0.25), scale)
    assert difference.value == 1.0
    assert (difference.low, difference.high) == (None, None)


tables = st.integers(1, 6).flatmap(
    lambda series: st.integers(1, 4).flatmap(
        lambda windows: st.tuples(
            *[
                st.lists(
                    st.lists(st.one_of(st.floats(0, 1e6), st.just(0.0)), min_size=windows, max_size=windows),
                    min_size=series,
                    max_size=series,
                )
            ]
            * 3,
            st.lists(st.lists(st.booleans(), min_size=windows, max_size=windows), min_size=series, max_size=series),
        )
    )
)


@given(tables, st.integers(0, 5))
def test_the_difference_is_that_of_the_wqls_symmetric_and_the_same_under_a_seed(drawn, seed):
    candidate, reference, scale = (np.array(table) for table in drawn[:3])
    missing = np.array(drawn[3])
    for table in (candidate, reference, scale):
        table[missing] = NAN
    one = paired_bootstrap(candidate, reference, scale, resamples=50, seed=seed)
    assert one == paired_bootstrap(candidate, reference, scale, resamples=50, seed=seed)
    other = paired_bootstrap(reference, candidate, scale, resamples=50, seed=seed)
    total = np.nansum(scale)
    if one.value is None:
        assert other.value is None
        assert total < 1e-290
        return
    assert total > 0
    size = np.nansum(candidate + reference) / total
    assert one.value == pytest.approx((np.nansum(candidate) - np.nansum(reference)) / total, abs=1e-9 * (1 + size))
    assert other.value == pytest.approx(-one.value, abs=1e-9 * (1 + size))
    if one.low is not None:
        assert one.low <= one.high
        spread = abs(one.low) + abs(one.high)
        assert other.low == pytest.approx(-one.high, abs=1e-9 * (1 + spread))
        assert other.high == pytest.approx(-one.low, abs=1e-9 * (1 + spread))
    # A model is never told from itself.
    same = paired_bootstrap(candidate, candidate.copy(), scale, resamples=50, seed=seed)
    assert same.value == 0.0
    assert same.low in (None, 0.0)
    assert same.high in (None, 0.0)


def test_another_seed_draws_other_series():
    arguments = noisy(1, 0.4), noisy(2, 0.5), np.ones((20, 2))
    assert paired_bootstrap(*arguments, seed=1) != paired_bootstrap(*arguments, seed=2)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(11)
    true, hits, repetitions = -0.03, 0, 300
    for _ in range(repetitions):
        scale = generator.uniform(0.5, 2.0, size=(40, 3))
        # What a series has of its own is in all its windows.
        own = generator.normal(true, 0.1, size=(40, 1)) + generator.normal(0, 0.05, size=(40, 3))
        reference = generator.uniform(0.2, 0.6, size=(40, 3)) * scale
        interval = paired_bootstrap(reference + own * scale, reference, scale, resamples=400)
        hits += interval.low <= true <= interval.high
    # 95 % ± 3 standard errors, and the percentiles' known shortfall with 40 series.
    assert 0.90 <= hits / repetitions <= 0.99


def test_impossible_arguments_are_refused():
    ones = np.ones((2, 2))
    with pytest.raises(ValueError, match="must agree"):
        paired_bootstrap(ones, ones[:1], ones)
    with pytest.raises(ValueError, match="not measured on the same windows"):
        paired_bootstrap(np.array([[NAN, 1.0], [1.0, 1.0]]), ones, ones)
    with pytest.raises(ValueError, match="use auto or manual"):
        decide(evaluation(candidate=ones, base=ones), "automatic")
    with pytest.raises(ValueError, match="there is base"):
        decide(evaluation(base=ones))
    with pytest.raises(ValueError, match="there is candidate"):
        decide(evaluation(candidate=ones))
