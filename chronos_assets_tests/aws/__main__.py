"""AWS on this machine for a person: `python -m chronos_assets_tests.aws --port 5000`.

It prints the lines to paste into another shell, and runs until it is interrupted. There, with a bucket that is made too:

```
export AWS_ENDPOINT_URL=http://127.0.0.1:5000 ...
export CHRONOS_DEPLOYMENT=aws CHRONOS_STORE=s3://chronos-assets/store ...
chronos-assets run
```

Jobs run as processes here and endpoints serve from here; S3 is SeaweedFS with a disk. All is gone with the process.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from chronos_assets_tests.aws.moto_server import AwsServer
from chronos_assets_tests.aws.s3_server import S3Server

BUCKET = "chronos-assets"
ROLE = "arn:aws:iam::123456789012:role/chronos-assets-jobs"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos-assets-sagemaker:latest"


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m chronos_assets_tests.aws", description="AWS on this machine")
    parser.add_argument("--port", type=int, default=5000, help="of the control plane (0: any free one)")
    given = parser.parse_args()
    with S3Server() as s3, tempfile.TemporaryDirectory(prefix="chronos-aws-") as folder:
        server = AwsServer(Path(folder), s3.env, port=given.port)
        server.start()
        try:
            server.bucket(BUCKET)
            variables = {
                **server.env,
                "CHRONOS_DEPLOYMENT": "aws",
                "CHRONOS_STORE": f"s3://{BUCKET}/store",
                "CHRONOS_SAGEMAKER_ROLE": ROLE,
                "CHRONOS_SAGEMAKER_IMAGE": IMAGE,
            }
            sys.stdout.write("".join(f"export {name}={value}\n" for name, value in variables.items()))
            sys.stdout.flush()
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            server.stop()


if __name__ == "__main__":
    main()
