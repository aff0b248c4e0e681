"""`run --no-training` is remembered in the store: the UI's sensors train no model either, until a run without it."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.defs.new_data_sensor import _plan_retrain
from chronos_assets.pipeline.run_settings import remember_training, training_is_on
from chronos_assets.store_layout import RUN_SETTINGS_KEY
from chronos_assets_tests.defs.line import PARAMS, Line, make_line
from chronos_assets_tests.models.tiny import folder_of


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(tmp_path, instance, model=str(folder_of("bolt")))


def test_trainings_run_until_a_run_is_asked_not_to_and_again_after_one_that_is_not(line: Line) -> None:
    assert training_is_on(line.group)
    remember_training(line.group, True)
    assert not (line.root / RUN_SETTINGS_KEY).exists()  # nothing to remember
    remember_training(line.group, False)
    assert not training_is_on(line.group)
    remember_training(line.group, True)
    assert training_is_on(line.group)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"training": "no"}', "\x00"])
def test_a_damaged_document_counts_as_none(line: Line, text: str) -> None:
    line.put(RUN_SETTINGS_KEY, text)
    assert training_is_on(line.group)


def test_the_sensor_asks_for_no_training_meanwhile(line: Line) -> None:
    line.put("params.json", json.dumps(PARAMS | {"Chronos": {"Training": {"MaxJobs": 1}}}))
    assert line.run(["target_time_series"]).success
    context = dg.build_sensor_context(
        instance=line.instance,
        sensor_name="new_data_sensor",
        repository_def=line.definitions.get_repository_def(),
    )
    assert _plan_retrain(line.state, context).run_key is not None
    remember_training(line.group, False)
    plan = _plan_retrain(line.state, context)
    assert plan.run_key is None
    assert "--no-training" in plan.message
