"""Content mode: what the headers of a record say about its value (CloudEvents Kafka binding 1.0.2, section 3).

1. A ``content-type`` beginning with ``application/cloudevents`` (any case, with parameters) means structured mode,
   whatever ``ce_*`` headers stand beside it. Any other ``content-type``, or a ``ce_*`` header, means binary mode.
2. A record without ``ce_*`` headers is read as structured if its value is a JSON object and its ``content-type`` is
   absent or that of JSON: plain producers write no headers, or name the format alone. In binary mode it would lack
   all attributes.
3. A header whose value is null says nothing: the attribute is absent, as with null in JSON.
4. Limits of headers hold before any of them is read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from eventzr_kafka.codec.limits import Limits
from eventzr_kafka.codec.media_type import charset_of, is_json
from eventzr_kafka.codec.not_json import name_form
from eventzr_kafka.codec.size_hints import raising
from eventzr_kafka.errors import InvalidEnvelopeError, RecordTooLargeError
from eventzr_kafka.kafka.record import Record
from eventzr_kafka.safe_text import printable

__all__ = ["binary_attributes", "is_structured"]

_CLOUDEVENTS = "application/cloudevents"


def is_structured(record: Record, limits: Limits) -> bool:
    """Return True for a record in structured mode.

    Raises:
        RecordTooLargeError: There are too many headers, or too many bytes of them.
        InvalidEnvelopeError: It is in neither mode.
    """
    headers = record.headers
    if len(headers) > limits.max_headers:
        found = f"{len(headers)} headers; the limit is {limits.max_headers}"
        raise RecordTooLargeError(record, f"{found}: {raising('max_headers')}")
    mode, size, has_attributes = None, 0, False
    for name, value in headers:
        size += len(name) + len(value or b"")
        if name.startswith("ce_"):
            has_attributes = True
        elif value is not None and (name == "content-type" or name.lower() == "content-type"):
            mode = _mode_of(value)
    if size > limits.max_header_bytes:
        found = f"{size:,} bytes of headers; the limit is {limits.max_header_bytes:,}"
        raise RecordTooLargeError(record, f"{found}: {raising('max_header_bytes')}")
    if mode == "unknown":
        raise InvalidEnvelopeError(
            record, "content-type: write application/cloudevents+json in UTF-8; nothing else is read"
        )
    if mode in ("structured", "binary") or has_attributes:
        return mode == "structured"
    is_object = record.value is None or record.value.lstrip().startswith(b"{")
    if mode is None and not is_object:
        form = name_form(record.value or b"")
        reason = form or "no content-type, no ce_ headers, and the value is not a JSON object"
        raise InvalidEnvelopeError(record, reason)
    return is_object


@lru_cache(maxsize=256)
def _mode_of(content_type: bytes) -> Literal["structured", "json", "binary", "unknown"]:
    media_type = content_type.decode("latin-1").strip().lower()
    if not media_type.startswith(_CLOUDEVENTS):
        return "json" if is_json(media_type) else "binary"
    known_format = media_type.partition(";")[0].rstrip() in {_CLOUDEVENTS, f"{_CLOUDEVENTS}+json"}
    return "structured" if known_format and charset_of(media_type) in {"utf-8", "utf8", "us-ascii"} else "unknown"


def binary_attributes(record: Record) -> dict[str, Any]:
    """The attributes that a record in binary mode has in its headers."""
    attributes: dict[str, str | None] = {}
    content_type: str | None = None
    for name, raw in record.headers:
        if name.startswith("ce_"):
            if name[3:] in attributes:
                raise InvalidEnvelopeError(record, f"header {printable(name)} stands twice")
            attributes[name[3:]] = _header_text(record, name, raw)
        elif raw is not None and name.lower() == "content-type":
            content_type = _header_text(record, name, raw)
    if not attributes.keys().isdisjoint({"data", "data_base64"}):
        raise InvalidEnvelopeError(record, "headers ce_data and ce_data_base64 are reserved")
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return {name: text for name, text in attributes.items() if text is not None}


def _header_text(record: Record, name: str, raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        raise InvalidEnvelopeError(record, f"header {printable(name)} is not UTF-8") from None
