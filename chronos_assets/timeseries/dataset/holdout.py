"""Which periods of a dataset training may see, and which are held out to validate and to test.

Here belongs the arithmetic on period numbers alone. Reading series is in `shards`, errors in `metrics`; who trains and
who evaluates asks here, so that no test window was ever trained on.

Windows of `horizon` periods are laid end to end, counted back from the dataset's last period, the same for all series:

```
first ... training_end | validation 1 | ... | validation V | test 1 | ... | test T
                                                                                 last
```

A window is named by its *origin*: the number of the last period that a forecast of it may read. The first validation
window's origin is therefore `training_end` itself. Later windows read earlier ones as context, as a forecast would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.arrays import Floats


class HoldoutError(ChronosAssetsError, ValueError):
    """The dataset is too short for the windows asked for; the message says how many periods are needed."""


@dataclass(frozen=True)
class Holdout:
    """The split of a dataset's periods, by their numbers on its grid.

    Attributes:
        first, last: the dataset's first and last period.
        horizon: periods in a window.
        training_end: the last period that training may see.
        validation, test: origins of the windows, ascending; a window holds the periods origin + 1 to origin + horizon.
    """

    first: int
    last: int
    horizon: int
    training_end: int
    validation: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def validation_end(self) -> int:
        """The last period of the validation windows: the last that choosing among checkpoints has seen."""
        return self.training_end + self.horizon * len(self.validation)

    def to_document(self, grid: Grid) -> dict[str, Any]:
        """The split as JSON values: the start of each period, ISO, for reports."""
        return {
            "horizon": self.horizon,
            "training_end": grid.iso(self.training_end),
            "validation_origins": [grid.iso(origin) for origin in self.validation],
            "validation_end": grid.iso(self.validation_end),
            "test_origins": [grid.iso(origin) for origin in self.test],
            "test_end": grid.iso(self.validation_end + self.horizon * len(self.test)),
        }


def plan_holdout(
    first: int,
    last: int,
    horizon: int,
    *,
    validation_windows: int = 2,
    test_windows: int = 2,
    training_periods: int = 1,
) -> Holdout:
    """Split the periods `first` to `last` (both included) of a dataset's grid.

    Args:
        first: `grid.ordinal` of the manifest's first timestamp.
        last: `grid.ordinal` of the manifest's last timestamp.
        horizon: periods in a window: the user's forecast horizon.
        validation_windows: how many; 0 leaves the part out.
        test_windows: how many; 0 leaves the part out.
        training_periods: how many periods have to be left before the windows.

    Raises:
        HoldoutError: fewer than `training_periods` would be left.
        ValueError: a number is impossible.
    """
    wanted = (
        ("horizon", horizon, 1),
        ("training_periods", training_periods, 1),
        ("validation_windows", validation_windows, 0),
        ("test_windows", test_windows, 0),
    )
    for name, value, least in wanted:
        if value < least:
            raise ValueError(f"{name} is {value}: it must be {least} or more")
    test_start = last - horizon * test_windows
    training_end = test_start - horizon * validation_windows
    left, there = training_end - first + 1, last - first + 1
    if left < training_periods:
        needed = there - left + training_periods
        raise HoldoutError(
            f"the series have {there} periods, and {needed} are needed: {training_periods} to train on, then "
            f"{validation_windows} validation and {test_windows} test windows of {horizon} periods; add older train "
            "files, or ask for fewer windows or a shorter horizon"
        )
    return Holdout(
        first=first,
        last=last,
        horizon=horizon,
        training_end=training_end,
        validation=tuple(range(training_end, test_start, horizon)),
        test=tuple(range(test_start, last, horizon)),
    )


def periods_known(first: int, origin: int) -> int:
    """How many periods of a series that starts at period `first` lie at or before `origin`; 0 if it starts later."""
    return max(0, origin - first + 1)


def window_actuals(target: Floats, filled: NDArray[np.bool_], first: int, origin: int, horizon: int) -> Floats:
    """What was observed in a window: (horizon,) float64, NaN where nothing was (filled values are not observations).

    Args:
        target: values of a series (n,), as `shards.Series` has them.
        filled: whether each value was filled (n,).
        first: period of the series' first value.
        origin: of the window.
        horizon: of the window; periods that the series does not have are NaN.
    """
    actuals = np.full(horizon, np.nan)
    start = origin + 1 - first
    places = np.arange(start, start + horizon)
    there = (places >= 0) & (places < len(target))
    chosen = places[there]
    actuals[there] = np.where(filled[chosen] | ~np.isfinite(target[chosen]), np.nan, target[chosen])
    return actuals
