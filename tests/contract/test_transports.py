"""What every transport does, on every broker; the table says what one of the brokers cannot do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Final, TypeAlias

import pytest
from confluent_kafka import KafkaException
from tests.broker.test_partitioner import tenants
from tests.contract.backends import Backend, Embedded, InMemory, Real, new_name
from tests.contract.sink import SECONDS, Sink
from tests.recorder import Recorder
from tests.waiting import eventually

from eventzr_kafka import EmbeddedBroker
from eventzr_kafka.errors import ProducerStateError
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import Header, OutgoingRecord, TopicPartition
from eventzr_kafka.kafka.transport import (
    MAX_OUTSTANDING,
    Acknowledgement,
    ConsumerTransport,
    DeliveryFailure,
    DeliveryOutcome,
    Position,
    ProducerTransport,
)
from eventzr_kafka.testing._partitioner import partition_of

# What a broker cannot do: the test and why. Each of these tests must fail there; once one passes, its line goes.
CANNOT: Final[dict[str, dict[str, tuple[str, type[Exception]]]]] = {  # why, and how that shows
    "memory": {},
    "embedded": {
        "test_oversized_record_is_refused": ("it takes records of any size", AssertionError),
        "test_group_behind_log_starts_over": ("it has no DeleteRecords", KafkaException),
        "test_unread_offsets_are_passed": ("it shows aborted records", AssertionError),
        "test_offsets_behind_last_are_passed": ("it shows aborted records", ValueError),
    },
    "kafka": {},
    "kafka-consumer-protocol": {},
}
# With KIP-848 a real broker takes 5 s for each step of a rebalance: only what depends on the protocol runs on it.
PROTOCOL_TESTS: Final = {
    "test_member_resumes_at_committed_offset",
    "test_new_owner_waits_for_the_former_ones_offset",
    "test_former_owner_commits_nothing",
}

Outcome: TypeAlias = DeliveryOutcome
Join: TypeAlias = Callable[..., tuple[ConsumerTransport, Sink]]


@pytest.fixture(scope="module")
def embedded() -> Generator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        real = ["kafka", *["kafka-consumer-protocol"] * (metafunc.function.__name__ in PROTOCOL_TESTS)]
        marked = [pytest.param(name, marks=pytest.mark.real_kafka) for name in real]
        metafunc.parametrize("backend", ["memory", "embedded", *marked], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    name: str = request.param
    if (cannot := CANNOT[name].get(request.node.originalname)) is not None:
        why, raises = cannot
        request.applymarker(pytest.mark.xfail(reason=f"{name}: {why}", strict=True, raises=raises))
    if name == "memory":
        return InMemory()
    if name == "embedded":
        return Embedded(request.getfixturevalue("embedded"))
    return Real(request.getfixturevalue("kafka"), "consumer" if name.endswith("protocol") else "classic")


@pytest.fixture
async def join(backend: Backend) -> AsyncGenerator[Join]:
    """Start members; those that are left at the end leave."""
    members: list[ConsumerTransport] = []
    recorder = Recorder()

    def start(
        group: str, topic: str, *, asks: bool = True, hold: bool = False, paused: bool = False
    ) -> tuple[ConsumerTransport, Sink]:
        member = recorder.wrap(backend.consumer(group))
        sink = Sink(member, asks=asks, hold=hold)
        member.pause("all" if paused else ())
        member.start([topic], sink)
        members.append(member)
        return member, sink

    yield start
    for member in members:
        await member.close(SECONDS)
    assert recorder.faults == []


class Reports:
    """Outcomes of records, in the order in which they were reported."""

    def __init__(self, producer: ProducerTransport) -> None:
        self._producer = producer
        self._news = threading.Condition()
        self.outcomes: list[tuple[int, Outcome]] = []
        self._sent = 0

    def told(self) -> None:
        with self._news:
            self._news.notify_all()

    def produce(
        self, topic: str, value: bytes | None = b"{}", key: bytes = b"t1", headers: Sequence[Header] = ()
    ) -> None:
        number, self._sent = self._sent, self._sent + 1
        record = OutgoingRecord(topic, key, value, headers)
        assert self._producer.produce(record, lambda outcome: self.outcomes.append((number, outcome)))

    def all(self) -> list[Outcome]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.outcomes) >= self._sent, SECONDS)
        return [outcome for _, outcome in self.outcomes]


@pytest.fixture
def producer(backend: Backend) -> Generator[Reports]:
    transport = backend.producer()
    reports = Reports(transport)
    transport.start(reports.told)
    yield reports
    transport.close()


@pytest.fixture
def group() -> str:
    return new_name("group")


def produce(producer: Reports, topic: str, count: int, key: bytes = b"t1") -> None:
    for number in range(count):
        producer.produce(topic, b"%d" % number, key)
    assert all(isinstance(outcome, Acknowledgement) for outcome in producer.all())


# Records

RECORDS: Final[dict[str, tuple[bytes | None, bytes | None, Sequence[Header]]]] = {
    "plain": (b"t1", b"{}", [("content-type", b"application/json")]),
    "no key": (None, b"{}", []),
    "empty key": (b"", b"{}", []),
    "key that is no text": (b"\xff\x00\xfe", b"{}", []),
    "empty value": (b"t1", b"", []),
    "tombstone": (b"t1", None, []),
    "header twice": (b"t1", b"{}", [("a", b"1"), ("b", b"2"), ("a", b"1"), ("a", b"3")]),
    "header without value": (b"t1", b"{}", [("a", None), ("b", b"")]),
    "header that is no text": (b"t1", b"{}", [("a", b"\xff\xfe\x00"), ("größe", b"\x80")]),
}


@pytest.mark.parametrize("kind", RECORDS)
async def test_records_come_back_byte_for_byte(backend: Backend, join: Join, group: str, kind: str) -> None:
    key, value, headers = RECORDS[kind]
    topic = backend.create_topic()
    await asyncio.to_thread(backend.put, topic, key, value, headers)

    _, sink = join(group, topic)
    await sink.until_received(1)

    (record,) = sink.records
    assert (record.key, record.value, list(record.headers)) == (key, value, list(headers))
    assert (record.topic, record.offset) == (topic, 0)
    assert record.timestamp > 0


@pytest.mark.parametrize("kind", [kind for kind, (key, *_) in RECORDS.items() if key is not None])
async def test_producer_writes_what_is_read(
    backend: Backend, producer: Reports, join: Join, group: str, kind: str
) -> None:
    key, value, headers = RECORDS[kind]
    topic = backend.create_topic()
    producer.produce(topic, value, key or b"", headers)
    (acknowledged,) = producer.all()

    _, sink = join(group, topic)
    await sink.until_received(1)

    (record,) = sink.records
    assert (record.key, record.value, list(record.headers)) == (key, value, list(headers))
    assert acknowledged == Acknowledgement(record.partition, record.offset)


async def test_partition_keeps_written_order(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    produce(producer, topic, 500)
    _, sink = join(group, topic)
    await sink.until_received(500)

    assert [number for number, _ in producer.outcomes] == list(range(500))
    assert [int(record.value or b"") for record in sink.records] == list(range(500))
    assert [record.offset for record in sink.records] == list(range(500))


def test_key_lies_where_java_puts_it(backend: Backend, producer: Reports) -> None:
    topic, keys = backend.create_topic(partitions=4), [tenant.encode() for tenant in tenants(300)]
    for key in keys:
        producer.produce(topic, b"", key)
    producer.all()

    found = {
        keys[number]: outcome.partition
        for number, outcome in producer.outcomes
        if not isinstance(outcome, DeliveryFailure)
    }
    assert found == {key: partition_of(key, 4) for key in keys}


async def test_unread_offsets_are_passed(backend: Backend, join: Join, group: str) -> None:
    topic = backend.create_topic(partitions=1)
    for value in (b"a", b"b"):
        await asyncio.to_thread(backend.put_with_gap, topic, value)
    _, sink = join(group, topic)
    await sink.until_received(2)

    assert [record.value for record in sink.records] == [b"a", b"b"]
    first, second = (record.offset for record in sink.records)
    assert 0 < first < second - 1


async def test_offsets_behind_last_are_passed(backend: Backend, join: Join, group: str) -> None:
    topic = backend.create_topic(partitions=1)
    await asyncio.to_thread(backend.put_with_gap, topic, b"a")
    member, sink = join(group, topic)
    await sink.until_received(1)
    (epoch, record), (assignment,) = sink.seen[0], sink.assignments
    await sink.until(lambda: sink.passed_to.get(epoch, 0) == record.offset + 2)

    member.store([Position(assignment.partition, epoch, record.offset + 2)])
    await eventually(lambda: backend.committed(group, topic) == {0: (record.offset + 2, "")})


# Positions


async def test_member_resumes_at_committed_offset(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    produce(producer, topic, 5)
    first, before = join(group, topic)
    await before.until_received(5)
    epoch, record = before.seen[0]
    partition = before.assignments[0].partition._replace(partition=record.partition)
    first.store([Position(partition, epoch, 3, "e1:finished beyond")])
    assert await first.close(SECONDS)

    _, after = join(group, topic)
    await after.until_received(2)

    assert after.owned()[partition].position == 3
    assert after.owned()[partition].metadata == "e1:finished beyond"
    assert [record.offset for record in after.records] == [3, 4]
    assert {a.position for p, a in after.owned().items() if p != partition} == {None}


async def test_what_is_not_stored_comes_again(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    produce(producer, topic, 3)
    first, before = join(group, topic)
    await before.until_received(3)
    await first.close(SECONDS)
    _, after = join(group, topic)
    await after.until_received(3)

    assert [record.offset for record in after.records] == [0, 1, 2]
    assert backend.committed(group, topic) == {}


async def test_stored_positions_are_committed(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    produce(producer, topic, 3)
    member, sink = join(group, topic)
    await sink.until_received(3)
    epoch, record = sink.seen[0]
    partition = sink.assignments[0].partition._replace(partition=record.partition)
    member.store([Position(partition, epoch, 2, "e1:x")])

    await eventually(lambda: backend.committed(group, topic) == {record.partition: (2, "e1:x")})


async def test_group_behind_log_starts_over(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic(partitions=1)
    produce(producer, topic, 6)
    first, before = join(group, topic)
    await before.until_received(6)
    first.store([Position(before.assignments[0].partition, before.seen[0][0], 1)])
    assert await first.close(SECONDS)
    await asyncio.to_thread(backend.delete_before, topic, 4)
    _, after = join(group, topic)
    await after.until_received(2)

    assert after.assignments[0].position == 1
    assert after.losses == [(after.assignments[0].epoch, Loss(1, 4, "retention"))]
    assert [record.offset for record in after.records] == [4, 5]


# Members that come and go


async def test_second_member_gets_a_share(backend: Backend, join: Join, group: str) -> None:
    topic = backend.create_topic(partitions=4)
    _, first = join(group, topic)
    await first.until_owning(4)
    kept = first.owned()
    _, second = join(group, topic)
    await second.until_owning(2)
    await first.until_owning(2)

    assert len(first.ended) == 2
    assert first.gone == []
    assert first.owned().items() <= kept.items()
    assert sorted([*first.owned(), *second.owned()]) == sorted(kept)


async def test_new_owner_waits_for_the_former_ones_offset(
    backend: Backend, producer: Reports, join: Join, group: str
) -> None:
    topic = backend.create_topic(partitions=4)
    for number in range(4):
        produce(producer, topic, 3, key=next(k for k in KEYS if partition_of(k, 4) == number))
    member, first = join(group, topic, hold=True)
    await first.until_received(12)
    _, second = join(group, topic)
    await first.until(lambda: len(first.held) == 1)
    moved = {a.partition: a for a in first.assignments if a.epoch in first.ended}
    member.store([Position(p, a.epoch, 2, "e1:last") for p, a in moved.items()])
    assert second.owned() == {}
    first.held.pop()()
    await second.until_owning(2)
    await second.until_received(2)

    assert {(a.partition, a.position, a.metadata) for a in second.assignments} == {(p, 2, "e1:last") for p in moved}
    assert sorted((record.partition, record.offset) for record in second.records) == sorted(
        (p.partition, 2) for p in moved
    )


KEYS: Final = [b"tenant-%d" % number for number in range(50)]


async def test_former_owner_commits_nothing(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic(partitions=4)
    for number in range(4):
        produce(producer, topic, 3, key=next(k for k in KEYS if partition_of(k, 4) == number))
    member, first = join(group, topic)
    await first.until_received(12)
    heir, second = join(group, topic)
    await second.until_owning(2)
    await second.until_received(6)
    moved = {a.partition: a for a in first.assignments if a.epoch in first.ended}
    kept = first.owned()

    heir.store([Position(p, a.epoch, 3, "heir") for p, a in second.owned().items()])
    await eventually(lambda: len(backend.committed(group, topic)) == 2)
    member.store([Position(p, a.epoch, 1, "former") for p, a in moved.items()])
    member.store([Position(p, a.epoch, 2, "owner") for p, a in kept.items()])
    await eventually(lambda: len(backend.committed(group, topic)) == 4)
    assert await member.close(SECONDS)

    expected = {p.partition: (3, "heir") for p in moved} | {p.partition: (2, "owner") for p in kept}
    assert backend.committed(group, topic) == expected


async def test_position_of_an_earlier_epoch_is_ignored(
    backend: Backend, producer: Reports, join: Join, group: str
) -> None:
    topic = backend.create_topic(partitions=4)
    for number in range(4):
        produce(producer, topic, 3, key=next(k for k in KEYS if partition_of(k, 4) == number))
    member, first = join(group, topic)
    await first.until_received(12)
    guest, second = join(group, topic)
    await second.until_owning(2)
    moved = {a.partition: a.epoch for a in first.assignments if a.epoch in first.ended}
    kept = first.owned()
    assert await guest.close(SECONDS)
    await first.until_owning(4)
    member.store([Position(p, epoch, 1, "earlier") for p, epoch in moved.items()])
    member.store([Position(p, a.epoch, 2, "now") for p, a in kept.items()])
    await eventually(lambda: len(backend.committed(group, topic)) == 2)
    assert await member.close(SECONDS)

    assert backend.committed(group, topic) == {p.partition: (2, "now") for p in kept}


async def test_left_partitions_go_to_others(backend: Backend, join: Join, group: str) -> None:
    topic = backend.create_topic(partitions=4)
    _, first = join(group, topic)
    await first.until_owning(4)
    leaving, second = join(group, topic)
    await second.until_owning(2)
    assert await leaving.close(SECONDS)
    await first.until_owning(4)

    epochs = [assignment.epoch for assignment in first.assignments]
    assert epochs == sorted(set(epochs))
    assert second.ended == second.gone == []


# Intake


async def test_member_without_demand_gets_no_more(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    member, sink = join(group, topic, asks=False)
    await sink.until_owning(4)
    for calls in range(1, MAX_OUTSTANDING + 1):
        produce(producer, topic, 1)
        await sink.until_received(calls)
    _, other = join(new_name("other"), topic)
    produce(producer, topic, 1)
    await other.until_received(MAX_OUTSTANDING + 1)
    assert sink.calls == MAX_OUTSTANDING
    member.request_batch()
    await sink.until_received(MAX_OUTSTANDING + 1)

    assert [record.offset for record in sink.records] == list(range(MAX_OUTSTANDING + 1))


async def test_paused_member_stays_a_member(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    member, sink = join(group, topic, paused=True)
    await sink.until_owning(4)
    produce(producer, topic, 3)
    _, other = join(new_name("other"), topic)
    await other.until_received(3)
    assert sink.records == []
    member.pause(())
    await sink.until_received(3)

    assert [record.offset for record in sink.records] == [0, 1, 2]
    assert sink.ended == sink.gone == []


async def test_paused_partition_is_not_read(backend: Backend, producer: Reports, join: Join, group: str) -> None:
    topic = backend.create_topic()
    member, sink = join(group, topic)
    await sink.until_owning(4)
    paused = TopicPartition(topic, partition_of(b"t1", 4))
    other = next(key for tenant in tenants(100) if partition_of(key := tenant.encode(), 4) != paused.partition)
    produce(producer, topic, 1)
    await sink.until_received(1)
    member.pause([sink.owned()[paused].epoch])
    produce(producer, topic, 1, other)
    await sink.until_received(2)  # whatever the client was waiting for when it was told
    produce(producer, topic, 3)
    produce(producer, topic, 3, other)
    await sink.until_received(5)

    assert [record.key for record in sink.records[1:]] == [other] * 4
    member.pause(())
    await sink.until_received(8)
    assert [record.offset for record in sink.records if record.key == b"t1"] == [0, 1, 2, 3]


async def test_lost_paused_partition_is_read_when_back(
    backend: Backend, producer: Reports, join: Join, group: str
) -> None:
    topic = backend.create_topic()
    member, sink = join(group, topic)
    await sink.until_owning(4)
    for tenant in tenants(100):
        producer.produce(topic, key=tenant.encode())
    await sink.until_received(100)
    member.pause("all")
    await asyncio.sleep(0.3)  # until the client was told
    second, other = join(group, topic)
    await other.until_owning(2)
    member.pause(())
    await second.close(SECONDS)
    await sink.until_owning(4)
    before = len(sink.records)  # those that were read before the pause may come again: nothing was stored
    for tenant in tenants(100):
        producer.produce(topic, b"late", tenant.encode())
    await sink.until(lambda: sum(record.value == b"late" for record in sink.records) >= 100)

    assert {record.partition for record in sink.records[before:]} == {0, 1, 2, 3}


# Producers and errors


def test_oversized_record_is_refused(backend: Backend, producer: Reports) -> None:
    topic = backend.create_topic(max_message_bytes=2000)
    for size in (1000, 3000, 1000):
        producer.produce(topic, b"x" * size)
        producer.all()

    small, large, small_again = producer.all()
    assert isinstance(small, Acknowledgement)
    assert isinstance(large, DeliveryFailure)
    assert (large.reason, large.unknown) == ("MSG_SIZE_TOO_LARGE", False)
    assert isinstance(small_again, Acknowledgement)


def test_missing_topic_is_named(producer: Reports) -> None:
    producer.produce(new_name("missing"))

    (failure,) = producer.all()
    assert isinstance(failure, DeliveryFailure)
    assert failure.reason in {"_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART"}
    assert not failure.unknown


def test_flush_waits_for_all_reports(backend: Backend) -> None:
    topic, transport = backend.create_topic(), backend.producer()
    reports = Reports(transport)
    transport.start(reports.told)
    for _ in range(100):
        reports.produce(topic)

    assert transport.flush(SECONDS) == 0
    assert len(reports.outcomes) == 100
    transport.close()


def test_closed_producer_takes_nothing(backend: Backend) -> None:
    topic, transport = backend.create_topic(), backend.producer()
    transport.start(lambda: None)
    transport.close()

    with pytest.raises(ProducerStateError, match="closed"):
        transport.produce(OutgoingRecord(topic, b"t1", b"{}", ()), lambda _outcome: None)


def test_tables_name_existing_tests() -> None:
    assert {name for table in CANNOT.values() for name in table} | PROTOCOL_TESTS <= globals().keys()
