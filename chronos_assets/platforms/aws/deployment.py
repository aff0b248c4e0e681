"""What every part on AWS is made from: a group's place in an account.

Here: the value that the parts are handed. Elsewhere: where it comes from (`platform`).
"""

from __future__ import annotations

from dataclasses import dataclass

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.aws.tags import tag_list
from chronos_assets.settings import AwsSettings


@dataclass(frozen=True)
class AwsDeployment:
    """A group on AWS.

    Attributes:
        clients: of the account and region.
        store: where inputs and models lie, and results go.
        settings: role, image, instances, VPC, key, times, tags, ...
        code_location: what everything that is made is tagged with.
    """

    clients: AwsClients
    store: S3Store
    settings: AwsSettings
    code_location: str

    def tags(self, **facts: str) -> list[dict[str, str]]:
        """Tags of a thing that is made, by which it is found again; `facts`: see `tag_list`."""
        return tag_list(self.settings, code_location=self.code_location, store=self.store.url, **facts)
