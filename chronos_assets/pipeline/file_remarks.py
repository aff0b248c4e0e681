"""What values and names in the train files look like, where `params.json` is the user's own: looked at when they are imported.

Here: looking at a sample, and remembering what it shows for the summary. Elsewhere: what is remarkable
(`params.declared_notes`); of inferred parameters, inference says the same.

It isn't part of the dataset, which is the same wherever an import runs and whatever of the files it reads. Files that haven't
changed are read for this alone, so it is left out where they would have to be fetched: for a store that isn't on this machine,
and where the import is a job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inferred import is_inferred
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.train_files import files_to_sample
from chronos_assets.planning.listing import spread_within
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import FILE_REMARKS_KEY
from chronos_assets.timeseries.dataset.shards import Manifest

# Of the newest files, at most so many, and bytes of all but one.
_FILES, _BYTES, _ROWS = 100, 50_000_000, 8_000


def look_at_files(group: Group, params: ForecastParams, files: Sequence[ObjectInfo]) -> tuple[str, ...]:
    """What to tell the user of values and names in a sample of the train files, where inference has not said it already."""
    from chronos_assets.params.declared_notes import declared_notes
    from chronos_assets.timeseries.dataset.csv_records import FileProblem
    from chronos_assets.timeseries.dataset.sampling import sample_files

    if group.settings.deployment != "local" or is_inferred(group):
        return ()
    newest = sorted(files, key=lambda info: (info.last_modified, info.key))[-_FILES:]
    try:
        looked_at = files_to_sample(group, spread_within(newest, _BYTES))
        sample = sample_files(looked_at, _ROWS, unpacked=group.settings.max_unpacked)
    except (FileProblem, FileNotFoundError):
        return ()  # the import says what is wrong, and which file has gone
    return tuple(declared_notes(params, sample.header, sample.rows, sample.files))


def remember_remarks(group: Group, manifest: Manifest, remarks: Sequence[str]) -> tuple[str, ...]:
    """Keep what a sample of a dataset's files has shown, for `file_remarks`; returns it."""
    if remarks:
        document = {"data_version": manifest.data_version, "remarks": list(remarks)}
        group.store.put(FILE_REMARKS_KEY, json.dumps(document).encode())
    else:
        group.store.delete(FILE_REMARKS_KEY)
    return tuple(remarks)


def file_remarks(state: GroupState) -> tuple[str, ...]:
    """What a sample of the files of the dataset that is there has shown."""
    kept = state.group.read_json(FILE_REMARKS_KEY) or {}
    known = state.manifest is not None and kept.get("data_version") == state.manifest.data_version
    return tuple(kept["remarks"]) if known else ()
