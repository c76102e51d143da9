"""6,000 records with 1 % of each kind of hostile header, key and value, while members die: each has its one end."""

from __future__ import annotations

import json
import random
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import pytest
from tests.broker.poisoned import LARGE, PARTITIONS, SECONDS, Members, Place, members_of
from tests.raw_producer import RawProducer
from tests.torture.conftest import Finding
from tests.torture.test_members_die import out_of_order
from tests.unit.malformed import DATA, ENVELOPE

from eventzr_kafka.dead_letters.letter import Letter
from eventzr_kafka.kafka.record import UnreadableHeaders
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.torture

EVENTS, TURNS, MEMBERS, TENANTS = 6_000, 20, 3, 100
KILLED = TURNS // 2
PER_KIND = EVENTS // 100

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes | None]]
STRUCTURED: Final = (b"content-type", b"application/cloudevents+json; charset=utf-8")


@dataclass(frozen=True)
class Content:
    """A record as it is written."""

    key: bytes | None
    value: bytes | None
    headers: RawHeaders = (STRUCTURED,)

    def with_headers(self, *headers: tuple[bytes, bytes | None]) -> Content:
        return replace(self, headers=headers)

    def with_value(self, value: bytes | None) -> Content:
        return replace(self, value=value)

    def cut(self, part: bytes, by: bytes) -> Content:
        assert self.value is not None
        assert part in self.value
        return replace(self, value=self.value.replace(part, by, 1))


Change: TypeAlias = Callable[[Content], Content]

HEADERS: Final[dict[str, Change]] = {
    "a name that is not UTF-8": lambda c: c.with_headers(STRUCTURED, (b"\xff\xfename", b"x")),
    "a surrogate in a name": lambda c: c.with_headers((b"\xed\xa0\xbc", b"x")),
    "two names that are not UTF-8, a long one first": lambda c: c.with_headers((b"\x80" * 999, None), (b"\xc0", b"")),
    "too many": lambda c: c.with_headers(STRUCTURED, *[(b"h%d" % n, b"x") for n in range(200)]),
    "too large": lambda c: c.with_headers(STRUCTURED, (b"large", b"x" * 70_000)),
    "an unknown format": lambda c: c.with_headers((b"content-type", b"application/cloudevents+avro")),
    "a content type of any bytes": lambda c: c.with_headers((b"content-type", bytes(range(256)))),
    "an attribute twice": lambda c: c.with_headers((b"ce_id", b"1"), (b"ce_id", b"2")),
    "an attribute that is not UTF-8": lambda c: c.with_headers((b"ce_id", b"\xff"), (b"ce_source", b"s")),
    "those of a dead letter": lambda c: c.with_headers(
        (b"content-type", b"text/plain"), (b"eventzr-dlq-topic", b"else"), (b"eventzr-dlq-headers", b"0")
    ),
}
KEYS: Final[dict[str, Change]] = {
    "none": lambda c: replace(c, key=None),
    "empty": lambda c: replace(c, key=b""),
    "another tenant's": lambda c: replace(c, key=b"t" + b"9" * 9),
    "not UTF-8": lambda c: replace(c, key=b"\xff\xfe\x00"),
    "with a NUL": lambda c: replace(c, key=(c.key or b"") + b"\x00"),
    "large": lambda c: replace(c, key=b"k" * 40_000),
}
VALUES: Final[dict[str, Change]] = {
    "none": lambda c: c.with_value(None),
    "empty": lambda c: c.with_value(b""),
    "any bytes": lambda c: c.with_value(bytes(range(256)) * 4),
    "half": lambda c: c.with_value((c.value or b"")[:200]),
    "NaN": lambda c: c.cut(b'"price": 5000', b'"price": NaN'),
    "a tenant twice": lambda c: c.cut(b'"tenantid"', b'"tenantid": "t1", "tenantid"'),
    "no id": lambda c: c.cut(b'"id"', b'"no"'),
    "another type": lambda c: c.cut(b'"type": "', b'"type": "x'),
    "deep": lambda c: c.with_value(b"[" * 100_000),
    "large": lambda c: c.with_value(b" " * 1_500_000),
    "an array": lambda c: c.with_value(b"[1]"),
    "UTF-16": lambda c: c.with_value((c.value or b"").decode().encode("utf-16")),
    "compressed twice": lambda c: c.with_value(zlib.compress(zlib.compress(c.value or b""))),
    "a payload of another class": lambda c: c.cut(b'"price": 5000', b'"price": {"amount": 5000}'),
}
HARMLESS: Final[dict[str, Change]] = {
    "a name with a NUL": lambda c: c.with_headers(STRUCTURED, (b"x\x00y", b"z")),
    "an empty name": lambda c: c.with_headers(STRUCTURED, (b"", b"")),
    "a header without a value": lambda c: c.with_headers(STRUCTURED, (b"\xc3\xa9\n\x1b[31m", None)),
}
POISON: Final = [*HEADERS.values(), *KEYS.values(), *VALUES.values()]


class Written(NamedTuple):
    """What was written where."""

    events: set[Place]
    poison: dict[Place, Content]


def kind_of(number: int) -> Change | None:
    """One in a hundred for each kind."""
    kinds = [*POISON, *HARMLESS.values()]
    return kinds[number % 100] if number % 100 < len(kinds) else None


def content_of(number: int, topic: str) -> Content:
    tenant = f"t{number // 100 % TENANTS}"
    envelope = {**ENVELOPE, "id": str(number), "type": topic, "tenantid": tenant, "data": {**DATA, "id": str(number)}}
    plain = Content(tenant.encode(), json.dumps(envelope).encode())
    change = kind_of(number)
    return plain if change is None else change(plain)


def publish(producer: RawProducer, topic: str, numbers: range, ends: Counter[int], written: Written) -> None:
    for number in numbers:
        content, partition = content_of(number, topic), number // 100 % PARTITIONS
        producer.produce(topic, content.value, key=content.key, headers=content.headers, partition=partition)
        place = partition, ends[partition]  # one idempotent producer: in order, none twice
        ends[partition] += 1
        if number % 100 < len(POISON):
            written.poison[place] = content
        else:
            written.events.add(place)


def is_that_of(letter: Letter, content: Content) -> bool:
    """Whether a dead letter has key, value and headers of its record, or says that it cannot have the headers."""
    record = letter.record
    if (record.key, record.value) != (content.key, content.value):
        return False
    try:
        named = [(name.decode(), value) for name, value in content.headers]
    except UnicodeDecodeError:
        return isinstance(record.headers, UnreadableHeaders)
    return list(record.headers) == named


def await_work(members: Members) -> None:
    """Wait until the members are at work, so that a kill finds something unfinished."""
    before, deadline = members.effects().total(), time.monotonic() + SECONDS
    while members.effects().total() < before + 20:
        assert time.monotonic() < deadline, "no member handles anything"
        time.sleep(0.02)
    time.sleep(random.uniform(0.0, 0.3))  # noqa: S311 -- anywhere in that work


def test_hostile_records_fail_alone(
    kafka: KafkaServer, topic: Callable[..., str], tmp_path: Path, finding: Finding
) -> None:
    name, ends, written = topic(partitions=PARTITIONS, configs=LARGE), Counter[int](), Written(set(), {})
    limits = {"message.max.bytes": LARGE["max.message.bytes"], "enable.idempotence": "true"}
    with members_of(kafka, name, tmp_path) as members:
        for _ in range(MEMBERS):
            members.start()
        with RawProducer(kafka.bootstrap_servers, **limits) as producer:
            for turn in range(TURNS):
                numbers = range(turn * EVENTS // TURNS, (turn + 1) * EVENTS // TURNS)
                publish(producer, name, numbers, ends, written)
                if turn % 2:
                    await_work(members)
                    members.end_one(signal.SIGKILL)
                    members.start()
        members.await_commits()
        members.end_all()
        outcomes = members.outcomes()
    assert len(written.poison) == PER_KIND * len(POISON)
    assert outcomes.letters.keys() == written.poison.keys()
    assert [p for p, letter in outcomes.letters.items() if not is_that_of(letter, written.poison[p])] == []
    assert outcomes.effects.keys() == written.events
    assert out_of_order(members.journals()) == []
    twice = outcomes.effects.total() - len(outcomes.effects)
    finding(
        f"{EVENTS:,} records, 1 % of each of {len(POISON)} kinds of hostile header, key and value, "
        f"{MEMBERS} members, {KILLED} SIGKILL",
        f"{len(outcomes.effects):,} effects, {twice:,} of them again; {len(outcomes.letters):,} dead letters equal to "
        f"the poison, {outcomes.again:,} of them again",
    )
