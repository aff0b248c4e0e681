"""Single series of a published forecast, thousands of times a second: a copy of `forecast.parquet` laid out by series.

Here: the copy, and the search in it. Elsewhere: one question to a file or a table (`query`, whose answers
and errors these are), HTTP (`serving`).

A Parquet file is read in groups of a hundred thousand rows, which is far too much for one series of twenty. The copy is a file
of numbers, (series, horizon, columns), mapped into memory: an answer reads the few hundred bytes that it needs, the system
keeps in memory what is asked for often, and a forecast larger than the memory works too. The keys stay sorted as they are in
the file and are searched by halving. The file has no name, so that nothing of it is left after a kill.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.forecast.columns import forecast_types
from chronos_assets.timeseries.forecast.query import SUGGESTIONS, QueryError, SeriesQuestion, dimensions_text

if TYPE_CHECKING:
    import pyarrow as pa


class DamagedForecastError(ChronosAssetsError):
    """A file that `timeseries.forecast.files` can't have written; the message says what is wrong in it."""


class UnknownSeriesError(QueryError):
    """The forecast has no such series."""


class ForecastLookup:
    """The forecasts of all series of one file, by key.

    Args:
        source: `forecast.parquet`, or a file like it; not needed any more once this is made.
        scratch: folder for the copy, 8 bytes for each value; the system's own without it.
        leave_out: columns that are neither keys nor forecasts.
        suffix: what timestamps end with in answers: Z of those that are UTC.

    Raises:
        DamagedForecastError: the series are not whole, or not in order.
    """

    def __init__(
        self, source: Path, scratch: Path | None = None, leave_out: Collection[str] = (), suffix: str = ""
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(source)
        self.types = forecast_types(schema.names)
        others = {"item_id", *leave_out}
        self.dimensions = tuple(
            field.name for field in schema if pa.types.is_string(field.type) and field.name not in others
        )
        self._source = source
        keys: list[list[pa.Array]] = []
        # Not `read_table`, which would take `as_of=...` in the path for a column.
        with (
            tempfile.TemporaryFile(dir=scratch) as copy,
            pq.ParquetFile(source, read_dictionary=["item_id", *self.dimensions]) as file,
        ):
            periods = np.empty(0, "datetime64[us]")
            columns = ["item_id", *self.dimensions, "timestamp", *self.types]
            rest = None
            for number in range(file.num_row_groups):
                group = file.read_row_group(number, columns)
                if not len(periods):
                    periods = self._first_periods(group)
                # Whoever wrote the file may have ended a group within a series.
                rows = group if rest is None else pa.concat_tables([rest, group])
                whole = rows.num_rows // len(periods) * len(periods)
                keys.append(self._append(rows.slice(0, whole), periods, copy))
                rest = rows.slice(whole)
            if rest is not None and rest.num_rows:
                raise self._damaged("not every series has the same timestamps")
            copy.flush()
            self._keys = [pa.concat_arrays(parts) for parts in zip(*keys, strict=True)] or [
                pa.array([], pa.string()) for _ in ("item_id", *self.dimensions)
            ]
            self._periods = periods
            shape = (len(self._keys[0]), len(periods), len(self.types))
            self._values: Floats = np.memmap(copy, "<f8", "r", shape=shape) if all(shape) else np.empty(shape)
        if not _ascending(self._keys):
            raise self._damaged("its series are not in order, or one comes twice")
        self._stamps = [f"{moment.isoformat()}{suffix}" for moment in periods.tolist()]

    def __len__(self) -> int:
        """How many series there are."""
        return len(self._keys[0])

    def answer(self, question: SeriesQuestion) -> dict[str, Any]:
        """The answer that `query.query_forecast` gives, and its errors."""
        question.check_dimensions(self.dimensions)
        item_id, start, end = question.item_id, question.start, question.end
        number = self._number(item_id, question.dimensions)
        first = 0 if start is None else int(np.searchsorted(self._periods, np.datetime64(start, "us")))
        last = len(self._stamps)
        if end is not None:
            last = int(np.searchsorted(self._periods, np.datetime64(end, "us"), side="right"))
        if first >= last:
            whole = f"{self._periods[0].item()} to {self._periods[-1].item()}"
            raise QueryError(f"item {item_id!r} has no forecast in that time; it has one from {whole}")
        stamps = self._stamps[first:last]
        columns = self._values[number, first:last].T.tolist()
        return {
            "Forecast": {
                "Predictions": {
                    name: [
                        {"Timestamp": stamp, "Value": value if value == value else None}  # noqa: PLR0124 - NaN
                        for stamp, value in zip(stamps, column, strict=True)
                    ]
                    for name, column in zip(self.types, columns, strict=True)
                }
            }
        }

    def _number(self, item_id: str, given: Mapping[str, str]) -> int:
        """The place of the one series that is meant."""
        items = _Texts(self._keys[0])
        first, last = bisect_left(items, item_id), bisect_right(items, item_id)
        if first == last:
            raise self._unknown_item(item_id, first)
        found = np.arange(first, last)
        for name, column in zip(self.dimensions, self._keys[1:], strict=True):
            if name in given:
                import pyarrow.compute as pc

                same = pc.equal(column.slice(first, last - first), given[name])
                found = found[same.to_numpy(zero_copy_only=False)[found - first]]
        if len(found) == 1:
            return int(found[0])
        if len(found):
            raise QueryError(f"item {item_id!r} has several series: {self._listed(found)}; give the dimensions of one")
        raise UnknownSeriesError(
            f"item {item_id!r} has no series with {dimensions_text(given)}; it has {self._listed(np.arange(first, last))}"
        )

    def _unknown_item(self, item_id: str, place: int) -> UnknownSeriesError:
        if not len(self):
            return UnknownSeriesError(f"there is no forecast of item {item_id!r}; the forecast is empty")
        begin = max(0, min(place - SUGGESTIONS // 2, len(self) - SUGGESTIONS))
        near = dict.fromkeys(self._keys[0][begin : begin + SUGGESTIONS].to_pylist())
        return UnknownSeriesError(f"there is no forecast of item {item_id!r}; near it are {', '.join(map(repr, near))}")

    def _listed(self, numbers: NDArray[np.int64]) -> str:
        columns = dict(zip(self.dimensions, self._keys[1:], strict=True))
        shown = [
            dimensions_text({name: column[int(number)].as_py() for name, column in columns.items()})
            for number in numbers[:SUGGESTIONS]
        ]
        return "; ".join(shown) + ("; …" if len(numbers) > SUGGESTIONS else "")

    def _first_periods(self, group: pa.Table) -> NDArray[np.datetime64]:
        """Timestamps of the first series, which are those of all."""
        times = group.column("timestamp").to_numpy()
        later = np.flatnonzero(times[1:] <= times[:-1])
        return np.asarray(times[: later[0] + 1 if len(later) else None])

    def _append(self, group: pa.Table, periods: NDArray[np.datetime64], copy: Any) -> list[pa.Array]:
        """Copy the values of a row group; the keys of its series."""
        shape = (-1, len(periods))
        if (group.column("timestamp").to_numpy().reshape(shape) != periods).any():
            raise self._damaged("not every series has the same timestamps")
        values = np.stack([group.column(name).to_numpy() for name in self.types], axis=1)
        np.ascontiguousarray(values, "<f8").tofile(copy)
        keys = []
        for name in ("item_id", *self.dimensions):
            column = group.column(name).unify_dictionaries().combine_chunks()
            column = column.chunk(0) if hasattr(column, "chunk") else column
            places = column.indices.to_numpy(zero_copy_only=False).reshape(shape)
            if column.null_count or (places != places[:, :1]).any():
                raise self._damaged(f"{name} changes within a series")
            keys.append(column.dictionary.take(places[:, 0]))
        return keys

    def _damaged(self, reason: str) -> DamagedForecastError:
        return DamagedForecastError(f"{self._source} is damaged: {reason}; make the forecast again")


class _Texts(Sequence[str]):
    """A column as `bisect` wants it."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        return self._column[place].as_py()


def _ascending(columns: Sequence[pa.Array]) -> bool:
    """Whether the rows of these columns rise, in the order of code points, which UTF-8 keeps."""
    import pyarrow.compute as pc

    count = max(0, len(columns[0]) - 1)
    equal, below = np.ones(count, bool), np.zeros(count, bool)
    for column in columns:
        one, two = column.slice(0, count), column.slice(1, count)
        below |= equal & pc.less(one, two).to_numpy(zero_copy_only=False)
        equal &= pc.equal(one, two).to_numpy(zero_copy_only=False)
    return bool(below.all())
