"""Columns of users' files, and how their gaps are filled, as `params.json` declares them.

Here: the types for all three kinds of data sets. What a whole parameter file says belongs to `params.forecast`,
reading it to `params.reader` and `params.covariate_sections`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chronos_assets.calendar.frequencies import Frequency

AttributeType = Literal["string", "integer", "float", "timestamp"]
Aggregation = Literal["sum", "avg", "first", "min", "max"]
FillMethod = Literal["zero", "value", "nan", "median", "mean", "min", "max"]


@dataclass(frozen=True)
class Attribute:
    """A column of the train files: its name in the schema, and its type."""

    name: str
    type: AttributeType


@dataclass(frozen=True)
class Filling:
    """How periods without a row get a value, by the service's names.

    middlefill fills between a series' first and last observation, backfill from its last observation to the end of the
    dataset. "nan" (our default; the service's was "zero") leaves a missing value, which Chronos models take as such;
    "value" fills with the number in `middlefill_value` or `backfill_value`, which are None for every other method.
    """

    middlefill: FillMethod = "nan"
    backfill: FillMethod = "nan"
    middlefill_value: float | None = None
    backfill_value: float | None = None


@dataclass(frozen=True)
class RelatedFilling(Filling):
    """How an attribute of the related time series is aggregated where its rows are finer, and filled where they lack.

    aggregation: None for the default, the mean of numbers and the most frequent of categories. futurefill fills from the
    target's end (or the attribute's last value, if that is later) to the end of the horizon.
    """

    futurefill: FillMethod = "nan"
    futurefill_value: float | None = None
    aggregation: Aggregation | None = None


@dataclass(frozen=True)
class CovariateSchema:
    """A data set of related time series or item metadata, as `Datasets` declares it.

    Attributes:
        attributes: columns of its files, in schema order, keys among them.
        item_column: None where its rows apply to all items.
        timestamp_column: None in item metadata.
        dimensions: those of the target's that it has, in the target's order; a row applies to all values of the others.
        data_frequency: of its rows; None for the forecast's, and in item metadata.
        timestamp_format: None for the target's, and in item metadata.
    """

    attributes: tuple[Attribute, ...]
    item_column: str | None
    timestamp_column: str | None = None
    dimensions: tuple[str, ...] = ()
    data_frequency: Frequency | None = None
    timestamp_format: str | None = None

    @property
    def covariates(self) -> tuple[Attribute, ...]:
        """Its columns that are not keys."""
        keys = {self.item_column, self.timestamp_column, *self.dimensions}
        return tuple(attribute for attribute in self.attributes if attribute.name not in keys)


@dataclass(frozen=True)
class RelatedParams:
    """Where related time series come from.

    Attributes:
        dataset: the files below `related/`; None without such.
        columns: of the train files that are related time series as well, `Chronos.Related`.
        filling: by name, of attributes that are not filled in the default way.
    """

    dataset: CovariateSchema | None = None
    columns: tuple[Attribute, ...] = ()
    filling: tuple[tuple[str, RelatedFilling], ...] = ()

    @property
    def covariates(self) -> tuple[Attribute, ...]:
        """All attributes, those of the files below `related/` first."""
        return (*(self.dataset.covariates if self.dataset else ()), *self.columns)


@dataclass(frozen=True)
class MetadataParams:
    """Where item metadata come from.

    Attributes:
        dataset: the files below `item_metadata/`; None without such.
        columns: of the train files that are item metadata, `Chronos.Metadata`.
    """

    dataset: CovariateSchema | None = None
    columns: tuple[Attribute, ...] = ()

    @property
    def covariates(self) -> tuple[Attribute, ...]:
        """All attributes, those of the files below `item_metadata/` first."""
        return (*(self.dataset.covariates if self.dataset else ()), *self.columns)
