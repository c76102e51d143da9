"""The marketplace service and a subscriber on an embedded broker, and a day of two tenants: python -m examples.demo

Nothing has to be installed or running: broker and database are gone when it ends. With ``keep`` it stays up until
Ctrl-C, with its page to look at. The exit code is 0 only if all 18 events flowed for both tenants, each exactly once.
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
        async with serving(settings, kafka) as server, subscribing(kafka, seen) as subscriber:
            await subscriber.ready()
            url = f"http://{settings.host}:{server.port}"
            print(f"An embedded Kafka broker runs at {kafka.brokers}, the marketplace service at {url}\n")
            complete = await tell_and_count(url, seen)
            print(f"\nThe page: {url}/   The API: {url}/docs")
            if keep:
                print("Ctrl-C ends it.")
                await interrupted()
            else:
                print("They are gone now; `make demo KEEP=1` stays up.")
    return complete


class DemoServer(Server):
    """Leaves signals to the demo, which has more to end than this."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


@asynccontextmanager
async def serving(settings: Settings, kafka: KafkaSettings) -> AsyncGenerator[DemoServer]:
    """The service, in this process."""
    server = DemoServer(create_app(settings, kafka), settings)
    task = asyncio.create_task(server.serve())
    while not server.started and not task.done():  # noqa: ASYNC110 -- it does not tell
        await asyncio.sleep(0.02)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


def subscribing(kafka: KafkaSettings, seen: Counter[Event]) -> ConsumerRunner:
    """Your service: the guide's handler, which prints a line for two of the topics, and one that counts all of them."""
    return ConsumerRunner(MarketplaceEventHandler(), EventCounter(seen), settings=kafka)


async def tell_and_count(url: str, seen: Counter[Event]) -> bool:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        shops = [Shop(http, tenant) for tenant in TENANTS]
        stories = [Story(shop, partial(print, f"{shop.tenant}  |")) for shop in shops]
        await asyncio.gather(*(story.play() for story in stories))
        await stories[-1].money_comes_too_early()
        books = Books(published=Counter(), arrived=seen)
        for shop in shops:
            await take_down(shop, books)
    with suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT):
            while books.wrong():  # noqa: ASYNC110 -- counted by a handler that knows nothing of this
                await asyncio.sleep(0.05)
    return show_summary(books)


@dataclass
class Books:
    """Every event that was published, and every one that arrived: how often."""

    published: Counter[Event]
    arrived: Counter[Event]

    def wrong(self) -> list[Event]:
        """Those that were not published once and did not arrive once."""
        every = self.published.keys() | self.arrived.keys()
        return sorted(event for event in every if not self.published[event] == self.arrived[event] == 1)

    def arrived_of(self, topic: str, tenant: str) -> int:
        return sum(count for event, count in self.arrived.items() if event[:2] == (topic, tenant))


async def take_down(shop: Shop, books: Books) -> None:
    """What the service has published and the neighbours have said, and what of that the service has handled."""
    books.published.update((topic, shop.tenant, event_id) for topic, event_id in shop.said)
    for line in await shop.get("/activity"):
        side = books.published if line["direction"] == "out" else books.arrived
        side[line["topic"], shop.tenant, line["eventId"]] += 1


def show_summary(books: Books) -> bool:
    print(f"\n{'topic':<49}" + "".join(f"{tenant:>10}" for tenant in TENANTS))
    silent: list[str] = []
    for topic in ALL_TOPICS:
        counts = [books.arrived_of(topic, tenant) for tenant in TENANTS]
        print(
            f"{'out' if topic in topics.PRODUCED else 'in':<5}{topic:<44}" + "".join(f"{count:>10}" for count in counts)
        )
        silent += [f"{topic} for {tenant}" for tenant, count in zip(TENANTS, counts, strict=True) if not count]
    wrong = [f"{topic} for {tenant}: {event_id}" for topic, tenant, event_id in books.wrong()]
    if silent or wrong:
        print(f"\nFAILED: without an event: {', '.join(silent) or 'none'}; lost or twice: {', '.join(wrong) or 'none'}")
        return False
    flowed = f"{len(ALL_TOPICS)} topics flowed for {len(TENANTS)} tenants"
    print(f"\nAll {flowed}: {len(books.arrived)} events, each exactly once.")
    return True


async def interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C before the story is over; all has ended by then
        sys.exit(0 if asyncio.run(main(keep=sys.argv[1:] == ["keep"])) else 1)
    sys.exit(128 + signal.SIGINT)
