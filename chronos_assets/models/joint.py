"""Forecasts of series that are read together: several dimensions, covariates, learning across series. Chronos-2 only.

Here: what `forecasting` leaves out because there a series' forecast depends on nothing but the series. Elsewhere:
the schema of requests.

The library's pipeline does the reading together. As in `forecasting`, targets and numeric covariates are standardised in
float64 before they become float32, and the mean is the mean of the quantiles, where the library gives the median.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.checkpoints import ModelError, check_quantiles
from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.quantiles import interpolate, mean_of_quantiles, sort_quantiles
from chronos_assets.models.scaling import Scaled, restored, standardise
from chronos_assets.timeseries.arrays import Floats


@dataclass(frozen=True)
class JointSeries:
    """What is read together with one series.

    Attributes:
        target: (D, T), NaN where nothing was observed; each dimension has at least one observation.
        past_covariates: name -> (T,) float64, or text for categories.
        future_covariates: name -> (horizon,), of some of the same names.
    """

    target: Floats
    past_covariates: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    future_covariates: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def form(self) -> Hashable:
        """Series of one form can share a pass: as many dimensions, the same covariates of the same kinds."""
        return (
            len(self.target),
            tuple(sorted((name, values.dtype.kind) for name, values in self.past_covariates.items())),
            tuple(sorted(self.future_covariates)),
        )


def forecast_jointly(
    model: LoadedModel,
    series: Sequence[JointSeries],
    horizon: int,
    levels: Sequence[float],
    *,
    cross_learning: bool = False,
    batch_size: int = 256,
) -> list[tuple[Floats, Floats]]:
    """Means (D, horizon) and quantiles (D, horizon, W) of each series.

    Args:
        model: of the Chronos-2 family.
        series: any number; those of one form share passes.
        horizon: up to the model's block.
        levels: within the model's range.
        cross_learning: whether the series of a pass learn from each other.
        batch_size: rows (dimensions and covariates) of a pass.

    Raises:
        ModelError: the model is of another family, or the horizon is longer than its block.
        QuantileRangeError: a level is outside of the model's range.
    """
    description = model.description
    if description.family != "chronos2":
        raise ModelError(f"model {description.reference!r} reads one series at a time: use a Chronos-2 model")
    if not 1 <= horizon <= description.block_length:
        raise ModelError(
            f"model {description.reference!r} forecasts 1 to {description.block_length} periods of series read together"
        )
    check_quantiles(description, levels)
    native = description.quantiles or ()
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for index, item in enumerate(series):
        alike[item.form].append(index)
    forecasts: dict[int, tuple[Floats, Floats]] = {}
    for members in alike.values():
        scales, inputs = zip(*(_scaled(series[index]) for index in members), strict=True)
        with torch.inference_mode():
            raw = model.pipeline.predict(
                list(inputs),
                prediction_length=horizon,
                batch_size=batch_size,
                cross_learning=cross_learning,
                unrolled_quantiles=[0.5] if 0.5 in native else [native[len(native) // 2]],
            )
        for index, item, scale in zip(members, raw, scales, strict=True):
            ordered, _ = sort_quantiles(np.moveaxis(item.double().cpu().numpy(), 1, -1))  # (D, horizon, Q)
            mean, quantiles = mean_of_quantiles(ordered, native), interpolate(ordered, native, levels)
            forecasts[index] = restored(scale, mean), restored(scale, quantiles)
    return [forecasts[index] for index in range(len(series))]


def _scaled(item: JointSeries) -> tuple[list[Scaled], dict[str, Any]]:
    """How to get back from the model's numbers, and what the library's pipeline is given."""
    scales = [_scale(row) for row in item.target]
    past: dict[str, Any] = {}
    future: dict[str, Any] = {}
    for name, values in item.past_covariates.items():
        ahead = item.future_covariates.get(name)
        if values.dtype.kind == "f":
            known = values[np.isfinite(values)] if ahead is None else np.concatenate([values, ahead])
            scale = _scale(known) if np.isfinite(known).any() else Scaled(np.empty(0, np.float32), 1.0, 0.0, 1.0)
            past[name] = _apply(scale, values)
            if ahead is not None:
                future[name] = _apply(scale, ahead)
        else:
            past[name] = values
            if ahead is not None:
                future[name] = ahead
    rows = np.stack([_apply(scale, row) for scale, row in zip(scales, item.target, strict=True)])
    document: dict[str, Any] = {"target": rows}
    if past:
        document["past_covariates"] = past
    if future:
        document["future_covariates"] = future
    return scales, document


def _scale(values: Floats) -> Scaled:
    """The scale of some values; of equal ones, that which makes them zero."""
    scale = standardise(values)
    if scale is not None:
        return scale
    return Scaled(np.zeros(len(values), np.float32), float(np.nanmax(np.abs(values))) or 1.0, _sign(values), 1.0)


def _sign(values: Floats) -> float:
    return float(np.sign(values[np.isfinite(values)][0]))


def _apply(scale: Scaled, values: Floats) -> NDArray[np.float32]:
    return ((values / scale.unit - scale.shift) / scale.scale).astype(np.float32)
