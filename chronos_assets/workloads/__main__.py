"""The container's command: `python -m chronos_assets.workloads <name>`, the same image for every workload.

SageMaker starts a training container with the argument `train` and a model's container with `serve`; a processing job
passes its workload's name. What a workload does and where it finds its folders is in its own module.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload

NAMES = (
    "evaluate",
    "explain",
    "forecast",
    "generate",
    "import_dataset",
    "learn",
    "pretrain",
    "serve",
    "train",
    "zero_shot",
)


def main(arguments: list[str]) -> None:
    """Run the workload that the only argument names; anything else fails as a workload fails, with a reason."""
    if len(arguments) != 1 or arguments[0] not in NAMES:
        given = " ".join(arguments) or "nothing"
        reason = f"{given!r} is not a workload: give one of {', '.join(NAMES)} as the only argument"
        run_workload(_failing(reason))
    sys.argv = sys.argv[:1]
    runpy.run_module(f"{__package__}.{arguments[0]}", run_name="__main__", alter_sys=True)


def _failing(reason: str) -> Callable[[Workspace, Reporter], None]:
    def fail(_workspace: Workspace, _reporter: Reporter) -> None:
        raise WorkloadError(reason)

    return fail


if __name__ == "__main__":
    main(sys.argv[1:])
