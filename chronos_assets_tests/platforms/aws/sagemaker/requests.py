"""Requests for small jobs."""

ROLE = "arn:aws:iam::123456789012:role/jobs"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1"
SPEAKER = ("python", "-m", "chronos_assets_tests.platforms.aws.sagemaker.speaker")


def shell(script):
    return ("sh", "-c", script)


def processing(command=SPEAKER, **environment):
    return {
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": IMAGE, "ContainerEntrypoint": list(command)},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.c5.xlarge", "VolumeSizeInGB": 1}
        },
        "Environment": environment,
    }


def training(command=SPEAKER, *, spot=False, **environment):
    times = {"MaxRuntimeInSeconds": 60, **({"MaxWaitTimeInSeconds": 60} if spot else {})}
    return {
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": list(command),
        },
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.g5.xlarge", "VolumeSizeInGB": 1},
        "StoppingCondition": times,
        "Environment": environment,
        **({"EnableManagedSpotTraining": True} if spot else {}),
    }
