"""A client of the executing server, and steps that run jobs with it."""

import dagster as dg
import pytest

from chronos_assets.platforms.aws.sagemaker.client import PipesSageMakerClient
from chronos_assets.platforms.aws.sagemaker.faults import Timing

QUICK = Timing(
    poll_first=0.05,
    poll_most=0.2,
    messages=0.1,
    logs_first=0.05,
    logs_most=0.2,
    retry_first=0.01,
    retry_most=0.05,
    outage=20.0,
    capacity_first=0.01,
    capacity_most=0.02,
    stop=20.0,
)


@pytest.fixture
def cloud(aws):
    aws.bucket("data")
    return aws


@pytest.fixture
def clients(cloud):
    """Clients that don't try again by themselves, which botocore does by the second."""
    import boto3
    from botocore.config import Config

    made = {}

    def client_of(service):
        if service not in made:
            made[service] = boto3.client(service, config=Config(retries={"total_max_attempts": 1}))
        return made[service]

    return client_of


@pytest.fixture
def client(clients):
    return PipesSageMakerClient(bucket="data", clients=clients, code_location="here", timing=QUICK)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def step(instance):
    """Runs a function of a context as an asset; gives the run's result, which need not be a success."""

    def run(function, partition=None):
        partitions = dg.StaticPartitionsDefinition([partition]) if partition else None

        @dg.asset(partitions_def=partitions)
        def thing(context: dg.AssetExecutionContext):
            return function(context)

        return dg.materialize([thing], instance=instance, partition_key=partition, raise_on_error=False)

    return run
