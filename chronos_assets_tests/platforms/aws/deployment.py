"""A deployment on AWS for the tests of registry, endpoints and lineage: settings, a store with models."""

import uuid

from chronos_assets.platforms.aws.store import S3Store

from chronos_assets.settings import AwsSettings

ROLE = "arn:aws:iam::123456789012:role/chronos"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1"
LOCATION = "chronos-assets"
SETTINGS = AwsSettings(role=ROLE, image=IMAGE, tags=(("team", "forecasting"),))


def open_store(aws, folder, prefix="shop"):
    """A store in a bucket of its own."""
    bucket = f"deployment-{uuid.uuid4().hex[:12]}"
    aws.bucket(bucket)
    return S3Store(f"s3://{bucket}/{prefix}", cache=folder / "cache")


def publish_model(store, folder, name="m"):
    """A model in the store; its key."""
    staged = folder / "staged" / name
    staged.mkdir(parents=True)
    (staged / "config.json").write_text(f'{{"name": "{name}"}}')
    (staged / "model.safetensors").write_bytes(b"weights of " + name.encode())
    store.publish(f"models/{name}", staged)
    return f"models/{name}"


def called(aws, operation):
    """Parameters of the calls of an operation that succeeded."""
    return [call.params for call in aws.calls if call.operation == operation and not call.error]
