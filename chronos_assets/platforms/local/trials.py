"""One training job of a search: its folder and its process.

Here: the folders of a SageMaker training container, filled for one trial. Elsewhere: which
hyperparameters it gets and when it is given up (`study.py`, `tuning.py`), what its log reports (`platforms.tuning`),
what training is.

SageMaker's files: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chronos_assets.container.contract import Workspace
from chronos_assets.platforms.local.processes import (
    close_lifeline,
    echo_log,
    failure_reason,
    kill_group,
    log_tail,
    start_workload,
    workload_environment,
)
from chronos_assets.platforms.local.warm_workers import WorkloadProcess
from chronos_assets.platforms.tuning import TrialLogFile


class TrainingJob:
    """A training job in a folder of its own, which it may continue in after a kill.

    Args:
        root: its folder, what a container sees as `/opt/ml`.
    """

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.log_file = root / "output" / "stderr.log"
        self.log = TrialLogFile(self.log_file)
        self._process: WorkloadProcess | None = None
        self._status: int | None = None
        self._kill_at: float | None = None

    def lay_out(self, hyperparameters: Mapping[str, Any], inputs: Mapping[str, Path]) -> None:
        """Write what the job is given; only its checkpoints and its log outlive an attempt."""
        root = self.workspace.root
        for folder in (root / "input", self.workspace.model, self.workspace.output_data):
            if folder.exists():
                shutil.rmtree(folder)
        self.workspace.failure_file.unlink(missing_ok=True)
        config, data = self.workspace.hyperparameters_file.parent, root / "input" / "data"
        for folder in (config, data, self.workspace.model, self.workspace.checkpoints, self.workspace.output_data):
            folder.mkdir(parents=True, exist_ok=True)
        # SageMaker gives every value as a string; a string of JSON tells "1" from 1.
        _write(
            self.workspace.hyperparameters_file,
            {name: json.dumps(value, allow_nan=False) for name, value in hyperparameters.items()},
        )
        channel = {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
        _write(config / "inputdataconfig.json", dict.fromkeys(inputs, channel))
        _write(config / "resourceconfig.json", {"current_host": "algo-1", "hosts": ["algo-1"]})
        for name, source in inputs.items():
            (data / name).symlink_to(source, target_is_directory=True)
        _cut_half_line(self.log_file)

    def start(self, module: str, env: Mapping[str, str], lock: int) -> None:
        """Start `python -m <module>`; what it writes, to whatever stream, goes to its log.

        Args:
            module: of the workload.
            env: variables beside those that every workload gets.
            lock: descriptor that the job holds for as long as it lives.
        """
        with self.log_file.open("ab") as log:
            self._process = start_workload(
                module,
                self.workspace.root,
                workload_environment(self.workspace.root, env),
                stderr=log,
                stdout=log,
                lock=lock,
            )

    def ended(self) -> int | None:
        """Exit status, None while it runs; one that was asked to stop and is out of time is killed."""
        assert self._process is not None  # noqa: S101 - started
        if self._status is not None:
            return self._status
        self._status = self._process.poll()
        if self._status is None and self._kill_at is not None and time.monotonic() >= self._kill_at:
            kill_group(self._process)
            self._status = self._process.wait()
        if self._status is not None:
            if self._status != 0:
                kill_group(self._process)  # helpers that it may have started
            close_lifeline(self._process)
            echo_log(self.log_file)
        return self._status

    def stop(self, grace_seconds: float) -> None:
        """Ask it to stop, and see to it in `ended` that it does."""
        assert self._process is not None  # noqa: S101 - started
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_seconds
            self._process.terminate()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._kill_at is not None

    def failure(self, status: int) -> str:
        """Why it failed, in one line; "" if it did what it should."""
        if status != 0:
            return failure_reason(self.workspace, status)
        model = self.workspace.model
        missing = [name for name in ("config.json", "*.safetensors") if not any(model.glob(name))]
        if missing:
            return f"exit status 0, but it left no {' and no '.join(missing)} in {model}"
        if self.log.latest is None:
            return f"exit status 0, but no line of {self.log_file} reports its validation"
        return ""

    def log_tail(self) -> str:
        """The last lines of its log."""
        return log_tail(self.log_file)

    def report(self) -> dict[str, Any]:
        """What it left in `training.json`; empty if it left none.

        Raises:
            ValueError: the file holds no JSON object.
        """
        path = self.workspace.output_data / "training.json"
        if not path.exists():
            return {}
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError(f"it holds a {type(document).__name__}")
        return document

    def last_sign(self) -> float | None:
        """When its log was last written to, seconds since the epoch; None if there is none."""
        return self.log_file.stat().st_mtime if self.log_file.exists() else None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1), encoding="utf-8")


def _cut_half_line(log: Path) -> None:
    """Remove the line that a killed job was writing: half a number would be taken for a whole one."""
    if not log.exists():
        return
    content = log.read_bytes()
    whole = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
    if whole < len(content):
        os.truncate(log, whole)
