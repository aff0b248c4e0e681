"""Stops jobs that nobody waits for: their run has ended, or Dagster doesn't know it any more.

Here: finding them by their tags, and the decision. Elsewhere: when to look (`defs.orphan_job_sensor`),
how a run stops its own job (`sagemaker.client`).

A run that is cancelled stops its job itself. One that is killed can't; its retry attaches to the job, and tags it as its
own. Only when none has come for a while is the job an orphan.

The jobs that a tuning job starts are left alone: they have its tags as they were then, and end with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.sagemaker.api import JobApi
from chronos_assets.platforms.aws.sagemaker.faults import Timing, call_with_retries
from chronos_assets.platforms.aws.sagemaker.kinds import KINDS, JobKind
from chronos_assets.platforms.aws.tags import RUN_ID, deployment_tags, tags_of

GRACE = timedelta(minutes=10)  # for a run that is retried to attach to its job


@dataclass(frozen=True)
class RunningJob:
    """A job that is in progress.

    Attributes:
        kind: processing, training, tuning or transform.
        name: of the job; run_id: of the run that it says it is for.
        created: when it was created, aware.
    """

    kind: JobKind
    name: str
    run_id: str
    created: datetime


@dataclass(frozen=True)
class RunEnd:
    """A run as Dagster knows it: `at` is when it ended, None while it hasn't."""

    at: datetime | None


def orphans(jobs: Sequence[RunningJob], runs: Mapping[str, RunEnd], now: datetime) -> list[RunningJob]:
    """Those of our jobs whose run is gone for longer than `GRACE`.

    Args:
        jobs: that run and carry our tags.
        runs: run id -> its end, of the runs that Dagster knows.
        now: aware.
    """

    def is_orphan(job: RunningJob) -> bool:
        run = runs.get(job.run_id)
        if run is not None and run.at is None:
            return False
        gone_since = job.created if run is None or run.at is None else max(job.created, run.at)
        return now - gone_since > GRACE

    return [job for job in jobs if is_orphan(job)]


class Reaper:
    """The jobs of one deployment.

    Args:
        clients: of the account.
        code_location, store_url: of the deployment; two of one account may share the first.
        timing: of calls that are throttled.
    """

    def __init__(
        self, clients: AwsClients, code_location: str, store_url: str, *, timing: Timing | None = None
    ) -> None:
        self._clients = clients
        self._ours = deployment_tags(code_location, store_url)
        # A tick of a sensor has no time to wait out an outage.
        self._timing = timing or Timing(outage=20.0)

    def running(self) -> list[RunningJob]:
        """Our jobs that are in progress and name a run."""
        found: list[RunningJob] = []
        searches: list[str] = []
        for kind in ("tuning", "training", "processing", "transform"):
            for summary in self._summaries(kind):
                name = str(summary[KINDS[kind].name])
                if kind == "tuning":
                    searches.append(name)
                if kind == "training" and any(name.startswith(f"{search}-") for search in searches):
                    continue
                tags = self._tags(str(summary[KINDS[kind].arn]))
                if self._ours.items() <= tags.items() and tags.get(RUN_ID):
                    found.append(RunningJob(kind, name, tags[RUN_ID], summary["CreationTime"]))
        return found

    def stop(self, job: RunningJob) -> None:
        """Ask a job to stop."""
        JobApi(self._clients, KINDS[job.kind], self._timing).stop(job.name)

    def _summaries(self, kind: JobKind) -> Iterator[Mapping[str, Any]]:
        operation = f"{KINDS[kind].operation('list')}s"
        for page in self._pages(operation, StatusEquals="InProgress", PaginationConfig={"PageSize": 100}):
            yield from next(value for key, value in page.items() if key.endswith("Summaries"))

    def _tags(self, arn: str) -> dict[str, str]:
        return tags_of(tag for page in self._pages("list_tags", ResourceArn=arn) for tag in page["Tags"])

    def _pages(self, operation: str, **arguments: Any) -> list[Mapping[str, Any]]:
        """Every page of a listing; one that is throttled on its way is begun again."""
        paginator = self._clients("sagemaker").get_paginator(operation)
        pages: list[Mapping[str, Any]] = call_with_retries(lambda: list(paginator.paginate(**arguments)), self._timing)
        return pages
