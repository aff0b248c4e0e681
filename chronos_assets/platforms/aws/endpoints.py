"""Endpoints in SageMaker: realtime, serverless or asynchronous.

Here: making, updating, trying, describing and deleting them. Elsewhere: what a model and a configuration hold
(`endpoint_request`), where the model's files are (`endpoint_models`), asking (`endpoint_calls`), finding by tags (`lineage`),
what a server answers (`workloads.serve`).

**Blue/green.** `UpdateEndpoint` starts the new instances beside the old ones and moves the traffic when they answer. It can
roll back silently, when they don't or when an alarm goes off; so the configuration in use is compared afterwards.
Then the golden request is asked. Only when it was answered are the old configuration and model deleted; when it wasn't, the
endpoint is brought back to the old configuration, which is there until then.

**Interrupted at any moment**, a deployment continues in SageMaker. The next one waits for it, and finds by the endpoint's tag
`proven`, the last configuration that answered the golden request, what is left to do: to try, to bring back, to delete.

**Only what is ours** is touched: every thing is tagged with the deployment's code location and its store.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.endpoint_calls import EndpointCalls
from chronos_assets.platforms.aws.endpoint_faults import NotSwitchedError, UnansweredError, log_group
from chronos_assets.platforms.aws.endpoint_models import model_source
from chronos_assets.platforms.aws.endpoint_request import (
    VARIANT,
    EndpointPlan,
    check_endpoint_name,
    check_model,
    plan,
    stem,
    update_policy,
)
from chronos_assets.platforms.aws.lineage import Kind, Lineage
from chronos_assets.platforms.aws.refusals import fine_if, is_taken, refusals
from chronos_assets.platforms.aws.sagemaker.faults import OutOfReach, Timing, code_of, is_gone, looks, text_of, waits
from chronos_assets.platforms.aws.sagemaker.kinds import console_page, log_page
from chronos_assets.platforms.aws.sagemaker.logs import last_lines
from chronos_assets.platforms.aws.tags import IDENTITY, PROVEN, VERSION, tag_value
from chronos_assets.platforms.endpoints import (
    EndpointError,
    EndpointRequest,
    EndpointState,
    golden_problem,
    not_deployed,
)
from chronos_assets.platforms.notices import redact
from chronos_assets.settings import AwsSettings
from chronos_assets.store_layout import ENDPOINTS_KEY

_BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
_ANSWERS = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed"})
_TRIES = 5  # of what SageMaker does not see yet, or is not ready for


@dataclass(frozen=True)
class _EndpointStatus:
    """An endpoint as it is.

    Attributes:
        status: SageMaker's; config: name of the configuration in use.
        reason: why it failed; empty also where SageMaker doesn't say.
        tags: its own, of which `proven` is the configuration that answered the golden request last.
        described: what `DescribeEndpoint` reports.
    """

    name: str
    arn: str
    status: str
    config: str
    reason: str
    tags: Mapping[str, str]
    described: Mapping[str, Any]

    @property
    def proven(self) -> str:
        return self.tags.get(PROVEN, "")

    @property
    def asynchronous(self) -> bool:
        return "AsyncInferenceConfig" in self.described


class SageMakerEndpoints:
    """`Endpoints` in SageMaker.

    Args:
        aws: the deployment.
        poll_first, poll_most: seconds between two looks at an endpoint that changes.
        answer_seconds: how long an asynchronous endpoint may take for an answer, and a new one for its first.
        answer_poll_seconds: between two looks for that.
    """

    def __init__(
        self,
        aws: AwsDeployment,
        *,
        poll_first: float = 5.0,
        poll_most: float = 30.0,
        answer_seconds: float = 600.0,
        answer_poll_seconds: float = 1.0,
    ) -> None:
        self._aws = aws
        self._clients, self._store, self._settings = aws.clients, aws.store, aws.settings
        self._lineage = Lineage(
            aws.clients, aws.code_location, aws.store.url, poll_first=min(poll_first, 2.0), poll_most=poll_most
        )
        self._poll_first = poll_first
        self._poll_most = poll_most
        self._calls = EndpointCalls(
            aws.clients, aws.store, answer_seconds=answer_seconds, poll_seconds=answer_poll_seconds
        )

    # --- what `Endpoints` asks for ------------------------------------------------------------------------------------

    def deploy(self, request: EndpointRequest, log: Any) -> EndpointState:
        """See `Endpoints.deploy`.

        Raises:
            EndpointError: the new one failed, with SageMaker's reason and the end of its log; the old one, if there was
                one, still answers. Also if an endpoint of that name is there which this deployment did not make.
        """
        check_endpoint_name(request.name)
        check_model(request.model)
        with self._refusals(f"deploying endpoint {request.name}"):
            there = self._settled(request.name, log)
            if there is not None and there.status == "Failed":
                log.info(f"endpoint {request.name} has failed ({there.reason}) and can only be deleted: it is rebuilt")
                self._lineage.delete("endpoint", request.name)
                there = None
            wanted = plan(
                request,
                self._settings,
                model_source(self._store, self._settings.endpoint, request),
                self._calls.answers(request.name),
            )
            current = (wanted.name, wanted.name, "InService")
            changed = there is None or (there.config, there.proven, there.status) != current
            if changed:
                there = self._change(request, wanted, there, log)
            assert there is not None  # noqa: S101 - it is, or it was made
            self._remove_unused(there, log)
            return self._state(there, changed=changed)

    def describe(self, name: str) -> EndpointState | None:
        """See `Endpoints.describe`. One that others made is none of ours."""
        check_endpoint_name(name)
        with self._refusals(f"describing endpoint {name}"):
            there = self._look(name)
            return None if there is None or there.status == "Deleting" else self._state(there)

    def invoke(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Endpoints.invoke`."""
        check_endpoint_name(name)
        with self._refusals(f"asking endpoint {name}"):
            there = self._look(name)
            if there is None:
                raise EndpointError(f"there is no endpoint {name!r}: materialize the asset that deploys it")
            return self._calls.ask(name, document, asynchronous=there.asynchronous)

    def delete(self, name: str) -> bool:
        """See `Endpoints.delete`. Its configurations and models go with it."""
        check_endpoint_name(name)
        with self._refusals(f"deleting endpoint {name}"):
            there = self._settled(name, None, alone=False)
            if there is not None:
                self._lineage.delete("endpoint", name)
            for kind in _PARTS:
                for part in list(self._lineage.find(kind, name_contains=stem(name), endpoint=name)):
                    self._lineage.delete(kind, part)
            for item in list(self._store.list(f"{ENDPOINTS_KEY}/{name}")):
                self._store.delete(item.key)
            return there is not None

    # --- deploying ----------------------------------------------------------------------------------------------------

    def _change(
        self, request: EndpointRequest, wanted: EndpointPlan, there: _EndpointStatus | None, log: Any
    ) -> _EndpointStatus:
        """Serve what is wanted, and see that it answers.

        Raises:
            EndpointError: it doesn't; what was served before is, again.
        """
        started = time.monotonic()
        before = there.proven or there.config if there is not None else ""
        if before == wanted.name:
            before = ""
        if there is None or (there.config, there.status) != (wanted.name, "InService"):
            log.info(f"endpoint {request.name}: {request.version} starts as {wanted.name}, which takes minutes")
            try:
                there = self._switch(request, wanted, there, log)
            except NotSwitchedError as error:
                self._discard(request.name, wanted)
                raise EndpointError(self._failure(request, str(error), before)) from None
        problem = self._golden_problem(there, request)
        if problem:
            self._restore_previous(request, wanted, there, before, log)
            raise EndpointError(self._failure(request, problem, before))
        proof = {PROVEN: wanted.name, IDENTITY: tag_value(request.identity), VERSION: tag_value(request.version)}
        self._client.add_tags(
            ResourceArn=there.arn, Tags=[{"Key": name, "Value": value} for name, value in proof.items()]
        )
        log.info(f"endpoint {request.name}: {request.version} answers after {time.monotonic() - started:.0f} s")
        return self._look(request.name) or there

    def _switch(
        self, request: EndpointRequest, wanted: EndpointPlan, there: _EndpointStatus | None, log: Any
    ) -> _EndpointStatus:
        """Bring an endpoint to the wanted configuration.

        Raises:
            NotSwitchedError: SageMaker gave up; it serves what it served, or nothing.
        """
        self._make(request, wanted)
        if there is None:
            call = self._client.create_endpoint
            more: dict[str, Any] = {"Tags": self._aws.tags(endpoint=request.name)}
        else:
            call, more = self._client.update_endpoint, {"DeploymentConfig": update_policy(self._settings)}

        def change() -> None:
            # Again: another deployment, which this one waited for, may have removed them as not used.
            self._make(request, wanted)
            call(EndpointName=request.name, EndpointConfigName=wanted.name, **more)

        try:
            self._call_until_accepted(change, request.name, log)
        except self._client.exceptions.ClientError as error:
            raise NotSwitchedError(f"{code_of(error)}: {text_of(error)}{_kind_fix(there, self._settings)}") from error
        now = self._settled(request.name, log)
        if now is not None and now.status == "InService" and now.config == wanted.name:
            return now
        if now is None:
            raise NotSwitchedError("someone deleted the endpoint")
        if now.status == "Failed" and there is None:
            # It could only be deleted, and would be in the way of the next one.
            self._lineage.delete("endpoint", request.name)
        raise NotSwitchedError(
            now.reason or f"SageMaker rolled the update back to {now.config} (no reason given): look at alarms and log"
        )

    def _make(self, request: EndpointRequest, wanted: EndpointPlan) -> None:
        """The model and the configuration; what an interrupted deployment made has the same names and content."""
        tags = self._aws.tags(endpoint=request.name, identity=request.identity, version=request.version)
        calls: tuple[Callable[[], Any], ...] = (
            lambda: self._client.create_model(ModelName=wanted.name, Tags=tags, **wanted.model),
            lambda: self._client.create_endpoint_config(EndpointConfigName=wanted.name, Tags=tags, **wanted.config),
        )
        for call in calls:
            with fine_if(is_taken):
                call()

    def _call_until_accepted(self, call: Any, name: str, log: Any) -> None:
        """A call that SageMaker may refuse because it doesn't see yet what was just made, or changes the endpoint."""
        for attempt, wait in zip(range(_TRIES), waits(self._poll_first, self._poll_most), strict=False):
            try:
                call()
            except self._client.exceptions.ClientError as error:
                reported = text_of(error).lower()
                if attempt == _TRIES - 1 or not (
                    is_gone(error) or "in-progress" in reported or "in progress" in reported
                ):
                    raise
                time.sleep(wait)
                self._settled(name, log)
            else:
                return

    def _restore_previous(
        self, request: EndpointRequest, wanted: EndpointPlan, there: _EndpointStatus, before: str, log: Any
    ) -> None:
        """Serve again what was served before; nothing where there was nothing."""
        if before:
            log.info(f"endpoint {request.name}: back to {before}")
            policy = {"BlueGreenUpdatePolicy": update_policy(self._settings)["BlueGreenUpdatePolicy"]}
            try:
                self._call_until_accepted(
                    lambda: self._client.update_endpoint(
                        EndpointName=request.name, EndpointConfigName=before, DeploymentConfig=policy
                    ),
                    request.name,
                    log,
                )
                now = self._settled(request.name, log)
                reason = "" if now is not None and now.config == before else now.reason if now else "it is gone"
            except self._client.exceptions.ClientError as error:
                now, reason = None, text_of(error)
            if now is None or now.config != before:
                raise EndpointError(
                    f"endpoint {request.name}: {request.version} does not answer the golden request, and {before} could "
                    f"not be brought back ({reason}): deploy again, or stop it with `chronos-assets endpoint stop`"
                )
        else:
            self._lineage.delete("endpoint", there.name)
        self._discard(request.name, wanted)

    def _discard(self, name: str, wanted: EndpointPlan) -> None:
        """Delete a configuration and a model that are not used, unless they are after all."""
        there = self._look(name)
        if there is None or there.config != wanted.name:
            for kind in _PARTS:
                self._lineage.delete(kind, wanted.name)

    def _remove_unused(self, there: _EndpointStatus, log: Any) -> None:
        """Delete configurations and models of the endpoint that it doesn't use: of earlier and interrupted deployments."""
        kept = {there.config, there.proven}
        for kind in _PARTS:
            for part in list(self._lineage.find(kind, name_contains=stem(there.name), endpoint=there.name)):
                if part not in kept:
                    log.info(f"endpoint {there.name}: deleting {kind} {part}, which is no longer used")
                    self._lineage.delete(kind, part)

    def _failure(self, request: EndpointRequest, reason: str, before: str) -> str:
        return not_deployed(request, reason, f"{before} still answers" if before else "", self._log_tail(request.name))

    def _log_tail(self, name: str) -> str:
        timing = Timing(outage=5.0)
        try:
            lines = last_lines(self._clients("logs"), log_group(name), VARIANT, timing)
        except (self._client.exceptions.ClientError, OutOfReach) as error:
            # The reason is reported all the same.
            return f"(it can't be read: {text_of(error)})"
        return "\n".join(map(redact, lines))

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        return self._clients("sagemaker")

    @contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        """What AWS refuses, and what takes it too long, as the error of this part."""
        try:
            with refusals(EndpointError, what):
                yield
        except TimeoutError as error:
            raise EndpointError(f"{what}: {error}: try again") from error

    def _look(self, name: str, *, alone: bool = False) -> _EndpointStatus | None:
        """Our endpoint of this name; None if there is none.

        Raises:
            EndpointError: others made one, and `alone` says that it is in the way.
        """
        described = None
        with fine_if(is_gone):
            described = self._client.describe_endpoint(EndpointName=name)
        if described is None:
            return None
        tags = self._lineage.tags(described["EndpointArn"])
        if not self._lineage.owns(tags):
            if not alone:
                return None
            raise EndpointError(
                f"endpoint {name} is there, and this deployment did not make it (its tags say so): delete it, or name "
                "the package group otherwise"
            )
        return _EndpointStatus(
            name,
            described["EndpointArn"],
            described["EndpointStatus"],
            described.get("EndpointConfigName", ""),
            described.get("FailureReason", ""),
            tags,
            described,
        )

    def _settled(self, name: str, log: Any, *, alone: bool = True) -> _EndpointStatus | None:
        """The endpoint once it no longer changes; None if there is none.

        Raises:
            EndpointError: it still changes after `_CHANGE_SECONDS`; it continues.
        """
        status = ""
        for _ in looks(self._poll_first, self._poll_most, _CHANGE_SECONDS):
            there = self._look(name, alone=alone)
            if there is None or there.status not in _BUSY:
                return there
            if log is not None and there.status != status:
                log.info(f"endpoint {name}: {there.status}")
            status = there.status
        raise EndpointError(
            f"endpoint {name} is still {status} after {_CHANGE_SECONDS:.0f} s: it continues, deploy again to wait for it"
        )

    def _state(self, there: _EndpointStatus, *, changed: bool = False) -> EndpointState:
        config = self._config(there.config)
        tags = there.tags
        if there.proven != there.config:
            tags = self._lineage.tags(config["EndpointConfigArn"]) if config else {}
        region = str(self._client.meta.region_name)
        variant = config["ProductionVariants"][0] if config else {}
        serverless = variant.get("ServerlessConfig")
        details = {
            "status": there.status,
            "arn": there.arn,
            "config": there.config,
            "kind": "async" if there.asynchronous else "serverless" if serverless else "realtime",
            "instance": variant.get("InstanceType") or (f"{serverless['MemorySizeInMB']} MB" if serverless else None),
            "instances": variant.get("InitialInstanceCount"),
            "deployed": there.described["LastModifiedTime"].isoformat(timespec="seconds"),
            "reason": there.reason or None,
            "page": console_page(region, "endpoints", there.name),
            "log": log_page(region, log_group(there.name)),
        }
        return EndpointState(
            name=there.name,
            url=f"{self._clients('sagemaker-runtime').meta.endpoint_url}/endpoints/{there.name}",
            version=tags.get(VERSION, ""),
            identity=tags.get(IDENTITY, ""),
            # What did not answer the golden request yet has to be deployed again, whatever SageMaker thinks of it.
            healthy=there.status in _ANSWERS and there.proven == there.config,
            changed=changed,
            details={name: value for name, value in details.items() if value is not None},
        )

    def _config(self, name: str) -> Mapping[str, Any]:
        with fine_if(is_gone):
            return dict(self._client.describe_endpoint_config(EndpointConfigName=name))
        return {}

    # --- trying -------------------------------------------------------------------------------------------------------

    def _golden_problem(self, there: _EndpointStatus, request: EndpointRequest) -> str:
        """What is wrong with the answer to the golden request; empty if nothing is.

        A serverless endpoint starts its server for the first request, which may come too early.
        """
        for attempt, wait in zip(range(_TRIES), waits(self._poll_first, self._poll_most), strict=False):
            try:
                problem = golden_problem(self._calls.ask(there.name, request.golden, asynchronous=there.asynchronous))
            except UnansweredError as error:
                if not error.passing or attempt == _TRIES - 1:
                    return f"the golden request: {error}"
                time.sleep(wait)
            else:
                return f"its answer to the golden request {problem}" if problem else ""
        raise AssertionError("the last attempt returns")


_CHANGE_SECONDS = 5400.0  # how long an endpoint may take to change
_PARTS: tuple[Kind, ...] = ("endpoint-config", "model")


def _kind_fix(there: _EndpointStatus | None, settings: AwsSettings) -> str:
    """What to do if SageMaker refuses to make one kind of endpoint of another."""
    if there is None:
        return ""
    variants = there.described.get("ProductionVariants") or [{}]
    was = (there.asynchronous, "CurrentServerlessConfig" in variants[0])
    if was == (settings.endpoint == "async", settings.endpoint == "serverless"):
        return ""
    return f": to make it {settings.endpoint}, stop it first with `chronos-assets endpoint stop`"
