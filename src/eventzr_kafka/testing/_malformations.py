"""Ways to spoil a valid event, by name; each makes a record that is not a valid event."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.codec.limits import DEFAULT_LIMITS
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.kafka.record import Header, Record

__all__ = ["MALFORMATIONS", "Malformation"]

Malformation: TypeAlias = Callable[[CloudEvent[Any]], Record]

_LEAVE_OUT = object()
_TOO_DEEP = "[" * 1000 + "]" * 1000


def _record(event: CloudEvent[Any], **changes: Any) -> Record:
    made = encode(event)
    return Record(made.topic, 0, 0, made.key, made.value, made.headers)._replace(**changes)


def _structured(**changes: Any) -> Malformation:
    """Change members of the event in structured mode."""

    def spoil(event: CloudEvent[Any]) -> Record:
        members = {**json.loads(encode(event).value or b"{}"), **changes}
        kept = {name: value for name, value in members.items() if value is not _LEAVE_OUT}
        return _record(event, value=json.dumps(kept).encode())

    return spoil


def _text(change: Callable[[bytes], bytes]) -> Malformation:
    """Change the bytes of the event in structured mode."""
    return lambda event: _record(event, value=change(encode(event).value or b""))


def _binary(name: str, *values: bytes | None) -> Malformation:
    """Replace the headers of a name in binary mode; without a value the header is left out."""

    def spoil(event: CloudEvent[Any]) -> Record:
        made = encode(event, "binary")
        headers: list[Header] = [header for header in made.headers if header[0] != name]
        return _record(event, value=made.value, headers=[*headers, *((name, value) for value in values)])

    return spoil


def _binary_value(value: bytes | None) -> Malformation:
    return lambda event: _record(event, value=value, headers=encode(event, "binary").headers)


def _headers(*headers: Header) -> Malformation:
    return lambda event: _record(event, headers=headers)


def _without_required_field(event: CloudEvent[Any]) -> Record:
    members = json.loads(encode(event).value or b"{}")
    data: EventData = event.data
    required = [field.alias or name for name, field in type(data).model_fields.items() if field.is_required()]
    members["data"] = {name: value for name, value in members["data"].items() if name not in required[:1]}
    return _structured(data=members["data"] if required else None)(event)


MALFORMATIONS: Mapping[str, Malformation] = {
    "no value": lambda event: _record(event, value=None),
    "empty value": lambda event: _record(event, value=b""),
    "not JSON": lambda event: _record(event, value=b"<xml/>"),
    "cut off": _text(lambda value: value[:-5]),
    "trailing garbage": _text(lambda value: value + b"}"),
    "an array": _text(lambda value: b"[" + value + b"]"),
    "broken UTF-8": _text(lambda value: value[:-1] + b',"a":"\xff"}'),
    "lone surrogate": _text(lambda value: value[:-1] + b',"a":"\\ud800"}'),
    "NaN": _text(lambda value: value[:-1] + b',"a":NaN}'),
    "nested too deep": _text(lambda value: value[:-1] + f',"a":{_TOO_DEEP}}}'.encode()),
    "too large": _text(lambda value: value.ljust(DEFAULT_LIMITS.max_bytes + 1)),
    "second tenantid": _text(lambda value: value[:-1] + b',"tenantid":"another"}'),
    "another tenant's key": lambda event: _record(event, key=event.tenantid.encode() + b"-x"),
    "no key": lambda event: _record(event, key=None),
    "tenantid is missing": _structured(tenantid=_LEAVE_OUT),
    "tenantid is empty": _structured(tenantid=""),
    "tenantid is a number": _structured(tenantid=7),
    "id is missing": _structured(id=_LEAVE_OUT),
    "id is null": _structured(id=None),
    "id with a line feed": _structured(id="a\n"),
    "specversion 0.3": _structured(specversion="0.3"),
    "specversion is missing": _structured(specversion=_LEAVE_OUT),
    "source is not a URI-reference": _structured(source="a b"),
    "type of another topic": _structured(type="no.such.type.v1"),
    "type is missing": _structured(type=_LEAVE_OUT),
    "time without a zone": _structured(time="2026-03-02T12:00:00"),
    "time is a number": _structured(time=1772452800),
    "datacontenttype is not a media type": _structured(datacontenttype="json"),
    "dataschema is relative": _structured(dataschema="/schema"),
    "extension is an object": _structured(ext={"a": 1}),
    "extension with a bad name": _structured(my_ext="a"),
    "no data": _structured(data=_LEAVE_OUT),
    "data is null": _structured(data=None),
    "data is a list": _structured(data=[1]),
    "data is a string": _structured(data="{}"),
    "data and data_base64": _structured(data_base64="QQ=="),
    "a required field is missing": _without_required_field,
    "a batch": _headers(("content-type", b"application/cloudevents-batch+json")),
    "Avro": _headers(("content-type", b"application/cloudevents+avro")),
    "too many headers": _headers(*[("x", b"")] * (DEFAULT_LIMITS.max_headers + 1)),
    "binary: no ce_id": _binary("ce_id"),
    "binary: no ce_tenantid": _binary("ce_tenantid"),
    "binary: two ce_id": _binary("ce_id", b"1", b"2"),
    "binary: ce_id in broken UTF-8": _binary("ce_id", b"\xff"),
    "binary: ce_time without seconds": _binary("ce_time", b"2026-03-02T12:00Z"),
    "binary: ce_data": _binary("ce_data", b"1"),
    "binary: data is not JSON": _binary_value(b"<xml/>"),
    "binary: data is absent": _binary_value(None),
}
"""Functions that spoil an event, by name."""
