"""The defects of the pipelines that this project replaces: one test for each, here or where its part is tested."""

import ast
import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.defs.line import PARAMS, Line, hourly_rows, make_line
from chronos_assets_tests.models.tiny import folder_of

ELSEWHERE = {
    # The SageMaker pipeline with Chronos.
    "parameters that change nothing (training)": "workloads/test_train.py::test_every_parameter_changes_something",
    "parameters that change nothing (series)": "workloads/test_generate.py::test_the_number_of_kernels_counts",
    "tuning on the last step's training loss": (
        "platforms/local/test_tuning.py::test_a_search_tells_every_trial_and_hands_out_the_best_model"
    ),
    "tuning on what was trained on": "workloads/test_train.py::test_what_is_held_out_changes_nothing",
    "the last weights, not the best": "models/test_finetuning.py::test_the_best_weights_are_kept_not_the_last",
    "a failed job that exits with 0": "workloads/test_container.py::test_a_failed_job_does_not_exit_with_0",
    "inputs rounded to bfloat16 (training)": (
        "models/test_finetuning_data.py::test_10001_beside_10000_stays_what_it_is_to_the_last_bit_of_float32"
    ),
    "inputs rounded to bfloat16 (serving)": "workloads/test_endpoint_app.py::test_large_numbers_keep_their_digits",
    "a registry with no gate": "defs/test_training_line.py::test_from_data_to_a_served_version_and_back",
    "an endpoint that answers with a pickle": "workloads/test_endpoint_app.py::test_nothing_is_unpickled",
    "LoRA that is a full fine-tune": "models/test_finetuning.py::test_lora_without_peft_is_an_error_not_a_full_fine_tune",
    # The Amazon Forecast pipeline.
    "a failure that sends no notice": (
        "defs/test_sensors.py::test_a_failed_import_is_reported_once_and_not_repeated_until_a_file_changes"
    ),
    "a failed run shown as succeeded": (
        "platforms/local/test_jobs.py::test_a_failure_says_why_in_one_line_and_shows_the_end_of_stderr"
    ),
}


@pytest.mark.parametrize("defect", ELSEWHERE)
def test_a_defect_that_is_tested_with_its_part_is_tested_there(defect: str) -> None:
    path, name = ELSEWHERE[defect].split("::")
    tree = ast.parse((REPOSITORY / "chronos_assets_tests" / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(tmp_path / "store", instance, model=str(folder_of("bolt")), days=5)


def published(line: Line) -> list[dict[str, str]]:
    with (line.root / "forecast" / "forecast.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_second_upload_is_forecast_anew_and_its_export_is_not_the_first_ones(line: Line) -> None:
    """The old pipeline named its forecast by the dataset group, found it there, and exported it again."""
    assert line.run(["target_time_series", "forecasts"], "2024-01-05").success
    first = published(line)
    line.put("train/later.csv", "\n".join(hourly_rows(1, first=datetime(2024, 1, 6))) + "\n")
    assert line.run(["target_time_series", "forecasts"], "2024-01-06").success
    second = published(line)
    assert max(row["timestamp"] for row in first) == "2024-01-06 23:00:00"
    assert max(row["timestamp"] for row in second) == "2024-01-07 23:00:00"
    assert min(row["timestamp"] for row in second) == "2024-01-06 23:00:00"  # the last observation, where it joins


def test_the_mean_is_exported_and_extra_dimensions_keep_their_values_and_no_work_is_left(line: Line) -> None:
    """There, the type `mean` broke the export, dimensions came back blank, and exported parts were never deleted."""
    params = json.loads(json.dumps(PARAMS))
    params["Datasets"][0]["Schema"]["Attributes"].append({"AttributeName": "store", "AttributeType": "string"})
    params["Predictor"]["FeaturizationConfig"]["ForecastDimensions"] = ["store"]
    params["Forecast"]["ForecastTypes"] = ["mean", "0.50"]
    line.put("params.json", json.dumps(params))
    rows = [f"{row},{store}" for store in ("north", "south") for row in hourly_rows(5, items=("a",))]
    line.put("train/demand.csv", "\n".join(rows) + "\n")
    assert line.run(["target_time_series", "forecasts"], "2024-01-05").success
    exported = published(line)
    assert list(exported[0]) == ["timestamp", "target_value", "item_id", "store", "type"]
    assert {(row["store"], row["type"]) for row in exported} == {
        (store, kind) for store in ("north", "south") for kind in ("mean", "p50")
    }
    for folder in (".jobs", ".staging"):
        assert not [path for path in (line.root / folder).iterdir() if path.is_dir()]
