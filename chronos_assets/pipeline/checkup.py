"""Checkup of what was dropped and declared: files that nothing declares, metadata and attributes that end early, sums.

Here: findings of the `doctor` about the store's content. Elsewhere: those about the machine or the account
(`platforms.local.doctor`, `platforms.aws.doctor`), checks of what was imported (`timeseries.dataset.related_checks`).

Nothing is written: a `params.json` that isn't there is not inferred.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models.checkpoints import describe_model, is_elsewhere
from chronos_assets.params.forecast import ParamsError
from chronos_assets.params.reader import load_params
from chronos_assets.pipeline.covariate_imports import undeclared_files
from chronos_assets.pipeline.covariate_kinds import KINDS, METADATA_KIND, RELATED_KIND, covariate_files
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.levels import check_levels
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.train_files import train_files
from chronos_assets.platforms.checkup import Finding, run_checks
from chronos_assets.settings import Settings
from chronos_assets.store_layout import DRAFT_KEY, PARAMS_KEY, TRAIN_KEY
from chronos_assets.timeseries.dataset.shards import Manifest

_ADD_ROWS = "add the rows that are missing, or set futurefill (and backfill) of the attribute in params.json"


def examine(group: Group) -> list[Finding]:
    """What stands in the way of a run in the files that were dropped and in `params.json`; nothing where all is well."""
    return run_checks({"data": partial(_findings, group)}, _explain)


def examine_model(settings: Settings) -> list[Finding]:
    """Why the base model can't be used, if it can't; one that would have to be downloaded isn't looked at."""
    if is_elsewhere(settings.base_model):
        return []
    try:
        describe_model(settings.base_model)
    except ChronosAssetsError as error:
        return [Finding("base model", "failed", str(error), "correct CHRONOS_BASE_MODEL, or leave it out")]
    return []


def _explain(name: str, error: Exception) -> Finding:
    if isinstance(error, ChronosAssetsError) and not error.transient:
        return Finding(name, "failed", str(error))
    kind = "" if isinstance(error, ChronosAssetsError | OSError) else f"{type(error).__name__}: "
    return Finding(name, "unknown", f"the store can't be looked at: {kind}{error}")


def _findings(group: Group) -> Iterator[Finding]:
    state = GroupState(group)
    yield from _without_target(group)
    if state.params_text is None:
        if group.store.exists(DRAFT_KEY):
            what = "the train files leave a choice to you"
            yield Finding(
                PARAMS_KEY, "failed", what, f"complete {group.place(DRAFT_KEY)}, and save it as {PARAMS_KEY} beside it"
            )
        return
    try:
        load_params(state.params_text, source=PARAMS_KEY)
    except ParamsError as error:
        first, more = error.problems[0], len(error.problems) - 1
        rest = f" (and {more} more: `chronos-assets validate` lists them)" if more else ""
        yield Finding(PARAMS_KEY, "failed", f"{first}{rest}")
        return
    for sentence in undeclared_files(state):
        yield Finding("covariates", "warning", sentence)
    if state.manifest is None:
        return
    yield from _related(state, state.manifest)
    yield from _metadata(state)
    yield from _sums(state)


def _without_target(group: Group) -> Iterator[Finding]:
    """Covariates that were dropped where nothing is to be forecast."""
    if train_files(group):
        return
    for kind in KINDS:
        if files := covariate_files(group, kind):
            yield Finding(
                kind.what,
                "failed",
                f"{kind.folder}/ has files ({files[0].key}), and {TRAIN_KEY}/ has none: there is nothing to forecast",
                f"put the target time series into {group.place(TRAIN_KEY)}",
            )


def _related(state: GroupState, dataset: Manifest) -> Iterator[Finding]:
    related = state.related_manifest
    if related is None or state.params.related is None:
        return
    name = RELATED_KIND.what
    if (related.dataset_version, related.n_shards) != (dataset.data_version, dataset.n_shards):
        what = "they were made for another version of the dataset"
        yield Finding(name, "warning", what, "run again: they are imported again before the next forecast")
        return
    if related.uncovered:
        what = f"{related.uncovered:,} of {dataset.series:,} series have no related values"
        yield Finding(
            name, "warning", what, "see that items and dimensions are written as in train/, or add their rows"
        )
    for attribute, count in related.items_without_future.items():
        what = (
            f"{attribute} is known in advance, but ends before the horizon for {count:,} of {dataset.series:,} series"
        )
        yield Finding(name, "warning", what, _ADD_ROWS)


def _metadata(state: GroupState) -> Iterator[Finding]:
    metadata = state.metadata_manifest
    if metadata is None or state.params.metadata is None or not metadata.uncovered:
        return
    known = metadata.items - metadata.newcomers
    what = f"{metadata.uncovered:,} of {known + metadata.uncovered:,} items of the dataset have no metadata"
    fix = "see that items are written as in train/, or add their rows"
    yield Finding(METADATA_KIND.what, "warning", what, fix)


def _sums(state: GroupState) -> Iterator[Finding]:
    try:
        check_levels(state)
    except ChronosAssetsError as error:
        yield Finding("sums", "failed", str(error))
