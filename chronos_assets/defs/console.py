"""The console logger of every run: what the assets say, one short line each, without Dagster's own event noise.

It writes to standard error, or to the handler that `messages_to` names for the runs of this process.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import dagster as dg

from chronos_assets.defs.outcomes import root_message

_handlers: list[logging.Handler] = []


@contextmanager
def messages_to(*handlers: logging.Handler) -> Iterator[None]:
    """Give the log records of this process's runs to `handlers`, all of them: they filter what they show."""
    before = list(_handlers)
    _handlers[:] = handlers
    try:
        yield
    finally:
        _handlers[:] = before


def line_handler(stream: TextIO) -> logging.Handler:
    """A handler that writes what a person is to see, a line each."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ShortFormatter())
    handler.addFilter(AssetMessages())
    return handler


class ShortFormatter(logging.Formatter):
    """`12:00:00  forecasts  message`: Dagster's prefix (job, run id, step) is cut back to the step."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        meta = getattr(record, "dagster_meta", {})
        step = meta.get("step_key") or ""
        message = failure_reason(record) or meta.get("orig_message") or record.getMessage()
        return f"{self.formatTime(record, '%H:%M:%S')}  {step:<20}  {message}"


class AssetMessages(logging.Filter):
    """What assets log, why steps failed, and what they wait for; Dagster's other events are in the UI.

    Args:
        failures: whether to show why steps failed: not where the command ends with the reason.
    """

    def __init__(self, *, failures: bool = True) -> None:
        super().__init__()
        self._failures = failures

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a person is to see the record."""
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        if event is None:
            return record.levelno >= logging.INFO and not _is_of_dagster(record)
        return self._failures and bool(event.is_step_failure)


def failure_reason(record: logging.LogRecord) -> str:
    """Why a step failed, if the record is about one: what the code said, else the error at the root; else empty."""
    event = getattr(record, "dagster_meta", {}).get("dagster_event")
    if event is None or not event.is_step_failure:
        return ""
    data = event.step_failure_data
    return (data.user_failure_data and data.user_failure_data.description) or root_message(data.error)


def _is_of_dagster(record: logging.LogRecord) -> bool:
    """Whether Dagster speaks of itself: of steps left out (the failure before it has been shown), of its pipes."""
    message = str(getattr(record, "dagster_meta", {}).get("orig_message") or "")
    return message.startswith(("Dependencies for step ", "[pipes] external process"))


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="Short lines on standard error.",
)
def console_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """Logger that writes the assets' own messages to standard error."""
    if _handlers:
        logger = logging.Logger("chronos_assets", level=logging.DEBUG)
        for handler in _handlers:
            logger.addHandler(handler)
        return logger
    logger = logging.Logger("chronos_assets", level=init_context.logger_config["log_level"].upper())
    logger.addHandler(line_handler(sys.stderr))
    return logger
