"""Automatic model tuning whose children are training jobs that run.

Here: the choice of hyperparameters, early stopping, what a tuning job tells. Elsewhere: training jobs
(`sagemaker_jobs.py`).

As in SageMaker every hyperparameter is a string, and a child gets one more, `_tuning_objective_metric`. Children share the
checkpoint folder of their definition.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from chronos_assets_tests.aws.cloud import Cloud, arn_of, in_use, invalid, listed, not_found
from chronos_assets_tests.aws.job_process import JobError
from chronos_assets_tests.aws.running_job import FINISHED, Job, present
from chronos_assets_tests.aws.sagemaker_jobs import TrainingJob

OBJECTIVE_PARAMETER = "_tuning_objective_metric"
DEFAULT_JOBS = 20
FAILED_CHILDREN = 5  # in a row from the start, and no objective: AWS gives up

_COPIED = (
    "AlgorithmSpecification",
    "CheckpointConfig",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "EnableNetworkIsolation",
    "Environment",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "RetryStrategy",
    "RoleArn",
    "StoppingCondition",
    "VpcConfig",
)
_RANGES = ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges")
_LOOK_SECONDS = 0.02


class TuningJob(Job):
    """A tuning job: it keeps as many children running as it may."""

    kind, noun, log_group = "hyper-parameter-tuning-job", "hyperparameter tuning job", ""

    def __init__(self, cloud: Cloud, name: str, request: Mapping[str, Any], tags: Sequence[Mapping[str, str]]) -> None:
        super().__init__(cloud, name, request, tags)
        self.children: list[TrainingJob] = []
        self._trials: dict[str, Any] = {}

    @property
    def config(self) -> Mapping[str, Any]:
        """The HyperParameterTuningJobConfig."""
        return self.request["HyperParameterTuningJobConfig"]

    @property
    def _objective(self) -> Mapping[str, Any]:
        return self.config["HyperParameterTuningJobObjective"]

    @property
    def _limit(self) -> int:
        return int(self.config["ResourceLimits"].get("MaxNumberOfTrainingJobs") or DEFAULT_JOBS)

    def run(self) -> None:
        """Take it to its end."""
        study = self._study()
        parallel = int(self.config["ResourceLimits"]["MaxParallelTrainingJobs"])
        told: set[str] = set()
        while True:
            for child in self.children:
                if child.done.is_set() and child.name not in told:
                    told.add(child.name)
                    self._tell(study, child)
            running = [child for child in self.children if not child.done.is_set()]
            if self.stop_asked.is_set():
                for child in running:
                    _stop_child(child)
            elif self.config.get("TrainingJobEarlyStoppingType") == "Auto":
                self._stop_early(running)
            more = len(self.children) < self._limit and not self.stop_asked.is_set() and not self._hopeless()
            if not more and not running:
                break
            if more and len(running) < parallel:
                self._start_child(study)
            else:
                time.sleep(_LOOK_SECONDS)
        if self.stop_asked.is_set():
            self.finish("Stopped")
        elif self._best() is None:
            raise JobError(
                "All training jobs failed. Please take a look at the training jobs failures to get more details."
            )
        else:
            self.finish("Completed")

    def abandon(self) -> None:
        """End it and its children at once, and wait until they are gone."""
        self.stop_asked.set()
        for child in self.children:
            child.abandon()
        super().abandon()

    # --- the search ---

    def _study(self) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = self.config.get("RandomSeed")
        samplers = {"Random": optuna.samplers.RandomSampler, "Bayesian": optuna.samplers.TPESampler}
        direction = self._objective["Type"].lower()
        study = optuna.create_study(direction=direction, sampler=samplers[self.config["Strategy"]](seed=seed))
        space = _space(self.config["ParameterRanges"])
        for child in (child for parent in self._parents() for child in parent.children):
            value = self.objective_of(child)
            if value is not None and set(child.tuned) == set(space):
                known = {name: _value(distribution, child.tuned[name]) for name, distribution in space.items()}
                if all(
                    distribution._contains(distribution.to_internal_repr(known[n])) for n, distribution in space.items()
                ):
                    study.add_trial(optuna.trial.create_trial(params=known, distributions=space, value=value))
        return study

    def _parents(self) -> list[TuningJob]:
        parents = (self.request.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs") or []
        known = self.cloud.backend.hyper_parameter_tuning_jobs
        return [known[parent["HyperParameterTuningJobName"]] for parent in parents]

    def _start_child(self, study: Any) -> None:
        trial = study.ask(_space(self.config["ParameterRanges"]))
        number = len(self.children) + 1
        digest = hashlib.sha256(f"{self.name} {number}".encode()).hexdigest()[:8]
        name = f"{self.name}-{number:03d}-{digest}"
        definition = self.request["TrainingJobDefinition"]
        tuned = {key: _text(value) for key, value in trial.params.items()}
        request = {key: definition[key] for key in _COPIED if key in definition}
        request["HyperParameters"] = {
            OBJECTIVE_PARAMETER: self._objective["MetricName"],
            **(definition.get("StaticHyperParameters") or {}),
            **tuned,
        }
        if (resources := definition.get("HyperParameterTuningResourceConfig")) is not None:
            first = (resources.get("InstanceConfigs") or [{}])[0]
            kept = ("InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId")
            request["ResourceConfig"] = {**{key: resources[key] for key in kept if key in resources}, **first}
        child = TrainingJob(self.cloud, name, {"TrainingJobName": name, **request}, self.tags)
        child.tuning_arn, child.tuned = self.arn, tuned
        with self.lock:
            self.children.append(child)
            self._trials[name] = trial
        self.cloud.backend.training_jobs[name] = child
        child.start()

    def _tell(self, study: Any, child: TrainingJob) -> None:
        import optuna

        value = self.objective_of(child)
        state = optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.FAIL
        study.tell(self._trials[child.name], value, state=state)

    def _stop_early(self, running: Sequence[TrainingJob]) -> None:
        """AWS's rule: stop a child whose objective is worse than the median of the others' averages at the same step."""
        finished = [values for child in self.children if child.status == "Completed" if (values := self._values(child))]
        sign = 1 if self._objective["Type"] == "Minimize" else -1
        for child in running:
            if not (values := self._values(child)):
                continue
            others = [statistics.fmean(other[: len(values)]) for other in finished if len(other) >= len(values)]
            if others and min(sign * value for value in values) > sign * statistics.median(others):
                _stop_child(child)

    def _hopeless(self) -> bool:
        first = self.children[:FAILED_CHILDREN]
        return len(first) == FAILED_CHILDREN and all(child.status == "Failed" for child in first)

    # --- what it tells ---

    def _values(self, child: TrainingJob) -> list[float]:
        return [value for value, _ in child.metrics.get(self._objective["MetricName"], []) if math.isfinite(value)]

    def objective_of(self, child: TrainingJob) -> float | None:
        """The objective of a child that ended well or was stopped: the last value that it told."""
        values = self._values(child)
        return values[-1] if values and child.status in {"Completed", "Stopped"} else None

    def _best(self) -> TrainingJob | None:
        sign = 1 if self._objective["Type"] == "Minimize" else -1
        known = [(sign * value, child) for child in self.children if (value := self.objective_of(child)) is not None]
        return min(known, key=lambda item: item[0])[1] if known else None

    def summary_of(self, child: TrainingJob) -> dict[str, Any]:
        """What a list tells of a child."""
        value = self.objective_of(child)
        with child.lock:
            ended = child.status in FINISHED
            return present(
                {
                    "TrainingJobDefinitionName": self.request["TrainingJobDefinition"].get("DefinitionName"),
                    "TrainingJobName": child.name,
                    "TrainingJobArn": child.arn,
                    "CreationTime": child.created,
                    "TrainingStartTime": child.began,
                    "TrainingEndTime": child.ended,
                    "TrainingJobStatus": child.status,
                    "TunedHyperParameters": child.tuned,
                    "FailureReason": child.reason or None,
                    "FinalHyperParameterTuningJobObjectiveMetric": None
                    if value is None
                    else {**self._objective, "Value": value},
                    "ObjectiveStatus": "Pending" if not ended else "Failed" if value is None else "Succeeded",
                }
            )

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        with self.lock:
            states = [child.status for child in self.children]
            outcomes = [self.summary_of(child)["ObjectiveStatus"] for child in self.children]
            return present(
                {
                    "HyperParameterTuningJobName": self.name,
                    "HyperParameterTuningJobArn": self.arn,
                    "HyperParameterTuningJobStatus": self.status,
                    "Strategy": self.config["Strategy"],
                    "CreationTime": self.created,
                    "HyperParameterTuningEndTime": self.ended,
                    "LastModifiedTime": self.modified,
                    "TrainingJobStatusCounters": {
                        "Completed": states.count("Completed"),
                        "InProgress": states.count("InProgress") + states.count("Stopping"),
                        "RetryableError": 0,
                        "NonRetryableError": states.count("Failed"),
                        "Stopped": states.count("Stopped"),
                    },
                    "ObjectiveStatusCounters": {
                        name: outcomes.count(name) for name in ("Succeeded", "Pending", "Failed")
                    },
                    "ResourceLimits": self.config["ResourceLimits"],
                }
            )

    def description(self) -> dict[str, Any]:
        """What DescribeHyperParameterTuningJob tells."""
        summary = self.summary()
        del summary["Strategy"], summary["ResourceLimits"]
        best = self._best()
        overall = self.summary_of(best) if best is not None else None
        return present(
            {
                **self.request,
                **summary,
                "BestTrainingJob": overall,
                "OverallBestTrainingJob": overall and {**overall, "TuningJobName": self.name},
                "FailureReason": self.reason or None,
            }
        )


def _stop_child(child: TrainingJob) -> None:
    with child.lock:
        if child.status == "InProgress" and not child.stop_asked.is_set():
            child.stop()


def _space(ranges: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's distributions of the ranges of a request."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: dict[str, Any] = {}
    for item in ranges.get("IntegerParameterRanges") or []:
        low, high = int(item["MinValue"]), int(item["MaxValue"])
        space[item["Name"]] = IntDistribution(low, high, log=_logarithmic(item, low, high))
    for item in ranges.get("ContinuousParameterRanges") or []:
        low, high = float(item["MinValue"]), float(item["MaxValue"])
        space[item["Name"]] = FloatDistribution(low, high, log=_logarithmic(item, low, high))
    for item in ranges.get("CategoricalParameterRanges") or []:
        space[item["Name"]] = CategoricalDistribution(item["Values"])
    return space


def _logarithmic(item: Mapping[str, Any], low: float, high: float) -> bool:
    scaling = item.get("ScalingType") or "Auto"
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= 100)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _value(distribution: Any, text: str) -> Any:
    kind = type(distribution).__name__
    return int(text) if kind == "IntDistribution" else float(text) if kind == "FloatDistribution" else text


# --- operations -------------------------------------------------------------------------------------------------------


def create_tuning_job(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateHyperParameterTuningJob."""
    name = params["HyperParameterTuningJobName"]
    known = cloud.backend.hyper_parameter_tuning_jobs
    if name in known:
        raise in_use(
            "Tuning job names must be unique within an AWS account and region, and a tuning job with this name already "
            f"exists ({arn_of(TuningJob.kind, name)})"
        )
    _check(cloud, params)
    job = TuningJob(cloud, name, params, params.get("Tags") or [])
    known[name] = job
    job.start()
    return {"HyperParameterTuningJobArn": job.arn}


def _check(cloud: Cloud, params: Mapping[str, Any]) -> None:
    config, definition = params["HyperParameterTuningJobConfig"], params.get("TrainingJobDefinition")
    if definition is None:
        raise invalid("This server runs tuning jobs with one TrainingJobDefinition only")
    if config["Strategy"] not in {"Random", "Bayesian"}:
        raise invalid(f"This server has no strategy {config['Strategy']}")
    objective = config.get("HyperParameterTuningJobObjective")
    if objective is None:
        raise invalid("HyperParameterTuningJobObjective is required")
    metrics = [item["Name"] for item in definition["AlgorithmSpecification"].get("MetricDefinitions") or []]
    if objective["MetricName"] not in metrics:
        raise invalid(f"The objective metric {objective['MetricName']} is not among the metric definitions {metrics}")
    limits = config["ResourceLimits"]
    if limits["MaxParallelTrainingJobs"] > int(limits.get("MaxNumberOfTrainingJobs") or DEFAULT_JOBS):
        raise invalid("MaxParallelTrainingJobs must not be more than MaxNumberOfTrainingJobs")
    ranges = config.get("ParameterRanges") or {}
    names = [item["Name"] for kind in _RANGES for item in ranges.get(kind) or []]
    if not names:
        raise invalid("At least one hyperparameter range is required")
    if twice := sorted(
        {name for name in names if names.count(name) > 1 or name in (definition.get("StaticHyperParameters") or {})}
    ):
        raise invalid(f"Hyperparameters {twice} are given more than once, or are static and tunable")
    for item in [*(ranges.get(_RANGES[0]) or []), *(ranges.get(_RANGES[1]) or [])]:
        _check_range(item)
    _check_warm_start(cloud, params.get("WarmStartConfig"), names)


def _check_range(item: Mapping[str, Any]) -> None:
    low, high = float(item["MinValue"]), float(item["MaxValue"])
    if not low < high:
        raise invalid(f"The minimum of {item['Name']} must be less than its maximum: {low} and {high}")
    if item.get("ScalingType") == "Logarithmic" and low <= 0:
        raise invalid(f"The range of {item['Name']} must be positive for the logarithmic scaling type")
    if item.get("ScalingType") == "ReverseLogarithmic":
        raise invalid("This server has no reverse logarithmic scaling")


def _check_warm_start(cloud: Cloud, warm_start: Mapping[str, Any] | None, names: Sequence[str]) -> None:
    for parent in (warm_start or {}).get("ParentHyperParameterTuningJobs") or []:
        name = parent["HyperParameterTuningJobName"]
        job = cloud.backend.hyper_parameter_tuning_jobs.get(name)
        if job is None:
            raise invalid(f"The parent tuning job {name} does not exist")
        if job.status not in FINISHED:
            raise invalid(f"The parent tuning job {name} is in status {job.status}; it must have ended")
        ranges = job.config.get("ParameterRanges") or {}
        theirs = {item["Name"] for kind in _RANGES for item in ranges.get(kind) or []}
        if (
            warm_start is not None
            and warm_start["WarmStartType"] == "IdenticalDataAndAlgorithm"
            and theirs != set(names)
        ):
            raise invalid(f"The parent tuning job {name} tunes other hyperparameters than this one")


def _tuning_job(cloud: Cloud, params: Mapping[str, Any]) -> TuningJob:
    name = params["HyperParameterTuningJobName"]
    job = cloud.backend.hyper_parameter_tuning_jobs.get(name)
    if job is None:
        raise not_found(f"Amazon SageMaker can't find a tuning job with the name {name}")
    return job


def stop_tuning_job(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """StopHyperParameterTuningJob."""
    _tuning_job(cloud, params).stop()
    return {}


def list_tuning_jobs(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """ListHyperParameterTuningJobs."""
    summaries = [job.summary() for job in list(cloud.backend.hyper_parameter_tuning_jobs.values())]
    name, status = "HyperParameterTuningJobName", "HyperParameterTuningJobStatus"
    page, more = listed(summaries, {"SortBy": "Name", **params}, name=name, status=status)
    return {"HyperParameterTuningJobSummaries": page, **more}


def list_children(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """ListTrainingJobsForHyperParameterTuningJob."""
    job = _tuning_job(cloud, params)
    summaries = [job.summary_of(child) for child in job.children]
    for summary in summaries:
        final = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
        summary["_objective"] = None if final is None else final["Value"]
    keys = {"FinalObjectiveMetricValue": "_objective"}
    page, more = listed(
        summaries, {"SortBy": "Name", **params}, name="TrainingJobName", status="TrainingJobStatus", sort_keys=keys
    )
    for summary in page:
        del summary["_objective"]
    return {"TrainingJobSummaries": page, **more}


OPERATIONS = {
    "CreateHyperParameterTuningJob": create_tuning_job,
    "DescribeHyperParameterTuningJob": lambda cloud, params: _tuning_job(cloud, params).description(),
    "StopHyperParameterTuningJob": stop_tuning_job,
    "ListHyperParameterTuningJobs": list_tuning_jobs,
    "ListTrainingJobsForHyperParameterTuningJob": list_children,
}
