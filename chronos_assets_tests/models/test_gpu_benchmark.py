"""`benchmarks.gpu` on a CPU: the script that is run where a GPU can be had works."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

pytestmark = pytest.mark.process  # networks of full size, and a benchmark

TINY = ("--device", "cpu", "--tiny", "--context", "32", "--horizon", "2", "--repeats", "1", "--rows", "32")


def test_it_measures_every_family_and_leaves_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "figures.json"
    assert gpu.main([*TINY, "--series", "40", "--t5-series", "1", "--json", str(target)]) == 0
    document = json.loads(target.read_text())
    assert document["card"] == "cpu"
    found = {row["family"]: row for row in document["results"]}
    assert set(found) == {"bolt", "chronos2", "t5"}
    assert all(row["base"] > 0 and row["tuned"] > 0 and row["rows"] == 32 for row in found.values())
    told = capsys.readouterr().out
    assert told.count("float32, quantiles differ by") == 2
    assert all(family in told for family in found)


def test_without_a_gpu_it_says_how_to_try_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--device cpu --tiny" in capsys.readouterr().err


def test_the_networks_are_of_the_published_sizes(tmp_path: Path) -> None:
    """Weights of the models on the Hub: bolt-small 48 M, chronos-2-small 28 M, t5-small 46 M."""
    from chronos_assets.models.checkpoints import describe_model

    counts = {
        family: describe_model(str(gpu.save_network(family, tmp_path / family, sizes, 512))).parameters / 1e6
        for family, sizes in gpu.SMALL.items()
    }
    assert 40 < counts["bolt"] < 55
    assert 20 < counts["chronos2"] < 40
    assert 40 < counts["t5"] < 55
