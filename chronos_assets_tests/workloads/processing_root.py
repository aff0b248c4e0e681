"""The root of a processing job, laid out as a launcher does it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chronos_assets.container.contract import Workspace


def processing_root(root: Path, parameters: Mapping[str, Any], channels: Mapping[str, Path] | None = None) -> Workspace:
    """A workspace with the parameters, and links to the folders of the channels."""
    workspace = Workspace(root)
    workspace.inputs.mkdir(parents=True, exist_ok=True)
    for name, folder in (channels or {}).items():
        (workspace.inputs / name).symlink_to(folder)
    workspace.parameters_file.parent.mkdir(parents=True)
    workspace.parameters_file.write_text(json.dumps(parameters))
    return workspace
