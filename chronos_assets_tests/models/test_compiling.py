"""Networks are compiled where that pays for itself, and used so where they give the same, by a stand-in for the compiler."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from chronos_assets.models import compiling
from chronos_assets.models.compiling import pays_for_itself
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets_tests.models.tiny import folder_of

LEVELS = (0.1, 0.5, 0.9)
CONTEXTS = [np.sin(np.arange(40.0))] * 3


def model(family: str = "bolt") -> LoadedModel:
    return load_model(str(folder_of(family)), device="cpu")


def compiler(monkeypatch: pytest.MonkeyPatch, error: float = 0.0) -> list[tuple[int, ...]]:
    """A compiler whose networks are off by an error; the shapes of what they are given."""
    shapes: list[tuple[int, ...]] = []

    def compile_network(network: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def run(contexts: torch.Tensor, *given: Any) -> torch.Tensor:
            shapes.append(tuple(contexts.shape))
            return network(contexts, *given) + error

        return run

    monkeypatch.setattr(compiling, "compile_network", compile_network)
    return shapes


@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_passes_run_compiled_and_the_forecast_says_so(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    shapes = compiler(monkeypatch)
    plain = Forecaster(model(family), 4, LEVELS)
    made = Forecaster(model(family), 4, LEVELS, compiling=True)
    assert made.passes == {**plain.passes, "compiled": True}
    assert shapes[0] == (plain.batch_size, plain.context_length)  # tried as passes are
    before = len(shapes)
    np.testing.assert_array_equal(made.forecast(CONTEXTS).quantiles, plain.forecast(CONTEXTS).quantiles)
    assert len(shapes) > before


@pytest.mark.parametrize("error", [1.0, np.nan])
def test_a_compiled_network_that_gives_something_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    shapes = compiler(monkeypatch, error)
    made = Forecaster(model(), 4, LEVELS, compiling=True)
    made.forecast(CONTEXTS)
    assert len(shapes) == 1
    assert "compiled" not in made.passes


def test_without_a_compiler_passes_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(network: Any) -> Callable[..., torch.Tensor]:
        def run(*_: Any) -> torch.Tensor:
            raise RuntimeError("Failed to find C compiler")

        return run

    monkeypatch.setattr(compiling, "compile_network", failing)
    made = Forecaster(model(), 4, LEVELS, compiling=True)
    assert "Failed to find C compiler" in caplog.text
    assert np.isfinite(made.forecast(CONTEXTS).quantiles).all()
    assert not Forecaster(model("t5"), 4, LEVELS, compiling=True).compiled  # samplers aren't compiled


def test_it_pays_for_itself_in_large_jobs_on_a_gpu_only() -> None:
    small = model()
    large = replace(small, device=torch.device("cuda"), description=replace(small.description, parameters=200_000_000))
    assert not pays_for_itself(large, 10_000, 64)
    assert pays_for_itself(large, 100_000_000, 64)
    assert not pays_for_itself(replace(large, device=torch.device("cpu")), 100_000_000, 64)
    assert not pays_for_itself(replace(large, network=None), 100_000_000, 64)
    assert not pays_for_itself(replace(small, device=torch.device("cuda")), 1_000_000, 64)
