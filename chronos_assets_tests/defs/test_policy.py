"""When a model is trained: every rule of the policy, and what earlier attempts change."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.params.training import TrainingParams
from chronos_assets.planning.cursor import RunState, RunStatus
from chronos_assets.planning.retraining import (
    MAX_ATTEMPTS,
    LiveAccuracy,
    NewestVersion,
    plan_retrain,
    run_keys,
    training_due,
)

NOW = datetime(2026, 1, 31)
WEEK = timedelta(days=7)


def version(age: timedelta = timedelta(), *, data: str = "old", status: str = "Approved") -> NewestVersion:
    return NewestVersion("Shop/1", status, NOW - age, data)


def due(training: TrainingParams | None = None, **changes: Any) -> tuple[bool, str]:
    facts: dict[str, Any] = {
        "data_version": "new", "newest": version(), "usable": True, "deletes": False, "live": None, "now": NOW
    }  # fmt: skip
    return training_due(training or TrainingParams(), **(facts | changes))


@pytest.mark.parametrize(
    ("changes", "wanted", "part"),
    [
        ({"newest": None}, True, "no version has been registered"),
        ({"newest": None, "data_version": None}, False, "no dataset"),
        ({}, False, "trained again on changed data in"),
        ({"newest": version(WEEK)}, False, "days old"),
        ({"newest": version(WEEK + timedelta(seconds=1))}, True, "more than Chronos.Training.MaxAge = 604800 s"),
        ({"newest": version(5 * WEEK, data="new")}, False, "was trained on the data that are there"),
        ({"newest": version(5 * WEEK, data="new", status="Rejected")}, False, "Shop/1 (Rejected)"),
        ({"newest": version(status="Rejected")}, False, "Shop/1 is"),
        ({"newest": version(), "usable": False}, True, "was deleted"),
        ({"newest": version(status="Rejected"), "usable": False}, False, "Shop/1 is"),
        ({"newest": version(data="new"), "usable": False, "deletes": True}, False, "was trained on the data that are"),
        ({"newest": version(data="new"), "usable": False}, True, "the checkpoint of Shop/1 is gone"),
        ({"newest": version(data="new", status="Rejected"), "usable": False}, False, "Shop/1 (Rejected)"),
        (
            {"live": LiveAccuracy("Shop/1", 0.1, (0.13,) * 7)},
            True,
            "Shop/1 drifted: wQL 0.13 over 7 windows, 1.3 times",
        ),
        ({"live": LiveAccuracy("Shop/1", 0.1, (0.13,) * 6)}, False, "Shop/1 is"),
        (
            {"live": LiveAccuracy("Shop/1", 0.1, (0.12,) * 7, (0.11,) * 7)},
            True,
            "worse than the seasonal naive forecast",
        ),
        ({"live": LiveAccuracy("Shop/1", 0.1, (0.12,) * 7, (0.13,) * 7)}, False, "Shop/1 is"),
        ({"live": LiveAccuracy("Shop/1", 0.1, (0.12,) * 6, (0.11,) * 6)}, False, "Shop/1 is"),
        ({"live": LiveAccuracy("Shop/1", 0.1, (0.12,) * 7)}, False, "Shop/1 is"),
        ({"live": LiveAccuracy("Shop/1", 0.1, (9.0,) * 7), "newest": version(data="new")}, False, "was trained on"),
        ({"live": LiveAccuracy("Shop/1", 0.0, (9.0,) * 7)}, False, "Shop/1 is"),
    ],
)
def test_each_rule(changes: dict[str, Any], wanted: bool, part: str) -> None:
    answer, reason = due(**changes)
    assert answer is wanted
    assert part in reason


def test_the_parameters_count() -> None:
    live = LiveAccuracy("Shop/1", 0.1, (0.13,) * 3)
    assert due(TrainingParams(drift_windows=3), live=live)[0]
    assert not due(TrainingParams(drift_windows=3, drift_factor=1.4), live=live)[0]
    assert due(TrainingParams(max_age=60), newest=version(timedelta(minutes=2)))[0]
    assert due(TrainingParams(strategy="RETRAIN"), newest=None)[0]
    assert due(TrainingParams(strategy="NONE"), newest=None) == (
        False,
        "training is off (Chronos.Training.Strategy is NONE)",
    )


FAILED = RunState(RunStatus.FAILED, "killed")


@pytest.mark.parametrize(
    ("attempts", "number", "part"),
    [
        ([None] * 3, 0, "because"),
        ([FAILED, None, None], 1, "because"),
        ([FAILED, FAILED, None], 2, "because"),
        ([FAILED] * 3, None, "failed 3 times"),
        ([RunState(RunStatus.RUNNING), None, None], None, "under way: because"),
        ([RunState(RunStatus.CANCELED), None, None], None, "was cancelled"),
        ([RunState(RunStatus.FAILED, "too short", retry=False), None, None], None, "failed: too short"),
        ([RunState(RunStatus.SUCCEEDED), None, None], None, "trained"),
    ],
)
def test_what_earlier_attempts_change(attempts: list[RunState | None], number: int | None, part: str) -> None:
    plan = plan_retrain((True, "because"), attempts=attempts, search="abc")
    assert plan.run_key == (None if number is None else run_keys("abc")[number])
    assert part in plan.message


def test_nothing_is_requested_while_nothing_is_due() -> None:
    assert plan_retrain((False, "because"), attempts=[None] * MAX_ATTEMPTS, search="abc").run_key is None


@given(st.text(), st.text())
def test_another_search_has_other_run_keys(one: str, other: str) -> None:
    assert (set(run_keys(one)) & set(run_keys(other)) == set()) == (one != other)
    assert len(set(run_keys(one))) == MAX_ATTEMPTS


@given(
    st.sampled_from(["old", "new", None]),
    st.none() | st.builds(version, st.timedeltas(timedelta(), 9 * WEEK), data=st.sampled_from(["old", "new"])),
    st.booleans(),
    st.lists(st.floats(0, 10), max_size=12),
)
def test_after_a_training_on_the_data_that_are_there_none_is_due(
    data: str | None, newest: NewestVersion | None, usable: bool, wqls: list[float]
) -> None:
    live = LiveAccuracy("Shop/1", 0.1, tuple(wqls))
    wanted, reason = due(data_version=data, newest=newest, usable=usable, live=live)
    assert reason
    if wanted:
        made = NewestVersion("Shop/2", "Rejected", NOW, str(data))
        assert not due(data_version=data, newest=made, usable=usable, live=live)[0]
