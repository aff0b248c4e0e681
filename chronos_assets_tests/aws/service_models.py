"""What botocore reads to make a client, read once for a process and those that it forks.

Importing this module does it. Each session of boto3, and tests and programs make hundreds, would read the services' models
again: 0.1 s of computing for S3, 0.3 s for SageMaker.
"""

from functools import cache

import boto3
import botocore.session

botocore.session.create_loader = cache(botocore.session.create_loader)

for _service in ("s3", "sagemaker", "logs"):
    boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1").client(_service)  # noqa: S106
