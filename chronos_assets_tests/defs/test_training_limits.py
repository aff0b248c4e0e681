"""Hyperparameters that ask a model for more than it has are refused before a job is launched."""

import json
from pathlib import Path
from typing import Any

import pytest

from chronos_assets.cli import main
from chronos_assets.params.training import CategoricalRange, IntegerRange, TrainingParams
from chronos_assets.pipeline.training_limits import beyond_the_model
from chronos_assets_tests.defs.line import PARAMS


@pytest.mark.parametrize(
    ("training", "key"),
    [
        (TrainingParams(hyperparameters={"context_length": 1025}), "Hyperparameters.context_length = 1025"),
        (TrainingParams(ranges={"context_length": IntegerRange(64, 2048)}), "Ranges.context_length.Max = 2048"),
        (
            TrainingParams(ranges={"prediction_length": CategoricalRange((16, 10_000))}),
            "Ranges.prediction_length.Values = 10000",
        ),
    ],
)
def test_what_a_model_does_not_have_is_named_with_its_limit(training: TrainingParams, key: str) -> None:
    (problem,) = beyond_the_model(training, "bundled")
    assert problem.startswith(f"Chronos.Training.{key}: model bundled has ")


@pytest.mark.parametrize(
    "training",
    [
        TrainingParams(),
        TrainingParams(hyperparameters={"context_length": 512}),
        # A model that isn't here is not downloaded to check a number.
        TrainingParams(base_models=("amazon/chronos-bolt-base",), hyperparameters={"context_length": 100_000}),
    ],
)
def test_what_may_work_is_left_to_the_job(training: TrainingParams) -> None:
    assert beyond_the_model(training, "bundled") == []


def test_validate_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHRONOS_BASE_MODEL", raising=False)
    document: dict[str, Any] = PARAMS | {"Chronos": {"Training": {"Hyperparameters": {"context_length": 100_000}}}}
    path = tmp_path / "params.json"
    path.write_text(json.dumps(document))
    assert main(["validate", str(path)]) == 1
    assert "context_length = 100000: model bundled has 1024 at most; write 1024 or less" in capsys.readouterr().err
