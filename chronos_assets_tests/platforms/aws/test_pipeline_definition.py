"""The training line as a SageMaker pipeline: what it says, whether requests keep the services' limits, what its jobs leave."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from botocore import xform_name

from chronos_assets.cli import main, sagemaker
from chronos_assets.container.archives import unpack
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.sagemaker_pipeline import training_line, training_pipeline
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.pipeline_definition import PipelineError, TrainingPipeline
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.predictors.opening import Network
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.settings import AwsSettings, Settings
from chronos_assets.store_layout import DATASET_KEY, METADATA_KEY, RELATED_KEY
from chronos_assets_tests.aws.request_limits import violations
from chronos_assets_tests.defs.line import PARAMS
from chronos_assets_tests.workloads.small_dataset import waves, write_dataset

SETTINGS = Settings(
    deployment="aws",
    store="s3://data/group",
    aws=AwsSettings(
        role="arn:aws:iam::123456789012:role/jobs",
        pipeline_role="arn:aws:iam::123456789012:role/pipelines",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1",
        kms_key="alias/mine",
        subnets=("subnet-1",),
        security_groups=("sg-1",),
        spot=True,
        tags=(("team", "forecasting"),),
    ),
)
OPERATIONS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName"),
    "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName"),
    "Training": ("CreateTrainingJob", "TrainingJobName"),
    "RegisterModel": ("CreateModelPackage", "ModelPackageName"),
}


@pytest.fixture
def store(aws, tmp_path):
    aws.bucket("data")
    return S3Store("s3://data/group", cache=tmp_path / "cache")


@pytest.fixture
def group(store):
    return Group(SETTINGS, {"store": store})


@pytest.fixture
def pipeline(group, store, tmp_path):
    """The line with a dataset."""
    line = training_line(GroupState(group))
    staged = tmp_path / "staged"
    staged.mkdir()
    (staged / "part-0.parquet").write_bytes(b"shard")
    store.publish("dataset/target_time_series", staged)
    search = replace(line.search, inputs={**line.search.inputs, "target": "dataset/target_time_series"})
    line = replace(line, search=search, learning={"model": "candidate"})
    return TrainingPipeline(line, AwsDeployment(AwsClients(), store, SETTINGS.aws, "here"))


def steps_of(document):
    """Step by name, those behind the gate too."""
    inner = [
        step
        for outer in document["Steps"]
        for branch in ("IfSteps", "ElseSteps")
        for step in outer["Arguments"].get(branch, [])
    ]
    return {step["Name"]: step for step in [*document["Steps"], *inner]}


def at_runtime(value: Any) -> Any:
    """A request as the service would send it: references resolved, to a text or number that fits."""
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            return 2 if value["Get"].startswith("Parameters.Max") else _got(value["Get"])
        if set(value) == {"Std:Join"}:
            return value["Std:Join"]["On"].join(str(at_runtime(part)) for part in value["Std:Join"]["Values"])
        return {key: at_runtime(item) for key, item in value.items()}
    return [at_runtime(item) for item in value] if isinstance(value, list) else value


def _got(reference):
    if reference.endswith("ModelApprovalStatus"):
        return "Approved"
    return "s3://data/x" if "Uri" in reference or "S3" in reference else "abc123"


def references(value: Any) -> set[str]:
    """Everything that a part of the definition refers to."""
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            return {value["Get"]}
        return set().union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_the_line_is_a_graph_of_steps_that_hand_over_what_they_made(pipeline, store):
    document = json.loads(pipeline.definition())
    assert document["Version"] == "2020-12-01"
    steps = steps_of(document)
    assert {name: step["Type"] for name, step in steps.items()} == {
        "GenerateSyntheticSeries": "Processing",
        "TuneCheckpoints": "Tuning",
        "LearnPredictor": "Processing",
        "EvaluateCandidate": "Processing",
        "GateCandidate": "Condition",
        "RegisterCandidate": "RegisterModel",
        "RejectCandidate": "RegisterModel",
    }
    upstream = {
        name: {item.split(".")[1] for item in references(step) if item.startswith("Steps.")}
        for name, step in steps.items()
        if step["Type"] != "Condition"
    }
    assert upstream == {
        "GenerateSyntheticSeries": set(),
        "TuneCheckpoints": {"GenerateSyntheticSeries"},
        "LearnPredictor": {"TuneCheckpoints"},
        "EvaluateCandidate": {"LearnPredictor"},
        "RegisterCandidate": {"LearnPredictor", "EvaluateCandidate"},
        "RejectCandidate": {"LearnPredictor", "EvaluateCandidate"},
    }
    parameters = {item["Name"]: item["DefaultValue"] for item in document["Parameters"]}
    assert parameters == {
        "MaxJobs": 2,
        "MaxParallelJobs": 1,
        "ModelApprovalStatus": "Approved",
        "DatasetUri": store.snapshot_uri("dataset/target_time_series"),
    }
    used = {item.removeprefix("Parameters.") for item in references(document) if item.startswith("Parameters.")}
    assert used == set(parameters)
    assert steps["RejectCandidate"]["Arguments"]["ModelApprovalStatus"] == "Rejected"


def test_the_gate_holds_the_candidate_against_base_and_seasonal_naive(pipeline):
    steps = steps_of(json.loads(pipeline.definition()))
    (file,) = steps["EvaluateCandidate"]["PropertyFiles"]
    assert file == {"PropertyFileName": "Metrics", "OutputName": "evaluation", "FilePath": "metrics.json"}
    conditions = steps["GateCandidate"]["Arguments"]["Conditions"]
    assert {item["Type"] for item in conditions} == {"LessThanOrEqualTo"}
    read = [[item[side]["Std:JsonGet"]["Path"] for side in ("LeftValue", "RightValue")] for item in conditions]
    assert read == [
        ["models.candidate.metrics.wql", "models.base.metrics.wql"],
        ["models.candidate.metrics.wql", "models.seasonal_naive.metrics.wql"],
    ]


def test_every_request_keeps_the_services_limits(pipeline):
    for step in steps_of(json.loads(pipeline.definition())).values():
        if step["Type"] == "Condition":
            continue
        operation, name = OPERATIONS[step["Type"]]
        assert name not in step["Arguments"]
        given = {} if step["Type"] == "RegisterModel" else {name: "a-job"}
        request = at_runtime(step["Arguments"])
        assert violations("sagemaker", operation, {**request, **given}) == [], step["Name"]
        if step["Type"] != "RegisterModel":
            assert {"Key": "team", "Value": "forecasting"} in request["Tags"]
            assert {policy["MaxAttempts"] for policy in step["RetryPolicies"]} == {3}


def test_without_a_dataset_it_tunes_on_synthetic_series_alone(group):
    document = json.loads(training_pipeline(GroupState(group)).definition())
    assert "DatasetUri" not in {item["Name"] for item in document["Parameters"]}
    steps = steps_of(document)
    assert "LearnPredictor" not in steps
    inputs = steps["EvaluateCandidate"]["Arguments"]["ProcessingInputs"]
    assert [item["InputName"] for item in inputs] == ["parameters", "synthetic", "candidate"]


def test_covariates_are_learned_from_and_measured_with(group, store, tmp_path):
    line = training_line(GroupState(group))
    channels = {"related_time_series": RELATED_KEY, "item_metadata": METADATA_KEY}
    for key in (DATASET_KEY, *channels.values()):
        staged = tmp_path / key
        staged.mkdir(parents=True)
        (staged / "part-0.parquet").write_bytes(key.encode())
        store.publish(key, staged)
    search = replace(line.search, inputs={**line.search.inputs, "target": DATASET_KEY})
    line = replace(line, search=search, learning={"model": "candidate"}, covariates=channels)
    rendered = TrainingPipeline(line, AwsDeployment(AwsClients(), store, SETTINGS.aws, "here"))
    document = json.loads(rendered.definition())
    steps = steps_of(document)
    parameters = {item["Name"]: item["DefaultValue"] for item in document["Parameters"]}
    names = {"dataset": "DatasetUri", "related_time_series": "RelatedTimeSeriesUri", "item_metadata": "ItemMetadataUri"}
    for step, model in (("LearnPredictor", "model"), ("EvaluateCandidate", "candidate")):
        inputs = {item["InputName"]: item["S3Input"]["S3Uri"] for item in steps[step]["Arguments"]["ProcessingInputs"]}
        assert list(inputs) == ["parameters", *names, model]
        assert all(inputs[channel] == {"Get": f"Parameters.{name}"} for channel, name in names.items())
    assert {channel: parameters[names[channel]] for channel in channels} == {
        channel: store.snapshot_uri(key) for channel, key in channels.items()
    }


def test_a_search_without_ranges_is_a_training_step(group, store):
    line = training_line(GroupState(group), name="mine")
    line = replace(line, search=replace(line.search, ranges={}, max_jobs=1))
    rendered = TrainingPipeline(line, AwsDeployment(AwsClients(), store, SETTINGS.aws, "here"))
    document = json.loads(rendered.definition())
    assert [item["Name"] for item in document["Parameters"]] == ["ModelApprovalStatus"]
    step = steps_of(document)["TuneCheckpoints"]
    assert step["Type"] == "Training"
    assert violations("sagemaker", "CreateTrainingJob", {**at_runtime(step["Arguments"]), "TrainingJobName": "a"}) == []


def test_what_could_not_run_is_refused_before_anything_is_rendered(group, store):
    line = training_line(GroupState(group))
    for broken, settings, told in (
        (replace(line, name="not_a_name"), SETTINGS.aws, "pipeline name 'not_a_name'"),
        (line, AwsSettings(), "CHRONOS_SAGEMAKER_ROLE is not set"),
    ):
        with pytest.raises(PipelineError, match=told):
            TrainingPipeline(broken, AwsDeployment(AwsClients(), store, settings, "here"))
    absent = replace(line, search=replace(line.search, inputs={**line.search.inputs, "target": "elsewhere"}))
    with pytest.raises(PipelineError, match="materialize target_time_series first"):
        TrainingPipeline(absent, AwsDeployment(AwsClients(), store, SETTINGS.aws, "here")).definition()


def test_the_command_prints_a_definition_and_makes_the_pipeline_once(group, store, aws, monkeypatch, capsys):
    monkeypatch.setenv("CHRONOS_DEPLOYMENT", "aws")
    monkeypatch.setenv("CHRONOS_STORE", "s3://data/group")
    monkeypatch.setattr(sagemaker, "open_group", lambda _settings: group)
    assert main(["sagemaker-pipeline", "--name", "mine"]) == 0
    printed = json.loads(capsys.readouterr().out)
    client = aws.clients()("sagemaker")
    assert client.list_pipelines()["PipelineSummaries"] == []
    for _ in range(2):
        assert main(["sagemaker-pipeline", "--name", "mine", "--upsert"]) == 0
        assert capsys.readouterr().out.strip().endswith(":pipeline/mine")
    described = client.describe_pipeline(PipelineName="mine")
    assert json.loads(described["PipelineDefinition"]) == printed
    assert described["RoleArn"] == SETTINGS.aws.pipeline_role
    assert len(aws.calls_of("CreatePipeline")) == len(aws.calls_of("UpdatePipeline")) == 1
    # The jobs' parameters lie where the steps read them.
    for name in ("GenerateSyntheticSeries", "EvaluateCandidate"):
        uri = steps_of(printed)[name]["Arguments"]["ProcessingInputs"][0]["S3Input"]["S3Uri"]
        assert json.loads(store.get(f"{uri.removeprefix('s3://data/group/')}parameters.json"))


def test_the_command_says_where_it_works(monkeypatch, capsys):
    monkeypatch.setenv("CHRONOS_DEPLOYMENT", "local")
    monkeypatch.delenv("CHRONOS_STORE", raising=False)
    assert main(["sagemaker-pipeline"]) == 1
    assert "CHRONOS_DEPLOYMENT=aws" in capsys.readouterr().err


class Execution:
    """Runs a definition's steps on the executing server, one after the other, as the service would."""

    def __init__(self, server, document):
        self._server = server
        self._client = server.clients()("sagemaker")
        self._defaults = {item["Name"]: item["DefaultValue"] for item in document["Parameters"]}
        self._steps = steps_of(document)

    def run(self, name):
        """Run a job's step to its end; what describes it then."""
        step = self._steps[name]
        operation, field = OPERATIONS[step["Type"]]
        request = self._resolved(step["Arguments"]) | {field: name}
        self._call(operation)(**request)
        assert self._server.job(name).done.wait(120)
        described = self._call(operation.replace("Create", "Describe"))(**{field: name})
        assert described[field.replace("Name", "Status")] == "Completed", described.get("FailureReason")
        return described

    def arguments(self, name):
        return self._resolved(self._steps[name]["Arguments"])

    def _call(self, operation):
        return getattr(self._client, xform_name(operation))

    def _resolved(self, value):
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Std:Join"}:
            return value["Std:Join"]["On"].join(map(self._resolved, value["Std:Join"]["Values"]))
        return self._get(value["Get"]) if set(value) == {"Get"} else {k: self._resolved(v) for k, v in value.items()}

    def _get(self, reference):
        kind, _, rest = reference.partition(".")
        if kind != "Steps":
            return self._defaults[rest] if kind == "Parameters" else "execution-1"
        name, _, path = rest.partition(".")
        if output := re.fullmatch(r"ProcessingOutputConfig\.Outputs\['(\w+)'\]\.S3Output\.S3Uri", path):
            outputs = self.arguments(name)["ProcessingOutputConfig"]["Outputs"]
            return next(item["S3Output"]["S3Uri"] for item in outputs if item["OutputName"] == output[1])
        assert path == "TrainingJobSummaries[0].TrainingJobName"
        listed = self._client.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending"
        )
        return listed["TrainingJobSummaries"][0]["TrainingJobName"]


def executed(group, store, aws):
    """The document of the pipeline that a small version of the group's line is, with its jobs run; its execution."""
    line = training_line(GroupState(group))
    small = {"max_steps": 2, "batch_size": 2, "context_length": 64, "max_validation_series": 2, "threads": 1}
    sizes = {"train": 4, "validation": 2, "test": 2}
    line = replace(
        line,
        synthetic={**line.synthetic, "length": 128, "sizes": sizes},
        search=replace(line.search, hyperparameters={**line.search.hyperparameters, **small}, max_jobs=1),
        evaluation={**line.evaluation, "max_series": 2},
    )
    pipeline = TrainingPipeline(line, AwsDeployment(aws.clients(), store, group.settings.aws, "here"))
    pipeline.upsert()
    document = json.loads(pipeline.definition())
    execution = Execution(aws, document)
    for step in document["Steps"]:
        if step["Type"] != "Condition":
            execution.run(step["Name"])
    return execution


def left_to_register(execution, aws, folder):
    """What the version to be registered says of each model, and its archive, unpacked."""
    registered = execution.arguments("RegisterCandidate")
    s3 = aws.clients()("s3")

    def read(uri):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    models = json.loads(read(registered["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))["models"]
    archive = folder / "model.tar.gz"
    archive.write_bytes(read(registered["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]))
    unpack(archive, folder / "registered")
    return models, folder / "registered"


def test_its_jobs_run_on_what_the_ones_before_them_left(group, store, aws, tmp_path):
    models, folder = left_to_register(executed(group, store, aws), aws, tmp_path)
    assert all(models[name]["metrics"]["wql"] > 0 for name in ("candidate", "base", "seasonal_naive"))
    assert describe_model(folder).digest == models["candidate"]["model"]["digest"]
    assert Predictor.load(folder) is None


def test_on_data_what_is_judged_and_registered_is_a_predictor(group, store, aws, tmp_path):
    store.publish(DATASET_KEY, write_dataset(tmp_path / "dataset", waves(count=3, length=240)))
    asked = PARAMS["Predictor"] | {"ForecastHorizon": 6}
    chronos = {"Training": {"Strategy": "TRAIN"}, "Predictor": {"Members": ["chronos/1", "tuned/1"]}}
    store.put("params.json", json.dumps(PARAMS | {"Predictor": asked, "Chronos": chronos}).encode())
    models, folder = left_to_register(executed(group, store, aws), aws, tmp_path)
    predictor = Predictor.load(folder)
    assert predictor is not None
    assert predictor.checkpoints <= {"chronos", "tuned"}
    assert predictor.learned["source"] == "past windows"
    assert models["candidate"]["predictor"]["digest"] == predictor.digest
    assert describe_model(folder).digest == models["candidate"]["model"]["digest"]
    # The folder is whole: it forecasts as the endpoint's container would have it forecast.
    made = Network(describe_model(folder), 6, (0.1, 0.5, 0.9)).ensemble(predictor).forecast([np.arange(96.0)])
    assert np.isfinite(made.quantiles).all()
