"""A group as it is at one moment: `params.json`, the dataset's manifest, the registry's versions, each read once.

Here: reading those facts, and passing them on. A sensor's tick, a step or a command makes one `GroupState` and hands
it to whatever decides, so that all of them see the same moment. Elsewhere: changing any of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from chronos_assets.params.forecast import DEFAULT_QUANTILES, ForecastParams, ParamsError
from chronos_assets.params.reader import load_params
from chronos_assets.params.training import TrainingParams
from chronos_assets.pipeline.covariates import NO_COVARIATES, CovariateInputs, covariate_inputs
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inference import infer_params
from chronos_assets.pipeline.model_in_use import ModelInUse, model_in_use, registered, version_in_use
from chronos_assets.platforms.registry import PackageVersion
from chronos_assets.store_layout import DATASET_KEY, METADATA_KEY, PARAMS_KEY, RELATED_KEY
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

M = TypeVar("M")

DEFAULT_GROUP = "chronos"
DEFAULT_HORIZON = 64


@dataclass(frozen=True)
class GroupState:
    """What a group's store and registry say, read at first use and never again.

    Attributes:
        group: whose state it is; for what is written, and for all else that is read.
    """

    group: Group

    @cached_property
    def params_text(self) -> bytes | None:
        """The bytes of `params.json`; None if there is none."""
        try:
            return self.group.store.get(PARAMS_KEY)
        except FileNotFoundError:
            return None

    @cached_property
    def params(self) -> ForecastParams:
        """What forecasts are made by: `params.json`, and where it leaves open where periods start, what the import found.

        Raises:
            ChronosAssetsError: see `written_params`; or the manifest of the dataset can't be read.
        """
        written = self.written_params
        return written if self.manifest is None else self.manifest.resolve(written)

    @cached_property
    def written_params(self) -> ForecastParams:
        """`params.json`; without one it is inferred from the train files, and written for the user to keep.

        Raises:
            ChronosAssetsError: it has errors (all are named), or it can't be inferred; `params.draft.json` then has what can.
        """
        text = infer_params(self.group) if self.params_text is None else self.params_text
        return load_params(text, source=PARAMS_KEY)

    @cached_property
    def readable_params(self) -> ForecastParams | None:
        """`params.json` as it stands; None while there is none, or it has errors."""
        try:
            return None if self.params_text is None else load_params(self.params_text)
        except ParamsError:
            return None

    @cached_property
    def clock(self) -> str | None:
        """Zone of the data's clock, which partitions are counted in; None for UTC, and while `params.json` can't be read."""
        return None if self.readable_params is None else self.readable_params.clock

    @property
    def clock_shown(self) -> Literal["UTC", ""]:
        """The zone that is shown beside timestamps: UTC; nothing where they are as in the train files, or of a zone."""
        return "UTC" if self.readable_params is not None and self.readable_params.in_utc else ""

    @cached_property
    def params_digest(self) -> str:
        """Digest of what `params.json` means; of its bytes while it has errors, empty while there is none."""
        if self.params_text is None:
            return ""
        if self.readable_params is None:
            return f"invalid-{hashlib.sha256(self.params_text).hexdigest()}"
        return self.readable_params.digest

    @cached_property
    def name(self) -> str:
        """Name of the dataset group for notices, which must not fail because `params.json` is broken."""
        if self.readable_params is None:
            return "/".join(self.group.settings.key_prefix) or self.group.settings.store
        return self.readable_params.dataset_group

    @cached_property
    def manifest(self) -> Manifest | None:
        """Manifest of the dataset, or None if there has been no import."""
        return _read_manifest(self.group)

    @cached_property
    def related_manifest(self) -> RelatedManifest | None:
        """Manifest of the related time series, or None if there are none."""
        return _published(self.group, RELATED_KEY, RelatedManifest.from_json)

    @cached_property
    def metadata_manifest(self) -> MetadataManifest | None:
        """Manifest of the item metadata, or None if there are none."""
        return _published(self.group, METADATA_KEY, MetadataManifest.from_json)

    def require_manifest(self) -> Manifest:
        """Manifest of the dataset; `ChronosAssetsError` if there has been no import."""
        if self.manifest is None:
            raise StepError("there is no dataset yet: materialize target_time_series first")
        return self.manifest

    @cached_property
    def covariates(self) -> CovariateInputs:
        """What there is beside the dataset; `ChronosAssetsError` if it doesn't fit the dataset, or can't be read."""
        params = self.params
        related = self.related_manifest if params.related is not None else None
        metadata = self.metadata_manifest if params.metadata is not None else None
        return covariate_inputs(self.group, params, self.require_manifest(), related, metadata)

    @cached_property
    def setup(self) -> Setup:
        """What the training line works with, from `params.json` and the dataset where they are there.

        Raises:
            ChronosAssetsError: `params.json` has errors.
        """
        if self.manifest is None and self.params_text is None:
            return Setup(None, TrainingParams(), "", DEFAULT_GROUP, DEFAULT_HORIZON, DEFAULT_QUANTILES)
        params = self.params
        return Setup(
            params=params if self.manifest is not None else None,
            training=params.training,
            data_version=self.manifest.data_version if self.manifest is not None else "",
            name=params.package_group,
            horizon=params.horizon,
            quantiles=params.quantiles or DEFAULT_QUANTILES,
            covariates=self.covariates if self.manifest is not None else NO_COVARIATES,
        )

    @cached_property
    def versions(self) -> list[PackageVersion]:
        """Every registered version of the group's model package, in order; `ChronosAssetsError` if they can't be read."""
        return registered(self.group, self.setup.name)

    @cached_property
    def version_in_use(self) -> PackageVersion | None:
        """The approved version with the highest number, if its checkpoint is still there."""
        return version_in_use(self.group, self.versions)

    @cached_property
    def model_in_use(self) -> ModelInUse:
        """The version in use, else the zero-shot base model; `ChronosAssetsError` if its files can't be read."""
        return model_in_use(self.group, self.versions)


@dataclass(frozen=True)
class Setup:
    """What the training line works with: the parameters, or the defaults of a store that has no dataset.

    Attributes:
        params: None without a dataset.
        data_version: of the dataset; empty without one.
        name: of the model package group.
        covariates: what there is beside the dataset.
    """

    params: ForecastParams | None
    training: TrainingParams
    data_version: str
    name: str
    horizon: int
    quantiles: tuple[float, ...]
    covariates: CovariateInputs = NO_COVARIATES

    @property
    def on_data(self) -> bool:
        """Whether there are series of the user's own."""
        return self.params is not None


def _published(group: Group, key: str, parse: Callable[[bytes], M]) -> M | None:
    """What the manifest of a published folder says; None if nothing is published there."""
    try:
        text = group.store.read(key, DATASET_MANIFEST)
    except FileNotFoundError:
        return None
    return parse(text)


def _read_manifest(group: Group) -> Manifest | None:
    """Manifest of the dataset, or None if there has been no import."""
    manifest = _published(group, DATASET_KEY, Manifest.from_json)
    if manifest is None and group.store.shown(DATASET_KEY) is not None:
        raise StepError(f"there is no dataset in {group.place(DATASET_KEY)}: import the train files first")
    return manifest
