"""What a deployment made is found by its tags and deleted, and nothing else is."""

import pytest

from chronos_assets.platforms.aws.lineage import Lineage
from chronos_assets.platforms.aws.tags import CODE_LOCATION, STORE, tag_list, tag_value, tags_of
from chronos_assets.settings import AwsSettings
from chronos_assets_tests.platforms.aws.deployment import IMAGE, LOCATION, ROLE, SETTINGS, clients_of

STORE_URL = "s3://bucket/shop"


@pytest.fixture
def sagemaker(aws):
    return clients_of(aws)("sagemaker")


@pytest.fixture
def lineage(aws):
    return Lineage(clients_of(aws), LOCATION, STORE_URL, poll_first=0.02, poll_most=0.05)


def make(sagemaker, name, location=LOCATION, store=STORE_URL, tagged=True, **facts):
    """A model and a configuration of it."""
    tags = tag_list(SETTINGS, code_location=location, store=store, **facts) if tagged else []
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE}, Tags=tags)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InstanceType": "ml.c5.xlarge",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=tags)


def found(lineage, **wanted):
    return [(made.kind, made.name) for made in lineage.find(**wanted)]


def test_what_is_ours_is_found_by_kind_and_name(lineage, sagemaker):
    for number in range(12):
        make(sagemaker, f"ours-{number:02d}", endpoint="demand" if number % 2 else "other")
    make(sagemaker, "theirs", location="somebody-else")
    make(sagemaker, "ours-elsewhere", store="s3://bucket/other")
    make(sagemaker, "untagged", tagged=False)
    models = found(lineage, kinds=("model",))
    assert models == [("model", f"ours-{number:02d}") for number in range(12)]
    assert len(found(lineage)) == 24
    assert found(lineage, kinds=("model",), name_contains="ours-1") == [("model", "ours-10"), ("model", "ours-11")]
    assert len(found(lineage, kinds=("model",), endpoint="demand")) == 6
    (made,) = lineage.find(("model",), name_contains="ours-11")
    assert made.tags[CODE_LOCATION] == LOCATION
    assert made.tags["team"] == "forecasting"


def test_a_teardown_leaves_what_others_made(lineage, sagemaker, aws):
    make(sagemaker, "ours")
    make(sagemaker, "theirs", location="somebody-else")
    aws.package = "chronos_assets_tests.platforms.aws"
    for name in ("ours", "theirs"):
        location = LOCATION if name == "ours" else "somebody-else"
        tags = tag_list(SETTINGS, code_location=location, store=STORE_URL)
        sagemaker.create_model_package_group(ModelPackageGroupName=name, Tags=tags)
        specification = {
            "Containers": [{"Image": IMAGE}], "SupportedContentTypes": [], "SupportedResponseMIMETypes": [],
        }  # fmt: skip
        sagemaker.create_model_package(ModelPackageGroupName=name, InferenceSpecification=specification)
    gone = lineage.tear_down(("model", "endpoint-config"))
    assert [(made.kind, made.name) for made in gone] == [("endpoint-config", "ours"), ("model", "ours")]
    gone = lineage.tear_down()
    assert [(made.kind, made.name) for made in gone] == [("model-package-group", "ours")]
    assert found(lineage) == []
    assert [item["ModelName"] for item in sagemaker.list_models()["Models"]] == ["theirs"]
    groups = sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert [item["ModelPackageGroupName"] for item in groups] == ["theirs"]


def test_what_is_gone_already_is_fine(lineage, sagemaker):
    make(sagemaker, "ours")
    (made,) = lineage.find(("model",))
    for _ in range(2):
        lineage.delete("model", "ours")
    lineage.delete("endpoint", "never-there")
    assert lineage.tags(made.arn) == {}


def test_tags_are_what_aws_takes():
    tags = tags_of(tag_list(SETTINGS, code_location="a(b)", run_id="", partition="2024-01-01|x", store="s3://b/ö"))
    assert tags == {
        "team": "forecasting",
        CODE_LOCATION: "a-b-",
        "chronos-assets:partition": "2024-01-01-x",
        STORE: "s3://b/ö",
    }
    assert len(tag_value("x" * 300)) == 256
    many = AwsSettings(tags=tuple((f"tag{number}", "") for number in range(49)))
    with pytest.raises(ValueError, match="51 tags, of which AWS allows 50: set at most 48 in CHRONOS_TAGS"):
        tag_list(many, code_location="a", store="b")
