"""Which what-if scenarios to forecast: new and changed files, and all of them once there is another baseline.

Here: the decision, as a pure function of what is listed and a cursor. Elsewhere: listing, and asking Dagster
for runs (`defs.what_if_sensor`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chronos_assets.planning.cursor import Cursor, digest_of, joined
from chronos_assets.wording import counted

MOST_AT_ONCE = 25  # requests of one tick; the others come with the next


@dataclass(frozen=True)
class ScenarioRequest:
    """A run for one scenario."""

    scenario: str
    run_key: str


@dataclass(frozen=True)
class ScenarioPlan:
    """What to ask for, and what to remember. scenarios: every name that lies there."""

    requests: tuple[ScenarioRequest, ...]
    scenarios: tuple[str, ...]
    cursor: str
    message: str


@dataclass(frozen=True)
class _ScenarioCursor(Cursor):
    """What is remembered, by scenario: the digest that was seen last, and what was asked for."""

    seen: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)


def plan_scenarios(files: Mapping[str, str], baseline: str | None, cursor: str | None) -> ScenarioPlan:
    """Decide.

    A scenario is asked for once its files have been the same for two looks, so that half a file isn't read.

    Args:
        files: by scenario, a digest of what lies there.
        baseline: which forecast they are compared with; None while there is none.
        cursor: of the last look.
    """
    state, odd = _ScenarioCursor.loads(cursor)
    wanted = {name: digest_of(name, digest, baseline or "") for name, digest in files.items()}
    settled = [name for name in sorted(files) if state.seen.get(name) == files[name]]
    due = [name for name in settled if state.asked.get(name) != wanted[name]] if baseline is not None else []
    chosen = due[:MOST_AT_ONCE]
    remembered = {name: state.asked[name] for name in files if name in state.asked} | {
        name: wanted[name] for name in chosen
    }
    waiting = len(files) - len(settled)
    message = joined(
        odd,
        f"{counted(len(chosen), 'scenario')} asked for" if chosen else "",
        f"{counted(waiting, 'scenario')} may still be written" if waiting else "",
        "no current forecast to compare scenarios with" if files and baseline is None else "",
    )
    return ScenarioPlan(
        tuple(ScenarioRequest(name, wanted[name]) for name in chosen),
        tuple(sorted(files)),
        _ScenarioCursor(seen=files, asked=remembered).dumps(),
        message or (f"{counted(len(files), 'scenario')}, all forecast" if files else "no scenarios"),
    )
