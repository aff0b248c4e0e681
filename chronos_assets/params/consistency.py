"""What the sections of `params.json` say together: columns, frequencies and dimensions that must fit.

Here: rules over several sections. Elsewhere: reading one section (`params.reader`).
"""

from __future__ import annotations

from dataclasses import replace

from chronos_assets.calendar.frequencies import Alignment, Frequency, Grid, Unit
from chronos_assets.calendar.timestamp_format import DEFAULT_FORMAT, resolution
from chronos_assets.params.attributes import AttributeType
from chronos_assets.params.document import Findings, nearest
from chronos_assets.params.forecast import DOMAINS
from chronos_assets.params.sections import (
    KEEP_ONE,
    RESERVED,
    RESERVED_PATTERN,
    ChronosSection,
    Columns,
    DatasetSection,
    PredictorSection,
)

_DAY = 86_400_000_000  # microseconds

# --- What must fit together


def reconcile_format(top_level: str | None, target: DatasetSection | None) -> str:
    """The format, which may stand at the top or in the dataset, but must not contradict itself."""
    own = None if target is None else target.timestamp_format
    if target is not None and own is not None and top_level is not None and own != top_level:
        target.section.wrong("TimestampFormat", "this contradicts TimestampFormat at the top", KEEP_ONE)
    return own or top_level or DEFAULT_FORMAT


def find_columns(
    domain: str | None, target: DatasetSection | None, chronos: ChronosSection, findings: Findings
) -> Columns | None:
    """The columns of the schema that hold the item, the timestamp and the target."""
    if domain is None or target is None:
        return None
    types = {attribute.name: attribute.type for attribute in target.attributes}
    names = DOMAINS[domain]
    allowed: dict[str, tuple[AttributeType, ...]] = {
        names.item: ("string",),
        names.timestamp: ("timestamp",),
        names.target: ("float", "integer"),
    }
    key = f"{target.section.path}.Schema"
    schema_is_known = not findings.has_problem_under(key)
    found: dict[str, str | None] = {}
    for field_name, kinds in allowed.items():
        column = chronos.columns.get(field_name, field_name)
        found[field_name] = column
        if column is None:
            continue
        if column not in types:
            if schema_is_known:
                findings.problem(key, list(types), f"the column {column} is missing", _missing_fix(field_name, domain))
        elif types[column] not in kinds:
            reason = f"{column} has a type that {field_name} can't have"
            findings.problem(key, types[column], reason, f'write "{kinds[0]}"')
    item, timestamp, value = found[names.item], found[names.timestamp], found[names.target]
    present = [column for column in found.values() if column is not None]
    if len(set(present)) < len(present):
        findings.problem("Chronos.Columns", chronos.columns, "one column has two roles", "give each its own")
    if findings.has_problem_under(key) or timestamp is None or value is None:
        return None
    return Columns(item, timestamp, value)


def _missing_fix(field_name: str, domain: str) -> str:
    fix = f"the domain {domain} needs it: add it, or say which column holds it in Chronos.Columns"
    if field_name == DOMAINS[domain].item:
        fix += f' ({{"{field_name}": null}} when the files hold a single series)'
    return fix


def reconcile_frequencies(
    predictor: PredictorSection, target: DatasetSection | None, pattern: str, findings: Findings
) -> tuple[Frequency, Frequency] | None:
    """Data and forecast frequency: the former no coarser than the latter, and one that the timestamps can tell."""
    forecast = predictor.frequency
    if forecast is None or target is None:
        return None
    data = target.data_frequency
    if data is None:
        data = forecast
        if not (target.section.has("DataFrequency") or target.section.has("DatasetFrequency")):
            findings.note(
                f"{target.section.path}.DataFrequency is not given; it is taken to be the forecast's, {forecast}."
            )
    elif data.approximate_seconds > forecast.approximate_seconds:
        reason = f"data {data.description} can't be forecast {forecast.description}"
        target.section.wrong("DataFrequency", reason, f'set ForecastFrequency to "{data}" or coarser')
    elif not _consists_of(forecast, data):
        findings.note(
            f"Periods of {forecast} don't consist of whole periods of {data}: a row counts for the period in which it begins, "
            "so that some periods have more rows than others."
        )
    units = list(Unit)  # from the finest to the coarsest
    finest = resolution(pattern)
    if (units.index(data.unit), data.n) < (units.index(finest.unit), finest.n):
        reason = f"this can't tell apart rows {data.description}"
        fix = f'write for example "{DEFAULT_FORMAT}", or correct DataFrequency "{data}"'
        findings.problem("TimestampFormat", pattern, reason, fix)
    return data, forecast


def _consists_of(forecast: Frequency, data: Frequency) -> bool:
    """Whether each period of the forecast is made up of whole periods of the data."""
    if data.microseconds is None:
        months = {Unit.MONTH: 1, Unit.YEAR: 12}
        return forecast.n * months[forecast.unit] % (data.n * months[data.unit]) == 0
    return (forecast.microseconds or _DAY) % data.microseconds == 0


def reconcile_alignment(predictor: PredictorSection, chronos: ChronosSection, findings: Findings) -> Alignment:
    """The alignment with its anchor, which must not contradict the boundary."""
    alignment = replace(predictor.alignment, anchor=chronos.anchor)
    if chronos.anchor is not None and predictor.frequency is not None:
        try:
            Grid(predictor.frequency, alignment)
        except ValueError as error:
            findings.problem("Chronos.Anchor", chronos.anchor, str(error), "correct it, or TimeAlignmentBoundary")
    snap = chronos.options.snap_seconds or 0
    if predictor.frequency is not None and snap > predictor.frequency.approximate_seconds / 2:
        reason = f"most rows of a period of {predictor.frequency} would belong to the next one"
        findings.problem("Chronos.SnapSeconds", snap, reason, "write at most half of a period")
    return alignment


def find_dimensions(
    predictor: PredictorSection, target: DatasetSection | None, columns: Columns | None, findings: Findings
) -> tuple[str, ...]:
    """The dimensions, in schema order."""
    if target is None or columns is None:
        return ()
    types = {attribute.name: attribute.type for attribute in target.attributes}
    for key, name in predictor.dimensions:
        if name in (columns.item, columns.timestamp, columns.target):
            findings.problem(key, name, f"{name} is not an extra column", "name only further columns of the schema")
        elif name not in types:
            fix = nearest(name, list(types)) or f"name columns of {target.section.path}.Schema"
            findings.problem(key, name, f"the schema has no column {name}", fix)
        elif types[name] != "string":
            findings.problem(key, name, f"a dimension must be a string, not {types[name]}", 'make its type "string"')
        elif name.casefold() in RESERVED or RESERVED_PATTERN.fullmatch(name.casefold()):
            findings.problem(key, name, "the forecast files have a column of this name", "rename it in the schema")
    chosen = {name for _, name in predictor.dimensions}
    return tuple(attribute.name for attribute in target.attributes if attribute.name in chosen)


def note_unused_columns(
    target: DatasetSection, columns: Columns, dimensions: tuple[str, ...], covariates: set[str], findings: Findings
) -> None:
    """Notes which columns of the schema no forecast reads."""
    used = {columns.item, columns.timestamp, columns.target, *dimensions, *covariates}
    for attribute in target.attributes:
        if attribute.name in used:
            continue
        if attribute.type == "string":
            how = ": rows that differ only in it are aggregated; ForecastDimensions would keep them apart"
        else:
            how = "; Chronos.Related would let it explain the target"
        findings.note(f"The column {attribute.name} is not used{how}.")
