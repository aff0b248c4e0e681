"""A process that runs assets on AWS, to be killed: `python -m chronos_assets_tests.aws.run_assets <job> <asset> ...`."""

from __future__ import annotations

import os
import sys

import dagster as dg

from chronos_assets.definitions import group_definitions
from chronos_assets_tests.aws.line import CloudLine, cloud_group

if __name__ == "__main__":
    job, *assets = sys.argv[1:]
    group = cloud_group(dict(os.environ))
    with dg.DagsterInstance.ephemeral() as instance:
        line = CloudLine(group, instance, group_definitions(group))
        sys.exit(0 if line.run(assets, job=job).success else 1)
