"""What jobs are given of covariates: the channels that there are, whose holidays count, and which version of it all that is.

Here: finding the published folders beside the dataset. Elsewhere: making them, reading them in a job
(`predictors.covariates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chronos_assets.calendar.holidays import HolidayCalendar
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.store_layout import METADATA_KEY, RELATED_KEY
from chronos_assets.system import document_digest
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata, MetadataManifest, read_item_metadata
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.shards import Manifest


@dataclass(frozen=True)
class CovariateInputs:
    """What there is beside a dataset, for jobs.

    Attributes:
        related: manifest of the related time series; None without any.
        metadata: of the item metadata; None without any.
        holidays: whose count, as jobs are given them; None where none do.
    """

    related: RelatedManifest | None
    metadata: MetadataManifest | None
    holidays: Mapping[str, Any] | None

    @property
    def channels(self) -> dict[str, str]:
        """Input channels of a job: name -> store key."""
        return {
            **({"related_time_series": RELATED_KEY} if self.related is not None else {}),
            **({"item_metadata": METADATA_KEY} if self.metadata is not None else {}),
        }

    @property
    def digest(self) -> str | None:
        """Of all that forecasts may follow from; None where there is nothing."""
        if self.related is None and self.metadata is None and self.holidays is None:
            return None
        related = self.related.data_version if self.related is not None else None
        metadata = self.metadata.data_version if self.metadata is not None else None
        return document_digest([related, metadata, self.holidays], sort_keys=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """What workloads that read covariates are given beside the channels."""
        return {"holidays": self.holidays}


NO_COVARIATES = CovariateInputs(None, None, None)


def covariate_inputs(
    group: Group,
    params: ForecastParams,
    dataset: Manifest,
    related: RelatedManifest | None,
    metadata: MetadataManifest | None,
) -> CovariateInputs:
    """What there is beside a dataset.

    Args:
        group: whose.
        params: as `params.json` has them.
        dataset: manifest of the dataset.
        related: manifest of the related time series, if they are declared and there.
        metadata: manifest of the item metadata, likewise.

    Raises:
        ChronosAssetsError: the related time series were made for another version of the dataset, or the holidays can't be read.
    """
    if related is not None:
        related.check(dataset)
    return CovariateInputs(related, metadata, _holidays(group, params.holidays))


def item_metadata(group: Group, inputs: CovariateInputs) -> ItemMetadata | None:
    """The item metadata among what there is beside a dataset; None without any."""
    return None if inputs.metadata is None else published_metadata(group)


def item_categories(group: Group) -> dict[str, dict[str, str]]:
    """Categories of the item metadata that make segments: attribute -> item -> category; empty without metadata."""
    metadata = published_metadata(group)
    return {} if metadata is None else metadata.categories()


def published_metadata(group: Group) -> ItemMetadata | None:
    """The item metadata, whatever they belong to; None without any."""
    if group.store.shown(METADATA_KEY) is None:
        return None
    return read_item_metadata(group.store.snapshot(METADATA_KEY))


def _holidays(group: Group, calendar: HolidayCalendar | None) -> dict[str, Any] | None:
    """The document that jobs are given, with the days of the calendar's file; its form is `predictors.covariates`'."""
    if calendar is None:
        return None
    if (key := calendar.file) is not None:
        try:
            calendar = calendar.with_file(group.store.get(key).decode("utf-8-sig"))
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise StepError(
                f"the file of holidays {group.place(key)} can't be read: {error}; put it there, or take it out "
                "of Chronos.Holidays in params.json"
            ) from error
    return {"countries": list(calendar.countries), "days": {name: list(days) for name, days in calendar.days}}
