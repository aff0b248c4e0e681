"""Reading of the `Chronos` section of params.json: what the service had no word for.

Here: its keys that are compared with other sections. Elsewhere: its options, each declared with its key (`params.options`).
"""

from __future__ import annotations

from chronos_assets.calendar.frequencies import Alignment
from chronos_assets.params.covariate_sections import read_chronos_covariates
from chronos_assets.params.declared_options import read_options
from chronos_assets.params.document import MISSING, Section
from chronos_assets.params.forecast import CHOOSE, DOMAINS, NAME_PATTERN
from chronos_assets.params.headers import schema_name
from chronos_assets.params.options import ChronosOptions
from chronos_assets.params.predictor import read_predictor_options
from chronos_assets.params.sections import BAD_NAME, ChronosSection, PredictorSection


def read_chronos(top: Section, domain: str | None, predictor: PredictorSection) -> ChronosSection:
    """The `Chronos` section of a parameter file; what is wrong with it goes to the findings."""
    chronos = top.section("Chronos")
    if chronos is None:
        learned = read_predictor_options(None, predictor.metric, predictor.algorithm)
        return ChronosSection(options=ChronosOptions(predictor=learned))
    columns = _read_columns(chronos, domain)
    options = read_options(
        ChronosOptions,
        chronos,
        guesses=_read_guesses(chronos),
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
