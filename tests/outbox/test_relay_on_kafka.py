"""The relay on a real Kafka: order through refused batches and broker restarts, and the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from tests.waiting import until

from eventzr_kafka import CloudEvent, KafkaSettings
from eventzr_kafka._confluent import producer
from eventzr_kafka._confluent.oauth import make_client
from eventzr_kafka._confluent.producer import ConfluentProducer
from eventzr_kafka.outbox import Outbox, OutboxRelay, read_status
from eventzr_kafka.testing.kafka_server import KafkaServer

OUTBOX = Outbox()


@pytest.fixture(scope="session")
def kafka(own_kafka: KafkaServer) -> KafkaServer:
    """One that may be ended."""
    return own_kafka


async def publish(engine: AsyncEngine, topic: str, numbers: range, *, large: int | None = None, size: int = 1) -> None:
    async with AsyncSession(engine) as session, session.begin():
        for number in numbers:
            data = "x" * (20_000 if number == large else size)
            event = CloudEvent(id=str(number), source="s", type=topic, tenantid=f"t{number % 3}", data=data)
            OUTBOX.publish(session, event)


def appended(kafka: KafkaServer, topic: str, *, last: int) -> list[int]:
    """The event ids of a topic with one partition, duplicates left out, until the last one."""
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"}
    found: dict[int, None] = {}
    with contextlib.closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        deadline = time.monotonic() + 30
        while last not in found and time.monotonic() < deadline:
            found |= {int(json.loads(message.value() or b"")["id"]): None for message in consumer.consume(500, 0.2)}
    return list(found)


def in_order(numbers: list[int]) -> bool:
    lanes = [[number for number in numbers if number % 3 == tenant] for tenant in range(3)]
    return all(lane == sorted(lane) for lane in lanes)


async def is_empty(engine: AsyncEngine) -> bool:
    return (await read_status(engine)).pending == 0


async def test_oversized_row_is_parked_and_none_overtaken(
    engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str]
) -> None:
    """Batches of five: a client that is not strict writes what is behind a refused batch before its companions."""
    name = topic(partitions=1, configs={"max.message.bytes": "10000"})
    await publish(engine, name, range(100), large=42)
    small_batches = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka={"batch.num.messages": 5})
    async with OutboxRelay(engine, small_batches):
        await until(lambda: is_empty(engine), 30)
    numbers = appended(kafka, name, last=99)
    assert sorted(numbers) == [number for number in range(100) if number != 42]
    assert in_order(numbers)
    assert [row.event_id for row in (await read_status(engine)).failed] == ["42"]


async def test_missing_topic_holds_up_its_tenants(
    postgres_engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str]
) -> None:
    there = topic(partitions=1)
    missing = f"{there}.missing"
    soon = KafkaSettings(brokers=kafka.bootstrap_servers, librdkafka={"topic.metadata.propagation.max.ms": 1000})
    async with OutboxRelay(postgres_engine, soon):
        await publish(postgres_engine, missing, range(0, 30, 3))
        await until(lambda: has_failed(postgres_engine))
        await publish(postgres_engine, there, range(1, 30, 3))
        assert len(await asyncio.to_thread(appended, kafka, there, last=28)) == 10
        await asyncio.to_thread(kafka.create_topic, missing, partitions=1)
        await until(lambda: is_empty(postgres_engine))
    assert appended(kafka, missing, last=27) == list(range(0, 30, 3))


async def has_failed(engine: AsyncEngine) -> bool:
    return (await read_status(engine)).failed != ()


async def test_broker_restart_loses_nothing(
    postgres_engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str]
) -> None:
    name = topic(partitions=1)
    async with OutboxRelay(postgres_engine, KafkaSettings(brokers=kafka.bootstrap_servers)):
        await publish(postgres_engine, name, range(200))
        await asyncio.to_thread(kafka.kill)
        await publish(postgres_engine, name, range(200, 400))
        await asyncio.to_thread(kafka.start)
        await until(lambda: is_empty(postgres_engine), 60)
    numbers = appended(kafka, name, last=399)
    assert sorted(numbers) == list(range(400))
    assert in_order(numbers)


async def test_relay_replaces_a_lost_client_in_order(
    engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows keep coming while the first client, which knows no broker, is found out."""
    clients: list[Producer] = []

    def make(kind: Callable[[dict[str, Any]], Producer], config: dict[str, Any]) -> Producer:
        clients.append(make_client(kind, config if clients else {**config, "bootstrap.servers": ""}))
        return clients[-1]

    monkeypatch.setattr(producer, "make_client", make)
    name = topic(partitions=1)
    async with OutboxRelay(engine, KafkaSettings(brokers=kafka.bootstrap_servers)):
        for first in range(0, 300, 5):
            await publish(engine, name, range(first, first + 5))
            await asyncio.sleep(0.1)
        await until(lambda: is_empty(engine), 30)
    numbers = appended(kafka, name, last=299)
    assert sorted(numbers) == list(range(300))
    assert in_order(numbers)
    assert len(clients) == 2


async def test_command_relays_until_sigterm(
    postgres_engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str]
) -> None:
    name = topic(partitions=1)
    await publish(postgres_engine, name, range(50))
    url = postgres_engine.url.set(drivername="postgresql").render_as_string()
    environment = {"KAFKA_BROKERS": kafka.bootstrap_servers, "OUTBOX_URL": url}
    command = [sys.executable, "-c", "from eventzr_kafka.cli import main; main()", "outbox"]
    status = await asyncio.to_thread(subprocess.check_output, [*command, "status", "--json"], env=environment)
    assert json.loads(status)["pending"] == 50
    relay = await asyncio.create_subprocess_exec(*command, "relay", env=environment)
    try:
        await until(lambda: is_empty(postgres_engine))
    finally:
        relay.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(relay.wait(), 60) == 0
    assert len(appended(kafka, name, last=49)) == 50


async def test_oversized_batches_cost_one_client_and_no_order(
    postgres_engine: AsyncEngine, kafka: KafkaServer, topic: Callable[..., str]
) -> None:
    """None of the rows is too large; 8 batches of them would each be five times what the topic takes."""
    name = topic(partitions=1, configs={"max.message.bytes": "100000"})
    made: list[int] = []

    def client(settings: KafkaSettings) -> ConfluentProducer:
        made.append(settings.batch_bytes)
        return ConfluentProducer(settings)

    await publish(postgres_engine, name, range(5_000), size=500)
    settings = KafkaSettings(brokers=kafka.bootstrap_servers)
    async with OutboxRelay(postgres_engine, settings, transport=client):
        await until(lambda: is_empty(postgres_engine), 60)
    assert appended(kafka, name, last=4_999) == list(range(5_000))
    assert made == [settings.batch_bytes, settings.batch_bytes // 8]
