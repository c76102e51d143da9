"""Record ↔ CloudEvent, in both content modes of the CloudEvents Kafka binding 1.0.2. Writing is in encoder.

Rules of reading:

1. The headers say in which content mode the record is (see content_mode).
2. Limits hold before anything is parsed: value bytes, header count and bytes, arrays and objects.
3. JSON is strict: UTF-8, no NaN, and one ``tenantid`` (see strict_json).
4. The key never changes the event; it must be the UTF-8 form of ``tenantid``.
5. Data of an ``application/json`` or ``*/*+json`` type is parsed, of a ``text/*`` type a str, of any other type bytes.
6. Of several faults the first is the error, in this order: envelope (with ``type``), key, ``source``, payload.

Most records are read the quick way, see envelope_json. What it does not take is read here, rule by rule.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from eventzr_kafka.codec.content_mode import binary_attributes, is_structured
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.codec.envelope_json import payload_validator, quick_reader
from eventzr_kafka.codec.limits import DEFAULT_LIMITS, Limits, LoneSurrogates
from eventzr_kafka.codec.media_type import charset_of, is_charset, is_json, is_text
from eventzr_kafka.codec.not_json import replace_lone_surrogates
from eventzr_kafka.codec.refusal import refusal
from eventzr_kafka.codec.rounding import count_rounded
from eventzr_kafka.codec.size_hints import raising
from eventzr_kafka.codec.skim import Skimmer, is_dear
from eventzr_kafka.codec.strict_json import find_fault, has_more_containers
from eventzr_kafka.codec.wire_model import read_envelope, wire_model
from eventzr_kafka.errors import (
    DecodeError,
    InvalidDataError,
    InvalidEnvelopeError,
    RecordTooLargeError,
    SourceNotAllowedError,
    TenantMismatchError,
    TombstoneError,
    TypeMismatchError,
)
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.amounts import take_rounded
from eventzr_kafka.events.event import CloudEvent, event_of
from eventzr_kafka.events.event_data import Sources, sources_accepted_by, topic_of
from eventzr_kafka.events.event_model import EventModel, event_model
from eventzr_kafka.kafka.record import Record, UnreadableHeaders
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["Decoder", "decode", "decoder_for"]

T = TypeVar("T")

_MAX_QUICK = 16_384  # bytes of a value above which it is first asked how dear refusing it would be


@overload
def decode(
    record: Record,
    data_type: type[T],
    *,
    limits: Limits = ...,
    sources: Sources | None = ...,
    lone_surrogates: LoneSurrogates = ...,
) -> CloudEvent[T]: ...
@overload
def decode(
    record: Record,
    data_type: None = None,
    *,
    limits: Limits = ...,
    sources: Sources | None = ...,
    lone_surrogates: LoneSurrogates = ...,
) -> CloudEvent[Any]: ...
def decode(
    record: Record,
    data_type: Any = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    sources: Sources | None = None,
    lone_surrogates: LoneSurrogates = "refuse",
) -> CloudEvent[Any]:
    r"""Read a record as an event.

    Args:
        record: As the broker delivered it.
        data_type: Class of the payload. None means the class declared for the record's topic, or plain JSON.
        limits: What the record may cost.
        sources: The only values of ``source`` that pass, or ``any``. None means those that the class declares with
            `accepts`, as in a consumer.
        lone_surrogates: ``replace`` reads an escaped surrogate without its other half, such as ``\ud83c`` alone, as
            U+FFFD. Alone it is not a character, and JSON in UTF-8 cannot carry it.

    Raises:
        DecodeError: The record is not a valid event; the subclass and ``reason`` say why, without payload.
    """
    wanted = data_type or catalogue.lookup(record.topic) or Any
    chosen = sources_accepted_by(wanted) if sources is None else sources
    read = decoder_for(
        wanted,
        event_type=topic_of(wanted),
        limits=limits,
        sources=None if chosen == "any" else chosen,
        lone_surrogates=lone_surrogates,
    )
    return read(record)


def decoder_for(
    data_type: Any,
    *,
    event_type: str | None,
    limits: Limits = DEFAULT_LIMITS,
    sources: AbstractSet[str] | None = None,
    lone_surrogates: LoneSurrogates = "refuse",
) -> Decoder:
    """Build the function that reads records of one payload class: `decode` without its look-ups.

    Args:
        data_type: Class of the payload; `Any` for plain JSON, text or bytes.
        event_type: The only ``type`` that passes; None lets every type pass.
        limits: What a record may cost.
        sources: The only values of ``source`` that pass, each a URI-reference; None lets every one pass.
        lone_surrogates: As for `decode`.
    """
    allowed = None if sources is None else frozenset(sources)
    try:
        return _cached_decoder(data_type, event_type, limits, allowed, lone_surrogates)
    except TypeError:  # an annotation that cannot be hashed, such as Annotated[X, [...]]
        return Decoder(data_type, event_type, limits, allowed, lone_surrogates)


@lru_cache(maxsize=1024)
def _cached_decoder(
    data_type: Any,
    event_type: str | None,
    limits: Limits,
    sources: frozenset[str] | None,
    lone_surrogates: LoneSurrogates,
) -> Decoder:
    return Decoder(data_type, event_type, limits, sources, lone_surrogates)


class Decoder:
    """Reads records of one payload class; whatever depends on the class alone is worked out when it is made."""

    def __init__(
        self,
        data_type: Any,
        event_type: str | None,
        limits: Limits,
        sources: frozenset[str] | None = None,
        lone_surrogates: LoneSurrogates = "refuse",
        *,
        reads_json: bool | None = None,
    ) -> None:
        self._limits = limits
        self._lone_surrogates: LoneSurrogates = lone_surrogates
        self._replaces = lone_surrogates == "replace"
        self._max_quick = limits.max_bytes if _allows_structured_headers(limits) else 0
        self._event_type = event_type
        self._sources = sources
        # A payload without a media type, and JSON in data_base64, are then parsed.
        self._typed = data_type not in (Any, bytes) if reads_json is None else reads_json
        self._class = event_model(data_type)
        self._new = self._class.__new__
        self._wire = wire_model(self._class)
        careful = self._wire.__pydantic_validator__
        self._careful, self._attributes = careful.validate_json, careful.validate_python
        self._data = TypeAdapter[Any](data_type).validator.validate_json
        self._payload = payload_validator(self._wire)
        self.read = self.quick_reader(self.read_carefully)

    def __call__(self, record: Record) -> CloudEvent[Any]:
        """Read one record; see `decode`. `read` does the same with a call less."""
        return self.read(record)

    def quick_reader(self, otherwise: Callable[[Record], T]) -> Callable[[Record], CloudEvent[Any] | T]:
        """Make a function that reads most records quickly, and has the others read by `otherwise`."""
        return quick_reader(
            self._payload,
            self._event_type,
            self._sources,
            self._may_be_quick,
            max_certain=min(self._max_quick, self._limits.max_containers, _MAX_QUICK),
            otherwise=otherwise,
        )

    def as_plain_json(self) -> Decoder:
        """Make a decoder that reads the same payloads as plain JSON, from every source."""
        return Decoder(Any, self._event_type, self._limits, None, self._lone_surrogates, reads_json=self._typed)

    def _may_be_quick(self, value: bytes) -> bool:
        within_limits = len(value) <= self._max_quick and not has_more_containers(value, self._limits.max_containers)
        return within_limits and not is_dear(value)

    def read_carefully(self, record: Record) -> CloudEvent[Any]:
        """Read any record, rule by rule: limits and form, then as rule 6 says. Each error has its reason from here."""
        if isinstance(record.headers, UnreadableHeaders):
            raise InvalidEnvelopeError(record, "headers: a name is not UTF-8, so that none of them can be read")
        take_rounded()  # of readings without a decoder
        value, limits = record.value, self._limits
        structured = is_structured(record, limits)
        if value is None and (structured or not any(name.startswith("ce_") for name, _ in record.headers)):
            raise TombstoneError(record, "no value and no ce_ headers: a tombstone, not an event")
        if value is not None and len(value) > limits.max_bytes:
            found = f"value of {len(value):,} bytes; the limit is {limits.max_bytes:,}"
            raise RecordTooLargeError(record, f"{found}: {raising('max_bytes')}")
        try:
            if structured and value is not None:
                event = self._read_structured(record, value)
                self._require_allowed(record, event.type, event.tenantid, event.source)
            else:
                event = self._read_binary(record)
        except ValidationError as error:
            raise refusal(record, error, self._class) from None
        except DecodeError:
            raise
        except Exception as error:  # noqa: BLE001 -- a validator of the payload class may raise anything
            reason = f"data: a validator of the payload class raised {error_location(error)}"
            raise InvalidDataError(record, reason) from None
        count_rounded(record.topic, event.source, take_rounded())
        return event_of(event)

    def _read_structured(self, record: Record, value: bytes) -> EventModel[Any]:
        value = replace_lone_surrogates(value) if self._replaces else value
        self._require_strict_json(record, value)
        envelope_fits = is_dear(value) and self._look_first(record, value)
        try:
            return self._into_event(self._careful, value)
        except Exception as error:
            if envelope_fits or _is_not_json(error):  # a second reading would be dear, or find nothing
                raise
            return self._read_again(record, value, error)

    def _look_first(self, record: Record, value: bytes) -> bool:
        """Refuse a dear record while that is still cheap, with the error that it would have anyway.

        Returns:
            True if the envelope fits and the payload is not in ``data_base64``.
        """
        if self._skimmer is None:
            return False
        seen = self._skimmer.look(value)
        if seen.envelope is not None:
            raise InvalidEnvelopeError(record, seen.envelope)
        if seen.is_base64:
            return False
        self._require_allowed(record, *(seen.attributes[name] for name in ("type", "tenantid", "source")))
        if seen.data is not None:
            raise InvalidDataError(record, seen.data)
        return True

    def _read_again(self, record: Record, value: bytes, error: Exception) -> EventModel[Any]:
        """Read a payload in ``data_base64``; else find out if a fault of the envelope goes before the payload's."""
        given: Any = from_json(value)
        if not isinstance(given, dict):
            raise error
        attributes = cast("dict[str, Any]", given)
        if "data_base64" not in attributes:
            self._require_envelope(record, attributes)
            raise error
        return self._into_event(self._attributes, self._with_data(record, attributes))

    @cached_property
    def _skimmer(self) -> Skimmer | None:
        try:
            return Skimmer(self._wire, max_extensions=self._limits.max_headers)
        except Exception:  # noqa: BLE001 -- of a schema that is like no other: its records are read at once
            return None

    def _read_binary(self, record: Record) -> EventModel[Any]:
        attributes = binary_attributes(record)
        self._require_envelope(record, attributes)
        if record.value is not None:
            attributes["data"] = self._parse_data(record, record.value, attributes)
        return self._into_event(self._attributes, attributes)

    def _into_event(self, validate: Callable[..., Any], source: Any) -> EventModel[Any]:
        event: EventModel[Any] = validate(source, by_name=False, self_instance=self._new(self._class))
        return event

    def _require_envelope(self, record: Record, attributes: dict[str, Any]) -> None:
        """Hold all but the payload against the rules, before the payload is looked at."""
        event = read_envelope(record, attributes)
        self._require_allowed(record, event.type, event.tenantid, event.source)

    def _require_allowed(self, record: Record, kind: str, tenant_id: str, source: str) -> None:
        """Hold type, key and source against what the topic, the tenant and the consumer want, in this order."""
        if self._event_type is not None and kind != self._event_type:
            reason = f"type is {printable(kind)!r}; this topic carries {self._event_type!r}"
            raise TypeMismatchError(record, reason)
        if record.key is None:
            raise TenantMismatchError(record, f"no key: it must be the event's tenantid {printable(tenant_id)!r}")
        if record.key != tenant_id.encode():
            raise TenantMismatchError(record, f"the key is not the event's tenantid {printable(tenant_id)!r}")
        if self._sources is not None and source not in self._sources:
            raise SourceNotAllowedError(record, source, self._sources)

    def _require_strict_json(self, record: Record, value: bytes) -> None:
        most = self._limits.max_containers
        if has_more_containers(value, most):
            raise RecordTooLargeError(record, f"more than {most:,} arrays and objects (Limits.max_containers)")
        fault = find_fault(value)
        if fault is not None:
            raise InvalidEnvelopeError(record, fault)

    def _with_data(self, record: Record, given: dict[str, Any]) -> dict[str, Any]:
        """Attributes with what ``data_base64`` holds; null there means absent, as for every attribute."""
        attributes = {name: part for name, part in given.items() if part is not None or name == "data"}
        text = attributes.pop("data_base64", None)
        if text is None:
            self._require_envelope(record, attributes)
            return attributes
        read_envelope(record, attributes)
        if "data" in given:
            raise InvalidEnvelopeError(record, "data and data_base64 exclude each other")
        data, media_type = _from_base64(record, text), attributes.get("datacontenttype")
        self._require_envelope(record, attributes)
        as_json = self._typed and is_json(media_type)
        return {**attributes, "data": self._parse_data(record, data, attributes) if as_json else data}

    def _parse_data(self, record: Record, value: bytes, attributes: dict[str, Any]) -> Any:
        media_type: str | None = attributes.get("datacontenttype")
        if media_type is None and not self._typed:
            return value
        if is_json(media_type):
            value = replace_lone_surrogates(value) if self._replaces else value
            self._require_strict_json(record, value)
            try:
                if is_dear(value) and self._typed and self._skimmer is not None:
                    fault = self._skimmer.look_at_data(value)
                    if fault is not None:
                        raise InvalidDataError(record, fault)
                return self._data(value, by_name=False)
            except ValidationError as error:
                raise refusal(record, error, self._class, data=value) from None
        return _decode_text(record, value, media_type) if is_text(media_type) else value


def _allows_structured_headers(limits: Limits) -> bool:
    """True if the headers of a record in structured mode are within the limits."""
    header_bytes = sum(len(name) + len(value or b"") for name, value in STRUCTURED_HEADERS)
    return limits.max_headers >= len(STRUCTURED_HEADERS) and limits.max_header_bytes >= header_bytes


def _is_not_json(error: Exception) -> bool:
    if not isinstance(error, ValidationError):
        return False
    return error.error_count() == 1 and error.errors(include_input=False)[0]["type"] == "json_invalid"


def _decode_text(record: Record, value: bytes, media_type: str | None) -> str:
    charset = charset_of(media_type)
    try:
        return value.decode(charset if is_charset(charset) else "undefined")
    except UnicodeError:
        raise InvalidDataError(record, f"data: is not text in charset {printable(charset)!r}") from None


def _from_base64(record: Record, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise InvalidEnvelopeError(record, "data_base64: must be a base64 string") from None
