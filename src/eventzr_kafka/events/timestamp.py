"""The type of a moment in a payload, for packages that declare events."""

from typing import Annotated, TypeAlias

from pydantic import AwareDatetime, PlainSerializer, WithJsonSchema

from eventzr_kafka.events.attributes import OrLeapSecond
from eventzr_kafka.events.event import format_time

__all__ = ["Timestamp"]

Timestamp: TypeAlias = Annotated[
    AwareDatetime,
    OrLeapSecond(),
    PlainSerializer(format_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment with a zone; read and written as ``time`` is: ``2026-03-02T12:00:00.000Z``."""
