"""The quick way to read a record in structured mode: msgspec reads the envelope, pydantic-core the payload.

It accepts what is certain to be right. The careful way in decoder decides all else: so nothing is refused here, and
no fault is named.

1. Every attribute that is read takes at least its name, its text, and the JSON around them. If the value is exactly as
   long as all of these together, it holds nothing else: no second ``tenantid``, no escape, no unknown member, no blank,
   and ASCII alone in the attributes. msgspec refuses raw control characters, so only DEL is left to look for.
2. A value that is longer, such as one with blanks or with an extension of the user's own, is looked through: ``data``
   and ``tenantid`` stand in it once, nothing is escaped outside of the payload, and each text is printable.
3. A ``time`` has at most six digits of a second's fraction. ``source``, ``datacontenttype`` and ``dataschema`` are
   few: short ones are remembered.
4. The payload's bytes are validated by the schema that the careful way uses. pydantic-core's parser counts levels
   from where it begins; few brackets are few levels.
"""

# ruff: noqa: TRY301 -- each question is asked in one function
from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

from msgspec import UNSET, Raw
from msgspec.json import Decoder
from pydantic import TypeAdapter
from pydantic_core import SchemaValidator, core_schema

from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.codec.limits import PARSER_DEPTH
from eventzr_kafka.events.amounts import rounded
from eventzr_kafka.events.attributes import MediaType, Uri, UriReference
from eventzr_kafka.events.core_schema import find_node, schema_of
from eventzr_kafka.events.event import CloudEvent, ExtensionValue
from eventzr_kafka.events.event_model import ATTRIBUTES, EventModel
from eventzr_kafka.events.wire_event import WireEvent, extensions_in_slots, keep_extensions
from eventzr_kafka.kafka.record import Record

__all__ = ["payload_validator", "quick_reader"]

T = TypeVar("T")

# Bytes of what stands around the texts; those of the first always are there.
_FRAME = len('{"specversion":"1.0","id":"","source":"","type":"","tenantid":"","data":}')
_TIME = len(',"time":""')
_SUBJECT = len(',"subject":""')
_MEDIA_TYPE = len(',"datacontenttype":""')
_SCHEMA = len(',"dataschema":""')
_LONGEST = 512  # characters of a source, media type or schema that is remembered
_SHALLOW = 2 * (PARSER_DEPTH - 1)  # bytes; a shorter payload cannot nest too deep, as each level takes two brackets

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+\-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_NAME = re.compile("[a-z0-9]+")
_EXTENSION = re.compile(rb'"[^"\\]*"|true|false|null|-?(?:0|[1-9]\d{0,8})')
_read_envelope = Decoder(WireEvent).decode
_read_members = Decoder(dict[str, Raw]).decode
_read_extension = Decoder[ExtensionValue](str | bool | int).decode


class _UnsureError(Exception):
    """The careful way must decide."""


def quick_reader(  # noqa: C901 -- holds the function that is built
    validate: Callable[..., Any],
    event_type: str | None,
    sources: frozenset[str] | None,
    may_be_quick: Callable[[bytes], bool],
    *,
    max_certain: int,
    otherwise: Callable[[Record], T],
) -> Callable[[Record], CloudEvent[Any] | T]:
    """Build the quick reader of one payload class.

    Args:
        validate: Validates the bytes of a payload.
        event_type: The only ``type`` that passes; None lets every type pass.
        sources: The only values of ``source`` that pass, each a URI-reference; None lets every one pass.
        may_be_quick: Returns True if a long value may be read this way.
        max_certain: Bytes of a value up to which `may_be_quick` need not be asked.
        otherwise: Reads the records that are not certain to be right.
    """
    from_iso = datetime.fromisoformat

    # One function for every record: a call for each step would take a tenth of its time.
    def read(record: Record) -> CloudEvent[Any] | T:  # noqa: C901, PLR0912
        _, _, _, key, value, headers, _ = record
        if not value or headers != STRUCTURED_HEADERS or value.find(b"\x7f") >= 0:  # quicker than ``in``
            return otherwise(record)
        if len(value) > max_certain and not may_be_quick(value):
            return otherwise(record)
        try:
            event: Any = _read_envelope(value)
            source, data = event.source, event.data
            if data is UNSET or event.tenantid.encode() != key or (event_type is not None and event.type != event_type):
                raise _UnsureError
            if not (_is_source(source) if sources is None else source in sources):
                raise _UnsureError
            data = bytes(data)
            length = _FRAME + len(event.id) + len(source) + len(event.type) + len(event.tenantid) + len(data)
            if (text := event.time) is not None:
                # Python from 3.13 on reads 24:00, as the next day.
                is_usual = len(text) == 24 and text[4:20:3] == "--T::." and text[23] == "Z" and text[11:13] != "24"
                if not is_usual and not _RFC3339.fullmatch(text):
                    raise _UnsureError
                event.time = from_iso(text)
                length += _TIME + len(text)
            if (text := event.datacontenttype) is not None:
                if not _is_media_type(text):
                    raise _UnsureError
                length += _MEDIA_TYPE + len(text)
            if (text := event.subject) is not None:
                length += _SUBJECT + len(text)
            if (text := event.dataschema) is not None:
                if not _is_uri(text):
                    raise _UnsureError
                length += _SCHEMA + len(text)
            if length != len(value):
                length += _length_of_extensions(event)
                if length != len(value) and not _is_right(event, value, data):
                    raise _UnsureError
            if len(data) >= _SHALLOW and data.count(b"{") + data.count(b"[") >= PARSER_DEPTH - 1:
                raise _UnsureError
            event.data = validate(data, by_name=False)
            if rounded.places:  # a rounded amount is counted
                raise _UnsureError
            event.__class__ = CloudEvent
        except Exception:  # noqa: BLE001 -- the careful way finds the reason, also in a team's validator
            event = None
        if event is None:  # outside of the exception, which may show a payload and is not to be the context of others
            return otherwise(record)
        done: CloudEvent[Any] = event
        return done

    return read


def _length_of_extensions(event: WireEvent) -> int:
    length = 0
    if (text := event.correlationid) is not None:
        length += len(',"correlationid":""') + len(text)
    if (text := event.causationid) is not None:
        length += len(',"causationid":""') + len(text)
    if (text := event.traceparent) is not None:
        length += len(',"traceparent":""') + len(text)
    if (text := event.tracestate) is not None:
        length += len(',"tracestate":""') + len(text)
    if (text := event.partitionkey) is not None:
        length += len(',"partitionkey":""') + len(text)
    if (text := event.dataref) is not None:
        length += len(',"dataref":""') + len(text)
    return length


def _is_right(event: WireEvent, value: bytes, data: bytes) -> bool:
    """Look through an event as rule 2 says, and give it the extensions that have no slot."""
    if value.count(b'"data"') != 1 or value.count(b'"tenantid"') != 1 or value.count(b"\\") != data.count(b"\\"):
        return False
    more: dict[str, ExtensionValue] = {}
    for name, raw in _read_members(value).items():
        if name in ATTRIBUTES:
            continue
        extension = bytes(raw)
        if not _EXTENSION.fullmatch(extension) or not _NAME.fullmatch(name) or value.count(f'"{name}"'.encode()) != 1:
            return False
        if extension != b"null":
            more[name] = _read_extension(extension)
    texts = [
        event.id,
        event.type,
        event.tenantid,
        event.subject or "",
        *extensions_in_slots(event).values(),
        *more.values(),
    ]
    if not all(text.isprintable() for text in texts if isinstance(text, str)):
        return False
    keep_extensions(event, more)
    return True


def payload_validator(model: type[EventModel[Any]]) -> Callable[..., Any]:
    """Return the function that validates the JSON of a payload as the model of its event does, config included."""
    whole = schema_of(model)
    fields = find_node(whole, "model-fields")["fields"]
    schema = core_schema.definitions_schema(fields["data"]["schema"], whole.get("definitions", []))
    return SchemaValidator(schema, find_node(whole, "model").get("config")).validate_json


# The values that were seen lately. No long one is remembered, as a cache keeps no error: they would fill memory.


@lru_cache(maxsize=1024)
def _is_source(text: str) -> bool:
    return _fits(UriReference)(_require_short(text))


@lru_cache(maxsize=256)
def _is_uri(text: str) -> bool:
    return _fits(Uri)(_require_short(text))


@lru_cache(maxsize=256)
def _is_media_type(text: str) -> bool:
    return _fits(MediaType)(_require_short(text))


def _require_short(text: str) -> str:
    if len(text) > _LONGEST:
        raise _UnsureError
    return text


@cache
def _fits(attribute: Any) -> Callable[[str], bool]:
    return TypeAdapter[str](attribute).validator.isinstance_python
