"""The options that only this project has, `Chronos` in params.json: each with its type, default and key, once.

Elsewhere: the section's other keys, which are compared with other sections (`chronos_section`), what a file says beside
them (`forecast`).
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated, Literal, cast, get_args

from chronos_assets.params.declared_options import Option, any_seed, one_of, options_document, whole
from chronos_assets.params.document import Section, nearest
from chronos_assets.params.exports import ExportParams, read_export
from chronos_assets.params.predictor import PredictorParams
from chronos_assets.params.reconciliation import ReconcileParams, read_reconcile, reconcile_document
from chronos_assets.params.training import TrainingParams, read_training, training_document

BadRows = Literal["fail", "quarantine"]
Precision = Literal["float32", "tf32", "bf16"]  # the most exact first

PRECISIONS = FLOAT32, TF32, BF16 = cast(tuple[Precision, ...], get_args(Precision))

ANOMALY_THRESHOLD = 2.0


def _read_time_zone(chronos: Section, key: str) -> str | None:
    name = chronos.text(key)
    if name is not None and name not in _time_zones():
        place = 'write a place whose clock it is, for example "Europe/Berlin"'
        fix = place if re.search(r"[+-]\d", name) else nearest(name, sorted(_time_zones())) or place
        chronos.wrong(key, "this is not an IANA time zone", fix)
    return name


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    """The IANA time zones; finding them takes a walk through the database's folders."""
    return frozenset(zoneinfo.available_timezones())


def _read_anomalies(chronos: Section, key: str) -> float | None:
    """How far outside the band an actual is an anomaly."""
    section = chronos.section(key)
    if section is None:
        return None
    number = section.number(
        "Threshold",
        lambda number: number >= 1,
        "this must be a number, 1 or more",
        "write 1 for every actual outside the band",
    )
    section.finish({})
    return number


def _anomalies_document(threshold: float) -> dict[str, float]:
    return {"Threshold": threshold}


def _read_snap(chronos: Section, key: str) -> float | None:
    """How many seconds too early a row may come."""
    return chronos.number(
        key, lambda number: number >= 0, "this must be a number of seconds, 0 or more", "write for example 60"
    )


@dataclass(frozen=True, kw_only=True)
class ChronosOptions:
    """The options.

    Attributes:
        bad_rows: whether a bad row fails the import, or is set aside.
        bad_files: whether one file that can't be read stops the import, or is left out and named.
        time_zone: of the train files' clock; None for none.
        decimal_comma: whether numbers of all files are written with a comma, and no point, before their decimals.
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

    bad_rows: Annotated[BadRows, Option("BadRows", one_of(BadRows))] = "fail"
    bad_files: Annotated[BadRows, Option("BadFiles", one_of(BadRows))] = "fail"
    time_zone: Annotated[str | None, Option("TimeZone", _read_time_zone)] = None
    decimal_comma: Annotated[bool, Option("DecimalComma", Section.truth)] = False
    context_length: Annotated[int | None, Option("ContextLength", whole(1))] = None
    batch_size: Annotated[int | None, Option("BatchSize", whole(1))] = None
    precision: Annotated[Precision, Option("Precision", one_of(Precision))] = BF16
    seed: Annotated[int, Option("Seed", any_seed)] = 0
    min_observations: Annotated[int, Option("MinObservations", whole(1))] = 1
    max_data_age: Annotated[float | None, Option("MaxDataAge", Section.positive)] = None
    non_negative: Annotated[bool | None, Option("NonNegative", Section.truth)] = None
    integers: Annotated[bool, Option("Integers", Section.truth)] = False
    cold_start: Annotated[bool | None, Option("ColdStart", Section.truth)] = None
    join_row: Annotated[bool, Option("JoinRow", Section.truth)] = True
    quote_formulas: Annotated[bool, Option("QuoteFormulas", Section.truth)] = False
    snap_seconds: Annotated[float | None, Option("SnapSeconds", _read_snap)] = None
    export: Annotated[ExportParams, Option("Export", read_export, partial(options_document, ExportParams))] = field(
        default_factory=ExportParams
    )
    anomaly_threshold: Annotated[float, Option("Anomalies", _read_anomalies, _anomalies_document)] = ANOMALY_THRESHOLD
    reconcile: Annotated[ReconcileParams | None, Option("Reconcile", read_reconcile, reconcile_document)] = None
    training: Annotated[TrainingParams, Option("Training", read_training, training_document)] = field(
        default_factory=TrainingParams
    )
    predictor: PredictorParams = field(default_factory=PredictorParams)
    guesses: tuple[str, ...] = field(default=(), compare=False)
