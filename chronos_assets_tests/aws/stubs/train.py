"""A training container of no torch: its validation falls from step to step, and it resumes from its checkpoint."""

import json
import math
import os
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("CHRONOS_ML_ROOT") or "/opt/ml")


def main():
    """Count steps, as the hyperparameters say."""
    chosen = json.loads((ROOT / "input" / "config" / "hyperparameters.json").read_text())
    if chosen.get("fail"):
        (ROOT / "output" / "failure").write_text("loss is nan")
        sys.exit(1)
    last = ROOT / "checkpoints" / "last.json"
    begin = json.loads(last.read_text()) if last.exists() else 0
    floor = 0.1 + (math.log10(float(chosen.get("learning_rate", 1e-4))) + 4) ** 2
    sys.stderr.write(f"from {begin}\n")
    for step in range(begin + 1, int(chosen.get("max_steps", 3)) + 1):
        last.write_text(str(step))
        sys.stderr.write(
            f"{{'step': {step}, 'loss': 1.0}}\n{{'step': {step}, 'validation_wql': {floor + 1 / step:.6f}}}\n"
        )
        time.sleep(float(chosen.get("seconds_per_step", 0)))
    (ROOT / "model" / "config.json").write_text(json.dumps(chosen))
    (ROOT / "model" / "model.safetensors").write_bytes(b"weights")
    (ROOT / "output" / "data" / "training.json").write_text(json.dumps({"from": begin}))


if __name__ == "__main__":
    main()
