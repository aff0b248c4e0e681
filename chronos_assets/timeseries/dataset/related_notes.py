"""What an import of related time series tells the user, in sentences.

Here: the words. Elsewhere: what is counted (`related_importing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shards import Manifest

_NAMED = 3  # series in a sentence


def related_notes(
    made: RelatedManifest,
    dataset: Manifest,
    files: Sequence[str],
    *,
    uncovered: Sequence[Key],
    strange: Sequence[Key],
    strays: Mapping[str, tuple[int, int]],
    sparse: Mapping[str, float],
) -> Iterator[str]:
    """What a user should know, one sentence each.

    Args:
        made: what was imported.
        dataset: that it is beside.
        files: what is to be said of the files.
        uncovered: series of the dataset without related time series.
        strange: series that the dataset doesn't have.
        strays: attributes that lie beyond the target's end for too few series: for how many, and of how many.
        sparse: attributes that most periods have no value of: the share of those that have one.
    """
    yield from files
    if made.rejected:
        yield f"bad rows of covariates set aside: {sum(made.rejected.values()):,}"
    if uncovered:
        part = f"{len(uncovered):,} of {dataset.series:,}"
        yield f"series of the dataset without related time series: {part} ({_named(uncovered)})"
    if uncovered and strange:  # whose names may be the others', spelled otherwise
        yield f"related time series of series that the dataset doesn't have: {len(strange):,} ({_named(strange)})"
    for name, count in made.items_without_future.items():
        yield (
            f"{name} is known in advance, but ends before the horizon for {count:,} series: supply it, or set its futurefill"
        )
    for name in made.constant:
        yield f"{name} has the same value everywhere: it explains nothing"
    for name in made.empty:
        yield f"{name} has no value at all"
    for name, (ahead, series) in strays.items():
        yield (
            f"{name} reaches beyond the target's end for {ahead:,} of {series:,} series only, so it is not taken to be known "
            "in advance: Chronos.KnownInAdvance would say otherwise"
        )
    for name, share in sparse.items():
        yield (
            f"{name} has a value in {share:.0%} of the periods from the first to the last of each series; nothing is known of "
            "the others: repeat it in each period that it holds for, or set its middlefill"
        )


def _named(keys: Sequence[Key]) -> str:
    """The first of some series, in quotes, which show blanks around a name."""
    return ", ".join([*(repr(" / ".join(key)) for key in keys[:_NAMED]), *["…"] * (len(keys) > _NAMED)])
