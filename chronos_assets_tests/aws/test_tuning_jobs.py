"""Tuning jobs of the executing server: their children run, are chosen, stopped early, listed."""

import pytest
from botocore.exceptions import ClientError

from chronos_assets_tests.waiting import wait_until

STUBS = "chronos_assets_tests.aws.stubs"
METRICS = [{"Name": "validation:wql", "Regex": r"'validation_wql': ([0-9\.]+)"}]


@pytest.fixture
def cloud(aws):
    aws.package = STUBS
    aws.bucket("data")
    return aws


def tuning(name="search", static=None, jobs=3, parallel=2, **more):
    config = {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:wql"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
        "ParameterRanges": {
            "ContinuousParameterRanges": [
                {"Name": "learning_rate", "MinValue": "1e-6", "MaxValue": "1e-2", "ScalingType": "Logarithmic"}
            ]
        },
        "RandomSeed": 10,
        **more.pop("config", {}),
    }
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": {
            "StaticHyperParameters": {"max_steps": "3", **(static or {})},
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "MetricDefinitions": METRICS,
            },
            "RoleArn": "arn:aws:iam::123456789012:role/jobs",
            "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.g5.xlarge", "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        },
        **more,
    }


def run(aws, request):
    client = aws.clients()("sagemaker")
    client.create_hyper_parameter_tuning_job(**request)
    return finished(aws, request["HyperParameterTuningJobName"])


def finished(aws, name):
    assert aws.job(name).done.wait(120)
    return aws.clients()("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def children(aws, name="search", **how):
    client = aws.clients()("sagemaker")
    listed = client.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name, **how)
    return listed["TrainingJobSummaries"]


def test_a_search_runs_its_children_and_names_the_best(cloud):
    described = run(cloud, tuning())
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["TrainingJobStatusCounters"]["Completed"] == 3
    assert described["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    ranked = children(cloud, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending")
    values = [item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for item in ranked]
    assert values == sorted(values)
    assert described["BestTrainingJob"]["TrainingJobName"] == ranked[0]["TrainingJobName"]
    child = cloud.clients()("sagemaker").describe_training_job(TrainingJobName=ranked[0]["TrainingJobName"])
    tuned = ranked[0]["TunedHyperParameters"]
    assert child["HyperParameters"] == {"max_steps": "3", "_tuning_objective_metric": "validation:wql", **tuned}
    assert child["TuningJobArn"] == described["HyperParameterTuningJobArn"]
    assert len(cloud.calls_of("CreateTrainingJob")) == 0


def test_a_seed_and_a_warm_start_choose(cloud):
    run(cloud, tuning("first", jobs=2, parallel=1))
    run(cloud, tuning("second", jobs=2, parallel=1))
    chosen = [[child["TunedHyperParameters"] for child in children(cloud, name)] for name in ("first", "second")]
    assert chosen[0] == chosen[1]
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "first"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    assert run(cloud, tuning("third", jobs=1, parallel=1, WarmStartConfig=warm))["WarmStartConfig"] == warm
    warm["ParentHyperParameterTuningJobs"][0]["HyperParameterTuningJobName"] = "nobody"
    with pytest.raises(ClientError, match="does not exist"):
        run(cloud, tuning("fourth", WarmStartConfig=warm))


def test_a_child_that_is_worse_than_the_median_is_stopped_early(cloud):
    early = {"TrainingJobEarlyStoppingType": "Auto", "Strategy": "Random", "RandomSeed": 3}
    run(cloud, tuning(jobs=4, parallel=1, static={"max_steps": "20", "seconds_per_step": "0.02"}, config=early))
    states = [child["TrainingJobStatus"] for child in children(cloud)]
    assert states[0] == "Completed"
    assert "Stopped" in states
    assert all("FinalHyperParameterTuningJobObjectiveMetric" in child for child in children(cloud))


def test_a_search_that_is_stopped_stops_its_children(cloud):
    client = cloud.clients()("sagemaker")
    client.create_hyper_parameter_tuning_job(**tuning(static={"seconds_per_step": "20"}))
    wait_until(lambda: any(child.metrics for child in cloud.job("search").children))
    client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="search")
    assert finished(cloud, "search")["HyperParameterTuningJobStatus"] == "Stopped"
    assert {child["TrainingJobStatus"] for child in children(cloud)} == {"Stopped"}


def test_a_search_whose_children_all_fail_fails(cloud):
    described = run(cloud, tuning(static={"fail": "1"}, jobs=2))
    assert described["HyperParameterTuningJobStatus"] == "Failed"
    assert "All training jobs failed" in described["FailureReason"]
    assert "loss is nan" in children(cloud)[0]["FailureReason"]


def test_impossible_searches_are_refused(cloud):
    client = cloud.clients()("sagemaker")
    for request, told in (
        (tuning("x" * 33), "length less than or equal to 32"),
        (tuning(static={"learning_rate": "1"}), "static and tunable"),
        (tuning(jobs=1, parallel=2), "must not be more"),
        (tuning(config={"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"}}), "metric"),
    ):
        with pytest.raises(ClientError, match=told):
            client.create_hyper_parameter_tuning_job(**request)
    with pytest.raises(client.exceptions.ResourceNotFound):
        client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="nobody")
    run(cloud, tuning(jobs=1, parallel=1))
    with pytest.raises(client.exceptions.ResourceInUse):
        client.create_hyper_parameter_tuning_job(**tuning())
