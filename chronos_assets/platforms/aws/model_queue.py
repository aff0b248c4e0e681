"""The queue in which EventBridge reports versions of the model that were approved or rejected: what its messages say.

Here: what such an event looks like. Elsewhere: receiving and deleting messages (`inbox`), and whether the
endpoint has to follow (`planning.redeployment`), which the registry says: a message is a reason to look, no more.

https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
"""

from __future__ import annotations

from typing import Any

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.inbox import SqsInbox, UnreadableMessageError, json_object

SOURCE, KIND = "aws.sagemaker", "SageMaker Model Package State Change"


class SqsModelQueue(SqsInbox):
    """`NewsQueue` of a model package group.

    Args:
        clients: of AWS.
        url: of the queue.
        **timing: see `SqsInbox`.
    """

    def __init__(self, clients: AwsClients, url: str, **timing: Any) -> None:
        super().__init__(clients, url, read_state_change, variable="CHRONOS_MODEL_QUEUE", **timing)


def read_state_change(body: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The version that an event is about, `group/number`, and why the rest of it plays no part.

    Raises:
        UnreadableMessageError: it is no such event.
    """
    document = json_object(body)
    detail = document.get("detail")
    if document.get("source") != SOURCE or not isinstance(detail, dict):
        raise UnreadableMessageError("no event of SageMaker")
    if document.get("detail-type") != KIND:
        return (), (f"event {str(document.get('detail-type'))[:40]}",)
    group, version = detail.get("ModelPackageGroupName"), detail.get("ModelPackageVersion")
    if not isinstance(group, str) or not isinstance(version, int):
        raise UnreadableMessageError("an event without the name of a group and the number of a version")
    status = detail.get("ModelApprovalStatus")
    if status not in ("Approved", "Rejected"):
        return (), (f"status {status}",)
    return (f"{group}/{version}",), ()
