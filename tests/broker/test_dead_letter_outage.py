"""Dead letters that cannot be written for 20 s: nothing is lost or committed past, the runner says so, and recovers."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.broker.consuming import letters
from tests.waiting import eventually

from eventzr_kafka import CloudEvent, ConsumerRunner, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.dead_letters.letter import Letter, dead_letter_topic
from eventzr_kafka.engine.clients import RealClients
from eventzr_kafka.errors import Reject
from eventzr_kafka.testing.kafka_server import KafkaServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.engine.clients import Clients

    Act: TypeAlias = Callable[[KafkaServer, str], None]

SECONDS: Final = 60.0
RECOVERY: Final = 15.0  # the longest pause between two tries is 10 s
REJECTED: Final = [f"rejected-{number}" for number in range(5)]
TENANTS: Final = [*[f"taken-{number}" for number in range(5)], *REJECTED]
EVENTS: Final = 4  # of each tenant; of the rejected ones the second is
ACLS: Final = "org.apache.kafka.tools.AclCommand"


class Group:
    """A group with rejected events; all tenants share one partition.

    Attributes:
        go: To be set when events may be rejected.
    """

    def __init__(self, kafka: KafkaServer) -> None:
        self.id = f"group.{uuid.uuid4().hex[:8]}"
        self.topic = f"topic-of-{self.id}"
        self.settings = KafkaSettings(brokers=kafka.bootstrap_servers)
        self.handled: Counter[tuple[str, int]] = Counter()
        self.go = asyncio.Event()
        self._first_rejected = -1
        kafka.create_topic(self.topic, partitions=1)

    def runner(self, clients: Clients | None = None) -> ConsumerRunner:
        @kafka_consumer(group_id=self.id)
        class Handler:
            @on_message(self.topic)
            async def handle(_self, event: CloudEvent[Any]) -> None:  # noqa: N805 -- self is the group
                if event.tenantid in REJECTED and event.data == 1:
                    await self.go.wait()
                    raise Reject("not this one")
                self.handled[event.tenantid, event.data] += 1

        return ConsumerRunner(Handler(), settings=self.settings, clients=clients)

    async def publish(self) -> None:
        async with EventProducer(settings=self.settings) as producer:
            for number in range(EVENTS):
                for tenant in TENANTS:
                    result = await producer.publish(event(self.topic, tenant, number))
                    if (tenant, number) == (REJECTED[0], 1):
                        self._first_rejected = result.offset or -1

    @property
    def waits(self) -> bool:
        """Whether all is handled but the rejected events and what follows them."""
        free = {(tenant, n) for tenant in TENANTS for n in range(EVENTS) if tenant not in REJECTED or n == 0}
        return set(self.handled) == free

    def is_at_the_first_rejected(self) -> bool:
        return self._committed() == self._first_rejected

    def has_not_passed_the_first_rejected(self) -> bool:
        return self._committed() <= self._first_rejected

    def is_at_the_end(self) -> bool:
        return self._committed() == EVENTS * len(TENANTS)

    def _committed(self) -> int:
        client = Consumer({"bootstrap.servers": self.settings.brokers, "group.id": self.id})
        try:
            (found,) = client.committed([TopicPartition(self.topic, 0)], SECONDS)
        except KafkaException:  # a broker that has just come back does not coordinate yet
            return -1
        finally:
            client.close()
        return found.offset

    def has_all_outcomes(self) -> bool:
        """Whether every event was handled once, or is a dead letter."""
        events = {(tenant, n) for tenant in TENANTS for n in range(EVENTS)}
        rejected = {(tenant, 1) for tenant in REJECTED}
        ids = {letter.facts.event_id for letter in self.letters()}
        return dict(self.handled) == dict.fromkeys(events - rejected, 1) and ids == {f"{t}-{n}" for t, n in rejected}

    def letters(self) -> list[Letter]:
        return letters(self.settings, self.id)

    def lines(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        """What was said of its dead letters as a whole, without reasons and times."""
        said = [record.getMessage() for record in caplog.records]
        return [re.split(",| after ", line)[0] for line in said if line.startswith(f"{self.id}: dead letters")]

    def two_lines(self) -> list[str]:
        return [f"{self.id}: dead letters cannot be written", f"{self.id}: dead letters can be written again"]


def event(topic: str, tenant: str, number: int) -> CloudEvent[Any]:
    return CloudEvent[Any](id=f"{tenant}-{number}", source="test", type=topic, tenantid=tenant, data=number)


class Impatient(RealClients):
    """Its producer gives a record up after 3 s, and not after two minutes, when the broker is gone."""

    def producer(self, settings: KafkaSettings) -> ConfluentProducer:
        return ConfluentProducer(KafkaSettings(brokers=settings.brokers, librdkafka={"delivery.timeout.ms": 3000}))


# What may be wrong with the topic, and its mending


def create(kafka: KafkaServer, topic: str) -> None:
    kafka.create_topic(topic, partitions=2)


def deny(operation: str) -> Act:
    def act(kafka: KafkaServer, topic: str) -> None:
        create(kafka, topic)
        kafka.tool(ACLS, "--add", "--deny-principal", "User:*", "--operation", operation, "--topic", topic)

    return act


def allow(kafka: KafkaServer, topic: str) -> None:
    kafka.tool(ACLS, "--remove", "--force", "--topic", topic)


def nothing(_kafka: KafkaServer, _topic: str) -> None: ...


TROUBLES: Final[list[tuple[Act, Act, str]]] = [
    (nothing, create, "does not exist"),
    (deny("Write"), allow, "TOPIC_AUTHORIZATION_FAILED"),
    (deny("All"), allow, "TOPIC_AUTHORIZATION_FAILED"),
]


outages = pytest.mark.parametrize("away", [2.0, pytest.param(20.0, marks=pytest.mark.torture)])


async def survive(kafka: KafkaServer, away: float, break_it: Act, mend_it: Act, reason: str) -> Group:
    """Have a group live through one trouble."""
    group = Group(kafka)
    topic = dead_letter_topic(group.id)
    group.go.set()
    await asyncio.to_thread(break_it, kafka, topic)
    await group.publish()
    async with group.runner() as runner:
        await eventually(lambda: group.waits and bool(runner.problems))
        await asyncio.sleep(away)
        assert group.waits
        assert [reason in problem for problem in runner.problems] == [True]
        await eventually(group.is_at_the_first_rejected)
        await asyncio.to_thread(mend_it, kafka, topic)
        await eventually(lambda: not runner.problems and group.has_all_outcomes() and group.is_at_the_end(), RECOVERY)
    return group


@outages
async def test_refused_topic_loses_no_dead_letter(
    guarded_kafka: KafkaServer, away: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    survived = await asyncio.gather(*(survive(guarded_kafka, away, *trouble) for trouble in TROUBLES))
    for group in survived:
        assert group.lines(caplog) == group.two_lines()
        assert len(group.letters()) == len(REJECTED)


@outages
async def test_broker_outage_loses_no_dead_letter(
    guarded_kafka: KafkaServer, away: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    group = Group(guarded_kafka)
    create(guarded_kafka, dead_letter_topic(group.id))
    await group.publish()
    async with group.runner(Impatient()) as runner:
        await eventually(lambda: group.waits)
        await eventually(group.is_at_the_first_rejected)
        await asyncio.to_thread(guarded_kafka.kill)  # see test_forgotten_brokers
        group.go.set()
        await eventually(lambda: bool(runner.problems))
        await asyncio.sleep(away)
        assert group.waits
        assert len(runner.problems) == 1
        await asyncio.to_thread(guarded_kafka.start)
        assert group.has_not_passed_the_first_rejected()
        await eventually(lambda: not runner.problems and group.has_all_outcomes() and group.is_at_the_end(), RECOVERY)
    assert group.lines(caplog) == group.two_lines()
