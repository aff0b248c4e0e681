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
    """What assets log, and failures; Dagster's events (step started, output yielded, …) are in the UI."""

    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(record, "dagster_meta", {})
        return meta.get("dagster_event") is None or record.levelno >= logging.ERROR


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
