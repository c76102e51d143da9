"""Faults that other tests of the codec do not meet: each is one branch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from eventzr_kafka import CloudEvent, Record, decode, encode
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.codec.encoder import ContentMode
from eventzr_kafka.codec.strict_json import find_fault
from eventzr_kafka.codec.unfit import find_unfit
from eventzr_kafka.errors import InvalidEnvelopeError, SourceNotAllowedError
from eventzr_kafka.kafka.record import UNREADABLE_HEADERS

EVENT = CloudEvent[Any](
    id="1", type="made.v1", source="stranger", tenantid="t1", time=datetime(2026, 3, 2, tzinfo=UTC), data={"a": 1}
)
BEFORE_YEAR_1 = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))


def record(mode: ContentMode = "structured") -> Record:
    sent = encode(EVENT, mode)
    return Record(sent.topic, 0, 0, sent.key, sent.value, tuple(sent.headers))


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_a_source_that_is_not_allowed_is_refused(mode: ContentMode) -> None:
    read = decoder_for(Any, event_type=None, sources={"friend"})
    with pytest.raises(SourceNotAllowedError, match="'stranger'"):
        read(record(mode))
    assert decoder_for(Any, event_type=None, sources={"stranger"})(record(mode)).data == {"a": 1}


def test_a_record_with_headers_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidEnvelopeError, match="a name is not UTF-8"):
        decode(record()._replace(headers=UNREADABLE_HEADERS))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"b": b"\xff"}, "data.*: bytes that are not UTF-8"),
        ({"t": BEFORE_YEAR_1}, "data.*: a time outside of UTC's years 1 to 9999"),
        ({"t": datetime(2026, 3, 2, tzinfo=UTC), "b": b"ab", "n": 1}, None),
    ],
)
def test_what_json_cannot_carry_is_named_by_its_place(data: Any, fault: str | None) -> None:
    assert find_unfit(data) == fault


def test_only_a_hundred_thousand_values_are_looked_at() -> None:
    assert find_unfit([1] * 99_990 + [b"\xff"]) is not None
    assert find_unfit([1] * 100_010 + [b"\xff"]) is None


def test_a_text_with_a_raw_null_is_left_to_the_parser() -> None:
    assert find_fault(b'{"a": NaN}') is not None
    assert find_fault(b'{"a": NaN, "b": "\x00"}') is None
