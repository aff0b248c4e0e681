"""The forecast of one series under other values of what is known in advance, as the endpoint answers it.

Here: pure functions from data frames to a request in the endpoint's schema (`serving.schema`), and from its answer to a data
frame. Elsewhere: who is asked (`source`), what is changed and drawn (`what_if`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.forecast.columns import quantile_level

MEDIAN = 0.5
LONGEST = 12_288  # periods of the past that a request has at most: no member reads more


class UnanswerableError(ChronosAssetsError):
    """The endpoint can't forecast what is asked for; the message says why."""


@dataclass(frozen=True)
class ScenarioQuestion:
    """What is asked about one series, whatever its scenario.

    Attributes:
        item: the series as the endpoint knows it: item and dimensions.
        history: `timestamp` and `value` up to the forecast's first period; missing where nothing was observed.
        past: values of the attributes, with the rows of `history`.
        planned: `timestamp` of the forecast's periods, and what is planned of the attributes known in advance.
        frequency: of the periods.
        middle: the forecast as one number: a quantile's column, or `mean`.
    """

    item: str
    history: pd.DataFrame
    past: pd.DataFrame
    planned: pd.DataFrame
    frequency: str
    middle: str

    def under(self, changed: pd.DataFrame | None = None) -> dict[str, Any]:
        """The request: with what is planned, or with other values in its place."""
        attributes = [name for name in self.planned.columns if name != "timestamp"]
        level = quantile_level(self.middle) or MEDIAN
        series: dict[str, Any] = {
            "item_id": self.item,
            "target": _values(self.history["value"]),
            "start": self.history["timestamp"].iloc[0].isoformat(),
        }
        if len(self.past.columns):
            series["past_covariates"] = {name: _values(self.past[name]) for name in self.past.columns}
        if attributes:
            planned = {name: _values(self.planned[name]) for name in attributes}
            series["future_covariates"] = planned
            if changed is not None:
                series["future_covariates"] = {name: _values(changed[name]) for name in attributes}
                series["baseline_covariates"] = planned
        parameters = {"prediction_length": len(self.planned), "quantile_levels": [level], "freq": self.frequency}
        return {"inputs": [series], "parameters": parameters}

    def read(self, answer: Mapping[str, Any]) -> list[float]:
        """The forecast of each period, out of an answer.

        Raises:
            UnanswerableError: it is about other periods than the published forecast.
        """
        (prediction,) = answer["predictions"]
        first = self.planned["timestamp"].iloc[0]
        if pd.Timestamp(prediction["start"]) != first:
            raise UnanswerableError(
                f"The observations of {self.item} end at {self.history['timestamp'].iloc[-1]}, so the endpoint's forecast "
                f"begins at {prediction['start']}, the published one at {first}: save the scenario to have it forecast."
            )
        level = quantile_level(self.middle)
        return [float(value) for value in prediction["mean" if level is None else repr(level)]]


def question(
    item: str,
    history: pd.DataFrame,
    related: pd.DataFrame,
    planned: pd.DataFrame,
    *,
    reads: Sequence[str],
    ahead: Sequence[str],
    frequency: str,
    middle: str,
) -> ScenarioQuestion:
    """What to ask about a series.

    Args:
        item: see `ScenarioQuestion`.
        history: every observation there is.
        related: `timestamp` and every attribute, of the past and beyond.
        planned: see `ScenarioQuestion`; attributes that aren't read are left out.
        reads: the attributes that the endpoint reads.
        ahead: those of them that it reads of the periods to come, too.
        frequency: see `ScenarioQuestion`.
        middle: see `ScenarioQuestion`.

    Raises:
        UnanswerableError: the series has no past of its own.
    """
    before = history[history["timestamp"] < planned["timestamp"].iloc[0]].tail(LONGEST).reset_index(drop=True)
    if before["value"].notna().sum() == 0:
        raise UnanswerableError(
            f"{item} has no observations of its own, so the endpoint can't forecast it: save the scenario to have it forecast."
        )
    past = related.set_index("timestamp")[list(reads)].reindex(before["timestamp"]).reset_index(drop=True)
    return ScenarioQuestion(item, before, past, planned[["timestamp", *ahead]], frequency, middle)


def _values(column: pd.Series) -> list[float | str | None]:
    """Values as JSON has them: numbers, null where there is none; or texts, empty where there is none."""
    if pd.api.types.is_numeric_dtype(column):
        return [None if not math.isfinite(value) else float(value) for value in column]
    return ["" if pd.isna(value) else str(value) for value in column]
