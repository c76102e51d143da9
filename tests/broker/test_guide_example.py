"""The guide's event, written by Kafka's own console producer, reaches the guide's handler."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.guide import GUIDE_EVENT

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_marketplace_events import ListingCreated, OrderCompleted

if TYPE_CHECKING:
    from eventzr_kafka.testing.kafka_server import KafkaServer

SECONDS: Final = 60.0
GROUP: Final = "your-service-marketplace-consumer"
CREATED: Final = "eventzr.marketplace.listing.created.v1"
COMPLETED: Final = "eventzr.marketplace.order.completed.v1"
TENANT: Final = "00000000-0000-0000-0000-000000000001"
LINE: Final = "New listing in lane vendora: Premium Catering Service"


@kafka_consumer(group_id="your-service-marketplace-consumer")
class MarketplaceEventHandler:
    """The guide's class in Python; `eventzr-kafka run` imports it from this file."""

    @on_message(ListingCreated)
    async def handle_listing_created(self, event: CloudEvent[ListingCreated]) -> None:
        print(f"New listing in lane {event.data.lane}: {event.data.title}")  # noqa: T201 - the guide prints it

    @on_message("eventzr.marketplace.order.completed.v1")
    async def handle_order_completed(self, event: CloudEvent[OrderCompleted]) -> None:
        print(f"Order {event.data.id} completed for {event.tenantid}")  # noqa: T201 - the guide prints it


@pytest.fixture
def guide_kafka(own_kafka: KafkaServer) -> KafkaServer:
    """Kafka with the two topics of the guide's example; the first holds the guide's event and nothing else."""
    kafka = own_kafka  # other tests write listings to a broker that is shared
    # The group's offsets go with what the other test has left of the topics.
    kafka.tool("org.apache.kafka.tools.TopicCommand", "--delete", "--if-exists", "--topic", f"{CREATED}|{COMPLETED}")
    kafka.create_topics([CREATED, COMPLETED], partitions=6)
    keyed = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=|")
    line = f"{TENANT}|{GUIDE_EVENT}".replace("\n", "") + "\n"
    kafka.tool("org.apache.kafka.tools.ConsoleProducer", "--topic", CREATED, *keyed, stdin=line.encode())
    return kafka


def committed_and_end(kafka: KafkaServer) -> list[tuple[str, str]]:
    """Committed and end offset of the first topic's partitions that have records, from Kafka's own tool."""
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    rows = [line.split() for line in kafka.tool(tool, "--describe", "--group", GROUP).decode().splitlines()]
    header = next(row for row in rows if "CURRENT-OFFSET" in row)
    topic, committed, end = (header.index(name) for name in ("TOPIC", "CURRENT-OFFSET", "LOG-END-OFFSET"))
    found = [(row[committed], row[end]) for row in rows if CREATED in row[topic : topic + 1]]
    return [offsets for offsets in found if offsets[1] != "0"]


async def test_guide_event_is_handled_in_a_service(
    guide_kafka: KafkaServer, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = ConsumerRunner(MarketplaceEventHandler(), settings=KafkaSettings(brokers=guide_kafka.bootstrap_servers))
    printed = ""

    async with asyncio.timeout(SECONDS):
        running = asyncio.create_task(runner.run())
        while LINE not in printed and not running.done():
            await asyncio.sleep(0.01)
            printed += capsys.readouterr().out
        runner.stop()
        await running

    assert printed == f"{LINE}\n"
    assert committed_and_end(guide_kafka) == [("1", "1")]


async def test_guide_event_is_handled_by_command(guide_kafka: KafkaServer) -> None:
    command = [
        str(Path(sys.executable).with_name("eventzr-kafka")),
        "run",
        "tests.broker.test_guide_example:MarketplaceEventHandler",
    ]
    environment = {**os.environ, "KAFKA_BROKERS": guide_kafka.bootstrap_servers}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=Path(__file__).parents[2], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None

    try:
        async with asyncio.timeout(SECONDS):
            printed = await process.stdout.readuntil(f"{LINE}\n".encode())
            process.send_signal(signal.SIGTERM)
            rest, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()

    assert process.returncode == 0, log.decode()
    assert (printed + rest).decode().count("New listing") == 1
    assert committed_and_end(guide_kafka) == [("1", "1")]
