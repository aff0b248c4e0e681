"""Parameters that were inferred and nobody touched follow the data.

Here: noticing that a `params.json` of our own making is about other files than those that are there, and having it
inferred again. Elsewhere: inferring them (`pipeline.inference`), reading them (`pipeline.state`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inference import inferred_from
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import INFERRED_KEY, PARAMS_KEY

_GUESSED = "Chronos.Guessed"  # how many rows speak for a guess changes with any file


def infer_again(group: Group) -> str:
    """Infer `params.json` again if it was inferred from other files and nobody has touched it; what changed, in words.

    Raises:
        ChronosAssetsError: nothing can be inferred from the files that are there now; what was inferred before stays.
    """
    before = GroupState(group).params_text
    if before is None or not is_outdated(group, before):
        return ""
    group.store.delete(PARAMS_KEY)
    try:
        _ = GroupState(group).written_params
    except BaseException:
        group.store.put(PARAMS_KEY, before)
        raise
    changes = _changes(json.loads(before), json.loads(group.store.get(PARAMS_KEY)))
    if not changes:
        return ""
    return f"{PARAMS_KEY} was inferred from earlier files, and is inferred again from those that are there: {changes}"


def is_outdated(group: Group, text: bytes) -> bool:
    """Whether a `params.json` with this text was inferred from other files than those that are there."""
    source = _source(group, text)
    return source is not None and source != inferred_from(group)


def is_inferred(group: Group) -> bool:
    """Whether the `params.json` that is there was inferred, and nobody has touched it."""
    text = GroupState(group).params_text
    return text is not None and _source(group, text) is not None


def _source(group: Group, text: bytes) -> str | None:
    """Digest of the files that a `params.json` with this text was inferred from; None where it wasn't, or was edited."""
    note = group.read_json(INFERRED_KEY) or {}
    return note.get("train") if note.get("params") == hashlib.sha256(text).hexdigest() else None


def _changes(before: Any, after: Any) -> str:
    """How two JSON documents differ, value by value: `Predictor.ForecastHorizon 10 -> 14`."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return "; ".join(
        f"{name} {json.dumps(old.get(name))} -> {json.dumps(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if name != _GUESSED and old.get(name) != new.get(name)
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value
