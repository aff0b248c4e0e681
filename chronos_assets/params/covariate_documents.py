"""What covariates look like in `params.json`: the counterpart of `params.covariate_sections`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.params.attributes import CovariateSchema, MetadataParams, RelatedFilling, RelatedParams


def attributes_document(attributes: tuple[Any, ...]) -> list[dict[str, str]]:
    """`Schema.Attributes`."""
    return [{"AttributeName": item.name, "AttributeType": item.type} for item in attributes]


def datasets_documents(
    domain: str, related: RelatedParams | None, metadata: MetadataParams | None
) -> Iterator[dict[str, Any]]:
    """The entries of `Datasets` beside the target's."""
    for kind, source in (("RELATED_TIME_SERIES", related), ("ITEM_METADATA", metadata)):
        if source is not None and source.dataset is not None:
            yield _dataset_document(domain, kind, source.dataset)


def _dataset_document(domain: str, kind: str, schema: CovariateSchema) -> dict[str, Any]:
    document: dict[str, Any] = {"Domain": domain, "DatasetType": kind}
    if schema.data_frequency is not None:
        document["DataFrequency"] = str(schema.data_frequency)
    if schema.timestamp_format is not None:
        document["TimestampFormat"] = schema.timestamp_format
    return document | {"Schema": {"Attributes": attributes_document(schema.attributes)}}


def featurization_document(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """An entry of `Featurizations`."""
    method = {"FeaturizationMethodName": "filling", "FeaturizationMethodParameters": parameters}
    return {"AttributeName": name, "FeaturizationPipeline": [method]}


def related_featurizations(related: RelatedParams | None) -> Iterator[dict[str, Any]]:
    """The entries of `Featurizations` beside the target's."""
    for name, filling in related.filling if related else ():
        yield featurization_document(name, dict(_filling_parameters(filling)))


def _filling_parameters(filling: RelatedFilling) -> Iterator[tuple[str, str]]:
    if filling.aggregation is not None:
        yield "aggregation", filling.aggregation
    for name in ("middlefill", "backfill", "futurefill"):
        yield name, getattr(filling, name)
        value = getattr(filling, f"{name}_value")
        if value is not None:
            yield f"{name}_value", repr(value)


def chronos_covariates_document(
    related: RelatedParams | None,
    metadata: MetadataParams | None,
    holidays: HolidayCalendar | None,
    known_in_advance: tuple[tuple[str, bool], ...],
) -> Iterator[tuple[str, Any]]:
    """The keys of the `Chronos` section that are given."""
    for key, source in (("Related", related), ("Metadata", metadata)):
        if source is not None and source.columns:
            yield key, [attribute.name for attribute in source.columns]
    if known_in_advance:
        yield "KnownInAdvance", dict(known_in_advance)
    if holidays is not None:
        parts: dict[str, Any] = {
            "Countries": list(holidays.countries),
            "Days": {name: list(days) for name, days in holidays.days},
            "File": holidays.file,
        }
        yield "Holidays", {name: value for name, value in parts.items() if value}
