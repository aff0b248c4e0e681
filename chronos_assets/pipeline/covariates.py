"""What jobs are given of covariates: the channels that there are, whose holidays count, and which version of it all that is.

Here: finding the published folders beside the dataset. Elsewhere: making them, reading them in a job
(`predictors.covariates`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.pipeline.group import Group
from chronos_assets.store_layout import METADATA_KEY, RELATED_KEY

if TYPE_CHECKING:
    from chronos_assets.calendar.holidays import HolidayCalendar
    from chronos_assets.params.forecast import ForecastParams
    from chronos_assets.timeseries.dataset.related import MetadataManifest, RelatedManifest
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
        return hashlib.sha256(json.dumps([related, metadata, self.holidays], sort_keys=True).encode()).hexdigest()

    @property
    def parameters(self) -> dict[str, Any]:
        """What workloads that read covariates are given beside the channels."""
        return {"holidays": self.holidays}


def covariate_inputs(group: Group, params: ForecastParams, dataset: Manifest) -> CovariateInputs:
    """What there is beside a dataset.

    Args:
        group: whose.
        params: as `params.json` has them: what isn't declared there isn't used.
        dataset: manifest of the dataset.

    Raises:
        dg.Failure: the related time series were made for another version of the dataset, or something can't be read.
    """
    from chronos_assets.calendar.holidays import HolidayError
    from chronos_assets.timeseries.dataset.related import MetadataManifest, RelatedManifest
    from chronos_assets.timeseries.dataset.shards import DatasetError

    related = _read(group, RELATED_KEY) if params.related is not None else None
    metadata = _read(group, METADATA_KEY) if params.metadata is not None else None
    try:
        found = RelatedManifest.from_json(related) if related is not None else None
        if found is not None:
            found.check(dataset)
        items = MetadataManifest.from_json(metadata) if metadata is not None else None
        return CovariateInputs(found, items, _holidays(group, params.holidays))
    except (DatasetError, HolidayError) as error:
        raise dg.Failure(str(error)) from error


def _read(group: Group, key: str) -> bytes | None:
    from chronos_assets.timeseries.dataset.shards import MANIFEST

    try:
        return group.store.read(key, MANIFEST)
    except FileNotFoundError:
        return None


def _holidays(group: Group, calendar: HolidayCalendar | None) -> dict[str, Any] | None:
    """The document that jobs are given, with the days of the calendar's file; its form is `predictors.covariates`'."""
    if calendar is None:
        return None
    if (key := calendar.file) is not None:
        try:
            calendar = calendar.with_file(group.store.get(key).decode("utf-8-sig"))
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise dg.Failure(
                f"the file of holidays {group.store.uri(key)} can't be read: {error}; put it there, or take it out "
                "of Chronos.Holidays in params.json"
            ) from error
    return {"countries": list(calendar.countries), "days": {name: list(days) for name, days in calendar.days}}
