"""What came of a search on SageMaker: its training jobs as trials, the best one's model.

Here: reading descriptions, logs and artifacts. Elsewhere: creating and watching the search
(`tuning.py`), what a log line says (`platforms.tuning`).

Of the models only the best one is fetched: the others stay in the bucket until its rules remove them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chronos_assets.container.archives import ArchiveError, unpack
from chronos_assets.container.contract import json_or_text
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.sagemaker.faults import Timing, call_with_retries, is_gone
from chronos_assets.platforms.aws.sagemaker.kinds import KINDS, facts_of, reason_of
from chronos_assets.platforms.aws.sagemaker.logs import LogTail, last_lines
from chronos_assets.platforms.notices import one_line, redact
from chronos_assets.platforms.tuning import Trial, TrialLog, TrialState

OBJECTIVE_FIELD = "FinalHyperParameterTuningJobObjectiveMetric"
MAX_LINES = 200_000  # of a training job's log
MAX_REPORT = 1 << 20  # bytes of its training.json

_TRAINING = KINDS["training"]
_READS = 20  # of a log from its head, each of as many pages as a tail reads at once


@dataclass(frozen=True)
class SearchTrainingJob:
    """A training job of a search.

    Attributes:
        description: what `DescribeTrainingJob` says.
        log: what its log reports.
        chosen: the hyperparameters that the search chose, as SageMaker has them.
        objective: its final value, as SageMaker found it in the log; None where it found none.
    """

    description: Mapping[str, Any]
    log: TrialLog
    chosen: Mapping[str, str]
    objective: float | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.description["TrainingJobName"])

    @property
    def billable_seconds(self) -> float:
        """What is paid for."""
        return float(facts_of(_TRAINING, self.description).get("billable_seconds", 0.0))


def trial_of(number: int, child: SearchTrainingJob) -> Trial:
    """A training job as a trial, without its model."""
    description = child.description
    # The log has more digits than the metric that SageMaker keeps, and the same ones as on a laptop.
    objective = child.log.latest if child.log.validation else child.objective
    state, reason = _state(str(description["TrainingJobStatus"])), ""
    if state == "Completed" and objective is None:
        state, reason = "Failed", "it completed, but its log reports no validation"
    elif state != "Completed":
        reason = one_line(reason_of(description))
    return Trial(
        number=number,
        hyperparameters={name: json_or_text(text) for name, text in child.chosen.items()},
        state=state,
        objective=objective,
        losses=tuple(sorted(child.log.losses.items())),
        validation=tuple(sorted(child.log.validation.items())),
        seconds=_seconds(description),
        reason=reason,
    )


def _state(status: str) -> TrialState:
    states: dict[str, TrialState] = {"Completed": "Completed", "Failed": "Failed"}
    return states.get(status, "Stopped")


def _seconds(description: Mapping[str, Any]) -> float:
    if "TrainingTimeInSeconds" in description:
        return float(description["TrainingTimeInSeconds"])
    start, end = description.get("TrainingStartTime"), description.get("TrainingEndTime")
    return max(0.0, (end - start).total_seconds()) if start is not None and end is not None else 0.0


class Results:
    """Reads what training jobs reported and left.

    Args:
        clients: of the account.
        timing: waits of calls that are throttled.
    """

    def __init__(self, clients: AwsClients, timing: Timing) -> None:
        self._clients = clients
        self._timing = timing

    def children(self, tuning_job: str) -> Iterator[SearchTrainingJob]:
        """The training jobs of a tuning job, in the order of their creation."""
        summaries = self._with_retries(lambda: list(self._summaries(tuning_job)))
        for summary in sorted(summaries, key=lambda item: (item["CreationTime"], item["TrainingJobName"])):
            yield self.child(
                self._describe(summary["TrainingJobName"]),
                chosen=summary.get("TunedHyperParameters", {}),
                objective=summary.get(OBJECTIVE_FIELD, {}).get("Value"),
            )

    def _summaries(self, tuning_job: str) -> Iterator[Mapping[str, Any]]:
        paginator = self._clients("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        for page in paginator.paginate(HyperParameterTuningJobName=tuning_job, PaginationConfig={"PageSize": 100}):
            yield from page["TrainingJobSummaries"]

    def child(
        self,
        description: Mapping[str, Any],
        *,
        chosen: Mapping[str, str] | None = None,
        objective: float | None = None,
    ) -> SearchTrainingJob:
        """A training job with what its log reports."""
        name = str(description["TrainingJobName"])
        log = TrialLog()
        read = 0

        def take(line: str) -> None:
            nonlocal read
            read += 1
            if read <= MAX_LINES:
                log.take(line)

        tail = LogTail(self._clients("logs"), _TRAINING.group, _TRAINING.streams(name), take, self._timing)
        for _ in range(_READS):
            before = read
            tail.poll(now=True)
            if read in (before, MAX_LINES):
                break
        return SearchTrainingJob(description, log, dict(chosen or {}), objective)

    def last_lines(self, name: str, lines: int = 20) -> list[str]:
        """The last lines of a training job's log, without secrets."""
        streams = _TRAINING.streams(name)
        found = last_lines(self._clients("logs"), _TRAINING.group, streams, self._timing, lines=lines)
        return [redact(line) for line in found]

    def has_model(self, name: str) -> bool:
        """Whether a training job's model is still in the bucket."""
        bucket, key = _place(_model_url(self._describe(name)))
        try:
            self._with_retries(lambda: self._clients("s3").head_object(Bucket=bucket, Key=key))
        except Exception as error:
            # Of an object that isn't there S3 reports the status, and no more.
            if is_gone(error) or _status(error) == 404:
                return False
            raise
        return True

    def with_best_model(
        self, trials: Iterable[Trial], children: Iterable[SearchTrainingJob], folder: Path
    ) -> tuple[Trial, ...]:
        """The trials, the best completed one with its model and its report; one whose model is no good has failed."""
        found = {trial.number: trial for trial in trials}
        jobs = dict(enumerate(children))
        for trial in sorted(
            (trial for trial in found.values() if trial.state == "Completed"),
            key=lambda trial: (trial.objective, trial.number),
        ):
            try:
                model, report = self._fetch(jobs[trial.number].description, folder / f"trial-{trial.number}")
            except ArchiveError as error:
                found[trial.number] = replace(trial, state="Failed", reason=f"its model can't be used: {error}")
                continue
            found[trial.number] = replace(trial, model=model, report=report)
            break
        return tuple(found[number] for number in sorted(found))

    def _fetch(self, description: Mapping[str, Any], folder: Path) -> tuple[Path, dict[str, Any]]:
        """Model folder and report of a completed training job.

        Raises:
            ArchiveError: one of its archives is gone, damaged, or without a model.
        """
        model_url = _model_url(description)
        model = self._unpacked(model_url, folder / "model")
        missing = [name for name in ("config.json", "*.safetensors") if not any(model.glob(name))]
        if missing:
            raise ArchiveError(f"there is no {' and no '.join(missing)} in {model_url}")
        # SageMaker makes the second archive only of a job that left something there.
        report_url = f"{model_url.rpartition('/')[0]}/output.tar.gz"
        if not self._is_there(report_url):
            return model, {}
        return model, _read_report(self._unpacked(report_url, folder / "output") / "training.json")

    def _unpacked(self, url: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        archive = target.with_suffix(".tar.gz")
        bucket, key = _place(url)
        try:
            self._with_retries(lambda: self._clients("s3").download_file(bucket, key, str(archive)))
        except Exception as error:
            if is_gone(error) or _status(error) == 404:
                raise ArchiveError(f"{url} is gone") from error
            raise
        unpack(archive, target)
        archive.unlink()
        return target

    def _is_there(self, url: str) -> bool:
        bucket, key = _place(url)
        listed = self._with_retries(lambda: self._clients("s3").list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1))
        return any(item["Key"] == key for item in listed.get("Contents", []))

    def _describe(self, name: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self._with_retries(
            lambda: self._clients("sagemaker").describe_training_job(TrainingJobName=name)
        )
        return described

    def _with_retries(self, call: Any) -> Any:
        return call_with_retries(call, self._timing)


def _model_url(description: Mapping[str, Any]) -> str:
    return str(description["ModelArtifacts"]["S3ModelArtifacts"])


def _place(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(response, dict) else 0


def _read_report(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_REPORT:
        raise ArchiveError(f"its training.json has {path.stat().st_size} bytes")
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArchiveError(f"its training.json is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArchiveError(f"its training.json holds a {type(document).__name__}, no JSON object")
    return document
