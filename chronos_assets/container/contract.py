"""The contract of a workload: `python -m chronos_assets.workloads.<name>` inside the folders of a SageMaker container.

Here: where parameters, inputs, outputs and the failure reason lie, and how log, progress and messages get back
to Dagster. Elsewhere: what a workload does, and how a job is started (`platforms/*/jobs.py`).

The folders, below `CHRONOS_ML_ROOT` (`/opt/ml` where it isn't set, as in a container):

```
input/config/parameters.json        a processing job's parameters: one JSON document
processing/input/parameters/parameters.json   the same where only input channels can be filled, as in SageMaker
processing/input/<channel>/         files to read
processing/shared/<channel>/        those of them that every one of several instances has; the others were dealt out
processing/output/<channel>/        files to leave; of several instances each has a folder of its own in it
processing/scratch/                 files that nobody keeps: on the job's volume, where the rest of /opt/ml is the system disk
processing/output/messages/         messages of the instances that Dagster does not listen to: <instance>.jsonl
config/resourceconfig.json          names of a processing job's instances; in input/config/ of a training job's
input/config/hyperparameters.json   a training job's parameters: JSON values, or strings of them
input/data/<channel>/               files that a training job reads
model/                              what it leaves to be served: config.json, *.safetensors
checkpoints/                        what it needs to continue after a kill
output/data/                        what it leaves beside the model: training.json
output/failure                      the reason in one line, if the workload failed; SageMaker reads it of training jobs
output/message                      the same; SageMaker reads it of processing jobs
```

Exit status: 0 done, 1 failed with a reason in `output/failure`, 128 + n ended by signal n.
Launched through Dagster Pipes, the workload reports through it (of several instances the first one); launched by hand, to
stderr.
SageMaker: https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from chronos_assets.errors import ChronosAssetsError

if TYPE_CHECKING:
    from types import FrameType

    from dagster_pipes import PipesContext

ROOT_VARIABLE = "CHRONOS_ML_ROOT"
DEFAULT_ROOT = "/opt/ml"
LIFELINE_VARIABLE = "CHRONOS_ML_LIFELINE"  # set to "stdin": the end of standard input means that the launcher died
KMS_VARIABLE = "CHRONOS_KMS_KEY"  # the key that the job writes objects with, where the store has one
KMS = "aws:kms"  # S3's name for encryption with a key of one's own
PIPES_VARIABLE = "DAGSTER_PIPES_CONTEXT"  # set by every launcher that speaks Dagster Pipes

# What `serve` takes and gives, as a registry of models wants to know it.
CONTENT_TYPES = ("application/json", "application/jsonlines", "text/csv")
RESPONSE_TYPES = ("application/json", "application/jsonlines", "text/csv")
SERVER_LOG = "server.log"  # of a server on a laptop, in the root of its folders
# How a server on a laptop takes the place of another one, see `serving.handover`; files in the root of its folders.
READY_FILE = "ready.json"  # {"port": of the private listener}, once the model is loaded
SERVING_FILE = "serving.json"  # {"port": of the endpoint}, once it accepts there
CONTROL_SOCKET = "control.sock"
TAKE_OVER = b"take over\n"  # what its launcher writes to its standard input
LONGEST_ANSWER = 1024  # periods that it forecasts at once by default

MESSAGES_CHANNEL = "messages"  # output channel of a job on several instances
MAX_REASON = 1024  # what SageMaker reads of `output/failure` and `output/message`
PROGRESS_SECONDS = 5.0  # an event log is read by people: at most one line of progress in this time


class WorkloadError(ChronosAssetsError):
    """A failure that the user can fix; the message says what, where and how, and needs no traceback."""


class Terminated(BaseException):
    """The launcher asked the workload to stop."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one job.

    Attributes:
        root: what a container sees as `/opt/ml`.
    """

    root: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Workspace:
        """The workspace that `CHRONOS_ML_ROOT` names."""
        return cls(Path((os.environ if env is None else env).get(ROOT_VARIABLE) or DEFAULT_ROOT))

    @property
    def parameters_file(self) -> Path:
        """Where the parameters are."""
        usual = self.root / "input" / "config" / "parameters.json"
        channel = self.inputs / "parameters" / "parameters.json"
        return channel if channel.exists() and not usual.exists() else usual

    @property
    def hyperparameters_file(self) -> Path:
        """Where a training job's parameters are."""
        return self.root / "input" / "config" / "hyperparameters.json"

    @property
    def model(self) -> Path:
        """Folder that a training job leaves its model in."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """Folder that outlives a killed training job."""
        return self.root / "checkpoints"

    @property
    def output_data(self) -> Path:
        """Folder for what a training job leaves beside its model."""
        return self.root / "output" / "data"

    def channel(self, name: str) -> Path | None:
        """Folder of a training job's input channel; None if the job has no such channel."""
        folder = self.root / "input" / "data" / name
        return folder if folder.is_dir() else None

    @property
    def failure_file(self) -> Path:
        """Where the reason of a failure goes."""
        return self.root / "output" / "failure"

    @property
    def exit_message_file(self) -> Path:
        """Where SageMaker finds the reason of a processing job's failure."""
        return self.root / "output" / "message"

    @cached_property
    def _resources(self) -> Mapping[str, Any]:
        for folder in (self.root / "config", self.root / "input" / "config"):
            if (folder / "resourceconfig.json").exists():
                return _read_object(folder / "resourceconfig.json")
        return {}

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of all instances of the job, in order; empty where they are unknown: the job runs on one."""
        return tuple(sorted(self._resources.get("hosts", ()), key=host_order))

    @property
    def host(self) -> str:
        """Name of this instance; empty where it is unknown."""
        return str(self._resources.get("current_host", ""))

    @property
    def messages_file(self) -> Path | None:
        """Where this instance's messages go; None for the one that Dagster listens to."""
        if len(self.hosts) < 2 or self.host == self.hosts[0]:
            return None
        return self.root / "processing" / "output" / MESSAGES_CHANNEL / f"{self.host}.jsonl"

    @property
    def scratch(self) -> Path:
        """Folder for files that nobody keeps, on the volume of the channels. Whoever fills it removes it."""
        return self.root / "processing" / "scratch"

    @property
    def inputs(self) -> Path:
        """Folder of all input channels."""
        return self.root / "processing" / "input"

    def input(self, channel: str) -> Path:
        """Folder to read of an input channel.

        Raises:
            WorkloadError: the job has no such channel.
        """
        folder = self.inputs / channel
        if not folder.is_dir():
            raise WorkloadError(f"input channel {channel!r} is missing: there is no folder {folder}")
        shared = self.root / "processing" / "shared" / channel
        for path in sorted(shared.iterdir()) if shared.is_dir() else ():
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path, target_is_directory=path.is_dir())
        return folder

    def optional_input(self, channel: str) -> Path | None:
        """Folder of an input channel; None if the job has no such channel."""
        folder = self.inputs / channel
        return folder if folder.is_dir() else None

    def output(self, channel: str) -> Path:
        """Folder to fill of an output channel, made if it isn't there."""
        folder = self.root / "processing" / "output" / channel
        if len(self.hosts) > 1:
            folder /= self.host
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def parameters(self) -> dict[str, Any]:
        """The JSON document that the job was given.

        Raises:
            WorkloadError: there is none, or it isn't a JSON object.
        """
        if not self.parameters_file.exists():
            raise WorkloadError(
                f"no parameters at {self.parameters_file}: write them there, or set {ROOT_VARIABLE} to the job's folder"
            )
        return _read_object(self.parameters_file)

    def hyperparameters(self) -> dict[str, Any]:
        """What a training job was given: `parameters` of values that may be strings of JSON; none is fine.

        A string that isn't JSON is itself: SageMaker passes on what it was given, `bundled` as well as `"bundled"`.

        Raises:
            WorkloadError: the document isn't a JSON object.
        """
        if not self.hyperparameters_file.exists():
            return {}
        document = _read_object(self.hyperparameters_file)
        return {key: json_or_text(value) if isinstance(value, str) else value for key, value in document.items()}


def host_order(host: str) -> tuple[int, str]:
    """`algo-10` goes after `algo-9`."""
    digits = host.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() else 0, host)


def json_or_text(text: str) -> Any:
    """A hyperparameter as SageMaker has it: the value of its JSON, or the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise WorkloadError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise WorkloadError(f"{path} holds a {type(document).__name__}, not a JSON object")
    return document


class Reporter:
    """Log, progress and messages of a workload, to Dagster if it launched this, else to stderr.

    Args:
        pipes: the channel to Dagster.
        clock: seconds.
        messages: file for the messages of an instance that Dagster doesn't listen to.
    """

    def __init__(
        self,
        pipes: PipesContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        messages: Path | None = None,
    ) -> None:
        self._pipes = pipes
        self._clock = clock
        self._messages = messages
        self._spoke: dict[str, float] = {}

    @property
    def attached(self) -> bool:
        """Whether Dagster launched this and listens; otherwise all goes to the standard streams."""
        return self._pipes is not None

    def log(self, message: str) -> None:
        """Write a line for people; it is shown in the run's log."""
        if self._pipes is not None:
            self._pipes.log.info(message)
        else:
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    def progress(self, done: int, total: int, what: str) -> None:
        """Report progress as `what: done / total (percent)`; at most every few seconds, but always the end."""
        now = self._clock()
        if done < total and now - self._spoke.get(what, float("-inf")) < PROGRESS_SECONDS:
            return
        self._spoke[what] = now
        share = f" ({100 * done / total:.0f}%)" if total else ""
        self.log(f"{what}: {done:,} / {total:,}{share}")

    def message(self, document: Mapping[str, Any]) -> None:
        """Send a JSON document to whoever launched the job; it arrives in `JobResult.messages`.

        By hand it is one line of JSON on standard output.
        """
        if self._pipes is not None:
            self._pipes.report_custom_message(dict(document))
        elif self._messages is not None:
            self._messages.parent.mkdir(parents=True, exist_ok=True)
            with self._messages.open("a", encoding="utf-8") as file:
                file.write(json.dumps(document, allow_nan=False) + "\n")
        else:
            sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
            sys.stdout.flush()


def run_workload(main: Callable[[Workspace, Reporter], None]) -> NoReturn:
    """Run `main` as this process's workload and exit with its status. The last line of every workload module."""
    sys.exit(execute(main, Workspace.from_env()))


def execute(main: Callable[[Workspace, Reporter], None], workspace: Workspace) -> int:
    """Run `main`; on failure leave the reason in `output/failure` and the traceback on stderr.

    Returns:
        The exit status.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if os.environ.get(LIFELINE_VARIABLE) == "stdin":
        threading.Thread(target=_die_with_launcher, name="lifeline", daemon=True).start()
    try:
        with _reporter(workspace.messages_file) as reporter:
            main(workspace, reporter)
    except (Terminated, KeyboardInterrupt) as stop:
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        _write_failure(workspace, f"stopped by {number.name}")
        return 128 + number
    except ChronosAssetsError as error:
        _write_failure(workspace, str(error))
        sys.stderr.write(f"{error}\n")
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever it is (SystemExit too), the launcher must read why
        traceback.print_exc()
        _write_failure(workspace, f"{type(error).__name__}: {error}")
        return 1
    return 0


def encryption(kms_key: str) -> dict[str, str]:
    """Arguments of boto3's `put_object` and `create_multipart_upload` for an object under a key; none without a key."""
    return {"ServerSideEncryption": KMS, "SSEKMSKeyId": kms_key} if kms_key else {}


@contextmanager
def _reporter(messages: Path | None) -> Iterator[Reporter]:
    if PIPES_VARIABLE not in os.environ or messages is not None:
        yield Reporter(messages=messages)
        return
    from dagster_pipes import PipesEnvVarParamsLoader, open_dagster_pipes

    if "bucket" in PipesEnvVarParamsLoader().load_messages_params():
        from chronos_assets.container.s3_pipes import open_s3_pipes

        opened = open_s3_pipes(encryption(os.environ.get(KMS_VARIABLE, "")))
    else:
        opened = open_dagster_pipes()
    with opened as pipes:
        yield Reporter(pipes)


def _write_failure(workspace: Workspace, reason: str) -> None:
    line = " ".join(reason.split()) or "no reason given"
    for path in (workspace.failure_file, workspace.exit_message_file):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line[:MAX_REASON], encoding="utf-8", errors="replace")


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _die_with_launcher() -> None:
    """Wait for the end of standard input, which only comes when the launcher is gone, then end the whole job.

    A workload that outlives a killed launcher would continue for hours, and write where the next one does.
    """
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)
