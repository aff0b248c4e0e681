"""Requests are held to the limits of their services' models."""

import pytest

from chronos_assets_tests.aws.request_limits import validation_message, violations

ARN = "arn:aws:sagemaker:us-east-1:123456789012:model/m"


@pytest.mark.parametrize(
    "service, operation, params, told",
    [
        ("sagemaker", "DescribeTrainingJob", {}, "Value null at 'trainingJobName'"),
        ("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "a--b-"}, "pattern"),
        ("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "a", "More": 1}, "Unknown member 'more'"),
        ("sagemaker", "ListTrainingJobs", {"MaxResults": 101}, "value less than or equal to 100"),
        ("sagemaker", "ListTrainingJobs", {"StatusEquals": "Done"}, "enum value set"),
        ("sagemaker", "ListTrainingJobs", {"NameContains": 3}, "must be a string"),
        ("sagemaker", "AddTags", {"ResourceArn": ARN, "Tags": [{"Key": "", "Value": ""}]}, "tags.1.member.key"),
        ("sagemaker", "AddTags", {"ResourceArn": ARN, "Tags": [{"Key": "a!", "Value": ""}]}, "pattern"),
        ("logs", "GetLogEvents", {"logStreamName": "a:b"}, "pattern"),
        ("athena", "StartQueryExecution", {"QueryString": ""}, "greater than or equal to 1"),
        ("glue", "GetTables", {"DatabaseName": "d", "MaxResults": 0}, "value greater than or equal to 1"),
    ],
)
def test_a_request_beyond_a_limit_is_reported(service, operation, params, told):
    found = violations(service, operation, params)
    assert told in validation_message(found)


@pytest.mark.parametrize(
    "service, operation, params",
    [
        ("sagemaker", "DescribeTrainingJob", {"TrainingJobName": "a--b-c"}),
        ("sagemaker", "AddTags", {"ResourceArn": ARN, "Tags": [{"Key": "größe:a/b", "Value": "ä +-=._:/@"}]}),
        ("cloudwatch", "PutMetricData", {"Namespace": "n", "MetricData": [{"MetricName": "wql", "Value": 0.5}]}),
        ("glue", "GetTable", {"DatabaseName": "shop", "Name": "größe 𝛼"}),
        ("sns", "Publish", {"Message": "x" * 300_000}),
        ("ecr", "DescribeImages", {}),
    ],
)
def test_a_request_within_the_limits_is_let_through(service, operation, params):
    assert violations(service, operation, params) == []


def test_many_violations_are_counted_and_some_are_reported():
    found = violations("sagemaker", "AddTags", {"ResourceArn": "x", "Tags": [{"Key": "", "Value": ""}] * 60})
    assert len(found) > 60
    assert validation_message(found).startswith(f"{len(found)} validation errors detected: Value")
