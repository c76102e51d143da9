"""The events of the benchmarks, as this package's producer writes them; and the shortest way to read them.

Kinds: ``plain`` (time, datacontenttype, subject), ``causal`` (correlationid, causationid and traceparent besides, as
every event that a handler publishes), ``text`` (a title beyond ASCII, with escapes), ``mix`` (every third is causal,
every fifth has such a text), and ``binary`` (plain, in binary mode).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from confluent_kafka import Message

from benchmarks.contestants.kit import LISTING
from eventzr_kafka import OutgoingRecord, encode
from eventzr_kafka.events.event_model import EventModel
from eventzr_kafka.producing.envelope import Enveloper
from eventzr_marketplace_events import ListingCreated

__all__ = ["KINDS", "BareEvent", "numbered_records", "read_event", "reader"]

KINDS = ("plain", "causal", "text", "mix", "binary")

_ID, _TENANT = "00000000-0000-7000-8000-0000000000id", "the-tenant-of-this-event-of-36-chars"
_CAUSES = {
    "correlationid": "0198e2a4-0000-7000-8000-000000000001",
    "causationid": "0198e2a4-0000-7000-8000-000000000002",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
_TEXT = LISTING.model_copy(update={"title": 'Größtes "Büfett" der Stadt, für 120 Gäste'})

# What a service would write without this package: a pydantic model of the envelope around that of the payload.
BareEvent: TypeAlias = EventModel[ListingCreated]
BareEvent.model_rebuild()
read_event: Callable[[Any], BareEvent] = BareEvent.__pydantic_validator__.validate_json
_read_envelope = BareEvent.__pydantic_validator__.validate_python
_read_data = ListingCreated.__pydantic_validator__.validate_json


def numbered_records(names: Sequence[str], count: int, kind: str) -> Iterator[OutgoingRecord]:
    """Yield records: one tenant after the other, each with an id of its own."""
    forms = [_form(kind, number) for number in range(15)]
    for number in range(count):
        tenant, form = names[number % len(names)].encode(), forms[number % 15]
        new_id = b"a1b2c3d4-e5f6-7890-abcd-%012d" % number
        headers = [(name, _fill(value or b"", new_id, tenant)) for name, value in form.headers]
        yield OutgoingRecord(form.topic, tenant, _fill(form.value or b"", new_id, tenant), headers)


def _form(kind: str, number: int) -> OutgoingRecord:
    is_causal = kind == "causal" or (kind == "mix" and number % 3 == 0)
    payload = _TEXT if kind == "text" or (kind == "mix" and number % 5 == 0) else LISTING
    event = Enveloper("marketplace-svc").build_event(
        payload, tenant_id=_TENANT, event_id=_ID, extensions=_CAUSES if is_causal else None
    )
    return encode(event, "binary" if kind == "binary" else "structured")


def _fill(form: bytes, new_id: bytes, tenant: bytes) -> bytes:
    return form.replace(_ID.encode(), new_id).replace(_TENANT.encode(), tenant)


def reader(kind: str) -> Callable[[Message], BareEvent]:
    """Return the shortest way from a client's message to its event, with pydantic and without any check of ours."""
    return _read_binary if kind == "binary" else _read_structured


def _read_structured(message: Message) -> BareEvent:
    return read_event(message.value())


def _read_binary(message: Message) -> BareEvent:
    headers: Any = message.headers()
    attributes = {name[3:]: value.decode() for name, value in headers if name.startswith("ce_")}
    event: BareEvent = _read_envelope({**attributes, "data": _read_data(message.value() or b"")})
    return event
