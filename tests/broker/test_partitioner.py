"""A tenant lies on the same partition, whichever client wrote its event."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from eventzr_kafka import CloudEvent, EventProducer, KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

PARTITIONS: Final = 13
SEED: Final = 20260302
ALPHABETS: Final = (
    "0123456789abcdef-",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.:/ ",
    "äöüßéñøłçÆŁČžšđ",
    "日本語東京大阪한국어中文字符",
    "🎪🎟🍽🎻👩‍🍳\u200d\ufe0f",
)
LENGTHS: Final = (1, 2, 3, 4, 5, 7, 8, 16, 36, 37, 255, 4_096, 20_001)


def tenants(count: int) -> list[str]:
    """Different tenant ids of all kinds: short and very long, ASCII and of two to four bytes a character."""
    chance = random.Random(SEED)  # noqa: S311 - to be the same each time
    found: dict[str, None] = {}
    while len(found) < count:
        length = chance.choices(LENGTHS, weights=[2] * 4 + [10] * 7 + [1] * 2)[0]
        found["".join(chance.choices(chance.choice(ALPHABETS), k=length))] = None
    return list(found)


def partitions_by_java(kafka: KafkaServer, topic: str, keys: Sequence[str]) -> dict[str, int]:
    keyed = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=\t")
    lines = "".join(f"{key}\tvalue\n" for key in keys)
    kafka.tool("org.apache.kafka.tools.ConsoleProducer", "--topic", topic, *keyed, stdin=lines.encode())
    with contextlib.closing(Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader"})) as consumer:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
        found = consumer.consume(len(keys), timeout=20)
    return {(message.key() or b"").decode(): message.partition() or 0 for message in found}


def partitions_by_us(kafka: KafkaServer, topic: str, keys: Sequence[str]) -> dict[str, int | None]:
    event = CloudEvent(id="1", source="test", type=topic, tenantid="any")
    with EventProducer(settings=KafkaSettings(brokers=kafka.bootstrap_servers)) as producer:
        deliveries = [producer.enqueue(event.replace(tenantid=key)) for key in keys]
    return {key: delivery.result(20).partition for key, delivery in zip(keys, deliveries, strict=True)}


def test_tenants_lie_as_in_java(kafka: KafkaServer, topic: TopicFactory) -> None:
    keys = tenants(1000)

    java = partitions_by_java(kafka, topic(partitions=PARTITIONS), keys)
    ours = partitions_by_us(kafka, topic(partitions=PARTITIONS), keys)

    assert len(java) == 1000
    assert set(java.values()) == set(range(PARTITIONS))
    assert ours == java
