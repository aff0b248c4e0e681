"""The benchmark workload: published seasonal-naive rows, sampled series, fallbacks, every kind of model, its contract."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import zero_shot as command
from chronos_assets.benchmark.contenders import ReadyContender, open_contender
from chronos_assets.benchmark.data import open_data
from chronos_assets.benchmark.models import chronos_contender, local_contenders, predictor_contender
from chronos_assets.benchmark.scores import Contender, Result
from chronos_assets.benchmark.tasks import LEVELS, BenchmarkError
from chronos_assets.container.contract import Reporter, WorkloadError
from chronos_assets.models.checkpoints import ModelError
from chronos_assets.workloads import zero_shot
from chronos_assets.workloads.zero_shot import measure
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.timeseries.benchmark_folder import noisy_season, write_set
from chronos_assets_tests.timeseries.benchmark_sets import published_row
from chronos_assets_tests.workloads.processing_root import processing_root

pytestmark = pytest.mark.process  # models forecast whole sets

NAIVE = local_contenders(optional=False)[0]

BENCHMARK_SETS = (
    "ETTh", "ETTm", "exchange_rate", "m4_hourly", "m4_weekly", "m4_yearly", "monash_cif_2016", "monash_fred_md",
    "monash_hospital", "monash_m3_monthly", "monash_m3_quarterly", "monash_m3_yearly", "monash_tourism_quarterly",
    "nn5",
)  # fmt: skip


@pytest.mark.parametrize("name", BENCHMARK_SETS)
def test_seasonal_naive_scores_as_published(shared_data: Path, name: str) -> None:
    result = measure(open_data(str(shared_data / "benchmark")), name, NAIVE)
    mase, wql = published_row(shared_data, name, "seasonal-naive")
    assert result.mase == pytest.approx(mase, abs=1e-3)
    assert result.wql == pytest.approx(wql, abs=1e-3)
    assert (result.relative_mase, result.relative_wql, result.coverage) == (1.0, 1.0, None)
    assert result.series == result.set_series > 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty monthly series of five to ten years under the name of a set, and eight yearly ones of another."""
    write_set(tmp_path / "sets", "monash_hospital", noisy_season(20, 60) + noisy_season(20, 120, seed=1))
    write_set(tmp_path / "sets", "monash_m3_yearly", noisy_season(8, 30, season=30), "Y")
    return tmp_path / "sets"


@pytest.mark.parametrize("program", ["chronos", "auto-ets", "auto-theta"])
def test_every_kind_of_model_is_measured(folder: Path, program: str) -> None:
    contenders = {item.program: item for item in local_contenders()} | {
        "chronos": chronos_contender("bundled", "0", ours=True)
    }
    if program not in contenders:
        pytest.skip(f"the extra with {program} is not installed")
    contender = replace(contenders[program], max_series=8)
    result = measure(open_data(str(folder)), "monash_hospital", contender, workers=1)
    assert (result.model, result.series, result.set_series, result.fallbacks) == (contender.name, 8, 40, 0)
    assert result.relative_wql < 2
    assert result.relative_mase < 2
    assert result.coverage is not None
    assert 0.4 < result.coverage < 1
    assert result.seconds > 0


@pytest.mark.parametrize("program", ["chronos", "auto-ets", "auto-theta"])
def test_quantiles_ascend_and_gaps_are_no_obstacle(program: str) -> None:
    contenders = {item.program: item for item in local_contenders()} | {
        "chronos": chronos_contender("bundled", "0", ours=True)
    }
    if program not in contenders:
        pytest.skip(f"the extra with {program} is not installed")
    series = np.array(noisy_season(3, 60))
    series[0, 10:14] = np.nan
    series[1, :20] = np.nan
    series[2] = np.nan
    made = open_contender(contenders[program], 60, 12, workers=1)(list(series), [0, 1, 2])
    assert made.shape == (3, 60, len(LEVELS))
    assert np.isfinite(made[:2]).all()
    assert (np.diff(made[:2], axis=-1) >= 0).all()
    assert np.isnan(made[2]).all()


def test_the_default_predictor_is_learned_from_the_sets_own_past(folder: Path) -> None:
    data = open_data(str(folder))
    result = measure(data, "monash_hospital", predictor_contender("bundled", "0"), workers=1)
    bare = measure(data, "monash_hospital", chronos_contender("bundled", "0", ours=True), workers=1)
    assert (result.model, result.series, result.fallbacks) == ("default", 40, 0)
    assert result.wql < 1.02 * bare.wql


def test_the_command_leaves_absolute_values_by_model_and_set_and_the_best_members(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scores.json"
    command.main([str(folder), "--alone", "--sets", "monash_m3_yearly", "--json", str(file), "--output", str(tmp_path)])
    document = json.loads(file.read_bytes())
    assert set(document) == {"default", "best member of default", "bundled", "Seasonal naive"}
    for scores in document.values():
        assert set(scores["monash_m3_yearly"]) == {"wql", "mase", "coverage_80", "series_per_second"}
    times = (
        document["default"]["monash_m3_yearly"]["wql"] / document["best member of default"]["monash_m3_yearly"]["wql"]
    )
    said = capsys.readouterr().out
    assert f"wQL {times:.3f} times that of" in said
    assert f"{int(times <= 1.02)} of 1 sets are within 1.02 times the wQL of the best member" in said
    assert f"| {times:.3f} |" in (tmp_path / "tables.md").read_text()


def test_scores_of_chunks_are_those_of_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contender = chronos_contender(str(folder_of("bolt")), "0", ours=False)
    told: list[tuple[int, int, str]] = []
    whole = measure(open_data(str(folder)), "monash_hospital", contender, 1, lambda *progress: told.append(progress))
    monkeypatch.setattr(zero_shot, "CHUNK", 7)
    parts = measure(open_data(str(folder)), "monash_hospital", contender, 1, lambda *progress: told.append(progress))
    for name in ("wql", "mase", "naive_wql", "naive_mase", "coverage"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9)
    assert told[0][:2] == (40, 40)
    assert [done for done, _, _ in told[1:]] == [7, 14, 21, 28, 35, 40]


def test_a_sample_is_compared_with_seasonal_naive_on_the_same_series(folder: Path) -> None:
    part = measure(open_data(str(folder)), "monash_hospital", replace(NAIVE, max_series=5))
    whole = measure(open_data(str(folder)), "monash_hospital", NAIVE)
    assert (part.series, part.naive_wql) == (5, part.wql)
    assert part.wql != whole.wql


def test_a_series_that_cannot_be_forecast_is_by_seasonal_naive_and_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def half(*_: Any) -> ReadyContender:
        def forecast(histories: Any, places: Any) -> np.ndarray:
            seen.extend(len(history) for history in histories)
            made = np.full((len(histories), 12, len(LEVELS)), 1e9)
            made[np.asarray(places) % 2 == 0] = np.nan
            return made

        return forecast

    monkeypatch.setattr(zero_shot, "open_contender", half)
    contender = Contender("half", "foundation", "half", "", "1", max_history=24)
    result = measure(open_data(str(folder)), "monash_hospital", contender)
    assert result.fallbacks == 20
    assert result.relative_wql > 1e4
    assert set(seen) == {24}

    monkeypatch.setattr(zero_shot, "open_contender", lambda *_: lambda h, p: np.full((len(h), 12, len(LEVELS)), np.nan))
    with pytest.raises(WorkloadError, match="could forecast none of the 40 windows of set monash_hospital"):
        measure(open_data(str(folder)), "monash_hospital", contender)


def test_what_cannot_be_used_is_said_in_a_line(folder: Path) -> None:
    with pytest.raises(BenchmarkError, match="no set 'nn5': there are monash_hospital"):
        measure(open_data(str(folder)), "nn5", NAIVE)
    with pytest.raises(ModelError, match="no such folder"):
        measure(open_data(str(folder)), "monash_hospital", chronos_contender("/none", "0", ours=False))
    with pytest.raises(WorkloadError, match="no program 'oracle'"):
        open_contender(Contender("m", "ours", "oracle", "", "1"), 1, 1)


class _Quiet(Reporter):
    def log(self, message: str) -> None:
        """Say nothing."""


def test_the_workload_leaves_a_result_for_each_model(folder: Path, tmp_path: Path) -> None:
    models = [asdict(NAIVE), asdict(replace(NAIVE, name="again", max_series=3))]
    parameters = {"set": "monash_m3_yearly", "data": str(folder), "models": models}
    made = processing_root(tmp_path / "ml", parameters)
    zero_shot.main(made, _Quiet())
    files = sorted(made.output("results").iterdir())
    assert [path.name for path in files] == ["0.json", "1.json"]
    results = [Result.from_json(path.read_bytes()) for path in files]
    assert [(result.model, result.set, result.series) for result in results] == [
        ("Seasonal naive", "monash_m3_yearly", 8),
        ("again", "monash_m3_yearly", 3),
    ]


def test_the_channel_comes_before_the_folder(folder: Path, tmp_path: Path) -> None:
    parameters = {"set": "monash_m3_yearly", "data": "/none", "models": [asdict(NAIVE)]}
    made = processing_root(tmp_path / "ml", parameters)
    with pytest.raises(BenchmarkError, match="no benchmark data at /none"):
        zero_shot.main(made, _Quiet())
    (made.inputs / "benchmark").symlink_to(folder)
    zero_shot.main(made, _Quiet())
    assert (made.output("results") / "0.json").exists()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "parameters of the benchmark: set, data, models not given"),
        (
            {"set": "a", "data": "b", "models": [{"nonsense": 1}]},
            r"models\.0\.name.* not given; models\.0\.nonsense not known",
        ),
    ],
)
def test_parameters_that_are_not_whole_are_named(tmp_path: Path, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        zero_shot.main(processing_root(tmp_path, parameters), _Quiet())


def test_the_command_reports_and_goes_on_where_it_was(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(folder), "--alone", "--models", str(folder_of("bolt")), "--output", str(tmp_path / "out")]
    command.main([*arguments, "--sets", "monash_m3_yearly"])
    assert "monash_m3_yearly, bolt: wQL" in capsys.readouterr().out
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / ".results").iterdir()}
    assert len(kept) == 3

    command.main(arguments)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {".results", "results.csv", "aggregate.csv", "figure.png", "figure.svg", "tables.md"}
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert tables in capsys.readouterr().out
    assert tables.count("\n| monash_") == 2
    assert len(list((tmp_path / "out" / ".results").iterdir())) == 6
    assert all(path.stat().st_mtime_ns == modified for path, modified in kept.items())

    with pytest.raises(SystemExit, match="there is no set nn5"):
        command.main([*arguments, "--sets", "nn5"])
