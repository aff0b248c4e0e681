"""Covariates of a dataset's series as of a period: the only place where it is decided what a forecast may know of them.

Here: joining related time series, item metadata, holidays and the calendar to a series, and the cut at the as-of.
Elsewhere: the files (`timeseries.dataset.related`), what members make of covariates (`members.design`).

**As of.** A forecast as of a period reads past-only attributes up to that period, and attributes known in advance up to
the end of its horizon; neither holidays nor the calendar depend on what was known when. Beyond, and where a file has no value,
there is NaN, or "" for a category.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.alignment import fit_alignment
from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Frequency, Grid, Unit
from chronos_assets.calendar.holidays import HolidayCalendar, holiday_columns, holiday_names
from chronos_assets.container.contract import Workspace
from chronos_assets.predictors.members.base import Covariates
from chronos_assets.predictors.members.design import CALENDAR
from chronos_assets.predictors.scenario import Vocabulary
from chronos_assets.system import document_digest
from chronos_assets.timeseries.dataset.filling import filled_as_of
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata, MetadataManifest, read_item_metadata
from chronos_assets.timeseries.dataset.related import CovariateAttribute, RelatedManifest, RelatedSeries, iter_related
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest, shard_name, shard_number

RELATED_CHANNEL, METADATA_CHANNEL = "related_time_series", "item_metadata"
SERVED_FOLDER, _HOLIDAYS = "covariates", "holidays.json"  # of a model's folder
_CALENDAR_COLUMNS = 3


@dataclass(frozen=True)
class CovariateFolders:
    """What there is beside a dataset.

    Attributes:
        grid: of the dataset.
        folder: of related time series; None without any.
        manifest: of the related time series.
        metadata: of items; None without any.
        holidays: whose; None where they aren't asked for.
        metadata_version: data version of the metadata.
    """

    grid: Grid
    folder: Path | None = None
    manifest: RelatedManifest | None = None
    metadata: ItemMetadata | None = None
    holidays: HolidayCalendar | None = None
    metadata_version: str | None = None
    _attributes: Mapping[str, CovariateAttribute] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        attributes = {each.name: each for each in self.manifest.attributes} if self.manifest is not None else {}
        object.__setattr__(self, "_attributes", attributes)

    def to_document(self) -> dict[str, Any]:
        """What there is, for manifests."""
        return {
            "related_time_series": [item.name for item in self.manifest.attributes]
            if self.manifest is not None
            else None,
            "item_metadata": [item.name for item in self.metadata.attributes] if self.metadata is not None else None,
            "holidays": holiday_document(self.holidays),
        }

    @property
    def vocabulary(self) -> Vocabulary:
        """What a scenario may name."""
        attributes = self.manifest.attributes if self.manifest is not None else ()
        return Vocabulary(
            {one.name: one.kind for one in attributes if one.known_in_advance},
            frozenset(one.name for one in attributes if not one.known_in_advance),
            self.manifest.dimensions if self.manifest is not None else (),
            frozenset(one.name for one in self.metadata.attributes) if self.metadata is not None else frozenset(),
        )

    @property
    def categories(self) -> dict[str, dict[str, str]]:
        """Of the items, by the attributes of the metadata that make segments: attribute -> item -> value."""
        return self.metadata.categories() if self.metadata is not None else {}

    @property
    def change_over_time(self) -> bool:
        """Whether there are some beside the calendar that change from period to period."""
        return self.manifest is not None or self.holidays is not None

    @property
    def digest(self) -> str:
        """Of all of it."""
        related = self.manifest.data_version if self.manifest is not None else None
        parts = [related, self.metadata_version, holiday_document(self.holidays)]
        return document_digest(parts, sort_keys=True)

    @property
    def width(self) -> int:
        """Numbers and texts that a period has at most, the calendar's among them."""
        attributes = len(self.manifest.attributes) if self.manifest is not None else 0
        holidays = len(holiday_names(self.grid, self.holidays)) if self.holidays is not None else 0
        return attributes + holidays + _CALENDAR_COLUMNS

    def beside(self, shard: str) -> RelatedCursor:
        """The related time series of the series of one of the dataset's shards, by the shard's name."""
        if self.manifest is None or self.folder is None:
            return RelatedCursor(iter(()))
        if all(one.name != shard for one in self.manifest.shards):
            return RelatedCursor(iter(()))
        path = self.folder / shard
        if not path.is_file():
            raise DatasetError(f"the related time series lack {shard} of their manifest: materialize them again")
        return RelatedCursor(iter_related(path, self.manifest))

    def of_series(self, keys: Iterable[Key]) -> dict[Key, RelatedSeries]:
        """The related time series of some series, of those that have any."""
        if self.manifest is None or self.folder is None:
            return {}
        wanted: dict[str, set[Key]] = {}
        for key in keys:
            wanted.setdefault(shard_name(shard_number(key, self.manifest.n_shards)), set()).add(key)
        found: dict[Key, RelatedSeries] = {}
        for shard, chosen in sorted(wanted.items()):
            cursor = self.beside(shard)
            for key in sorted(chosen):
                related = cursor.of(key)
                if related is not None:
                    found[key] = related
        return found

    def as_of(self, key: Key, related: RelatedSeries | None, ordinal: int, periods: int, horizon: int) -> Covariates:
        """What was known of a series at the end of a period.

        Args:
            key: of the series.
            related: its related time series, if it has any.
            ordinal: number of the last period that may be read.
            periods: how many up to it are wanted.
            horizon: how many after it.
        """
        first = ordinal - periods + 1
        past: dict[str, NDArray[Any]] = {}
        known: dict[str, NDArray[Any]] = dict(_calendar(self.grid, first, periods + horizon))
        if self.holidays is not None:
            known |= _holidays(self.grid, self.holidays, first, periods + horizon)
        if related is not None:
            for name, values in related.values.items():
                if self._attributes[name].known_in_advance:
                    known[name] = _between(values, related.first, first, ordinal + horizon)
                elif (filling := self._attributes[name].filling) is not None:
                    before = values[: max(0, ordinal + 1 - related.first)]
                    filled = filled_as_of(before, ~np.isnan(before), periods, filling)
                    past[name] = _between(filled, related.first + len(before) - len(filled), first, ordinal)
                else:
                    past[name] = _between(values, related.first, first, ordinal)
        return Covariates(periods, past, known, _static(self.metadata, key[0]) if self.metadata is not None else {})


@dataclass(frozen=True)
class ServedCovariates:
    """What an endpoint knows of series beside the values of a request, as its version was learned with; kept beside the model.

    Attributes:
        metadata: of items; None without any.
        holidays: whose; None where they don't count.
    """

    metadata: ItemMetadata | None = None
    holidays: HolidayCalendar | None = None

    @property
    def categories(self) -> dict[str, dict[str, str]]:
        """See `CovariateFolders.categories`."""
        return self.metadata.categories() if self.metadata is not None else {}

    def of(self, item: str) -> dict[str, float | str]:
        """Metadata of an item; nothing of those without a row."""
        if self.metadata is None or item not in self.metadata:
            return {}
        return _static(self.metadata, item)

    def columns(self, frequency: Frequency, start: datetime, periods: int) -> dict[str, NDArray[Any]]:
        """What the calendar and holidays say of so many periods, of which the first begins at `start`."""
        moments = np.array([np.datetime64(start, "us")])
        fit = fit_alignment(frequency, moments)
        grid = Grid(frequency, fit.alignment if fit is not None else DEFAULT_ALIGNMENT)
        first = int(grid.ordinal(moments)[0])
        return {
            **_calendar(grid, first, periods),
            **(_holidays(grid, self.holidays, first, periods) if self.holidays is not None else {}),
        }

    @classmethod
    def load(cls, model: Path) -> ServedCovariates:
        """What is kept beside a model, in its folder.

        Raises:
            DatasetError: the metadata can't be read.
            ValueError: the holidays can't.
        """
        folder = model / SERVED_FOLDER
        metadata, holidays = folder / METADATA_CHANNEL, folder / _HOLIDAYS
        return cls(
            read_item_metadata(metadata) if metadata.is_dir() else None,
            read_holidays(json.loads(holidays.read_bytes())) if holidays.is_file() else None,
        )


def keep_beside(model: Path, metadata: Path | None, holidays: Mapping[str, Any] | None) -> None:
    """Leave in a model's folder what `ServedCovariates.load` finds there.

    Args:
        model: its folder.
        metadata: folder of the item metadata, if there is one.
        holidays: as jobs are given them, see `read_holidays`.
    """
    folder = model / SERVED_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    if metadata is not None:
        shutil.copytree(metadata, folder / METADATA_CHANNEL)
    if holidays is not None:
        folder.mkdir(exist_ok=True)
        (folder / _HOLIDAYS).write_text(json.dumps(holidays, ensure_ascii=False, sort_keys=True), encoding="utf-8")


class RelatedCursor:
    """Related time series of a shard, asked for in the order of the dataset's series; one is held at a time."""

    def __init__(self, series: Iterator[RelatedSeries]) -> None:
        self._series = series
        self._next = next(series, None)

    def of(self, key: Key) -> RelatedSeries | None:
        """Those of a series; keys have to come in ascending order."""
        while self._next is not None and self._next.key < key:
            self._next = next(self._series, None)
        return self._next if self._next is not None and self._next.key == key else None


def open_covariates(
    workspace: Workspace, grid: Grid, dataset: Manifest, holidays: HolidayCalendar | None
) -> CovariateFolders | None:
    """What a job's channels and parameters have beside its dataset; None where there is nothing.

    Args:
        workspace: with the channels `related_time_series` and `item_metadata`, both optional.
        grid: of the dataset.
        dataset: its manifest.
        holidays: whose, as the parameters say.

    Raises:
        DatasetError: the related time series were made for another dataset, or can't be read.
    """
    related, metadata = (workspace.optional_input(channel) for channel in (RELATED_CHANNEL, METADATA_CHANNEL))
    manifest = None if related is None else RelatedManifest.read(related)
    if manifest is not None:
        manifest.check(dataset)
    items = None if metadata is None else read_item_metadata(metadata)
    version = None if metadata is None else MetadataManifest.read(metadata).data_version
    if manifest is None and items is None and holidays is None:
        return None
    return CovariateFolders(grid, related, manifest, items, holidays, version)


def holiday_document(calendar: HolidayCalendar | None) -> dict[str, Any] | None:
    """Whose holidays count, as JSON values; None where none do. A calendar's file has to be in its days."""
    if calendar is None:
        return None
    return {"countries": list(calendar.countries), "days": {name: list(days) for name, days in calendar.days}}


def read_holidays(document: Any) -> HolidayCalendar | None:
    """The reverse of `holiday_document`.

    Raises:
        ValueError: it is something else.
    """
    if document is None:
        return None
    if not isinstance(document, dict) or not set(document) <= {"countries", "days"}:
        raise ValueError(f"holidays is {document!r}: it must be an object with countries and days, or null")
    days = document.get("days") or {}
    return HolidayCalendar(
        tuple(document.get("countries") or ()), tuple((name, tuple(found)) for name, found in days.items())
    )


def calendar_columns(grid: Grid, first: int, periods: int) -> dict[str, NDArray[np.float64]]:
    """What the calendar says of some periods of a grid, (periods,): the cycles that are longer than a period.

    Args:
        grid: of the dataset.
        first: number of the first period.
        periods: how many.
    """
    starts = grid.start(first + np.arange(periods)).astype("datetime64[us]")
    unit = grid.frequency.unit
    found: dict[str, NDArray[np.float64]] = {}
    if unit in (Unit.MINUTE, Unit.HOUR):
        found["hour"] = (starts.astype("datetime64[h]").astype(np.int64) % 24).astype(np.float64)
    if unit in (Unit.MINUTE, Unit.HOUR, Unit.DAY):
        found["day_of_week"] = ((starts.astype("datetime64[D]").astype(np.int64) + 3) % 7).astype(np.float64)
    if unit is not Unit.YEAR:
        found["month"] = (starts.astype("datetime64[M]").astype(np.int64) % 12 + 1).astype(np.float64)
    return {CALENDAR + name: values for name, values in found.items()}


@lru_cache(maxsize=256)
def _calendar(grid: Grid, first: int, periods: int) -> Mapping[str, NDArray[np.float64]]:
    return calendar_columns(grid, first, periods)


@lru_cache(maxsize=256)
def _holidays(grid: Grid, holidays: HolidayCalendar, first: int, periods: int) -> Mapping[str, NDArray[np.float64]]:
    return holiday_columns(grid, first, periods, holidays)


def _static(metadata: ItemMetadata, item: str) -> dict[str, float | str]:
    return {name: "" if value is None else value for name, value in metadata.of(item).items()}


def _between(values: NDArray[Any], begins: int, first: int, last: int) -> NDArray[Any]:
    """Values of the periods from `first` to `last`, of an attribute whose own begin with period `begins`."""
    low, high = max(first, begins), min(last + 1, begins + len(values))
    inside = values[low - begins : max(high, low) - begins]
    if values.dtype.kind == "f":
        found = np.full(last - first + 1, np.nan)
        found[low - first : low - first + len(inside)] = inside
        return found
    texts = [""] * (last - first + 1)
    texts[low - first : low - first + len(inside)] = ["" if value is None else str(value) for value in inside]
    return np.array(texts)
