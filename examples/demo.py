"""The marketplace service and a subscriber on an embedded broker, and a day of two tenants: python -m examples.demo

It brings its own broker and database, and removes both when it ends. With ``keep`` it runs until Ctrl-C, so that its
page can be opened. The exit code is 0 only if all 18 events flowed for both tenants, each exactly once.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import TypeAlias

import httpx

from eventzr_kafka import ConsumerRunner, KafkaSettings, embedded_broker
from eventzr_marketplace_events import topics
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.schema import migrate
from examples.marketplace_service.server import Server
from examples.marketplace_service.settings import Settings
from examples.marketplace_service.wiring import create_app
from examples.story import Shop, Story
from examples.subscriber.counter import EventCounter
from examples.subscriber.handlers import MarketplaceEventHandler

TENANTS = ("tenant-a", "tenant-b")
TIMEOUT = 12.0  # seconds for the last events to arrive
ALL_TOPICS = (*topics.PRODUCED, *topics.CONSUMED)

Event: TypeAlias = tuple[str, str, str]
"""Topic, tenant and id."""


async def main(*, keep: bool = False) -> bool:
    with embedded_broker() as broker, TemporaryDirectory() as folder:
        broker.create_topics(DEAD_LETTERS, f"{DEAD_LETTERS_GROUP}.dlq")
        kafka = KafkaSettings(brokers=broker.bootstrap_servers)
        database_url = f"sqlite+aiosqlite:///{folder}/marketplace.db"
        migrate(database_url)
        settings = Settings(
            database_url=database_url, port=int(os.environ.get("MARKETPLACE_PORT", "0")), playground=True
        )
        seen: Counter[Event] = Counter()
        async with run_server(settings, kafka) as server, make_subscriber(kafka, seen) as subscriber:
            await subscriber.ready()
            url = f"http://{settings.host}:{server.port}"
            print(f"An embedded Kafka broker runs at {kafka.brokers}, the marketplace service at {url}\n")
            complete = await play_and_count(url, seen)
            print(f"\nThe page: {url}/   The API: {url}/docs")
            if keep:
                print("Ctrl-C ends it.")
                await wait_for_interrupt()
            else:
                print("Both end now; `make demo KEEP=1` keeps them running.")
    return complete


class DemoServer(Server):
    """A server that leaves signals to the demo, which has to stop the consumer and the broker too."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


@asynccontextmanager
async def run_server(settings: Settings, kafka: KafkaSettings) -> AsyncGenerator[DemoServer]:
    """Serve the marketplace in this process."""
    server = DemoServer(create_app(settings, kafka), settings)
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 -- uvicorn sets no event
        await asyncio.sleep(0.02)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


def make_subscriber(kafka: KafkaSettings, seen: Counter[Event]) -> ConsumerRunner:
    """Make the runner of a subscriber: the guide's handler prints a line for two topics, a second one counts all."""
    return ConsumerRunner(MarketplaceEventHandler(), EventCounter(seen), settings=kafka)


async def play_and_count(url: str, seen: Counter[Event]) -> bool:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        shops = [Shop(http, tenant) for tenant in TENANTS]
        stories = [Story(shop, partial(print, f"{shop.tenant}  |")) for shop in shops]
        await asyncio.gather(*(story.play() for story in stories))
        await stories[-1].money_comes_early_or_wrong()
        books = Books(published=Counter(), arrived=seen)
        for shop in shops:
            await record_published(shop, books)
    with suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT):
            while books.mismatches():  # noqa: ASYNC110 -- the handler that counts sets no event
                await asyncio.sleep(0.05)
    return show_summary(books)


@dataclass
class Books:
    """Counts of each event: how often it was published, and how often it arrived."""

    published: Counter[Event]
    arrived: Counter[Event]

    def mismatches(self) -> list[Event]:
        """Return the events that were not published exactly once, or did not arrive exactly once."""
        every = self.published.keys() | self.arrived.keys()
        return sorted(event for event in every if not self.published[event] == self.arrived[event] == 1)

    def arrived_of(self, topic: str, tenant: str) -> int:
        return sum(count for event, count in self.arrived.items() if event[:2] == (topic, tenant))


async def record_published(shop: Shop, books: Books) -> None:
    """Count the events that the service and its neighbours have published, and those that the service has handled.

    An event that can never be right has arrived as a dead letter.
    """
    books.published.update((topic, shop.tenant, event_id) for topic, event_id in shop.published)
    for line in await shop.get("/activity"):
        side = books.published if line["direction"] == "out" else books.arrived
        side[line["topic"], shop.tenant, line["eventId"]] += 1
    for letter in await shop.get("/dead-letters"):
        if letter["replayedAt"] is None:
            books.arrived[letter["topic"], shop.tenant, letter["eventId"]] += 1


def show_summary(books: Books) -> bool:
    print("\nEvents that arrived; out: published by the marketplace service, in: by other services")
    print(f"{'topic':<49}" + "".join(f"{tenant:>10}" for tenant in TENANTS))
    silent: list[str] = []
    for topic in ALL_TOPICS:
        counts = [books.arrived_of(topic, tenant) for tenant in TENANTS]
        print(
            f"{'out' if topic in topics.PRODUCED else 'in':<5}{topic:<44}" + "".join(f"{count:>10}" for count in counts)
        )
        silent += [f"{topic} for {tenant}" for tenant, count in zip(TENANTS, counts, strict=True) if not count]
    mismatched = [f"{topic} for {tenant}: {event_id}" for topic, tenant, event_id in books.mismatches()]
    if silent or mismatched:
        print(f"\nFAILED: without an event: {', '.join(silent) or 'none'}")
        print(f"lost or duplicated: {', '.join(mismatched) or 'none'}")
        return False
    flowed = f"{len(ALL_TOPICS)} topics flowed for {len(TENANTS)} tenants"
    print(f"\nAll {flowed}: {len(books.arrived)} events, each exactly once.")
    return True


async def wait_for_interrupt() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C during the story; everything has been closed by then
        sys.exit(0 if asyncio.run(main(keep=sys.argv[1:] == ["keep"])) else 1)
    sys.exit(128 + signal.SIGINT)
