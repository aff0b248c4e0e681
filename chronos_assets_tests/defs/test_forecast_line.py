"""The forecast line through Dagster: train file -> dataset -> forecasts -> accuracy -> tables, and what goes wrong."""

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow.parquet as pq
import pytest

from chronos_assets.defs.metadata import TABLE_ROWS
from chronos_assets.store_layout import LEARNED_KEY
from chronos_assets_tests.defs.line import ITEMS, PARAMS, Line, failure_reason, hourly_rows, make_line
from chronos_assets_tests.models.tiny import folder_of

FIRST, LAST = "2024-01-06", "2024-01-10"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Ten days imported, five windows forecast in one run, those observed scored, tables made.

    By the network alone, which knows nothing: beside seasonal naive, which is always right here, it would have no weight.
    """
    chronos = PARAMS["Chronos"] | {"Predictor": {"Members": ["chronos/1"]}}  # type: ignore[operator]
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(tmp_path_factory.mktemp("store"), instance, model=str(folder_of("bolt")))
        line.put("params.json", json.dumps(PARAMS | {"Chronos": chronos}))
        assert line.run(["target_time_series"]).success
        assert line.run(["forecasts"], (FIRST, LAST)).success
        assert line.run(["forecast_accuracy", "forecast_tables"], (FIRST, "2024-01-09"), job="score_forecasts").success
        yield line


def test_the_dataset_has_its_numbers_in_metadata(done: Line) -> None:
    metadata = done.metadata("target_time_series")
    assert metadata["dagster/row_count"] == 3 * 240
    assert metadata["series"] == 3
    assert (metadata["first"], metadata["last"]) == ("2024-01-01T00:00:00", "2024-01-10T23:00:00")
    columns = [column.name for column in metadata["dagster/column_schema"].columns]
    assert columns == ["item_id", "timestamp", "target", "filled"]
    assert done.table("target_time_series", "files") == [{"file": "train/demand.csv", "rows": 720}]


def test_each_partition_has_its_own_as_of_pictures_and_model(done: Line) -> None:
    for day in range(6, 11):
        key = f"2024-01-{day:02d}"
        metadata = done.metadata("forecasts", key)
        assert metadata["context_end"] == f"{key}T23:00:00"
        assert metadata["series"] == 3
        title = metadata["picture_1"].splitlines()[0]
        assert title.startswith('**client\\, \\"c\\"**')  # the largest
        assert title.endswith(f"data to {key}T23:00:00, forecast to 2024-01-{day + 1:02d}T23:00:00")
        assert metadata["dagster/partition_row_count"] == 72
        assert metadata["published"] is (key == LAST)
        assert metadata["windows_in_run"] == 5
        assert len(metadata["model_digest"]) == 64
        for number in (1, 2, 3):
            assert "](data:image/svg+xml;base64," in metadata[f"picture_{number}"]
            assert len(metadata[f"picture_{number}"]) < 1000


def test_the_horizon_is_longer_than_the_block_and_the_metadata_says_so(done: Line) -> None:
    metadata = done.metadata("forecasts", LAST)
    assert metadata["unrolled"] is True
    assert "blocks of" in metadata["method"]


def test_the_published_csv_has_the_inputs_columns_and_joins_the_history(done: Line) -> None:
    with (done.root / "forecast" / "forecast.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["timestamp", "target_value", "item_id", "type"]
    assert {row["item_id"] for row in rows} == set(ITEMS)
    assert {row["type"] for row in rows} == {"p10", "p50", "p90", "mean"}
    assert len(rows) == 3 * 4 * (24 + 1)
    joins = [row for row in rows if row["timestamp"] == "2024-01-10 23:00:00"]
    assert {(row["item_id"], float(row["target_value"])) for row in joins} == {
        (item, number * 21.0) for number, item in enumerate(ITEMS, 1)
    }
    assert len(joins) == 12


def test_the_tables_hold_all_of_it_and_item_ids_are_data(done: Line) -> None:
    with duckdb.connect(str(done.root / "tables" / "forecast.duckdb"), read_only=True) as connection:
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for name in ("train", "forecast", "forecast_history", "accuracy", "anomalies", "forecast_vs_history")
        }
        shares = connection.execute(
            "SELECT as_of, item_id, sum(member_weight) FROM weights GROUP BY ALL ORDER BY 1, 2"
        ).fetchall()
        best = connection.execute("SELECT count(*) FROM best_member WHERE as_of = '2024-01-10'").fetchall()
        as_ofs = connection.execute("SELECT DISTINCT as_of FROM forecast_history ORDER BY 1").fetchall()
    assert counts["train"] == 720
    assert counts["forecast"] == 72
    assert counts["forecast_history"] == 5 * 72
    assert counts["accuracy"] > 0
    assert counts["anomalies"] == sum(
        int(done.metadata("forecast_accuracy", f"2024-01-{day:02d}")["anomalies"]) for day in range(6, 10)
    )
    assert counts["forecast_vs_history"] == 720 + 4 * 72
    # Each forecast says which members made it, series by series.
    assert [(as_of, item) for as_of, item, _ in shares] == [
        (f"2024-01-{day:02d}", item) for day in range(6, 11) for item in sorted(ITEMS)
    ]
    assert [total for _, _, total in shares] == pytest.approx([1.0] * 15)
    assert best == [(3,)]
    assert [str(as_of[0]) for as_of in as_ofs] == [f"2024-01-{day:02d}" for day in range(6, 11)]


def test_weights_are_kept_with_the_version_of_the_data(done: Line) -> None:
    kept = done.group.store.snapshot(LEARNED_KEY)
    made = {
        day: json.loads((done.root / f"history/as_of=2024-01-{day:02d}/predictor.json").read_bytes())
        for day in range(6, 11)
    }
    assert {path.name for path in kept.iterdir()} == {f"{item['learned']['key']}.json" for item in made.values()}
    assert len({item["learned"]["data_version"] for item in made.values()}) == 1


def test_scores_stand_beside_seasonal_naive_and_plot_over_partitions(done: Line) -> None:
    metadata = done.metadata("forecast_accuracy", "2024-01-09")
    names = {row["metric"] for row in done.table("forecast_accuracy", "metrics", "2024-01-09")}
    assert {"wql", "wql_p10", "wql_p50", "wql_p90", "wape", "rmse", "mase", "mape", "coverage_80"} <= names
    assert {"mae", "bias", "weighted_bias", "tracking_signal", "error_contribution"} <= names
    assert metadata["bias"] == pytest.approx(
        next(
            row["value"] for row in done.table("forecast_accuracy", "metrics", "2024-01-09") if row["metric"] == "bias"
        ),
        rel=1e-4,
    )
    assert metadata["wql"] > 0
    assert metadata["wql_seasonal_naive"] == pytest.approx(0.0)  # the pattern repeats each day
    assert metadata["points"] == 72
    assert metadata["excluded_points"] == 0
    file = pq.ParquetFile(done.root / "accuracy" / "as_of=2024-01-09" / "metrics.parquet")
    assert [column.name for column in metadata["dagster/column_schema"].columns] == file.schema_arrow.names
    assert metadata["dagster/partition_row_count"] == file.metadata.num_rows


def test_every_check_ran_and_a_model_that_knows_nothing_is_warned_of(done: Line) -> None:
    summary = {}
    for key in done.definitions.get_repository_def().asset_graph.asset_check_keys:
        if key.asset_key.to_user_string() in ("model_package", "endpoint", "related_time_series", "item_metadata"):
            continue  # of the training line, and of covariates, which this line has none of
        records = done.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        evaluation = records[0].event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
        summary[key.name] = evaluation
    assert {name for name, evaluation in summary.items() if evaluation.passed} == {
        "complete_and_regular",
        "quantiles_do_not_cross",
        "every_series_is_forecast",
        "forecast_is_fresh",
    }
    worse = summary["not_worse_than_seasonal_naive"]
    assert worse.severity == dg.AssetCheckSeverity.WARN
    assert "seasonal naive" in worse.description
    rows = worse.metadata["failing_rows"].records
    assert 0 < len(rows) <= TABLE_ROWS
    assert {record.data["partition"] for record in rows} <= {f"2024-01-{day:02d}" for day in range(6, 10)}
    assert worse.metadata["what_to_do"].value


def test_a_backfill_of_an_older_window_leaves_the_current_forecast_and_its_own_bytes_alone(done: Line) -> None:
    before = _bytes(done.root / "forecast")
    alone_before = _bytes(done.root / "history" / f"as_of={FIRST}")
    assert done.run(["forecasts"], FIRST).success
    assert _bytes(done.root / "forecast") == before
    assert _bytes(done.root / "history" / f"as_of={FIRST}") == alone_before
    assert done.metadata("forecasts", FIRST)["published"] is False


def test_a_partition_whose_horizon_is_not_observed_is_refused_by_name(done: Line) -> None:
    result = done.run(["forecast_accuracy"], ("2024-01-09", LAST), job="score_forecasts")
    assert not result.success
    reason = failure_reason(result)
    assert LAST in reason
    assert "2024-01-09" in reason
    assert not (done.root / "accuracy" / f"as_of={LAST}").exists()


def test_a_partition_without_a_forecast_can_not_be_scored(done: Line) -> None:
    result = done.run(["forecast_accuracy"], "2024-01-03", job="score_forecasts")
    assert "materialize forecasts[2024-01-03] first" in failure_reason(result)


def test_a_window_before_the_data_fails_and_names_the_fix(done: Line) -> None:
    before = _bytes(done.root / "forecast")
    result = done.run(["forecasts"], "2023-12-15")
    assert not result.success
    assert "2024-01-01" in failure_reason(result)
    assert _bytes(done.root / "forecast") == before


# --- imports that fail: no model needed ---


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(tmp_path / "store", instance, days=3)


def test_bad_rows_fail_the_import_and_the_old_dataset_stays(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    before = _bytes(line.root / "dataset" / "target_time_series")
    line.put("train/more.csv", "2024-01-04 00:00:00,5,client_a\n2024-01-04 01:00:00,many,client_a\n")
    result = line.run(["target_time_series"])
    assert not result.success
    reason = failure_reason(result)
    assert "train/more.csv" in reason
    assert "many" in reason
    assert "2" in reason
    assert _bytes(line.root / "dataset" / "target_time_series") == before


def test_quarantined_rows_are_set_aside_and_counted(line: Line) -> None:
    line.put("params.json", json.dumps({**PARAMS, "Chronos": {"BadRows": "quarantine"}}))
    line.put("train/more.csv", "2024-01-04 00:00:00,5,client_a\n2024-01-04 01:00:00,many,client_a\n")
    assert line.run(["target_time_series"]).success
    assert line.metadata("target_time_series")["rejected_rows"] == 1
    assert any("many" in path.read_text() for path in (line.root / "rejected").rglob("*") if path.is_file())


def test_broken_params_fail_with_every_problem(line: Line) -> None:
    broken = json.loads(json.dumps(PARAMS))
    broken["Predictor"]["ForecastHorizon"] = 0
    broken["Forecast"]["ForecastTypes"] = ["0.10", "2"]
    line.put("params.json", json.dumps(broken))
    reason = failure_reason(line.run(["target_time_series"]))
    assert "ForecastHorizon" in reason
    assert "ForecastTypes" in reason


def test_without_params_they_are_inferred_and_written_for_the_user(line: Line) -> None:
    (line.root / "params.json").unlink()
    assert line.run(["target_time_series"]).success
    written = json.loads((line.root / "params.json").read_text())
    assert written["Predictor"]["FeaturizationConfig"]["ForecastFrequency"] == "H"


def test_where_params_can_not_be_inferred_a_draft_waits_to_be_corrected(line: Line) -> None:
    (line.root / "params.json").unlink()
    rows = [f"2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00:00,{hour},{2 * hour}" for hour in range(96)]
    line.put("train/demand.csv", "\n".join(["when,much,more", *rows]) + "\n")
    reason = failure_reason(line.run(["target_time_series"]))
    draft = line.root / "params.draft.json"
    assert f"complete the draft {draft} and" in reason
    assert not (line.root / "params.json").exists()
    text = draft.read_text()
    draft.rename(line.root / "params.json")
    assert "this is still to be chosen; write one of much | more" in failure_reason(line.run(["target_time_series"]))
    (line.root / "params.json").write_text(text.replace("CHOOSE: much | more", "more"))
    assert line.run(["target_time_series"]).success


def test_too_little_memory_names_the_setting(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(tmp_path / "store", instance, days=3, memory_limit="1MB")
        reason = failure_reason(line.run(["target_time_series"]))
    assert "CHRONOS_MEMORY_LIMIT=1MB is too little" in reason


def test_an_empty_drop_zone_is_a_clear_failure(line: Line) -> None:
    (line.root / "train" / "demand.csv").unlink()
    assert "no train files" in failure_reason(line.run(["target_time_series"]))


def test_forecasts_before_any_import_say_what_to_do_first(line: Line) -> None:
    assert "materialize target_time_series first" in failure_reason(line.run(["forecasts"], "2024-01-03"))


def test_an_import_that_changes_nothing_keeps_the_data_version(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    version = line.metadata("target_time_series")["data_version"]
    (line.root / "train" / "demand.csv").touch()
    assert line.run(["target_time_series"]).success
    assert line.metadata("target_time_series")["data_version"] == version
    line.put("train/july.csv", "\n".join(hourly_rows(1, first=datetime(2024, 1, 4))) + "\n")
    assert line.run(["target_time_series"]).success
    assert line.metadata("target_time_series")["data_version"] != version


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.resolve().iterdir())}
