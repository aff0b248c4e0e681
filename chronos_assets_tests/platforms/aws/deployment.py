"""A deployment on AWS for the tests of registry, endpoints and lineage: settings, clients, a store with models."""

import functools
import uuid

from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.settings import AwsSettings

ROLE = "arn:aws:iam::123456789012:role/chronos"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1"
LOCATION = "chronos-assets"
SETTINGS = AwsSettings(role=ROLE, image=IMAGE, tags=(("team", "forecasting"),))


@functools.cache
def clients_of(aws):
    """Clients of the server, made once: reading botocore's models takes longer than most tests."""
    return aws.clients()


def open_store(aws, s3_server, folder):
    """A store below a prefix of its own, in the one bucket of these tests."""
    options = {
        "endpoint": s3_server.endpoint,
        "region": aws.env["AWS_REGION"],
        "access_key_id": aws.env["AWS_ACCESS_KEY_ID"],
        "secret_access_key": aws.env["AWS_SECRET_ACCESS_KEY"],
        "client_options": {"allow_http": True},
    }
    return S3Store(f"s3://{_bucket(s3_server)}/{uuid.uuid4().hex}/shop", cache=folder / "cache", options=options)


@functools.cache
def _bucket(s3_server):
    s3_server.client().create_bucket(Bucket="deployments")
    return "deployments"


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
