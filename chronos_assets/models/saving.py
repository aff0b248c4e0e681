"""Checkpoints on disk, each file replaced at once: who reads a folder sees whole files, old or new."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def take_saved(staging: Path, folder: Path, names: Sequence[str]) -> list[str]:
    """Move the files of these names from where a library saved them, and remove the rest; those that there were."""
    written = [name for name in names if (staging / name).exists()]
    for name in written:
        # safetensors makes its files private; whoever runs the package, or serves a model, must be able to read it.
        (staging / name).chmod(0o644)
        os.replace(staging / name, folder / name)
    for left in staging.iterdir():
        left.unlink()
    staging.rmdir()
    return written
