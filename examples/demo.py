"""All 12 events of marketplace-svc, for two tenants, from a producer to two consumers: python -m examples.demo

Nothing has to be installed or running: the broker is embedded in this process, and gone when it ends. The exit code is
0 only if every event arrived exactly once.
"""

import asyncio
import os
import sys
from collections import Counter
from contextlib import redirect_stdout
from io import TextIOBase
from pathlib import Path
from shutil import which
from typing import TextIO

from eventzr_kafka import ConsumerRunner, EventProducer, KafkaSettings, PublishResult, embedded_broker
from eventzr_marketplace_events import topics
from eventzr_marketplace_events.examples import EXAMPLES
from examples.subscriber.counter import EventCounter
from examples.subscriber.handlers import MarketplaceEventHandler

TENANTS = ("tenant-a", "tenant-b")
EVENTS = [event for kind, event in EXAMPLES.items() if kind.__topic__ in topics.PRODUCED]
PRINTED = 2 * len(TENANTS)  # MarketplaceEventHandler takes two of the topics, and prints a line for each event
TIMEOUT = 12.0  # seconds for the consumers to join and to handle everything


async def main() -> bool:
    with embedded_broker() as broker:
        settings = KafkaSettings(brokers=broker.bootstrap_servers)
        print(f"An embedded Kafka broker runs at {settings.brokers}\n")

        print(f"1. marketplace-svc publishes {len(EVENTS)} events for each of {len(TENANTS)} tenants.")
        print("   The tenant is the record's key: in each topic its events share a partition and keep their order.\n")
        show_published(await publish(settings))

        print("\n2. Your service consumes them (Kafka takes 3 seconds to let a new group in).")
        print("   examples/subscriber/handlers.py prints:\n")
        seen, printed = await consume(settings)

    print("\n3. A second group, examples/subscriber/counter.py, got every event too:\n")
    return show_arrived(seen, printed)


async def publish(settings: KafkaSettings) -> list[PublishResult]:
    """Queue every event for every tenant, then wait until the broker has acknowledged each one."""
    async with EventProducer(source="marketplace-svc", settings=settings) as producer:
        queued = [producer.enqueue(event, tenant_id=tenant) for event in EVENTS for tenant in TENANTS]
        return [await delivery for delivery in queued]


async def consume(settings: KafkaSettings) -> tuple[Counter[tuple[str, str]], int]:
    """Run both groups until all has arrived; what the handler prints is counted on its way to the screen."""
    seen: Counter[tuple[str, str]] = Counter()
    printed = Indented(sys.stdout)
    with redirect_stdout(printed):
        async with ConsumerRunner(MarketplaceEventHandler(), EventCounter(seen), settings=settings) as runner:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + TIMEOUT
            while loop.time() < deadline and runner.error is None:
                if seen.total() >= len(EVENTS) * len(TENANTS) and printed.lines >= PRINTED:
                    break
                await asyncio.sleep(0.05)
    return seen, printed.lines


def show_published(results: list[PublishResult]) -> None:
    print(f"   {'topic':<45}{'   '.join(f'{tenant:<11}' for tenant in TENANTS)}")
    for number in range(0, len(results), len(TENANTS)):
        row = results[number : number + len(TENANTS)]
        print(f"   {row[0].topic:<45}{'   '.join(f'partition {result.partition}' for result in row)}")


def show_arrived(seen: Counter[tuple[str, str]], printed: int) -> bool:
    print("   tenant       topics   events")
    for tenant in TENANTS:
        counts = [count for (_, owner), count in seen.items() if owner == tenant]
        print(f"   {tenant:<13}{len(counts):<9}{sum(counts)}")
    expected = Counter((topic, tenant) for topic in topics.PRODUCED for tenant in TENANTS)
    if seen != expected or printed != PRINTED:
        wrong = ", ".join(f"{topic} for {tenant}" for topic, tenant in (expected - seen) + (seen - expected))
        print(f"\nFAILED: {printed} of {PRINTED} lines printed; lost, or more than once: {wrong or 'nothing'}")
        return False
    print(f"\nAll {expected.total()} events arrived, each exactly once. Next, try it by hand:\n")
    print(f"   {command()} dev examples.subscriber.handlers:MarketplaceEventHandler")
    return True


def command() -> str:
    """The command as the shell finds it: by its name, or by its path beside this Python."""
    beside = Path(sys.executable).with_name("eventzr-kafka")
    return "eventzr-kafka" if which("eventzr-kafka") else os.path.relpath(beside)


class Indented(TextIOBase):
    """Standard output, a little to the right, that counts its lines."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.lines = 0

    def write(self, text: str, /) -> int:
        self.lines += text.count("\n")
        return self.out.write(text if text == "\n" else f"   | {text}")


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
