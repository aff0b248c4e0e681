"""Where an endpoint's model is: a folder of the store, an archive that is made of it, or what the server fetches itself.

Elsewhere: what SageMaker is told about it (`endpoint_request`).
"""

from __future__ import annotations

import uuid

from chronos_assets.container.archives import pack_folder
from chronos_assets.platforms.aws.endpoint_request import ModelSource
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest
from chronos_assets.platforms.store import StoreKeyError, check_key
from chronos_assets.store_layout import ENDPOINTS_KEY


def model_source(store: S3Store, kind: str, request: EndpointRequest) -> ModelSource:
    """Where the model's files are: in the store, below another `s3://` prefix, or in the image or the Hub.

    Raises:
        EndpointError: an endpoint of this `kind` can't serve it, or it isn't there.
    """
    reference = str(request.model)
    if reference.startswith("s3://"):
        if kind == "serverless":
            raise EndpointError(
                f"endpoint {request.name}: a serverless endpoint can't serve {reference}, whose files are not an "
                "archive: set CHRONOS_ENDPOINT to realtime or async, or CHRONOS_BASE_MODEL to a Hub id"
            )
        return ModelSource(reference, prefix=f"{reference.rstrip('/')}/")
    try:
        shown, prefix = store.shown_at(check_key(reference))
    except (StoreKeyError, FileNotFoundError):
        if reference.startswith("models/"):
            raise EndpointError(
                f"endpoint {request.name}: {store.uri(reference)} is not there: launch the job retrain"
            ) from None
        return ModelSource(reference)
    if kind == "serverless":
        return ModelSource(reference, archive=_archive(store, request.name, reference, shown))
    return ModelSource(reference, prefix=prefix)


def _archive(store: S3Store, name: str, key: str, version: str) -> str:
    """An archive of a model in the store, since a serverless endpoint takes no folder; made once."""
    archive = f"{ENDPOINTS_KEY}/{name}/{version}.tar.gz"
    if not store.exists(archive):
        part = store.scratch / f"{name}-{uuid.uuid4().hex}.tar.gz"
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            pack_folder(store.snapshot(key), part)
            store.put_file(archive, part)
        finally:
            part.unlink(missing_ok=True)
    return store.uri(archive)
