"""Reading of how columns are aggregated and filled: `Featurizations`, and `AttributeConfigs` in the newer spelling.

Here: the parameters of the method "filling", of the target and of related time series. Which columns there are is for
`params.reader` and `params.covariate_sections` to say.
"""

from __future__ import annotations

from typing import cast, get_args

from chronos_assets.params.attributes import Aggregation, Attribute, Filling, FillMethod, RelatedFilling
from chronos_assets.params.document import MISSING, Findings, Section, finite_number
from chronos_assets.params.sections import KEEP_ONE, Columns, DatasetSection, PredictorSection


def read_filling(
    predictor: PredictorSection, target: DatasetSection | None, columns: Columns | None, findings: Findings
) -> tuple[Aggregation, Filling]:
    """How the target is aggregated and filled."""
    aggregation: Aggregation = "sum"
    filling = Filling()
    seen = False
    for key, attribute, parameters in predictor.transformations:
        if target is not None and columns is not None and attribute != columns.target:
            continue
        if seen and columns is not None:
            findings.problem(key, attribute, "this column is filled twice", KEEP_ONE)
        seen = True
        aggregation, filling = _read_transformations(parameters)
    if not seen:
        findings.note('Gaps stay missing (middlefill and backfill are "nan"); the service\'s default was "zero".')
    return aggregation, filling


def read_related_filling(
    predictor: PredictorSection,
    columns: Columns,
    schema: tuple[Attribute, ...],
    related: tuple[Attribute, ...],
    findings: Findings,
) -> tuple[tuple[str, RelatedFilling], ...]:
    """How related time series are aggregated and filled, by name, where the file says so.

    Args:
        predictor: the section that says it.
        columns: of the target.
        schema: columns of the train files.
        related: the related time series that there are.
        findings: gets what is wrong.
    """
    by_name = {attribute.name: attribute for attribute in related}
    found: dict[str, RelatedFilling] = {}
    for key, name, parameters in predictor.transformations:
        if name == columns.target:
            continue
        if name in found:
            findings.problem(key, name, "this column is filled twice", KEEP_ONE)
        elif name in by_name:
            found[name] = _read_related_transformations(parameters, by_name[name])
        elif any(name == other.name for other in schema):
            fix = f'write "{columns.target}", or make it a related time series with Chronos.Related'
            findings.problem(key, name, "only the target and related time series can be filled", fix)
        else:
            listed = ", ".join([columns.target, *by_name])
            findings.problem(key, name, "there is no such column", f"write one of {listed}, or remove it")
    return tuple(found.items())


def _read_transformations(parameters: Section) -> tuple[Aggregation, Filling]:
    """The parameters of the method "filling" for a target time series."""
    aggregation = parameters.choice("aggregation", get_args(Aggregation)) or "sum"
    parameters.choice("frontfill", ("none",))
    for name in ("middlefill", "backfill"):
        if not parameters.has(name):
            parameters.findings.note(f'{parameters.key(name)} is not given: "nan" is used; the service\'s was "zero".')
    middlefill, middlefill_value = _read_fill_method(parameters, "middlefill")
    backfill, backfill_value = _read_fill_method(parameters, "backfill")
    if parameters.has("futurefill") or parameters.has("futurefill_value"):
        parameters.wrong("futurefill", "the target has no future to fill", "remove it; it is for related time series")
    parameters.finish({})
    return cast(Aggregation, aggregation), Filling(middlefill, backfill, middlefill_value, backfill_value)


def _read_related_transformations(parameters: Section, attribute: Attribute) -> RelatedFilling:
    """The parameters of the method "filling" for a related time series."""
    aggregation = parameters.choice("aggregation", get_args(Aggregation))
    parameters.choice("frontfill", ("none",))
    middlefill, middlefill_value = _read_fill_method(parameters, "middlefill")
    backfill, backfill_value = _read_fill_method(parameters, "backfill")
    futurefill, futurefill_value = _read_fill_method(parameters, "futurefill")
    parameters.finish({})
    if attribute.type == "string":
        methods = {"middlefill": middlefill, "backfill": backfill, "futurefill": futurefill}
        for name, method in methods.items():
            if method != "nan":
                parameters.wrong(name, f"{attribute.name} holds texts, which stay missing", 'write "nan"')
        if aggregation not in {None, "first"}:
            parameters.wrong("aggregation", f"{attribute.name} holds texts", 'write "first", or remove it')
    return RelatedFilling(
        middlefill=middlefill,
        backfill=backfill,
        middlefill_value=middlefill_value,
        backfill_value=backfill_value,
        futurefill=futurefill,
        futurefill_value=futurefill_value,
        aggregation=cast(Aggregation | None, aggregation),
    )


def _read_fill_method(parameters: Section, name: str) -> tuple[FillMethod, float | None]:
    """A fill method, and its number when the method is "value": text as the service has it ("2.5"), or plain."""
    method = parameters.choice(name, get_args(FillMethod))
    value_name = f"{name}_value"
    value = parameters.take(value_name)
    number = finite_number(value)
    if value is MISSING:
        if method == "value":
            parameters.wrong(value_name, f'{name} is "value", but no value is given', 'write for example "0"')
    elif number is None:
        parameters.wrong(value_name, "this must be a number", 'write for example "2.5"')
    elif method != "value":
        parameters.wrong(value_name, f'{name} is not "value"', f'write "{name}": "value", or remove this')
        number = None
    return cast(FillMethod, method or "nan"), number
