"""The event of a Kafka event source → records, by partition.

1. Key and value are base64; where there is none, the field is null or missing. A header is an object of one name, its
   value a list of signed bytes.
2. The whole event is read before anything of it runs: what cannot be placed is an error of the invocation, and the
   whole batch comes again.
3. A partition is reported by the name that the event has for it.
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
from eventzr_kafka.safe_text import printable

__all__ = ["EventSourceBatch", "read_event"]

_SOURCES = {"aws:kafka", "SelfManagedKafka", "aws:SelfManagedKafka"}
_SIGNED = (-128, 255)


@dataclass(frozen=True, slots=True)
class EventSourceBatch:
    """What an invocation brings of one partition.

    Attributes:
        name: ``topic-partition``, as the event has it.
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
    headers: list[dict[str, list[Annotated[int, Field(ge=_SIGNED[0], le=_SIGNED[1])]] | None]] | None = None


_RECORDS = TypeAdapter(dict[str, list[_LambdaRecord]])


def read_event(event: object) -> list[EventSourceBatch]:
    """Read the event of an invocation.

    Raises:
        EventSourceError: It is not one of Kafka, or a record of it cannot be placed.
    """
    nothing: Mapping[str, Any] = {}
    fields = cast("Mapping[str, Any]", event) if isinstance(event, Mapping) else nothing  # as Powertools wraps it
    source = fields.get("eventSource")
    if not isinstance(source, str) or source not in _SOURCES:
        raise EventSourceError(f"eventSource is {repr(printable(source)) if isinstance(source, str) else 'missing'}")
    try:
        found = _RECORDS.validate_python(fields.get("records"))
    except ValidationError as error:
        raise EventSourceError(_first_fault(error)) from None
    return [_batch(name, records) for name, records in found.items() if records]


def _batch(name: str, found: list[_LambdaRecord]) -> EventSourceBatch:
    partition = TopicPartition(found[0].topic, found[0].partition)
    if any((f"{each.topic}-{each.partition}", each.topic) != (name, partition.topic) for each in found):
        raise EventSourceError(f"records of another partition stand under {printable(name, limit=260)!r}")
    records = sorted((_record(each) for each in found), key=lambda record: record.offset)
    if len({record.offset for record in records}) < len(records):
        raise EventSourceError(f"an offset stands twice under {printable(name, limit=260)!r}")
    return EventSourceBatch(name, partition, records)


def _record(found: _LambdaRecord) -> Record:
    position = f"{found.topic}[{found.partition}]@{found.offset}"
    return Record(
        found.topic,
        found.partition,
        found.offset,
        _bytes(found.key, f"{position}: key"),
        _bytes(found.value, f"{position}: value"),
        tuple(header for each in found.headers or () for header in _headers(each)),
        found.timestamp,
    )


def _headers(found: dict[str, list[int] | None]) -> list[Header]:
    return [(name, None if value is None else bytes(byte & 0xFF for byte in value)) for name, value in found.items()]


def _bytes(text: str | None, where: str) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EventSourceError(f"{printable(where, limit=300)} is not base64") from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = printable(".".join(map(str, ("records", *fault["loc"]))), limit=300)
    return f"{where}: {fault['msg']}"
