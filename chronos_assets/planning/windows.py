"""Partition windows as plain values: the keys, starts and ends of Dagster's time-window partitions, without Dagster.

Here: arithmetic on windows. Elsewhere: the partition definitions (`pipeline/partitions.py`).

Times are naive, in the clock of the data, which Dagster's partitions take for UTC. Keys are those of
`HourlyPartitionsDefinition`, `DailyPartitionsDefinition`, `WeeklyPartitionsDefinition` (weeks start on Sunday) and
`MonthlyPartitionsDefinition`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.settings import Cadence

_KEY_FORMAT: dict[Cadence, str] = {
    "hourly": "%Y-%m-%d-%H:%M",
    "daily": "%Y-%m-%d",
    "weekly": "%Y-%m-%d",
    "monthly": "%Y-%m-%d",
}


@dataclass(frozen=True, order=True)
class Window:
    """A partition's time window, `[start, end)`; its end is the as-of of what is made for it.

    Attributes:
        start: first instant.
        end: first instant after it.
        key: Dagster's partition key.
    """

    start: datetime
    end: datetime
    key: str


class NoWindowError(ChronosAssetsError):
    """No partition is about the data that there are; the message says why and how to fix it."""


@dataclass(frozen=True)
class WindowRange:
    """The partitions that exist: windows of `cadence` within `[start, end)`."""

    cadence: Cadence
    start: datetime
    end: datetime

    def find(self, key: str) -> Window | None:
        """The window of a partition key; None for one that was made with another cadence or start."""
        try:
            window = window_for_key(key, self.cadence)
        except ValueError:
            return None
        return window if self.start <= window.start and window.end <= self.end else None

    def holding(self, moment: datetime) -> Window:
        """The window that holds `moment`, or the last one if that isn't over yet."""
        window = window_of(moment, self.cadence)
        if window.end > self.end:
            window = window_of(self.end, self.cadence)
            if window.end > self.end:
                window = window_of(window.start - timedelta(microseconds=1), self.cadence)
        return window

    def newest(self, first: datetime, last: datetime) -> Window:
        """The window that holds the last observation of data from `first` to `last`.

        Raises:
            NoWindowError: all partitions end before the data, or begin after them.
        """
        window = self.holding(last)
        if window.start < self.start:
            raise NoWindowError(
                f"the last observation, {last:%Y-%m-%d %H:%M}, is before the first partition: set CHRONOS_PARTITION_START "
                f"(now {self.start:%Y-%m-%d}) to a day before {first:%Y-%m-%d}, or start `ui` again, whose windows then "
                "begin with the data"
            )
        if window.end <= first:
            raise NoWindowError(
                f"all observations, from {first:%Y-%m-%d %H:%M} on, are after the last partition, {window.key}: "
                "are their dates right?"
            )
        return window


def window_of(moment: datetime, cadence: Cadence) -> Window:
    """The window that holds `moment` (naive, or aware and then taken in UTC)."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match cadence:
        case "hourly":
            start = midnight.replace(hour=moment.hour)
            end = start + timedelta(hours=1)
        case "daily":
            start = midnight
            end = start + timedelta(days=1)
        case "weekly":
            start = midnight - timedelta(days=moment.isoweekday() % 7)
            end = start + timedelta(days=7)
        case "monthly":
            start = midnight.replace(day=1)
            end = (start + timedelta(days=31)).replace(day=1)
    return Window(start, end, start.strftime(_KEY_FORMAT[cadence]))


def next_window(window: Window, cadence: Cadence) -> Window:
    """The window right after `window`."""
    return window_of(window.end, cadence)


def window_for_key(key: str, cadence: Cadence) -> Window:
    """The window whose partition key is `key`.

    Raises:
        ValueError: no window of this cadence has that key.
    """
    try:
        window = window_of(datetime.strptime(key, _KEY_FORMAT[cadence]), cadence)
    except (ValueError, OverflowError):  # no date, or one whose window ends after the year 9999
        window = None
    if window is None or window.key != key:
        example = window_of(datetime(2026, 1, 4), cadence).key
        raise ValueError(f"{key!r} is not the key of a {cadence} partition; one is {example!r}")
    return window
