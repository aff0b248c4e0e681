"""The endpoint's periods are those of an import: a series that both see goes on at the same moment."""

import json
from datetime import datetime

import numpy as np
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chronos_assets.calendar.alignment import fit_alignment
from chronos_assets.calendar.frequencies import MAX_MULTIPLE, Frequency, Grid, Unit
from chronos_assets.calendar.periods import period
from chronos_assets.serving.answers import render
from chronos_assets.serving.requests import parse
from chronos_assets.serving.schema import JSON, Prediction, Schema

SCHEMA = Schema("model v1", (0.1, 0.9), joint=False)
FREQUENCIES = [Frequency(n, unit) for unit in Unit for n in range(1, MAX_MULTIPLE[unit] + 1)]


def answered_start(start: datetime, frequency: Frequency, count: int) -> datetime:
    """Where the endpoint's forecast of `count` values from `start` on begins."""
    document = {
        "inputs": [{"target": [float(number) for number in range(count)], "start": start.isoformat()}],
        "parameters": {"prediction_length": 2, "quantile_levels": [0.5], "freq": str(frequency)},
    }
    calls = parse(json.dumps(document).encode(), JSON, SCHEMA)
    answer = json.loads(render(calls, [[Prediction(np.zeros(2), np.zeros((2, 1)))]], JSON))
    return datetime.fromisoformat(answer["predictions"][0]["start"])


@given(
    st.sampled_from(FREQUENCIES),
    st.datetimes(datetime(1980, 1, 1), datetime(2030, 1, 1)),
    st.integers(12, 40),
)
@example(Frequency(2, Unit.WEEK), datetime(2023, 1, 9), 40)
@example(Frequency(8, Unit.HOUR), datetime(2024, 1, 1, 6), 12)
@example(Frequency(3, Unit.MONTH), datetime(2019, 3, 31), 20)
@example(Frequency(3, Unit.MONTH), datetime(2019, 2, 1), 20)
@example(Frequency(1, Unit.MONTH), datetime(2019, 1, 29), 20)
@example(Frequency(1, Unit.YEAR), datetime(2020, 6, 30), 12)
def test_a_series_goes_on_where_an_import_of_it_does(frequency: Frequency, start: datetime, count: int) -> None:
    start = start.replace(second=0, microsecond=0)
    if frequency.unit in {Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR}:
        start = start.replace(minute=0)
    rows = np.array([period(start, frequency, number) for number in range(count)], "datetime64[us]")
    fit = fit_alignment(frequency, rows)
    assume(fit is not None)
    assert fit is not None
    grid = Grid(frequency, fit.alignment)
    following = grid.start(grid.ordinal(rows[-1:]) + 1)[0].astype("datetime64[s]").item()
    assert answered_start(start, frequency, count) == following
