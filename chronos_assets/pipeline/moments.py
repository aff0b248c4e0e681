"""Moments of manifests and series: ISO text, as NumPy has them, and as Python does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import numpy as np


def timestamp(text: str) -> np.datetime64:
    """An ISO time as the dataset's timestamps are."""
    return np.datetime64(text, "us")


def as_datetime(moment: np.datetime64) -> datetime:
    """A moment as Python's datetime, without a zone."""
    return cast(datetime, moment.astype("datetime64[us]").item())


def moment_of(manifest: Mapping[str, Any], name: str) -> datetime:
    """The time that a manifest has as `name`."""
    return datetime.fromisoformat(manifest[name])
