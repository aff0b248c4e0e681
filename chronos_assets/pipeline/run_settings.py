"""What `chronos-assets run` remembers in the store, so that the UI's sensors do likewise.

Here: one small JSON document, read and written. What a dataset needs is in `params.json`; where it runs, in variables.
"""

from __future__ import annotations

import json

from chronos_assets.pipeline.group import Group
from chronos_assets.store_layout import RUN_SETTINGS_KEY

_TRAINING = "training"


def training_is_on(group: Group) -> bool:
    """Whether trainings that are due are run: not after `run --no-training`, until a `run` without it.

    A document that can't be read counts as none: it only saves work.
    """
    return (group.read_json(RUN_SETTINGS_KEY) or {}).get(_TRAINING) is not False


def remember_training(group: Group, on: bool) -> None:
    """Keep for the UI whether the last `run` was to train."""
    if training_is_on(group) != on:
        group.store.put(RUN_SETTINGS_KEY, json.dumps({_TRAINING: on}).encode())
