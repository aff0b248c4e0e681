"""What an import reports to its user: of each file, and in sentences.

Counting belongs to `gridding` and `summaries`, the order of the work to `importing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.calendar.rhythm import shown_moment
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.folder_columns import folder_hint, folder_notes
from chronos_assets.timeseries.dataset.gridding import NOTHING, CellCounts
from chronos_assets.timeseries.dataset.placing import clock_notes
from chronos_assets.timeseries.dataset.strays import far_before
from chronos_assets.timeseries.dataset.summaries import Summary, long_horizon
from chronos_assets.timeseries.dataset.train_files import FileContents, schema_of
from chronos_assets.timeseries.dataset.unfinished import Extents
from chronos_assets.wording import counted

# Files, and pairs of them, that are named one by one.
_FEW = 5
# Gaps between periods with rows that show how often they come.
_LEAST_GAPS = 3


@dataclass(frozen=True)
class FileReport:
    """What was found in one file. replaced: its rows left out for those of newer files, by the newer file's key."""

    contents: FileContents
    replaced: dict[str, int]

    @property
    def key(self) -> str:
        """The file's key."""
        return self.contents.key


def with_replaced(files: Sequence[FileContents], duplicates: Counter[tuple[int, int]]) -> tuple[FileReport, ...]:
    """Reports of the files; the ranks in `duplicates` (lost, won) are positions in `files`."""
    pairs = sorted(duplicates.items())
    return tuple(
        FileReport(file, {files[won].key: count for (lost, won), count in pairs if lost == rank})
        for rank, file in enumerate(files)
    )


def import_notes(
    params: ForecastParams, files: Sequence[FileReport], counts: CellCounts, summary: Summary, rejected: int
) -> Iterator[str]:
    """What a user should know, one sentence each."""
    yield from params.guesses
    yield from clock_notes(params)
    for file in files:
        yield from (f"{file.key}: {note}" for note in file.contents.notes)
    yield from _ignored_notes(files)
    yield from _replaced_notes(files)
    if not any(folder_hint(file.key, key) for file in files for key in file.replaced):
        yield from folder_notes([file.contents for file in files], schema_of(params).names)
    yield from long_horizon(summary, params.horizon)
    if rejected:
        yield f"bad rows set aside in rejected/: {rejected}"
    if counts.aggregated:
        yield f"rows that joined another of the same period ({params.aggregation}): {counts.aggregated}"
        if (others := schema_of(params).others) and len(files) > 1:
            names = ", ".join(others)
            yield (
                f"rows of several files with one series and timestamp are among them if they differ in {names}: leave it out "
                "of the Schema if the row of a newer file is to replace that of an older one"
            )
    if counts.unfinished:
        yield f"rows of periods that they don't fill, left out: {counts.unfinished}"
    if counts.repeated:
        yield (
            f"rows of an hour that clocks in {params.time_zone} show twice, of which the mean is taken: {counts.repeated}"
        )
    if counts.missing:
        yield f"rows without a value, which count as not observed: {counts.missing}"
    empty = int(np.count_nonzero(summary.lasts == NOTHING))
    if empty:
        yield f"series without any observed value: {empty} of {summary.series}"
    early = int(np.count_nonzero(summary.lasts < summary.last - params.horizon))
    if early > empty:
        end = params.grid.iso(summary.last)
        named = [
            f"{key} on {shown_moment(params.grid.instant(last))}"
            for last, key in summary.earliest
            if last < summary.last - params.horizon
        ]
        more = early - empty - len(named)
        yield (
            f"{early} of {summary.series} series end more than a forecast horizon before the last observation of the "
            f"dataset ({end}, series {summary.last_key}): {', '.join(named)}{f' and {more} more' if more else ''}"
            f"{'; if that timestamp is wrong, fix it' if 2 * early > summary.series else ''}"
        )


def _ignored_notes(files: Sequence[FileReport]) -> Iterator[str]:
    """Columns that were left out, a line for each file or for many that lack the same."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        alike.setdefault(file.contents.ignored, []).append(file.key)
    for ignored, keys in alike.items():
        what = f"columns that the schema does not have were ignored: {', '.join(ignored)}"
        if ignored and len(keys) > _FEW:
            yield f"{what} (in {len(keys):,} files, such as {keys[-1]})"
        elif ignored:
            yield from (f"{key}: {what}" for key in keys)


def _replaced_notes(files: Sequence[FileReport]) -> Iterator[str]:
    """Rows that gave way to newer files', the most first where there are many."""
    pairs = [(count, file.key, winner) for file in files for winner, count in file.replaced.items()]
    shown = pairs if len(pairs) <= 2 * _FEW else sorted(pairs, key=lambda pair: -pair[0])[:_FEW]
    for count, loser, winner in shown:
        yield f"{counted(count, 'row')} of {loser} gave way to {winner}, which is newer{folder_hint(loser, winner)}"
    if rest := sum(count for count, *_ in pairs) - sum(count for count, *_ in shown):
        yield f"{counted(rest, 'more row')} of {len({loser for _, loser, _ in pairs}):,} files gave way to newer ones"


def sparse_notes(params: ForecastParams, periods: Extents) -> Iterator[str]:
    """What to tell the user of rows that come less often than periods, where `params.json` says otherwise."""
    gaps = np.diff(periods.ordinals)
    if params.guesses or len(gaps) < _LEAST_GAPS or (every := round(float(np.median(gaps)))) < 2:
        return
    yield (
        f"of the periods of {params.frequency} about one in {every} has a row, of any series; "
        "if rows come less often, choose a coarser ForecastFrequency and DataFrequency"
    )


def early_notes(grid: Grid, periods: Extents, summary: Summary) -> Iterator[str]:
    """What to tell the user of rows that lie far before everything else, and stay."""
    begin = far_before(periods)
    if begin is not None:
        rows = counted(int(periods.rows[periods.ordinals < begin].sum()), "row")
        yield (
            f"{rows} far before all others, from {grid.iso(summary.first)} on (series {summary.first_key}), where the "
            f"others begin at {grid.iso(begin)}: fix the timestamp, if it is wrong"
        )


def stray_notes(grid: Grid, periods: Extents, strays: Sequence[int], summary: Summary) -> Iterator[str]:
    """What was left out because it lies far ahead of everything else."""
    rows = counted(int(periods.rows[np.isin(periods.ordinals, strays)].sum()), "row")
    before = int(periods.ordinals[periods.ordinals < strays[0]].max())
    yield (
        f"{rows} far ahead of all others left out, from {grid.iso(strays[0])} on (series {summary.last_key}), where the "
        f"others end at {grid.iso(before)}: fix the timestamp, if it is wrong"
    )


def unfinished_notes(grid: Grid, periods: Extents, dropped: Sequence[int], counts: CellCounts) -> Iterator[str]:
    """What was left out because rows don't fill it, one sentence each."""
    for ordinal in dropped:
        place = int(np.searchsorted(periods.ordinals, ordinal))
        start, end = grid.start(np.array([ordinal, ordinal + 1]))
        first = start + np.timedelta64(int(periods.head[place]), "us")
        last = end - np.timedelta64(int(periods.tail[place]), "us")
        if place:
            yield (
                f"the last period, {shown_moment(start)}, is left out: its rows end at {shown_moment(last)}, before the period "
                f"does at {shown_moment(end)}"
            )
        else:
            yield f"the first period, {shown_moment(start)}, is left out: its rows begin at {shown_moment(first)}"
    if counts.cut:
        yield (
            f"series whose own rows end, or begin, within a period that others may fill: {counts.cut}; the period is "
            "left out of them"
        )
    yield from counts.thin.notes(grid)
