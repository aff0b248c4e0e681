"""A tiny workload for the tests of jobs: `python -m chronos_assets_tests.platforms.local.echo`.

Its parameters say what to do: copy the input, send messages, fail in one way or another, wait.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Do what the parameters say."""
    parameters = workspace.parameters()
    reporter.log(f"echo {parameters.get('text', '')}")
    for number in range(parameters.get("progress", 0)):
        reporter.progress(number + 1, parameters["progress"], "series")
    for message in parameters.get("messages", []):
        reporter.message(message)
    if "copy" in parameters:
        for path in sorted(workspace.input(parameters["copy"]).iterdir()):
            (workspace.output("copied") / path.name).write_bytes(path.read_bytes())
    if "write" in parameters:
        (workspace.output("copied") / "text").write_text(parameters["write"])
    if parameters.get("environment"):
        reporter.message({"environment": dict(os.environ), "parameters": len(json.dumps(parameters))})
    match parameters.get("end"):
        case "user error":
            raise WorkloadError("train/a.csv, line 3:\n'x' is not a number; fix the file")
        case "bug":
            sys.stderr.write("about to fail, password=hunter22\n")
            raise ZeroDivisionError("division by zero")
        case "exit":
            os._exit(7)
        case "killed":
            sys.stderr.write("using a lot of memory\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait" | "stubborn" as how:
            # A helper of its own, as a data loader would be: it must not outlive the job.
            helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            if how == "stubborn":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (workspace.output("copied") / "pids").write_text(f"{os.getpid()} {helper.pid}")
            os.rename(workspace.output("copied") / "pids", workspace.output("copied") / "running")
            time.sleep(600)
        case None:
            pass


if __name__ == "__main__":
    run_workload(main)
