"""A process that runs a job which waits until it may continue."""

import sys

import dagster as dg

from chronos_assets.platforms.aws.sagemaker.client import PipesSageMakerClient
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK
from chronos_assets_tests.platforms.aws.sagemaker.requests import processing


@dg.asset
def thing(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    client = PipesSageMakerClient(bucket="data", timing=QUICK)
    request = processing(SAY="hello", WAIT="go")
    return client.run(context=context, kind="processing", request=request).get_materialize_result()


if __name__ == "__main__":
    sys.exit(0 if dg.materialize([thing], instance=dg.DagsterInstance.ephemeral()).success else 1)
