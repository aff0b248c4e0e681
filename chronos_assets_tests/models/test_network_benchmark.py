"""`benchmarks.network` with tiny networks: the script measures both comparisons, and its status follows what is asked."""

from pathlib import Path

import pytest

from benchmarks import forecast, network

TINY = ("--tiny", "--context", "32", "--horizon", "2", "--repeats", "1", "--series", "16", "--t5-series", "1")


def test_a_ratio_is_of_medians_of_series_per_second() -> None:
    pair = network.Pair("bolt", 10, ours=(2.0, 1.0, 9.0), other=(6.0, 3.0, 1.0), asked=1.0)
    assert pair.ratio == 1.5
    assert "5.0 s/s" in pair.line()


@pytest.mark.process  # a benchmark
def test_families_stand_beside_the_library(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(network, "ASKED", {"bolt": 0.0, "t5": 1e9})
    assert network.main([*TINY, "--families", "bolt", "t5"]) == 1
    told = capsys.readouterr().out
    assert "bolt beside the library (batch" in told
    assert "t5 beside the library (batch" in told


@pytest.mark.process  # a benchmark
def test_the_job_stands_beside_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (forecast, network):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(network, "ASKED_OF_THE_JOB", 0.0)
    assert network.main([*TINY, "--job", "--job-series", "20"]) == 0
    assert "the whole job beside the bare network" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["forecast-20x512"]  # its outputs are gone
