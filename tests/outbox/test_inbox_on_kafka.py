"""The inbox on a real Kafka and a real PostgreSQL: members die and freeze, and each effect is there once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from tests.outbox.inbox_members import InboxMembers
from tests.waiting import until

from eventzr_kafka import CloudEvent, KafkaSettings
from eventzr_kafka.outbox import Outbox, OutboxRelay, read_status
from eventzr_kafka.testing.kafka_server import KafkaServer

EVENTS, TENANTS = 1_500, 100


async def test_each_effect_is_there_once_when_members_die(
    postgres_engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic(partitions=4)
    await relay(postgres_engine, kafka, name)
    members = InboxMembers(postgres_engine, kafka.bootstrap_servers, name, tmp_path / "journal")
    await members.prepare()
    await members.book(EVENTS, ends=3, seconds=200)
    effects = await members.effects()
    assert set(effects) == {str(number) for number in range(EVENTS)}
    assert [event_id for event_id, count in effects.items() if count > 1] == []
    assert members.skipped() > 0


async def relay(engine: AsyncEngine, kafka: KafkaServer, topic: str) -> None:
    """Publish every event through the outbox, and every tenth of them again."""
    outbox = Outbox()
    async with AsyncSession(engine) as session, session.begin():
        for number in [*range(EVENTS), *range(0, EVENTS, 10)]:
            tenant = f"t{number % TENANTS}"
            outbox.publish(session, CloudEvent(id=str(number), source="s", type=topic, tenantid=tenant))

    async def is_empty() -> bool:
        return (await read_status(engine)).pending == 0

    async with OutboxRelay(engine, KafkaSettings(brokers=kafka.bootstrap_servers)):
        await until(is_empty)
