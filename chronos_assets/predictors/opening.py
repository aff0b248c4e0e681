"""A model's files made ready to forecast, alone or as an ensemble; and the zero-shot predictor of a dataset.

Here belongs what the workloads that forecast have in common: which checkpoints a predictor needs, loading each once, and
learning as of a period. Parameters of jobs and files of forecasts are the workloads'.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chronos_assets.container.contract import Workspace
from chronos_assets.models.checkpoints import ModelDescription, describe_model
from chronos_assets.params.options import FLOAT32
from chronos_assets.params.predictor import CHRONOS, TUNED
from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows
from chronos_assets.predictors.backtester import PastWindow
from chronos_assets.predictors.covariates import CovariateFolders
from chronos_assets.predictors.dataset_past import known_past, sampled_series
from chronos_assets.predictors.dataset_request import Reading
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.members.regression import History
from chronos_assets.predictors.predictor import BASE_FOLDER, RECIPE_VERSION, Predictor, PredictorError
from chronos_assets.predictors.zero_shot import learn_predictor, open_backtester, zero_shot_recipe
from chronos_assets.system import document_digest
from chronos_assets.timeseries.dataset.shards import Series

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import Forecaster


# Models that read more get what the seasons ask for: attention takes the square of what is read, and its gain ends early.
LONG_CONTEXT = 2048
SEASONS_READ = 8


def default_context(description: ModelDescription, seasons: Sequence[int], horizon: int) -> int:
    """Latest periods that a model reads by default: its own number, or 2,048, 8 seasons, 4 horizons at least.

    A series with a shorter history takes no more than that takes, whatever the number.
    """
    wanted = max(LONG_CONTEXT, SEASONS_READ * max(seasons, default=1), 4 * horizon)
    return min(description.context_length, wanted)


def describe_given(workspace: Workspace, model: str, *, channel: str = "model") -> ModelDescription:
    """The model in a job's channel if it has one, under the name that its parameters give it; else that model.

    Raises:
        ModelError: it can't be had.
    """
    folder = workspace.optional_input(channel)
    return describe_model(model) if folder is None else replace(describe_model(folder), reference=model)


@dataclass(eq=False)
class Network:
    """A model and the forecasters of the checkpoints around it, each loaded once, when it is first needed.

    Attributes:
        description: of the model: a base model, or a version's folder.
        horizon: periods to forecast.
        levels: ascending quantile levels.
        context_length: latest periods to read; if not given, the models' own, or what the seasons ask for of models that
            read thousands.
        seasons: periods of the seasons that the data may have.
        batch_size: rows of a pass; what suits the device, if not given.
        min_observations: series with fewer are skipped.
        whole_batches: see `Forecaster`.
        precision: likewise.
        series: of the whole dataset, from which it follows whether a network is compiled.
        device: of torch, that models are loaded to; the first GPU, or the CPU, if not given.
        categories: of the items, for predictors that have segments by them, see `Predictor.of_categories`.
    """

    description: ModelDescription
    horizon: int
    levels: Sequence[float]
    _: KW_ONLY
    context_length: int | None = None
    seasons: Sequence[int] = ()
    batch_size: int | None = None
    min_observations: int = 1
    whole_batches: bool = True
    precision: str = FLOAT32
    series: int = 0
    device: str | None = None
    categories: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    _loaded: dict[str, Forecaster] = field(default_factory=dict, init=False, repr=False)

    @property
    def alone(self) -> Forecaster:
        """The model by itself."""
        return self._forecaster(self.description)

    def forecasters(self, predictor: Predictor) -> dict[str, Forecaster]:
        """Those of the checkpoints that a predictor needs: the model's own, and the base model beside it, or that it names.

        Raises:
            ModelError: the base model can't be had.
        """
        own = Predictor.load(self.description.folder) is not None
        found = {}
        for name in sorted(predictor.checkpoints):
            is_own = name == (TUNED if own else CHRONOS)
            beside = self.description.folder / BASE_FOLDER
            base = beside if beside.is_dir() else predictor.base["reference"]
            found[name] = self.alone if is_own else self._forecaster(describe_model(base))
        return found

    def ensemble(self, predictor: Predictor) -> Ensemble:
        """A predictor made ready."""
        return Ensemble(
            predictor.of_categories(self.categories),
            self.forecasters(predictor),
            self.horizon,
            self.levels,
            context_length=self.context_length,
            min_observations=self.min_observations,
        )

    def _forecaster(self, description: ModelDescription) -> Forecaster:
        from chronos_assets.models import forecasting
        from chronos_assets.models.compiling import pays_for_itself
        from chronos_assets.models.loading import load_model

        if description.digest not in self._loaded:
            model = load_model(description, self.device)
            context = self.context_length or default_context(description, self.seasons, self.horizon)
            self._loaded[description.digest] = forecasting.Forecaster(
                model,
                self.horizon,
                self.levels,
                context_length=context,
                batch_size=self.batch_size,
                min_observations=self.min_observations,
                whole_batches=self.whole_batches,
                precision=self.precision,
                compiling=pays_for_itself(model, self.series, context or description.context_length),
            )
        return self._loaded[description.digest]


def learned_key(reading: Reading, model: str, data_version: str, ordinal: int) -> str:
    """Name of what a zero-shot predictor is learned from: one of the same name needn't be learned again.

    Args:
        reading: what is known of the dataset.
        model: digest of the base model.
        data_version: of the dataset.
        ordinal: number of the last period that may be read.
    """
    # Everything that is known of the dataset, so that what is added to it later counts, too.
    parts = [RECIPE_VERSION, model, data_version, ordinal, repr(reading)]
    return document_digest(parts)[:24]


def known_predictors(
    folder: Path | None,
    reading: Reading,
    model: str,
    ordinals: Mapping[str, int],
    *,
    data_version: str,
    log: Callable[[str], None],
) -> dict[str, Predictor]:
    """Zero-shot predictors that were learned before, by the keys of `ordinals`; those that weren't are not among them.

    Args:
        folder: with a file for each, named by its `learned_key`; None without any.
        reading: see `learned_key`.
        model: likewise.
        ordinals: number of the last period that each may read.
        data_version: see `learned_key`.
        log: where a damaged file is reported, whose predictor is learned again.
    """
    found: dict[str, Predictor] = {}
    if folder is None:
        return found
    for key, ordinal in ordinals.items():
        path = folder / f"{learned_key(reading, model, data_version, ordinal)}.json"
        if path.is_file():
            try:
                found[key] = Predictor.from_json(path.read_bytes(), str(path))
            except PredictorError as error:
                log(f"weights of {key} are learned again: {error}")
    return found


def learn_as_of(
    shards: Sequence[Path],
    reading: Reading,
    network: Network,
    ordinals: Mapping[str, int],
    *,
    data_version: str,
    log: Callable[[str], None],
    covariates: CovariateFolders | None = None,
    anchor: int = -1,
) -> dict[str, Predictor]:
    """Zero-shot predictors of a dataset, by the keys of `ordinals`: each from what was known at the end of its period.

    Args:
        shards: all of the dataset's.
        reading: what is known of it.
        network: of the base model.
        ordinals: number of the last period that each may read.
        data_version: of the dataset.
        log: called with what was learned, and in how long.
        covariates: what there is beside the dataset; None where there is nothing.
        anchor: see `backtest_windows.past_windows`.
    """
    wanted, seasons = reading.zero_shot, reading.grid.frequency.candidate_seasons
    recipe = zero_shot_recipe(reading.horizon, seasons, wanted.max_cost, per_item=wanted.per_item, metric=wanted.metric)
    sampled = sampled_series(shards, reading.dimensions, reading.grid, set(ordinals.values()), reading.seed)
    found: dict[str, Predictor] = {}
    made: dict[int, Predictor] = {}
    changing = covariates is not None and covariates.change_over_time
    backtester = open_backtester({CHRONOS: network.alone}, recipe, wanted.members, covariates=changing)
    for key, ordinal in sorted(ordinals.items(), key=lambda item: item[1]):
        if ordinal not in made:
            began = time.monotonic()
            past, windows = windows_as_of(sampled[ordinal], reading, ordinal, covariates, anchor)
            made[ordinal] = learn_predictor(
                windows,
                {CHRONOS: network.alone},
                recipe,
                wanted=wanted.members,
                backtester=backtester,
                histories=[History(item.values, item.covariates) for item in past if item.covariates],
                learned={
                    "source": "backtests" if windows else "prior",
                    "until": reading.grid.iso(ordinal),
                    "data_version": data_version,
                    "recipe": RECIPE_VERSION,
                    "key": learned_key(reading, network.description.digest, data_version, ordinal),
                },
                categories=covariates.categories if covariates is not None else None,
            ).without_speeds()
            log(
                f"weights of {key} learned from {len(windows)} windows of {made[ordinal].learned['series']} series "
                f"in {time.monotonic() - began:.1f} s"
            )
        found[key] = made[ordinal]
    return found


def windows_as_of(
    series: Sequence[Series], reading: Reading, ordinal: int, covariates: CovariateFolders | None, anchor: int
) -> tuple[list[BacktestPast], list[PastWindow]]:
    """What was known of some series at the end of a period, and the windows to learn from in it.

    Args:
        series: of the dataset.
        reading: what is known of it.
        ordinal: number of the last period that may be read.
        covariates: what there is beside the dataset; None where there is nothing.
        anchor: see `backtest_windows.past_windows`.
    """
    past = known_past(
        series, reading.grid, ordinal, reading.filling, reading.horizon, reading.context_length, covariates
    )
    windows = past_windows(
        past,
        reading.horizon,
        season=reading.grid.frequency.seasonality,
        windows=reading.zero_shot.backtest_windows,
        anchor=anchor,
    )
    return past, windows
