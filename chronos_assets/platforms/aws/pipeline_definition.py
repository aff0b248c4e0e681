"""The training line as a SageMaker pipeline: generate, tune, learn, evaluate, gate, register; without Dagster, if need be.

Here: the steps and what each hands to the next. Elsewhere: what the line does (gathered by
`pipeline.sagemaker_pipeline`), the requests of its jobs, which are those that Dagster's own line sends
(`processing_request`, `tuning_request`).

```
GenerateSyntheticSeries -> TuneCheckpoints -> LearnPredictor -> EvaluateCandidate -> GateCandidate -> RegisterCandidate
                                                                                                   -> RejectCandidate
```

What is judged and registered is the archive that LearnPredictor leaves: the checkpoint with its predictor. Without a dataset
there is nothing to learn from and no such step: the checkpoint alone is registered.

What differs from Dagster's line: the gate holds the candidate against base model and seasonal naive, not against the
version in use, which is another one at each execution; versions are registered for people to approve or deploy, and
Dagster's endpoint doesn't follow them.

The `sagemaker` SDK renders the definition. `pipeline_sdk` imports it, when a definition is asked for: that takes seconds.
Its own `Pipeline.upsert` is not used: it asks IAM about the role and reports to its makers. boto3 does neither.

https://docs.aws.amazon.com/sagemaker/latest/dg/define-pipeline.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from chronos_assets.container.archives import MODEL_ARCHIVE
from chronos_assets.container.contract import CONTENT_TYPES, DEFAULT_ROOT, RESPONSE_TYPES, ROOT_VARIABLE
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.processing_request import InputSource, processing_job
from chronos_assets.platforms.aws.refusals import fine_if, is_taken, refusals
from chronos_assets.platforms.aws.sagemaker.faults import is_gone
from chronos_assets.platforms.aws.tags import tag_list
from chronos_assets.platforms.aws.tuning_request import check_tuning, training_job, tuning_job
from chronos_assets.platforms.job_names import is_name
from chronos_assets.platforms.jobs import WORKLOADS, JobRequest
from chronos_assets.platforms.tuning import SearchError, TuningRequest
from chronos_assets.store_layout import PIPELINES_KEY
from chronos_assets.system import text_digest

MAX_DEFINITION = 100 * 1024  # bytes that CreatePipeline takes
MAX_PIPELINE_NAME = 256

# Stand in a request for what is known when the pipeline runs; no text of a person's holds a null character.
_EXECUTION, _DATASET, _SYNTHETIC, _TUNED, _CANDIDATE, _METRICS = (
    f"\0{name}\0" for name in ("execution", "dataset", "synthetic", "tuned", "candidate", "metrics")
)
_MARK = re.compile("(\0[a-z_]+\0)")

# The candidate is packed, and the workload reads a folder.
_UNPACK_FIRST = (
    f'cd "${{{ROOT_VARIABLE}:-{DEFAULT_ROOT}}}/processing/input/candidate" && tar --no-same-owner -xzf {MODEL_ARCHIVE} '
    f'&& cd / && exec python -m {WORKLOADS} "$@"'
)


class PipelineError(ChronosAssetsError):
    """A pipeline that can't be rendered or made; the message says why and how to fix it."""


@dataclass(frozen=True)
class TrainingLine:
    """What the pipeline is to do.

    Attributes:
        name: of the pipeline. group: model package group.
        synthetic, evaluation: parameters of the workloads generate and evaluate.
        search: its inputs are `synthetic`, and `target` where there is a dataset.
        learning: parameters of the workload learn; None without a dataset.
        covariates: what there is beside the dataset: channel -> store key.
        approval: status of a version that passes the gate.
    """

    name: str
    group: str
    synthetic: Mapping[str, Any]
    search: TuningRequest
    evaluation: Mapping[str, Any]
    learning: Mapping[str, Any] | None = None
    covariates: Mapping[str, str] = field(default_factory=dict)
    approval: str = "Approved"

    @property
    def on_data(self) -> bool:
        """Whether there are series of the user's own."""
        return "target" in self.search.inputs


class TrainingPipeline:
    """A training line as a pipeline of an account.

    Args:
        line: what it does.
        aws: the deployment.

    Raises:
        PipelineError: SageMaker could not run the line.
    """

    def __init__(self, line: TrainingLine, aws: AwsDeployment) -> None:
        try:
            check_tuning(line.search, aws.settings)
        except SearchError as error:
            raise PipelineError(str(error)) from error
        if not is_name(line.name, MAX_PIPELINE_NAME):
            raise PipelineError(
                f"pipeline name {line.name!r}: up to {MAX_PIPELINE_NAME} letters, digits and inner hyphens"
            )
        self._line = line
        self._clients, self._store = aws.clients, aws.store
        self._settings, self._code_location = aws.settings, aws.code_location
        parameters = json.dumps([line.synthetic, line.learning, line.evaluation], sort_keys=True)
        self._key = f"{PIPELINES_KEY}/{line.name}/{text_digest(parameters)[:12]}"

    def definition(self) -> str:
        """The definition, as JSON.

        Raises:
            PipelineError: the SDK isn't installed, or there is no dataset where one is to be read.
        """
        sdk = self._sdk()
        pipeline = sdk.Pipeline(
            name=self._line.name,
            parameters=list(self._parameters(sdk).values()),
            steps=self._steps(sdk),
            sagemaker_session=sdk.PipelineSession(),
            pipeline_experiment_config=None,
        )
        # What the SDK leaves empty the service doesn't know.
        document = {name: value for name, value in json.loads(pipeline.definition()).items() if value is not None}
        return json.dumps(document, indent=1)

    def upsert(self) -> str:
        """Make the pipeline, or bring it up to date; its ARN. Nothing is run.

        Raises:
            PipelineError: also where AWS refuses it.
        """
        if not self._settings.pipeline_role:
            raise PipelineError(
                "CHRONOS_PIPELINE_ROLE is not set: a pipeline starts jobs itself, which the jobs' own role may not; deploy "
                "docker/cloudformation.yaml, whose outputs are the settings"
            )
        definition = json.dumps(json.loads(self.definition()), separators=(",", ":"))
        if len(definition.encode()) > MAX_DEFINITION:
            raise PipelineError(
                f"the definition has {len(definition.encode())} bytes, SageMaker takes {MAX_DEFINITION}"
            )
        line = self._line
        for name, parameters in (("generate", line.synthetic), ("learn", line.learning), ("evaluate", line.evaluation)):
            if parameters is None:
                continue
            document = json.dumps(parameters, ensure_ascii=False, allow_nan=False)
            self._store.put(f"{self._key}/{name}/parameters/parameters.json", document.encode())
        tags = tag_list(self._settings, code_location=self._code_location, group=self._line.group)
        client = self._clients("sagemaker")
        given = {
            "PipelineName": self._line.name,
            "PipelineDefinition": definition,
            "PipelineDescription": f"Tunes, gates and registers {self._line.group}; made by chronos-assets",
            "RoleArn": self._settings.pipeline_role,
        }
        with refusals(PipelineError, f"making the pipeline {self._line.name}"):
            with fine_if(is_taken):
                client.create_model_package_group(ModelPackageGroupName=self._line.group, Tags=tags)
            there = None
            with fine_if(is_gone):
                there = client.describe_pipeline(PipelineName=self._line.name)
            if there is None:
                return str(client.create_pipeline(**given, Tags=tags)["PipelineArn"])
            arn = str(client.update_pipeline(**given)["PipelineArn"])
            client.add_tags(ResourceArn=arn, Tags=tags)
            return arn

    # --- steps ---

    def _parameters(self, sdk: Any) -> dict[str, Any]:
        """What an execution may be given."""
        line = self._line
        found = {
            "MaxJobs": sdk.ParameterInteger(name="MaxJobs", default_value=line.search.max_jobs),
            "MaxParallelJobs": sdk.ParameterInteger(
                name="MaxParallelJobs", default_value=min(line.search.max_jobs, line.search.max_parallel_jobs)
            ),
            "ModelApprovalStatus": sdk.ParameterString(
                name="ModelApprovalStatus",
                default_value=line.approval,
                enum_values=["Approved", "PendingManualApproval"],
            ),
        }
        if line.on_data:
            found["DatasetUri"] = sdk.ParameterString(name="DatasetUri", default_value=self._dataset())
            for channel, key in line.covariates.items():
                uri = self._store.snapshot_uri(key)
                found[_parameter(channel)] = sdk.ParameterString(name=_parameter(channel), default_value=uri)
        if not line.search.ranges:
            del found["MaxJobs"], found["MaxParallelJobs"]
        return found

    def _dataset(self) -> str:
        key = str(self._line.search.inputs["target"])
        if self._store.shown(key) is None:
            raise PipelineError(f"nothing at {self._store.uri(key)}: materialize target_time_series first")
        return self._store.snapshot_uri(key)

    def _steps(self, sdk: Any) -> list[Any]:
        parameters = self._parameters(sdk)
        known = self._known(sdk, parameters)
        generate = self._job(sdk, "GenerateSyntheticSeries", self._generate(), known)
        known[_SYNTHETIC] = _output_of(generate, "synthetic")
        tune = self._search(sdk, parameters, known)
        known[_TUNED] = known[_CANDIDATE] = self._tuned(sdk, tune, known)
        steps = [generate, tune]
        if self._line.learning is not None:
            learn = self._job(sdk, "LearnPredictor", self._learn(self._line.learning), known)
            known[_CANDIDATE] = sdk.Join(on="/", values=[_output_of(learn, "predictors"), MODEL_ARCHIVE])
            steps.append(learn)
        metrics = sdk.PropertyFile(name="Metrics", output_name="evaluation", path="metrics.json")
        evaluate = self._job(sdk, "EvaluateCandidate", self._evaluate(), known, files=(metrics,))
        known[_METRICS] = sdk.Join(on="/", values=[_output_of(evaluate, "evaluation"), "metrics.json"])
        return [*steps, evaluate, self._gate(sdk, evaluate, metrics, parameters, known)]

    def _known(self, sdk: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What the marks in requests stand for before any step."""
        known: dict[str, Any] = {_EXECUTION: sdk.ExecutionVariables.PIPELINE_EXECUTION_ID}
        if self._line.on_data:
            known[_DATASET] = parameters["DatasetUri"]
            known |= {_mark(channel): parameters[_parameter(channel)] for channel in self._line.covariates}
        return known

    def _job(
        self, sdk: Any, name: str, request: Mapping[str, Any], known: Mapping[str, Any], files: tuple[Any, ...] = ()
    ) -> Any:
        """A step that is a processing job."""
        arguments = _filled(request, known, sdk.Join)
        shapes = ["DescribeProcessingJobResponse"]
        return sdk.RequestStep(name, sdk.StepTypeEnum.PROCESSING, arguments, shapes, self._retries(sdk), files)

    def _search(self, sdk: Any, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
        """The step that tunes: a tuning job, or a training job where there is nothing to search for."""
        request = _filled(self._tune(), known, sdk.Join)
        kind, shapes = sdk.StepTypeEnum.TRAINING, ["DescribeTrainingJobResponse"]
        if self._line.search.ranges:
            kind = sdk.StepTypeEnum.TUNING
            shapes = [
                "DescribeHyperParameterTuningJobResponse",
                "ListTrainingJobsForHyperParameterTuningJobResponse",
            ]
            request["HyperParameterTuningJobConfig"]["ResourceLimits"] = {
                "MaxNumberOfTrainingJobs": parameters["MaxJobs"],
                "MaxParallelTrainingJobs": parameters["MaxParallelJobs"],
            }
        return sdk.RequestStep("TuneCheckpoints", kind, request, shapes, self._retries(sdk))

    def _gate(
        self, sdk: Any, evaluate: Any, metrics: Any, parameters: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Any:
        """The step that registers the candidate: as one that may be used only where neither reference is better."""

        def wql(model: str) -> Any:
            return sdk.JsonGet(step_name=evaluate.name, property_file=metrics, json_path=f"models.{model}.metrics.wql")

        def register(name: str, status: Any) -> Any:
            arguments = _filled(self._register(), known, sdk.Join) | {"ModelApprovalStatus": status}
            return sdk.RequestStep(
                name, sdk.StepTypeEnum.REGISTER_MODEL, arguments, ["DescribeModelPackageResponse"], []
            )

        return sdk.ConditionStep(
            name="GateCandidate",
            conditions=[
                sdk.ConditionLessThanOrEqualTo(left=wql("candidate"), right=wql(reference))
                for reference in ("base", "seasonal_naive")
            ],
            if_steps=[register("RegisterCandidate", parameters["ModelApprovalStatus"])],
            else_steps=[register("RejectCandidate", "Rejected")],
        )

    def _retries(self, sdk: Any) -> list[Any]:
        kinds = sdk.SageMakerJobExceptionTypeEnum
        passing = [kinds.CAPACITY_ERROR, kinds.INTERNAL_ERROR]
        more = {"interval_seconds": 60, "backoff_rate": 2.0, "max_attempts": self._settings.job_attempts}
        return [
            sdk.SageMakerJobStepRetryPolicy(exception_types=[kinds.RESOURCE_LIMIT], **more),
            sdk.SageMakerJobStepRetryPolicy(failure_reason_types=passing, **more),
        ]

    def _sdk(self) -> ModuleType:
        """The parts of the SDK that are used."""
        import boto3

        # The SDK makes clients while it is imported, and knows no AWS_REGION.
        if boto3.DEFAULT_SESSION is None or boto3.DEFAULT_SESSION.region_name is None:
            boto3.setup_default_session(region_name=self._region)
        try:
            from chronos_assets.platforms.aws import pipeline_sdk
        except ImportError as error:
            raise PipelineError(
                f"the sagemaker SDK, version 3, can't be imported ({error}): pip install 'chronos-assets[sagemaker]'"
            ) from error
        return pipeline_sdk

    # --- requests ---

    @property
    def _region(self) -> str:
        return str(self._clients("sagemaker").meta.region_name)

    def _folder(self, step: str) -> str:
        return self._store.uri(f"{self._key}/{step}")

    def _tags(self) -> list[dict[str, str]]:
        return tag_list(self._settings, code_location=self._code_location, group=self._line.group)

    def _generate(self) -> dict[str, Any]:
        request = JobRequest("generate", "generate", self._line.synthetic, outputs=("synthetic",))
        return self._processing(request, {})

    def _tune(self) -> dict[str, Any]:
        line, name = self._line, "TuneCheckpoints"
        channels = {"synthetic": _SYNTHETIC, **({"target": _DATASET} if line.on_data else {})}
        make = tuning_job if line.search.ranges else training_job
        request = make(
            line.search,
            name,
            channels=channels,
            folder=f"{self._folder('tune')}/{_EXECUTION}",
            settings=self._settings,
            tags=self._tags(),
        )
        # The pipeline names its jobs.
        return {key: value for key, value in request.items() if value != name}

    def _data(self) -> dict[str, InputSource]:
        """What is learned from and measured on."""
        if not self._line.on_data:
            return {"synthetic": InputSource("", _SYNTHETIC)}
        return {
            "dataset": InputSource("", _DATASET),
            **{channel: InputSource("", _mark(channel)) for channel in self._line.covariates},
        }

    def _learn(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        sources = {**self._data(), "model": InputSource("", _TUNED)}
        request = JobRequest("learn", "learn", parameters, inputs=dict.fromkeys(sources, ""), outputs=("predictors",))
        return self._processing(request, sources)

    def _evaluate(self) -> dict[str, Any]:
        sources = {**self._data(), "candidate": InputSource("", _CANDIDATE)}
        request = JobRequest(
            "evaluate", "evaluate", self._line.evaluation, inputs=dict.fromkeys(sources, ""), outputs=("evaluation",)
        )
        made = self._processing(request, sources)
        made["AppSpecification"]["ContainerEntrypoint"] = ["sh", "-c", _UNPACK_FIRST, "unpack"]
        return made

    def _processing(self, request: JobRequest, sources: Mapping[str, InputSource]) -> dict[str, Any]:
        made = processing_job(
            request,
            folder=self._folder(request.name),
            attempt=_EXECUTION,
            sources=sources,
            region=self._region,
            settings=self._settings,
        )
        return {**made, "Tags": self._tags()}

    def _tuned(self, sdk: Any, tune: Any, known: Mapping[str, Any]) -> Any:
        """S3 URL of the best model's archive."""
        if not self._line.search.ranges:
            return tune.properties.ModelArtifacts.S3ModelArtifacts
        folder = _filled(f"{self._folder('tune')}/{_EXECUTION}/output", known, sdk.Join)
        best = tune.properties.TrainingJobSummaries[0].TrainingJobName  # the service lists the best one first
        return sdk.Join(on="/", values=[folder, best, f"output/{MODEL_ARCHIVE}"])

    def _register(self) -> dict[str, Any]:
        """A CreateModelPackage request, without the status."""
        line, settings = self._line, self._settings
        base = str(line.search.hyperparameters.get("base_model", ""))
        return {
            "ModelPackageGroupName": line.group,
            "ModelPackageDescription": f"{base or 'model'}, tuned by the pipeline {line.name}"[:1024],
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image": settings.image,
                        "ModelDataUrl": _CANDIDATE,
                        "Environment": {"CHRONOS_SERVING": json.dumps({"version": line.group})},
                    }
                ],
                "SupportedContentTypes": list(CONTENT_TYPES),
                "SupportedResponseMIMETypes": list(RESPONSE_TYPES),
            },
            "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": _METRICS}}},
            "CustomerMetadataProperties": {"base_model": base[:256], "pipeline_execution": _EXECUTION},
        }


def _mark(channel: str) -> str:
    """Stands for the URL of a channel of covariates."""
    return f"\0{channel}\0"


def _parameter(channel: str) -> str:
    """The pipeline parameter that is the URL of a channel: `ItemMetadataUri` of `item_metadata`."""
    return "".join(part.capitalize() for part in channel.split("_")) + "Uri"


def _output_of(step: Any, name: str) -> Any:
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def _filled(value: Any, known: Mapping[str, Any], join: Any) -> Any:
    """A request with pipeline variables in place of their marks."""
    if isinstance(value, Mapping):
        return {key: _filled(item, known, join) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, known, join) for item in value]
    if not isinstance(value, str) or "\0" not in value:
        return value
    parts = [known.get(part, part) for part in _MARK.split(value) if part]
    return parts[0] if len(parts) == 1 else join(on="", values=parts)
