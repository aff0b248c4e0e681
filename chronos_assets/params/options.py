"""The options that only this project has, `Chronos` in params.json: each with its type and default, once.

Elsewhere: reading them (`chronos_section`), what a file says beside them (`forecast`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from chronos_assets.params.exports import ExportParams
from chronos_assets.params.predictor import PredictorParams
from chronos_assets.params.reconciliation import ReconcileParams
from chronos_assets.params.training import TrainingParams

BadRows = Literal["fail", "quarantine"]
Precision = Literal["float32", "tf32", "bf16"]  # the most exact first

PRECISIONS = FLOAT32, TF32, BF16 = cast(tuple[Precision, ...], get_args(Precision))

ANOMALY_THRESHOLD = 2.0


@dataclass(frozen=True, kw_only=True)
class ChronosOptions:
    """The options.

    Attributes:
        bad_rows: whether a bad row fails the import, or is set aside.
        bad_files: whether one file that can't be read stops the import, or is left out and named.
        time_zone: of the train files' clock; None for none.
        context_length: periods that a model reads at most; None for as many as it can.
        batch_size: series of a pass; None for the model's own choice.
        precision: the least exact numbers that a GPU may multiply in, see `models.precision`.
        seed: of everything random.
        min_observations: of a series that is forecast.
        max_data_age: seconds, or None when freshness is not checked.
        non_negative: whether no forecast may be below zero; None leaves it to each series' history.
        integers: whether quantiles of series of whole numbers are whole numbers.
        cold_start: whether items without a past are forecast from others with like metadata; None leaves out those without
            a row where they outnumber the others.
        join_row: whether forecast.csv begins each series and type with the last observation.
        quote_formulas: whether names in forecast.csv that a spreadsheet would run as a formula begin with a quote.
        export: how forecast.csv and the other exports are written.
        anomaly_threshold: how far outside the band an actual is an anomaly, see `timeseries.scoring.anomalies`.
        snap_seconds: how much too early a row may come, None for as much as the rows show.
        reconcile: which sums of series are forecast, too; None for none.
        training: when a model is trained, and how.
        predictor: members, metric and limits of the ensemble that forecasts.
        guesses: what was guessed where the parameters were inferred, one sentence each. Not compared.
    """

    bad_rows: BadRows = "fail"
    bad_files: BadRows = "fail"
    time_zone: str | None = None
    context_length: int | None = None
    batch_size: int | None = None
    precision: Precision = BF16
    seed: int = 0
    min_observations: int = 1
    max_data_age: float | None = None
    non_negative: bool | None = None
    integers: bool = False
    cold_start: bool | None = None
    join_row: bool = True
    quote_formulas: bool = False
    export: ExportParams = field(default_factory=ExportParams)
    anomaly_threshold: float = ANOMALY_THRESHOLD
    snap_seconds: float | None = None
    reconcile: ReconcileParams | None = None
    training: TrainingParams = field(default_factory=TrainingParams)
    predictor: PredictorParams = field(default_factory=PredictorParams)
    guesses: tuple[str, ...] = field(default=(), compare=False)
