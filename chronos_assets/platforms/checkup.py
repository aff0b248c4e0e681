"""A checkup of a deployment before anything is launched: checks, each on its own, and the table that they make.

Here: what a check's answer is, how checks run side by side, how they are shown. Elsewhere: what is
checked (`local/doctor.py`, `aws/doctor.py`).
"""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.notices import one_line

Status = Literal["ok", "warning", "failed", "unknown"]

CHECK_SECONDS = 20.0
MAX_WHAT = 240  # characters of a finding that are shown
_WIDTH = 120


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of what was looked at.
        status: `failed` is in the way of a run, `warning` is not; `unknown` couldn't be looked at from here.
        what: was found, in one line.
        fix: what to do about it; empty if there is nothing to do.
    """

    name: str
    status: Status
    what: str
    fix: str = ""


class CheckProblem(ChronosAssetsError):
    """What a check found, which is in the way of looking any further.

    Args:
        what: see `Finding`; `fix` and `status` likewise.
    """

    def __init__(self, what: str, fix: str = "", status: Status = "failed") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.status = status


Check = Callable[[], str | Iterable[Finding] | None]
"""Gives what is well, or several findings, or None where there is nothing to look at; or raises a `CheckProblem`."""


def run_checks(
    checks: Mapping[str, Check],
    explain: Callable[[str, Exception], Finding],
    *,
    seconds: float = CHECK_SECONDS,
) -> list[Finding]:
    """Run every check in a thread of its own; what they found, in the order of the checks.

    A check that fails or takes too long is a finding of its own, and keeps no other from its answer.

    Args:
        checks: name -> check.
        explain: makes a finding of what a check of that name raised.
        seconds: how long all of them may take together.
    """
    found: dict[str, list[Finding]] = {}

    def run(name: str, check: Check) -> None:
        try:
            answer = check()
            found[name] = [Finding(name, "ok", answer)] if isinstance(answer, str) else list(answer or ())
        except CheckProblem as problem:
            found[name] = [Finding(name, problem.status, problem.what, problem.fix)]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this check's answer
            found[name] = [explain(name, error)]

    # Daemons: one that never gets an answer must not keep the command from ending.
    threads = [
        threading.Thread(target=run, args=(name, check), name=name, daemon=True) for name, check in checks.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = "no answer within {:g} s"
    fix = "is there a way from here to it: a proxy, a VPC endpoint, a security group?"
    return [
        finding for name in checks for finding in found.get(name, [Finding(name, "unknown", late.format(seconds), fix)])
    ]


def render(findings: Sequence[Finding]) -> str:
    """The findings as a table, one below the other, each with its fix; the last line sums up."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<8} {finding.name:<{width}}  {one_line(finding.what, MAX_WHAT)}")
        if finding.fix:
            indent = " " * (8 + 1 + width + 2)
            lines += textwrap.wrap(
                one_line(finding.fix),
                max(_WIDTH, len(indent) + 40),
                initial_indent=f"{indent}-> ",
                subsequent_indent=f"{indent}   ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    counts = [(status, sum(finding.status == status for finding in findings)) for status in ("failed", "warning")]
    said = ", ".join(f"{number} {status}" for status, number in counts if number)
    return "\n".join([*lines, "", said or "no problems found"])


def any_failed(findings: Iterable[Finding]) -> bool:
    """Whether something is in the way of a run."""
    return any(finding.status == "failed" for finding in findings)
