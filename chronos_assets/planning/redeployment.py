"""When the endpoint has to follow a decision that was made elsewhere: a pure function of what is served and what was tried.

Here: the rule. Elsewhere: reading the registry and the endpoint, and Dagster's runs (`defs`).

Whoever approves a version through this project's jobs and commands lets the endpoint follow at once. In SageMaker's console
or by its API nobody does: then a queue reports the decision, and the endpoint is compared with the model in use. The queue only
says when to look; should a message be lost, a look now and then finds the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from chronos_assets.planning.cursor import Cursor, RunState, RunStatus, digest_of
from chronos_assets.platforms.news_queue import QueueNews

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class ServedVersion:
    """What is served, beside what should be.

    Attributes:
        deployed: whether there is an endpoint; without one nothing has to follow.
        current: whether it answers with the model in use.
        wanted: identity that it has once it does.
        model: name of the model in use.
        busy: the run under way that deploys anyway; empty if there is none.
    """

    deployed: bool
    current: bool
    wanted: str
    model: str
    busy: str = ""


@dataclass(frozen=True)
class RedeployPlan:
    """`run_key` of the run to request, or None; and why.

    Attributes:
        cursor: to be saved with it.
        message: what was seen; the skip reason when there is no request.
    """

    run_key: str | None
    cursor: str
    message: str


@dataclass(frozen=True)
class _RedeployCursor(Cursor):
    """What is remembered.

    Attributes:
        token: of the news that the tick before recorded.
        idle: ticks since a look; None before the first one, and while there is more to come.
        wanted: identity that the last run was requested for.
        attempts: how many of them.
        run_key: of the last one.
        serial: number of requests so far: a model that comes back is asked for under a new key.
    """

    token: str = ""
    idle: int | None = None
    wanted: str = ""
    attempts: int = 0
    run_key: str = ""
    serial: int = 0


def recorded_token(cursor: str | None) -> str:
    """Token of the news that the tick before recorded, whose messages can be deleted now; empty if there is none."""
    return _RedeployCursor.loads(cursor)[0].token


def requested_run_key(cursor: str | None) -> str | None:
    """Run key of the deployment requested last, whose state `plan_redeployment` wants to know."""
    return _RedeployCursor.loads(cursor)[0].run_key or None


def plan_redeployment(
    news: QueueNews,
    cursor: str | None,
    *,
    look: Callable[[], ServedVersion],
    last_run: RunState | None,
    reconcile_ticks: int,
) -> RedeployPlan:
    """Request a deployment when the endpoint doesn't answer with the model in use.

    Args:
        news: what the queue reported since the last tick.
        cursor: as saved by the last tick, or None.
        look: reads registry and endpoint.
        last_run: state of the run with key `requested_run_key(cursor)`; None if there is none.
        reconcile_ticks: after so many ticks without a look there is one anyway.
    """
    state, _ = _RedeployCursor.loads(cursor)
    reported = (
        f"decided elsewhere: {', '.join(news.keys)}; " if news.keys else f"{news.trouble}; " if news.trouble else ""
    )
    state = replace(state, token=news.token)
    if not news.keys and state.idle is not None and state.idle + 1 < reconcile_ticks:
        state = replace(state, idle=state.idle + 1)
        return RedeployPlan(None, state.dumps(), f"{reported}no news of versions")
    served = look()
    if not served.deployed:
        return RedeployPlan(None, replace(state, idle=0).dumps(), f"{reported}no endpoint is deployed")
    if served.current:
        state = replace(state, idle=0, wanted="", attempts=0, run_key="")
        return RedeployPlan(None, state.dumps(), f"{reported}the endpoint answers with {served.model}")
    waiting = replace(state, idle=None)
    if served.busy:
        return RedeployPlan(None, waiting.dumps(), f"{reported}{served.model} is in use: waiting for {served.busy}")
    if last_run is not None and last_run.status == RunStatus.RUNNING:
        return RedeployPlan(None, waiting.dumps(), f"{reported}{served.model} is being deployed")
    attempts = state.attempts if state.wanted == served.wanted else 0
    if attempts >= MAX_ATTEMPTS or (attempts and last_run is not None and not last_run.retry):
        reason = f", the last with: {last_run.reason}" if last_run is not None and last_run.reason else ""
        message = (
            f"{reported}{served.model} is in use but not served: runs failed: {attempts}{reason}; materialize endpoint"
        )
        return RedeployPlan(None, replace(state, idle=0).dumps(), message)
    serial = state.serial + 1
    run_key = f"deploy-{digest_of(served.wanted)[:12]}-{serial}-{attempts + 1}"
    after = replace(waiting, wanted=served.wanted, attempts=attempts + 1, run_key=run_key, serial=serial)
    return RedeployPlan(run_key, after.dumps(), f"{reported}{served.model} is in use, the endpoint follows")
