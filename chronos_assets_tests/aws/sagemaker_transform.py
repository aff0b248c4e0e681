"""Batch transform jobs: a model's container is asked with every object, or every line of it.

Here: the life of a transform job and the operations on it. Elsewhere: the container
(`serving_process.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chronos_assets_tests.aws.cloud import Cloud, arn_of, in_use, invalid, job_listing, named_job, now
from chronos_assets_tests.aws.job_process import JobError, objects_of, split_uri
from chronos_assets_tests.aws.running_job import Job, present
from chronos_assets_tests.aws.sagemaker_endpoints import container_of
from chronos_assets_tests.aws.serving_process import ServingContainer


class TransformJob(Job):
    """A transform job, on one instance."""

    kind, noun, log_group = "transform-job", "transform job", "/aws/sagemaker/TransformJobs"
    _serving: ServingContainer | None = None

    def run(self) -> None:
        """Take it to its end."""
        model = self.cloud.backend._models[self.request["ModelName"]]
        self._serving = ServingContainer(
            self.cloud,
            container_of(model),
            self.folder / "algo-1",
            log_group=self.log_group,
            log_stream=self._stream.format(host="i-00000000000000001"),
            environment=self.request.get("Environment") or {},
        )
        self._serving.start()
        try:
            self.began = now()
            if not self._serving.wait(self.cloud.ping_seconds):
                raise JobError("AlgorithmError: See job logs for more information")
            source = self.request["TransformInput"]["DataSource"]["S3DataSource"]
            for bucket, key, name in objects_of(self.cloud.s3, source["S3Uri"], source["S3DataType"]):
                if not self.stop_asked.is_set():
                    self._transform(bucket, key, name)
        finally:
            self._serving.kill()
        self.finish("Stopped" if self.stop_asked.is_set() else "Completed")

    def abandon(self) -> None:
        """End it at once, whatever it does, and wait until it is gone."""
        if self._serving is not None:
            self._serving.kill()
        super().abandon()

    def _transform(self, bucket: str, key: str, name: str) -> None:
        body = self.cloud.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        asked, told = self.request["TransformInput"], self.request["TransformOutput"]
        lines = asked.get("SplitType") == "Line" and self.request.get("BatchStrategy") == "SingleRecord"
        records = [line for line in body.splitlines(keepends=True) if line.strip()] if lines else [body]
        answers = [self._ask(record, key) for record in records]
        if told.get("AssembleWith") == "Line":
            answers = [answer.rstrip(b"\n") + b"\n" for answer in answers]
        target, prefix = split_uri(told["S3OutputPath"])
        place = f"{prefix.rstrip('/')}/{name}.out".lstrip("/")
        self.cloud.s3.put_object(Bucket=target, Key=place, Body=b"".join(answers))

    def _ask(self, record: bytes, key: str) -> bytes:
        assert self._serving is not None
        headers = {
            "Content-Type": self.request["TransformInput"].get("ContentType"),
            "Accept": self.request["TransformOutput"].get("Accept"),
        }
        try:
            answer = self._serving.invoke(record, {name: value for name, value in headers.items() if value})
        except OSError as error:
            raise JobError(f"AlgorithmError: {key}: {error}") from error
        if answer.status >= 300:
            told = answer.body.decode("utf-8", "replace")
            raise JobError(f"ClientError: {key}: the algorithm answered {answer.status}: {told}")
        return answer.body

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        with self.lock:
            return present(
                {
                    "TransformJobName": self.name,
                    "TransformJobArn": self.arn,
                    "CreationTime": self.created,
                    "TransformEndTime": self.ended,
                    "LastModifiedTime": self.modified,
                    "TransformJobStatus": self.status,
                    "FailureReason": self.reason or None,
                }
            )

    def description(self) -> dict[str, Any]:
        """What DescribeTransformJob tells."""
        summary = self.summary()
        del summary["LastModifiedTime"]
        return present({**self.request, **summary, "TransformStartTime": self.began})


def create_transform_job(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateTransformJob."""
    name = params["TransformJobName"]
    if name in cloud.backend.transform_jobs:
        raise in_use(
            "Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({arn_of(TransformJob.kind, name)})"
        )
    if params["ModelName"] not in cloud.backend._models:
        raise invalid(f'Could not find model "{arn_of("model", params["ModelName"])}".')
    job = TransformJob(cloud, name, params, params.get("Tags") or [])
    cloud.backend.transform_jobs[name] = job
    job.start()
    return {"TransformJobArn": job.arn}


def _transform_job(cloud: Cloud, params: Mapping[str, Any]) -> TransformJob:
    return named_job(cloud.backend.transform_jobs, params["TransformJobName"])


def stop_transform_job(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """StopTransformJob."""
    _transform_job(cloud, params).stop()
    return {}


OPERATIONS = {
    "CreateTransformJob": create_transform_job,
    "DescribeTransformJob": lambda cloud, params: _transform_job(cloud, params).description(),
    "StopTransformJob": stop_transform_job,
    "ListTransformJobs": job_listing("Transform", lambda backend: backend.transform_jobs),
}
