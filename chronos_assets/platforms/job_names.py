"""Names of jobs, searches, endpoints and pipelines: which ones SageMaker takes, and how they are made.

A name follows from what it is for, so that a retry finds what it left. Here: the characters, the lengths, words and digests.
Elsewhere: what belongs into the digest of a job (`sagemaker.limits`), a search (`tuning_request`) or an endpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

MAX_NAME = 63  # of a job or an endpoint; a search has less, a pipeline more

_NAME = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9])*")


def is_name(text: str, longest: int = MAX_NAME) -> bool:
    """Whether a text has only letters, digits and inner hyphens, and at most `longest` of them."""
    return len(text) <= longest and _NAME.fullmatch(text) is not None


def readable_name(text: str, digest: str, longest: int = MAX_NAME) -> str:
    """The letters and digits of a text, as far as there is room, and a digest that tells apart what they don't."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[: longest - len(digest) - 1].strip("-")
    return f"{words}-{digest}" if words else digest


def json_digest(value: Any, length: int) -> str:
    """The first hexadecimal digits of the SHA-256 of a JSON value: equal values have equal ones, in any order of keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
