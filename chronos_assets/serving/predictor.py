"""What the endpoint's worker thread does: forecasts of the items of one pass.

Here: which of the model's two ways of forecasting a call needs, what may share a pass, and the seeds of a family
that samples. Elsewhere: queues (`batching`), requests (`requests`).

A series by itself is forecast by `models.forecasting`, as the batch job does, and its numbers are those of the batch
job to 1e-5 of the series' largest, since the last bits depend on how many rows a pass has. Chronos-T5 samples: here a
series' seed is a digest of its values, so that the same request gets the same answer whatever arrives with it. Calls that
need series to be read together are forecast by `models.joint`, each in a pass of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.joint import JointSeries, forecast_jointly
from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.quantiles import clip_at_zero, in_whole_numbers, is_integral, is_non_negative
from chronos_assets.predictors.covariates import ServedCovariates
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.members.base import Covariates
from chronos_assets.serving.schema import Call, InvocationError, Prediction, SeriesInput, shown_key, shown_value
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import KEY_SEPARATOR, series_name


@dataclass(frozen=True)
class Key:
    """What items of one pass have in common; `own` sets a call apart from all others."""

    horizon: int
    levels: tuple[float, ...] | None = None
    own: int | None = None


@dataclass(frozen=True)
class Item:
    """Something to forecast: one series, or all of a call that are read together."""

    inputs: tuple[SeriesInput, ...]
    call: Call


class BatchPredictor:
    """Forecasts with one loaded model.

    Args:
        model: any family.
        batch_size: rows of a pass of the network, at most.
        context_length: periods that the model reads at most, where it forecasts without an ensemble.
        ensemble: what forecasts series by themselves, where the model is a member of a predictor; the model if not given.
        beside: what the ensemble may know of a series beside a request's values: metadata of its item, holidays.
        non_negative: as the forecast workload has it; the history is the target that a request brings.
        integers: likewise.
        in_utc: whether the times of the data are known to be in UTC.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        batch_size: int = 16,
        context_length: int | None = None,
        ensemble: Ensemble | None = None,
        beside: ServedCovariates | None = None,
        non_negative: bool | None = None,
        integers: bool = False,
        in_utc: bool = False,
    ) -> None:
        description = model.description
        low, high = description.quantile_range
        self.model = model
        self.joint = description.family == "chronos2"
        self._samples = description.family == "t5"
        self._numbers = count()
        self._non_negative = non_negative
        self._integers = integers
        self._in_utc = in_utc
        self.reads_covariates = ensemble is not None and ensemble.reads_covariates
        self._beside = beside or ServedCovariates()
        regression = ensemble.predictor.regression if ensemble is not None else None
        if self._beside.holidays is None and regression is not None and regression.countries:
            self._beside = replace(self._beside, holidays=HolidayCalendar(regression.countries))
        own = ensemble.predictor.items if ensemble is not None else ()
        self._own = {series_name(key): key for key in own}
        self._forecaster: Forecaster | Ensemble = ensemble or Forecaster(
            model,
            description.block_length,
            [(low + high) / 2],
            context_length=context_length,
            batch_size=batch_size,
            whole_batches=False,
        )

    def items(self, call: Call) -> tuple[Key, list[Item]]:
        """A call as items of the queue.

        Raises:
            InvocationError: the model can't forecast what is asked for.
        """
        parameters = call.parameters
        for series in call.inputs:
            self._check_start(series)
            self._check_texts(series)
        if call.together or (call.covariates and not self.reads_covariates):
            longest = self.model.description.block_length
            if parameters.prediction_length > longest:
                raise InvocationError(
                    "parameters.prediction_length",
                    f"{parameters.prediction_length}: with covariates, several dimensions or cross-learning "
                    f"this model forecasts up to {longest} periods",
                )
            return Key(parameters.prediction_length, own=next(self._numbers)), [Item(call.inputs, call)]
        # How many paths are sampled follows from the levels, so that only calls for the same can share a pass.
        levels = tuple(sorted(parameters.quantile_levels)) if self._samples else None
        return Key(parameters.prediction_length, levels), [Item((series,), call) for series in call.inputs]

    def _check_start(self, series: SeriesInput) -> None:
        """See that the calendar and holidays of a start with an offset (a Z is one) are those of the data's clock.

        Raises:
            InvocationError: they are not.
        """
        offset = None if series.start is None else series.start.utcoffset()
        if self.reads_covariates and offset is not None and (offset or not self._in_utc):
            raise InvocationError(
                f"{series.place}.start",
                "has an offset, by which hours and holidays could be those of another day: write the time as the clock of the "
                "train files has it, without an offset (in UTC, where their times have offsets)",
            )

    def _check_texts(self, series: SeriesInput) -> None:
        """See that a what-if has no text that moves nothing, since nothing is known of what it does.

        Raises:
            InvocationError: it has one; names the place.
        """
        for name, planned in series.baseline_covariates.items():
            if planned.dtype.kind == "f":
                continue
            past = set(series.past_covariates[name].tolist())
            for place, (text, before) in enumerate(zip(series.future_covariates[name], planned, strict=True)):
                if text not in ("", before) and not self._knows(name, text, past):
                    raise InvocationError(
                        f"{series.place}.future_covariates.{shown_key(name)}[{place}]",
                        f"nothing is known of what {shown_value(str(text))} does to the forecast, since the past doesn't have "
                        "it (often enough): give a text that it has",
                    )

    def _knows(self, name: str, text: str, past: Container[str]) -> bool:
        forecaster = self._forecaster
        return forecaster.predictor.knows(name, text, past) if isinstance(forecaster, Ensemble) else text in past

    def run(self, key: Key, items: Sequence[Item]) -> list[list[Prediction]]:
        """Forecasts of the inputs of each item; runs in the worker thread.

        Raises:
            InvocationError: 422, a series has no forecast.
        """
        if key.own is not None:
            return [self._jointly(item) for item in items]
        levels = key.levels or tuple(
            sorted({level for item in items for level in item.call.parameters.quantile_levels})
        )
        targets = [item.inputs[0].target for item in items]
        beside = [self._covariates(item, key.horizon) for item in items] if self.reads_covariates else None
        what_if = beside is not None and any(item.inputs[0].baseline_covariates for item in items)
        forecast = self._forecaster.at(key.horizon, levels).forecast(
            targets,
            seeds=[_seed(target) for target in targets] if self._samples else None,
            non_negative=[self._bounded(target) for target in targets],
            keys=[self._key(item.inputs[0]) for item in items],
            covariates=beside,
            baseline=[self._covariates(item, key.horizon, planned=True) for item in items] if what_if else None,
        )
        reasons = {skip.index: skip.reason for skip in forecast.skipped}
        if reasons and len(items) == 1:
            raise InvocationError(f"{items[0].inputs[0].place}.target", f"no forecast: {reasons[0]}", 422)
        if reasons:
            raise UnfitSeries
        places = {level: place for place, level in enumerate(levels)}
        quantiles = in_whole_numbers(forecast.quantiles, [self._integral(target) for target in targets])
        return [
            [
                Prediction(
                    forecast.mean[index],
                    quantiles[index][:, [places[level] for level in item.call.parameters.quantile_levels]],
                )
            ]
            for index, item in enumerate(items)
        ]

    def _covariates(self, item: Item, horizon: int, *, planned: bool = False) -> Covariates:
        """What is known beside a series: values of its request, metadata of its item, with a start the calendar and holidays.

        Nothing where a request gives neither covariates nor a start and a frequency.

        Args:
            item: the series.
            horizon: periods to forecast.
            planned: of a what-if, whether to take the values without it.
        """
        one, frequency = item.inputs[0], item.call.parameters.freq
        periods = len(one.target)
        future = {**one.future_covariates, **(one.baseline_covariates if planned else {})}
        known: dict[str, NDArray[Any]] = {
            name: np.concatenate([values, future[name]])
            for name, values in one.past_covariates.items()
            if name in future
        }
        past = {name: values for name, values in one.past_covariates.items() if name not in known}
        if one.start is not None and frequency is not None:
            known |= self._beside.columns(frequency, one.start.replace(tzinfo=None), periods + horizon)
        if not (known or past):
            return Covariates()
        return Covariates(periods, past, known, self._beside.of(self._key(one)[0]))

    def _key(self, one: SeriesInput) -> tuple[str, ...]:
        return series_key(one.item_id or "", self._own, self._beside.metadata or ())

    def _jointly(self, item: Item) -> list[Prediction]:
        parameters = item.call.parameters
        series = [
            JointSeries(np.atleast_2d(one.target), one.past_covariates, one.future_covariates) for one in item.inputs
        ]
        made = forecast_jointly(
            self.model,
            series,
            parameters.prediction_length,
            parameters.quantile_levels,
            cross_learning=parameters.cross_learning,
            batch_size=parameters.batch_size,
        )
        levels = parameters.quantile_levels
        order = np.argsort(levels)
        predictions = []
        for one, (mean, quantiles) in zip(item.inputs, made, strict=True):
            if not (np.isfinite(mean).all() and np.isfinite(quantiles).all()):
                raise InvocationError(
                    f"{one.place}.target", "no forecast: the model gave values that are not finite", 422
                )
            for row, target in enumerate(np.atleast_2d(one.target)):
                if self._bounded(target):
                    clipped, mean[row] = clip_at_zero(quantiles[row][:, order], mean[row], sorted(levels))
                    quantiles[row][:, order] = clipped
                quantiles[row] = in_whole_numbers(quantiles[row][None], [self._integral(target)])[0]
            predictions.append(
                Prediction(mean, quantiles) if one.target.ndim > 1 else Prediction(mean[0], quantiles[0])
            )
        return predictions

    def _bounded(self, target: Floats) -> bool:
        known = target[np.isfinite(target)]
        return is_non_negative(self._non_negative, float(known.min()) if len(known) else 0.0)

    def _integral(self, target: Floats) -> bool:
        return self._integers and is_integral(target)


class UnfitSeries(ChronosAssetsError):
    """A pass has a series without a forecast: the batcher tries its items one by one, and finds which."""


def series_key(text: str, own: Mapping[str, tuple[str, ...]], items: Container[str]) -> tuple[str, ...]:
    """Item and dimensions of a series, as its item_id has them; names may have the separator in them, too.

    Args:
        text: the item_id.
        own: keys of series with weights of their own, by what their item_id is.
        items: that have metadata.
    """
    if text in own:
        return own[text]
    parts = text.split(KEY_SEPARATOR)
    for length in range(len(parts), 1, -1):
        if (item := KEY_SEPARATOR.join(parts[:length])) in items:
            return (item, *parts[length:])
    return tuple(parts)


def _seed(target: Floats) -> int:
    return int.from_bytes(hashlib.sha256(target.tobytes()).digest()[:8], "little") >> 1
