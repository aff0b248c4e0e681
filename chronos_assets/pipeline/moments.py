"""Moments of manifests and series: ISO text, as NumPy has them, and as Python does."""

from __future__ import annotations

from datetime import datetime
from typing import cast

import numpy as np


def timestamp(text: str) -> np.datetime64:
    """An ISO time as the dataset's timestamps are."""
    return np.datetime64(text, "us")


def as_datetime(moment: np.datetime64) -> datetime:
    """A moment as Python's datetime, without a zone."""
    return cast(datetime, moment.astype("datetime64[us]").item())
