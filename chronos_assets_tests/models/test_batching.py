"""Rows of a pass: by the device's memory, and fewer where that doesn't hold them, with the same forecasts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.models import batching
from chronos_assets.models.batching import FEWEST, MOST, SHARE, bytes_per_row, rows_that_fit, tokens_of
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.models.families import moved
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets.predictors.opening import default_context
from chronos_assets_tests.models.tiny import folder_of

LEVELS = (0.1, 0.5, 0.9)
GIB = 1 << 30
# https://huggingface.co/amazon/chronos-bolt-small and chronos-2, config.json
SMALL: dict[str, Any] = {"d_model": 512, "d_ff": 2048, "num_heads": 8, "d_kv": 64}


def bolt() -> LoadedModel:
    return load_model(str(folder_of("bolt")), device="cpu")


def contexts(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.normal(size=40) for _ in range(count)]


class Scarce:
    """A network whose device has memory for a few rows only."""

    def __init__(self, network: Any, most: int, error: Exception) -> None:
        self.network, self.most, self.error = network, most, error
        self.levels, self.block_length = network.levels, network.block_length
        self.rows: list[int] = []

    def block(self, rows: torch.Tensor, length: int) -> Any:
        self.rows.append(len(rows))
        if len(rows) > self.most:
            raise self.error
        return self.network.block(rows, length)


def scarce(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[Scarce]:
    made: list[Scarce] = []

    def adapted(model: LoadedModel) -> Scarce:
        made.append(Scarce(adapt(model), most, error))
        return made[-1]

    from chronos_assets.models.families import adapt

    monkeypatch.setattr("chronos_assets.models.forecasting.adapt", adapted)
    return made


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_pass_that_memory_does_not_hold_is_halved_until_it_does(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    series = contexts(21)
    expected = Forecaster(bolt(), 24, LEVELS, batch_size=4).forecast(series)
    made = scarce(monkeypatch, 4, error)
    forecaster = Forecaster(bolt(), 24, LEVELS, batch_size=32)
    assert forecaster.batch_size == 4
    found = forecaster.forecast(series)
    np.testing.assert_array_equal(found.quantiles, expected.quantiles)
    np.testing.assert_array_equal(found.mean, expected.mean)
    assert max(made[0].rows[-6:]) == 4


def test_memory_that_runs_short_later_is_found_in_mid_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    series = contexts(50)
    expected = Forecaster(bolt(), 8, LEVELS, batch_size=4).forecast(series)
    made = scarce(monkeypatch, 1_000, torch.OutOfMemoryError("CUDA out of memory"))
    forecaster = Forecaster(bolt(), 8, LEVELS, batch_size=16)
    assert forecaster.batch_size == 16
    made[0].most = 4  # somebody else took the rest
    found = forecaster.forecast(series)
    np.testing.assert_array_equal(found.quantiles, expected.quantiles)
    assert forecaster.batch_size == 4
    assert forecaster.at(4, LEVELS).batch_size == 4
    tried = len(made[0].rows)
    forecaster.forecast(contexts(4))
    assert made[0].rows[tried:] == [4]


def test_an_error_that_is_none_of_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scarce(monkeypatch, 1_000, RuntimeError("device-side assert triggered"))
    forecaster = Forecaster(bolt(), 8, LEVELS, batch_size=16)
    made[0].most = 0
    with pytest.raises(RuntimeError, match="assert triggered"):
        forecaster.forecast(contexts(3))
    assert forecaster.batch_size == 16


def test_one_row_that_does_not_fit_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    scarce(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        Forecaster(bolt(), 8, LEVELS, batch_size=16)


def test_on_a_cpu_the_number_is_fixed_whatever_the_memory() -> None:
    forecaster = Forecaster(bolt(), 8, LEVELS)
    assert forecaster.passes == {"device": "cpu", "rows": batching.ON_CPU}
    assert batching.ON_CPU == 16


def test_on_a_gpu_it_follows_from_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(bolt(), device=torch.device("cuda"))
    rows = {}
    for gigabytes in (0, 1, 16, 80):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device, free=gigabytes * GIB: (free, 80 * GIB))
        rows[gigabytes] = batching.default_rows(model, 64)
    assert rows[0] == FEWEST
    assert list(rows.values()) == sorted(rows.values())
    assert rows[80] == MOST


@given(st.integers(0, 200 * GIB), st.integers(1, GIB))
def test_what_fits_is_a_power_of_two_within_the_share(free: int, per_row: int) -> None:
    rows = rows_that_fit(free, per_row)
    assert rows & (rows - 1) == 0
    assert FEWEST <= rows <= MOST
    assert rows == FEWEST or rows * per_row <= SHARE * free


def test_a_longer_context_takes_more_than_its_share_of_memory() -> None:
    """Attention's scores grow with the square: at 8,192 periods in patches of 16, chronos-2 fits a hundred rows in 24 GB."""
    config = SMALL | {"chronos_config": {"input_patch_stride": 16, "max_output_patches": 64}}
    short, long = (bytes_per_row(config, tokens_of(config, context)) for context in (2048, 8192))
    assert long > 2.5 * short
    assert 64 <= rows_that_fit(24 * GIB, long) <= 512
    assert rows_that_fit(24 * GIB, short) > rows_that_fit(24 * GIB, long)


@pytest.mark.parametrize(
    ("own", "frequency", "horizon", "expected"),
    [
        (512, "H", 24, 512),  # Bolt's and T5's own
        (2048, "1min", 24, 2048),
        (8192, "H", 24, 2048),  # a week is 168 hours
        (8192, "1min", 24, 8192),  # a week is 10,080 minutes
        (8192, "15min", 24, 5376),
        (8192, "M", 12, 2048),
        (8192, "D", 1000, 4000),
    ],
)
def test_a_model_that_reads_thousands_reads_what_the_seasons_ask_for(
    own: int, frequency: str, horizon: int, expected: int
) -> None:
    description = replace(describe_model(str(folder_of("chronos2"))), context_length=own)
    assert default_context(description, Frequency.parse(frequency).candidate_seasons, horizon) == expected


def test_rows_go_to_a_gpu_from_pinned_memory_and_without_waiting() -> None:
    class Seen:
        """Values that note how they are moved."""

        pinned = False

        def pin_memory(self) -> "Seen":
            self.pinned = True
            return self

        def to(self, device: torch.device, *, non_blocking: bool = False) -> tuple[str, bool, bool]:
            return device.type, self.pinned, non_blocking

    assert moved(Seen(), torch.device("cuda")) == ("cuda", True, True)  # type: ignore[arg-type]
    values = torch.ones(2)
    assert moved(values, torch.device("cpu")) is values
