"""The graph on AWS for tests: a group of `CHRONOS_DEPLOYMENT=aws` on the executing server, an ephemeral Dagster instance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.definitions import group_definitions
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.aws.platform import AwsPlatform, deployment
from chronos_assets.platforms.aws.sagemaker.faults import Timing
from chronos_assets.settings import Settings
from chronos_assets_tests.defs.line import PARAMS, Line, hourly_rows

ROLE = "arn:aws:iam::123456789012:role/chronos"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1"
# The waits of the real thing are made for jobs of minutes.
FAST = Timing(
    poll_first=0.05, poll_most=0.2, messages=0.1, logs_first=0.1, logs_most=0.5,
    retry_first=0.02, retry_most=0.1, outage=20.0, capacity_first=0.02, capacity_most=0.1, stop=30.0,
)  # fmt: skip


@dataclass
class CloudLine(Line):
    """A line whose store is a bucket."""

    @property
    def root(self) -> Path:
        raise AssertionError("the store of this line is no folder")

    def put(self, key: str, text: str) -> None:
        self.group.store.put(key, text.encode())


def environment(bucket: str, folder: Path, **more: str) -> dict[str, str]:
    """Variables of a deployment on the executing server, beside those of its clients."""
    return {
        "CHRONOS_DEPLOYMENT": "aws",
        "CHRONOS_STORE": f"s3://{bucket}/shop",
        "CHRONOS_SAGEMAKER_ROLE": ROLE,
        "CHRONOS_PIPELINE_ROLE": ROLE,
        "CHRONOS_SAGEMAKER_IMAGE": IMAGE,
        "CHRONOS_PARTITION_START": "2023-12-01",
        "CHRONOS_CACHE": str(folder / "cache"),
        **more,
    }


def cloud_group(variables: dict[str, str]) -> Group:
    """The group that these variables describe, with the waits of a test."""
    from chronos_assets.platforms.aws.athena import QueryTiming
    from chronos_assets.platforms.aws.endpoints import SageMakerEndpoints
    from chronos_assets.platforms.aws.jobs import SageMakerJobs
    from chronos_assets.platforms.aws.tables import AthenaTables
    from chronos_assets.platforms.aws.tuning import SageMakerTuning

    settings = Settings.from_env(variables)
    platform = AwsPlatform(settings)
    store: Any = platform.store()
    place = deployment(settings, store, platform.clients)
    parts = {
        "store": store,
        "jobs": SageMakerJobs(place, timing=FAST),
        "tuning": SageMakerTuning(place, timing=FAST),
        "endpoints": SageMakerEndpoints(place, poll_first=0.05, poll_most=0.2),
        "tables": AthenaTables(platform.clients, settings.aws, timing=QueryTiming(first=0.02, most=0.1)),
    }
    return Group(settings, parts)


def cloud_line(group: Group, instance: dg.DagsterInstance, *, days: int = 10) -> CloudLine:
    """A line on AWS with the parameters and the train file that a local one has, see `defs.line`."""
    line = CloudLine(group, instance, group_definitions(group))
    line.put("params.json", json.dumps(PARAMS))
    line.put("train/demand.csv", "\n".join(hourly_rows(days)) + "\n")
    return line
