"""`params.json` inferred from the files that are there, for the user to keep.

Here: which files are looked at, and what is written. Elsewhere: inference (`params.inference`), inferring again when
the files change (`pipeline.inferred`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chronos_assets.params.draft import with_guesses
from chronos_assets.params.forecast import ForecastParams, ParamsError, to_document
from chronos_assets.params.reader import parse_params
from chronos_assets.pipeline.covariate_kinds import KINDS, METADATA_KIND, RELATED_KIND, covariate_files
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.train_files import files_to_sample, no_train_files, train_files
from chronos_assets.planning.listing import files_digest, listing_digest
from chronos_assets.store_layout import DRAFT_KEY, INFERRED_KEY, PARAMS_KEY
from chronos_assets.timeseries.dataset.csv_records import FileProblem

if TYPE_CHECKING:
    from chronos_assets.timeseries.dataset.sampling import Sample
    from chronos_assets.timeseries.dataset.train_files import TrainFile


def infer_params(group: Group) -> bytes:
    """Write the `params.json` that the files suggest, with what was guessed, and note what it was inferred from.

    Raises:
        ChronosAssetsError: it can't be inferred; `params.draft.json` then has what can.
    """
    text = _text(_inferred_document(group))
    group.store.put(PARAMS_KEY, text)
    note = {"params": hashlib.sha256(text).hexdigest(), "train": inferred_from(group)}
    group.store.put(INFERRED_KEY, json.dumps(note).encode())
    return text


def inferred_from(group: Group) -> str:
    """Digest of the files that parameters are inferred from."""
    beside = [info for kind in KINDS for info in covariate_files(group, kind)]
    return listing_digest(train_files(group)) + (f"+{files_digest(beside)}" if beside else "")


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _inferred_document(group: Group) -> dict[str, Any]:
    """The parameter file that the train files suggest, with what was guessed."""
    from chronos_assets.params.columns import InferenceError
    from chronos_assets.params.inference import infer, likely_keys
    from chronos_assets.timeseries.dataset.folder_columns import refuse_folders
    from chronos_assets.timeseries.dataset.sampling import sample_files, sample_series

    found = train_files(group)
    files = files_to_sample(group, found)
    if not files:
        raise no_train_files(group)
    unpacked = group.settings.max_unpacked
    odd: tuple[str, ...] = ()
    try:
        sample = sample_files(files, unpacked=unpacked)
        odd = sample.odd
        refuse_folders(files, sample.header)
        if not sample.complete and sample.header is not None:
            keys = likely_keys(sample.header, sample.rows, sample.files)
            sample = sample_series(files, sample, keys, unpacked=unpacked)
        complete = sample.complete and len(files) == len(found)
        params = infer(sample.header, sample.rows, files=sample.files, stretches=sample.stretches, complete=complete)
        if len(files) < len(found):
            note = f"Guessed from {len(files):,} of {len(found):,} files: all have more than CHRONOS_IMPORT_JOB_BYTES."
            params = replace(params, notes=(*params.notes, note))
        group.store.delete(DRAFT_KEY)
        params = _with_covariates(group, params, sample)
        return with_guesses(to_document(params), params.notes)
    except InferenceError as error:
        if error.draft is not None:
            group.store.put(DRAFT_KEY, _text(error.draft))
        raise _not_inferred(group, files, odd, error, drafted=error.draft is not None) from error
    except FileProblem as error:
        raise _not_inferred(group, files, odd, error) from error


def _not_inferred(
    group: Group, files: Sequence[TrainFile], odd: Sequence[str], error: Exception, *, drafted: bool = False
) -> StepError:
    """Why there is no `params.json`, and what the user can do."""
    newest = max(files, key=lambda file: (file.last_modified, file.key))
    source = newest.key if len(files) == 1 else f"{len(files)} files, the newest {newest.key}"
    reason = f"there is no {PARAMS_KEY}, and none can be inferred from {source}:\n{error}"
    if odd:
        reason += f" (odd: {'; '.join(odd[:3])})"
    if drafted:
        reason += f"\nOr complete the draft {group.place(DRAFT_KEY)} and save it as {PARAMS_KEY} beside it."
    return StepError(reason)


def _with_covariates(group: Group, params: ForecastParams, train: Sample) -> ForecastParams:
    """The parameters with what files of covariates hold; those that can't be recognized stay undeclared, and a note says so.

    Args:
        group: whose files they are.
        params: of the target.
        train: the sample that they were inferred from.

    Raises:
        InferenceError: the files beside the target's can't be used as they are written.
    """
    from chronos_assets.params.columns import REWRITE, InferenceError
    from chronos_assets.params.covariate_inference import TargetSample, with_metadata, with_related
    from chronos_assets.timeseries.dataset.folder_columns import refuse_folders
    from chronos_assets.timeseries.dataset.sampling import sample_files

    target = TargetSample.of(params, train.header, train.rows)
    for kind in (RELATED_KIND, METADATA_KIND):
        files = files_to_sample(group, covariate_files(group, kind))
        if not files:
            continue
        try:
            sample = sample_files(files, unpacked=group.settings.max_unpacked)
            refuse_folders(files, sample.header)
            declared = (
                with_related(params, sample.header, sample.rows, sample.files, sample.stretches, target=target)
                if kind is RELATED_KIND
                else with_metadata(params, sample.header, sample.rows)
            )
            parse_params(to_document(declared))
            params = declared
        except (InferenceError, FileProblem, ParamsError) as error:
            if isinstance(error, InferenceError) and error.role == REWRITE:
                raise
            reason = str(error).replace("\n", " ")
            params = replace(params, notes=(*params.notes, f"Not used: files of {kind.what}, since {reason}."))
    return params
