"""What a listing of `train/` says: which objects are data, and one digest that changes whenever their set does.

Here: pure functions of listings, in memory that doesn't grow with them. Elsewhere: when to act on a
change (`planning/imports.py`), or how to list (`platforms`).

The digest is the sum, modulo 2^256, of one hash per `key:etag`. A sum doesn't depend on the order of a listing, needs
32 bytes for any number of objects, can be carried on from page to page and from tick to tick, and lets a few changes
be checked against it: old + added - removed must be new. (Clarke et al., "Incremental Multiset Hash Functions",
ASIACRYPT 2003, MSet-Add-Hash. It tells accidents apart, not attacks: whoever writes to `train/` needs no collision.)
Modification times take no part: an object that arrives with a time in the past, or in the future, changes the set like
any other. They only choose which objects are remembered by name.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import TRAIN_KEY

TRAIN_PREFIX = f"{TRAIN_KEY}/"
TRAIN_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".parq", ".pqt")

MAX_RECENT = 256  # objects remembered by name
MAX_RECENT_BYTES = 16_384  # and the bytes of their JSON
MAX_EXAMPLES = 3

_TEMPORARY = re.compile(
    r"~$|^~\$|^\.~|^#.*#$|#\d+$|\.(tmp|temp|part|partial|crdownload|download|filepart|swp|swo|swx|bak)$", re.IGNORECASE
)
# Covariates beside the target in `train/`, as the pipelines of SO0123 have them.
_OTHER_KIND = re.compile(r"[^/]\.(related|metadata)(\.csv|\.csv\.gz|\.parquet|\.parq|\.pqt)$", re.IGNORECASE)
_KINDS = {"related": "related time series", "metadata": "item metadata"}
_PAPERS = frozenset({"readme", "license", "licence", "notice", "changelog", "makefile", "todo"})
_MODULUS = 1 << 256
_LOWEST = (-(1 << 63), "")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
CLOCKS_DIFFER = timedelta(minutes=10)  # between this machine and the one that dates files, without any being wrong
_NO_TIME = datetime.min.replace(tzinfo=UTC)


def why_ignored(info: ObjectInfo, prefix: str = TRAIN_PREFIX) -> str | None:
    """Why an object below `prefix` is no data to import, or None if it is.

    Data has a name that ends in one of `TRAIN_SUFFIXES` (in any case) or has no ending at all (`part-0000`, as the service
    read it) and isn't what people write for each other (`README`), at any depth, and is not empty, hidden (a part that
    starts with `.` or `_`, as `_SUCCESS`) or another program's temporary file.
    """
    name = info.key.removeprefix(prefix)
    if not name or name.endswith("/"):
        return "folder marker"
    parts = name.split("/")
    if _TEMPORARY.search(parts[-1]):
        return "temporary"
    if any(part.startswith((".", "_")) for part in parts):
        return "hidden"
    if prefix == TRAIN_PREFIX and (kind := kind_by_name(info.key)) is not None:
        return f"{kind} by its name"
    if parts[-1].casefold() in _PAPERS:
        return "neither CSV nor Parquet by its name"
    if "." in parts[-1] and not parts[-1].lower().endswith(TRAIN_SUFFIXES):
        return "neither CSV nor Parquet by its name"
    return "empty" if info.size == 0 else None


def is_train_file(info: ObjectInfo) -> bool:
    """Whether an object below `train/` is data to import: the one rule for sensor and import."""
    return why_ignored(info) is None


def spread_within(files: Sequence[ObjectInfo], most: int | None) -> list[ObjectInfo]:
    """Files of no more than `most` bytes in all (None: all): the newest, however large it is, and others evenly over time."""
    ordered = sorted(files, key=lambda info: (info.last_modified, info.key), reverse=True)
    for step in range(1, len(ordered) + 1):
        chosen = ordered[::step]
        if most is None or len(chosen) == 1 or sum(info.size for info in chosen) <= most:
            return chosen
    return []


def trusted_times(files: Sequence[ObjectInfo], now: datetime) -> tuple[list[ObjectInfo], list[str]]:
    """The files, those that are dated in the future as older than all others; and what to tell the user of these.

    Of two rows for the same period that of the newer file counts. A file from a machine whose clock is ahead would win over
    every correction until that time has come.
    """
    ahead = {info.key for info in files if info.last_modified > now + CLOCKS_DIFFER}
    trusted = [replace(info, last_modified=_NO_TIME) if info.key in ahead else info for info in files]
    return trusted, [
        f"{info.key} is dated {info.last_modified:%Y-%m-%d %H:%M}, in the future: where another file has a row for the same "
        "period, that row counts; set the file's time right if it is the newer one"
        for info in files
        if info.key in ahead
    ]


def kind_by_name(key: str) -> str | None:
    """What a file below `train/` holds that is no target: `<group>.related.csv`, `<group>.metadata.csv`; else None."""
    match = _OTHER_KIND.search(key)
    return None if match is None else _KINDS[match[1].lower()]


def is_covariate_file(info: ObjectInfo, folder: str, kind: str) -> bool:
    """Whether an object is data of a kind ("related time series", "item metadata"): below its folder, or by its name."""
    if info.key.startswith(f"{folder}/"):
        return why_ignored(info, f"{folder}/") is None
    return kind_by_name(info.key) == kind and why_ignored(info) == f"{kind} by its name" and info.size > 0


def listing_digest(files: Iterable[ObjectInfo]) -> str:
    """Digest of the set of train files in a listing, in any order; what is no data doesn't count."""
    return files_digest(info for info in files if is_train_file(info))


def files_digest(files: Iterable[ObjectInfo]) -> str:
    """Digest of a set of files, in any order."""
    total = count = 0
    for info in files:
        total += _hash(info.key, info.etag)
        count += 1
    return _content(total, count)


def _hash(key: str, etag: str) -> int:
    # No key and no etag holds a NUL, so that no two pairs give the same bytes.
    return int.from_bytes(hashlib.blake2b(f"{key}\0{etag}".encode(), digest_size=32).digest(), "big")


def _content(total: int, count: int) -> str:
    return hashlib.blake2b(f"{total % _MODULUS:x} {count}".encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """A whole listing in bounded size.

    Attributes:
        total: sum of the objects' hashes.
        files: number of train files.
        size: their bytes.
        high: highest modification time seen, microseconds since 1970 UTC; None without files.
        recent: key -> (modification time, etag) of the objects modified no longer than the overlap before `high`, the
            newest of them if they are many.
        floor: every object at or above this (modification time, key) is in `recent`.
        ignored: reason -> number of objects that are no data.
        examples: reason -> a few of their keys.
    """

    total: int = 0
    files: int = 0
    size: int = 0
    high: int | None = None
    recent: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    floor: tuple[int, str] = _LOWEST
    ignored: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What `listing_digest` gives for the same listing."""
        return _content(self.total, self.files)

    @property
    def newest(self) -> str | None:
        """Key of the object modified last."""
        return max(self.recent, key=lambda key: (self.recent[key][0], key), default=None)


@dataclass(frozen=True, kw_only=True)
class ScanState(Snapshot):
    """A scan to continue later: it has seen so many `objects`, the last of them with the key `after`."""

    after: str | None
    objects: int


class Scan:
    """Folds a listing into a `Snapshot`, in memory bounded by `MAX_RECENT` objects; can continue in a later tick.

    Args:
        overlap: how far below the highest modification time objects are remembered by name.
        state: what `state` gave, to continue where that scan stopped.
    """

    def __init__(self, overlap: timedelta, state: ScanState | None = None) -> None:
        start = state or ScanState(after=None, objects=0)
        self._overlap = overlap // _MICROSECOND
        self._total, self._files, self._size, self._high = start.total, start.files, start.size, start.high
        self._floor = start.floor
        self._recent = [(modified, key, etag) for key, (modified, etag) in start.recent.items()]
        heapq.heapify(self._recent)
        self._ignored = dict(start.ignored)
        self._examples = {reason: list(keys) for reason, keys in start.examples.items()}
        self.after, self.objects = start.after, start.objects
        self.ascending = True

    def add(self, info: ObjectInfo) -> None:
        """Take one object of the listing."""
        if self.after is not None and info.key <= self.after:
            self.ascending = False
        self.after = info.key
        self.objects += 1
        reason = why_ignored(info)
        if reason is not None:
            self._ignore(info.key, reason)
            return
        self._total = (self._total + _hash(info.key, info.etag)) % _MODULUS
        self._files += 1
        self._size += info.size
        modified = (info.last_modified - _EPOCH) // _MICROSECOND
        if self._high is None or modified > self._high:
            self._high = modified
        self._remember(modified, info.key, info.etag)

    def _ignore(self, key: str, reason: str) -> None:
        self._ignored[reason] = self._ignored.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(_short(key))

    def _remember(self, modified: int, key: str, etag: str) -> None:
        assert self._high is not None  # noqa: S101 - set by the caller
        if modified < self._high - self._overlap or (modified, key) < self._floor:
            return
        heapq.heappush(self._recent, (modified, key, etag))
        while self._recent[0][0] < self._high - self._overlap:
            heapq.heappop(self._recent)
        if len(self._recent) > MAX_RECENT:
            self._raise_floor(heapq.heappop(self._recent))

    def _raise_floor(self, dropped: tuple[int, str, str]) -> None:
        """What was dropped for lack of room, and all that is older, is no longer known by name."""
        modified, key, _ = dropped
        self._floor = max(self._floor, (modified, key + "\0"))

    def finish(self) -> Snapshot:
        """The snapshot of all objects taken."""
        room = MAX_RECENT_BYTES
        recent: dict[str, tuple[int, str]] = {}
        floor = self._floor if self._high is None else max(self._floor, (self._high - self._overlap, ""))
        for modified, key, etag in sorted(self._recent, reverse=True):
            room -= len(json.dumps({key: [modified, etag]}))
            if room < 0:
                floor = max(floor, (modified, key + "\0"))
                break
            recent[key] = (modified, etag)
        return Snapshot(
            total=self._total,
            files=self._files,
            size=self._size,
            high=self._high,
            recent=recent,
            floor=floor,
            ignored=dict(self._ignored),
            examples={reason: tuple(keys) for reason, keys in self._examples.items()},
        )

    def state(self) -> ScanState:
        """The scan so far, to continue with later."""
        return ScanState(**vars(self.finish()), after=self.after, objects=self.objects)


@dataclass(frozen=True)
class ListingChange:
    """How a listing differs from an older one, as far as names are remembered.

    Attributes:
        new: keys that weren't there.
        changed: keys with another etag.
        deleted: keys that are gone.
        others: whether there are changes beside these, to objects that aren't remembered by name.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    others: bool = False

    def __str__(self) -> str:
        parts = [
            f"{len(keys):,} {word} ({_examples(keys)})"
            for word, keys in (("new", self.new), ("changed", self.changed), ("deleted", self.deleted))
            if keys
        ]
        if self.others:
            parts.append("changes to files with other modification times")
        return ", ".join(parts) or "no change"


def compare(old: Snapshot, new: Snapshot) -> ListingChange:
    """The change from `old` to `new`.

    A key that one snapshot remembers and the other doesn't is reported as new or deleted only where the other would have
    remembered it; whether the named changes are all there are the sums say.
    """
    added = [k for k, (modified, _) in new.recent.items() if k not in old.recent and (modified, k) >= old.floor]
    gone = [k for k, (modified, _) in old.recent.items() if k not in new.recent and (modified, k) >= new.floor]
    changed = [k for k, (_, etag) in new.recent.items() if k in old.recent and old.recent[k][1] != etag]
    total = old.total
    total += sum(_hash(key, new.recent[key][1]) for key in (*added, *changed))
    total -= sum(_hash(key, old.recent[key][1]) for key in (*gone, *changed))
    return ListingChange(
        new=tuple(sorted(added)),
        changed=tuple(sorted(changed)),
        deleted=tuple(sorted(gone)),
        others=total % _MODULUS != new.total,
    )


def described(listing: Iterable[ObjectInfo]) -> str:
    """What of a listing is left out, and why; empty if that's only folder markers."""
    scan = Scan(timedelta())
    for info in listing:
        scan.add(info)
    return describe_ignored(scan.finish())


def describe_ignored(snapshot: Snapshot) -> str:
    """What was left out and why, with examples; empty if that's only folder markers."""
    parts = [
        f"{number:,} {reason} ({_examples(snapshot.examples[reason], number)})"
        for reason, number in sorted(snapshot.ignored.items())
        if reason != "folder marker"
    ]
    return "ignored: " + ", ".join(parts) if parts else ""


def _examples(keys: tuple[str, ...], number: int | None = None) -> str:
    more = (len(keys) if number is None else number) > MAX_EXAMPLES
    return ", ".join([_short(key) for key in keys[:MAX_EXAMPLES]] + ["…"] * more)


def _short(key: str) -> str:
    name = key.removeprefix(TRAIN_PREFIX)
    return name if len(name) <= 60 else f"{name[:28]}…{name[-28:]}"
