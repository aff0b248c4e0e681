"""The evaluate workload: which windows, which points, whose errors; and that they are those that the gate reads."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.container.contract import WorkloadError, Workspace
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models import forecasting
from chronos_assets.models.loading import load_model
from chronos_assets.params.forecast import Filling
from chronos_assets.timeseries.dataset.filling import fill
from chronos_assets.timeseries.dataset.gluonts_arrow import ArrowFileError, write_arrow
from chronos_assets.timeseries.scoring.baselines import seasonal_naive, spread_to_quantiles
from chronos_assets.timeseries.scoring.evaluation_files import EvaluationError, read_evaluation
from chronos_assets.timeseries.scoring.gate import decide
from chronos_assets.timeseries.scoring.metrics import error_sums, season_error
from chronos_assets.workloads import evaluate
from chronos_assets_tests import forks
from chronos_assets_tests.models import tiny
from chronos_assets_tests.models.tiny_levels import LEVELS_9
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root
from chronos_assets_tests.workloads.small_dataset import waves, write_dataset

LEVELS = (0.1, 0.5, 0.9)
HORIZON = 6


def prepare(root: Path, channels: Mapping[str, Path], **changes: Any) -> Workspace:
    parameters = {
        "models": {"candidate": str(tiny.folder_of("chronos2")), "base": str(tiny.folder_of("bolt"))},
        "horizon": HORIZON,
        "quantiles": list(LEVELS),
        "frequency": "H",
        "validation_windows": 1,
        "batch_size": 4,
        **changes,
    }
    return processing_root(root, parameters, channels)


def run(root: Path, channels: Mapping[str, Path], **changes: Any) -> tuple[dict[str, Any], Path, Listener]:
    workspace, listener = prepare(root, channels, **changes), Listener()
    evaluate.main(workspace, listener)
    output = workspace.output("evaluation")
    return json.loads((output / "metrics.json").read_text()), output, listener


def rows_of(output: Path, model: str) -> list[dict[str, Any]]:
    return [row for row in pq.read_table(output / "losses.parquet").to_pylist() if row["model"] == model]


def by_hand(forecasts, series, filled=None, filling=None, windows=2) -> dict[str, float]:
    """Metrics of the last windows, without anything of the workload: forecasts(histories) -> quantiles, mean."""
    histories, actuals, seasons = [], [], []
    for key, (_, given) in series.items():
        values = np.array(given, dtype=float)
        values[list((filled or {}).get(key, ()))] = np.nan
        for window in range(windows):
            cut = len(values) - HORIZON * (windows - window)
            histories.append(fill(values[:cut], np.isfinite(values[:cut]), filling or Filling()))
            actuals.append(values[cut : cut + HORIZON])
            seasons.append(season_error(values[:cut], 24))
    quantiles, mean = forecasts(histories)
    sums = error_sums(np.array(actuals), quantiles, LEVELS, season_errors=np.array(seasons), mean=mean)
    return {name: float(measure.value) for name, measure in sums.total().measures().items()}


def by_model(folder: Path, context_length: int | None = None):
    def forecasts(histories):
        made = forecasting.Forecaster(
            load_model(str(folder)), HORIZON, LEVELS, batch_size=4, context_length=context_length
        ).forecast(histories, non_negative=[np.nanmin(history) >= 0 for history in histories])
        return made.quantiles, made.mean

    return forecasts


def by_naive(histories):
    points = np.array([seasonal_naive(history, 24, HORIZON) for history in histories])
    return spread_to_quantiles(points, len(LEVELS)), points


def test_metrics_are_those_of_the_last_windows_forecast_from_what_was_before(tmp_path):
    gaps = {("item-01",): [3, 4, 80, 82, 83, 84, 85, 92], ("item-02",): range(84, 90)}
    filling = {"middlefill": "mean", "backfill": "value", "backfill_value": 3.0}
    dataset = write_dataset(tmp_path / "data", waves(), shards=3, filled=gaps)
    document, _, listener = run(tmp_path / "job", {"dataset": dataset}, filling=filling)
    # One window of item-02 has no observation at all; the others of the gaps are single points.
    assert (document["series"], document["windows"]) == (5, 9)
    assert (document["points"], document["excluded"]) == (9 * HORIZON - 3, 3)
    assert document["holdout"]["test_origins"] == ["2024-01-04T11:00:00", "2024-01-04T17:00:00"]
    assert (document["source"], document["data_version"], document["season"]) == ("dataset", "version", 24)
    rule = Filling(**filling)
    for name, forecasts in (
        ("candidate", by_model(tiny.folder_of("chronos2"))),
        ("base", by_model(tiny.folder_of("bolt"))),
        ("seasonal_naive", by_naive),
    ):
        expected = by_hand(forecasts, waves(), gaps, rule)
        found = document["models"][name]["metrics"]
        assert list(found) == list(expected)
        for metric, value in found.items():
            if name == "seasonal_naive" and metric == "coverage_80":
                assert value is None
            else:
                assert value == pytest.approx(expected[metric], rel=1e-9), (name, metric)
    assert listener.messages[-1]["evaluation"] == document
    assert document["models"]["candidate"]["model"]["family"] == "chronos2"
    assert document["models"]["candidate"]["failed"] == 0


def test_the_losses_add_up_to_the_metrics_and_the_gate_reads_them(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(), shards=3, filled={("item-01",): range(84, 96)})
    document, output, _ = run(
        tmp_path / "job", {"dataset": dataset, "approved": tiny.folder_of("t5")},
        models={"candidate": str(tiny.folder_of("chronos2")), "base": "bundled", "approved": "retail/3"},
    )  # fmt: skip
    assert list(document["models"]) == ["candidate", "base", "approved", "seasonal_naive"]
    assert document["models"]["approved"]["model"]["reference"] == "retail/3"
    assert document["models"]["approved"]["model"]["family"] == "t5"
    assert document["max_series"] == evaluate.MAX_SAMPLED_SERIES
    for name, entry in document["models"].items():
        rows = rows_of(output, name)
        assert [(row["item_id"], row["window"]) for row in rows] == [
            (key[0], window) for key in sorted(waves()) if key != ("item-01",) for window in (0, 1)
        ]
        scale = sum(row["absolute_actual"] for row in rows)
        assert sum(row["loss"] for row in rows) / scale == pytest.approx(entry["metrics"]["wql"])
        assert sum(row["loss_p90"] for row in rows) / scale == pytest.approx(entry["metrics"]["wql_p90"])
        assert np.mean([row["mase"] for row in rows]) == pytest.approx(entry["metrics"]["mase"])
        assert sum(row["coverage_80"] for row in rows) <= sum(row["points"] for row in rows) == 8 * HORIZON
    evaluation = read_evaluation(output)
    assert evaluation.scale.shape == (4, 2)
    assert list(evaluation.scores) == list(document["models"])
    for name, scores in evaluation.scores.items():
        assert scores.losses.sum() / evaluation.scale.sum() == pytest.approx(scores.measures["wql"]), name
    decision = decide(evaluation)
    assert decision.band == "coverage_80"
    own, base, *_ = decision.rows
    assert base.difference == pytest.approx(own.wql - base.wql)
    assert base.low <= base.difference <= base.high


def test_values_of_the_window_and_after_it_reach_no_forecast(tmp_path):
    # The first window's forecasts are the same whatever follows its origin; its errors are not.
    series = waves()
    changed = {key: (start, np.concatenate([values[:84], values[84:] * 3])) for key, (start, values) in series.items()}
    seen = {}

    class Watching(forecasting.Forecaster):
        def forecast(self, contexts, **options):
            seen.setdefault(self.watched, []).extend(np.array(context) for context in contexts)
            return super().forecast(contexts, **options)

    for name, data in (("one", series), ("other", changed)):
        Watching.watched = name
        dataset = write_dataset(tmp_path / f"{name} data", data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forecasting, "Forecaster", Watching)
            run(tmp_path / name, {"dataset": dataset})
    assert sorted({len(context) for context in seen["one"]}) == [84, 90]
    for one, other in zip(seen["one"], seen["other"], strict=True):
        assert np.array_equal(one[:84], other[:84])
        assert len(one) == 84 or not np.array_equal(one[84:], other[84:])


def test_models_of_equal_weights_share_a_pass_and_are_equal(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves())
    copy = shutil.copytree(tiny.folder_of("bolt"), tmp_path / "copy")
    models = {"candidate": str(copy), "base": str(tiny.folder_of("bolt")), "approved": str(tiny.folder_of("t5"))}
    document, output, listener = run(tmp_path / "job", {"dataset": dataset}, models=models)
    told = [line.partition(":")[0] for line in listener.lines]
    assert told == [
        "windows forecast by candidate and zero-shot base",
        "windows forecast by approved version",
        "windows forecast by seasonal naive, 24 h",
    ]
    assert document["models"]["candidate"]["metrics"] == document["models"]["base"]["metrics"]
    assert document["models"]["candidate"]["model"]["reference"] == str(copy)
    assert document["models"]["base"]["model"]["reference"] == str(tiny.folder_of("bolt"))
    row = decide(read_evaluation(output)).rows[1]
    assert (row.model, row.verdict, row.difference, row.low, row.high) == ("base", "equal", 0.0, 0.0, 0.0)


def test_the_same_data_give_the_same_bytes_whatever_the_shards_and_chunks(tmp_path, monkeypatch):
    files = []
    for number, (shards, tasks) in enumerate([(1, 4096), (3, 4096), (2, 3)]):
        monkeypatch.setattr(evaluate, "_MAX_TASKS", tasks)
        dataset = write_dataset(tmp_path / f"data {number}", waves(7), shards=shards)
        _, output, _ = run(tmp_path / f"job {number}", {"dataset": dataset})
        files.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert files[0] == files[1] == files[2]
    assert sorted(files[0]) == ["losses.parquet", "metrics.json"]


def test_at_most_so_many_series_chosen_by_the_seed_and_said_so(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(30), shards=3)
    models = {"candidate": str(tiny.folder_of("bolt")), "base": str(tiny.folder_of("bolt"))}
    chosen = []
    for number, seed in enumerate([0, 0, 1]):
        document, output, listener = run(
            tmp_path / f"job {number}", {"dataset": dataset}, models=models, max_series=4, seed=seed
        )
        assert (document["series"], document["available_series"], document["windows"]) == (4, 30, 8)
        assert listener.lines[0] == "4 of 30 series are evaluated, chosen by seed (max_series)"
        chosen.append(sorted({row["item_id"] for row in rows_of(output, "candidate")}))
    assert chosen[0] == chosen[1] != chosen[2]
    # A new series takes at most one place, and the others stay.
    series = waves(30) | {("new",): waves(1)[("item-00",)]}
    _, output, _ = run(
        tmp_path / "more", {"dataset": write_dataset(tmp_path / "more data", series)}, models=models, max_series=4
    )
    assert len(set(chosen[0]) - {row["item_id"] for row in rows_of(output, "candidate")}) <= 1


def test_series_without_a_past_or_a_future_are_left_out(tmp_path):
    series = waves(2)
    series[("late",)] = ("2024-01-04T15:00:00", np.arange(9.0))  # begins within the first window
    series[("ended",)] = ("2024-01-01T00:00:00", np.arange(1.0, 60.0))
    series[("empty",)] = ("2024-01-01T00:00:00", np.full(96, np.nan))
    series[("new",)] = ("2024-01-04T18:00:00", np.arange(6.0))  # begins with the last window
    document, output, _ = run(tmp_path / "job", {"dataset": write_dataset(tmp_path / "data", series)})
    assert [(row["item_id"], row["window"]) for row in rows_of(output, "base")] == [
        ("item-00", 0),
        ("item-00", 1),
        ("item-01", 0),
        ("item-01", 1),
        ("late", 1),
    ]
    assert (document["series"], document["available_series"]) == (3, 3)
    evaluation = read_evaluation(output)
    assert np.isnan(evaluation.scale[2, 0])
    assert evaluation.windows == 5


def test_a_window_that_one_model_can_not_forecast_counts_for_none(tmp_path):
    series = waves(3)
    # Its observations lie further back than what the tiny candidate reads.
    long_ago = np.concatenate([np.arange(20.0), np.full(64, np.nan), np.arange(12.0)])
    series[("long ago",)] = ("2024-01-01T00:00:00", long_ago)
    candidate = tiny.save_bolt(tmp_path / "short", context=32)
    models = {"candidate": str(candidate), "base": str(tiny.save_bolt(tmp_path / "long", context=96))}
    document, output, _ = run(
        tmp_path / "job", {"dataset": write_dataset(tmp_path / "data", series)}, models=models,
        filling={"middlefill": "nan", "backfill": "nan"},
    )  # fmt: skip
    assert (document["windows"], document["failed_windows"]) == (7, 1)
    assert (document["models"]["candidate"]["failed"], document["models"]["base"]["failed"]) == (1, 0)
    reason = "no observation in the last 32 periods, which is all the model reads"
    assert document["models"]["candidate"]["failures"] == {
        "reasons": {reason: 1},
        "first": [{"item": "long ago", "window": 0, "reason": reason}],
    }
    assert len(rows_of(output, "base")) == len(rows_of(output, "candidate")) == 7
    decision = decide(read_evaluation(output))
    assert (decision.status, decision.reason) == (
        "Rejected",
        "windows that the candidate could not forecast: 1 (zero-shot base: 0)",
    )


def test_dimensions_are_part_of_a_series_key(tmp_path):
    series = {("a", store): waves(1)[("item-00",)] for store in ("north", "south")}
    dataset = write_dataset(tmp_path / "data", series, dimensions=["store"])
    document, output, _ = run(tmp_path / "job", {"dataset": dataset}, dimensions=["store"])
    assert document["series"] == 2
    assert [(row["item_id"], row["dimensions"]) for row in rows_of(output, "base")] == [
        ("a", ["north"]),
        ("a", ["north"]),
        ("a", ["south"]),
        ("a", ["south"]),
    ]
    assert read_evaluation(output).scale.shape == (2, 2)


def test_without_a_dataset_the_synthetic_test_series_are_forecast(tmp_path):
    folder = tmp_path / "synthetic"
    folder.mkdir()
    targets = [values for _, values in waves(4).values()]
    write_arrow(
        folder / "test.arrow",
        [(f"kernel-{number}", np.datetime64("2000-01-01"), target) for number, target in enumerate(targets)]
        + [("too short", np.datetime64("2000-01-01"), np.arange(float(HORIZON)))],
    )
    (folder / "manifest.json").write_text('{"data_version": "abc"}')
    document, output, _ = run(tmp_path / "job", {"synthetic": folder}, season=24)
    assert (document["source"], document["data_version"]) == ("synthetic", "abc")
    assert (document["series"], document["windows"], document["holdout"]) == (4, 4, None)
    for name, forecasts in (("base", by_model(tiny.folder_of("bolt"))), ("seasonal_naive", by_naive)):
        expected = by_hand(forecasts, waves(4), windows=1)
        for metric in ("wql", "mase", "rmse"):
            assert document["models"][name]["metrics"][metric] == pytest.approx(expected[metric], rel=1e-9)
    assert read_evaluation(output).scale.shape == (4, 1)
    # Where there are both, it is the user's series.
    dataset = write_dataset(tmp_path / "data", waves())
    both, *_ = run(tmp_path / "both", {"dataset": dataset, "synthetic": folder})
    assert both["source"] == "dataset"


def test_parameters_that_change_the_forecasts_do_so(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves())
    first, *_ = run(tmp_path / "first", {"dataset": dataset})
    short, *_ = run(tmp_path / "short", {"dataset": dataset}, context_length=20)
    expected = by_hand(by_model(tiny.folder_of("bolt"), context_length=20), waves())
    assert short["models"]["base"]["metrics"]["wql"] == pytest.approx(expected["wql"], rel=1e-9)
    assert short["models"]["base"]["metrics"]["wql"] != first["models"]["base"]["metrics"]["wql"]
    assert short["models"]["base"]["context_length"] == 20
    one, *_ = run(tmp_path / "one", {"dataset": dataset}, test_windows=1)
    assert one["windows"] == 5
    weekly, *_ = run(tmp_path / "weekly", {"dataset": dataset}, baseline_season=7)
    naive = [document["models"]["seasonal_naive"]["metrics"]["wql"] for document in (first, weekly)]
    assert naive[0] != naive[1]


def test_quantiles_that_a_model_can_not_give(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(2))
    narrow = str(tiny.save_bolt(tmp_path / "narrow", levels=LEVELS_9))
    wide = str(tiny.folder_of("chronos2"))
    asked = {"quantiles": [0.05, 0.5, 0.95]}
    for name, models in (
        ("zero-shot base", {"candidate": wide, "base": narrow}),
        ("candidate", {"candidate": narrow, "base": wide}),
    ):
        with pytest.raises(WorkloadError, match=rf"^{name}: quantiles 0.05, 0.95 are outside of what model"):
            run(tmp_path / name, {"dataset": dataset}, models=models, **asked)
    # A version that can't do what is asked for now must not keep another from taking its place.
    models = {"candidate": wide, "base": wide, "approved": narrow}
    document, output, _ = run(tmp_path / "approved", {"dataset": dataset}, models=models, **asked)
    assert list(document["models"]) == ["candidate", "base", "seasonal_naive"]
    assert "outside of what model" in document["left_out"]["approved"]
    decision = decide(read_evaluation(output))
    assert "; approved version not compared: quantiles 0.05, 0.95 are outside" in decision.reason
    assert decision.band == "coverage_90"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"horizon": 0}, "horizon is 0: it must be a whole number from 1"),
        ({"horizon": True}, "horizon is True"),
        ({"quantiles": []}, r"quantiles is \[\]: it must be a list of one level at least"),
        ({"quantiles": [1.5]}, "1.5"),
        ({"models": {"candidate": "bundled"}}, "models names no base"),
        ({"models": {"candidate": "bundled", "base": "bundled", "other": "bundled"}}, "give an object of candidate"),
        ({"models": {"candidate": 3, "base": "bundled"}}, "models.candidate is 3"),
        ({"models": {"candidate": "/nowhere", "base": "bundled"}}, "^candidate: model '/nowhere'"),
        ({"max_series": 0}, "max_series is 0"),
        ({"test_windows": 0}, "test_windows is 0"),
        ({"window": 3}, "window not known"),
        ({"frequency": None}, "frequency not given, which the channel dataset needs"),
        ({"frequency": "D"}, "the dataset has frequency H"),
        ({"dimensions": ["store"]}, r"the evaluation is to have H and \['store'\]"),
        ({"horizon": 40}, "the series have 96 periods, and 121 are needed"),
    ],
)
def test_what_can_not_be_evaluated_is_refused_before_a_model_is_loaded(tmp_path, changes, said, monkeypatch):
    dataset = write_dataset(tmp_path / "data", waves(2))
    monkeypatch.setattr(evaluate._Evaluation, "run", lambda *_: pytest.fail("it began"))
    with pytest.raises(ChronosAssetsError, match=said):
        run(tmp_path / "job", {"dataset": dataset}, **changes)


def test_missing_channels_and_empty_data_are_reported(tmp_path):
    with pytest.raises(WorkloadError, match="neither a channel dataset nor synthetic"):
        run(tmp_path / "none", {})
    empty = write_dataset(tmp_path / "data", {("empty",): ("2024-01-01T00:00:00", np.full(96, np.nan))})
    with pytest.raises(WorkloadError, match="no series has an observation both before and within"):
        run(tmp_path / "empty", {"dataset": empty})
    folder = tmp_path / "synthetic"
    folder.mkdir()
    with pytest.raises(ArrowFileError, match=r"there is no file .*test\.arrow"):
        run(tmp_path / "synthetic job", {"synthetic": folder})
    write_arrow(folder / "test.arrow", [("a", np.datetime64("2000-01-01"), np.arange(30.0))])
    write_arrow(folder / "test.arrow", [("a", np.datetime64("2000-01-01"), np.arange(30.0))] * 2)
    with pytest.raises(WorkloadError, match="series a occurs twice"):
        run(tmp_path / "twice", {"synthetic": folder})
    write_arrow(folder / "test.arrow", [("a", np.datetime64("2000-01-01"), np.arange(30.0))])
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(ArrowFileError, match=r"manifest\.json can't be read"):
        run(tmp_path / "manifest job", {"synthetic": folder})


def test_all_zero_actuals_have_no_wql_and_a_person_decides(tmp_path):
    series = {("zero",): ("2024-01-01T00:00:00", np.zeros(96)), ("also",): ("2024-01-01T00:00:00", np.zeros(96))}
    document, output, _ = run(tmp_path / "job", {"dataset": write_dataset(tmp_path / "data", series)})
    assert document["models"]["candidate"]["metrics"]["wql"] is None
    assert document["models"]["candidate"]["metrics"]["rmse"] == 0.0
    assert decide(read_evaluation(output)).status == "PendingManualApproval"


def test_damaged_files_are_reported(tmp_path):
    _, output, _ = run(tmp_path / "job", {"dataset": write_dataset(tmp_path / "data", waves(2))})
    whole = {path.name: path.read_bytes() for path in output.iterdir()}
    metrics = json.loads(whole["metrics.json"])
    del metrics["models"]["base"]["failed"]
    for name, content in (
        ("metrics.json", b"{"),
        ("metrics.json", b"[]"),
        ("metrics.json", json.dumps(metrics).encode()),
        ("metrics.json", whole["metrics.json"].replace(b'"base"', b'"other"')),
        ("losses.parquet", whole["losses.parquet"][:100]),
        ("losses.parquet", None),
    ):
        path = output / name
        path.write_bytes(content) if content is not None else path.unlink()
        with pytest.raises(EvaluationError, match="run it again"):
            read_evaluation(output)
        path.write_bytes(whole[name])
    assert read_evaluation(output).windows == 4


def test_it_runs_as_a_process_under_the_contract(tmp_path):
    dataset = write_dataset(tmp_path / "data", waves(2))
    workspace = prepare(tmp_path / "job", {"dataset": dataset})
    environment = os.environ | {"CHRONOS_ML_ROOT": str(workspace.root)}
    command = [sys.executable, "-m", "chronos_assets.workloads.evaluate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((workspace.output("evaluation") / "metrics.json").read_text())
    assert json.loads(done.stdout.splitlines()[-1])["evaluation"] == document
    workspace.parameters_file.write_text(workspace.parameters_file.read_text().replace('"horizon": 6', '"horizon": 40'))
    module = "chronos_assets.workloads.evaluate"
    done = forks.run(module, folder=tmp_path, environment=environment, kind=forks.CONTAINER)
    assert done.returncode == 1
    assert "121 are needed" in workspace.failure_file.read_text()


def test_a_candidate_that_forecasts_nothing_is_rejected(tmp_path):
    long_ago = np.concatenate([np.arange(20.0), np.full(70, np.nan), np.arange(6.0)])
    dataset = write_dataset(tmp_path / "data", {("long ago",): ("2024-01-01T00:00:00", long_ago)})
    models = {
        "candidate": str(tiny.save_bolt(tmp_path / "short", context=32)),
        "base": str(tiny.save_bolt(tmp_path / "long", context=96)),
    }
    document, output, _ = run(tmp_path / "job", {"dataset": dataset}, models=models)
    assert (document["windows"], document["failed_windows"]) == (0, 1)
    assert set(document["models"]["base"]["metrics"].values()) == {None}
    evaluation = read_evaluation(output)
    assert evaluation.windows == 0
    assert decide(evaluation).status == "Rejected"


def test_a_weekly_pattern_is_met_by_a_weekly_naive_forecast_whose_name_the_gate_says(tmp_path):
    week = np.random.default_rng(4).permutation(168) * 1.0
    series = {(f"item-{number}",): ("2024-01-01", np.tile(week, 5) + number) for number in range(3)}
    dataset = write_dataset(tmp_path / "data", series)
    document, output, _ = run(tmp_path / "job", {"dataset": dataset})
    naive = document["models"]["seasonal_naive"]
    assert (document["season"], naive["baseline"]["season"], naive["metrics"]["wql"]) == (24, 168, 0.0)
    decision = decide(read_evaluation(output))
    assert decision.status == "Rejected"
    assert "is above" in decision.reason
    assert "seasonal naive, 168 h" in decision.reason
    assert [row.title for row in decision.rows] == ["candidate", "zero-shot base", "seasonal naive, 168 h"]
