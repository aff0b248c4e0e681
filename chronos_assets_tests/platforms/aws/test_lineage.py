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


def test_what_is_ours_is_found_by_kind_and_name(lineage, sagemaker):
    for number in range(12):
        make(sagemaker, f"ours-{number:02d}", endpoint="demand" if number % 2 else "other")
    make(sagemaker, "ours-12", location="somebody-else", endpoint="demand")
    make(sagemaker, "ours-13", store="s3://bucket/other", endpoint="demand")
    make(sagemaker, "ours-14", tagged=False)
    for kind in ("model", "endpoint-config"):
        assert list(lineage.find(kind, name_contains="ours")) == [f"ours-{number:02d}" for number in range(12)]
    assert list(lineage.find("model", name_contains="ours-1")) == ["ours-10", "ours-11"]
    assert list(lineage.find("model", name_contains="ours-1", endpoint="demand")) == ["ours-11"]


def test_what_is_gone_already_is_fine(lineage, sagemaker):
    make(sagemaker, "ours")
    arn = sagemaker.describe_model(ModelName="ours")["ModelArn"]
    tags = lineage.tags(arn)
    assert lineage.owns(tags)
    assert (tags[CODE_LOCATION], tags["team"]) == (LOCATION, "forecasting")
    for _ in range(2):
        lineage.delete("model", "ours")
    lineage.delete("endpoint", "never-there")
    assert lineage.tags(arn) == {}
    assert sagemaker.list_models()["Models"] == []


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
