"""`benchmarks.gpu` on a CPU: the script that is run where a GPU can be had works."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from chronos_assets.container import processes
from chronos_assets.models import compiling, forecasting
from chronos_assets.params.options import PRECISIONS

pytestmark = pytest.mark.process  # networks of full size, and a benchmark

TINY = ("--device", "cpu", "--tiny", "--context", "32", "--horizon", "2", "--repeats", "1", "--rows", "32")


def in_turns(
    open_worker: Callable[[str], Callable[[int], Any]], devices: Sequence[str], items: Sequence[int]
) -> list[Any]:
    """What processes would make of the items, by workers of this one."""
    return [work(item) for work, item in zip(map(open_worker, devices), items, strict=True)]


def test_it_measures_every_family_and_leaves_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasting, "precisions_of", lambda device: PRECISIONS)  # a CPU has bf16, too
    monkeypatch.setattr(compiling, "compile_network", lambda network: network)
    monkeypatch.setattr(processes, "divided", in_turns)  # a fork of a process that has used torch may hang
    target = tmp_path / "figures.json"
    options = ("--compile", "--processes", "2", "--series", "40", "--t5-series", "1", "--json", str(target))
    assert gpu.main([*TINY, *options]) == 0
    document = json.loads(target.read_text())
    assert document["card"] == "cpu"
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in document["results"]:
        found.setdefault(row["family"], {})[row["setting"]] = row
    base = ["batch 16", "tuned"]
    assert list(found["t5"]) == [*base, "tuned, 2 processes"]
    for family in ("bolt", "chronos2"):
        compiled = "tuned, bf16, compiled"
        assert list(found[family]) == [*base, "tuned, tf32", "tuned, bf16", compiled, "tuned, 2 processes"]
        # TF32 is nothing that a CPU has.
        assert found[family]["tuned, tf32"]["apart"] < 1e-6 < found[family]["tuned, bf16"]["apart"]
    assert all(row["rate"] > 0 and row["ratio"] > 0 for rows in found.values() for row in rows.values())
    assert found["bolt"]["tuned"]["rows"] == 32
    shown = capsys.readouterr().out
    assert shown.count("s/s") == len(document["results"])


def test_without_a_gpu_it_says_how_to_try_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--device cpu --tiny" in capsys.readouterr().err


def test_the_networks_are_of_the_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of the models on the Hub: bolt-small 48 M, chronos-2-small 28 M, t5-small 46 M; counted, not drawn."""
    from transformers import PreTrainedModel

    counts: dict[str, float] = {}

    def count(network: PreTrainedModel, folder: Path) -> None:
        counts[folder.name] = network.num_parameters() / 1e6

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", count)
    with torch.device("meta"):
        for family, sizes in gpu.SMALL.items():
            gpu.save_network(family, Path(family), sizes, 512)
    assert 40 < counts["bolt"] < 55
    assert 20 < counts["chronos2"] < 40
    assert 40 < counts["t5"] < 55
