"""The tags on everything that is made on AWS: by them it is distinguished from what others made, found and cleaned up.

Here: their names, and what a tag may look like. Elsewhere: finding and deleting by them (`lineage`,
`reaper`).

```
chronos-assets:code-location   deployment that made it
chronos-assets:store           URL of its store
chronos-assets:group           model package group
chronos-assets:endpoint        endpoint that a model or a configuration was made for
chronos-assets:identity        digest of what was deployed; chronos-assets:version: its name for people
chronos-assets:proven          on an endpoint: its last configuration that answered the golden request
chronos-assets:run-id, chronos-assets:asset, chronos-assets:partition
                               on a job: for what it runs
```
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from chronos_assets.settings import AwsSettings

PREFIX = "chronos-assets:"
CODE_LOCATION = f"{PREFIX}code-location"
STORE = f"{PREFIX}store"
GROUP = f"{PREFIX}group"
ENDPOINT = f"{PREFIX}endpoint"
IDENTITY = f"{PREFIX}identity"
VERSION = f"{PREFIX}version"
PROVEN = f"{PREFIX}proven"
RUN_ID = f"{PREFIX}run-id"

MAX_TAGS, MAX_VALUE = 50, 256

_NOT_ALLOWED = re.compile(r"[^\w .:/=+@-]")


def tag_list(settings: AwsSettings, **facts: str) -> list[dict[str, str]]:
    """Tags of a thing that is made, as SageMaker takes them: those of the settings and, by their own names, the facts.

    Args:
        settings: whose tags everything gets; a fact goes before one of the same name.
        **facts: name without the prefix, underscores for hyphens (`run_id`) -> value; an empty one gives no tag.

    Raises:
        ValueError: there are more than AWS allows.
    """
    tags = dict(settings.tags) | {
        PREFIX + name.replace("_", "-"): tag_value(value) for name, value in facts.items() if value
    }
    if len(tags) > MAX_TAGS:
        raise ValueError(
            f"{len(tags)} tags, of which AWS allows {MAX_TAGS}: set at most {MAX_TAGS - len(facts)} in CHRONOS_TAGS"
        )
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def deployment_tags(code_location: str, store_url: str) -> dict[str, str]:
    """The tags that everything of a deployment has; both, since two of one account may share the code location."""
    return {CODE_LOCATION: tag_value(code_location), STORE: tag_value(store_url)}


def tag_value(text: str) -> str:
    """A text as the value of a tag: what AWS doesn't allow there becomes a hyphen, what is too long is cut."""
    return _NOT_ALLOWED.sub("-", text)[:MAX_VALUE]


def tags_of(listed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Name -> value of tags as AWS lists them."""
    return {tag["Key"]: tag["Value"] for tag in listed}
