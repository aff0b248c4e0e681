"""`Chronos.Training`: defaults, ranges of a search, and everything that can be wrong with them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.params.document import Findings
from chronos_assets.params.hyperparameters import HYPERPARAMETERS
from chronos_assets.params.reader import parse_params
from chronos_assets.params.training import (
    CategoricalRange,
    ContinuousRange,
    IntegerRange,
    SyntheticParams,
    TrainingParams,
    read_training,
    training_document,
)


def read(section: Any) -> tuple[TrainingParams, Findings]:
    findings = Findings()
    chronos = findings.section({"Training": section}, "Chronos")
    assert chronos is not None
    return read_training(chronos, "Training") or TrainingParams(), findings


# Values that every hyperparameter of the kind may have.
POSSIBLE: dict[type, Any] = {
    str: st.sampled_from(["full", "lora"]),
    int: st.integers(1, 99),
    float: st.floats(0, 1, exclude_min=True, exclude_max=True),
}


@st.composite
def ranges(draw: st.DrawFn, name: str) -> Any:
    kind = HYPERPARAMETERS[name].kind
    if kind is str or draw(st.booleans()):
        return CategoricalRange(tuple(draw(st.lists(POSSIBLE[kind], min_size=1, max_size=3))))
    low, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    scale = draw(st.sampled_from(["linear", "log"]))
    return (
        IntegerRange(low, low + width, scale) if kind is int else ContinuousRange(low / 100, (low + width) / 100, scale)
    )


@st.composite
def trainings(draw: st.DrawFn) -> TrainingParams:
    """Any section that can be."""
    searched = draw(st.lists(st.sampled_from(sorted(HYPERPARAMETERS)), unique=True, max_size=3))
    fixed = draw(st.lists(st.sampled_from(sorted(set(HYPERPARAMETERS) - set(searched))), unique=True, max_size=3))
    return TrainingParams(
        strategy=draw(st.sampled_from(["TRAIN", "RETRAIN", "NONE"])),
        max_age=draw(st.floats(1e-3, 1e12)),
        drift_factor=draw(st.floats(1, 10)),
        drift_windows=draw(st.integers(1, 99)),
        base_models=tuple(draw(st.lists(st.sampled_from(["bundled", "a/b", "folder"]), unique=True))),
        synthetic_share=draw(st.floats(0, 1)),
        validation_windows=draw(st.integers(1, 100)),
        test_windows=draw(st.integers(1, 100)),
        hyperparameters={name: draw(POSSIBLE[HYPERPARAMETERS[name].kind]) for name in fixed},
        ranges={name: draw(ranges(name)) for name in searched},
        max_jobs=draw(st.integers(1, 1000)),
        max_parallel_jobs=draw(st.integers(1, 100)),
        random_seed=draw(st.integers(0, 2**32 - 1)),
        approval=draw(st.sampled_from(["auto", "manual"])),
        synthetic=SyntheticParams(seed=draw(st.integers(0, 9)), length=draw(st.integers(64, 2048))),
    )


@given(trainings())
def test_what_is_written_reads_back_the_same(training: TrainingParams) -> None:
    again, findings = read(training_document(training))
    assert not findings.problems
    assert again == training
    assert again.search_digest == training.search_digest


def test_defaults_are_the_blueprint_s() -> None:
    training, findings = read({})
    assert not findings.problems
    assert training == TrainingParams()
    assert training.ranges == {"learning_rate": ContinuousRange(1e-5, 1e-4, "log")}
    assert (training.random_seed, training.max_age, training.strategy) == (10, 604_800, "TRAIN")
    assert training_document(training) == {}


def test_a_fixed_learning_rate_is_not_searched_for() -> None:
    training, findings = read({"Hyperparameters": {"learning_rate": 1e-3}})
    assert not findings.problems
    assert training.ranges == {}


def test_the_hyperparameters_are_those_of_the_training_job_that_are_not_set_otherwise() -> None:
    from dataclasses import fields

    from chronos_assets.pipeline.state import Setup
    from chronos_assets.pipeline.tuning import training_hyperparameters
    from chronos_assets.training.request import TrainRequest, parse_request
    from chronos_assets_tests.defs.line import PARAMS

    params = parse_params(PARAMS)
    setup = Setup(params, TrainingParams(hyperparameters={"max_steps": 3}), "v1", "Shop", 24, (0.1, 0.5))
    made = training_hyperparameters(setup, "bundled")
    assert parse_request(made).max_steps == 3
    ours = set(made) - {"max_steps"}
    assert {field.name for field in fields(TrainRequest)} == ours | set(HYPERPARAMETERS)
    assert not ours & set(HYPERPARAMETERS)


@pytest.mark.parametrize(
    ("section", "key", "part"),
    [
        ({"Strategy": "trainn"}, "Chronos.Training.Strategy", 'did you mean "TRAIN"'),
        ({"MaxAge": 0}, "Chronos.Training.MaxAge", "above 0"),
        ({"DriftFactor": 0.5}, "Chronos.Training.DriftFactor", "1 or more"),
        ({"BaseModels": []}, "Chronos.Training.BaseModels", "list of models"),
        ({"BaseModels": ["a/b", "a/b"]}, "Chronos.Training.BaseModels", "twice"),
        ({"SyntheticShare": 1.5}, "Chronos.Training.SyntheticShare", "from 0 to 1"),
        ({"MaxJobs": 0}, "Chronos.Training.MaxJobs", "from 1 to 1000"),
        ({"Approval": True}, "Chronos.Training.Approval", "auto, manual"),
        ({"Maxjobs": 2}, "Chronos.Training.Maxjobs", 'did you mean "MaxJobs"'),
        ({"Hyperparameters": {"lr": 1}}, "Chronos.Training.Hyperparameters.lr", "unknown"),
        ({"Hyperparameters": {"max_steps": 1.5}}, "Chronos.Training.Hyperparameters.max_steps", "whole number"),
        ({"Ranges": {"lr": {}}}, "Chronos.Training.Ranges.lr", "not a hyperparameter"),
        (
            {"Ranges": {"learning_rate": {"Type": "Continuous", "Min": 1, "Max": 1}}},
            "Chronos.Training.Ranges.learning_rate.Max",
            "not above Min",
        ),
        (
            {"Ranges": {"learning_rate": {"Type": "Continuous", "Min": 0, "Max": 1, "Scale": "log"}}},
            "Chronos.Training.Ranges.learning_rate.Min",
            "above 0",
        ),
        (
            {"Ranges": {"learning_rate": {"Type": "Integer", "Min": 1, "Max": 2}}},
            "Chronos.Training.Ranges.learning_rate.Type",
            '"Continuous"',
        ),
        (
            {"Ranges": {"batch_size": {"Type": "Categorical", "Values": []}}},
            "Chronos.Training.Ranges.batch_size.Values",
            "at least one",
        ),
        (
            {
                "Hyperparameters": {"batch_size": 8},
                "Ranges": {"batch_size": {"Type": "Categorical", "Values": [8]}},
            },
            "Chronos.Training.Ranges.batch_size",
            "keep one",
        ),
        ({"Synthetic": {"Length": 3}}, "Chronos.Training.Synthetic.Length", "from 64"),
        ({"Synthetic": {"Length": 8193}}, "Chronos.Training.Synthetic.Length", "to 8192"),
        ([], "Chronos.Training", "object"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_fix(section: Any, key: str, part: str) -> None:
    _, findings = read(section)
    assert key in [problem.key for problem in findings.problems]
    assert part in "\n".join(str(problem) for problem in findings.problems)


EDGES: tuple[Any, ...] = (
    *(-3, -1, 0, 1, 2, 1024, 1025, 2**32 - 1, 2**32, 10**12),
    *(-0.5, 0.0, 1e-9, 0.5, 0.999, 1.0, 1.5, 999.9, 1000.0, 1e9, 1e12, float("nan"), float("inf")),
    *("full", "lora", "nonsense", "", "5", True, False, None, [], {}),
)


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_what_the_job_would_refuse_is_refused_before_and_nothing_else(name: str) -> None:
    """The reader of params.json and the training job agree about every value, and the reader says what would do."""
    from chronos_assets.container.contract import WorkloadError
    from chronos_assets.training.request import parse_request

    for value in EDGES:
        _, findings = read({"Hyperparameters": {name: value}})
        try:
            parse_request({name: value})
            refused = value is None  # null in a job's document stands for the default; in params.json it is an accident
        except WorkloadError:
            refused = True
        assert bool(findings.problems) == refused, value
        if refused:
            (problem,) = findings.problems
            assert problem.key == f"Chronos.Training.Hyperparameters.{name}"
            assert HYPERPARAMETERS[name].expected in str(problem)


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ({"Hyperparameters": {"max_steps": -3}}, "max_steps = -3: this must be a whole number from 1"),
        ({"Hyperparameters": {"finetune_mode": "nonsense"}}, 'must be "full" or "lora"'),
        ({"Hyperparameters": {"warmup_ratio": 1}}, "a number from 0 and below 1"),
        (
            {"Ranges": {"learning_rate": {"Type": "Continuous", "Min": 0, "Max": 1}}},
            "Min = 0: this must be a number above 0",
        ),
        ({"Ranges": {"drop_prob": {"Type": "Continuous", "Min": 0, "Max": 1}}}, "Max = 1: this must be a number"),
        ({"Ranges": {"batch_size": {"Type": "Integer", "Min": 0, "Max": 9}}}, "whole number from 1"),
        ({"Ranges": {"finetune_mode": {"Type": "Categorical", "Values": ["full", "half"]}}}, '"full" or "lora"'),
        ({"Ranges": {"max_steps": {"Type": "Categorical", "Values": [10, 0]}}}, "whole number from 1"),
    ],
)
def test_impossible_values_are_named_with_what_would_do(section: Any, part: str) -> None:
    _, findings = read(section)
    (problem,) = findings.problems
    assert part in str(problem)
