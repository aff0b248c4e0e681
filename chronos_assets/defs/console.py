"""The console logger of every run: what the assets say, one short line each, without Dagster's own event noise."""

from __future__ import annotations

import logging
import sys

import dagster as dg


class _ShortFormatter(logging.Formatter):
    """`12:00:00  forecasts  message`: Dagster's prefix (job, run id, step) is cut back to the step."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        step = meta.get("step_key") or ""
        message = meta.get("orig_message") or record.getMessage()
        return f"{self.formatTime(record, '%H:%M:%S')}  {step:<20}  {message}"


class _AssetMessages(logging.Filter):
    """What assets log, and errors nobody foresaw; Dagster's own events are in the UI.

    A `dagster.Failure` is foreseen: its description is the whole message, and who launched the run prints it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        if event is None:
            return True
        return event.is_step_failure and event.step_failure_data.user_failure_data is None


@dg.logger(
    config_schema={"log_level": dg.Field(str, default_value="INFO", is_required=False)},
    description="Short lines on standard error.",
)
def console_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """Logger that writes the assets' own messages to standard error."""
    logger = logging.Logger("chronos_assets", level=init_context.logger_config["log_level"].upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ShortFormatter())
    handler.addFilter(_AssetMessages())
    logger.addHandler(handler)
    return logger
