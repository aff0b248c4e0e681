"""A processing container of no torch: it tells what it sees, and ends as its environment says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("CHRONOS_ML_ROOT") or "/opt/ml")


def main():
    """Copy the inputs to the output, then end."""
    hosts = json.loads((ROOT / "config" / "resourceconfig.json").read_text())
    host = hosts["current_host"]
    print(f"host {host}")  # noqa: T201 - a container's log
    sys.stdout.flush()
    out = ROOT / "processing" / "output" / "all"
    seen = sorted(path.relative_to(ROOT / "processing" / "input") for path in (ROOT / "processing").rglob("input/**/*"))
    files = [str(path) for path in seen if (ROOT / "processing" / "input" / path).is_file()]
    (out / f"{host}.json").write_text(json.dumps({"files": files, "environment": dict(os.environ), **hosts}))
    match os.environ.get("END"):
        case "fail":
            (ROOT / "output" / "message").write_text("the data is bad")
            sys.exit(1)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            time.sleep(60)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)


if __name__ == "__main__":
    main()
