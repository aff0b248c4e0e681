"""What a forecast job has its models forecast: the series of a dataset as of each window, and what is known beside them.

Elsewhere: forecasting them (`workloads.forecast`), the files of the results (`forecast_pieces`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chronos_assets.container.contract import WorkloadError
from chronos_assets.models.quantiles import is_non_negative
from chronos_assets.predictors.covariates import CovariateFolders, RelatedCursor
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.forecast_pieces import ForecastTask
from chronos_assets.predictors.forecast_request import ForecastRequest, ForecastWindow
from chronos_assets.predictors.members.base import Covariates
from chronos_assets.predictors.scenario import ScenarioRun
from chronos_assets.timeseries.dataset.filling import context_as_of
from chronos_assets.timeseries.dataset.related import RelatedSeries
from chronos_assets.timeseries.dataset.series_keys import Key, series_name
from chronos_assets.timeseries.dataset.shards import Series, iter_series

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import Forecaster

_MAX_TASKS = 4096
_VALUES_AT_ONCE = 4_000_000  # contexts and forecasts of a chunk; two are held at once: 64 MB


@dataclass(frozen=True)
class WindowTasks:
    """Makes the tasks of a job's windows.

    Attributes:
        request: of the job.
        windows: to forecast.
        forecasters: what forecasts each of them.
        covariates: what there is beside the dataset, if one of them reads it.
        scenario: that changes it, if there is one.
        skip: is told the number of a window, a series without an observation before its as-of, and why it is left out.
    """

    request: ForecastRequest
    windows: Sequence[ForecastWindow]
    forecasters: Sequence[Forecaster | Ensemble]
    covariates: CovariateFolders | None
    scenario: ScenarioRun | None
    skip: Callable[[int, Key, str], None]

    @cached_property
    def _context_length(self) -> int:
        """The longest context that one of the forecasters reads."""
        return max(forecaster.context_length for forecaster in self.forecasters)

    @cached_property
    def _rows_independent(self) -> bool:
        return all(forecaster.rows_independent for forecaster in self.forecasters)

    @cached_property
    def _ordinal_of(self) -> Callable[[np.datetime64], int]:
        return cache(self.request.grid.number_of)

    @cached_property
    def _covariate_reach(self) -> int:
        """Latest periods whose covariates one of the predictors reads."""
        return max((item.covariate_reach for item in self.forecasters if isinstance(item, Ensemble)), default=0)

    def chunks(self, shard: Path) -> Iterator[tuple[list[ForecastTask], int]]:
        """Tasks of the next series of a shard, bounded in number and size, and how many series that were."""
        latest = max(window.ordinal for window in self.windows)
        until = self.request.grid.instant(latest + 1)
        width = self.request.horizon * (2 * len(self.request.levels) + 2)
        if self.covariates is not None:
            width += self.covariates.width * (self._covariate_reach + self.request.horizon)
        rows = max(item.batch_size for item in self.forecasters)
        tasks: list[ForecastTask] = []
        passed, values = 0, 0
        beside = self.covariates.beside(shard.name) if self.covariates is not None else None
        for series in iter_series(shard, self.request.dimensions, until=until):
            found = list(self._tasks(series, beside))
            tasks += found
            passed, values = passed + 1, values + sum(len(task.context) + width for task in found)
            full = len(tasks) >= _MAX_TASKS or (values >= _VALUES_AT_ONCE and len(tasks) >= rows)
            # Where rows depend on others, a chunk ends with the same series whatever the windows.
            if full if self._rows_independent else passed >= 256:
                yield tasks, passed
                tasks, passed, values = [], 0, 0
        yield tasks, passed

    def _tasks(self, series: Series, beside: RelatedCursor | None) -> Iterator[ForecastTask]:
        """The series as of each window in which it had begun."""
        related = beside.of(series.key) if beside is not None else None
        first = self._ordinal_of(series.timestamps[0])
        observed = np.flatnonzero(series.observed)
        lowest = np.minimum.accumulate(series.target[observed])
        fractions = np.cumsum(series.target[observed] % 1 != 0) if self.request.integers else None
        for index, window in enumerate(self.windows):
            cut = window.ordinal - first + 1
            if cut <= 0:
                continue
            if cut > len(series.target) or series.timestamps[cut - 1] != window.context_end:
                raise WorkloadError(
                    f"series {series_name(series.key)} is not regular up to {window.context_end}: "
                    "materialize target_time_series again"
                )
            known = int(np.searchsorted(observed, cut))
            if not known:
                self.skip(index, series.key, "no observation before the as-of")
                continue
            last = int(observed[known - 1])
            covariates = self._known_beside(series.key, related, window, cut)
            changed = self._under_scenario(series.key, covariates, window)
            yield ForecastTask(
                window=index,
                key=series.key,
                context=context_as_of(series, cut, self._context_length, self.request.filling),
                last_timestamp=int(series.timestamps[last].astype("datetime64[us]").astype(np.int64)),
                last_value=float(series.target[last]),
                non_negative=is_non_negative(self.request.non_negative, float(lowest[known - 1])),
                integral=fractions is not None and not fractions[known - 1],
                covariates=changed or covariates,
                baseline=covariates if changed is not None else None,
            )

    def _under_scenario(self, key: Key, covariates: Covariates, window: ForecastWindow) -> Covariates | None:
        if self.scenario is None:
            return None
        starts = self.request.grid.start(window.ordinal + 1 + np.arange(self.request.horizon + 1))
        return self.scenario.apply(key, covariates, starts)

    def _known_beside(self, key: Key, related: RelatedSeries | None, window: ForecastWindow, cut: int) -> Covariates:
        """What is known beside a series as of a window, at the periods that are read."""
        if self.covariates is None:
            return Covariates()
        periods = min(cut, self._covariate_reach)
        return self.covariates.as_of(key, related, window.ordinal, periods, self.request.horizon)
