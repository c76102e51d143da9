"""`RecordBuilder`: from a payload straight to its record, without an event in between.

1. `build` decides only what is certain: a payload of a class that it knows, texts that are printable, extensions that
   are such texts. For all else it returns None, and the careful way decides: `envelope` makes the event, and
   `codec.encoder` the record, or one of them raises. Both write the same bytes.
2. A payload is written last, and once: an iterator in it would be empty the second time. So what cannot be written, or
   is too large, is refused here, with the errors of the careful way.
3. The careful way is asked once for each class: its topic, source and schema are not looked at again.
4. Attributes stand in the order of the careful way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as _quote
from typing import Any, NamedTuple, cast

from eventzr_kafka.codec.encoder import (
    STRUCTURED_HEADERS,
    UNWRITABLE,
    ContentMode,
    source_and_type,
    too_large,
    unwritable,
)
from eventzr_kafka.codec.limits import Limits
from eventzr_kafka.codec.strict_json import find_fault
from eventzr_kafka.errors import EncodeError
from eventzr_kafka.events.context import handling, has_in_hand, in_hand, inherited, is_beside_handlers
from eventzr_kafka.events.event import format_time
from eventzr_kafka.events.event_data import EventData
from eventzr_kafka.events.event_model import ATTRIBUTES
from eventzr_kafka.events.json_numbers import serializer_of
from eventzr_kafka.kafka.record import Header, OutgoingRecord
from eventzr_kafka.producing.envelope import Enveloper

__all__ = ["BuiltRecord", "RecordBuilder"]

_KEYWORDS = frozenset({"tenant_id", "subject", "event_id", "time", "extensions", "allow_cross_tenant"})
_ONE_FIELD = re.compile(r"([^{}]*)\{([^{}]+)\}([^{}]*)")  # a subject's template with a single field
_EXTENSION_NAME = re.compile("[a-z0-9]+")
_LONGEST_TENANT = 200  # characters of a tenant id that is remembered


class BuiltRecord(NamedTuple):
    """A record, and the id of its event."""

    event_id: str
    record: OutgoingRecord


class RecordBuilder:
    """Makes the records of one producer."""

    def __init__(self, enveloper: Enveloper, mode: ContentMode, limits: Limits) -> None:
        self._enveloper = enveloper
        self._new_id, self._wall = enveloper.new_id, enveloper.wall
        self._write = _write_binary if mode == "binary" else _write_structured
        self._limits, self._max_bytes = limits, limits.max_bytes
        self._forms: dict[type[Any], _Form] = {}
        self._now = (-1, "")  # milliseconds since the Unix epoch, and their text

    def build(self, data: Any, keywords: Mapping[str, Any]) -> BuiltRecord | None:
        """Make the record of a payload; None if the careful way must decide.

        Args:
            data: As the caller of `EventProducer.publish` passed it, and so are the keywords.

        Raises:
            EncodeError: The payload cannot be written, or is too large.
        """
        form = self._forms.get(type(data)) or self._learn(data)  # pyright: ignore[reportUnknownArgumentType] -- any type
        if form is None:
            return None
        held = in_hand()
        if held is not None:
            keywords = inherited(held, keywords)
        elif (outside := self._enveloper.outside) == "refuse" or (
            handling and outside == "warn" and is_beside_handlers()
        ):
            return None
        given = keywords.get
        try:
            tenant = _certain_tenant(given("tenant_id"))
            if held is not None and not has_in_hand(held, tenant.id) and not given("allow_cross_tenant"):
                return None
            event_id, subject = given("event_id"), given("subject")
            time, extensions = given("time"), given("extensions")
            if len(keywords) > 1 and not _KEYWORDS.issuperset(keywords):
                return None
            id_text = _certain(self._new_id() if event_id is None else event_id)
            about = form.default_subject(data) if subject is None else subject
            about = None if about is None else _certain(about)
            time_text = self._time_text(time)
            more = _certain_extensions(extensions) if extensions else None
        except _UncertainError:
            return None
        try:
            json = _to_json(form, data)
        except UNWRITABLE as error:
            raise unwritable(id_text, form.topic, data, error) from None
        record = self._write(form, tenant, id_text, about, time_text, more, json)
        if len(record[2] or b"") > self._max_bytes:
            raise too_large(id_text, form.topic, len(record[2] or b""), self._limits)
        return BuiltRecord(id_text, record)

    def _learn(self, data: Any) -> _Form | None:
        """Make the form of a payload's class; None for anything else, and for a class that is not this producer's."""
        if not isinstance(data, EventData):
            return None
        try:
            event = self._enveloper.build_event(data, tenant_id="any", subject="any", event_id="any")
        except EncodeError:
            return None
        form = self._forms[type(data)] = _form_of(type(data), event.source)
        return form

    def _time_text(self, moment: object) -> str:
        if moment is not None:
            if type(moment) is datetime and moment.tzinfo is UTC:
                return format_time(moment)
            raise _UncertainError
        wall = self._wall()
        milliseconds, text = self._now
        if milliseconds != int(wall * 1000):
            text = format_time(datetime.fromtimestamp(wall, UTC))
            self._now = int(wall * 1000), text
        return text


# What is remembered


@dataclass(frozen=True, slots=True)
class _Form:
    """The parts that all events of one class share.

    Attributes:
        head: Members ``type`` and ``source`` of the JSON in structured mode.
        schema: Member ``dataschema``, or an empty string.
        headers: The same three in binary mode.
        subject: The text before the only field of the subject's template, the field, and the text after it; None for
            any other template.
        to_json: Writes a payload.
        changes_only: True if fields that are not set stay out.
    """

    topic: str
    head: str
    schema: str
    headers: tuple[Header, ...]
    subject: tuple[str, str, str] | None
    to_json: Callable[..., bytes]
    changes_only: bool

    def default_subject(self, data: EventData) -> str | None:
        """Do the same as `EventData.default_subject`."""
        if self.subject is not None:
            before, field, after = self.subject
            value = data.__dict__.get(field)
            if type(value) is str:
                return before + value + after
        return data.default_subject()


def _form_of(kind: type[EventData], source: str) -> _Form:
    topic, schema = kind.__topic__ or "", kind.__dataschema__
    found = _ONE_FIELD.fullmatch(kind.__subject__ or "")
    is_own = kind.default_subject is not EventData.default_subject
    headers: list[Header] = [("ce_type", topic.encode()), ("ce_source", source.encode())]
    return _Form(
        topic=topic,
        head=source_and_type(source, topic),
        schema="" if schema is None else f',"dataschema":{_quote(schema)}',
        headers=(*headers, *([] if schema is None else [("ce_dataschema", schema.encode())])),
        subject=None if found is None or is_own else (found[1], found[2], found[3]),
        to_json=serializer_of(kind).to_json,
        changes_only=kind.__partial__,
    )


class _Tenant(NamedTuple):
    id: str
    key: bytes
    member: str


@lru_cache(maxsize=20_000)
def _remember_tenant(tenant_id: str) -> _Tenant:
    return _Tenant(_certain(tenant_id), tenant_id.encode(), f',"tenantid":{_quote(tenant_id)}')


# What is certain


class _UncertainError(Exception):
    """The careful way must decide."""


def _certain(value: Any) -> str:
    """Let a text pass that every attribute may have. Printable means: without control characters and surrogates."""
    if type(value) is str and value.isprintable() and value:
        return value
    raise _UncertainError


def _certain_tenant(tenant_id: Any) -> _Tenant:
    if type(tenant_id) is str and len(tenant_id) <= _LONGEST_TENANT:
        return _remember_tenant(tenant_id)
    raise _UncertainError


def _certain_extensions(extensions: Any) -> dict[str, str]:
    if type(extensions) is dict:
        found = cast("dict[str, str]", extensions)
        if all(
            type(value) is str and value.isprintable() and _is_extension_name(name) for name, value in found.items()
        ):
            return found
    raise _UncertainError


@lru_cache(maxsize=256)
def _is_extension_name(name: object) -> bool:
    return type(name) is str and _EXTENSION_NAME.fullmatch(name) is not None and name not in ATTRIBUTES


# Writing


def _to_json(form: _Form, data: EventData) -> bytes:
    json = form.to_json(data, by_alias=True, exclude_unset=form.changes_only)
    # These three questions clear most payloads; the serializer escapes no letter, so a name has one spelling.
    is_suspect = b"NaN" in json or b"Infinity" in json or json.count(b'"tenantid"') > 1
    if is_suspect and find_fault(json) is not None:
        raise ValueError(data.__class__)
    return json


def _write_structured(
    form: _Form,
    tenant: _Tenant,
    event_id: str,
    subject: str | None,
    time: str,
    extensions: Mapping[str, str] | None,
    json: bytes,
) -> OutgoingRecord:
    about = "" if subject is None else f',"subject":{_quote(subject)}'
    more = "".join([f',"{name}":{_quote(text)}' for name, text in extensions.items()]) if extensions else ""
    head = (
        f'{{"specversion":"1.0","id":{_quote(event_id)}{form.head},"time":"{time}","datacontenttype":"application/json"'
        f'{form.schema}{about}{tenant.member}{more},"data":'
    )
    return OutgoingRecord(form.topic, tenant.key, head.encode() + json + b"}", STRUCTURED_HEADERS)


def _write_binary(
    form: _Form,
    tenant: _Tenant,
    event_id: str,
    subject: str | None,
    time: str,
    extensions: Mapping[str, str] | None,
    json: bytes,
) -> OutgoingRecord:
    headers: list[Header] = [("ce_specversion", b"1.0"), ("ce_id", event_id.encode()), *form.headers]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    headers += (("ce_tenantid", tenant.key), ("ce_time", time.encode()))
    if extensions:
        headers += [(f"ce_{name}", text.encode()) for name, text in extensions.items()]
    headers.append(("content-type", b"application/json"))
    return OutgoingRecord(form.topic, tenant.key, json, headers)
