"""A decision in SageMaker reaches the sensor: the rule, the queue, and what a message is understood to say."""

import json
import shutil

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.defs.redeploy_sensor import redeploy_sensor
from chronos_assets.defs.sensor_parts import REASON_TAG
from chronos_assets.pipeline import serving
from chronos_assets.platforms.aws.inbox import UnreadableMessageError
from chronos_assets.platforms.aws.model_queue import SqsModelQueue, read_state_change
from chronos_assets.platforms.endpoints import EndpointState
from chronos_assets_tests.aws.line import cloud_group, cloud_line, environment
from chronos_assets_tests.docker.template import load, resolved
from chronos_assets_tests.models.tiny import folder_of


def event(status="Approved", **changes):
    detail = {"ModelPackageGroupName": "Shop", "ModelPackageVersion": 2, "ModelApprovalStatus": status}
    document = {
        "version": "0",
        "source": "aws.sagemaker",
        "detail-type": "SageMaker Model Package State Change",
        "detail": detail,
    }
    return json.dumps(document | changes)


def test_an_event_names_the_version_that_was_decided_about():
    assert read_state_change(event()) == (("Shop/2",), ())
    assert read_state_change(event("Rejected")) == (("Shop/2",), ())
    assert read_state_change(event("PendingManualApproval")) == ((), ("status PendingManualApproval",))
    training = {"detail-type": "SageMaker Training Job State Change"}
    assert read_state_change(event(**training)) == ((), ("event SageMaker Training Job State Change",))


@pytest.mark.parametrize("body", ["", "[]", "{}", event(source="aws.s3"), event(detail=[]), event(detail={})])
def test_what_is_no_event_of_sagemaker_is_not_understood(body):
    with pytest.raises(UnreadableMessageError):
        read_state_change(body)


@pytest.mark.process
@given(st.recursive(st.none() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=2)))
def test_no_message_breaks_the_reader(detail):
    with pytest.raises(UnreadableMessageError):
        read_state_change(event(detail=detail))


# --- from the console to the endpoint -----------------------------------------------------------------------------------


@pytest.fixture
def deployment(aws, tmp_path):
    """A line on the server, with the template's rule and a queue."""
    bucket = aws.bucket("shop-store")
    clients = aws.clients()
    queue = clients("sqs").create_queue(QueueName="models")["QueueUrl"]
    arn = clients("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = load()["Resources"]["ModelRule"]["Properties"]
    pattern = resolved(rule["EventPattern"], {"DatasetGroup": "Shop"})
    clients("events").put_rule(Name="models", EventPattern=json.dumps(pattern))
    clients("events").put_targets(Rule="models", Targets=[{"Id": rule["Targets"][0]["Id"], "Arn": arn}])
    group = cloud_group({**aws.env, **environment(bucket, tmp_path), "CHRONOS_MODEL_QUEUE": queue})
    with dg.DagsterInstance.ephemeral() as instance:
        yield aws, cloud_line(group, instance), queue


class Endpoint:
    """Stands for the group's endpoint: what it answers with."""

    def __init__(self, identity):
        self.identity = identity

    def describe(self, name):
        return EndpointState(name=name, identity=self.identity, version="Shop/1", healthy=True, url="")


def version(line, folder, status):
    """A registered version, with a checkpoint."""
    staged = folder / "staged"
    shutil.copytree(folder_of("bolt"), staged)
    line.group.store.publish("models/m", staged)
    document = {"created": "2024-01-01T00:00:00", "data_version": "d", "metrics": {}, "digest": "abc"}
    return line.group.registry.register(
        "Shop", model="models/m", identity="m", document=document, status=status, reason="gate"
    )


def test_an_approval_in_the_console_requests_a_deployment(deployment, tmp_path):
    aws, line, queue = deployment
    made = version(line, tmp_path, "PendingManualApproval")
    assert isinstance(line.group.model_queue, SqsModelQueue)
    endpoint = line.group.overrides["endpoints"] = Endpoint(serving.wanted_identity(line.state))
    targets = [line.definitions.resolve_job_def("retrain")]
    sensor = redeploy_sensor(line.group, targets)
    cursor = None

    def tick():
        nonlocal cursor
        with dg.build_sensor_context(instance=line.instance, cursor=cursor, sensor_name="redeploy_sensor") as context:
            result = sensor(context)
        cursor = result.cursor
        return result

    assert "the endpoint answers with" in tick().skip_reason.skip_message
    assert tick().skip_reason.skip_message == "no news of versions"
    # What the console does.
    client = aws.clients()("sagemaker")
    listed = client.list_model_packages(ModelPackageGroupName="Shop")["ModelPackageSummaryList"]
    client.update_model_package(ModelPackageArn=listed[0]["ModelPackageArn"], ModelApprovalStatus="Approved")
    followed = tick()
    assert followed.run_requests, followed.skip_reason
    (request,) = followed.run_requests
    assert request.asset_selection == [line.group.key("endpoint")]
    assert request.tags[REASON_TAG] == f"decided elsewhere: {made.name}; {made.name} is in use, the endpoint follows"
    endpoint.identity = serving.wanted_identity(line.state)
    assert "the endpoint answers with Shop/1" in tick().skip_reason.skip_message
    # Recorded, and so deleted.
    left = aws.clients()("sqs").get_queue_attributes(
        QueueUrl=queue,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    assert set(left.values()) == {"0"}


def test_a_queue_that_is_gone_is_reported_and_the_registry_is_looked_at_all_the_same(deployment):
    aws, line, queue = deployment
    aws.clients()("sqs").delete_queue(QueueUrl=queue)
    sensor = redeploy_sensor(line.group, [line.definitions.resolve_job_def("retrain")])
    with dg.build_sensor_context(instance=line.instance, sensor_name="redeploy_sensor") as context:
        message = sensor(context).skip_reason.skip_message
    assert "correct CHRONOS_MODEL_QUEUE" in message
    assert message.endswith("no endpoint is deployed")
