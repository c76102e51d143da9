"""Logging of the command: one line per record on standard error, as text or as JSON.

The lines of a process with a name, such as a worker of ``run --workers``, begin with that name.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import current_process
from typing import Literal, TypeAlias

from eventzr_kafka.errors import EventzrKafkaError
from eventzr_kafka.events.event import format_time

__all__ = ["LogFormat", "LogLevel", "log_to_stderr", "name_process", "process_name", "set_up_logging"]

LogFormat: TypeAlias = Literal["text", "json"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


def set_up_logging(level: LogLevel, form: LogFormat) -> logging.Handler:
    """Send the records of the whole process to standard error.

    A record that logs an error of the SDK is left out: the command ends with this error and prints it.

    Returns:
        The handler.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_is_not_printed_at_the_end)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level.upper())
    logging.getLogger("botocore").setLevel("DEBUG" if level == "debug" else "WARNING")  # a line for each token
    return handler


@contextmanager
def log_to_stderr(level: LogLevel, form: LogFormat) -> Generator[None]:
    """Call `set_up_logging` for the time of a command, and restore the logging of the process afterwards."""
    root, botocore = logging.getLogger(), logging.getLogger("botocore")
    before = root.level, botocore.level
    handler = set_up_logging(level, form)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        botocore.setLevel(before[1])


def name_process(name: str) -> None:
    """Give this process a name, which is the ``processName`` of its log records."""
    current_process().name = name


def process_name() -> str:
    """The name of this process, or an empty text if it has none of its own."""
    return _without_default(current_process().name)


def _without_default(name: str | None) -> str:
    return "" if name is None or name == "MainProcess" else name


def _is_not_printed_at_the_end(record: logging.LogRecord) -> bool:
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
        source = f"{_without_default(record.processName)} {record.name}".strip()
        return f"{_time(record)} {record.levelname} {source}: {text}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if process := _without_default(record.processName):
            fields["process"] = process
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        elif trace := getattr(record, "trace", ""):
            fields["exception"] = trace
        return json.dumps(fields, ensure_ascii=False)
