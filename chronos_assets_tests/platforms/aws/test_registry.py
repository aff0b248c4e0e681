"""The registry in SageMaker: as a laptop's, also when it is killed, overtaken, or decided about by hand."""

import json
import threading
from pathlib import Path

import pytest

from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.registry import SageMakerRegistry
from chronos_assets.platforms.registry import RegistryError
from chronos_assets_tests.platforms.aws.deployment import (
    IMAGE,
    LOCATION,
    SETTINGS,
    called,
    clients_of,
    open_store,
    publish_model,
)

DOCUMENT = {
    "base_model": "amazon/chronos-bolt-tiny",
    "data_version": "a(b)",
    "metrics": {"wql": 0.25, "mase": None},
    "hyperparameters": {"learning_rate": 1e-4},
    "note": "größer, 100 % sure",
    "content_types": ["application/json", "application/jsonlines"],
    "response_types": ["application/json"],
    "framework": "PYTORCH",
    "task": "OTHER",
    "domain": "MACHINE_LEARNING",
}


@pytest.fixture
def store(aws, s3_server, tmp_path):
    store = open_store(aws, s3_server, tmp_path)
    publish_model(store, tmp_path)
    return store


@pytest.fixture
def make(aws, store):
    """Another registry of the same deployment, as another process has it."""
    return lambda: SageMakerRegistry(AwsDeployment(clients_of(aws), store, SETTINGS, LOCATION))


@pytest.fixture
def registry(make):
    return make()


@pytest.fixture
def sagemaker(aws):
    return clients_of(aws)("sagemaker")


def register(registry, identity="one", group="retail", **changes):
    values = {"model": "models/m", "document": DOCUMENT, "status": "Approved", "reason": "good, and how"}
    return registry.register(group, identity=identity, **values | changes)


def package(sagemaker, number=1):
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/retail/{number}"
    return sagemaker.describe_model_package(ModelPackageName=arn)


def test_a_version_is_in_sagemaker_with_all_that_people_look_for_there(registry, sagemaker, store, aws):
    made = register(registry)
    assert (made.name, made.status, made.reason, made.model) == ("retail/1", "Approved", "good, and how", "models/m")
    assert made.document == DOCUMENT
    there = package(sagemaker)
    assert (there["ModelApprovalStatus"], there["ApprovalDescription"]) == ("Approved", "good, and how")
    (container,) = there["InferenceSpecification"]["Containers"]
    assert (container["Image"], container["Framework"]) == (IMAGE, "PYTORCH")
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == store.snapshot_uri("models/m")
    assert there["InferenceSpecification"]["SupportedContentTypes"] == DOCUMENT["content_types"]
    properties = there["CustomerMetadataProperties"]
    assert properties["metrics.wql"] == "0.25"
    assert properties["hyperparameters.learning_rate"] == "0.0001"
    assert (properties["model"], properties["identity"]) == ("models/m", "one")
    assert (properties["data_version"], properties["note"]) == ("a-b-", "größer- 100 - sure")
    statistics = there["ModelMetrics"]["ModelQuality"]["Statistics"]
    key = statistics["S3Uri"].removeprefix(f"{store.url}/")
    assert json.loads(store.get(key))["regression_metrics"] == {"wql": {"value": 0.25, "standard_deviation": "NaN"}}
    (group,) = called(aws, "CreateModelPackageGroup")
    assert {"Key": "team", "Value": "forecasting"} in group["Tags"]
    assert {"Key": "chronos-assets:group", "Value": "retail"} in group["Tags"]


def test_the_document_is_the_one_that_a_laptop_keeps(registry, store):
    register(registry)
    document = json.loads(store.get("packages/retail/1.json"))
    assert document["format_version"] == 1
    assert document["document"]["note"] == "größer, 100 % sure"
    assert document["history"][0]["by"] == "registration"


def test_another_process_reads_what_one_registered(registry, make):
    made = register(registry)
    assert make().versions("retail") == [made]
    assert make().versions("wholesale") == []


def test_an_update_keeps_metrics_and_properties(registry, make, sagemaker):
    register(registry, status="PendingManualApproval", reason="a person decides")
    before = package(sagemaker)
    changed = registry.set_status("retail", 1, "Approved", reason="needed\n now", by="ann (boss)")
    after = package(sagemaker)
    assert (after["ModelApprovalStatus"], after["ApprovalDescription"]) == ("Approved", "needed now")
    assert after["ModelMetrics"] == before["ModelMetrics"]
    assert after["InferenceSpecification"] == before["InferenceSpecification"]
    kept = {
        name: value for name, value in before["CustomerMetadataProperties"].items() if not name.startswith("decided")
    }
    assert kept.items() <= after["CustomerMetadataProperties"].items()
    assert after["CustomerMetadataProperties"]["decided_by"] == "ann -boss-"
    assert make().versions("retail") == [changed]
    assert [entry["reason"] for entry in changed.history] == ["a person decides", "needed now"]
    assert changed.history[-1]["by"] == "ann (boss)"


def test_an_update_that_sagemaker_does_not_keep_is_no_success(registry, aws, sagemaker):
    register(registry)
    real = aws.cloud.backend.model_packages

    class Forgetful(dict):
        def get(self, name):
            found = real.get(name)
            found.update = lambda params: found.values.update(ModelApprovalStatus=params["ModelApprovalStatus"])
            return found

    aws.cloud.backend.model_packages = Forgetful(real)
    with pytest.raises(RegistryError, match="changed by someone else at the same moment"):
        registry.set_status("retail", 1, "Rejected", reason="bad", by="ann")
    aws.cloud.backend.model_packages = real


def test_the_same_identity_is_the_same_version_as_it_is_now(registry, make, aws):
    register(registry)
    registry.set_status("retail", 1, "Rejected", reason="bad", by="ann")
    again = register(make(), document={})
    assert (again.version, again.status, again.document) == (1, "Rejected", DOCUMENT)
    assert register(registry, "two").version == 2
    assert register(registry, "one", group="wholesale").version == 1
    assert len(called(aws, "CreateModelPackage")) == 3


def test_two_at_once_register_one_version(make, sagemaker, aws):
    versions, barrier = [], threading.Barrier(4)

    def work(registry):
        barrier.wait()
        versions.append(register(registry))

    threads = [threading.Thread(target=work, args=(make(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [version.version for version in versions] == [1] * 4
    assert make().versions("retail") == [versions[0]]


def test_of_two_versions_of_one_identity_the_older_stays(registry, make, sagemaker, aws):
    made = register(registry)
    # As where SageMaker no longer remembers the token of the first.
    for group in aws.cloud.backend.model_package_groups.values():
        group.tokens.clear()
    registry._create(made, registry._token("retail", "one"))
    assert [version.version for version in make().versions("retail")] == [1, 2]
    assert register(make()).version == 1
    assert make().versions("retail") == [made]
    assert register(registry, "two").version == 3


@pytest.mark.parametrize("operation", ["CreateModelPackage", "UpdateModelPackage", "DescribeModelPackage"])
def test_a_registration_that_was_cut_short_is_completed_by_the_next(operation, registry, make, aws, sagemaker):
    register(registry, "zero")
    if operation == "CreateModelPackage":
        # Made, and the answer never came.
        made = registry_version()
        registry._create(made, registry._token("retail", "one"))
    else:
        aws.faults.refuse(operation, "InternalFailure", "no", times=9)
        with pytest.raises(RegistryError, match="InternalFailure"):
            register(registry)
    aws.faults._planned.clear()
    seen = make().versions("retail")
    assert [(version.version, version.identity, version.status) for version in seen] == [
        (1, "zero", "Approved"),
        (2, "one", "Approved"),
    ]
    assert seen[1].document == DOCUMENT
    healed = register(make())
    assert (healed.version, healed.reason) == (2, "good, and how")
    assert package(sagemaker, 2)["ApprovalDescription"] == "good, and how"
    assert make().versions("retail")[1] == healed


def registry_version():
    from chronos_assets.platforms.registry import new_version

    return new_version(
        "retail", model="models/m", identity="one", document=DOCUMENT, status="Approved", reason="good, and how"
    )


def test_a_decision_in_sagemaker_is_honoured_and_reported(registry, make, sagemaker):
    register(registry, status="PendingManualApproval", reason="a person decides")
    arn = package(sagemaker)["ModelPackageArn"]
    sagemaker.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="looks fine"
    )
    (seen,) = registry.versions("retail")
    assert (seen.status, seen.reason) == ("Approved", "changed outside: looks fine")
    assert seen.history[-1]["by"] == "tester"
    assert make().versions("retail") == [seen]
    with pytest.raises(RegistryError, match="retail/1 is Approved, no longer PendingManualApproval"):
        registry.set_status("retail", 1, "Rejected", reason="", by="ann", expected="PendingManualApproval")
    after = registry.set_status("retail", 1, "Rejected", reason="no", by="ann", expected="Approved")
    assert [entry["status"] for entry in after.history] == ["PendingManualApproval", "Approved", "Rejected"]
    assert [entry["by"] for entry in after.history] == ["registration", "tester", "ann"]
    assert make().versions("retail") == [after]


def test_a_decision_whose_document_was_not_written_is_reported_as_it_was(registry, make, monkeypatch):
    register(registry)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SageMakerRegistry, "_write", die)
    with pytest.raises(KeyboardInterrupt):
        registry.set_status("retail", 1, "Rejected", reason="worse", by="ann")
    (seen,) = make().versions("retail")
    assert (seen.status, seen.reason, seen.history[-1]["by"]) == ("Rejected", "worse", "ann")


def test_what_others_registered_in_the_group_is_none_of_ours(registry, make, aws, sagemaker, s3_server, tmp_path):
    register(registry)
    container = {"Image": IMAGE, "ModelDataUrl": "s3://theirs/model.tar.gz"}
    specification = {"Containers": [container], "SupportedContentTypes": [], "SupportedResponseMIMETypes": []}
    sagemaker.create_model_package(ModelPackageGroupName="retail", InferenceSpecification=specification)
    other_store = open_store(aws, s3_server, tmp_path / "other")
    publish_model(other_store, tmp_path / "other")
    other = SageMakerRegistry(AwsDeployment(clients_of(aws), other_store, SETTINGS, LOCATION))
    assert register(other).version == 3
    assert [version.version for version in make().versions("retail")] == [1]
    assert [version.version for version in other.versions("retail")] == [3]
    with pytest.raises(RegistryError, match=r"no version 3 of retail: there is 1 \(Approved\)"):
        registry.set_status("retail", 3, "Approved", reason="", by="ann")


def test_documents_of_a_group_that_was_made_anew_are_about_the_old_one(registry, make, sagemaker, store):
    register(registry)
    document = json.loads(store.get("packages/retail/1.json"))
    store.put("packages/retail/1.json", json.dumps(document | {"created": 1}).encode())
    (seen,) = make().versions("retail")
    assert seen.identity == "one"
    document = json.loads(store.get("packages/retail/1.json"))
    register(make())
    assert json.loads(store.get("packages/retail/1.json"))["created"] > 1


def test_more_versions_than_a_page_has_are_in_order(registry, make, aws, monkeypatch):
    monkeypatch.setattr("chronos_assets.platforms.aws.registry.PAGE", 5)
    for number in range(1, 13):
        assert register(registry, str(number)).version == number
    assert [version.version for version in make().versions("retail")] == list(range(1, 13))


def test_reading_again_fetches_what_changed_only(registry, aws, monkeypatch, store):
    for identity in ("one", "two"):
        register(registry, identity)
    registry.versions("retail")
    fetched = []
    get = type(store).get
    monkeypatch.setattr(type(store), "get", lambda self, key: fetched.append(key) or get(self, key))
    registry.versions("retail")
    assert fetched == []
    registry.set_status("retail", 2, "Rejected", reason="", by="ann")
    registry.versions("retail")
    assert fetched == ["packages/retail/2.json"]


def test_a_throttled_registry_waits(registry, aws):
    aws.faults.throttle("CreateModelPackage")
    assert register(registry).version == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "good"}, "status 'good' is none"),
        ({"identity": ""}, "without an identity"),
        ({"model": "../elsewhere"}, "must lie in the store"),
        ({"model": "models/nothing"}, "models/nothing, the model of a version of retail, is not there"),
        ({"document": {"wql": float("nan")}}, "is not JSON"),
        ({"document": {"folder": Path("a")}}, "is not JSON"),
        ({"group": "a" * 64}, "up to 63 letters"),
        ({"group": "a/b"}, "up to 63 letters"),
    ],
)
def test_what_can_not_be_registered_leaves_nothing(registry, changes, said, aws, store):
    with pytest.raises(RegistryError, match=said):
        register(registry, **changes)
    assert called(aws, "CreateModelPackage") == []
    assert list(store.list("packages")) == []


def test_what_sagemaker_refuses_is_reported_with_the_fix(registry, aws):
    aws.faults.refuse("ListModelPackages", "AccessDeniedException", "not authorized")
    with pytest.raises(RegistryError, match=r"listing the versions of retail.*not authorized: let the role of Dagster"):
        registry.versions("retail")


def test_a_document_that_can_not_be_read_is_reported(registry, store):
    register(registry)
    store.put("packages/retail/1.json", b"[]")
    with pytest.raises(RegistryError, match=r"packages/retail/1.json can't be read .*not a JSON object.*remove it"):
        registry.versions("retail")


def test_many_facts_and_long_ones_fit_into_the_properties(registry, sagemaker):
    document = {f"fact {number}": "x" * 400 for number in range(60)} | {"metrics": {"wql": 0.25}}
    register(registry, document=document, reason="r" * 3000)
    there = package(sagemaker)
    properties = there["CustomerMetadataProperties"]
    assert len(properties) == 50
    assert properties["metrics.wql"] == "0.25"
    assert max(map(len, properties.values())) == 256
    assert len(there["ApprovalDescription"]) == 1024
    assert registry.versions("retail")[0].document == document
