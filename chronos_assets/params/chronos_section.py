"""Reading of the `Chronos` section of params.json: what the service had no word for."""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import cast, get_args

from chronos_assets.calendar.frequencies import Alignment
from chronos_assets.params.covariate_sections import read_chronos_covariates
from chronos_assets.params.document import MISSING, Section, finite_number, nearest
from chronos_assets.params.exports import read_export
from chronos_assets.params.forecast import CHOOSE, DOMAINS, NAME_PATTERN
from chronos_assets.params.headers import schema_name
from chronos_assets.params.options import ANOMALY_THRESHOLD, BF16, PRECISIONS, BadRows, ChronosOptions, Precision
from chronos_assets.params.predictor import read_predictor_options
from chronos_assets.params.reconciliation import read_reconcile
from chronos_assets.params.sections import BAD_NAME, ChronosSection, PredictorSection
from chronos_assets.params.training import read_training


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    """The IANA time zones; finding them takes a walk through the database's folders."""
    return frozenset(zoneinfo.available_timezones())


def read_chronos(top: Section, domain: str | None, predictor: PredictorSection) -> ChronosSection:
    """The `Chronos` section of a parameter file; what is wrong with it goes to the findings."""
    chronos = top.section("Chronos")
    if chronos is None:
        learned = read_predictor_options(None, predictor.metric, predictor.algorithm)
        return ChronosSection(options=ChronosOptions(predictor=learned))
    columns = _read_columns(chronos, domain)
    time_zone = chronos.text("TimeZone")
    if time_zone is not None and time_zone not in _time_zones():
        fix = nearest(time_zone, sorted(_time_zones())) or 'write for example "Europe/Berlin"'
        chronos.wrong("TimeZone", "this is not an IANA time zone", fix)
    options = ChronosOptions(
        bad_rows=cast(BadRows, chronos.choice("BadRows", get_args(BadRows)) or "fail"),
        bad_files=cast(BadRows, chronos.choice("BadFiles", get_args(BadRows)) or "fail"),
        time_zone=time_zone,
        context_length=chronos.integer("ContextLength", low=1),
        batch_size=chronos.integer("BatchSize", low=1),
        precision=cast(Precision, chronos.choice("Precision", PRECISIONS) or BF16),
        seed=chronos.integer("Seed", low=0, high=2**32 - 1) or 0,
        min_observations=chronos.integer("MinObservations", low=1) or 1,
        max_data_age=chronos.positive("MaxDataAge"),
        non_negative=chronos.truth("NonNegative"),
        integers=chronos.boolean("Integers", False),
        cold_start=chronos.truth("ColdStart"),
        join_row=chronos.boolean("JoinRow", True),
        quote_formulas=chronos.boolean("QuoteFormulas", False),
        export=read_export(chronos),
        anomaly_threshold=_read_anomalies(chronos),
        snap_seconds=_read_snap(chronos),
        guesses=_read_guesses(chronos),
        reconcile=read_reconcile(chronos),
        training=read_training(chronos),
        predictor=read_predictor_options(chronos, predictor.metric, predictor.algorithm),
    )
    read = ChronosSection(columns, _read_anchor(chronos), read_chronos_covariates(chronos), options)
    chronos.finish({})
    return read


def _read_guesses(chronos: Section) -> tuple[str, ...]:
    """What was guessed; a draft's explanation is for the user alone."""
    chronos.take("Draft")
    guesses = chronos.take("Guessed")
    return tuple(map(str, guesses)) if isinstance(guesses, list) else ()


def _read_columns(chronos: Section, domain: str | None) -> dict[str, str | None]:
    """Chronos.Columns: field of the domain -> column, None for an item column that the files don't have."""
    section = chronos.section("Columns")
    if section is None or domain is None:
        return {}
    names = DOMAINS[domain]
    columns: dict[str, str | None] = {}
    for field_name in (names.item, names.timestamp, names.target):
        value = section.take(field_name)
        if value is MISSING:
            continue
        if isinstance(value, str) and value.startswith(CHOOSE):
            section.wrong(field_name, "this is still to be chosen", f"write one of {value.removeprefix(CHOOSE)}")
        elif isinstance(value, str) and NAME_PATTERN.fullmatch(schema_name(value)):
            columns[field_name] = schema_name(value)
        elif value is None and field_name == names.item:
            columns[field_name] = None
        else:
            section.wrong(field_name, *BAD_NAME)
    section.finish({})
    return columns


def _read_anchor(chronos: Section) -> str | None:
    """The start of a period; None, and a finding, where it is no date or time."""
    text = chronos.text("Anchor")
    try:
        return Alignment(anchor=text).anchor
    except ValueError as error:
        chronos.wrong("Anchor", "this is not the start of a period", str(error))
        return None


def _read_anomalies(chronos: Section) -> float:
    """How far outside the band an actual is an anomaly."""
    section = chronos.section("Anomalies")
    if section is None:
        return ANOMALY_THRESHOLD
    value = section.take("Threshold")
    number = None if isinstance(value, str) or value is MISSING else finite_number(value)
    if value is not MISSING and (number is None or number < 1):
        section.wrong("Threshold", "this must be a number, 1 or more", "write 1 for every actual outside the band")
        number = None
    section.finish({})
    return ANOMALY_THRESHOLD if number is None else number


def _read_snap(chronos: Section) -> float | None:
    """How many seconds too early a row may come."""
    value = chronos.take("SnapSeconds")
    if value is MISSING:
        return None
    number = None if isinstance(value, str) else finite_number(value)
    if number is None or number < 0:
        chronos.wrong("SnapSeconds", "this must be a number of seconds, 0 or more", "write for example 60")
    return number
