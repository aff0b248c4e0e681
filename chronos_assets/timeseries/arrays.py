"""The types of arrays, by what their entries are, and how large a value may be. Shapes stand where an array is described."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

LARGEST = 1e290  # absolute value that can be forecast: leaves room for what a forecast may add
