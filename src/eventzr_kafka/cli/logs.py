"""Logging of the command: one line per record on standard error, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from eventzr_kafka.errors import EventzrKafkaError
from eventzr_kafka.event import format_time

__all__ = ["LogFormat", "LogLevel", "set_up_logging"]

LogFormat: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


def set_up_logging(level: LogLevel, form: LogFormat) -> logging.Handler:
    """Send the records of the whole process to standard error.

    What an error of the SDK says is left out where the command ends with it: its last lines say the same.

    Returns:
        The handler, so that a test can take it off again.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_is_not_told_at_the_end)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level.upper())
    logging.getLogger("botocore").setLevel("DEBUG" if level == "debug" else "WARNING")  # a line for each token
    return handler


def _is_not_told_at_the_end(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(argument, EventzrKafkaError) for argument in arguments)


def _time(record: logging.LogRecord) -> str:
    return format_time(datetime.fromtimestamp(record.created, UTC))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        lines = [record.getMessage()]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        text = " | ".join(line.strip() for part in lines for line in part.splitlines())
        return f"{_time(record)} {record.levelname} {record.name}: {text}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        elif trace := getattr(record, "trace", ""):
            fields["exception"] = trace
        return json.dumps(fields, ensure_ascii=False)
