"""The instances of docker/: a run on a real PostgreSQL server, and a task of ECS that moto is asked for."""

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.origin import JobPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from moto import mock_aws
from sqlalchemy import text

from chronos_assets.defs.instance import CONFIG, WORKSPACE
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.docker import postgres
from chronos_assets_tests.docker.template import REGION, load

DOCKER = REPOSITORY / "docker"
INSTANCES = ("dagster-postgres.yaml", "dagster-aws.yaml")


# --- both, and the one of a laptop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTANCES)
def test_what_was_a_trap_on_a_laptop_is_none_here(name: str) -> None:
    laptop, here = (yaml.safe_load(path.read_text()) for path in (CONFIG, DOCKER / name))
    for part in ("telemetry", "nux", "run_retries", "retention"):
        assert here[part] == laptop[part]
    monitoring = here["run_monitoring"]
    assert monitoring["enabled"]
    assert monitoring["max_resume_run_attempts"] == 0
    assert monitoring["free_slots_after_run_end_seconds"] > 0
    assert here["concurrency"]["pools"]["default_limit"] == 1


@pytest.mark.parametrize("name", INSTANCES)
def test_no_password_is_written_down(name: str) -> None:
    database = yaml.safe_load((DOCKER / name).read_text())["storage"]["postgres"]["postgres_db"]
    assert {key: list(value) for key, value in database.items() if key not in ("params", "scheme")} == {
        key: ["env"] for key in ("username", "password", "hostname", "port", "db_name")
    }


def test_the_workspace_finds_the_code_location_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_CODE_LOCATION_HOST", "code-location")
    (origin,) = location_origins_from_yaml_paths([str(DOCKER / "workspace.yaml")])
    # The name of the other workspace: what Dagster knows of a laptop's sensors it knows by it.
    (there,) = yaml.safe_load(WORKSPACE.read_text())["load_from"]
    assert origin.location_name == there["python_module"]["location_name"]
    assert (origin.host, origin.port) == ("code-location", 4000)  # type: ignore[attr-defined]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    folder = postgres.binaries()
    if folder is None:
        reason = "no PostgreSQL server on this machine: install Debian's package postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with postgres.running(folder) as server:
        yield server


@pytest.fixture
def home(server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME as the image has it, with the variables that compose sets."""
    (tmp_path / "dagster.yaml").write_text((DOCKER / "dagster-postgres.yaml").read_text())
    for name, value in {
        "DAGSTER_POSTGRES_USER": "dagster",
        "DAGSTER_POSTGRES_PASSWORD": server.password,
        "DAGSTER_POSTGRES_HOST": server.host,
        "DAGSTER_POSTGRES_PORT": str(server.port),
        "DAGSTER_POSTGRES_DB": "dagster",
        "DAGSTER_LOGS": str(tmp_path / "logs"),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05"), pool="model")
def numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info("counted")
    return dg.MaterializeResult(metadata={"count": 3}, data_version=dg.DataVersion("v1"))


@dg.asset
def refused() -> None:
    raise dg.Failure("no numbers")


def test_a_run_its_materialization_and_its_failure_are_kept_by_postgresql(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        done = dg.materialize([numbers], instance=instance, partition_key="2024-01-02", tags={"kind": "test"})
        failed = dg.materialize([refused], instance=instance, raise_on_error=False)
    # Another process, as the web server is one, sees the same.
    with dg.DagsterInstance.from_config(str(home)) as other:
        (run,) = other.get_runs(dg.RunsFilter(tags={"kind": "test"}))
        assert (run.run_id, run.status) == (done.run_id, dg.DagsterRunStatus.SUCCESS)
        assert other.get_run_by_id(failed.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
        event = other.get_latest_materialization_event(dg.AssetKey("numbers"))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["count"].value == 3
        assert other.get_materialized_partitions(dg.AssetKey("numbers")) == {"2024-01-02"}
        assert "counted" in [record.user_message for record in other.all_logs(done.run_id)]
        # The documented way to keep the database small.
        (statement,) = re.findall(r"```sql\n(DELETE .*;)\n", (REPOSITORY / "docs" / "operations.md").read_text())
        assert "'90 days'" in statement
        with other.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
            connection.execute(text(statement.replace("'90 days'", "'-1 days'")))
        assert "counted" not in [record.user_message for record in other.all_logs(done.run_id)]
        assert other.get_latest_materialization_event(dg.AssetKey("numbers")) is not None
        assert other.get_materialized_partitions(dg.AssetKey("numbers")) == {"2024-01-02"}
        assert other.get_run_by_id(failed.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]


def test_a_pool_has_one_slot_among_all_processes(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as one, dg.DagsterInstance.from_config(str(home)) as other:
        storage = one.event_log_storage
        storage.set_concurrency_slots("model", 1)
        assert storage.claim_concurrency_slot("model", "run-1", "step").is_claimed
        assert not other.event_log_storage.claim_concurrency_slot("model", "run-2", "step").is_claimed
        storage.free_concurrency_slots_for_run("run-1")
        storage.free_concurrency_slots_for_run("run-2")
        assert other.event_log_storage.get_concurrency_info("model").active_slot_count == 0


# --- ECS --------------------------------------------------------------------------------------------------------------


class _Metadata(BaseHTTPRequestHandler):
    """What ECS tells a task of itself; `task` is set by the test."""

    task: dict[str, str] = {}  # noqa: RUF012 - of the class on purpose: the server makes the instances

    def do_GET(self) -> None:
        body = json.dumps(self.task).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def metadata_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Metadata)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ecs(server: postgres.Server, metadata_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Moto's ECS with a cluster, the daemon's task in it, and the task definition of a run."""
    document = yaml.safe_load((DOCKER / "dagster-aws.yaml").read_text())
    # The test's server speaks no TLS, RDS does.
    assert document["storage"]["postgres"]["postgres_db"].pop("params") == {"sslmode": "require"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(document))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "ECS_CONTAINER_METADATA_URI_V4": metadata_url,
        "DAGSTER_POSTGRES_USER": "dagster",
        "DAGSTER_POSTGRES_PASSWORD": server.password,
        "DAGSTER_POSTGRES_HOST": server.host,
        "DAGSTER_POSTGRES_PORT": str(server.port),
        "DAGSTER_POSTGRES_DB": "dagster",
        "DAGSTER_LOGS_BUCKET": "the-forecasts",
        "DAGSTER_LOGS_PREFIX": "store/.dagster/logs",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "DAGSTER_RUN_TASK_DEFINITION"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws(config={"core": {"passthrough": {"urls": [rf"{metadata_url}.*"]}}}):
        boto3.client("s3").create_bucket(Bucket="the-forecasts")
        client, ec2 = boto3.client("ecs"), boto3.client("ec2")
        client.create_cluster(clusterName="forecasts")
        (container,) = load()["Resources"]["RunTask"]["Properties"]["ContainerDefinitions"]
        definition = client.register_task_definition(
            family="forecasts-run",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="1024",
            memory="4096",
            # Moto wants a memory for the container, Fargate only one for the task.
            containerDefinitions=[{"name": container["Name"], "image": "dagster:1", "memory": 4096}],
        )["taskDefinition"]["taskDefinitionArn"]
        (group, *_), subnet = (
            ec2.describe_security_groups()["SecurityGroups"],
            ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        )
        (daemon,) = client.run_task(
            cluster="forecasts",
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration={
                "awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group["GroupId"]]},
            },
        )["tasks"]
        _Metadata.task = {"Cluster": daemon["clusterArn"], "TaskARN": daemon["taskArn"], "Name": "daemon"}
        yield client, definition, tmp_path


def test_a_run_becomes_a_task_of_the_templates_definition(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, definition, home = ecs
    monkeypatch.setenv("DAGSTER_RUN_TASK_DEFINITION", definition)
    before = set(client.list_tasks(cluster="forecasts")["taskArns"])
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert type(instance.run_launcher).__name__ == "EcsRunLauncher"
        run = _queued_run(instance)
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        (arn,) = set(client.list_tasks(cluster="forecasts")["taskArns"]) - before
        (task,) = client.describe_tasks(cluster="forecasts", tasks=[arn])["tasks"]
        assert task["taskDefinitionArn"] == definition
        assert task["launchType"] == "FARGATE"
        (override,) = task["overrides"]["containerOverrides"]
        assert override["name"] == "run"
        command = " ".join(override["command"])
        assert run.run_id in command
        assert "dagster api execute_run" in command
        assert os.environ["DAGSTER_POSTGRES_PASSWORD"] not in command
        # ECS takes no more for all overrides.
        assert len(json.dumps(task["overrides"])) < 8_192
        # To cancel is to stop the task.
        assert instance.run_launcher.terminate(run.run_id)
        (task,) = client.describe_tasks(cluster="forecasts", tasks=[arn])["tasks"]
        assert task["desiredStatus"] == "STOPPED"


def _queued_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run as the web server hands it to the daemon: of a job in the code location's server."""
    pointer = ModuleCodePointer("chronos_assets.definitions", "defs", working_directory="/opt/dagster")
    repository = ReconstructableRepository(pointer, executable_path="/venv/bin/python").get_python_origin()
    location = RegisteredCodeLocationOrigin("chronos_assets")
    remote = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "refresh_forecasts")
    return instance.create_run_for_job(
        dg.define_asset_job("refresh_forecasts", [numbers]).resolve(
            asset_graph=dg.Definitions(assets=[numbers]).resolve_asset_graph()
        ),
        remote_job_origin=remote,
        job_code_origin=JobPythonOrigin("refresh_forecasts", repository),
    )


def test_a_runs_task_needs_no_launcher_and_leaves_its_log_in_s3(ecs: Any) -> None:
    """It isn't told its own task definition: the template can't name it there."""
    _, _, home = ecs
    with dg.DagsterInstance.from_config(str(home)) as instance:
        done = dg.materialize([numbers], instance=instance, partition_key="2024-01-03")
        assert done.success
    listed = boto3.client("s3").list_objects_v2(Bucket="the-forecasts", Prefix="store/.dagster/logs/")
    assert any(done.run_id in item["Key"] for item in listed["Contents"])
