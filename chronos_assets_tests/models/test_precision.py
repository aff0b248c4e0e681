"""A GPU multiplies in the shortest numbers whose quantiles agree with float32's, by stand-ins for one on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from chronos_assets.models.families import Chronos2Network, adapt
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets.models.precision import TOLERANCE, multiplying_in, precisions_of
from chronos_assets.params.options import PRECISIONS
from chronos_assets.pipeline.endpoint_comparison import endpoint_tolerance
from chronos_assets.timeseries.forecast.files import merge_passes
from chronos_assets_tests.models.tiny import folder_of

LEVELS = (0.1, 0.5, 0.9)
CONTEXTS = [np.sin(np.arange(40.0))]


CPU = torch.device("cpu")


def way() -> str:
    """What this thread multiplies in."""
    if torch.is_autocast_enabled("cpu"):
        return "bf16"
    return "float32" if torch.get_float32_matmul_precision() == "highest" else "tf32"


class Rounding:
    """A network whose device rounds what it multiplies, where it may; its products are exact."""

    def __init__(self, network: Any, errors: dict[str, float]) -> None:
        self.network, self.errors = network, errors
        self.levels, self.block_length = network.levels, network.block_length
        self.ways: list[str] = []

    def block(self, rows: torch.Tensor, length: int) -> Any:
        self.ways.append(way())
        with torch.autocast("cpu", enabled=False):
            return self.network.block(rows, length) + self.errors.get(self.ways[-1], 0.0)


def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos_assets.models.forecasting.precisions_of", lambda device: PRECISIONS)


def rounding(monkeypatch: pytest.MonkeyPatch, **errors: float) -> list[Rounding]:
    made: list[Rounding] = []

    def adapted(model: LoadedModel) -> Rounding:
        made.append(Rounding(adapt(model), errors))
        return made[-1]

    monkeypatch.setattr("chronos_assets.models.forecasting.adapt", adapted)
    gpu(monkeypatch)
    return made


def bolt() -> LoadedModel:
    return load_model(str(folder_of("bolt")), device="cpu")


NEAR, FAR = TOLERANCE / 2, TOLERANCE * 2


@pytest.mark.parametrize(
    ("least", "errors", "tried", "precision"),
    [
        ("bf16", {"bf16": NEAR}, ["float32", "bf16"], "bf16"),
        ("bf16", {"bf16": FAR, "tf32": NEAR}, ["float32", "bf16", "tf32"], "tf32"),
        ("bf16", {"bf16": np.nan, "tf32": FAR}, ["float32", "bf16", "tf32"], "float32"),
        ("tf32", {}, ["float32", "tf32"], "tf32"),
        ("float32", {}, [], "float32"),
    ],
)
def test_the_quickest_within_the_tolerance_is_used_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, least: str, errors: dict[str, float], tried: list[str], precision: str
) -> None:
    made = rounding(monkeypatch, **errors)
    forecaster = Forecaster(bolt(), 4, LEVELS, precision=least)
    assert forecaster.precision == precision
    assert made[0].ways[: len(tried)] == tried
    assert set(made[0].ways[len(tried) :]) == {"float32", precision}  # rows are tried in all that passes may have
    before = len(made[0].ways)
    forecaster.forecast(CONTEXTS)
    assert made[0].ways[before:] == [precision]
    assert way() == "float32"


def test_horizons_beyond_a_block_are_made_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounding(monkeypatch)
    short = Forecaster(bolt(), 4, LEVELS, precision="bf16")
    long = short.at(short.model.description.block_length + 1, LEVELS)
    assert (short.precision, long.precision) == ("bf16", "float32")
    before = len(made[0].ways)
    long.forecast(CONTEXTS)
    assert set(made[0].ways[before:]) == {"float32"}


def test_networks_that_draw_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch)
    t5 = load_model(str(folder_of("t5")), device="cpu")
    assert Forecaster(t5, 4, LEVELS, precision="bf16").precision == "float32"


@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_products_in_bf16_move_quantiles_little(family: str) -> None:
    """By the CPU's own bf16, gaps of whole patches and rows beside a series included."""
    model = load_model(str(folder_of(family)), device="cpu")
    network = adapt(model)
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32))
    rows[:2, :40] = torch.nan
    if isinstance(network, Chronos2Network):
        network = network.beside(torch.full((4, 4), torch.nan), 2)
    with torch.inference_mode():
        exact = network.block(rows, 4)
        with multiplying_in("bf16", CPU):
            short = network.block(rows, 4)
    assert 0 < np.abs(short - exact).max() < TOLERANCE * np.abs(exact).max()  # weights are random, and values large


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), ("float32",)), ((8, 0), PRECISIONS), ((12, 0), PRECISIONS)]
)
def test_shorter_numbers_are_there_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precisions_of(torch.device("cuda")) == expected
    assert precisions_of(CPU) == ("float32",)


def test_what_was_set_before_is_put_back_after_an_error() -> None:
    def fail(precision: str) -> None:
        with multiplying_in(precision, CPU):
            raise ValueError(way())

    for precision in PRECISIONS:
        with pytest.raises(ValueError, match=f"^{precision}$"):
            fail(precision)
        assert way() == "float32"


def test_callers_that_do_not_ask_get_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rounding(monkeypatch)
    assert Forecaster(bolt(), 4, LEVELS).precision == "float32"
    assert set(made[0].ways) == {"float32"}


def test_an_endpoint_is_held_to_what_the_forecast_was_made_in() -> None:
    assert endpoint_tolerance({}) == 1e-5
    assert endpoint_tolerance({"device": "cpu", "rows": 16}) == 1e-5
    assert endpoint_tolerance({"device": "A100", "rows": 512, "precision": "float32"}) == 1e-5
    assert endpoint_tolerance({"device": "A100", "rows": 512, "precision": "tf32"}) == 5 * TOLERANCE
    assert endpoint_tolerance({"device": "A100", "rows": 512, "precision": "bf16"}) == 5 * TOLERANCE


def test_a_forecast_of_several_networks_is_as_exact_as_the_least_exact() -> None:
    exact = {"device": "A100", "rows": 64, "precision": "float32"}
    reduced = {"device": "A100", "rows": 512, "precision": "tf32"}
    assert merge_passes([exact, reduced]) == {"device": "A100", "rows": 64, "precision": "tf32"}
    assert merge_passes([{**reduced, "precision": "bf16"}, reduced])["precision"] == "bf16"
    assert merge_passes([exact, exact]) == exact
    assert merge_passes([{"device": "cpu", "rows": 16}]) == {"device": "cpu", "rows": 16}
    assert merge_passes([]) is None
