"""A tiny training job for the tests of searches: `python -m chronos_assets_tests.platforms.local.train`.

It trains nothing: its validation falls, step by step, towards a floor that is lowest at a learning rate of 1e-4. Its
other hyperparameters tell which trials (by number) fail and wait, how many must have begun before one goes on, and how
fast a step is.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Do what the hyperparameters say."""
    chosen = workspace.hyperparameters()
    number = int(workspace.root.name.removeprefix("trial-"))
    steps = chosen.get("max_steps", 3)
    last = workspace.checkpoints / "last.json"
    begin = json.loads(last.read_text()) if last.exists() else 0
    with (workspace.root / "output" / "attempts").open("a") as attempts:
        attempts.write(json.dumps({"from": begin, "began": time.time(), "pid": os.getpid()}) + "\n")
    if number in chosen.get("failing", []):
        raise WorkloadError(f"loss is nan at step 1 of trial {number}; lower the learning rate")
    if number in chosen.get("dying", []):
        os.kill(os.getpid(), signal.SIGKILL)
    dies_at = steps if number in chosen.get("dying_once", []) and not begin else -1
    floor = floor_of(chosen)
    sys.stdout.write(f"{{'step': 0, 'validation_wql': {9:.6f}}}\n")
    while len(list(workspace.root.parent.glob("trial-*/output/attempts"))) < chosen.get("companions", 0):
        time.sleep(0.01)
    for step in range(begin + 1, steps + 1):
        time.sleep(chosen.get("seconds_per_step", 0))
        if number in chosen.get("waiting", []) and step == 2:
            _wait(workspace, stubborn=chosen.get("stubborn", False))
        reporter.log(f"{{'step': {step}, 'loss': {2 * floor:.6f}, 'learning_rate': 0.000100, 'eta_seconds': 7}}")
        if chosen.get("validate", True):
            reporter.log(f"{{'step': {step}, 'validation_wql': {floor + 1 / step:.6f}}}")
        last.write_text(json.dumps(step))
        if step + 1 == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
    if chosen.get("save", True):
        (workspace.model / "config.json").write_text("{}")
        (workspace.model / "model.safetensors").write_bytes(b"weights")
    (workspace.output_data / "training.json").write_text(json.dumps({"steps": steps, "chosen": chosen}))
    with (workspace.root / "output" / "attempts").open("a") as attempts:
        attempts.write(json.dumps({"ended": time.time()}) + "\n")


def floor_of(chosen: dict[str, object]) -> float:
    """What the validation falls to."""
    floor = 0.1 + (math.log10(float(chosen.get("learning_rate", 1e-4))) + 4) ** 2
    return floor + 0.05 * abs(chosen.get("warmup_steps", 4) - 4) + (0.5 if chosen.get("mode") == "worse" else 0)


def _wait(workspace: Workspace, *, stubborn: bool) -> None:
    # A helper of its own, as a data loader would be: it must not outlive the job.
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (workspace.root / "output" / "pids").write_text(f"{os.getpid()} {helper.pid}")
    os.rename(workspace.root / "output" / "pids", workspace.root / "output" / "running")
    time.sleep(600)


if __name__ == "__main__":
    run_workload(main)
