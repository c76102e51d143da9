"""Events and records of the codec's tests."""

import json
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import strategies as st
from tests.guide import GUIDE_EVENT

from eventzr_kafka import CloudEvent, EventData, Record, decode, encode
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.kafka.record import Header

GUIDE = GUIDE_EVENT.encode()
TENANT = b"00000000-0000-0000-0000-000000000001"
CREATED = "eventzr.marketplace.listing.created.v1"
THING = "test.codec.thing.v1"
JSON_EVENT: Header = ("content-type", b"application/cloudevents+json")
BASE: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "svc", "type": THING, "tenantid": "acme"}
CE: list[Header] = [(f"ce_{name}", text.encode()) for name, text in BASE.items()]
CANARY = "s3cr3t-canary"
MODES: list[ContentMode] = ["structured", "binary"]

both_modes = pytest.mark.parametrize("mode", MODES)


class Sized(EventData, topic="test.codec.sized.v1"):
    width: Decimal
    note: str | None = None
    anything: Any = None


def make(**attributes: Any) -> CloudEvent[Any]:
    return CloudEvent[Any](**{**BASE, **attributes})


def record(value: Any, *headers: Header, topic: str = THING, key: bytes = b"acme") -> Record:
    return Record(topic, 0, 0, key, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)


def read(*headers: Header, value: bytes | None = None, **members: Any) -> CloudEvent[Any]:
    """Decode a record that is valid but for these headers, and this value or these members."""
    return decode(Record(THING, 0, 0, b"acme", value or json.dumps({**BASE, **members}).encode(), headers))


def sent(event: CloudEvent[Any], mode: ContentMode = "structured") -> Record:
    """The record that a consumer gets once the event was published."""
    out = encode(event, mode)
    return Record(out.topic, 0, 0, out.key, out.value, out.headers)


def written(event: CloudEvent[Any]) -> dict[str, Any]:
    return dict[str, Any](json.loads(encode(event).value or b""))


def text_without(*categories: Literal["Cc", "Cs"]) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=categories))


TEXT = text_without("Cc", "Cs").filter(bool)
