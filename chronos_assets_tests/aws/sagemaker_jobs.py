"""Training and processing jobs that run: their states, folders, logs and what they leave in S3.

Here: the life of a job and the operations on jobs. Elsewhere: processes and copies
(`job_process.py`), the choice of hyperparameters (`sagemaker_tuning.py`).

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from chronos_assets_tests.aws.cloud import Cloud, arn_of, in_use, invalid, job_listing, named_job, now
from chronos_assets_tests.aws.job_process import (
    DEFAULT_PACKAGE,
    ML,
    Container,
    JobError,
    download,
    list_keys,
    objects_of,
    read_text,
    split_uri,
    upload,
    upload_archive,
    write_json,
)
from chronos_assets_tests.aws.running_job import LONGEST_SECONDS, Job, present

IMAGE_ENTRYPOINT = ("python", "-m", DEFAULT_PACKAGE)


# --- training ---------------------------------------------------------------------------------------------------------


class TrainingJob(Job):
    """A training job.

    Attributes:
        secondary: its secondary status; transitions: all of them.
        metrics: what its metric definitions found in the log, by name, in order.
        tuning_arn: of the tuning job that made it.
        tuned: the hyperparameters that the tuning job chose.
    """

    kind, noun, log_group = "training-job", "training job", "/aws/sagemaker/TrainingJobs"

    def __init__(self, cloud: Cloud, name: str, request: Mapping[str, Any], tags: Sequence[Mapping[str, str]]) -> None:
        super().__init__(cloud, name, request, tags)
        self.secondary = ""
        self.transitions: list[dict[str, Any]] = []
        self.metrics: dict[str, list[tuple[float, datetime]]] = {}
        self.tuning_arn: str | None = None
        self.tuned: dict[str, str] = {}
        self.seconds = 0.0
        self._interruption: bool | None = None
        specification = request["AlgorithmSpecification"]
        self._patterns = [
            (item["Name"], re.compile(item["Regex"])) for item in specification.get("MetricDefinitions") or []
        ]
        self.enter("Starting", "Preparing the instances for training")

    def enter(self, secondary: str, message: str = "") -> None:
        """Go on to a secondary status."""
        with self.lock:
            at = self.modified = now()
            if self.transitions:
                self.transitions[-1].setdefault("EndTime", at)
            self.transitions.append({"Status": secondary, "StartTime": at, "StatusMessage": message})
            self.secondary = secondary

    def stop(self) -> None:
        """Ask it to stop."""
        super().stop()
        self.enter("Stopping", "Stopping the training job")

    def finish(self, status: str, reason: str = "") -> None:
        """Give it its last status."""
        if self.secondary not in {"MaxRuntimeExceeded", "MaxWaitTimeExceeded"}:
            self.enter(
                status, {"Completed": "Training job completed", "Stopped": "Training job stopped"}.get(status, reason)
            )
        self.transitions[-1]["EndTime"] = now()
        super().finish(status, reason)

    def run(self) -> None:
        """Take it to its end."""
        hosts = self.hosts(int(self.request["ResourceConfig"].get("InstanceCount") or 1))
        seconds = float((self.request.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds") or LONGEST_SECONDS)
        while True:
            self.enter("Downloading", "Downloading input data")
            self._interruption = None
            for index, host in enumerate(hosts):
                self._lay_out(hosts, index, host)
            self.began = self.began or now()
            self.enter("Training", "Training image download completed. Training in progress.")
            begin = time.monotonic()
            codes, late = self.wait(self._launch(hosts), seconds)
            self.seconds += time.monotonic() - begin
            self._keep_checkpoints(hosts)
            if self._interruption is None or self.stop_asked.is_set():
                break
            self.enter("Interrupted", "Training job interrupted: its spot capacity was reclaimed")
            if not self._interruption:
                self.enter("MaxWaitTimeExceeded", "Training job ran longer than its maximum wait time")
                self.finish("Stopped")
                return
            self.stop_asked.wait(self.cloud.restart_seconds)
            self.enter("Restarting", "Preparing the instances for training")
        self._end(hosts, codes, late=late)

    def _end(self, hosts: Sequence[str], codes: Sequence[int], *, late: bool) -> None:
        stopped, failed = self.stop_asked.is_set() or late, next((code for code in codes if code), 0)
        self.enter("Uploading", "Uploading generated training model")
        if stopped or not failed:
            self._upload(hosts)
        if late:
            self.enter("MaxRuntimeExceeded", "Training job runtime exceeded MaxRuntimeInSeconds provided")
        if stopped:
            self.finish("Stopped")
        elif failed:
            told = next((text for host in hosts if (text := read_text(self.folder / host / "output" / "failure"))), "")
            raise JobError(f"AlgorithmError: {told}, exit code: {failed}")
        else:
            self.finish("Completed")

    def take_lines(self, host: str, lines: Sequence[str]) -> None:
        """Read the metrics of a log; take its instance away when it is time."""
        for line in lines if host == "algo-1" else ():
            for name, pattern in self._patterns:
                if (found := pattern.search(line)) is not None:
                    try:
                        value = float(found[1])
                    except ValueError:
                        continue
                    self.metrics.setdefault(name, []).append((value, now()))
        if self.request.get("EnableManagedSpotTraining"):
            restart = self.cloud.faults.take_interruption(lines)
            if restart is not None:
                self.interrupt(restart=restart)

    def interrupt(self, *, restart: bool = True) -> None:
        """Take its spot instance away."""
        self._interruption = restart
        for container in self.containers:
            container.kill()

    def _launch(self, hosts: Sequence[str]) -> list[Container]:
        specification = self.request["AlgorithmSpecification"]
        command = [
            *(specification.get("ContainerEntrypoint") or IMAGE_ENTRYPOINT),
            *(
                specification.get("ContainerArguments")
                or (() if specification.get("ContainerEntrypoint") else ("train",))
            ),
        ]
        named = {"TRAINING_JOB_NAME": self.name, "TRAINING_JOB_ARN": self.arn}
        return self.launch(hosts, command, {**named, **(self.request.get("Environment") or {})})

    def _lay_out(self, hosts: Sequence[str], index: int, host: str) -> None:
        folder = self.clear(host)
        config = folder / "input" / "config"
        channels = self.request.get("InputDataConfig") or []
        write_json(config / "hyperparameters.json", self.request.get("HyperParameters") or {})
        write_json(config / "inputdataconfig.json", {item["ChannelName"]: _channel(item) for item in channels})
        write_json(
            config / "resourceconfig.json",
            {
                "current_host": host,
                "hosts": list(hosts),
                "network_interface_name": "eth0",
                "current_instance_type": self.request["ResourceConfig"].get("InstanceType", ""),
            },
        )
        for name in ("model", "checkpoints", "output/data", "input/data"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for item in channels:
            target = folder / "input" / "data" / item["ChannelName"]
            unpack = item.get("CompressionType") == "Gzip"
            self.fill(target, item["DataSource"]["S3DataSource"], index, len(hosts), unpack=unpack)
        if (checkpoints := self.request.get("CheckpointConfig")) is not None:
            uri = checkpoints["S3Uri"].rstrip("/") + "/"
            if list_keys(self.cloud.s3, *split_uri(uri)):
                download(self.cloud.s3, objects_of(self.cloud.s3, uri, "S3Prefix"), self._checkpoints(host))

    def _checkpoints(self, host: str) -> Path:
        return self.inside(host, self.request["CheckpointConfig"].get("LocalPath") or f"{ML}/checkpoints")

    def _keep_checkpoints(self, hosts: Sequence[str]) -> None:
        if self.request.get("CheckpointConfig") is not None:
            for host in hosts:
                upload(self.cloud.s3, self._checkpoints(host), self.request["CheckpointConfig"]["S3Uri"])

    @property
    def artifacts(self) -> str:
        """Where its model goes."""
        output = self.request["OutputDataConfig"]
        base = f"{output['S3OutputPath'].rstrip('/')}/{self.name}/output/model"
        return f"{base}/" if output.get("CompressionType") == "NONE" else f"{base}.tar.gz"

    def _upload(self, hosts: Sequence[str]) -> None:
        models = [self.folder / host / "model" for host in hosts]
        data = [self.folder / host / "output" / "data" for host in hosts]
        if self.artifacts.endswith("/"):
            for folder in models:
                upload(self.cloud.s3, folder, self.artifacts)
            for folder in data:
                upload(self.cloud.s3, folder, self.artifacts.removesuffix("model/") + "data/")
        else:
            upload_archive(self.cloud.s3, models, self.artifacts)
            upload_archive(self.cloud.s3, data, self.artifacts.replace("model.tar.gz", "output.tar.gz"))

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        with self.lock:
            return present(
                {
                    "TrainingJobName": self.name,
                    "TrainingJobArn": self.arn,
                    "CreationTime": self.created,
                    "TrainingEndTime": self.ended,
                    "LastModifiedTime": self.modified,
                    "TrainingJobStatus": self.status,
                    "SecondaryStatus": self.secondary,
                }
            )

    def description(self) -> dict[str, Any]:
        """What DescribeTrainingJob tells."""
        with self.lock:
            spent = max(1, round(self.seconds)) if self.ended is not None and self.began is not None else None
            final = [
                {"MetricName": name, "Value": values[-1][0], "Timestamp": values[-1][1]}
                for name, values in self.metrics.items()
            ]
            left = self.status == "Completed" or (self.status == "Stopped" and self.secondary != "MaxWaitTimeExceeded")
            return present(
                {
                    "EnableNetworkIsolation": False,
                    "EnableInterContainerTrafficEncryption": False,
                    "EnableManagedSpotTraining": False,
                    **self.request,
                    **self.summary(),
                    "TuningJobArn": self.tuning_arn,
                    "TrainingStartTime": self.began,
                    "FailureReason": self.reason or None,
                    "SecondaryStatusTransitions": [dict(item) for item in self.transitions],
                    "FinalMetricDataList": final or None,
                    "TrainingTimeInSeconds": spent,
                    "BillableTimeInSeconds": spent,
                    "ModelArtifacts": {"S3ModelArtifacts": self.artifacts} if left else None,
                }
            )


def _channel(item: Mapping[str, Any]) -> dict[str, str]:
    source = item["DataSource"]["S3DataSource"]
    return {
        "TrainingInputMode": item.get("InputMode") or "File",
        "S3DistributionType": source.get("S3DataDistributionType") or "FullyReplicated",
        "RecordWrapperType": item.get("RecordWrapperType") or "None",
    }


# --- processing -------------------------------------------------------------------------------------------------------


class ProcessingJob(Job):
    """A processing job."""

    kind, noun, log_group = "processing-job", "processing job", "/aws/sagemaker/ProcessingJobs"

    def run(self) -> None:
        """Take it to its end."""
        cluster = self.request["ProcessingResources"]["ClusterConfig"]
        hosts = self.hosts(int(cluster["InstanceCount"]))
        for index, host in enumerate(hosts):
            self._lay_out(hosts, index, host)
        specification = self.request["AppSpecification"]
        command = [
            *(specification.get("ContainerEntrypoint") or IMAGE_ENTRYPOINT),
            *(specification.get("ContainerArguments") or ()),
        ]
        self.began = now()
        containers = self.launch(hosts, command, self.request.get("Environment") or {})
        seconds = float((self.request.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds") or LONGEST_SECONDS)
        codes, late = self.wait(containers, seconds)
        self.message = next(
            (text for host in hosts if (text := read_text(self.inside(host, f"{ML}/output/message")))), ""
        )
        failed = next((code for code in codes if code), 0)
        stopped = late or self.stop_asked.is_set()
        self._upload(hosts, whole=not failed and not stopped)
        if stopped:
            self.finish("Stopped", "ClientError: Job exceeded its MaxRuntimeInSeconds" if late else "")
        elif failed == 137:
            raise JobError(
                "ClientError: Please use an instance type with more memory, or reduce the size of job data processed "
                "on an instance."
            )
        elif failed:
            raise JobError("AlgorithmError: See job logs for more information")
        else:
            self.finish("Completed")

    def _lay_out(self, hosts: Sequence[str], index: int, host: str) -> None:
        folder = self.clear(host)
        write_json(folder / "config" / "processingjobconfig.json", {"ProcessingJobArn": self.arn, **self.request})
        write_json(folder / "config" / "resourceconfig.json", {"current_host": host, "hosts": list(hosts)})
        (folder / "output").mkdir()
        for item in self.request.get("ProcessingInputs") or []:
            source = item["S3Input"]
            target = self.inside(host, source["LocalPath"])
            self.fill(target, source, index, len(hosts), unpack=source.get("S3CompressionType") == "Gzip")
        for item in self._outputs():
            self.inside(host, item["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)

    def _outputs(self) -> list[dict[str, Any]]:
        return (self.request.get("ProcessingOutputConfig") or {}).get("Outputs") or []

    def _upload(self, hosts: Sequence[str], *, whole: bool) -> None:
        for item in self._outputs():
            output = item["S3Output"]
            if whole or output["S3UploadMode"] == "Continuous":
                for host in hosts:
                    upload(self.cloud.s3, self.inside(host, output["LocalPath"]), output["S3Uri"])

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        with self.lock:
            return present(
                {
                    "ProcessingJobName": self.name,
                    "ProcessingJobArn": self.arn,
                    "CreationTime": self.created,
                    "ProcessingEndTime": self.ended,
                    "LastModifiedTime": self.modified,
                    "ProcessingJobStatus": self.status,
                    "FailureReason": self.reason or None,
                    "ExitMessage": self.message or None,
                }
            )

    def description(self) -> dict[str, Any]:
        """What DescribeProcessingJob tells."""
        return present({**self.request, **self.summary(), "ProcessingStartTime": self.began})


# --- operations -------------------------------------------------------------------------------------------------------


def create_training_job(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateTrainingJob."""
    name = params["TrainingJobName"]
    if name in cloud.backend.training_jobs:
        raise in_use(
            "Training job names must be unique within an AWS account and region, and a training job with this name "
            f"already exists ({arn_of('training-job', name)})"
        )
    _check_spot(params)
    job = TrainingJob(cloud, name, params, params.get("Tags") or [])
    cloud.backend.training_jobs[name] = job
    job.start()
    return {"TrainingJobArn": job.arn}


def _check_spot(params: Mapping[str, Any]) -> None:
    condition = params.get("StoppingCondition") or {}
    wait, run = condition.get("MaxWaitTimeInSeconds"), condition.get("MaxRuntimeInSeconds", LONGEST_SECONDS)
    if params.get("EnableManagedSpotTraining"):
        if wait is None or wait < run:
            raise invalid(
                f"Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds ({run})"
            )
    elif wait is not None:
        raise invalid("MaxWaitTimeInSeconds is only supported for managed spot training")


def create_processing_job(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateProcessingJob."""
    name = params["ProcessingJobName"]
    if name in cloud.backend.processing_jobs:
        raise in_use(
            "Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({arn_of('processing-job', name)})"
        )
    job = ProcessingJob(cloud, name, params, params.get("Tags") or [])
    cloud.backend.processing_jobs[name] = job
    job.start()
    return {"ProcessingJobArn": job.arn}


def _training_job(cloud: Cloud, params: Mapping[str, Any]) -> TrainingJob:
    job = cloud.backend.training_jobs.get(params["TrainingJobName"])
    if job is None:
        raise invalid("Requested resource not found.")
    return job


def _processing_job(cloud: Cloud, params: Mapping[str, Any]) -> ProcessingJob:
    return named_job(cloud.backend.processing_jobs, params["ProcessingJobName"])


def _stop(job: Job) -> dict[str, Any]:
    job.stop()
    return {}


OPERATIONS = {
    "CreateTrainingJob": create_training_job,
    "DescribeTrainingJob": lambda cloud, params: _training_job(cloud, params).description(),
    "StopTrainingJob": lambda cloud, params: _stop(_training_job(cloud, params)),
    "ListTrainingJobs": job_listing("Training", lambda backend: backend.training_jobs),
    "CreateProcessingJob": create_processing_job,
    "DescribeProcessingJob": lambda cloud, params: _processing_job(cloud, params).description(),
    "StopProcessingJob": lambda cloud, params: _stop(_processing_job(cloud, params)),
    "ListProcessingJobs": job_listing("Processing", lambda backend: backend.processing_jobs),
}
