"""What a deployment made in SageMaker, found by its tags and deleted: endpoints, configurations, models.

Here: telling ours from others'. Elsewhere: the tags' names (`tags`),
when something is to go (`endpoints`), jobs (`reaper`).

Ours is what has this deployment's code location and its store's URL. Both are asked for, since two deployments of one
account may have the same code location. Tags are read one by one: the index of the Resource Groups Tagging API lags
behind, and what it doesn't show yet would stay forever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.refusals import fine_if
from chronos_assets.platforms.aws.sagemaker.faults import is_gone, looks
from chronos_assets.platforms.aws.tags import PREFIX, deployment_tags, tag_value, tags_of

Kind = Literal["endpoint", "endpoint-config", "model"]

_GONE_SECONDS = 900.0  # how long deleting an endpoint may take

# Kind -> operation that lists it, member of the answer, and what its members' names begin with.
_LISTS: Mapping[Kind, tuple[str, str, str]] = {
    "endpoint-config": ("list_endpoint_configs", "EndpointConfigs", "EndpointConfig"),
    "model": ("list_models", "Models", "Model"),
}


class Lineage:
    """What one deployment made.

    Args:
        clients: of the account and region.
        code_location: of the deployment; store_url: of its store.
        poll_first, poll_most: seconds between two looks at an endpoint that is being deleted.
    """

    def __init__(
        self,
        clients: AwsClients,
        code_location: str,
        store_url: str,
        *,
        poll_first: float = 2.0,
        poll_most: float = 15.0,
    ) -> None:
        self._clients = clients
        self._ours = deployment_tags(code_location, store_url)
        self._poll_first = poll_first
        self._poll_most = poll_most

    @property
    def _client(self) -> Any:
        return self._clients("sagemaker")

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether something with these tags is ours."""
        return self._ours.items() <= tags.items()

    def tags(self, arn: str) -> dict[str, str]:
        """Tags of something; none if it is gone."""
        with fine_if(is_gone):
            pages = self._client.get_paginator("list_tags").paginate(ResourceArn=arn)
            return tags_of(tag for page in pages for tag in page["Tags"])
        return {}

    def find(self, kind: Kind, *, name_contains: str, **tags: str) -> Iterator[str]:
        """The names of what is ours of a kind, sorted.

        Args:
            kind: a configuration or a model.
            name_contains: part of its name, which spares reading the tags of everything else in the account.
            **tags: values that its tags have, by their names after the prefix, underscores for hyphens (`endpoint`).
        """
        wanted = {PREFIX + name.replace("_", "-"): tag_value(value) for name, value in tags.items()}
        operation, member, noun = _LISTS[kind]
        pages = self._client.get_paginator(operation).paginate(
            NameContains=name_contains, PaginationConfig={"PageSize": 100}
        )
        for item in sorted((item for page in pages for item in page[member]), key=lambda item: item[f"{noun}Name"]):
            found = self.tags(item[f"{noun}Arn"])
            if self.owns(found) and wanted.items() <= found.items():
                yield str(item[f"{noun}Name"])

    def delete(self, kind: Kind, name: str) -> None:
        """Delete one thing; one that isn't there is fine. An endpoint is gone when this returns.

        Raises:
            TimeoutError: an endpoint is still being deleted.
        """
        calls: dict[str, Callable[[], Any]] = {
            "endpoint": lambda: self._client.delete_endpoint(EndpointName=name),
            "endpoint-config": lambda: self._client.delete_endpoint_config(EndpointConfigName=name),
            "model": lambda: self._client.delete_model(ModelName=name),
        }
        with fine_if(is_gone):
            calls[kind]()
        if kind == "endpoint":
            self._wait_for_end(name)

    def _wait_for_end(self, name: str) -> None:
        for _ in looks(self._poll_first, self._poll_most, _GONE_SECONDS):
            try:
                self._client.describe_endpoint(EndpointName=name)
            except self._client.exceptions.ClientError as error:
                if is_gone(error):
                    return
                raise
        raise TimeoutError(f"endpoint {name} is still being deleted after {_GONE_SECONDS:.0f} s")
