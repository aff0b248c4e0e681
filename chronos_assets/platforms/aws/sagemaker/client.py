"""`PipesSageMakerClient`: SageMaker jobs as Dagster's own external processes.

Here: the life of a job: its name, finding or creating it, waiting, stopping, another attempt. Elsewhere:
what runs in it, and any other part of the project: this package imports nothing but itself, Dagster and boto3.

- *A job is paid for once.* Its name follows from what it makes. A run that finds a job of that name attaches to it if it
  is running, takes its result if it is completed, and makes a further attempt (`<name>-a2`, ...) if it failed.
- *Cancel means stop.* A run that is interrupted stops its job, waits until it has ended, and continues with ending itself.
- *Faults pass.* Throttling and outages are waited out. A job that SageMaker had no capacity for, or took the spot
  instances of, gets another attempt, a few times.
- *A failure says why*: the reason that the job left, and the last lines of its log.

```python
client = PipesSageMakerClient(bucket="my-bucket", code_location="forecasting")

@dg.asset
def model(context: dg.AssetExecutionContext, sagemaker: PipesSageMakerClient):
    request = {"AlgorithmSpecification": {...}, "RoleArn": ..., "ResourceConfig": {...}, ...}
    return sagemaker.run(context=context, kind="training", request=request).get_materialize_result()
```

https://docs.dagster.io/guides/build/external-pipelines/dagster-pipes-details-and-customization
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import PipesClientCompletedInvocation, PipesSession, open_pipes_session
from dagster._core.definitions.resource_annotation import TreatAsResourceParam

from chronos_assets.platforms.aws.sagemaker.api import JobApi, NoCapacity, Refused, Vanished
from chronos_assets.platforms.aws.sagemaker.faults import OutOfReach, Timing, is_worth_another, text_of, waits
from chronos_assets.platforms.aws.sagemaker.kinds import (
    KINDS,
    RUNNING,
    JobKind,
    Kind,
    facts_of,
    is_out_of_time,
    is_spot_out_of_time,
    reason_of,
    status_of,
    step_of,
)
from chronos_assets.platforms.aws.sagemaker.limits import MAX_ATTEMPT, attempt_name, check_name, job_name_for, tag
from chronos_assets.platforms.aws.sagemaker.messages import (
    PlacedS3ContextInjector,
    PlacedS3MessageReader,
    S3Place,
    silent_session,
)

Request = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]
Usable = Callable[[str, Mapping[str, Any]], bool]

NAMELESS = "a-job"  # stands for the name in a request that the name is made from
TAIL_LINES = 20


class SageMakerInvocation(PipesClientCompletedInvocation):
    """A completed job.

    Attributes:
        name: of the attempt that completed.
        description: what `Describe...Job` says of it.
        facts: instance type and count, seconds, billable seconds, spot savings, URLs; plain values.
    """

    def __init__(
        self, session: PipesSession, *, name: str, description: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        super().__init__(session, metadata=_metadata(facts))
        self.name = name
        self.description = description
        self.facts = facts


@dataclass(frozen=True)
class _RunPlan:
    """What `run` was asked for, the same for every attempt."""

    context: Any
    api: JobApi
    base: str
    request: Callable[[str], Mapping[str, Any]]
    extras: Mapping[str, Any] | None
    tags: tuple[dict[str, str], ...]
    pipes: bool
    tail: bool
    deadline: float | None
    timeout: float | None
    usable: Usable
    on_status: Callable[[Mapping[str, Any]], None] | None

    @property
    def kind(self) -> Kind:
        return self.api.kind

    @property
    def word(self) -> str:
        return self.kind.word


@dataclass(frozen=True)
class _AttemptEnd:
    """An attempt that has ended; `found` is how it was come by: created, attached or reused."""

    name: str
    description: Mapping[str, Any]
    session: PipesSession
    found: str


class PipesSageMakerClient(dg.PipesClient, TreatAsResourceParam):
    """A Pipes client for processing, training, hyperparameter tuning and transform jobs.

    Args:
        bucket: S3 bucket for Pipes' context and messages, which the job's role must be allowed to read and write.
        prefix: of Pipes' objects in it.
        clients: gives a boto3 client by the name of its service (`sagemaker`, `s3`, `logs`); made when not given.
        code_location: goes into the tags of every job, so that those whose run is gone can be found.
        tag_prefix: of the names of these tags: `<tag_prefix>:run-id`, ...
        attempts: at a job for which there was no capacity, or that spot instances were taken from, in one run.
        forward_termination: whether to stop the job when the run is interrupted.
        redact: takes secrets out of log lines before they are shown in the run.
        encryption: arguments of S3's `put_object` for Pipes' context (`ServerSideEncryption`, ...).
        timing: every wait.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = ".pipes",
        clients: Callable[[str], Any] | None = None,
        code_location: str = "",
        tag_prefix: str = "dagster",
        attempts: int = 3,
        forward_termination: bool = True,
        redact: Callable[[str], str] = str,
        encryption: Mapping[str, str] | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._given = clients
        self._made: dict[str, Any] = {}
        self._code_location = code_location
        self._tag_prefix = tag_prefix
        self._attempts = attempts
        self.forward_termination = forward_termination
        self._redact = redact
        self._encryption = encryption
        self._timing = timing or Timing()

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    def run(  # type: ignore[override]
        self,
        *,
        context: Any,
        kind: JobKind,
        request: Request,
        extras: Mapping[str, Any] | None = None,
        name: str = "",
        data_versions: Mapping[str, str] | None = None,
        code_version: str = "",
        tags: Mapping[str, str] | None = None,
        pipes: bool | None = None,
        tail_logs: bool | None = None,
        timeout: float | None = None,
        usable: Usable | None = None,
        on_status: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> SageMakerInvocation:
        """Run a job to its end, or find the one that an earlier run began.

        Args:
            context: the asset's or op's execution context.
            kind: `processing`, `training`, `tuning` or `transform`.
            request: arguments of `Create...Job` without the job's name; or a function that gives them for the name of an
                attempt, where folders are called after it.
            extras: for the container, through Pipes.
            name: of the job, in place of the one made from the arguments that follow (`job_name_for`).
            data_versions: of the job's inputs, by their names. code_version: of what runs in it.
            code_version: of the assets that the job makes.
            tags: of the job, beside those of code location, run, asset and partition.
            pipes: whether the container speaks Pipes. Processing and training jobs do by default; others can't.
            tail_logs: whether to show its log lines as they come; by default only where Pipes doesn't report progress.
            timeout: seconds until the job is stopped, waiting for an instance included; none if not given.
            usable: whether the result of a completed job, of which its name and description are given, is still there.
            on_status: gets every new description of the job.

        Raises:
            dagster.Failure: the job failed, was stopped by somebody else or ran out of time; its description starts with
                the reason in one line.
            LimitError: SageMaker would refuse the request.
        """
        form = KINDS[kind]
        speaks = _speaks_pipes(form, pipes)
        make = request if callable(request) else _always(request)
        base = name or _name(context, form, make(NAMELESS), data_versions, code_version)
        return self._run(
            _RunPlan(
                context=context,
                api=JobApi(self._client, form, self._timing),
                base=check_name(base, form.longest_name),
                request=make,
                extras=extras,
                tags=self._tags(context, tags or {}),
                pipes=speaks,
                tail=not speaks if tail_logs is None else tail_logs,
                deadline=None if timeout is None else time.monotonic() + timeout,
                timeout=timeout,
                usable=usable or (lambda _name, _description: True),
                on_status=on_status,
            )
        )

    # One attempt after the other

    def _run(self, plan: _RunPlan) -> SageMakerInvocation:
        pauses = waits(self._timing.capacity_first, self._timing.capacity_most)
        number, tries = 1, 0
        while True:
            number, found = self._find(plan, number)
            name = attempt_name(plan.base, number)
            tries += 1
            try:
                ended = self._attempt(plan, name, found)
            except NoCapacity as refused:
                if tries >= self._attempts:
                    raise dg.Failure(
                        f"{plan.word} {name} failed: no capacity in {tries} attempts: {refused}; ask for a higher quota, "
                        "or take another instance type"
                    ) from refused
                self._pause(plan, next(pauses), f"there is no capacity: {refused}")
                continue
            except Refused as refused:
                raise dg.Failure(f"{plan.word} {name} failed: SageMaker refused it: {refused}") from refused
            except Vanished as gone:
                raise dg.Failure(f"{plan.word} {name} failed: {gone}") from gone
            if status_of(plan.kind, ended.description) == "Completed":
                return self._invocation(plan, ended, tries)
            if not _deserves_another(plan.kind, ended.description) or tries >= self._attempts:
                raise self._failure(plan, ended, tries)
            self._pause(plan, next(pauses), f"{name} ended: {reason_of(ended.description)}")
            number += 1

    def _find(self, plan: _RunPlan, number: int) -> tuple[int, Mapping[str, Any] | None]:
        """The first attempt, from `number` on, that runs, has a usable result, or isn't there yet."""
        for candidate in range(number, MAX_ATTEMPT + 1):
            name = attempt_name(plan.base, candidate)
            found = plan.api.describe(name)
            if found is not None and status_of(plan.kind, found) == "Stopping":
                plan.context.log.info(f"[pipes] {plan.word} {name} of an earlier run is being stopped")
                found = plan.api.wait_stopped(name)
            status = found and status_of(plan.kind, found)
            if found is None or status == "InProgress" or (status == "Completed" and plan.usable(name, found)):
                return candidate, found
        raise dg.Failure(
            f"{plan.word} {plan.base} failed: there are {MAX_ATTEMPT} attempts at it already: look at their logs, and "
            "change what it is made from"
        )

    def _attempt(self, plan: _RunPlan, name: str, found: Mapping[str, Any] | None) -> _AttemptEnd:
        """One attempt, until it has ended."""
        with self._session(plan, name, new=found is None) as (session, reader):
            try:
                how, first = ("attached", found) if found else self._create(plan, name, session)
                if status_of(plan.kind, first) == "Completed":
                    how = "reused"
                self._report_start(plan, name, how, first)
                description = self._wait(plan, name, first)
            except BaseException as error:
                self._give_up(plan, name, error)
                raise
        if reader is not None and reader.failure is not None:
            raise dg.Failure(
                f"{plan.word} {name} failed: its messages in S3 could not be read: {text_of(reader.failure)}; a retry "
                "finds the job and reads them again"
            ) from reader.failure
        return _AttemptEnd(name, description, session, how)

    def _create(self, plan: _RunPlan, name: str, session: PipesSession) -> tuple[str, Mapping[str, Any]]:
        request = copy.deepcopy(dict(plan.request(name)))
        if plan.pipes:
            request["Environment"] = {**request.get("Environment", {}), **session.get_bootstrap_env_vars()}
        ours = {item["Key"] for item in plan.tags}
        request["Tags"] = [*(item for item in request.get("Tags", ()) if item["Key"] not in ours), *plan.tags]
        request[plan.kind.name] = name
        created, description = plan.api.create(request)
        return "created" if created else "attached", description

    def _wait(self, plan: _RunPlan, name: str, description: Mapping[str, Any]) -> Mapping[str, Any]:
        """Wait for a job's end; its last description."""
        tail = plan.api.tail(name, self._show) if plan.tail else None
        pauses = waits(self._timing.poll_first, self._timing.poll_most)
        reported = ""
        while True:
            step = step_of(plan.kind, description)
            if step != reported:
                plan.context.log.info(f"[pipes] {plan.word} {name}: {step}")
                reported = step
                pauses = waits(self._timing.poll_first, self._timing.poll_most)
            if plan.on_status is not None:
                plan.on_status(description)
            over = status_of(plan.kind, description) not in RUNNING
            if tail is not None:
                tail.poll(now=over)
            if over:
                return description
            if plan.deadline is not None and time.monotonic() > plan.deadline:
                raise dg.Failure(
                    f"{plan.word} {name} failed: it was not done after {plan.timeout:g} seconds, and is stopped",
                    metadata=_metadata(plan.api.urls(name)),
                )
            time.sleep(next(pauses))
            description = plan.api.must_describe(name)

    def _pause(self, plan: _RunPlan, seconds: float, why: str) -> None:
        plan.context.log.warning(f"[pipes] {plan.word}: another attempt in {seconds:.0f} s, since {why}")
        time.sleep(seconds)

    def _give_up(self, plan: _RunPlan, name: str, error: BaseException) -> None:
        """Stop a job that nobody waits for any more, unless a retry is to find it."""
        log, word = plan.context.log, f"{plan.word} {name}"
        if isinstance(error, NoCapacity | Refused | Vanished):
            return
        if isinstance(error, OutOfReach):
            log.warning(f"[pipes] {word} continues, and a retry of this step finds it: {error}")
            return
        if not isinstance(error, Exception) and not self.forward_termination:
            log.warning(f"[pipes] the run is interrupted, and {word} continues")
            return
        try:
            if plan.api.describe(name) is None:
                return
            log.warning(f"[pipes] stopping {word}")
            plan.api.stop(name)
            log.warning(f"[pipes] {word}: {step_of(plan.kind, plan.api.wait_stopped(name))}")
        except Exception as trouble:  # noqa: BLE001 - what led here is raised
            log.error(
                f"[pipes] {word} could not be stopped ({text_of(trouble)}): stop it at "
                f"{plan.api.urls(name)['console_url']}"
            )

    # What people see

    def _report_start(self, plan: _RunPlan, name: str, how: str, description: Mapping[str, Any]) -> None:
        urls = plan.api.urls(name)
        plan.context.log.info(f"[pipes] {plan.word} {name}: {how}; log {urls['log_url']}, page {urls['console_url']}")
        if how == "attached":
            # It is this run's now: who looks for jobs whose run is gone must not take it for one.
            plan.api.tag(str(description[plan.kind.arn]), plan.tags)

    def _show(self, line: str) -> None:
        sys.stdout.write(self._redact(line) + "\n")

    def _invocation(self, plan: _RunPlan, ended: _AttemptEnd, tries: int) -> SageMakerInvocation:
        facts = {
            **plan.api.urls(ended.name),
            "job_arn": str(ended.description[plan.kind.arn]),
            **facts_of(plan.kind, ended.description),
            "found": ended.found,
            "attempts": tries,
        }
        return SageMakerInvocation(ended.session, name=ended.name, description=ended.description, facts=facts)

    def _failure(self, plan: _RunPlan, ended: _AttemptEnd, tries: int) -> dg.Failure:
        reason = self._redact(reason_of(ended.description))
        if is_out_of_time(ended.description):
            reason = f"it ran longer than its StoppingCondition allows ({reason})"
        elif status_of(plan.kind, ended.description) == "Stopped" and not is_spot_out_of_time(ended.description):
            reason = f"it was stopped, not by this run ({reason})"
        description = f"{plan.word} {ended.name} failed: {reason}"
        if tries > 1:
            description += f" (the last of {tries} attempts)"
        tail = self._last_lines(plan, ended.name)
        if tail:
            description += "\nLast lines of its log:\n" + "\n".join(tail)
        facts = {
            "reason": reason,
            **plan.api.urls(ended.name),
            **facts_of(plan.kind, ended.description),
            "attempts": tries,
        }
        return dg.Failure(description, metadata=_metadata(facts))

    def _last_lines(self, plan: _RunPlan, name: str) -> list[str]:
        try:
            return [self._redact(line) for line in plan.api.last_lines(name, TAIL_LINES)]
        except Exception as error:  # noqa: BLE001 - the job's reason counts, not why its log can't be read
            plan.context.log.warning(f"[pipes] the log of {name} could not be read: {text_of(error)}")
            return []

    # Parts

    @contextmanager
    def _session(
        self, plan: _RunPlan, name: str, *, new: bool
    ) -> Iterator[tuple[PipesSession, PlacedS3MessageReader | None]]:
        if not plan.pipes:
            yield silent_session(plan.context, plan.extras), None
            return
        place = S3Place(self._bucket, self._prefix, name, plan.kind.longest_variable)
        reader = PlacedS3MessageReader(self._client("s3"), place, self._timing)
        if new:
            reader.forget()
        with open_pipes_session(
            context=plan.context,
            context_injector=PlacedS3ContextInjector(self._client("s3"), place, self._encryption),
            message_reader=reader,
            extras=dict(plan.extras or {}),
        ) as session:
            yield session, reader

    def _tags(self, context: Any, tags: Mapping[str, str]) -> tuple[dict[str, str], ...]:
        asset, partition = _asset_and_partition(context)
        ours = {
            "code-location": self._code_location,
            "run-id": context.run_id,
            "asset": asset,
            "partition": partition,
        }
        given = {**tags, **{f"{self._tag_prefix}:{name}": value for name, value in ours.items() if value}}
        return tuple(tag(key, value) for key, value in given.items())

    def _client(self, service: str) -> Any:
        if self._given is not None:
            return self._given(service)
        if service not in self._made:
            import boto3

            self._made[service] = boto3.client(service)
        return self._made[service]


def _always(request: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any]]:
    return lambda _name: request


def _name(
    context: Any, kind: Kind, request: Mapping[str, Any], data_versions: Mapping[str, str] | None, code_version: str
) -> str:
    asset, partition = _asset_and_partition(context)
    return job_name_for(
        asset or context.op_handle.name,
        partition=partition,
        data_versions=data_versions,
        code_version=code_version,
        parameters={key: value for key, value in request.items() if key not in ("Tags", kind.name)},
        max_length=kind.longest_name,
    )


def _asset_and_partition(context: Any) -> tuple[str, str]:
    """Asset keys and partition keys of a step, as text; empty where it has none."""
    keys = sorted(context.selected_asset_keys) if context.has_assets_def else []
    asset = "+".join(key.to_user_string() for key in keys)
    if not context.has_partition_key:
        return asset, ""
    if not context.has_partition_key_range:
        return asset, str(context.partition_key)
    span = context.partition_key_range
    return asset, span.start if span.start == span.end else f"{span.start}...{span.end}"


def _speaks_pipes(form: Kind, asked: bool | None) -> bool:
    """Whether a job reports over Pipes: what was asked, else whether its kind can."""
    if asked and not form.longest_variable:
        raise ValueError(f"a {form.word} can't use Pipes: call run() with pipes=False")
    return bool(form.longest_variable) if asked is None else asked


def _deserves_another(kind: Kind, description: Mapping[str, Any]) -> bool:
    status = status_of(kind, description)
    if status == "Stopped":
        return is_spot_out_of_time(description)
    return status == "Failed" and is_worth_another(str(description.get("FailureReason") or ""))


def _metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: dg.MetadataValue.url(value) if key.endswith("_url") else value
        for key, value in facts.items()
        if value not in (None, "")
    }
