"""Event → record, in both content modes.

Envelope and payload are written apart: pydantic-core writes the payload, and the few attributes around it are put
together by hand, in the guide's order, which costs less than a second pass over a model.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring as _quote
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from eventzr_kafka.codec.limits import DEFAULT_LIMITS, Limits
from eventzr_kafka.codec.media_type import charset_of, is_charset, is_json, is_text
from eventzr_kafka.codec.strict_json import find_fault
from eventzr_kafka.codec.unfit import find_unfit
from eventzr_kafka.errors import EncodeError
from eventzr_kafka.events.event import CloudEvent, format_time
from eventzr_kafka.events.event_data import EventData, topic_of
from eventzr_kafka.events.json_numbers import serializer_of, with_numbers
from eventzr_kafka.kafka.record import Header, OutgoingRecord
from eventzr_kafka.safe_text import printable

__all__ = ["STRUCTURED_HEADERS", "UNWRITABLE", "ContentMode", "encode", "source_and_type", "too_large", "unwritable"]

ContentMode: TypeAlias = Literal["structured", "binary"]

# The only header of an event in structured mode, as this SDK and the JavaScript one write it.
STRUCTURED_HEADERS: tuple[Header, ...] = (("content-type", b"application/cloudevents+json; charset=utf-8"),)

# Characters of a source and a type that are remembered: those of a foreign event may fill memory.
_LONGEST = 512

# What a serializer raises for a payload that it cannot write.
UNWRITABLE = (PydanticSerializationError, TypeError, ValueError, OverflowError, RecursionError)


def encode(
    event: CloudEvent[Any], mode: ContentMode = "structured", *, limits: Limits = DEFAULT_LIMITS
) -> OutgoingRecord:
    """Write an event as a record; its key is the tenant id in UTF-8.

    Args:
        event: Goes to the topic that its payload class declares, else to the topic named like its ``type``.
        mode: ``structured`` puts all into the value (event source filters in Lambda see only that); ``binary`` puts the
            attributes into ``ce_*`` headers and the bare data into the value.
        limits: Only `max_bytes` applies.

    Raises:
        EncodeError: The data is not JSON, the type is not the topic's, or the value is too large. Nothing was sent.
    """
    declared = topic_of(type(event.data))
    topic = declared or event.type
    if declared is not None and event.type != declared:
        raise EncodeError(event.id, topic, f"type is {printable(event.type)!r}; this topic carries {declared!r}")
    write = _write_structured if mode == "structured" else _write_binary
    try:
        value, headers = write(event)
        key = event.tenantid.encode()
    except UNWRITABLE as error:
        raise unwritable(event.id, topic, event.data, error) from None
    if value is not None and len(value) > limits.max_bytes:
        raise too_large(event.id, topic, len(value), limits)
    return OutgoingRecord(topic, key, value, headers)


def too_large(event_id: str, topic: str, size: int, limits: Limits) -> EncodeError:
    """Make the error of a value of so many bytes."""
    problem = f"value of {size:,} bytes; the limit is {limits.max_bytes:,}"
    hint = "limits=Limits(max_bytes=…) of the producer raises it, if the topic's max.message.bytes allows as much"
    return EncodeError(event_id, topic, f"{problem}: {hint}")


_UNKNOWN = (
    "{}: NaN, Infinity, a Decimal of more than 15 digits, a time outside of UTC's years 1 to 9999, or no JSON value"
)


def unwritable(event_id: str, topic: str, data: Any, error: Exception) -> EncodeError:
    """Make the error of a payload that cannot be written; `error` is one of `UNWRITABLE`."""
    return EncodeError(event_id, topic, _why_not_encodable(data, error))


def _why_not_encodable(data: Any, error: Exception) -> str:
    if isinstance(error, _UnfitDataError):
        return str(error)
    kind = type(data).__qualname__
    if isinstance(error, UnicodeEncodeError):
        return f"a string holds a character that {error.encoding} cannot carry"
    try:
        found = find_unfit(data)
    except Exception:  # noqa: BLE001 -- whatever the parts of a payload do when they are looked at
        found = None
    return f"data of type {kind} cannot be written as JSON: {found or _UNKNOWN.format(type(error).__name__)}"


class _UnfitDataError(ValueError):
    pass


def _write_structured(event: CloudEvent[Any]) -> tuple[bytes, Sequence[Header]]:
    is_short = len(event.source) + len(event.type) <= _LONGEST
    members = (source_and_type if is_short else source_and_type.__wrapped__)(event.source, event.type)
    head = f'{{"specversion":"1.0","id":{_quote(event.id)}{members}'
    if event.time is not None:
        head += f',"time":"{format_time(event.time)}"'
    if event.datacontenttype is not None:
        head += f',"datacontenttype":{_quote(event.datacontenttype)}'
    if event.dataschema is not None:
        head += f',"dataschema":{_quote(event.dataschema)}'
    if event.subject is not None:
        head += f',"subject":{_quote(event.subject)}'
    head += f',"tenantid":{_quote(event.tenantid)}'
    for name, extension in event.extensions.items():
        head += f',"{name}":{json.dumps(extension, ensure_ascii=False)}'
    return head.encode() + _data_member(event) + b"}", STRUCTURED_HEADERS


@lru_cache(maxsize=1024)
def source_and_type(source: str, kind: str) -> str:
    """Return the members ``type`` and ``source`` of an event in structured mode."""
    return f',"type":{_quote(kind)},"source":{_quote(source)}'


def _data_member(event: CloudEvent[Any]) -> bytes:
    if not event.has_data:
        return b""
    data = event.data
    if isinstance(data, bytes):
        return b',"data_base64":"' + base64.b64encode(data) + b'"'
    if not isinstance(data, str) and not is_json(event.datacontenttype):
        raise _UnfitDataError(_needs_json(event))
    return b',"data":' + _to_json(data)


def _write_binary(event: CloudEvent[Any]) -> tuple[bytes | None, list[Header]]:
    headers: list[Header] = [("ce_specversion", b"1.0")]
    for name in ("id", "type", "source", "dataschema", "subject", "tenantid"):
        text = getattr(event, name)
        if text is not None:
            headers.append((f"ce_{name}", text.encode()))
    if event.time is not None:
        headers.append(("ce_time", format_time(event.time).encode()))
    for name, extension in event.extensions.items():
        text = extension if isinstance(extension, str) else json.dumps(extension)
        headers.append((f"ce_{name}", text.encode()))
    value, media_type = _binary_value(event)
    if media_type is not None:
        headers.append(("content-type", media_type.encode()))
    return value, headers


def _binary_value(event: CloudEvent[Any]) -> tuple[bytes | None, str | None]:
    data, media_type = event.data, event.datacontenttype
    if not event.has_data:
        return None, media_type
    if isinstance(data, bytes):
        return data, media_type
    if is_json(media_type):
        return _to_json(data), media_type or "application/json"
    if isinstance(data, str) and is_text(media_type):
        charset = charset_of(media_type)
        if not is_charset(charset):
            raise _UnfitDataError(f"datacontenttype {printable(media_type or '')!r} names an unknown charset")
        return data.encode(charset), media_type
    raise _UnfitDataError(_needs_json(event))


def _needs_json(event: CloudEvent[Any]) -> str:
    kind = type(event.data).__qualname__
    return f"data of type {kind} does not fit datacontenttype {event.datacontenttype!r}: pass bytes, or a JSON type"


def _to_json(data: Any) -> bytes:
    if isinstance(data, BaseModel):
        changes_only = isinstance(data, EventData) and data.__partial__
        text = serializer_of(type(data)).to_json(data, by_alias=True, exclude_unset=changes_only)
        if find_fault(text) is not None:
            raise ValueError(data.__class__)
        return text
    try:
        return _plain_json(data)
    except TypeError:  # perhaps a Decimal as a name
        return _plain_json(with_numbers(data))


def _plain_json(data: Any) -> bytes:
    plain = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_jsonable)
    return plain.encode()


def _jsonable(value: Any) -> Any:
    found = with_numbers(value)
    return to_jsonable_python(value, by_alias=True) if found is value else found
