"""The event of a Kafka event source → records, by partition.

1. Key and value are base64; the field of a missing one is null or left out. A header is an object with one name, whose
   value is a list of signed bytes.
2. The whole event is read before a record of it is handled. A record that does not belong to its partition is an error
   of the invocation, and the whole batch is redelivered.
3. A partition is reported by its name in the event.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from eventzr_kafka.aws_lambda.errors import EventSourceError
from eventzr_kafka.kafka.record import Header, Record, TopicPartition
from eventzr_kafka.safe_text import describe_faults, printable

__all__ = ["EventSourceBatch", "read_event"]

_SOURCES = {"aws:kafka", "SelfManagedKafka", "aws:SelfManagedKafka"}
_BYTE_RANGE = (-128, 255)  # AWS sends signed bytes; some emulators send unsigned ones


@dataclass(frozen=True, slots=True)
class EventSourceBatch:
    """The records of one partition in an invocation.

    Attributes:
        name: ``topic-partition``, as in the event.
        records: In the order of their offsets.
    """

    name: str
    partition: TopicPartition
    records: list[Record]


class _LambdaRecord(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    topic: str
    partition: Annotated[int, Field(ge=0, lt=2**31)]
    offset: Annotated[int, Field(ge=0, lt=2**63)]
    timestamp: Annotated[int, Field(ge=-(2**63), lt=2**63)] = -1
    key: str | None = None
    value: str | None = None
    headers: list[dict[str, list[Annotated[int, Field(ge=_BYTE_RANGE[0], le=_BYTE_RANGE[1])]] | None]] | None = None


_RECORDS = TypeAdapter(dict[str, list[_LambdaRecord]])


def read_event(event: object) -> list[EventSourceBatch]:
    """Read the event of an invocation.

    Raises:
        EventSourceError: The event is not one of Kafka, or a record does not belong to its partition.
    """
    nothing: Mapping[str, Any] = {}
    # Any mapping, not only a dict: Powertools wraps the event in one of its own.
    fields = cast("Mapping[str, Any]", event) if isinstance(event, Mapping) else nothing
    source = fields.get("eventSource")
    if not isinstance(source, str) or source not in _SOURCES:
        raise EventSourceError(f"eventSource is {repr(printable(source)) if isinstance(source, str) else 'missing'}")
    try:
        found = _RECORDS.validate_python(fields.get("records"))
    except ValidationError as error:
        raise EventSourceError(describe_faults(error, start="records")) from None
    return [_read_batch(name, records) for name, records in found.items() if records]


def _read_batch(name: str, found: list[_LambdaRecord]) -> EventSourceBatch:
    partition = TopicPartition(found[0].topic, found[0].partition)
    if any((f"{each.topic}-{each.partition}", each.topic) != (name, partition.topic) for each in found):
        raise EventSourceError(f"records of another partition are listed under {printable(name, limit=260)!r}")
    records = sorted((_read_record(each) for each in found), key=lambda record: record.offset)
    if len({record.offset for record in records}) < len(records):
        raise EventSourceError(f"an offset is listed twice under {printable(name, limit=260)!r}")
    return EventSourceBatch(name, partition, records)


def _read_record(found: _LambdaRecord) -> Record:
    position = f"{found.topic}[{found.partition}]@{found.offset}"
    return Record(
        found.topic,
        found.partition,
        found.offset,
        _decode_base64(found.key, f"{position}: key"),
        _decode_base64(found.value, f"{position}: value"),
        tuple(header for each in found.headers or () for header in _read_headers(each)),
        found.timestamp,
    )


def _read_headers(found: dict[str, list[int] | None]) -> list[Header]:
    return [(name, None if value is None else bytes(byte & 0xFF for byte in value)) for name, value in found.items()]


def _decode_base64(text: str | None, where: str) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EventSourceError(f"{printable(where, limit=300)} is not base64") from None
