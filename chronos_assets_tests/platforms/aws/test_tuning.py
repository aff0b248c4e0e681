"""Searches on SageMaker: what is asked for, what comes of it, what a killed or cancelled run leaves; with real children."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from chronos_assets.defs.failures import failures
from chronos_assets.params.training import CategoricalRange, ContinuousRange, IntegerRange
from chronos_assets.platforms.aws import tuning_request
from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.aws.tuning import SageMakerTuning
from chronos_assets.platforms.tuning import SearchError, Tuning, TuningRequest
from chronos_assets.settings import AwsSettings
from chronos_assets_tests.aws.request_limits import violations
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK, instance, step  # noqa: F401

RATES = {"learning_rate": ContinuousRange(1e-6, 1e-2, "log")}
SETTINGS = AwsSettings(
    role="arn:aws:iam::123456789012:role/jobs", image="123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1"
)


def asked(max_jobs=2, ranges=RATES, name="search-1", inputs=None, parallel=2, **hyperparameters):
    values = {"base_model": "bundled", **hyperparameters}
    return TuningRequest(name, values, ranges, inputs or {}, max_jobs=max_jobs, max_parallel_jobs=parallel)


# --- what is asked for ------------------------------------------------------------------------------------------------

EVERYTHING = asked(
    4,
    {
        "learning_rate": ContinuousRange(1e-5, 1e-4, "log"),
        "batch_size": IntegerRange(8, 64),
        "finetune_mode": CategoricalRange(("full", "lora")),
    },
    mixture={"target": 0.9, "synthetic": 0.1},
    quantiles=[0.1, 0.5],
)
EVERY_SETTING = replace(
    SETTINGS, subnets=("subnet-1",), security_groups=("sg-1",), kms_key="alias/mine", spot=True, volume_gb=50
)


def made(request=EVERYTHING, settings=SETTINGS, **more):
    channels = {"target": "s3://data/versions/dataset/1/", "synthetic": "s3://data/versions/synthetic/2/"}
    name = tuning_request.search_name(request, channels, settings, "here")
    return tuning_request.tuning_job(
        request, name, channels=channels, folder=f"s3://data/.jobs/{name}/", settings=settings, **more
    )


@pytest.mark.parametrize("settings", [SETTINGS, EVERY_SETTING])
def test_a_request_keeps_the_services_limits(settings):
    tags = [{"Key": "team", "Value": "forecasting"}]
    assert violations("sagemaker", "CreateHyperParameterTuningJob", made(settings=settings, tags=tags)) == []
    request = asked(1, {}, parallel=1)
    alone = tuning_request.training_job(
        request, "a", channels={"target": "s3://data/x/"}, folder="s3://data", settings=settings, tags=tags
    )
    assert violations("sagemaker", "CreateTrainingJob", alone) == []


def test_ranges_and_values_are_those_that_a_training_job_reads_back():
    request = made()
    ranges = request["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert ranges["ContinuousParameterRanges"] == [
        {"Name": "learning_rate", "MinValue": "1e-05", "MaxValue": "0.0001", "ScalingType": "Logarithmic"}
    ]
    assert ranges["IntegerParameterRanges"] == [
        {"Name": "batch_size", "MinValue": "8", "MaxValue": "64", "ScalingType": "Linear"}
    ]
    assert ranges["CategoricalParameterRanges"] == [{"Name": "finetune_mode", "Values": ['"full"', '"lora"']}]
    static = request["TrainingJobDefinition"]["StaticHyperParameters"]
    assert {name: json.loads(text) for name, text in static.items()} == dict(EVERYTHING.hyperparameters)
    config = request["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Bayesian"
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    assert config["RandomSeed"] == 10
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}


def test_spot_keys_and_network_are_set_where_they_may_be():
    training = made(settings=EVERY_SETTING)["TrainingJobDefinition"]
    assert training["EnableManagedSpotTraining"]
    assert training["StoppingCondition"]["MaxWaitTimeInSeconds"] >= training["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert training["CheckpointConfig"]["S3Uri"].startswith("s3://data/.jobs/tune-")
    assert training["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert training["OutputDataConfig"]["KmsKeyId"] == "alias/mine"
    assert "VolumeKmsKeyId" not in training["ResourceConfig"]  # a g5 has a drive that encrypts itself
    on_disk = made(settings=replace(EVERY_SETTING, training_instance="ml.m5.xlarge"))["TrainingJobDefinition"]
    assert on_disk["ResourceConfig"]["VolumeKmsKeyId"] == "alias/mine"
    assert "CheckpointConfig" not in made()["TrainingJobDefinition"]


def test_a_name_tells_apart_what_gives_another_result_and_nothing_else():
    def name(request=EVERYTHING, uri="s3://data/1/", settings=SETTINGS, place="here"):
        return tuning_request.search_name(request, {"target": uri}, settings, place)

    others = [
        name(replace(EVERYTHING, random_seed=11)),
        name(replace(EVERYTHING, max_jobs=5)),
        name(replace(EVERYTHING, ranges=RATES)),
        name(uri="s3://data/2/"),
        name(settings=replace(SETTINGS, image="another")),
        name(place="there"),
    ]
    assert len({name(), *others}) == len(others) + 1
    assert name(replace(EVERYTHING, max_parallel_jobs=1), settings=replace(SETTINGS, spot=True)) == name()
    assert all(re.fullmatch(r"tune-[0-9a-f]{8}-[0-9a-f]{12}", item) for item in others)


@pytest.mark.parametrize(
    "request_, settings, problem",
    [
        (asked(), AwsSettings(), "CHRONOS_SAGEMAKER_ROLE is not set.*CHRONOS_SAGEMAKER_IMAGE is not set"),
        (asked(inputs={"model": Path("/models/mine")}), SETTINGS, "publish it to the store"),
        (asked(base_model="/models/mine"), SETTINGS, "/models/mine is a folder of this machine"),
        (asked(dimensions=["x" * 2500]), SETTINGS, "'dimensions' has 2504 characters"),
        (asked(**{f"h{n}": n for n in range(98)}), SETTINGS, "there are 101 hyperparameters"),
        (asked(ranges={"mode": CategoricalRange(tuple(range(31)))}), SETTINGS, "31 values"),
        (asked(ranges={}, max_jobs=3), SETTINGS, "no range to search"),
    ],
)
def test_what_sagemaker_could_not_run_is_refused(request_, settings, problem):
    with pytest.raises(SearchError, match=problem):
        tuning_request.check_tuning(request_, settings)


# --- what comes of it -------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud(aws):
    aws.package = "chronos_assets_tests.platforms.aws"
    aws.bucket("data")
    return aws


@pytest.fixture
def store(cloud, tmp_path):
    store = S3Store("s3://data/group", cache=tmp_path / "cache")
    publish(store, tmp_path, b"shard 0")
    return store


def publish(store, folder, content):
    """Show another version of the dataset."""
    staged = folder / "staged"
    staged.mkdir()
    (staged / "part-0.parquet").write_bytes(content)
    store.publish("dataset", staged)


@pytest.fixture
def tuning(cloud, store) -> Tuning:
    return SageMakerTuning(AwsDeployment(cloud.clients(), store, SETTINGS, "here"), timing=QUICK)


@pytest.fixture
def tune(step, instance):  # noqa: F811
    """Runs a search in a step: its result (None if it failed), the run's log, the failure."""

    def run(tuning, request):
        seen = []

        def tuned(context):
            with failures():
                seen.append(tuning.tune(context, request))

        result = step(tuned)
        lines = [record.user_message for record in instance.all_logs(result.run_id)]
        failed = [event.event_specific_data.error_display_string for event in result.get_step_failure_events()]
        return (seen or [None])[0], lines, failed

    return run


def left(store):
    """Copies on this machine of what searches left."""
    return list(store.scratch.glob("search-*"))


def created(cloud):
    return [params["HyperParameterTuningJobName"] for params in cloud.calls_of("CreateHyperParameterTuningJob")]


def test_a_search_tells_every_trial_and_hands_out_the_best_model(cloud, tuning, tune, store):
    result, lines, failed = tune(tuning, asked(3, inputs={"target": "dataset"}))
    assert failed == []
    assert [trial.number for trial in result.trials] == [0, 1, 2]
    best = result.best
    for trial in result.trials:
        # One that was given up early has told less.
        steps = {"Completed": 3, "Stopped": len(trial.losses)}[trial.state]
        assert [at for at, _ in trial.losses] == list(range(1, steps + 1))
        assert [at for at, _ in trial.validation] == list(range(steps + 1))
        assert trial.objective == trial.validation[-1][1]
        assert 1e-6 <= trial.hyperparameters["learning_rate"] <= 1e-2
        assert trial.seconds >= 0
        assert (trial.model is not None) == (trial is best)
    assert sorted(path.name for path in best.model.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((best.model / "config.json").read_text())["rate"] == best.hyperparameters["learning_rate"]
    assert best.report == {"read": ["part-0.parquet"], "base": "bundled"}
    assert result.resumed == 0
    assert result.facts["billable_seconds"] >= 0
    assert result.facts["console_url"].value.endswith(f"hyper-tuning-jobs/{result.facts['job_name']}")
    assert any(re.search("search search-1: best so far tune-.*, validation .*, learning_rate", line) for line in lines)
    tags = {item["Key"]: item["Value"] for item in cloud.job(result.facts["job_name"]).tags}
    assert tags["chronos-assets:code-location"] == "here"
    assert tags["chronos-assets:asset"] == "thing"
    with result:
        assert best.model.exists()
    assert left(store) == []


def test_asked_for_again_it_is_found_and_costs_nothing(cloud, tuning, tune, store):
    first, _, _ = tune(tuning, asked())
    second, _, _ = tune(tuning, asked())
    assert len(created(cloud)) == 1
    assert second.resumed == 2
    assert [trial.hyperparameters for trial in second.trials] == [trial.hyperparameters for trial in first.trials]
    assert second.best.model.exists()
    # Without the best model there is nothing left to reuse.
    s3 = cloud.clients()("s3")
    for item in s3.list_objects_v2(Bucket="data", Prefix="group/.jobs/")["Contents"]:
        s3.delete_object(Bucket="data", Key=item["Key"])
    third, _, _ = tune(tuning, asked())
    assert created(cloud) == [first.facts["job_name"], f"{first.facts['job_name']}-a2"]
    assert third.resumed == 0
    assert third.best.model.exists()


def test_another_search_of_the_same_model_starts_warm_from_the_last(cloud, tuning, tune, store, tmp_path):
    first, _, _ = tune(tuning, asked(1))
    tune(tuning, asked(1, max_steps=4))  # another number of hyperparameters
    tune(tuning, asked(1, base_model="amazon/chronos-bolt-tiny"))
    publish(store, tmp_path, b"shard 1")
    tune(tuning, asked(1, inputs={"target": "dataset"}))
    requests = cloud.calls_of("CreateHyperParameterTuningJob")
    assert [bool(request.get("WarmStartConfig")) for request in requests] == [False, False, False, True]
    assert requests[3]["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": first.facts["job_name"]}],
        "WarmStartType": "TransferLearning",
    }


def test_a_trial_that_fails_does_not_stop_the_others(tuning, tune):
    result, _, _ = tune(tuning, asked(4, failing_from=1e-4))
    states = {trial.state for trial in result.trials}
    assert states >= {"Completed", "Failed"}
    failed = next(trial for trial in result.trials if trial.state == "Failed")
    assert "loss is nan at step 1" in failed.reason
    assert failed.objective is None
    assert result.best.hyperparameters["learning_rate"] < 1e-4


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"failing_from": 0}, r"search search-1 failed: .*loss is nan at step 1 with a learning rate of"),
        ({"validate": False}, r"search search-1 failed: it completed, but its log reports no validation"),
        ({"save": False}, r"search search-1 failed: its model can't be used: there is no \*\.safetensors in s3://data"),
    ],
)
def test_a_search_of_which_nothing_can_be_used_says_why(tuning, tune, store, how, reason):
    result, _, failed = tune(tuning, asked(**how))
    assert result is None
    assert re.search(reason, failed[0])
    assert "none of 2 completed" in failed[0]
    if "failing_from" in how:
        assert "Last lines of its log:" in failed[0]
    assert left(store) == []


def test_a_search_without_ranges_is_a_training_job(cloud, tuning, tune, capsys):
    result, _, _ = tune(tuning, asked(1, {}, report=False))
    (trial,) = result.trials
    assert created(cloud) == []
    assert trial.state == "Completed"
    assert trial.hyperparameters == {}
    assert trial.objective == pytest.approx(0.1 + 1 / 3, abs=1e-6)
    assert (trial.model / "model.safetensors").exists()
    assert trial.report == {}
    assert "{'step': 3, 'validation_wql': 0.433333}" in capsys.readouterr().out
    again, _, _ = tune(tuning, asked(1, {}, report=False))
    assert again.resumed == 1
    assert len(cloud.calls_of("CreateTrainingJob")) == 1


def test_data_that_is_not_there_names_its_fix(cloud, tuning, tune):
    _, _, failed = tune(tuning, asked(inputs={"target": "elsewhere"}))
    assert "nothing at s3://data/group/elsewhere" in failed[0]
    assert "materialize the asset that makes it" in failed[0]
    assert created(cloud) == []


# --- killed and cancelled ---------------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(tune, monkeypatch):
    """Runs a search whose run is interrupted once a trial has told something."""

    def run(cloud, tuning, request):
        def look(_search, _description):
            if any(child.metrics for child in cloud.jobs[0].children):
                raise DagsterExecutionInterruptedError

        with monkeypatch.context() as patch:
            patch.setattr("chronos_assets.platforms.aws.tuning._SearchState.look", look)
            result, _, failed = tune(tuning, request)
        assert result is None
        return failed

    return run


def test_a_killed_run_attaches_to_its_search(cloud, tuning, tune, interrupted):
    request = asked(2, max_steps=25, seconds_per_step=0.08)
    tuning._client.forward_termination = False  # a process that is killed forwards nothing
    interrupted(cloud, tuning, request)
    assert cloud.jobs[0].status == "InProgress"
    result, lines, _ = tune(tuning, request)
    assert len(created(cloud)) == 1
    assert any("attached" in line for line in lines)
    assert result.best.losses[-1][0] == 25
    assert len(result.trials) == 2


def test_a_cancelled_run_stops_its_search_and_another_begins_anew(cloud, tuning, tune, interrupted):
    slow = asked(2, max_steps=500, seconds_per_step=0.02)
    interrupted(cloud, tuning, slow)
    assert [job.status for job in cloud.jobs] == ["Stopped"] * 3
    assert len(cloud.calls_of("StopHyperParameterTuningJob")) == 1
    interrupted(cloud, tuning, slow)
    assert created(cloud)[1] == f"{created(cloud)[0]}-a2"
