"""An import of covariates that is killed in the middle: `python -m … <store> <asset> <function>`, see `test_covariate_line`."""

import importlib
import os
import signal
import sys

import dagster as dg

from chronos_assets.definitions import group_definitions
from chronos_assets.pipeline.group import Group
from chronos_assets.settings import Settings


def main(store: str, asset: str, function: str) -> None:
    """Materialize an asset; the process dies where `function` ("module:name") is called."""
    module, _, name = function.partition(":")

    def die(*_arguments: object, **_options: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(importlib.import_module(module), name, die)
    group = Group(Settings(store=store, partition_start="2023-12-01"))
    with dg.DagsterInstance.ephemeral() as instance:
        group_definitions(group).resolve_job_def("refresh_forecasts").execute_in_process(
            instance=instance, asset_selection=[group.key(asset)], run_config={"loggers": {"console": {}}}
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
