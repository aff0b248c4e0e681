"""TF32 is used where a network's quantiles agree with float32's, by a stand-in for a GPU that has it."""

from typing import Any

import numpy as np
import pytest
import torch

from chronos_assets.models.families import adapt
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets.models.precision import TOLERANCE, has_tf32, multiplying_in
from chronos_assets.pipeline.serving import endpoint_tolerance
from chronos_assets.timeseries.forecast.files import merge_passes
from chronos_assets_tests.models.tiny import folder_of

LEVELS = (0.1, 0.5, 0.9)
CONTEXTS = [np.sin(np.arange(40.0))]


class Rounding:
    """A network whose device rounds what it multiplies, where it may."""

    def __init__(self, network: Any, error: float) -> None:
        self.network, self.error = network, error
        self.levels, self.block_length = network.levels, network.block_length
        self.ways: list[str] = []

    def block(self, rows: torch.Tensor, length: int) -> Any:
        self.ways.append(torch.get_float32_matmul_precision())
        return self.network.block(rows, length) + (self.error if self.ways[-1] == "high" else 0.0)


def rounding(monkeypatch: pytest.MonkeyPatch, error: float) -> list[Rounding]:
    made: list[Rounding] = []

    def adapted(model: LoadedModel) -> Rounding:
        made.append(Rounding(adapt(model), error))
        return made[-1]

    monkeypatch.setattr("chronos_assets.models.forecasting.adapt", adapted)
    monkeypatch.setattr("chronos_assets.models.forecasting.has_tf32", lambda device: True)
    return made


def bolt() -> LoadedModel:
    return load_model(str(folder_of("bolt")), device="cpu")


@pytest.mark.parametrize(
    ("error", "precision", "way"),
    [(TOLERANCE / 2, "tf32", "high"), (TOLERANCE * 2, "float32", "highest"), (np.nan, "float32", "highest")],
)
def test_tf32_is_used_within_the_tolerance_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, error: float, precision: str, way: str
) -> None:
    made = rounding(monkeypatch, error)
    forecaster = Forecaster(bolt(), 4, LEVELS, reduced_precision=True)
    assert forecaster.precision == precision
    tried = len(made[0].ways)
    assert made[0].ways[:2] == ["highest", "high"]
    assert set(made[0].ways[2:]) == {"highest", way}  # rows are tried in all that passes may have
    forecaster.forecast(CONTEXTS)
    assert made[0].ways[tried:] == [way]
    assert torch.get_float32_matmul_precision() == "highest"


def test_horizons_beyond_a_block_are_made_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounding(monkeypatch, 0.0)
    short = Forecaster(bolt(), 4, LEVELS, reduced_precision=True)
    long = short.at(short.model.description.block_length + 1, LEVELS)
    assert (short.precision, long.precision) == ("tf32", "float32")
    tried = len(made[0].ways)
    long.forecast(CONTEXTS)
    assert set(made[0].ways[tried:]) == {"highest"}


def test_networks_that_draw_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_assets.models.forecasting.has_tf32", lambda device: True)
    t5 = load_model(str(folder_of("t5")), device="cpu")
    assert Forecaster(t5, 4, LEVELS, reduced_precision=True).precision == "float32"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_tf32_is_there_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_tf32(torch.device("cuda")) is expected
    assert not has_tf32(torch.device("cpu"))


def test_what_was_set_before_is_put_back_after_an_error() -> None:
    def fail() -> None:
        with multiplying_in("tf32"):
            raise ValueError(torch.get_float32_matmul_precision())

    with pytest.raises(ValueError, match=r"^high$"):
        fail()
    assert torch.get_float32_matmul_precision() == "highest"


def test_callers_that_do_not_ask_get_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounding(monkeypatch, 0.0)
    assert Forecaster(bolt(), 4, LEVELS).precision == "float32"
    assert set(made[0].ways) == {"highest"}


def test_an_endpoint_is_held_to_what_the_forecast_was_made_in() -> None:
    assert endpoint_tolerance({}) == 1e-5
    assert endpoint_tolerance({"device": "cpu", "rows": 16}) == 1e-5
    assert endpoint_tolerance({"device": "A100", "rows": 512, "precision": "float32"}) == 1e-5
    assert endpoint_tolerance({"device": "A100", "rows": 512, "precision": "tf32"}) == 5 * TOLERANCE


def test_a_forecast_of_several_networks_is_as_exact_as_the_least_exact() -> None:
    exact = {"device": "A100", "rows": 64, "precision": "float32"}
    reduced = {"device": "A100", "rows": 512, "precision": "tf32"}
    assert merge_passes([exact, reduced]) == {"device": "A100", "rows": 64, "precision": "tf32"}
    assert merge_passes([exact, exact]) == exact
    assert merge_passes([{"device": "cpu", "rows": 16}]) == {"device": "cpu", "rows": 16}
    assert merge_passes([]) is None
