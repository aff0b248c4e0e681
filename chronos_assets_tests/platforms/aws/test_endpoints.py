"""Endpoints in SageMaker: updates that nobody notices, whatever fails, rolls back or is killed. Real server processes."""

import dataclasses
import io
import json
import logging
import tarfile
import threading

import pytest

from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.endpoints import SageMakerEndpoints
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest
from chronos_assets.settings import AwsSettings
from chronos_assets.workloads.serve import parse_settings
from chronos_assets_tests.platforms.aws.deployment import (
    IMAGE,
    LOCATION,
    ROLE,
    SETTINGS,
    called,
    clients_of,
    open_store,
    publish_model,
)

GOLDEN = {"inputs": [{"target": [1, 2, 3]}]}
NAME = "demand"

log = logging.getLogger(__name__)


@pytest.fixture
def cloud(aws):
    aws.package = "chronos_assets_tests.platforms.aws"
    aws.cloud.ping_seconds = 10.0
    aws.cloud.grace_seconds = 1.0
    return aws


@pytest.fixture
def store(cloud, s3_server, tmp_path):
    store = open_store(cloud, s3_server, tmp_path)
    publish_model(store, tmp_path)
    return store


@pytest.fixture
def make(cloud, store):
    """Endpoints of the deployment, with other settings if given."""

    def make(location=LOCATION, **changes):
        return SageMakerEndpoints(
            AwsDeployment(clients_of(cloud), store, dataclasses.replace(SETTINGS, **changes), location),
            poll_first=0.05,
            poll_most=0.2,  # a look is two requests: many of them take what the server needs to start
            answer_seconds=10.0,
            answer_poll_seconds=0.05,
        )

    return make


@pytest.fixture
def endpoints(make):
    return make()


def request(version, model="models/m", name=NAME, **parameters):
    return EndpointRequest(name, model, version, f"identity of {version}", GOLDEN, parameters)


def names(cloud, kind):
    items = {"model": cloud.cloud.backend._models, "endpoint-config": cloud.cloud.backend.endpoint_configs}
    return sorted(items[kind])


def version(endpoints, name=NAME):
    return endpoints.invoke(name, GOLDEN)["version"]


def serving(cloud):
    """What the server in use was given, as `workloads.serve` reads it."""
    (name,) = names(cloud, "model")
    container = cloud.cloud.backend._models[name].request["PrimaryContainer"]
    return parse_settings({}, container["Environment"]), container


def test_a_model_of_the_store_is_served(endpoints, cloud, store):
    state = endpoints.deploy(request("retail/3", quantile_levels=[0.1, 0.9]), log)
    assert (state.name, state.version, state.identity) == (NAME, "retail/3", "identity of retail/3")
    assert (state.healthy, state.changed) == (True, True)
    assert state.url.endswith(f"/endpoints/{NAME}")
    assert state.details["kind"] == "realtime"
    assert state.details["instance"] == "ml.c5.xlarge"
    answer = endpoints.invoke(NAME, GOLDEN)
    assert answer["files"] == ["config.json", "model.safetensors"]
    settings, container = serving(cloud)
    assert (settings.endpoint, settings.version, settings.model) == (NAME, "retail/3", "models/m")
    assert settings.defaults == {"quantile_levels": [0.1, 0.9]}
    assert container["Image"] == IMAGE
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == store.snapshot_uri("models/m")
    assert endpoints.describe(NAME) == dataclasses.replace(state, changed=False)


def test_what_is_served_already_is_not_deployed_again(endpoints, make, cloud):
    endpoints.deploy(request("one"), log)
    before = len(cloud.calls)
    again = make().deploy(request("one"), log)
    assert (again.changed, again.version) == (False, "one")
    made = {call.operation for call in cloud.calls[before:]} & {"CreateModel", "CreateEndpoint", "UpdateEndpoint"}
    assert made == set()


@pytest.mark.parametrize("model", ["bundled", "amazon/chronos-bolt-tiny"])
def test_a_base_model_comes_with_the_image_or_from_the_hub(endpoints, cloud, model):
    endpoints.deploy(request("zero-shot", model), log)
    settings, container = serving(cloud)
    assert settings.model == model
    assert "ModelDataSource" not in container
    assert endpoints.invoke(NAME, GOLDEN)["files"] == []


def test_a_base_model_of_another_bucket_is_given_as_it_is(endpoints, cloud, store):
    endpoints.deploy(request("zero-shot", store.uri("versions/models/m")), log)
    _, container = serving(cloud)
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == store.uri("versions/models/m") + "/"


def test_an_update_fails_no_request_and_the_old_one_goes_afterwards(endpoints, cloud):
    endpoints.deploy(request("one"), log)
    (old,) = names(cloud, "model")
    answers, failures, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                answers.append(version(endpoints))
            except EndpointError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    state = endpoints.deploy(request("two"), log)
    asked = len(answers)
    assert version(endpoints) == "two"
    while len(answers) < asked + 4:
        pass
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (answers[0], answers[-1], state.version) == ("one", "two", "two")
    (new,) = names(cloud, "model")
    assert new != old
    assert names(cloud, "endpoint-config") == [new] == [state.details["config"]]
    operations = [call.operation for call in cloud.calls if not call.error]
    assert operations.index("DeleteModel") > operations.index("UpdateEndpoint")
    proven = max(place for place, name in enumerate(operations) if name == "AddTags")
    assert operations.index("DeleteEndpointConfig") > proven


@pytest.mark.parametrize("how", ["fault", "start", "ping"])
def test_an_update_that_rolls_back_is_an_error_and_the_old_one_serves(endpoints, cloud, how):
    before = endpoints.deploy(request("one"), log)
    if how == "fault":
        cloud.faults.roll_back_next_update = True
    cloud.cloud.ping_seconds = 1.0
    with pytest.raises(EndpointError, match=r"demand: two was not deployed: .*rolled the update back") as failed:
        endpoints.deploy(request("two", fails=how), log)
    assert f"{before.details['config']} still answers" in str(failed.value)
    if how == "start":
        assert "the model is broken" in str(failed.value)
    assert version(endpoints) == "one"
    assert names(cloud, "model") == names(cloud, "endpoint-config") == [before.details["config"]]
    assert endpoints.describe(NAME) == dataclasses.replace(before, changed=False, details=details(endpoints))
    cloud.cloud.ping_seconds = 10.0
    assert endpoints.deploy(request("two"), log).changed


def test_a_servers_log_is_reported_without_its_secrets(endpoints, monkeypatch):
    monkeypatch.setattr("chronos_assets.platforms.aws.endpoints.last_lines", lambda *_: ["token=abc123", "bye"])
    with pytest.raises(EndpointError, match=r"Last lines of its log:\ntoken\*\*\*\nbye") as failed:
        endpoints.deploy(request("one", fails="start"), log)
    assert "abc123" not in str(failed.value)


def details(endpoints):
    return endpoints.describe(NAME).details


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("golden", "the golden request: endpoint 'demand' answered 400: no such field"),
        ("values", "its answer to the golden request has values in 'mean' that are not finite numbers"),
    ],
)
def test_one_that_does_not_answer_the_golden_request_gives_way_to_the_old_one(endpoints, cloud, how, said):
    before = endpoints.deploy(request("one"), log)
    with pytest.raises(EndpointError, match=said):
        endpoints.deploy(request("two", fails=how), log)
    assert version(endpoints) == "one"
    assert endpoints.describe(NAME).identity == before.identity
    assert names(cloud, "model") == names(cloud, "endpoint-config") == [before.details["config"]]


@pytest.mark.parametrize("how", ["start", "golden"])
def test_a_first_one_that_fails_leaves_nothing_in_the_way_of_the_next(endpoints, cloud, how):
    with pytest.raises(EndpointError, match="there is no older one to answer") as failed:
        endpoints.deploy(request("one", fails=how), log)
    assert ("ping health check" if how == "start" else "no such field") in str(failed.value)
    assert endpoints.describe(NAME) is None
    assert names(cloud, "model") == names(cloud, "endpoint-config") == []
    assert endpoints.deploy(request("two"), log).changed


def test_an_endpoint_that_has_failed_is_made_anew(endpoints, cloud):
    endpoints.deploy(request("one"), log)
    endpoint = cloud.cloud.backend.endpoints[NAME]
    endpoint.status, endpoint.reason = "Failed", "no disk"
    assert not endpoints.describe(NAME).healthy
    assert endpoints.deploy(request("one"), log).changed
    assert version(endpoints) == "one"


class Killed(BaseException):
    """What a killed process does not survive."""


@pytest.mark.parametrize("first", [True, False])
def test_an_interrupted_deployment_is_attached_to(endpoints, make, cloud, monkeypatch, first):
    if not first:
        endpoints.deploy(request("one"), log)

    def die(*_args, **_more):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SageMakerEndpoints, "_golden_problem", die)
        with pytest.raises(Killed):
            endpoints.deploy(request("two"), log)
    state = make().deploy(request("two"), log)
    assert (state.changed, version(endpoints)) == (True, "two")
    assert len(called(cloud, "CreateEndpoint")) == 1
    assert len(called(cloud, "UpdateEndpoint")) == (0 if first else 1)
    assert names(cloud, "model") == names(cloud, "endpoint-config") == [state.details["config"]]


def test_while_sagemaker_still_changes_the_next_deployment_waits(endpoints, make, cloud, monkeypatch):
    endpoints.deploy(request("one"), log)
    settled = SageMakerEndpoints._settled
    calls = []

    def die_in_the_update(self, *args, **more):
        calls.append(args)
        if len(calls) == 2:
            raise Killed
        return settled(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(SageMakerEndpoints, "_settled", die_in_the_update)
        with pytest.raises(Killed):
            endpoints.deploy(request("two"), log)
    assert endpoints.describe(NAME).healthy
    assert make().deploy(request("two"), log).version == "two"
    assert len(called(cloud, "UpdateEndpoint")) == 1
    assert len(names(cloud, "model")) == 1


def test_what_another_deployment_removed_while_this_one_waited_is_made_again(endpoints, cloud, monkeypatch):
    endpoints.deploy(request("one"), log)
    (used,) = names(cloud, "endpoint-config")
    cloud.faults.refuse("UpdateEndpoint", "ValidationException", "Cannot update in-progress endpoint")
    settled = SageMakerEndpoints._settled

    def remove_unused(self, *args, **more):
        # As the deployment that is waited for does at its end.
        if not called(cloud, "UpdateEndpoint"):
            for items in (cloud.cloud.backend._models, cloud.cloud.backend.endpoint_configs):
                for name in set(items) - {used}:
                    del items[name]
        return settled(self, *args, **more)

    monkeypatch.setattr(SageMakerEndpoints, "_settled", remove_unused)
    assert endpoints.deploy(request("two"), log).version == "two"
    assert version(endpoints) == "two"


def test_one_that_was_interrupted_and_does_not_answer_gives_way_to_the_one_proven_before(
    endpoints, make, cloud, monkeypatch
):
    before = endpoints.deploy(request("one"), log)

    def die(*_args, **_more):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SageMakerEndpoints, "_golden_problem", die)
        with pytest.raises(Killed):
            endpoints.deploy(request("two", fails="golden"), log)
    with pytest.raises(EndpointError, match="still answers"):
        make().deploy(request("two", fails="golden"), log)
    assert version(endpoints) == "one"
    assert names(cloud, "model") == [before.details["config"]]


def test_what_an_interrupted_deployment_left_goes_with_the_next(endpoints, make, cloud, monkeypatch):
    endpoints.deploy(request("one"), log)
    with monkeypatch.context() as patch:
        patch.setattr(SageMakerEndpoints, "_remove_unused", lambda *_: None)
        endpoints.deploy(request("two"), log)
        endpoints.deploy(request("three"), log)
    assert len(names(cloud, "model")) == 3
    assert make().deploy(request("three"), log).changed is False
    assert len(names(cloud, "model")) == len(names(cloud, "endpoint-config")) == 1
    assert version(endpoints) == "three"


def test_a_change_that_takes_too_long_goes_on(make, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("chronos_assets.platforms.aws.endpoints._CHANGE_SECONDS", 0.0)
        with pytest.raises(EndpointError, match="is still Creating after 0 s: it continues, deploy again"):
            make().deploy(request("one"), log)
    assert make().deploy(request("one"), log).healthy


def test_sagemaker_may_not_see_yet_what_was_just_made(endpoints, cloud):
    cloud.faults.refuse("CreateEndpoint", "ValidationException", "Could not find endpoint configuration", times=2)
    assert endpoints.deploy(request("one"), log).healthy


def test_a_new_server_may_be_late_with_its_first_answer(endpoints, cloud):
    cloud.faults.refuse("InvokeEndpoint", "ModelNotReadyException", "the model is loading", times=2)
    assert endpoints.deploy(request("one"), log).changed


def test_an_old_one_that_can_not_be_brought_back_is_reported(endpoints, cloud, monkeypatch):
    endpoints.deploy(request("one"), log)
    answers = SageMakerEndpoints._golden_problem

    def then_nothing_works(self, *args):
        problem = answers(self, *args)
        cloud.faults.refuse("UpdateEndpoint", "AccessDeniedException", "not authorized")
        return problem

    with monkeypatch.context() as patch:
        patch.setattr(SageMakerEndpoints, "_golden_problem", then_nothing_works)
        with pytest.raises(EndpointError, match=r"could not be brought back \(not authorized\): deploy again"):
            endpoints.deploy(request("two", fails="golden"), log)
    assert len(names(cloud, "model")) == 2
    assert not endpoints.describe(NAME).healthy
    with pytest.raises(EndpointError, match="still answers"):
        endpoints.deploy(request("two", fails="golden"), log)
    assert version(endpoints) == "one"


def test_an_endpoint_whose_configuration_was_deleted_by_hand_is_still_known(endpoints, cloud):
    state = endpoints.deploy(request("one"), log)
    clients_of(cloud)("sagemaker").delete_endpoint_config(EndpointConfigName=state.details["config"])
    seen = endpoints.describe(NAME)
    assert (seen.version, seen.identity, seen.healthy) == ("one", state.identity, True)


def test_other_settings_are_another_deployment(endpoints, make, cloud):
    endpoints.deploy(request("one"), log)
    state = make(endpoint_instance="ml.m5.large").deploy(request("one"), log)
    assert (state.changed, state.details["instance"]) == (True, "ml.m5.large")
    guarded = make(image=f"{IMAGE}-next", endpoint_alarms=("errors", "slow"))
    assert guarded.deploy(request("one"), log).changed
    policy = called(cloud, "UpdateEndpoint")[-1]["DeploymentConfig"]
    assert policy["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}, {"AlarmName": "slow"}]}
    assert policy["BlueGreenUpdatePolicy"]["TerminationWaitInSeconds"] == 300
    assert "AutoRollbackConfiguration" not in called(cloud, "UpdateEndpoint")[0]["DeploymentConfig"]


def test_network_key_and_tags_go_along(make, cloud):
    make(subnets=("subnet-1",), security_groups=("sg-1", "sg-2"), kms_key="alias/chronos").deploy(request("a/1"), log)
    (model,), (config,), (endpoint,) = (
        called(cloud, f"Create{kind}") for kind in ("Model", "EndpointConfig", "Endpoint")
    )
    assert model["VpcConfig"] == {"SecurityGroupIds": ["sg-1", "sg-2"], "Subnets": ["subnet-1"]}
    assert model["ExecutionRoleArn"] == ROLE
    assert config["KmsKeyId"] == "alias/chronos"
    for made in (model, config, endpoint):
        tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
        assert tags["team"] == "forecasting"
        assert (tags["chronos-assets:code-location"], tags["chronos-assets:endpoint"]) == (LOCATION, NAME)
    assert tags["chronos-assets:store"].startswith("s3://")


def test_a_serverless_endpoint_gets_an_archive_and_no_instance(make, cloud, store):
    serverless = make(endpoint="serverless", subnets=("subnet-1",), security_groups=("sg-1",))
    state = serverless.deploy(request("one"), log)
    assert (state.details["kind"], state.details["instance"]) == ("serverless", "4096 MB")
    assert serverless.invoke(NAME, GOLDEN)["files"] == ["config.json", "model.safetensors"]
    (model,) = called(cloud, "CreateModel")
    assert "VpcConfig" not in model
    key = model["PrimaryContainer"]["ModelDataUrl"].removeprefix(f"{store.url}/")
    with tarfile.open(fileobj=io.BytesIO(store.get(key))) as archive:
        assert archive.getnames() == ["config.json", "model.safetensors"]
    assert serverless.deploy(request("two"), log).changed
    assert serverless.delete(NAME)
    assert list(store.list(".endpoints")) == []
    with pytest.raises(EndpointError, match="a multiple of 1024"):
        make(endpoint="serverless", endpoint_memory_mb=3000).deploy(request("one"), log)
    with pytest.raises(EndpointError, match="set CHRONOS_ENDPOINT to realtime or async"):
        serverless.deploy(request("one", "s3://bucket/model"), log)


def test_an_asynchronous_endpoint_is_asked_through_the_store(make, store, cloud):
    asynchronous = make(endpoint="async", kms_key="alias/chronos")
    state = asynchronous.deploy(request("one"), log)
    assert state.details["kind"] == "async"
    assert version(asynchronous) == "one"
    # Whatever the settings say now.
    assert version(make()) == "one"
    with pytest.raises(EndpointError, match="could not answer: no such field"):
        asynchronous.invoke(NAME, {**GOLDEN, "bad": True})
    assert list(store.list(".jobs")) == []
    assert asynchronous.deploy(request("two"), log).version == "two"
    with pytest.raises(EndpointError, match="the golden request"):
        asynchronous.deploy(request("three", fails="golden"), log)
    assert version(asynchronous) == "two"


def test_one_kind_may_not_become_another(make, cloud):
    make().deploy(request("one"), log)
    cloud.faults.refuse("UpdateEndpoint", "ValidationException", "Cannot update to serverless")
    with pytest.raises(EndpointError, match="to make it serverless, stop it first with `chronos-assets endpoint stop`"):
        make(endpoint="serverless").deploy(request("one"), log)
    assert version(make()) == "one"


def test_deleting_leaves_what_others_made(endpoints, make, cloud):
    client = clients_of(cloud)("sagemaker")
    endpoints.deploy(request("one"), log)
    other = make(location="somebody-else")
    other.deploy(request("theirs", name="demand-two"), log)
    endpoints.deploy(request("ours", name="demand-three"), log)
    client.create_model(ModelName="demand-0123456789abcdef", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE})
    assert endpoints.delete(NAME) is True
    assert endpoints.describe(NAME) is None
    assert endpoints.delete(NAME) is False
    assert endpoints.delete("demand-two") is False
    assert version(other, "demand-two") == "theirs"
    assert version(endpoints, "demand-three") == "ours"
    assert len(names(cloud, "model")) == 3
    with pytest.raises(EndpointError, match="there is no endpoint 'demand'"):
        endpoints.invoke(NAME, GOLDEN)


def test_a_name_that_others_use_is_refused(endpoints, make, cloud):
    make(location="somebody-else").deploy(request("theirs"), log)
    with pytest.raises(EndpointError, match="demand is there, and this deployment did not make it"):
        endpoints.deploy(request("ours"), log)
    assert endpoints.describe(NAME) is None
    assert version(make(location="somebody-else")) == "theirs"


def test_an_error_of_the_model_is_reported(endpoints):
    endpoints.deploy(request("one"), log)
    with pytest.raises(EndpointError, match="endpoint 'demand' answered 400: no such field"):
        endpoints.invoke(NAME, {**GOLDEN, "bad": True})


def test_throttling_is_waited_out(endpoints, cloud):
    cloud.faults.throttle("DescribeEndpoint")
    assert endpoints.deploy(request("one"), log).healthy


def test_what_is_refused_is_reported_with_the_fix(endpoints, cloud):
    cloud.faults.refuse("CreateModel", "AccessDeniedException", "not authorized to perform sagemaker:CreateModel")
    with pytest.raises(
        EndpointError, match=r"deploying endpoint demand: AccessDenied.*let the role of Dagster do this"
    ):
        endpoints.deploy(request("one"), log)
    cloud.faults.refuse("CreateEndpoint", "ResourceLimitExceeded", "limit of 0 instances")
    with pytest.raises(EndpointError, match=r"was not deployed: ResourceLimitExceeded: limit of 0 instances"):
        endpoints.deploy(request("one"), log)
    assert names(cloud, "model") == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request("one", name="a_b"), "up to 63 letters"),
        (request("one", name="a" * 64), "up to 63 letters"),
        (request("one", "models/gone"), "models/gone is not there: launch the job retrain"),
        (request("one", "/tmp/model"), "folder of this machine, which SageMaker can't reach"),
        (request("one", quantile_levels=[0.001 * level for level in range(400)]), "ask for fewer quantiles"),
    ],
)
def test_what_sagemaker_could_not_serve_is_refused_before_anything_is_made(endpoints, cloud, asked, said):
    with pytest.raises(EndpointError, match=said):
        endpoints.deploy(asked, log)
    assert called(cloud, "CreateModel") == []


def test_without_role_and_image_nothing_is_deployed(cloud, store):
    bare = SageMakerEndpoints(AwsDeployment(clients_of(cloud), store, AwsSettings(), LOCATION))
    with pytest.raises(EndpointError, match="without CHRONOS_SAGEMAKER_ROLE and CHRONOS_SAGEMAKER_IMAGE"):
        bare.deploy(request("one"), log)


def test_a_network_is_subnets_and_groups(make):
    with pytest.raises(EndpointError, match="CHRONOS_SUBNETS and CHRONOS_SECURITY_GROUPS are set together"):
        make(subnets=("subnet-1",)).deploy(request("one"), log)


def test_the_longest_name_has_room_for_the_digest(endpoints, cloud):
    long, twin = "n" * 62 + "a", "n" * 62 + "b"
    endpoints.deploy(request("one", name=long), log)
    endpoints.deploy(request("two", name=twin), log)
    assert (version(endpoints, long), version(endpoints, twin)) == ("one", "two")
    assert endpoints.delete(long)
    assert version(endpoints, twin) == "two"
    assert len(names(cloud, "model")) == 1


def test_a_server_is_given_what_serve_understands(endpoints, cloud):
    endpoints.deploy(request("zürich/3 (new)", quantile_levels=[0.5], prediction_length=24), log)
    settings, _ = serving(cloud)
    assert settings.version == "zürich/3 (new)"
    assert settings.identity == "identity of zürich/3 (new)"
    assert json.loads(json.dumps(settings.defaults)) == {"quantile_levels": [0.5], "prediction_length": 24}
