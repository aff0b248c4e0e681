"""Searches for hyperparameters by SageMaker's automatic model tuning.

Here: finding or creating the search, its progress, what it is started warm from. Elsewhere: the life
of a job (`sagemaker.client`), the request for it (`tuning_request`), what came of it (`tuning_results`).

- A search is paid for once: its name is a digest of all that its result depends on. A run that was killed attaches to its
  tuning job, running or completed.
- What its training jobs leave lies below `<store>/.jobs/<name>/`, and stays there until the bucket's rules remove it: the
  same search asked for again gives the same trials, for as long as the best model is there.
- A search without ranges is a training job: SageMaker's tuner wants something to choose.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.jobs import STARTING_SECONDS, pipes_client
from chronos_assets.platforms.aws.sagemaker.client import SageMakerInvocation
from chronos_assets.platforms.aws.sagemaker.faults import OutOfReach, Timing, call_with_retries
from chronos_assets.platforms.aws.sagemaker.limits import LimitError
from chronos_assets.platforms.aws.tags import STORE
from chronos_assets.platforms.aws.tuning_request import (
    check_tuning,
    lineage_name,
    search_name,
    training_job,
    tuning_job,
)
from chronos_assets.platforms.aws.tuning_results import OBJECTIVE_FIELD, Results, SearchTrainingJob, trial_of
from chronos_assets.platforms.jobs import JobError, nothing_to_read
from chronos_assets.platforms.tuning import SearchError, Trial, TuningRequest, TuningResult
from chronos_assets.store_layout import JOBS_KEY

_PARENTS = 10  # completed searches that are looked at for one to start warm from
_ENDED = ("Completed", "Stopped", "NonRetryableError")  # counters of a tuning job's training jobs that have ended


class SageMakerTuning:
    """AWS's `Tuning`.

    Args:
        aws: the deployment.
        timing: every wait.
    """

    def __init__(self, aws: AwsDeployment, *, timing: Timing | None = None) -> None:
        self._clients, self._store = aws.clients, aws.store
        self._settings, self._code_location = aws.settings, aws.code_location
        self._timing = timing or Timing()
        self._client = pipes_client(aws, timing)
        self._results = Results(aws.clients, self._timing)

    def tune(self, context: Any, request: TuningRequest) -> TuningResult:
        """See `Tuning.tune`.

        Of the completed trials only the best one has its model and its report. Closing the result removes the copies on
        this machine.

        Raises:
            JobError: no trial completed, or an input is missing.
            SearchError: the request can't be run: nothing was created.
        """
        try:
            check_tuning(request, self._settings)
            channels = self._channels(request)
            name = search_name(request, channels, self._settings, self._code_location)
            search = _SearchState(context.log, request)
            done = self._run(context, request, name, channels, search)
        except LimitError as error:
            raise SearchError(str(error)) from error
        children = self._children(request, done)
        trials = tuple(trial_of(number, child) for number, child in enumerate(children))
        files = _SearchCopies(self._store.scratch)
        try:
            trials = self._results.with_best_model(trials, children, files.folder)
            self._refuse_if_none_completed(request, done.name, trials, children)
        except BaseException:
            files.close()
            raise
        billable = sum(child.billable_seconds for child in children)
        return TuningResult(
            trials=trials,
            resumed=0 if done.facts.get("found") == "created" else min(search.ended_before, len(trials)),
            files=files,
            facts={**done.metadata, "billable_seconds": billable, "job_name": done.name},
        )

    def _channels(self, request: TuningRequest) -> dict[str, str]:
        """Input channel -> S3 prefix of the version that is shown now."""
        channels = {}
        for channel, key in request.inputs.items():
            assert isinstance(key, str)  # noqa: S101 - `check_tuning` refuses the others
            try:
                channels[channel] = self._store.snapshot_uri(key)
            except FileNotFoundError:
                raise JobError(nothing_to_read(f"search {request.name}", self._store.uri(key), channel)) from None
        return channels

    def _run(
        self, context: Any, request: TuningRequest, name: str, channels: Mapping[str, str], search: _SearchState
    ) -> SageMakerInvocation:
        def of_attempt(attempt: str) -> Mapping[str, Any]:
            common: dict[str, Any] = {
                "channels": channels,
                "folder": self._store.uri(f"{JOBS_KEY}/{name}"),
                "settings": self._settings,
            }
            if not request.ranges:
                return training_job(request, attempt, **common)
            parent = self._parent(request, name)
            if parent:
                context.log.info(f"search {attempt} starts warm from {parent}")
            return tuning_job(request, attempt, parent=parent, **common)

        rounds = math.ceil(request.max_jobs / request.max_parallel_jobs)
        seconds = self._settings.job_seconds * (2 if self._settings.spot else 1) + STARTING_SECONDS
        try:
            return self._client.run(
                context=context,
                kind="tuning" if request.ranges else "training",
                request=of_attempt,
                name=name,
                tags={**dict(self._settings.tags), STORE: self._store.url},
                pipes=False,
                tail_logs=not request.ranges,
                timeout=rounds * seconds,
                usable=self._is_usable,
                on_status=search.look,
            )
        except OutOfReach as error:
            raise JobError(f"search {request.name}: {error}", transient=True) from error
        except dg.Failure as failure:
            if search.failed_name:
                self._explain(request, search.failed_name, failure)
            raise JobError(str(failure), failure.metadata) from failure

    def _is_usable(self, _name: str, description: Mapping[str, Any]) -> bool:
        """Whether the best model of a completed search is still in the bucket."""
        best = description.get("BestTrainingJob") or description
        name = best.get("TrainingJobName")
        return name is not None and self._results.has_model(name)

    def _parent(self, request: TuningRequest, name: str) -> str:
        """The last completed search of the same lineage; empty if there is none."""
        lineage = lineage_name(request, self._code_location)
        listed = call_with_retries(
            lambda: self._clients("sagemaker").list_hyper_parameter_tuning_jobs(
                NameContains=lineage,
                StatusEquals="Completed",
                SortBy="CreationTime",
                SortOrder="Descending",
                MaxResults=_PARENTS,
            ),
            self._timing,
        )
        names = (item["HyperParameterTuningJobName"] for item in listed["HyperParameterTuningJobSummaries"])
        # Its own earlier attempts have nothing more to teach.
        return next((item for item in names if item.startswith(f"{lineage}-") and not item.startswith(name)), "")

    def _children(self, request: TuningRequest, done: SageMakerInvocation) -> list[SearchTrainingJob]:
        if not request.ranges:
            return [self._results.child(done.description)]
        return list(self._results.children(done.name))

    def _refuse_if_none_completed(
        self, request: TuningRequest, name: str, trials: tuple[Trial, ...], children: list[SearchTrainingJob]
    ) -> None:
        if any(trial.state == "Completed" for trial in trials):
            return
        raise self._failure(request, name, trials, children)

    def _explain(self, request: TuningRequest, name: str, failure: dg.Failure) -> None:
        """Raise the reason of the first training job that failed, of a tuning job that failed as a whole."""
        if not request.ranges:
            return
        children = list(self._results.children(name))
        trials = tuple(trial_of(number, child) for number, child in enumerate(children))
        if any(trial.state == "Failed" for trial in trials):
            raise self._failure(request, name, trials, children) from failure

    def _failure(
        self, request: TuningRequest, name: str, trials: tuple[Trial, ...], children: list[SearchTrainingJob]
    ) -> JobError:
        first = next((trial for trial in trials if trial.state == "Failed"), None)
        if first is None:
            return JobError(f"search {request.name} failed: none of its {len(trials)} trials completed ({name})")
        job = children[first.number].name
        tail = "\n".join(self._results.last_lines(job))
        return JobError(
            f"search {request.name} failed: {first.reason} (training job {job}; none of {len(trials)} completed)"
            + (f"\nLast lines of its log:\n{tail}" if tail else ""),
            {"reason": first.reason, "job_name": name},
        )


class _SearchState:
    """What is seen of a search while it runs.

    Attributes:
        ended_before: how many of its trials had ended when it was first seen.
        failed_name: of the attempt that failed last; empty if none did.
    """

    def __init__(self, log: Any, request: TuningRequest) -> None:
        self._log = log
        self._request = request
        self._seen = ""
        self._best = ""
        self.ended_before = 0
        self.failed_name = ""

    def look(self, description: Mapping[str, Any]) -> None:
        """Take in a description of the job."""
        name = str(description.get("HyperParameterTuningJobName") or description["TrainingJobName"])
        counters = description.get("TrainingJobStatusCounters") or {}
        status = str(description.get("HyperParameterTuningJobStatus") or description.get("TrainingJobStatus"))
        if name != self._seen:
            self._seen = name
            self.ended_before = sum(int(counters.get(counter, 0)) for counter in _ENDED)
            if not self._request.ranges:
                self.ended_before = int(status == "Completed")
        self.failed_name = name if status == "Failed" else ""
        best = description.get("BestTrainingJob") or {}
        value = best.get(OBJECTIVE_FIELD, {}).get("Value")
        if value is not None and best["TrainingJobName"] != self._best:
            self._best = best["TrainingJobName"]
            chosen = ", ".join(f"{key} {text}" for key, text in best.get("TunedHyperParameters", {}).items())
            self._log.info(f"search {self._request.name}: best so far {self._best}, validation {value:.6g}, {chosen}")


class _SearchCopies:
    """Copies on this machine of what a search left."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="search-", dir=scratch)

    @property
    def folder(self) -> Path:
        """Where they are."""
        return Path(self._folder.name)

    def close(self, *, keep: bool = False) -> None:
        """Remove them."""
        self._folder.cleanup()
