"""What a search may ask for."""

import re

import pytest

from chronos_assets.params.training import CategoricalRange, ContinuousRange, IntegerRange
from chronos_assets.platforms.tuning import SearchError, TuningRequest, check_search

RIGHT = {
    "name": "search-1",
    "hyperparameters": {"max_steps": 3, "mixture": {"target": 1.0}, "quantiles": [0.1, 0.9], "min_past": None},
    "ranges": {
        "learning_rate": ContinuousRange(1e-5, 1e-4, "log"),
        "weight_decay": ContinuousRange(0, 1),
        "batch_size": IntegerRange(1, 64, "log"),
        "seed": IntegerRange(-1, 1),
        "finetune_mode": CategoricalRange(("full", "lora", 1, 2.5, False)),
    },
    "inputs": {"target": "dataset", "synthetic.2": "synthetic"},
}


@pytest.mark.parametrize("changes", [{}, {"ranges": {}, "max_jobs": 1}, {"max_jobs": 100, "max_parallel_jobs": 200}])
def test_what_can_be_searched_is_let_through(changes):
    check_search(TuningRequest(**{**RIGHT, **changes}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"max_jobs": 0}, "max_jobs is 0: give a whole number from 1"),
        ({"max_jobs": True}, "max_jobs is True"),
        ({"max_parallel_jobs": 1.5}, "max_parallel_jobs is 1.5"),
        ({"random_seed": "x"}, "random_seed is 'x'"),
        ({"hyperparameters": {"learning_rate": 1}}, "'learning_rate' has a fixed value and a range"),
        ({"hyperparameters": {"x": float("nan")}}, "'x' is no JSON value"),
        ({"hyperparameters": {"x": object()}}, "'x' is no JSON value"),
        ({"ranges": {}}, "there is no range to search"),
        ({"ranges": {"x": ContinuousRange(1.0, 1.0)}}, "range of 'x': its low end 1.0 is not below its high end 1.0"),
        ({"ranges": {"x": ContinuousRange(0.0, 1.0, "log")}}, "its low end must be above 0, not 0.0"),
        ({"ranges": {"x": ContinuousRange(0.0, float("inf"))}}, "not finite"),
        ({"ranges": {"x": ContinuousRange(0.0, 1.0, "cubic")}}, "scale 'cubic'"),
        ({"ranges": {"x": IntegerRange(0, 2.5)}}, "not whole numbers"),
        ({"ranges": {"x": IntegerRange(0, 5, "log")}}, "above 0"),
        ({"ranges": {"x": IntegerRange(5, 0)}}, "not below"),
        ({"ranges": {"x": CategoricalRange(())}}, "it has no values"),
        ({"ranges": {"x": CategoricalRange((1, True))}}, "True occurs twice"),
        ({"ranges": {"x": CategoricalRange((None, 1))}}, "None is no text"),
        ({"ranges": {"x": CategoricalRange((float("nan"), 1))}}, "nan is no text, finite number"),
        ({"inputs": {"../x": "dataset"}}, "input channel '../x'"),
        ({"name": "../x"}, "job name '../x'"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes, problem):
    with pytest.raises(SearchError, match=re.escape(problem)):
        check_search(TuningRequest(**{**RIGHT, **changes}))


def test_all_that_is_wrong_is_reported_at_once():
    with pytest.raises(SearchError) as error:
        check_search(TuningRequest(**{**RIGHT, "max_jobs": 0, "random_seed": None}))
    assert str(error.value).startswith("search search-1: max_jobs is 0")
    assert "random_seed is None" in str(error.value)
