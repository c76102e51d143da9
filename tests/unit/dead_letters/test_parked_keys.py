"""``after_dead_letter="park_key"``: what follows an open dead letter in its lane goes the same way."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, Group, MakeGroup, MakeRecord
from tests.waiting import until

from eventzr_kafka import CloudEvent, Record, RetryPolicy, kafka_consumer, on_message
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Letter, Note, read_letter, write_letter, write_note
from eventzr_kafka.errors import RoutingError, TransportError
from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.kafka.record import OutgoingRecord

pytestmark = pytest.mark.virtual_time

LATER = 4e9  # seconds since the Unix epoch


def consumer(ordering: Ordering = "tenant") -> Any:
    """Rejects the events whose id is in `bad`."""

    @kafka_consumer(group_id="group", after_dead_letter="park_key", ordering=ordering, retry=RetryPolicy(attempts=1))
    class Consumer:
        def __init__(self) -> None:
            self.bad = {"e0"}
            self.done: list[str] = []

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            if event.id in self.bad:
                raise ValueError
            self.done.append(event.id)

    return Consumer()


def read_back(record: OutgoingRecord, offset: int = 0) -> Record:
    return Record(record.topic, 0, offset, record.key, record.value, tuple(record.headers), 1)


def letters(group: Group) -> list[Letter]:
    return [letter for record in group.producer.records if (letter := read_letter(read_back(record))) is not None]


def facts(key: str = "") -> DeadLetterFacts:
    return DeadLetterFacts(
        group_id="group",
        handler="h",
        error="E",
        reason="r",
        attempts=1,
        first_failure=0,
        last_failure=0,
        ordering_key=key,
    )


def closing(record: Record, kind: Any = "replayed") -> Record:
    origin = (record.topic, record.partition, record.offset)
    return read_back(
        write_note("group", record.key, Note(kind=kind, origin=origin, at=LATER, timestamp=record.timestamp))
    )


async def begin(group: Group) -> None:
    group.assign()
    await group.settle()
    group.reader.catch_up()


async def test_events_behind_a_dead_letter_are_parked_in_order(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := consumer())
    await begin(group)
    group.receive(*(make_record(n, "a") for n in range(4)), make_record(4, "b"))
    await until(lambda: len(group.producer.records) == 4)
    await group.settle()
    group.store()
    assert handler.done == ["e4"]
    assert [(letter.record.offset, letter.facts.error) for letter in letters(group)] == [
        (0, "ValueError"),
        (1, "parked"),
        (2, "parked"),
        (3, "parked"),
    ]
    assert [letter.facts.event_id for letter in letters(group)] == ["e0", "e1", "e2", "e3"]
    assert group.transport.offset() == 5


async def test_key_reopens_with_its_last_letter(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := consumer())
    await begin(group)
    group.receive(make_record(0, "a"), make_record(1, "a"))
    await until(lambda: len(group.producer.records) == 2)
    group.reader.bring([closing(make_record(0, "a"), "failed"), closing(make_record(0, "a"))])
    group.receive(make_record(2, "a"))
    await until(lambda: len(group.producer.records) == 3)
    group.reader.bring([closing(make_record(1, "a"), "discarded"), closing(make_record(2, "a"))])
    group.receive(make_record(3, "a"))
    await until(lambda: handler.done)
    assert handler.done == ["e3"]


async def test_parked_keys_are_known_before_any_event_runs(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := consumer())
    group.assign(position=1)
    group.receive(make_record(1, "a"), make_record(2, "b"))
    await group.settle()
    assert handler.done == []
    assert group.reader.topics == ["group.dlq"]
    group.reader.bring([read_back(write_letter(make_record(0, "a"), facts()))])
    group.reader.catch_up()
    await until(lambda: handler.done and group.producer.records)
    assert handler.done == ["e2"]
    assert [letter.record.offset for letter in letters(group)] == [1]


async def test_new_assignment_rereads_topic(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := consumer())
    await begin(group)
    group.assign(epoch=2, partition=1)
    await group.settle()
    assert (group.reader.topics, group.reader.closed) == (["group.dlq"] * 2, 1)
    group.receive(make_record(1, "a"))
    await group.settle()
    assert handler.done == []
    group.reader.catch_up()
    await until(lambda: handler.done)


@pytest.mark.parametrize(
    ("ordering", "parked"), [("tenant", ["e1", "e2"]), ("subject", ["e1"]), ("partition", ["e1", "e2", "e3"])]
)
async def test_ordering_says_what_a_key_is(
    ordering: Ordering, parked: list[str], make_group: MakeGroup, make_record: MakeRecord
) -> None:
    group = make_group(handler := consumer(ordering))
    await begin(group)
    group.receive(
        make_record(0, "a", subject="x"),
        make_record(1, "a", subject="x"),
        make_record(2, "a", subject="y"),
        make_record(3, "b", subject="x"),
    )
    await until(lambda: len(group.producer.records) + len(handler.done) == 4)
    assert [letter.facts.event_id for letter in letters(group)] == ["e0", *parked]


async def test_note_read_before_its_letter_closes_it(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := consumer())
    group.assign()
    await group.settle()
    letter = read_back(write_letter(make_record(0, "a"), facts()))
    group.reader.bring([closing(make_record(0, "a")), letter])
    group.reader.catch_up()
    group.receive(make_record(1, "a"))
    await until(lambda: handler.done)


async def test_redelivered_failure_parks_nothing(make_group: MakeGroup, make_record: MakeRecord) -> None:
    """The consumer died before its commit; its letter was replayed before it came back."""
    group = make_group(handler := consumer())
    record = make_record(0, "a")
    letter = read_back(write_letter(record, replace(facts(), position=0)))
    about = Note(kind="replayed", origin=record[:3], timestamp=record.timestamp, at=1.0, letters=[(0, 0)], committed=0)
    group.assign()
    await group.settle()
    group.reader.bring([letter, read_back(write_note("group", record.key, about), 1)])
    group.reader.catch_up()
    group.receive(record, make_record(1, "a"))
    await until(lambda: handler.done)
    assert handler.done == ["e1"]
    assert len(group.producer.records) == 1


async def test_failing_reader_stops_group(make_group: MakeGroup) -> None:
    group = make_group(consumer())
    await begin(group)
    error = TransportError("gone")
    group.reader.fail(error)
    assert group.errors == [error]


def test_parking_needs_ordering_keys() -> None:
    with pytest.raises(RoutingError, match="has no ordering keys"):

        @kafka_consumer(group_id="group", after_dead_letter="park_key", ordering="none")
        class _Consumer:
            @on_message(TOPIC)
            async def handle(self, event: CloudEvent[Any]) -> None: ...


async def test_held_records_are_not_passed(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(consumer())
    group.assign()
    await group.settle()
    group.receive(make_record(0, "t2"))
    group.consumer.on_progress({1: 1})
    group.store()
    assert group.transport.offset() is None
