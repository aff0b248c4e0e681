"""The whole graph with `CHRONOS_DEPLOYMENT=aws`, real workloads as SageMaker jobs: the same numbers as on a laptop."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest

from chronos_assets.pipeline import serving
from chronos_assets.pipeline.endpoint_comparison import compare_endpoint
from chronos_assets.platforms.folder_files import folder_digest
from chronos_assets.store_layout import DATASET_KEY, history_key
from chronos_assets.timeseries.forecast.query import SeriesQuestion
from chronos_assets_tests import forks
from chronos_assets_tests.aws.line import CloudLine, cloud_group, cloud_line, environment
from chronos_assets_tests.defs.line import PARAMS, Line, failure_reason, make_line
from chronos_assets_tests.defs.test_training_line import TRAINING, decide, noisy_rows
from chronos_assets_tests.waiting import wait_until

if TYPE_CHECKING:
    from chronos_assets_tests.aws.moto_server import AwsServer

AS_OF, SCORED = "2024-01-10", "2024-01-08"


@pytest.fixture
def variables(aws: AwsServer, tmp_path: Path) -> dict[str, str]:
    """Of a deployment with a topic and a workgroup, as the template makes them."""
    clients = aws.clients()
    topic = clients("sns").create_topic(Name="chronos")["TopicArn"]
    queue = clients("sqs").create_queue(QueueName="mails")["QueueUrl"]
    attributes = clients("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    clients("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=attributes["QueueArn"])
    bucket = aws.bucket("shop-store")
    clients("athena").create_work_group(
        Name="chronos-assets",
        Configuration={"ResultConfiguration": {"OutputLocation": f"s3://{bucket}/shop/.athena/"}},
    )
    return {**aws.env, **environment(bucket, tmp_path), "CHRONOS_TOPIC": topic}


def params(**chronos: object) -> str:
    return json.dumps(PARAMS | {"Chronos": chronos})


@pytest.fixture
def line(variables: dict[str, str]) -> Iterator[CloudLine]:
    with dg.DagsterInstance.ephemeral() as instance:
        # Every import is a job, as one of many files is.
        made = cloud_line(cloud_group({**variables, "CHRONOS_IMPORT_JOB_BYTES": "0B"}), instance)
        training = TRAINING | {"Approval": "manual"}
        made.put("params.json", params(Training=training, Predictor={"Members": ["chronos/1", "tuned/1", "theta"]}))
        rows = noisy_rows(10).splitlines()
        for key, latest in (("train/demand.csv", False), ("train/latest.csv", True)):
            made.put(key, "\n".join(row for row in rows if row.startswith(AS_OF) == latest) + "\n")
        yield made


def local_twin(line: CloudLine, root: Path, instance: dg.DagsterInstance) -> Line:
    """A laptop with the same parameters, train file, and versions of the model."""
    twin = make_line(root, instance)
    for key in ("params.json", "train/demand.csv", "train/latest.csv"):
        twin.put(key, line.group.store.get(key).decode())
    for version in line.group.registry.versions("Shop"):
        folder = line.group.store.snapshot(version.model)
        for path in folder.iterdir():
            twin.group.store.put_file(f"{version.model}/{path.name}", path)
        twin.group.registry.register(
            "Shop",
            model=version.model,
            identity=version.identity,
            document=version.document,
            status=version.status,
            reason=version.reason,
        )
    return twin


def numbers(line: Line, key: str) -> dict[str, np.ndarray]:
    table = pq.read_table(line.group.store.snapshot(key) / "forecast.parquet")
    return {name: table[name].to_numpy() for name in table.column_names}


def answered(line: Line, item: str) -> dict[str, list[tuple[str, float]]]:
    """What the tables say of an item's forecast: type -> times and values."""
    answer = line.group.tables.query(line.group.store, SeriesQuestion(item, dimensions={}, start=None, end=None))
    predictions = answer["Forecast"]["Predictions"]
    return {name: [(point["Timestamp"], point["Value"]) for point in points] for name, points in predictions.items()}


def kill_in_mid_training(aws: AwsServer, variables: dict[str, str], tmp_path: Path) -> None:
    """Let another process begin the search, and kill it once the first trial trains."""
    module = "chronos_assets_tests.aws.run_assets"
    started = {"folder": tmp_path, "environment": {**os.environ, **variables}}
    with forks.reading(module, "retrain", "tuned_checkpoints", **started) as (process, _):
        wait_until(lambda: aws.calls_of("CreateHyperParameterTuningJob"), 200, while_runs=process)


def test_the_whole_graph_is_that_of_a_laptop(
    aws: AwsServer, variables: dict[str, str], line: CloudLine, tmp_path: Path
) -> None:
    store = line.group.store
    latest = store.get("train/latest.csv")
    store.delete("train/latest.csv")
    assert line.run(["target_time_series"]).success
    # The second job is given what has changed, and takes the rest from the dataset.
    store.put("train/latest.csv", latest)
    assert line.run(["target_time_series"]).success
    first, second = (
        {item["InputName"]: item["S3Input"]["S3Uri"] for item in call["ProcessingInputs"]}
        for call in aws.calls_of("CreateProcessingJob")
    )
    assert "before" not in first
    assert second["before"].endswith("/remote/before/")  # a list of its shards, of which the job fetches what it needs
    imported = line.metadata("target_time_series")
    assert imported["log_url"].startswith("https://")
    assert not list(store.list(".jobs"))
    assert line.run(["synthetic_dataset"], job="retrain").success
    kill_in_mid_training(aws, variables, tmp_path)
    result = line.run(["tuned_checkpoints", "model_package", "endpoint"], job="retrain")
    assert result.success, failure_reason(result)

    # The search that the killed process began was found again; both trials are SageMaker's, and the best one's checkpoint
    # was published, gated and registered.
    assert line.metadata("tuned_checkpoints")["found"] == "attached"
    (search,) = aws.calls_of("CreateHyperParameterTuningJob")
    assert search["HyperParameterTuningJobConfig"]["Strategy"] == "Bayesian"
    assert [row["trial"] for row in line.table("tuned_checkpoints", "trials")] == [0, 1]
    (version,) = line.group.registry.versions("Shop")
    assert set(version.document["metrics"]) >= {"wql", "mase"}
    # Whatever the gate said: a person approves it, and the endpoint follows by an update.
    approved = decide(line, "approve_model", version=1)
    assert approved.success, failure_reason(approved)
    assert len(aws.calls_of("UpdateEndpoint")) == 1
    assert line.state.model_in_use.label == "Shop/1"
    for asset in ("synthetic_dataset", "tuned_checkpoints", "model_package"):
        facts = line.metadata(asset)
        assert facts["log_url"].startswith("https://")
        assert facts["billable_seconds"] >= 0

    # It forecasts, is scored, and its numbers are in Athena and CloudWatch.
    made = line.run(["forecasts"], (SCORED, AS_OF))
    assert made.success, failure_reason(made)
    assert line.run(["forecast_accuracy"], SCORED, job="score_forecasts").success
    assert line.run(["forecast_tables"]).success
    assert line.metadata("forecasts", AS_OF)["model"] == "Shop/1"
    assert json.loads(store.read("forecast", "manifest.json"))["as_of"] == AS_OF
    names = {metric["MetricName"] for metric in aws.clients()("cloudwatch").list_metrics()["Metrics"]}
    assert names >= {"Items", "Seconds", "WQL", "WQL_p10", "MASE", "RMSE"}

    # The endpoint answers as the forecast does.
    assert line.metadata("endpoint")["invocations"].endswith("/endpoints/Shop/invocations")
    assert "aws sagemaker-runtime invoke-endpoint --endpoint-name Shop " in line.metadata("endpoint")["try_it"]
    compared = compare_endpoint(line.state)
    assert compared.series == 2
    assert compared.difference is not None
    assert compared.difference <= 1e-5

    # A laptop that is given the same model makes the same numbers.
    with dg.DagsterInstance.ephemeral() as instance:
        twin = local_twin(line, tmp_path / "laptop", instance)
        assert twin.run(["target_time_series"]).success
        assert twin.run(["forecasts"], AS_OF).success
        here = twin.metadata("target_time_series")
        del here["remarks"]  # of a sample of the files, which are only looked at where they are
        assert {name for name, value in here.items() if imported[name] != value} == {"dagster/uri", "train_digest"}
        datasets = [each.group.store.snapshot(DATASET_KEY) for each in (twin, line)]
        assert folder_digest(datasets[0]) == folder_digest(datasets[1])
        ours, theirs = numbers(line, "forecast"), numbers(twin, "forecast")
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(ours[name], values, rtol=1e-6)
            else:
                assert (ours[name] == values).all()
        item = str(theirs["item_id"][0])
        asked, expected = answered(line, item), answered(twin, item)
        assert asked.keys() == expected.keys() >= {"p10", "p50", "p90", "mean"}
        for name, points in expected.items():
            assert [time for time, _ in asked[name]] == [time for time, _ in points]
            assert [value for _, value in asked[name]] == pytest.approx([value for _, value in points], rel=1e-6)

    # An update that SageMaker rolls back: the old version serves, the run fails and says so.
    aws.faults.roll_back_next_update = True
    rejected = decide(line, "reject_model", version=1)
    assert not rejected.success
    assert "SageMaker rolled the update back" in failure_reason(rejected)
    state = line.group.endpoints.describe(serving.endpoint_name(line.state))
    assert state is not None
    assert (state.healthy, state.version) == (True, "Shop/1")
    assert line.group.endpoints.invoke(state.name, serving.golden_request(line.state))


# Other numbers of instances are the workload's own tests.
def test_a_forecast_dealt_out_over_instances_has_the_bytes_of_one(
    aws: AwsServer, variables: dict[str, str], tmp_path: Path
) -> None:
    with dg.DagsterInstance.ephemeral() as one, dg.DagsterInstance.ephemeral() as other:
        line = cloud_line(cloud_group({**variables, "CHRONOS_FORECAST_INSTANCES": "4"}), one)
        twin = make_line(tmp_path / "laptop", other)
        rows = line.group.store.get("train/demand.csv").decode()
        many = rows + "".join(
            row.replace("client_a", f"client_{number}") + "\n"
            for number in range(13)
            for row in rows.splitlines()
            if "client_a" in row
        )
        predictor = {"Members": ["chronos/1", "theta", "seasonal_naive"]}
        for each in (line, twin):
            each.put("params.json", params(Training={"Strategy": "NONE"}, Predictor=predictor))
            each.put("train/demand.csv", many)
            assert each.run(["target_time_series"]).success
            made = each.run(["forecasts"], AS_OF)
            assert made.success, failure_reason(made)
        # Weights are learned in one job, on one instance, whatever the number that forecasts.
        learn, job = aws.calls_of("CreateProcessingJob")
        assert learn["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 1
        assert job["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 4
        history = history_key(AS_OF)
        for name in ("forecast.parquet", "last_observed.parquet", "skipped.parquet", "manifest.json"):
            assert line.group.store.read(history, name) == twin.group.store.read(history, name)
        assert line.metadata("forecasts", AS_OF)["series"] == 16
