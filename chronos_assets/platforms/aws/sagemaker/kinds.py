"""The kinds of SageMaker jobs: how each is created, described and stopped, and where people look at it.

Here: names of operations, fields, log groups and pages. Elsewhere: when they are used (`client.py`).

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Operations_Amazon_SageMaker_Service.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

JobKind = Literal["processing", "training", "tuning", "transform"]

RUNNING = frozenset({"InProgress", "Stopping"})


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    Attributes:
        word: what people call one.
        api: what its operations are called: `Create<api>`, `Describe<api>`, `Stop<api>`.
        name: field of its name; status: of its status; arn: of its ARN.
        group: CloudWatch log group.
        page: path in SageMaker's console.
        longest_name: characters that a name may have.
        longest_variable: characters that the value of an environment variable may have; 0 where Pipes can't be used
            to the container: a tuning job has many, a transform job's is a server.
    """

    word: str
    api: str
    name: str
    status: str
    arn: str
    group: str
    page: str
    longest_name: int = 63
    longest_variable: int = 0

    def operation(self, verb: str) -> str:
        """Name of a boto3 method: `create`, `describe` or `stop` a job."""
        words = {"ProcessingJob": "processing_job", "TrainingJob": "training_job", "TransformJob": "transform_job"}
        return f"{verb}_{words.get(self.api, 'hyper_parameter_tuning_job')}"

    def streams(self, name: str) -> str:
        """What the names of a job's log streams begin with. A tuning job's training jobs are called after it."""
        return f"{name}-" if self.api == "HyperParameterTuningJob" else f"{name}/"


KINDS: Mapping[JobKind, Kind] = {
    "processing": Kind(
        "processing job",
        "ProcessingJob",
        "ProcessingJobName",
        "ProcessingJobStatus",
        "ProcessingJobArn",
        "/aws/sagemaker/ProcessingJobs",
        "processing-jobs",
        longest_variable=256,
    ),
    "training": Kind(
        "training job",
        "TrainingJob",
        "TrainingJobName",
        "TrainingJobStatus",
        "TrainingJobArn",
        "/aws/sagemaker/TrainingJobs",
        "jobs",
        longest_variable=512,
    ),
    "tuning": Kind(
        "tuning job",
        "HyperParameterTuningJob",
        "HyperParameterTuningJobName",
        "HyperParameterTuningJobStatus",
        "HyperParameterTuningJobArn",
        "/aws/sagemaker/TrainingJobs",
        "hyper-tuning-jobs",
        longest_name=32,
    ),
    "transform": Kind(
        "transform job",
        "TransformJob",
        "TransformJobName",
        "TransformJobStatus",
        "TransformJobArn",
        "/aws/sagemaker/TransformJobs",
        "transform-jobs",
    ),
}


def status_of(kind: Kind, description: Mapping[str, Any]) -> str:
    """A job's status: InProgress, Stopping, Completed, Failed or Stopped."""
    return str(description[kind.status])


def step_of(kind: Kind, description: Mapping[str, Any]) -> str:
    """What a job is doing, for people: its status, with what the kind tells beside it."""
    status = status_of(kind, description)
    secondary = description.get("SecondaryStatus")
    if secondary and secondary != status:
        transitions = description.get("SecondaryStatusTransitions") or [{}]
        reported = " ".join(str(transitions[-1].get("StatusMessage") or "").split())
        return f"{status}, {secondary}" + (f" ({reported})" if reported else "")
    counters = description.get("TrainingJobStatusCounters")
    if counters:
        return f"{status}, " + ", ".join(f"{name} {count}" for name, count in sorted(counters.items()) if count)
    return status


def reason_of(description: Mapping[str, Any]) -> str:
    """Why a job ended, in one line: what its container left as a message, and what SageMaker says."""
    reported = [" ".join(str(description.get(field) or "").split()) for field in ("ExitMessage", "FailureReason")]
    exit_message, failure = reported
    if exit_message and failure and exit_message not in failure:
        return f"{exit_message} ({failure})"
    if failure or exit_message:
        return failure if exit_message in failure else exit_message
    secondary = str(description.get("SecondaryStatus") or "")
    return f"it was {secondary}" if secondary == "Stopped" else secondary or "no reason given"


def is_out_of_time(description: Mapping[str, Any]) -> bool:
    """Whether a job's own stopping condition ended it."""
    return description.get("SecondaryStatus") == "MaxRuntimeExceeded"


def is_spot_out_of_time(description: Mapping[str, Any]) -> bool:
    """Whether spot instances were taken away, or never given, until the time to wait for them was over."""
    return description.get("SecondaryStatus") in ("MaxWaitTimeExceeded", "Interrupted")


def facts_of(kind: Kind, description: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that people want to know of an ended job: what it ran on, for how long, and what is billed."""
    facts: dict[str, Any] = {}
    resources = (
        (description.get("ProcessingResources") or {}).get("ClusterConfig")
        or description.get("ResourceConfig")
        or description.get("TransformResources")
        or {}
    )
    count = int(resources.get("InstanceCount") or 1)
    if resources.get("InstanceType"):
        facts["instance_type"] = str(resources["InstanceType"])
        facts["instance_count"] = count
    start = description.get("ProcessingStartTime") or description.get("TransformStartTime")
    end = description.get("ProcessingEndTime") or description.get("TransformEndTime")
    if isinstance(start, datetime) and isinstance(end, datetime):
        seconds = max(0.0, (end - start).total_seconds())
        facts["seconds"] = seconds
        facts["billable_seconds"] = seconds * count
    if "TrainingTimeInSeconds" in description:
        facts["seconds"] = float(description["TrainingTimeInSeconds"])
    if "BillableTimeInSeconds" in description:
        facts["billable_seconds"] = float(description["BillableTimeInSeconds"]) * count
        if description.get("EnableManagedSpotTraining") and facts.get("seconds"):
            facts["spot_savings_percent"] = round(
                100.0 * (1.0 - float(description["BillableTimeInSeconds"]) / facts["seconds"]), 1
            )
    if kind.api == "HyperParameterTuningJob":
        created, ended = description.get("CreationTime"), description.get("HyperParameterTuningEndTime")
        if isinstance(created, datetime) and isinstance(ended, datetime):
            facts["seconds"] = max(0.0, (ended - created).total_seconds())
        consumed = (description.get("ConsumedResources") or {}).get("RuntimeInSeconds")
        if consumed is not None:
            facts["billable_seconds"] = float(consumed)
    return facts


def console_url(kind: Kind, region: str, name: str) -> str:
    """Page of a job in SageMaker's console."""
    return console_page(region, kind.page, name)


def log_url(kind: Kind, region: str, name: str) -> str:
    """Page of a job's log streams in CloudWatch's console."""
    return log_page(region, kind.group, kind.streams(name))


def console_page(region: str, page: str, name: str) -> str:
    """Page of anything in SageMaker's console."""
    return f"{_console(region)}/sagemaker/home?region={region}#/{page}/{name}"


def log_page(region: str, group: str, streams: str = "") -> str:
    """Page of a log group in CloudWatch's console, which escapes what it has in its fragment twice.

    Args:
        region: of the account.
        group: name of the log group.
        streams: what the names of the streams begin with that are shown.
    """
    link = f"{_console(region)}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{_escaped(group)}"
    return f"{link}$3FlogStreamNameFilter$3D{_escaped(streams)}" if streams else link


def _escaped(name: str) -> str:
    return name.replace("/", "$252F")


def _console(region: str) -> str:
    if region.startswith("cn-"):
        return f"https://{region}.console.amazonaws.cn"
    if region.startswith("us-gov-"):
        return f"https://{region}.console.amazonaws-us-gov.com"
    return f"https://{region}.console.aws.amazon.com"
