"""A training container for the tests of searches: `python -m chronos_assets_tests.platforms.aws.train`.

It trains nothing: its validation falls, step by step, towards a floor that is lowest at a learning rate of 1e-4. Its
other hyperparameters tell which rates fail, and how long a step takes.
"""

from __future__ import annotations

import json
import math
import time

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Do what the hyperparameters say."""
    chosen = workspace.hyperparameters()
    rate = float(chosen.get("learning_rate", 1e-4))
    if rate >= chosen.get("failing_from", math.inf):
        raise WorkloadError(f"loss is nan at step 1 with a learning rate of {rate:g}; lower it")
    target = workspace.channel("target")
    read = sorted(path.name for path in target.iterdir()) if target is not None else []
    floor = 0.1 + (math.log10(rate) + 4) ** 2
    reporter.log(f"{{'step': 0, 'validation_wql': {9:.6f}}}")
    for step in range(1, chosen.get("max_steps", 3) + 1):
        time.sleep(chosen.get("seconds_per_step", 0))
        reporter.log(f"{{'step': {step}, 'loss': {2 * floor:.6f}}}")
        if chosen.get("validate", True):
            reporter.log(f"{{'step': {step}, 'validation_wql': {floor + 1 / step:.6f}}}")
    workspace.model.mkdir(parents=True, exist_ok=True)
    (workspace.model / "config.json").write_text(json.dumps({"rate": rate}))
    if chosen.get("save", True):
        (workspace.model / "model.safetensors").write_bytes(b"weights")
    if chosen.get("report", True):
        workspace.output_data.mkdir(parents=True, exist_ok=True)
        (workspace.output_data / "training.json").write_text(json.dumps({"read": read, "base": chosen["base_model"]}))


if __name__ == "__main__":
    run_workload(main)
