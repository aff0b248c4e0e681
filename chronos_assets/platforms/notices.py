"""Notices of runs' outcomes: the protocol and their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from chronos_assets.errors import ChronosAssetsError


class Notices(Protocol):
    """Notifies people what a run did."""

    def send(self, notice: Notice) -> bool:
        """Deliver, at most once per run and outcome; False if it had been delivered before.

        Raises:
            NoticeError: it can't be delivered now; try again later.
        """

    def recent(self, count: int) -> list[Mapping[str, Any]]:
        """The newest notices, as `document` has them, newest first."""


Outcome = Literal["success", "failure", "canceled"]

MAX_SUBJECT = 100  # what SNS allows for the subject of a mail
MAX_REASON = 500

# What must never leave in a notice, whatever an error message quotes.
_SECRETS = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"(?<=://)[^/\s:@]*:[^\s@]+(?=@)"),
    re.compile(
        r"(?i)(?:(?<=password)|(?<=passwd)|(?<=secret)|(?<=token)|(?<=api_key)|(?<=apikey)|(?<=access_key)"
        r"|(?<=credential)|(?<=signature))(?:['\"]?\s*[=:]\s*)(?:['\"][^'\"]*['\"]|[^\s,;&}]+)"
    ),
    re.compile(
        r"(?i)(?<=authorization)['\"]?\s*[=:]\s*['\"]?(?:(?:bearer|basic)\s+)?[^\s'\",]+|\bbearer\s+[\w.~+/-]{8,}=*"
    ),
    re.compile(r"\bhf_[A-Za-z0-9]{16,}\b"),
)


class NoticeError(ChronosAssetsError):
    """A notice could not be sent now, and will be sent again later; the message says why and how to fix it."""


@dataclass(frozen=True)
class Notice:
    """One run's outcome.

    Attributes:
        outcome: what became of the run.
        group: the dataset group.
        run_id: Dagster's id of the run; a run gives at most one notice per outcome.
        time: when the run ended, aware.
        job: name of the job.
        run_url: page of the run in the UI.
        as_of: partition key, or first and last key, of the forecasts made.
        made: names of the assets that the run materialized; empty where the job is known by them.
        model: what made them, as a reference people know it by.
        accuracy: metric name -> value (`wql`, `wql_seasonal_naive`, …).
        files: where the results are, paths or URLs.
        asset: on failure, the asset (or step) that failed.
        reason: on failure, why.
        notes: what the import had to say of the data, a line each.
        anomalies: the actuals farthest outside their band, of the newest partition that was scored.
    """

    outcome: Outcome
    group: str
    run_id: str
    time: datetime
    job: str = ""
    run_url: str = ""
    as_of: str = ""
    made: str = ""
    model: str = ""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    asset: str = ""
    reason: str = ""
    notes: str = ""
    anomalies: str = ""


def one_line(text: str, limit: int = MAX_REASON) -> str:
    """`text` as one printable line of at most `limit` characters, without secrets.

    Runs of blanks, line ends and control characters (terminal escapes too) become one blank.
    """
    words = "".join(character if character.isprintable() else " " for character in redact(text)).split()
    line = " ".join(words)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def sentences(text: str) -> str:
    """Lines of `text` one behind the other, as sentences or parts of one; bullets go."""
    joined = ""
    for line in filter(None, (line.strip().removeprefix("- ") for line in text.splitlines())):
        between = "" if not joined else " " if joined[-1] in ".:;,!?" else ". " if line[0].isupper() else "; "
        joined += between + line
    return joined


def redact(text: str) -> str:
    """`text` with keys, passwords, tokens and credentials in URLs put out of sight.

    It knows the usual shapes only: secrets should not reach a message in the first place.
    """
    for pattern in _SECRETS:
        text = pattern.sub("***", text)
    return text


def render(notice: Notice) -> tuple[str, str]:
    """Subject (one line, up to 100 characters) and text (one fact per line) of a notice."""
    what = {"success": "succeeded", "failure": "FAILED", "canceled": "was cancelled"}[notice.outcome]
    about = f" as of {notice.as_of}" if notice.as_of else f" of {notice.made}" if notice.made else ""
    place = f" in {notice.asset}" if notice.asset else ""
    subject = one_line(f"{notice.group}: {notice.job or 'run'}{about} {what}{place}", MAX_SUBJECT)
    facts = [
        ("Dataset group", notice.group),
        ("Job", notice.job),
        ("As of", notice.as_of),
        ("Made", notice.made),
        ("Model", notice.model),
        ("Accuracy", ", ".join(f"{name} {value:.4g}" for name, value in notice.accuracy.items())),
        ("Anomalies", notice.anomalies),
        ("Files", ", ".join(notice.files)),
        ("Asset", notice.asset),
        ("Reason", sentences(notice.reason)),
        ("Notes", sentences(notice.notes)),
        ("Run", f"{notice.run_id} {notice.run_url}".strip()),
        ("Time", notice.time.isoformat(timespec="seconds")),
    ]
    lines = [subject, "", *(f"{name}: {one_line(value, 2000)}" for name, value in facts if value)]
    return subject, "\n".join(lines)


def document(notice: Notice) -> dict[str, Any]:
    """The facts of a notice as JSON values, for programs."""
    return {
        "outcome": notice.outcome,
        "dataset_group": notice.group,
        "job": notice.job,
        "as_of": notice.as_of,
        "made": notice.made,
        "model": redact(notice.model),
        # JSON knows no infinity: an accuracy that isn't a number is null.
        "accuracy": {name: value if abs(value) < float("inf") else None for name, value in notice.accuracy.items()},
        "anomalies": redact(notice.anomalies),
        "files": [redact(file) for file in notice.files],
        "asset": notice.asset,
        "reason": one_line(sentences(notice.reason)),
        "notes": redact(notice.notes),
        "run_id": notice.run_id,
        "run_url": redact(notice.run_url),
        "time": notice.time.isoformat(),
    }
