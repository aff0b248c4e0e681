"""Time zones: which one a set of offsets belongs to, where clocks are put back, what time it is there.

Here: everything that asks the IANA database more than the offset of one instant. The rule for reading and writing
timestamps with offsets is in `timestamp_format`.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, pairwise
from zoneinfo import ZoneInfo

# Tried first, so that the usual name of a zone is found: its rules are shared by others.
_USUAL = (
    "Europe/London", "Europe/Berlin", "Europe/Helsinki", "Europe/Istanbul", "Europe/Moscow", "Asia/Dubai", "Asia/Karachi",
    "Asia/Kolkata", "Asia/Dhaka", "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "Australia/Brisbane",
    "Australia/Adelaide", "Pacific/Auckland", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "America/Santiago",
    "America/New_York", "America/Halifax", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles",
    "America/Anchorage", "Pacific/Honolulu", "Africa/Lagos", "Africa/Johannesburg", "Africa/Nairobi",
)  # fmt: skip
# Instants that are compared: enough for the rules of many years.
_COMPARED = 400
# Years in which a zone is asked for changes of its clock.
_FIRST_YEAR, _LAST_YEAR = 2000, 2037
_SUNDAY = 6  # on which clocks are put back in all of the usual zones that do so


def find_time_zone(instants: Sequence[tuple[datetime, timedelta]]) -> str | None:
    """A zone whose clock has just these offsets, None if there is none.

    Args:
        instants: times in UTC (naive) and the offset that local time had then.
    """
    ordered = sorted(set(instants))
    around = [pair for pair in pairwise(ordered) if pair[0][1] != pair[1][1]]
    spread = ordered[:: max(1, len(ordered) // _COMPARED)]
    probes = [(moment.replace(tzinfo=UTC), offset) for moment, offset in (*spread, *chain(*around), ordered[-1])]
    for name in _names():
        zone = ZoneInfo(name)
        if all(moment.astimezone(zone).utcoffset() == offset for moment, offset in probes):
            return name
    return None


def zone_of_midnights(instants: Iterable[datetime]) -> str | None:
    """A usual zone on whose clock all of these times in UTC (naive) are midnight, in summer and in winter; None without one.

    Times that are always the same say nothing: 15:00 in UTC may be what is meant.
    """
    distinct = set(instants)
    if len({moment.time() for moment in distinct}) != 2:
        return None
    known = zoneinfo.available_timezones()
    for name in _USUAL:
        zone = ZoneInfo(name) if name in known else UTC
        there = (moment.replace(tzinfo=UTC).astimezone(zone) for moment in distinct)
        if all(moment.time() == time() for moment in there):
            return name
    return None


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    """Zones by place, the usual ones first; those without a place (Etc/GMT-3) last."""
    known = zoneinfo.available_timezones()
    places = sorted(name for name in known if "/" in name and not name.startswith(("Etc/", "posix/", "right/")))
    others = sorted(name for name in known if name.startswith("Etc/"))
    return tuple(dict.fromkeys([*(name for name in _USUAL if name in known), *places, *others]))


def local_now(time_zone: str | None, now: datetime | None = None) -> datetime:
    """The time on the clock of a zone (UTC when None), naive.

    Args:
        time_zone: IANA name.
        now: an aware time, the present one when None.
    """
    moment = datetime.now(UTC) if now is None else now
    return moment.astimezone(UTC if time_zone is None else ZoneInfo(time_zone)).replace(tzinfo=None)


@lru_cache(maxsize=64)
def changes_clock(time_zone: str) -> bool:
    """Whether a zone puts its clock forward and back."""
    return next(_folds(time_zone), None) is not None


@lru_cache(maxsize=64)
def repeated_hours(time_zone: str) -> tuple[tuple[datetime, datetime], ...]:
    """The spans of clock time, `[start, end)`, that a zone has twice because its clock was put back."""
    return tuple(_folds(time_zone))


def zones_that_repeat(moments: Sequence[datetime]) -> list[str]:
    """Of the usual zones, those on whose clock all of these times occur twice; none where any is not on a Sunday."""
    if not moments or any(moment.weekday() != _SUNDAY for moment in moments):
        return []
    known = zoneinfo.available_timezones()
    return [
        name
        for name in _USUAL
        if name in known
        and all(any(start <= moment < end for start, end in repeated_hours(name)) for moment in moments)
    ]


def _folds(time_zone: str) -> Iterator[tuple[datetime, datetime]]:
    zone = ZoneInfo(time_zone)
    day = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    while day.year <= _LAST_YEAR:
        following = day + timedelta(days=1)
        before, after = _offset(day, zone), _offset(following, zone)
        if after < before:
            change = _change(day, following, zone)
            yield (change + after).replace(tzinfo=None), (change + before).replace(tzinfo=None)
        day = following


def _change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The instant between two, to the minute, at which the offset changes."""
    before = _offset(low, zone)
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high.replace(second=0, microsecond=0) + (timedelta(minutes=1) if high.second >= 30 else timedelta(0))


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - of an aware time
    return offset
