"""What the contract suite cannot ask of other brokers: crashes, expulsions, outages, faults, and the same again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
from tests.contract.sink import Sink

from eventzr_kafka import CloudEvent, ConsumerRunner, EventData, EventProducer, kafka_consumer, on_message
from eventzr_kafka.engine.commit_metadata import ranges_of, write_metadata
from eventzr_kafka.errors import ConfigurationError, DeliveryError, TransportError
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import OutgoingRecord, TopicPartition
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryFailure, DeliveryOutcome, Position
from eventzr_kafka.testing import DeliveryFault, MemoryBroker, MemoryBrokerOptions, run_virtual
from eventzr_kafka.testing._memory_consumer import MemoryConsumer
from eventzr_kafka.testing._memory_group import balance
from eventzr_kafka.testing._partitioner import murmur2

TOPIC = "memory.thing.happened.v1"
GROUP = "group"
SHAKY = MemoryBrokerOptions(
    batch=(1, 7),
    fetch_delay=(0, 0.2),
    append_delay=(0, 0.05),
    acknowledgement_delay=(0, 0.3),
    rebalance_delay=(0, 3),
    commit_interval=(0.5, 1.5),
    lost_delay=(0, 2),
)
Outcome: TypeAlias = DeliveryOutcome


class Thing(EventData, topic=TOPIC):
    n: int


def handler(handle: Callable[[CloudEvent[Thing]], Coroutine[Any, Any, None]]) -> object:
    @kafka_consumer(group_id=GROUP)
    class Handler:
        @on_message(Thing)
        async def handle(self, event: CloudEvent[Thing]) -> None:
            await handle(event)

    return Handler()


def member(broker: MemoryBroker, *, hold: bool = False) -> tuple[MemoryConsumer, Sink]:
    transport = broker.consumer(GROUP, ConsumerOptions(drain_timeout=5))
    sink = Sink(transport, hold=hold)
    transport.start([TOPIC], sink)
    return transport, sink


def fill(broker: MemoryBroker, count: int, *, partition: int | None = None) -> None:
    for number in range(count):
        broker.append(TOPIC, b"%d" % number, partition=number % 4 if partition is None else partition)


def store_all(transport: MemoryConsumer, sink: Sink) -> None:
    last = dict(sink.seen)
    transport.store([Position(TopicPartition(TOPIC, r.partition), e, r.offset + 1, "") for e, r in last.items()])


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topics(TOPIC)
    return broker


# The whole way, again and again


async def trouble(broker: MemoryBroker) -> Counter[int]:
    """Three members handle 300 events; one crashes, one is cut off for a minute, the brokers go down for 20 s."""
    handled = Counter[int]()

    async def handle(event: CloudEvent[Thing]) -> None:
        await asyncio.sleep(0.1 * (event.data.n % 7))
        handled[event.data.n] += 1

    broker.create_topics(TOPIC)
    runners = [ConsumerRunner(handler(handle), clients=broker) for _ in range(3)]
    async with runners[0], runners[1], runners[2], EventProducer(source="s", transport=broker.producer) as producer:
        deliveries = [producer.enqueue(Thing(n=n), tenant_id=f"t{n % 20}") for n in range(300)]
        await asyncio.sleep(5)
        broker.crash(broker.members(GROUP)[0])
        cut_off = broker.members(GROUP)[1]
        broker.isolate(cut_off)
        await asyncio.sleep(60)
        broker.stop()
        await asyncio.sleep(20)
        broker.start()
        broker.heal(cut_off)
        await asyncio.sleep(10)
        for delivery in deliveries:
            await delivery
        while broker.lag(GROUP, TOPIC):  # noqa: ASYNC110 -- the broker tells nobody
            await asyncio.sleep(1)
    return handled


@pytest.mark.parametrize("seed", range(5))
def test_one_seed_makes_one_history_and_no_event_is_lost(seed: int) -> None:
    brokers = [MemoryBroker(seed=seed, options=SHAKY) for _ in range(2)]
    handled = [run_virtual(trouble(broker), seed=seed) for broker in brokers]

    assert handled[0].keys() == set(range(300))
    assert repr(brokers[0].history) == repr(brokers[1].history)
    assert len(brokers[0].records(TOPIC)) == 300
    assert {"crashed", "expelled", "lost", "revoked", "committed"} <= {fact[1] for fact in brokers[0].history}


def test_other_seed_changes_history() -> None:
    brokers = [MemoryBroker(seed=seed, options=SHAKY) for seed in (1, 2)]
    for broker in brokers:
        run_virtual(trouble(broker))
    assert brokers[0].history != brokers[1].history


async def test_ordinary_loop_works_too(broker: MemoryBroker) -> None:
    seen: list[int] = []

    async def handle(event: CloudEvent[Thing]) -> None:
        seen.append(event.data.n)

    runner = ConsumerRunner(handler(handle), clients=broker)
    async with asyncio.timeout(10):
        async with runner, EventProducer(source="s", transport=broker.producer) as producer:
            results = [await producer.publish(Thing(n=n), tenant_id="t1") for n in range(3)]
            while len(seen) < 3:  # noqa: ASYNC110 -- the loop is never idle for long
                await asyncio.sleep(0)

    assert [result.offset for result in results] == seen == [0, 1, 2]
    assert sum(broker.committed(GROUP, TOPIC).values()) == 3


def test_producer_needs_no_event_loop(broker: MemoryBroker) -> None:
    with EventProducer(source="s", transport=broker.producer) as producer:
        assert producer.enqueue(Thing(n=1), tenant_id="t1").result(10).offset == 0


# Members


def test_uncommitted_events_of_a_crashed_member_are_redelivered(
    broker: MemoryBroker,
) -> None:
    async def main() -> None:
        first, before = member(broker)
        fill(broker, 8)
        await before.until_received(8)
        store_all(first, before)  # and dies before the next commit
        broker.crash(first)
        started = asyncio.get_running_loop().time()
        _, after = member(broker)
        await after.until_received(8, seconds=100)

        assert asyncio.get_running_loop().time() - started == pytest.approx(45, abs=1)
        assert after.owned().keys() == before.owned().keys()
        assert after.rounds == 1
        assert before.ended == before.gone == []
        assert broker.committed(GROUP, TOPIC) == {}
        assert not await first.close(1)

    run_virtual(main())


def test_member_cut_off_for_long_loses_all_and_rejoins(broker: MemoryBroker) -> None:
    async def main() -> None:
        first, sink = member(broker)
        fill(broker, 4)
        await sink.until_received(4)
        broker.isolate(first)
        store_all(first, sink)
        _, heir = member(broker)
        await heir.until_received(4, seconds=100)
        assert len(sink.gone) == 4
        broker.heal(first)
        await heir.until_owning(2)
        await sink.until_owning(2)

        assert broker.committed(GROUP, TOPIC) == {}
        assert [a.epoch for a in sink.owned().values()] == [5, 6]
        assert len(broker.members(GROUP)) == 2

    run_virtual(main())


def test_member_cut_off_briefly_keeps_its_partitions(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport, sink = member(broker)
        await sink.until_owning(4)
        broker.isolate(transport)
        fill(broker, 4)
        await asyncio.sleep(30)
        assert sink.seen == []
        broker.heal(transport)
        await sink.until_received(4)
        assert sink.gone == sink.ended == []

    run_virtual(main())


def test_member_that_hands_over_too_late_is_not_waited_for(broker: MemoryBroker) -> None:
    async def main() -> None:
        _, first = member(broker, hold=True)
        await first.until_owning(4)
        started = asyncio.get_running_loop().time()
        _, second = member(broker)
        await second.until_owning(2)
        assert asyncio.get_running_loop().time() - started == pytest.approx(5 + 1, abs=0.1)

    run_virtual(main())


def test_rounds_do_not_overlap(broker: MemoryBroker) -> None:
    async def main() -> None:
        _, first = member(broker, hold=True)
        await first.until_owning(4)
        _, second = member(broker)
        await first.until(lambda: len(first.held) == 1)
        _, third = member(broker)
        await asyncio.sleep(3)
        assert len(first.held) == 1
        assert third.rounds == 0
        first.held.pop()()
        await first.until(lambda: len(first.owned()) + len(second.owned()) + len(third.owned()) == 4)
        assert min(len(sink.owned()) for sink in (first, second, third)) == 1

    run_virtual(main())


def test_stranger_commits_nothing(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport, sink = member(broker)
        await sink.until_owning(4)
        (group,) = broker._groups.values()
        group.commit("stranger", [Position(TopicPartition(TOPIC, 0), 1, 1)])
        assert broker.committed(GROUP, TOPIC) == {}
        group.commit(transport.member_id, [Position(TopicPartition(TOPIC, 0), 1, 1)])
        assert broker.committed(GROUP, TOPIC) == {0: 1}

    run_virtual(main())


def test_group_waits_for_its_topic() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        _, sink = member(broker)
        await asyncio.sleep(60)
        assert sink.rounds == 0
        broker.create_topics(TOPIC, partitions=2)
        await sink.until_owning(2)

    run_virtual(main())


def test_client_that_gives_up_stops(broker: MemoryBroker) -> None:
    async def ignore(_event: CloudEvent[Thing]) -> None:
        pass

    async def main() -> None:
        async with ConsumerRunner(handler(ignore), clients=broker) as runner:
            await runner.ready()
            broker.fail(broker.members(GROUP)[0], "GROUP_AUTHORIZATION_FAILED")
            await runner.wait()

    with pytest.raises(TransportError, match="GROUP_AUTHORIZATION_FAILED"):
        run_virtual(main())


# Balance


@pytest.mark.parametrize("members", range(1, 7))
def test_partitions_are_spread_evenly_with_the_fewest_moves(members: int) -> None:
    partitions = [TopicPartition("t", number) for number in range(6)]
    before = balance({f"m{n}": partitions for n in range(members)}, {})
    after = balance({f"m{n}": partitions for n in range(members + 1)}, before)
    moved = [partition for partition in partitions if before[partition] != after[partition]]

    assert max(Counter(before.values()).values()) - min(Counter(before.values()).values()) <= 1
    assert {after[partition] for partition in moved} <= {f"m{members}"}
    assert len(moved) == 6 // (members + 1)


def test_unsubscribed_topic_is_not_given() -> None:
    a, b = [TopicPartition("a", n) for n in range(4)], [TopicPartition("b", n) for n in range(2)]
    found = balance({"m1": [*a, *b], "m2": b}, dict.fromkeys([*a, *b], "m1"))
    assert found == {**dict.fromkeys(a, "m1"), **dict.fromkeys(b, "m2")}


# The log


def test_member_overtaken_by_retention_goes_on_at_the_earliest(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport, sink = member(broker)
        await sink.until_owning(4)
        transport.pause("all")
        fill(broker, 10, partition=0)
        broker.delete_records(TOPIC, 0, 7)
        transport.pause(())
        await sink.until_received(3)
        assert [record.offset for record in sink.records] == [7, 8, 9]
        assert sink.losses == [(sink.seen[0][0], Loss(0, 7, "retention"))]

    run_virtual(main())


def test_recreated_topic_goes_back(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport, sink = member(broker)
        fill(broker, 5, partition=0)
        await sink.until_received(5)
        store_all(transport, sink)
        await asyncio.sleep(2)
        assert broker.committed(GROUP, TOPIC) == {0: 5}
        broker.recreate_topic(TOPIC)
        fill(broker, 2, partition=0)
        await sink.until_received(7)
        assert [record.offset for record in sink.records] == [0, 1, 2, 3, 4, 0, 1]
        assert sink.seen[0][0] in sink.gone
        assert Loss(5, None, "recreated") in [a.loss for a in sink.assignments]
        assert broker.committed(GROUP, TOPIC) == {}

    run_virtual(main())


def test_member_that_stops_at_a_loss_receives_no_later_record(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport = broker.consumer(GROUP, ConsumerOptions(on_offset_lost="stop"))
        transport.start([TOPIC], sink := Sink(transport))
        await sink.until_owning(4)
        transport.pause("all")
        fill(broker, 10, partition=0)
        broker.delete_records(TOPIC, 0, 7)
        transport.pause(())
        await asyncio.sleep(2)
        assert sink.records == []
        assert sink.passed_to == {}
        assert [loss for _, loss in sink.losses] == [Loss(0, 7, "retention")]

    run_virtual(main())


def test_metadata_is_cut_to_the_limit() -> None:
    broker = MemoryBroker(options=MemoryBrokerOptions(max_metadata_bytes=40))
    broker.create_topics(TOPIC)
    metadata = write_metadata(1, ranges_of(sorted(random.Random(1).sample(range(2, 900), 400))))  # noqa: S311

    async def main() -> None:
        transport, sink = member(broker)
        await sink.until_owning(4)
        first = sink.assignments[0]
        transport.store([Position(first.partition, first.epoch, 1, metadata)])
        await transport.close(5)
        assert 0 < len(broker.metadata(GROUP, TOPIC, first.partition.partition)) <= 40

    run_virtual(main())


def test_compaction_keeps_the_last_record_of_each_key_with_gaps(broker: MemoryBroker) -> None:
    for key in (b"a", b"b", b"a", None, b"b"):
        broker.append(TOPIC, b"", key=key, partition=0)
    broker.compact(TOPIC)
    assert [(r.offset, r.key) for r in broker.records(TOPIC, 0)] == [(2, b"a"), (3, None), (4, b"b")]


def test_no_topic_is_created_by_surprise() -> None:
    broker = MemoryBroker()
    with pytest.raises(ConfigurationError, match="create_topics"):
        broker.append("nowhere", b"")
    broker.create_topics(TOPIC)
    with pytest.raises(ConfigurationError, match="exists already"):
        broker.create_topics(TOPIC)


# The vectors of Apache Kafka's own test, UtilsTest.testMurmur2.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_key_hash_equals_javas_murmur2(key: bytes) -> None:
    assert murmur2(key) == JAVA[key] % 2**32


# Producing


class Reports:
    """A started producer and what it was told."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.transport = broker.producer()
        self.transport.start(lambda: None)
        self.outcomes: list[tuple[int, Outcome]] = []
        self._sent = 0

    def produce(self, count: int = 1) -> list[bool]:
        return [self._produce() for _ in range(count)]

    def _produce(self) -> bool:
        number, self._sent = self._sent, self._sent + 1
        record = OutgoingRecord(TOPIC, b"t1", b"%d" % number, ())
        return self.transport.produce(record, lambda outcome: self.outcomes.append((number, outcome)))

    @property
    def failed(self) -> dict[int, str]:
        return {number: outcome.reason for number, outcome in self.outcomes if isinstance(outcome, DeliveryFailure)}


def values(broker: MemoryBroker) -> list[int]:
    return [int(record.value or b"") for record in broker.records(TOPIC)]


REFUSED = DeliveryFailure("POLICY_VIOLATION", "Broker: Policy violation", unknown=False)
TIMED_OUT = DeliveryFailure("REQUEST_TIMED_OUT", "Broker: Request timed out", unknown=True)


@pytest.mark.parametrize(
    ("fault", "in_the_log", "reported"),
    [
        (DeliveryFault(failure=REFUSED), [0, 2], [(0, None), (1, "POLICY_VIOLATION"), (2, None)]),
        (DeliveryFault(failure=TIMED_OUT, arrives=True), [0, 1, 2], [(0, None), (1, "REQUEST_TIMED_OUT"), (2, None)]),
        (DeliveryFault(retries=3), [0, 1, 2], [(0, None), (1, None), (2, None)]),
        (DeliveryFault(late=30), [0, 1, 2], [(0, None), (1, None), (2, None)]),
        (DeliveryFault(copies=2), [0, 1, 1, 2], [(0, None), (1, None), (2, None)]),
        (DeliveryFault(reports=2), [0, 1, 2], [(0, None), (1, None), (1, None), (2, None)]),
    ],
    ids=lambda value: str(value) if isinstance(value, DeliveryFault) else "",
)
def test_fault_hits_the_chosen_record(
    broker: MemoryBroker, fault: DeliveryFault, in_the_log: list[int], reported: list[tuple[int, str | None]]
) -> None:
    async def main() -> None:
        reports = Reports(broker)
        broker.inject(fault, where=lambda record: record.value == b"1")
        reports.produce(3)
        await asyncio.sleep(60)
        assert values(broker) == in_the_log
        assert [(number, getattr(outcome, "reason", None)) for number, outcome in reports.outcomes] == reported

    run_virtual(main())


def test_fault_reaches_any_publisher(broker: MemoryBroker) -> None:
    async def main() -> None:
        async with EventProducer(source="s", transport=broker.producer) as producer:
            broker.inject(DeliveryFault(failure=REFUSED), topic=TOPIC)
            with pytest.raises(DeliveryError, match="POLICY_VIOLATION"):
                await producer.publish(Thing(n=1), tenant_id="t1")
            assert (await producer.publish(Thing(n=1), tenant_id="t1")).offset == 0

    run_virtual(main())


def test_records_of_a_partition_stay_in_order_despite_delays() -> None:
    async def main() -> None:
        broker = MemoryBroker(options=SHAKY)
        broker.create_topics(TOPIC)
        reports = Reports(broker)
        reports.produce(50)
        await asyncio.sleep(5)
        assert values(broker) == [number for number, _ in reports.outcomes] == list(range(50))

    run_virtual(main())


def test_full_queue_takes_no_record_until_one_is_acknowledged() -> None:
    async def main() -> None:
        broker = MemoryBroker(options=MemoryBrokerOptions(queue_size=2))
        broker.create_topics(TOPIC)
        reports = Reports(broker)
        assert reports.produce(3) == [True, True, False]
        await asyncio.sleep(1)
        assert reports.produce() == [True]

    run_virtual(main())


def test_records_produced_in_an_outage_arrive_in_order(broker: MemoryBroker) -> None:
    async def main() -> None:
        reports = Reports(broker)
        broker.stop()
        reports.produce(5)
        await asyncio.sleep(100)
        assert reports.outcomes == []
        broker.start()
        await asyncio.sleep(1)
        assert values(broker) == [0, 1, 2, 3, 4]
        assert [number for number, _ in reports.outcomes] == [0, 1, 2, 3, 4]

    run_virtual(main())


def test_long_outage_is_a_timeout_and_writes_each_record_once() -> None:
    async def main() -> None:
        broker = MemoryBroker(options=MemoryBrokerOptions(acknowledgement_delay=(1, 1)))
        broker.create_topics(TOPIC)
        reports = Reports(broker)
        reports.produce()
        await asyncio.sleep(0.5)  # it is in the log, the acknowledgement is on its way
        broker.stop()
        reports.produce()
        await asyncio.sleep(130)
        assert reports.failed == {0: "_MSG_TIMED_OUT", 1: "_MSG_TIMED_OUT"}
        broker.start()
        await asyncio.sleep(10)
        assert values(broker) == [0]

    run_virtual(main())


def test_acknowledgement_after_an_outage_has_the_right_offset() -> None:
    async def main() -> None:
        broker = MemoryBroker(options=MemoryBrokerOptions(acknowledgement_delay=(1, 1)))
        broker.create_topics(TOPIC)
        reports = Reports(broker)
        reports.produce()
        await asyncio.sleep(0.5)
        broker.stop()
        await asyncio.sleep(60)
        broker.start()
        await asyncio.sleep(5)
        (record,) = broker.records(TOPIC)
        assert reports.outcomes == [(0, Acknowledgement(record.partition, record.offset))]

    run_virtual(main())


def test_flush_waits_in_virtual_time_and_close_gives_up_the_rest(broker: MemoryBroker) -> None:
    async def main() -> None:
        reports = Reports(broker)
        broker.stop()
        reports.produce(2)
        assert await asyncio.to_thread(reports.transport.flush, 30) == 2
        assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1)
        reports.transport.close()
        assert reports.failed == {0: "_PURGE_QUEUE", 1: "_PURGE_QUEUE"}

    run_virtual(main())


# Brokers that go down


def test_members_lose_their_partitions_only_in_a_long_outage(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport, sink = member(broker)
        await sink.until_owning(4)
        broker.stop()
        await asyncio.sleep(30)
        broker.start()
        fill(broker, 4)
        await sink.until_received(4)
        assert sink.gone == []
        store_all(transport, sink)
        broker.stop()
        await asyncio.sleep(60)
        assert len(sink.gone) == 4
        broker.start()
        await sink.until_received(8)
        assert not broker.committed(GROUP, TOPIC)

    run_virtual(main())


def test_leaving_without_a_broker_times_out_and_commits_nothing(broker: MemoryBroker) -> None:
    async def main() -> None:
        transport, sink = member(broker)
        fill(broker, 1)
        await sink.until_received(1)
        store_all(transport, sink)
        broker.stop()
        assert not await transport.close(10)
        assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.1)
        assert broker.committed(GROUP, TOPIC) == {}

    run_virtual(main())
