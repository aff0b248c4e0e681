"""AWS on this machine for a person: `python -m chronos_assets_tests.aws -- chronos-assets run`.

The command finds the servers, a bucket, a topic and a workgroup in its environment. Without a command, the lines to paste
into another shell are printed, and the servers run until they are interrupted:

```
export AWS_ENDPOINT_URL=http://127.0.0.1:5000 ...
export CHRONOS_DEPLOYMENT=aws CHRONOS_STORE=s3://chronos-assets/store ...
chronos-assets run
```

With `--keep` they run on after the command, too, and the lines are printed then. Jobs run as processes here and endpoints serve
from here; S3 is SeaweedFS with a disk. All is gone with the process.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chronos_assets_tests.aws.moto_server import AwsServer
from chronos_assets_tests.aws.s3_server import S3Server

BUCKET = "chronos-assets"
ROLE = "arn:aws:iam::123456789012:role/chronos-assets-jobs"
WORKGROUP = "chronos-assets"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos-assets-sagemaker:latest"


ENDS = {signal.SIGINT, signal.SIGTERM}
GONE = """
The servers of this trial are gone, and the store with them: what is suggested above needs `make run-aws KEEP=yes`.
"""
KEPT = """
The servers run until Ctrl-C. In another shell, paste these lines first; then what is suggested above works there, as
`make ui` and `.venv/bin/chronos-assets query ...`:

"""


def say(text: str) -> None:
    """Tell the person, not whoever reads the lines."""
    sys.stderr.write(text)
    sys.stderr.flush()


def main() -> int:
    """Serve until the command has ended, or SIGINT or SIGTERM comes; the command's exit status."""
    parser = argparse.ArgumentParser(prog="python -m chronos_assets_tests.aws", description="AWS on this machine")
    parser.add_argument("--port", type=int, default=0, help="of the control plane (any free one)")
    parser.add_argument("--keep", action="store_true", help="let the servers run on after the command, until Ctrl-C")
    parser.add_argument("command", nargs="*", help="what to run with the servers in its environment")
    given = parser.parse_args()
    with S3Server() as s3, tempfile.TemporaryDirectory(prefix="chronos-aws-") as folder:
        server = AwsServer(Path(folder), s3.env, port=given.port)
        server.start()
        try:
            variables = {**server.env, **deployment(server), "CHRONOS_CACHE": f"{folder}/cache"}
            if given.command:
                status = subprocess.run(given.command, env=os.environ | variables, check=False).returncode
                if status or not given.keep:
                    say("" if status else GONE)
                    return status
                say(KEPT)
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
            sys.stdout.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
            sys.stdout.flush()
            signal.sigwait(ENDS)
            return 0
        finally:
            server.stop()


def deployment(server: AwsServer) -> Mapping[str, str]:
    """What the template would make, as far as the main job needs it, and the variables that name it."""
    bucket, clients = server.bucket(BUCKET), server.clients()
    clients("athena").create_work_group(
        Name=WORKGROUP, Configuration={"ResultConfiguration": {"OutputLocation": f"s3://{bucket}/athena/"}}
    )
    return {
        "CHRONOS_DEPLOYMENT": "aws",
        "CHRONOS_STORE": f"s3://{bucket}/store",
        "CHRONOS_SAGEMAKER_ROLE": ROLE,
        "CHRONOS_PIPELINE_ROLE": ROLE,
        "CHRONOS_SAGEMAKER_IMAGE": IMAGE,
        "CHRONOS_ATHENA_WORKGROUP": WORKGROUP,
        "CHRONOS_TOPIC": clients("sns").create_topic(Name="chronos-assets")["TopicArn"],
    }


if __name__ == "__main__":
    sys.exit(main())
