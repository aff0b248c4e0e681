"""Runs workloads as SageMaker processing jobs.

Here: what a workload is given in S3, and fetching what it left. Elsewhere: the life of a job
(`sagemaker.client`), the request for one (`processing_request`), what a workload does.

A job's name is a digest of what is made, the versions of its inputs, the code and the parameters. A run that was killed
finds its job again, running or completed, and its results, until they are published: then they are removed, and who asks
for the same once more gets a new attempt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.container.contract import MESSAGES_CHANNEL, encryption, host_order
from chronos_assets.container.remote_files import REMOTE_FILES, remote_files_document
from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.machines import missing_settings
from chronos_assets.platforms.aws.processing_request import InputSource, instances_for, processing_job
from chronos_assets.platforms.aws.sagemaker.client import PipesSageMakerClient, SageMakerInvocation
from chronos_assets.platforms.aws.sagemaker.faults import OutOfReach, Timing
from chronos_assets.platforms.aws.sagemaker.limits import LimitError, job_name_for
from chronos_assets.platforms.aws.sagemaker.messages import S3Place
from chronos_assets.platforms.aws.tags import PREFIX, STORE
from chronos_assets.platforms.jobs import JobError, JobRequest, JobResult, nothing_to_read
from chronos_assets.platforms.locked_folder import LockedFolder, lock_folder
from chronos_assets.platforms.notices import redact
from chronos_assets.platforms.store import ObjectInfo, StoreError, check_key
from chronos_assets.store_layout import JOBS_KEY, PIPES_KEY
from chronos_assets.system import text_digest
from chronos_assets.wording import counted

STARTING_SECONDS = 3600.0  # what a job may wait for its instance, beside its own time
CONCURRENCY = 8  # files fetched at once
_BUSY_SECONDS = 60.0  # how long to wait for another run of the same job on this machine


def pipes_client(aws: AwsDeployment, timing: Timing | None = None) -> PipesSageMakerClient:
    """The client of SageMaker's jobs, whose Pipes lie in the store."""
    return PipesSageMakerClient(
        bucket=aws.store.bucket,
        prefix=aws.store.object_key(PIPES_KEY),
        clients=aws.clients,
        code_location=aws.code_location,
        tag_prefix=PREFIX.rstrip(":"),
        attempts=aws.settings.job_attempts,
        redact=redact,
        encryption=encryption(aws.store.kms_key),
        timing=timing,
    )


class SageMakerJobs:
    """AWS's `Jobs`.

    Args:
        aws: the deployment.
        timing: every wait.
    """

    def __init__(self, aws: AwsDeployment, *, timing: Timing | None = None) -> None:
        self._clients, self._store = aws.clients, aws.store
        self._settings, self._code_location = aws.settings, aws.code_location
        self._client = pipes_client(aws, timing)

    def expect(self, workload: str) -> None:
        """See `Jobs.expect`: nothing; an instance costs from its start on."""

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """See `Jobs.run`."""
        self._check_settings(request)
        sources = {channel: self._source(request, channel) for channel in request.inputs}
        sources |= {channel: self._listed(objects) for channel, objects in request.objects.items()}
        sources |= {channel: self._remote(request, channel) for channel in request.remote}
        name = job_name_for(
            request.name,
            data_versions={channel: source.version for channel, source in sources.items()},
            code_version=f"{version('chronos-assets')} {self._settings.image} {self._settings.cpu_image}".rstrip(),
            parameters=[self._code_location, self._store.url, request.workload, dict(request.parameters)],
        )
        staging = lock_folder(self._store.scratch / "jobs" / name, "job", seconds=_BUSY_SECONDS, say=context.log.info)
        try:
            if request.sharded:
                self._report_instances(context.log, request, sources)
            self._lay_out(name, request, sources)
            done = self._run(context, name, request, sources)
            return self._result(context, name, request, done, staging)
        except LimitError as error:
            staging.close()
            raise JobError(f"{request.workload} job {name} failed: {error}") from error
        except BaseException:
            staging.close()
            raise

    def _report_instances(self, log: Any, request: JobRequest, sources: Mapping[str, InputSource]) -> None:
        used, wanted = instances_for(request, sources, self._settings), self._settings.forecast_instances
        if used < wanted:
            log.warning(
                f"{used} of CHRONOS_FORECAST_INSTANCES={wanted} instances: the {request.sharded} has "
                f"{counted(used, 'shard')}; its next import cuts it finer, where it has as many series"
            )
        else:
            log.info(f"instances: {used}")

    def _check_settings(self, request: JobRequest) -> None:
        missing = missing_settings(self._settings)
        if missing:
            raise JobError(
                f"{request.workload} job {request.name} failed: {' and '.join(missing)} not set: `chronos-assets doctor` "
                "says to what"
            )

    def _source(self, request: JobRequest, channel: str) -> InputSource:
        """What an input channel reads: the version that is shown now."""
        key = request.inputs[channel]
        try:
            shown, uri = self._store.shown_at(key)
        except FileNotFoundError:
            raise JobError(nothing_to_read(f"job {request.name}", self._store.uri(key), channel)) from None
        if channel != request.sharded:
            return InputSource(shown, uri)
        prefix = uri.removeprefix(f"{self._store.url}/").rstrip("/")
        names = sorted(info.key.removeprefix(f"{prefix}/") for info in self._store.list(prefix))
        return InputSource(shown, uri, tuple(names))

    def _remote(self, request: JobRequest, channel: str) -> InputSource:
        """What a channel reads of which the job fetches files by itself."""
        try:
            version, urls = self._store.addresses(request.remote[channel])
        except FileNotFoundError:
            raise JobError(f"job {request.name}: nothing at {self._store.uri(request.remote[channel])}") from None
        return InputSource(version, "", urls=urls)

    def _listed(self, objects: Sequence[ObjectInfo]) -> InputSource:
        """What a channel of single objects reads."""
        seen = "\n".join(f"{info.key} {info.etag}" for info in objects)
        return InputSource(
            text_digest(seen),
            f"{self._store.url}/",
            tuple(info.key for info in objects),
            listed=True,
        )

    def _lay_out(self, name: str, request: JobRequest, sources: Mapping[str, InputSource]) -> None:
        """Write what the job is given, the same for every attempt."""
        folder = f"{JOBS_KEY}/{name}"
        self._put_json(f"{folder}/parameters/parameters.json", request.parameters)
        if instances_for(request, sources, self._settings) > 1:
            source = sources[request.sharded]
            self._put_json(f"{folder}/dealt/{request.sharded}.json", source.manifest(source.parts))
            self._put_json(f"{folder}/shared/{request.sharded}.json", source.manifest(source.rest))
        for channel, source in sources.items():
            if source.urls:
                self._store.put(
                    f"{folder}/remote/{channel}/{REMOTE_FILES}", remote_files_document(source.urls).encode()
                )
            if source.listed:
                self._put_json(f"{folder}/listed/{channel}.json", source.manifest(source.objects))

    def _put_json(self, key: str, document: Any) -> None:
        self._store.put(key, json.dumps(document, ensure_ascii=False, allow_nan=False).encode())

    def _run(
        self, context: Any, name: str, request: JobRequest, sources: Mapping[str, InputSource]
    ) -> SageMakerInvocation:
        def of_attempt(attempt: str) -> Mapping[str, Any]:
            return processing_job(
                request,
                folder=self._store.uri(f"{JOBS_KEY}/{name}"),
                attempt=attempt,
                sources=sources,
                region=str(self._clients("sagemaker").meta.region_name),
                settings=self._settings,
            )

        def is_there(attempt: str, _description: Mapping[str, Any]) -> bool:
            return self._store.exists(self._first_message(attempt)) and (
                not request.outputs or any(True for _ in self._output_keys(name, attempt))
            )

        try:
            return self._client.run(
                context=context,
                kind="processing",
                request=of_attempt,
                name=name,
                tags={**dict(self._settings.tags), STORE: self._store.url},
                timeout=self._settings.job_seconds + STARTING_SECONDS,
                usable=is_there,
            )
        except OutOfReach as error:
            raise JobError(f"{request.workload} job {name}: {error}", transient=True) from error
        except dg.Failure as failure:
            raise JobError(str(failure), failure.metadata) from failure

    def _first_message(self, attempt: str) -> str:
        """Store key of the first messages of an attempt: what is removed before all else, once its results are published."""
        place = S3Place(self._store.bucket, self._store.object_key(PIPES_KEY), attempt)
        return place.key("1.json").removeprefix(f"{self._store.prefix}/" if self._store.prefix else "")

    def _output_keys(self, name: str, attempt: str) -> Iterator[str]:
        """Store keys of the files that an attempt left."""
        return (info.key for info in self._store.list(_output_folder(name, attempt)))

    def _result(
        self, context: Any, name: str, request: JobRequest, done: SageMakerInvocation, staging: LockedFolder
    ) -> JobResult:
        root = self._store.scratch / "jobs" / name
        if root.exists():  # of a run that was killed, or could not publish it
            shutil.rmtree(root)
        self._fetch(name, done.name, root, request.stored)
        cluster = done.description["ProcessingResources"]["ClusterConfig"]
        several = int(cluster["InstanceCount"]) > 1
        fetched = [channel for channel in request.outputs if channel not in request.stored]
        instances = _instances(root, fetched) if several else ()
        for channel in fetched:
            for part in instances or ("",):
                (root / channel / part).mkdir(parents=True, exist_ok=True)
        messages = (*done.get_custom_messages(), *_messages(root / MESSAGES_CHANNEL))

        def remove() -> None:
            try:
                self._store.delete(self._first_message(done.name))
                self._store.delete_all([info.key for info in self._store.list(f"{JOBS_KEY}/{name}")])
            except StoreError as error:
                context.log.warning(f"what {done.name} left stays until the bucket's rules remove it: {error}")

        return JobResult(
            outputs={channel: root / channel for channel in fetched},
            messages=messages,
            seconds=float(done.facts.get("seconds", 0.0)),
            files=_JobOutputs(staging, remove),
            instances=instances,
            facts=done.facts,
            stored={channel: f"{_output_folder(name, done.name)}/{channel}" for channel in request.stored},
        )

    def _fetch(self, name: str, attempt: str, root: Path, stored: Sequence[str]) -> None:
        prefix = f"{_output_folder(name, attempt)}/"

        def fetch(key: str) -> None:
            target = root / check_key(key.removeprefix(prefix))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # of a run that was killed
            self._store.download(key, target)

        with ThreadPoolExecutor(CONCURRENCY) as pool:
            keys = self._output_keys(name, attempt)
            list(pool.map(fetch, (key for key in keys if key.removeprefix(prefix).partition("/")[0] not in stored)))


def _output_folder(name: str, attempt: str) -> str:
    """Store key of the folder that holds what an attempt left."""
    return f"{JOBS_KEY}/{name}/output/{attempt}"


class _JobOutputs:
    """What a finished job left, here and in the bucket."""

    def __init__(self, staging: LockedFolder, remove: Callable[[], None]) -> None:
        self._staging = staging
        self._remove = remove
        self._open = True

    def close(self, *, keep: bool = False) -> None:
        """See `JobFiles.close`."""
        if self._open and not keep:
            self._remove()
        self._open = False
        self._staging.close(keep=keep)


def _instances(root: Path, outputs: Sequence[str]) -> tuple[str, ...]:
    """Names of the instances that left parts of the outputs."""
    found = {path.name for channel in outputs if (root / channel).is_dir() for path in (root / channel).iterdir()}
    return tuple(sorted(found, key=host_order))


def _messages(folder: Path) -> Iterator[Mapping[str, Any]]:
    """What instances that Dagster didn't listen to had to say, in their order."""
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: host_order(path.stem)):
        yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line)
