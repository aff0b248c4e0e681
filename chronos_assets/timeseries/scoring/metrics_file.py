"""metrics.parquet: the errors of a partition, by item, by segment and over all series.

Here: its rows. Elsewhere: measuring (`accuracy`), the arithmetic of a metric (`metrics`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.scoring.accuracy import AccuracyReport, measures_beside
from chronos_assets.timeseries.scoring.metrics import ErrorSums, Measure
from chronos_assets.timeseries.scoring.sums import SumScores

if TYPE_CHECKING:
    pass


_SERIES_PER_ROW_GROUP = 4096


def write_metrics(report: AccuracyReport, path: Path, categories: Mapping[str, Mapping[str, str]] | None = None) -> int:
    """Write metrics.parquet, long; the number of rows.

    One row for each metric over `all`, then over each `segment` (the series with one value of a dimension, or whose item has
    one of the `categories`: attribute -> item -> category), then of each `sum`, then for each `item`. Columns: level, item_id
    and dimensions (NULL except for items), segment_by and segment_value (what segments go by, a sum's level and its value; NULL
    elsewhere), metric, value, seasonal_naive (NULL where undefined), baseline (which seasonal naive forecast), points,
    excluded. The same report gives the same bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = ("item_id", *report.dimensions)
    schema = pa.schema(
        [
            ("level", pa.string()),
            *((name, pa.string()) for name in keys),
            ("segment_by", pa.string()),
            ("segment_value", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("seasonal_naive", pa.float64()),
            ("baseline", pa.string()),
            ("points", pa.int64()),
            ("excluded", pa.int64()),
        ]
    )
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for table in _metric_tables(report, keys, categories or {}):
            writer.write_table(pa.table(table, schema=schema))
            rows += len(table["metric"])
    return rows


def _metric_tables(
    report: AccuracyReport, keys: tuple[str, ...], categories: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    """The rows of metrics.parquet, some series at a time."""
    whole, naive = report.forecast.total(), report.seasonal_naive.total()

    def rows(level: str, sums: ErrorSums, naive_sums: ErrorSums, of: Any, **names: Sequence[str]) -> dict[str, Any]:
        """All metrics of one entry of the sums, then of the next.

        of (entries,): series in each entry. names: column -> its value in each entry.
        """
        compared = (measures_beside(sums, whole), measures_beside(naive_sums, naive))
        columns = {**dict.fromkeys((*keys, "segment_by", "segment_value")), **names}
        return _rows(level, *compared, columns, np.atleast_1d(of) * report.horizon, report.baseline.name)

    yield rows("all", whole, naive, len(report.series))
    for name, labels in _segments(report, categories):
        # Series without a label are in no segment.
        labelled = np.array([place for place, label in enumerate(labels) if label is not None], dtype=np.intp)
        if not len(labelled):
            continue
        column = np.array([labels[place] for place in labelled], dtype=object)
        values, groups, sizes = np.unique(column, return_inverse=True, return_counts=True)
        sums, naive_sums = (
            each.take(labelled).grouped(groups, len(values)) for each in (report.forecast, report.seasonal_naive)
        )
        columns = {"segment_by": [name] * len(values), "segment_value": list(values)}
        yield rows("segment", sums, naive_sums, sizes, **columns)
    if report.sums is not None and report.sums.nodes:
        yield _sum_rows(report.sums, report, keys)
    for start in range(0, len(report.series), _SERIES_PER_ROW_GROUP):
        piece = np.arange(start, min(start + _SERIES_PER_ROW_GROUP, len(report.series)))
        names = {name: [report.series[at][place] for at in piece] for place, name in enumerate(keys)}
        ones = np.ones(len(piece), dtype=np.int64)
        yield rows("item", report.forecast.take(piece), report.seasonal_naive.take(piece), ones, **names)


def _sum_rows(sums: SumScores, report: AccuracyReport, keys: Sequence[str]) -> dict[str, Any]:
    """The rows of sums, of which there are some."""
    by, values = zip(*sums.nodes, strict=True)
    names = {**dict.fromkeys(keys), "segment_by": by, "segment_value": values}
    measures = (sums.forecast.measures(), sums.seasonal_naive.measures())
    return _rows("sum", *measures, names, np.full(len(by), report.horizon), report.baseline.name)


def _segments(
    report: AccuracyReport, categories: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, list[str | None]]]:
    """What series are grouped by, and the label of each."""
    for place, dimension in enumerate(report.dimensions, start=1):
        yield dimension, [key[place] for key in report.series]
    for attribute, of_item in categories.items():
        if attribute not in report.dimensions:
            yield attribute, [of_item.get(key[0]) for key in report.series]


def _rows(
    level: str,
    measures: Mapping[str, Measure],
    baselines: Mapping[str, Measure],
    names: Mapping[str, Sequence[str] | None],
    expected: NDArray[np.int64],
    baseline: str,
) -> dict[str, Any]:
    """Columns of metrics.parquet; measures, baselines and expected (points that could have been) have the shape (entries,)."""
    import pyarrow as pa

    metrics = list(measures)
    undefined = np.full(len(expected), np.nan)
    naive = [undefined if name.startswith("coverage_") else baselines[name].value for name in metrics]
    points = _interleaved([measures[name].points for name in metrics])
    return {
        "level": [level] * len(points),
        **{
            name: [None] * len(points) if values is None else np.repeat(np.array(values, dtype=object), len(metrics))
            for name, values in names.items()
        },
        "metric": metrics * len(expected),
        # from_pandas: an undefined value becomes NULL.
        "value": pa.array(_interleaved([measures[name].value for name in metrics]), from_pandas=True),
        "seasonal_naive": pa.array(_interleaved(naive), from_pandas=True),
        "baseline": [baseline] * len(points),
        "points": points,
        "excluded": np.repeat(expected, len(metrics)) - points,
    }


def _interleaved(columns: Sequence[Any]) -> Any:
    """The first value of every column, then the second one of every column, and so on."""
    return np.stack([np.atleast_1d(column) for column in columns], axis=1).ravel()
