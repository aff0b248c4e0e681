"""When the train files' sensor has to list `train/`, where a queue reports changes: pure functions of news and a cursor.

Here: whether to look, and what to remember of that. Elsewhere: what to import, which
`plan_train_files` decides from a listing with or without a queue; receiving messages (`platforms.aws.train_queue`).

The queue only wakes the sensor. Whatever it reports late, twice, in another order or not at all changes when `train/` is
listed, never what is found there. So it is listed

- when the queue reported a file that counts as data;
- again at each tick, until another listing would have nothing to add: the settle time, a run under way, pauses between
  attempts and a listing that continues are the plan's, and need no message;
- when the dataset or the parameters are others than at the last listing;
- when nothing is remembered: the first tick, a lost cursor, a deployment that had no queue;
- after `reconcile_ticks` without, in case that messages were lost.

What the queue reported is recorded in the cursor, under the token of `QueueNews`: a tick that finds it there knows that
Dagster has the requests and the cursor of the tick before, and has the messages deleted.

The cursor is that of the listing, with one more entry. Each kind of sensor can continue with the other's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from chronos_assets.planning.cursor import Cursor, joined
from chronos_assets.planning.imports import ImportRecord, TrainPlan
from chronos_assets.planning.listing import MAX_EXAMPLES, why_ignored
from chronos_assets.platforms.news_queue import QueueNews
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.wording import counted, first_of

_MESSAGE_LENGTH = 500
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _QueueState(Cursor):
    """What the cursor remembers.

    Attributes:
        token: of the news that the tick before recorded.
        settled: whether its listing had nothing more to come.
        idle: ticks since a listing.
        basis: what the dataset was made from, and the parameters, at that listing.
        message: of that listing.
    """

    token: str = ""
    settled: bool = False
    idle: int = 0
    basis: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class _QueueCursor(Cursor):
    """The listing's cursor, as far as it is read here."""

    queue: _QueueState = _QueueState()


def recorded_token(cursor: str | None) -> str:
    """Token of the news that the tick before recorded, whose messages can be deleted now; empty if there is none."""
    return _QueueCursor.loads(cursor)[0].queue.token


def plan_with_queue(
    news: QueueNews,
    cursor: str | None,
    *,
    imported: ImportRecord | None,
    params: str,
    look: Callable[[], TrainPlan],
    reconcile_ticks: int,
) -> TrainPlan:
    """What `look` plans, where there is a reason to look; else that there is none.

    Args:
        news: what the queue reported since the last tick.
        cursor: as saved by the last tick, or None.
        imported: what the dataset was made from; None if there is none.
        params: digest of the parameters an import would use now.
        look: lists `train/` and plans, with the same cursor.
        reconcile_ticks: after so many ticks without a listing there is one anyway.
    """
    state = _QueueCursor.loads(cursor)[0].queue
    basis = (imported.id, imported.content, imported.params, imported.outdated, params) if imported else (params,)
    changed = [key for key in news.keys if _is_data(key)]
    quiet = state.settled and state.basis == basis and state.idle + 1 < reconcile_ticks
    if cursor and quiet and not changed and not news.trouble:
        state = replace(state, token=news.token, idle=state.idle + 1)
        since = counted(state.idle, "tick")
        message = joined(
            *_reported(news, changed), f"no news of train/ for {since}; at the last listing: {state.message}"
        )
        return TrainPlan((), _with(cursor, state), message, settled=True)
    plan = look()
    state = _QueueState(news.token, plan.settled, 0, basis, plan.message[:_MESSAGE_LENGTH])
    message = joined(*_reported(news, changed), plan.message)
    return replace(plan, cursor=_with(plan.cursor, state), message=message)


def _with(cursor: str, state: _QueueState) -> str:
    """The listing's cursor with the queue's entry."""
    return json.dumps({**json.loads(cursor), "queue": asdict(state)}, separators=(",", ":"))


def _is_data(key: str) -> bool:
    """Whether a file of this name counts as data if it has content, which a message doesn't know for certain."""
    return why_ignored(ObjectInfo(key, 1, "", _ANY_TIME)) is None


def _reported(news: QueueNews, changed: list[str]) -> list[str]:
    """What the messages said, for people."""
    parts = [news.trouble] if news.trouble else []
    if changed:
        parts.append(f"the queue reported {first_of(changed, MAX_EXAMPLES)}")
    ignored = dict(news.ignored)
    if len(news.keys) > len(changed):
        ignored["no data"] = len(news.keys) - len(changed)
    if ignored:
        reasons = sorted(ignored.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_EXAMPLES]
        parts.append("messages ignored: " + ", ".join(f"{number:,} {reason}" for reason, number in reasons))
    if news.unreadable_count:
        more = ", …" if news.unreadable_count > len(news.unreadable) else ""
        parts.append(
            f"{news.unreadable_count:,} messages that can't be read are left to the dead-letter queue: "
            f"{', '.join(news.unreadable)}{more}"
        )
    return parts
