"""A container that speaks Dagster Pipes over S3: it does what the environment says.

`SAY` is logged and reported, `WAIT` names an object without which it continues waiting.
"""

import os
import signal
import sys
import time

import boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=0)
    ) as pipes:
        pipes.log.info(f"says {os.environ['SAY']} to run {pipes.run_id}")
        pipes.report_custom_message({"said": os.environ["SAY"], "extras": dict(pipes.extras)})
        sys.stdout.write("on the way\n")
        sys.stdout.flush()
        while os.environ.get("WAIT") and not there(s3, os.environ["WAIT"]):
            time.sleep(0.05)
        if pipes.is_asset_step:
            pipes.report_asset_materialization(metadata={"words": 1}, data_version="v1")


def there(s3, key: str) -> bool:
    return "Contents" in s3.list_objects_v2(Bucket="data", Prefix=key)


if __name__ == "__main__":
    main()
