"""Every kind of record that a producer writes, by name; `golden_records.json` keeps their bytes.

The wire is a promise: consumers, event source filters and dead letters of other services read these bytes. A change of
one is wrong until proven otherwise. ``python -m tests.unit.producing.golden`` writes the file anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel

from eventzr_kafka import CloudEvent, EventData, EventProducer, KafkaSettings, OutgoingRecord, Timestamp
from eventzr_kafka.clock import Clock
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.events.context import enter, enter_batch, leave
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback
from eventzr_marketplace_events.examples import EXAMPLES

__all__ = ["GOLDEN", "Golden", "golden_records"]

GOLDEN = Path(__file__).with_name("golden_records.json")
Golden: TypeAlias = dict[str, dict[str, dict[str, Any]]]

MODES: tuple[ContentMode, ...] = ("structured", "binary")
TENANT = "00000000-0000-0000-0000-000000000001"
ID = "0198e2a4-0000-7000-8000-000000000001"
NOW = 1772452800.123456
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Part(EventData):
    name: str
    price: Decimal | None = None


class Wide(EventData, topic="golden.wide.v1", source="golden-svc", subject="wide:{name}"):
    name: str
    amount: Decimal = Decimal(0)
    ratio: float = 0.5
    at: Timestamp | None = None
    parts: tuple[Part, ...] = ()
    by_key: dict[str, Decimal] | None = None
    anything: Any = None
    maybe: str | None = None


class Schema(
    EventData, topic="golden.schema.v1", source="golden-svc", dataschema="https://schemas.example/golden/schema.v1.json"
):
    id: int


class Patch(EventData, topic="golden.patch.v1", source="golden-svc", partial=True):
    id: str
    title: str | None = None
    part: Part | None = None


class Plain(BaseModel):
    amount: Decimal
    first_name: str = "é"


HELD = CloudEvent[Any](id="held-1", source="other-svc", type="other.v1", tenantid=TENANT, data=1)
TRACED = HELD.with_extensions(correlationid="flow-é", traceparent=TRACE, tracestate="vendor=1")
EMPTY_FLOW = HELD.with_extensions(correlationid="", tracestate="")


class Publication(NamedTuple):
    """An event that is published.

    Attributes:
        held: The event or batch that is being handled meanwhile.
    """

    name: str
    event: Any
    keywords: dict[str, Any]
    held: CloudEvent[Any] | list[CloudEvent[Any]] | None = None


class _Recorder:
    """A transport that keeps records, and acknowledges them at once."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    def start(self, reported: Callable[[], None]) -> None:
        self.reported = reported

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        self.records.append(record)
        report(Acknowledgement(0, len(self.records)))
        return True

    def flush(self, timeout: float) -> int:  # noqa: ARG002 -- nothing waits
        self.reported()
        return 0

    def close(self) -> None:
        """Nothing to end."""


def payloads() -> Iterator[tuple[str, EventData]]:
    """Payloads of the 18 events, and odd ones."""
    for kind, data in EXAMPLES.items():
        yield kind.__name__, data
    yield "non-ascii", Wide(name='Größe "L" \\ 寿司 🍣 \u2028 </script>')
    yield "control characters", Wide(name="n", anything="line\nbreak\ttab \x1b nul\x00 del\x7f")
    yield "subject of two forms", Wide(name="{}%s")
    yield "name as in JSON", Wide(name='NaN,"tenantid":"t","tenantid":"t"')
    yield "unknown fields", Wide.model_validate({"name": "n", "newField": [1, {"a": "é", "b": None}], "amount": 3})
    yield "unknown Decimal", Wide(name="n", anything={"a": Decimal("1.50"), "b": [Decimal(7)]})
    for text in ("0", "-0", "0.10", "19.99", "5000", "1E+2", "1E-7", "123456789012345", "0.123456789012345", "1e300"):
        yield f"Decimal {text}", Wide(name="n", amount=Decimal(text), by_key={"k": Decimal(text)})
    yield "floats", Wide(name="n", ratio=1e-9, anything=[1.0, -0.0, 1e16, 1e300])
    yield "nested", Wide(name="n", parts=(Part(name="a"), Part(name="b", price=Decimal("2.5"))))
    moment = datetime(2026, 3, 2, 23, 59, 59, 999_999, timezone(timedelta(hours=-8, minutes=-30)))
    yield "moment", Wide(name="n", at=moment)
    yield "None stays out", Wide(name="n", maybe=None, at=None)
    yield "dataschema", Schema(id=7)
    yield "partial: absent", Patch(id="1")
    yield "partial: null", Patch(id="1", title=None, part=Part(name="x"))


def envelopes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Attributes that the caller gives."""
    zone = timezone(timedelta(hours=5, minutes=45))
    yield "subject", {"subject": 'sub:"é"'}
    yield "event id", {"event_id": 'id-"é"\\'}
    yield "time", {"time": datetime(2026, 12, 31, 23, 59, 59, 999_999, zone)}
    yield "time of the year 1", {"time": datetime(1, 1, 1, tzinfo=UTC)}
    extensions = {"text": "é", "flag": True, "off": False, "number": -7, "empty": "", "none": None}
    yield "extensions", {"extensions": extensions}
    yield "own trace", {"extensions": {"traceparent": TRACE[:-1] + "0", "correlationid": "c"}}
    yield "no extensions", {"extensions": {}}
    yield "tenant beyond ASCII", {"tenant_id": 'ténant "1"'}


def whole_events() -> Iterator[tuple[str, CloudEvent[Any]]]:
    """CloudEvents that keep their attributes."""
    base: dict[str, Any] = {"id": "1", "source": "s", "type": "golden.whole.v1", "tenantid": TENANT}
    odd: dict[str, dict[str, Any]] = {
        "no data": {},
        "null": {"data": None},
        "plain JSON": {"data": {"a": [1, 2.5, "é", None, True], "n": Decimal("1.10")}},
        "text": {"data": "Grüße", "datacontenttype": "text/plain; charset=latin-1"},
        "bytes": {"data": b"\x00\xff", "datacontenttype": "image/png"},
        "model": {"data": Plain(amount=Decimal("1.5"))},
        "all attributes": {
            "time": "2026-03-02T12:00:00.5+01:00",
            "datacontenttype": "application/vnd.golden+json",
            "dataschema": "urn:golden",
            "subject": "s:1",
            "data": [],
            "note": "é",
        },
    }
    for name, attributes in odd.items():
        yield name, CloudEvent[Any](**{**base, **attributes})
    payload: dict[str, Any] = {"type": Wide.__topic__, "data": Wide(name="é"), "time": "2026-03-02T12:00:00Z"}
    yield "payload", CloudEvent[Wide](**{**base, **payload})


def publications() -> Iterator[Publication]:
    """Every publication, by name."""
    data, tenant = Wide(name="n"), {"tenant_id": TENANT}
    for name, payload in payloads():
        yield Publication(name, payload, tenant)
        yield Publication(f"{name}, in a handler", payload, {}, TRACED)
    for name, given in envelopes():
        yield Publication(name, data, {**tenant, **given})
        if "tenant_id" not in given:
            yield Publication(f"{name}, in a handler", data, given, TRACED)
    for name, event in whole_events():
        yield Publication(f"whole event: {name}", event, {})
    yield Publication("in a handler without a flow", data, {}, HELD)
    yield Publication("in a handler of an empty flow", data, {}, EMPTY_FLOW)
    yield Publication("in a batch handler", data, {}, [HELD, TRACED])
    yield Publication("across tenants", data, {"tenant_id": "another", "allow_cross_tenant": True}, HELD)


def golden_records() -> Golden:
    """The records as this version writes them."""
    return {mode: {each.name: _record(mode, each) for each in publications()} for mode in MODES}


def _record(mode: ContentMode, publication: Publication) -> dict[str, Any]:
    transport = _Recorder()
    settings, clock = KafkaSettings(brokers="127.0.0.1:1"), Clock(wall=lambda: NOW, new_id=lambda: ID)
    with EventProducer(settings=settings, mode=mode, clock=clock, transport=lambda _settings: transport) as producer:
        held = publication.held
        token = enter_batch(held) if isinstance(held, list) else enter(held)
        try:
            producer.enqueue(publication.event, **publication.keywords)
        finally:
            leave(token)
    (record,) = transport.records
    return {
        "topic": record.topic,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }


def _text(raw: bytes | None) -> str | None:
    """Latin-1 keeps every byte, and ASCII readable."""
    return None if raw is None else raw.decode("latin-1")


def write_golden_records() -> None:
    """Write the file anew, one record a line."""
    modes = ",\n".join(
        f'"{mode}": {{\n' + ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in records.items()) + "}"
        for mode, records in golden_records().items()
    )
    GOLDEN.write_text(f"{{{modes}}}\n", encoding="ascii")


if __name__ == "__main__":
    write_golden_records()
