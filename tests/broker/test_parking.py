"""`park_key` on a real Kafka: what follows a dead letter in its lane goes the same way until it is replayed."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka import Producer
from tests.waiting import until

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent.log_reader import ConfluentLogReader
from eventzr_kafka.dead_letters.letter import Letter, Note, dead_letter_topic, read_letter, write_note
from eventzr_kafka.errors import Reject

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

SECONDS: Final = 60.0
TENANTS: Final = [f"tenant-{number}" for number in range(12)]
PARKED: Final = TENANTS[::2]


class Group:
    """A group that rejects event 1 of every other tenant, and what it has handled."""

    def __init__(self, kafka: KafkaServer, topic: str) -> None:
        self.handled: dict[str, list[int]] = defaultdict(list)
        self.id = f"group.{uuid.uuid4().hex[:8]}"
        self.settings = KafkaSettings(brokers=kafka.bootstrap_servers)
        self._topic = topic
        kafka.create_topic(dead_letter_topic(self.id), partitions=3)

    @contextlib.asynccontextmanager
    async def member(self) -> AsyncGenerator[list[int]]:
        """Run a member; gives the data of the events that it has handled."""
        own: list[int] = []

        @kafka_consumer(group_id=self.id, after_dead_letter="park_key")
        class Handler:
            @on_message(self._topic)
            async def handle(_self, event: CloudEvent[Any]) -> None:  # noqa: N805 -- self is the group
                await asyncio.sleep(0)
                if event.tenantid in PARKED and event.data == 1:
                    raise Reject("not this one")
                self.handled[event.tenantid].append(event.data)
                own.append(event.data)

        async with ConsumerRunner(Handler(), settings=self.settings) as runner:
            await runner.ready()
            yield own

    async def publish(self, numbers: Iterable[int]) -> None:
        """Publish events with these data for every tenant."""
        async with EventProducer(settings=self.settings) as producer:
            for number in numbers:
                for tenant in TENANTS:
                    producer.enqueue(event(self._topic, tenant, number))

    def letters(self) -> dict[str, list[Letter]]:
        """The dead letters of each tenant, in their order."""
        found: dict[str, list[Letter]] = defaultdict(list)
        for records in ConfluentLogReader(self.settings, self.id).read(dead_letter_topic(self.id)) or ():
            for letter in filter(None, map(read_letter, records)):
                found[(letter.record.key or b"").decode()].append(letter)
        return found

    def parked(self) -> dict[str, list[int]]:
        """The numbers in the ids of the dead letters of each tenant."""
        return {
            tenant: [int((letter.facts.event_id or "").rpartition("-")[2]) for letter in letters]
            for tenant, letters in self.letters().items()
        }

    async def until_parked(self, numbers: Iterable[int]) -> None:
        """Wait until these are the dead letters of each tenant that has any."""
        expected = {tenant: list(numbers) for tenant in PARKED}
        while (found := await asyncio.to_thread(self.parked)) != expected:
            assert all(len(found.get(tenant, [])) <= len(expected[tenant]) for tenant in PARKED), found
            await asyncio.sleep(0.1)

    def close_letters(self) -> None:
        """Write by hand what a replay writes."""
        producer = Producer({"bootstrap.servers": self.settings.brokers})
        for letter in (letter for letters in self.letters().values() for letter in letters):
            note = Note(kind="replayed", origin=letter.origin, timestamp=letter.record.timestamp, at=time.time())
            out = write_note(self.id, letter.record.key, note)
            producer.produce(out.topic, out.value, out.key, headers=list(out.headers))
        assert producer.flush(SECONDS) == 0


def event(topic: str, tenant: str, number: int) -> CloudEvent[Any]:
    return CloudEvent[Any](id=f"{tenant}-{number}", source="test", type=topic, tenantid=tenant, data=number)


@pytest.fixture
def group(kafka: KafkaServer, topic: TopicFactory) -> Group:
    return Group(kafka, topic())


def free_tenants_have(group: Group, numbers: Iterable[int]) -> bool:
    return all(group.handled[tenant] == list(numbers) for tenant in TENANTS if tenant not in PARKED)


async def test_events_follow_the_dead_letter_of_their_key_and_no_other(group: Group) -> None:
    async with asyncio.timeout(SECONDS), group.member():
        await group.publish(range(10))
        await group.until_parked(range(1, 10))
        await until(lambda: free_tenants_have(group, range(10)))
    assert {tenant: group.handled[tenant] for tenant in PARKED} == {tenant: [0] for tenant in PARKED}


async def test_key_stays_parked_over_a_restart_until_it_is_replayed(group: Group) -> None:
    async with asyncio.timeout(SECONDS):
        async with group.member():
            await group.publish(range(5))
            await group.until_parked(range(1, 5))
        async with group.member():
            await group.publish(range(5, 10))
            await group.until_parked(range(1, 10))
            await asyncio.to_thread(group.close_letters)
            await group.publish(range(10, 15))
            await until(lambda: free_tenants_have(group, range(15)))
            await until(lambda: all(group.handled[tenant][-1:] == [14] for tenant in PARKED))
    assert {tenant: group.handled[tenant] for tenant in PARKED} == {tenant: [0, *range(10, 15)] for tenant in PARKED}


async def test_key_stays_parked_on_the_next_owner_of_its_partition(group: Group) -> None:
    async with asyncio.timeout(SECONDS):
        async with group.member() as first:
            await group.publish(range(5))
            await group.until_parked(range(1, 5))
            async with group.member() as second:
                await group.publish(range(5, 10))
                await group.until_parked(range(1, 10))
                await until(lambda: free_tenants_have(group, range(10)))
                assert set(second) == set(range(5, 10))  # it has got some partitions
            await group.publish(range(10, 15))  # and all of them go back to the first
            await group.until_parked(range(1, 15))
            await until(lambda: free_tenants_have(group, range(15)))
            assert set(first) == set(range(15))
