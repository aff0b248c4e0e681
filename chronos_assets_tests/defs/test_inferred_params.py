"""Parameters that were inferred follow the data until somebody touches them."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets_tests.defs.line import Line, failure_reason
from chronos_assets_tests.defs.test_current_forecast import make_daily_line

START = datetime(2024, 1, 1)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A store without params.json, with a weekly file."""
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_daily_line(tmp_path / "store", instance)
        (line.root / "params.json").unlink()
        put(line, "a", 7, 41)
        yield line


def put(line: Line, name: str, step: int, count: int, item: str = "a") -> None:
    rows = [f"{item},{START + timedelta(days=step * n):%Y-%m-%d},{n % 5 + 1}" for n in range(count)]
    line.put(f"train/{name}.csv", "\n".join(["item_id,timestamp,target_value", *rows]) + "\n")


def frequency(line: Line) -> str:
    document = json.loads((line.root / "params.json").read_text())
    return str(document["Predictor"]["FeaturizationConfig"]["ForecastFrequency"])


def test_a_daily_file_in_the_place_of_a_weekly_one_is_not_summed_to_weeks(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    assert frequency(line) == "W"
    put(line, "a", 1, 61)
    assert line.run(["target_time_series"]).success
    assert frequency(line) == "D"
    manifest = line.state.require_manifest()
    assert (manifest.frequency, manifest.rows) == ("D", 61)
    (note,) = [note for note in manifest.notes if "inferred again" in note]
    assert 'ForecastFrequency "W" -> "D"' in note


def test_the_next_import_of_the_same_files_is_no_change(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    before = (line.root / "params.json").stat()
    assert line.run(["target_time_series"]).success
    assert (line.root / "params.json").stat() == before


def test_what_somebody_touched_stays(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    document = json.loads((line.root / "params.json").read_text())
    line.put("params.json", json.dumps(document | {"PerformDelete": True}))
    put(line, "a", 1, 61)
    line.run(["target_time_series"])
    assert frequency(line) == "W"


def test_a_refused_file_is_explained_with_where_the_inferred_parameters_are(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    line.put("train/b.csv", "item_id,timestamp,target_value\nb,2024-02-31,1\n")
    assert f'"quarantine"}} in {line.root / "params.json"} to' in failure_reason(line.run(["target_time_series"]))
    document = json.loads((line.root / "params.json").read_text())
    line.put("params.json", json.dumps(document | {"PerformDelete": True}))  # by hand: its user knows where it is
    assert '"quarantine"} in params.json to' in failure_reason(line.run(["target_time_series"]))


def test_more_of_the_same_changes_nothing_and_says_nothing(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    before = line.state.params_digest
    put(line, "b", 7, 41, item="b")
    assert line.run(["target_time_series"]).success
    assert line.state.params_digest == before
    assert not any("inferred again" in note for note in line.state.require_manifest().notes)


def test_where_nothing_can_be_inferred_any_more_the_old_ones_stay(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    before = (line.root / "params.json").read_bytes()
    line.put("train/a.csv", "x,y\n1,2\n")
    result = line.run(["target_time_series"])
    assert not result.success
    assert failure_reason(result)
    assert (line.root / "params.json").read_bytes() == before
