"""An SQS queue in memory whose clock stands still between ticks: for histories that no server could go through in time."""

from typing import Any


class FakeSqs:
    """The calls of a boto3 client that the queue of train files makes.

    Attributes:
        now: moves only when a test moves it.
        dead: bodies that were received too often.
        deleted: ids of messages that were deleted.
    """

    def __init__(self, *, max_receives: int = 1000) -> None:
        self.now = 0
        self.dead: list[str] = []
        self.deleted: list[str] = []
        self._max_receives = max_receives
        self._messages: dict[str, dict[str, Any]] = {}
        self._sent = 0

    def send(self, body: str) -> str:
        self._sent += 1
        identity = f"message-{self._sent}"
        self._messages[identity] = {"body": body, "visible": self.now, "receives": 0, "receipt": ""}
        return identity

    def __len__(self) -> int:
        return len(self._messages)

    def receive_message(self, **request: Any) -> dict[str, Any]:
        assert set(request) == {"QueueUrl", "MaxNumberOfMessages", "WaitTimeSeconds", "VisibilityTimeout"}
        answer = []
        for identity, message in list(self._messages.items()):
            if message["visible"] > self.now or len(answer) == request["MaxNumberOfMessages"]:
                continue
            message["receives"] += 1
            if message["receives"] > self._max_receives:
                self.dead.append(self._messages.pop(identity)["body"])
                continue
            message["receipt"] = f"{identity}/{message['receives']}"
            message["visible"] = self.now + request["VisibilityTimeout"]
            answer.append({"MessageId": identity, "ReceiptHandle": message["receipt"], "Body": message["body"]})
        return {"Messages": answer} if answer else {}

    def delete_message_batch(self, **request: Any) -> dict[str, Any]:
        assert set(request) == {"QueueUrl", "Entries"}
        assert 0 < len(request["Entries"]) <= 10
        for entry in request["Entries"]:
            identity = entry["ReceiptHandle"].split("/")[0]
            # As SQS: only the receipt that came last deletes; an older one does nothing.
            if identity in self._messages and self._messages[identity]["receipt"] == entry["ReceiptHandle"]:
                del self._messages[identity]
                self.deleted.append(identity)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}
