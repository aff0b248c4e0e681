"""Reading of what `params.json` says about covariates: related time series, item metadata, holidays.

Here: their keys in `Datasets`, `Predictor` and `Chronos`, and the rules that hold them against the target. How they
are filled belongs to `params.filling_sections`, importing them to `timeseries.dataset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.calendar.holidays import (
    HolidayCalendar,
    country_problem,
    known_countries,
    known_subdivisions,
    parse_day,
)
from chronos_assets.params.attributes import Attribute, AttributeType, CovariateSchema, MetadataParams, RelatedParams
from chronos_assets.params.columns import item_of
from chronos_assets.params.document import MISSING, Findings, Section, nearest
from chronos_assets.params.filling_sections import read_related_filling
from chronos_assets.params.forecast import DOMAINS
from chronos_assets.params.headers import schema_name
from chronos_assets.params.sections import (
    ChronosCovariates,
    ChronosSection,
    Columns,
    DatasetSection,
    DatasetSections,
    PredictorSection,
)

_WEATHER = (
    "the weather of the service is not available: supply it as related time series (temperature, precipitation, ... of each "
    "item's place), with a weather forecast for the horizon"
)
_KEYS = {"item_id", "timestamp"}
_ANY_COUNTRY = 'write a code such as "DE" or "US", or a subdivision such as "DE-BY"'


@dataclass(frozen=True)
class DeclaredCovariates:
    """What a parameter file declares; None and empty where it says nothing."""

    related: RelatedParams | None = None
    metadata: MetadataParams | None = None
    holidays: HolidayCalendar | None = None
    known_in_advance: tuple[tuple[str, bool], ...] = ()

    @property
    def columns(self) -> set[str]:
        """Columns of the train files that are covariates."""
        sources = [source.columns for source in (self.related, self.metadata) if source is not None]
        return {attribute.name for columns in sources for attribute in columns}

    @property
    def metadata_types(self) -> dict[str, AttributeType]:
        """Attributes of items and their types."""
        covariates = self.metadata.covariates if self.metadata is not None else ()
        return {attribute.name: attribute.type for attribute in covariates}


# --- Predictor


def read_additional_datasets(home: Section) -> Iterator[str]:
    """Countries whose holidays count: `AdditionalDatasets` of CreateAutoPredictor's DataConfig."""
    for extra in home.sections("AdditionalDatasets"):
        name = extra.choice("Name", ("holiday", "weather"), required=True)
        configuration = extra.section("Configuration")
        extra.finish({})
        if name == "weather":
            extra.findings.note(f"{extra.path}: {_WEATHER}.")
        if configuration is not None:
            codes = configuration.take("CountryCode")
            configuration.finish({})
            if name == "holiday" and codes is not MISSING:
                yield from _countries(configuration, "CountryCode", codes)
                continue
        if name == "holiday":
            extra.wrong("Configuration", "no country is given", 'write {"CountryCode": ["DE"]}')


def read_supplementary_features(home: Section) -> Iterator[str]:
    """Countries whose holidays count: `SupplementaryFeatures` of CreatePredictor's InputDataConfig."""
    for feature in home.sections("SupplementaryFeatures"):
        name = feature.choice("Name", ("holiday", "weather"), required=True)
        value = feature.take("Value")
        feature.finish({})
        if name == "weather":
            feature.findings.note(f"{feature.path}: {_WEATHER}.")
        elif name == "holiday" and value is MISSING:
            feature.wrong("Value", "no country is given", _ANY_COUNTRY)
        elif name == "holiday":
            yield from _countries(feature, "Value", value)


def _countries(section: Section, name: str, value: Any) -> Iterator[str]:
    for code in value if isinstance(value, list) else [value]:
        if not isinstance(code, str):
            section.wrong(name, "this must be the code of a country", _ANY_COUNTRY)
            return
        known = code.strip().upper()
        reason = country_problem(known)
        if reason is None:
            yield known
            continue
        country, _, part = known.partition("-")
        choices = known_subdivisions(country) if part else known_countries()
        section.wrong(name, reason, nearest(known, choices) or _ANY_COUNTRY)


# --- Chronos


def read_chronos_covariates(chronos: Section) -> ChronosCovariates:
    """`Related`, `Metadata`, `KnownInAdvance` and `Holidays` of the `Chronos` section."""
    known = chronos.section("KnownInAdvance")
    pairs: list[tuple[str, bool]] = []
    for name in known.value if known is not None else ():
        if known is not None and known.has(name):
            pairs.append((schema_name(name), known.truth(name) or False))
    return ChronosCovariates(
        related=tuple(_names(chronos, "Related")),
        metadata=tuple(_names(chronos, "Metadata")),
        known_in_advance=tuple(pairs),
        holidays=_read_holidays(chronos),
    )


def _names(section: Section, name: str) -> Iterator[str]:
    value = section.take(name)
    if value is MISSING:
        return
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        section.wrong(name, "this must be a list of columns", 'write for example ["price"]')
        return
    yield from dict.fromkeys(map(schema_name, value))


def _read_holidays(chronos: Section) -> HolidayCalendar | None:
    section = chronos.section("Holidays")
    if section is None:
        return None
    countries = section.take("Countries")
    found = tuple(_countries(section, "Countries", countries)) if countries is not MISSING else ()
    file = section.text("File")
    days = section.take("Days")
    section.finish({})
    own: list[tuple[str, tuple[str, ...]]] = []
    if days is not MISSING:
        if not isinstance(days, dict):
            section.wrong("Days", "this must be an object", 'write for example {"Black Friday": ["2024-11-29"]}')
            days = {}
        for name, dates in days.items():
            texts = dates if isinstance(dates, list) and dates else [None]
            read = [parse_day(text) if isinstance(text, str) else None for text in texts]
            if None in read:
                section.wrong("Days", f"the days of {name} are no list of dates", 'write for example ["2024-11-29"]')
            else:
                own.append((name, tuple(sorted({day for day in read if day is not None}))))
    if not found and not own and file is None and not section.findings.has_problem_under(section.path):
        section.findings.problem(section.path, section.value, "no holidays are given", 'write {"Countries": ["DE"]}')
    return HolidayCalendar(found, tuple(own), file)


# --- The whole


def find_covariates(
    sections: DatasetSections,
    domain: str | None,
    columns: Columns | None,
    dimensions: tuple[str, ...],
    predictor: PredictorSection,
    chronos: ChronosSection,
    findings: Findings,
) -> DeclaredCovariates:
    """What all sections together declare; what doesn't fit goes to the findings."""
    if domain is None or columns is None or sections.target is None:
        return DeclaredCovariates()
    keys = _Keys(domain, columns, dimensions, findings)
    said = chronos.covariates
    related_schema = keys.related(sections.related, predictor.frequency) if sections.related else None
    metadata_schema = keys.metadata(sections.metadata) if sections.metadata else None
    related = RelatedParams(related_schema, keys.columns("Related", said.related, sections.target))
    metadata = MetadataParams(metadata_schema, keys.columns("Metadata", said.metadata, sections.target))
    _check_twice([*related.covariates, *metadata.covariates], findings)
    filling = read_related_filling(predictor, columns, sections.target.attributes, related.covariates, findings)
    names = [attribute.name for attribute in related.covariates]
    for name, _ in said.known_in_advance:
        if name not in names:
            fix = nearest(name, names) or (f"write one of {', '.join(names)}" if names else "remove it")
            findings.problem(f"Chronos.KnownInAdvance.{name}", MISSING, "there is no such related time series", fix)
    calendar = said.holidays
    if predictor.holidays:
        own = calendar or HolidayCalendar()
        countries = tuple(dict.fromkeys((*predictor.holidays, *own.countries)))
        calendar = HolidayCalendar(countries, own.days, own.file)
    return DeclaredCovariates(
        related=RelatedParams(related.dataset, related.columns, filling) if related.covariates else None,
        metadata=metadata if metadata.covariates else None,
        holidays=calendar,
        known_in_advance=said.known_in_advance,
    )


class _Keys:
    """The columns that related time series and item metadata share with the target."""

    def __init__(self, domain: str, columns: Columns, dimensions: tuple[str, ...], findings: Findings) -> None:
        self._names = DOMAINS[domain]
        self._columns = columns
        self._dimensions = dimensions
        self._findings = findings

    def related(self, section: DatasetSection, frequency: Frequency | None) -> CovariateSchema:
        """The schema of related time series."""
        types = {attribute.name: attribute.type for attribute in section.attributes}
        timestamp = self._key(types, self._names.timestamp, self._columns.timestamp, "timestamp", section)
        stamps = [name for name, kind in types.items() if kind == "timestamp"]
        timestamp = timestamp or (stamps[0] if len(stamps) == 1 else None)
        if timestamp is None and not self._findings.has_problem_under(f"{section.section.path}.Schema"):
            fix = f"add a column {self._names.timestamp}; files without times are ITEM_METADATA"
            self._findings.problem(f"{section.section.path}.Schema", list(types), "there is no timestamp", fix)
        dimensions = tuple(name for name in self._dimensions if types.get(name) == "string")
        data = section.data_frequency
        if data is not None and frequency is not None and data.approximate_seconds > frequency.approximate_seconds:
            reason = f"rows {data.description} don't say what holds {frequency.description}"
            section.section.wrong("DataFrequency", reason, f'repeat each row for its periods, and write "{frequency}"')
        return self._checked(
            CovariateSchema(
                attributes=section.attributes,
                item_column=self._item(types, section),
                timestamp_column=timestamp,
                dimensions=dimensions,
                data_frequency=data,
                timestamp_format=section.timestamp_format,
            ),
            section,
        )

    def metadata(self, section: DatasetSection) -> CovariateSchema:
        """The schema of item metadata."""
        types = {attribute.name: attribute.type for attribute in section.attributes}
        item = self._item(types, section)
        if item is None and not self._findings.has_problem_under(f"{section.section.path}.Schema"):
            fix = f"add the column {self._names.item}"
            self._findings.problem(f"{section.section.path}.Schema", list(types), "there is no item", fix)
        return self._checked(CovariateSchema(section.attributes, item), section)

    def columns(self, key: str, names: Sequence[str], target: DatasetSection) -> tuple[Attribute, ...]:
        """Columns of the train files that the `Chronos` section calls covariates."""
        taken = {self._columns.item, self._columns.timestamp, self._columns.target, *self._dimensions}
        free = {attribute.name: attribute for attribute in target.attributes if attribute.name not in taken}
        found = []
        for name in names:
            attribute = free.get(name)
            if attribute is None:
                reason = "this column is a key or the target" if name in taken else f"the schema has no column {name}"
                fix = nearest(name, list(free)) or "name further columns of the train files"
                self._findings.problem(f"Chronos.{key}", name, reason, fix)
            elif attribute.type == "timestamp":
                self._findings.problem(f"Chronos.{key}", name, "this column holds timestamps", "name another")
            elif name.casefold() in _KEYS:
                self._findings.problem(f"Chronos.{key}", name, "a key has this name", "rename it in the schema")
            else:
                found.append(attribute)
        return tuple(found)

    def _item(self, types: dict[str, AttributeType], section: DatasetSection) -> str | None:
        named = self._key(types, self._names.item, self._columns.item, "string", section)
        texts = [name for name, kind in types.items() if kind == "string" and name not in self._dimensions]
        return named or (item_of(texts) if self._columns.item is not None else None)

    def _key(
        self, types: dict[str, AttributeType], field: str, own: str | None, kind: AttributeType, section: DatasetSection
    ) -> str | None:
        """The column that plays a part: the target's name for it or the domain's, in any case; None without one."""
        there = {name.casefold(): name for name in types}
        for known in dict.fromkeys((own, field)):
            name = there.get(known.casefold()) if known is not None else None
            if name is not None:
                if types[name] != kind:
                    reason = f"{name} has a type that {field} can't have"
                    self._findings.problem(f"{section.section.path}.Schema", types[name], reason, f'write "{kind}"')
                return name
        return None

    def _checked(self, schema: CovariateSchema, section: DatasetSection) -> CovariateSchema:
        key = f"{section.section.path}.Schema"
        if not schema.covariates and not self._findings.has_problem_under(key):
            names = [attribute.name for attribute in schema.attributes]
            self._findings.problem(key, names, "there are only keys", "list the columns that explain the target")
        for attribute in schema.covariates:
            if attribute.type == "timestamp":
                self._findings.problem(key, attribute.name, "a second timestamp can't be used", 'make it a "string"')
            elif attribute.name == self._columns.target:
                self._findings.problem(key, attribute.name, "the target can't explain itself", "remove it")
            elif attribute.name.casefold() in _KEYS:
                self._findings.problem(key, attribute.name, "a key has this name", "rename it, or make it a key")
        return schema


def _check_twice(attributes: Sequence[Attribute], findings: Findings) -> None:
    seen: dict[str, str] = {}
    for attribute in attributes:
        folded = attribute.name.casefold()
        if folded in seen and not findings.has_problem_under("Datasets"):
            reason = "two data sets have an attribute of this name"
            findings.problem("Datasets", attribute.name, reason, "rename it in one of them")
        seen[folded] = attribute.name
