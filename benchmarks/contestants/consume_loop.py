"""An event loop fed by a thread: the same client, decoding and handler, without order, commits, retries or tenancy.

This is the cost of any SDK that runs ``async`` handlers on librdkafka. The rest of our cost is that of its promises.
"""

import asyncio
import threading
import time
from collections import deque

from confluent_kafka import Consumer

from benchmarks.contestants.events import BareEvent, read_event
from benchmarks.contestants.kit import TOPIC, Meter, consumer_config, run, task

TASK = task()
WAITS = TASK.wait > 0 or TASK.mode == "awaits"
_ENOUGH = 4000  # records in memory at which the thread waits
done = threading.Event()
METER = Meter(TASK, done.set)


async def handle(event: BareEvent) -> None:  # noqa: ARG001
    """Sleep, if the task asks for it, and count."""
    if WAITS:
        await asyncio.sleep(TASK.wait)
    METER.count += 1
    if METER.count >= METER.mark:
        METER.look()


async def work(backlog: deque[bytes], more: asyncio.Event) -> None:
    """Take the next value of any tenant."""
    while not done.is_set():
        while backlog and not done.is_set():
            await handle(read_event(backlog.popleft()))
        if not done.is_set():
            more.clear()
            await more.wait()


def feed(backlog: deque[bytes], loop: asyncio.AbstractEventLoop, more: asyncio.Event) -> None:
    """Run the client in a thread."""
    client = Consumer(consumer_config(TASK))
    client.subscribe([TOPIC])
    while not done.is_set():
        values = [message.value() or b"" for message in client.consume(2000, 0.1)]
        if values:
            backlog.extend(values)
            loop.call_soon_threadsafe(more.set)
        while len(backlog) > _ENOUGH and not done.is_set():
            time.sleep(0.001)
    loop.call_soon_threadsafe(more.set)
    client.close()


async def main() -> None:
    """Let the workers share the values that the thread reads."""
    backlog: deque[bytes] = deque()
    more = asyncio.Event()
    feeding = asyncio.create_task(asyncio.to_thread(feed, backlog, asyncio.get_running_loop(), more))
    await asyncio.gather(*(work(backlog, more) for _ in range(TASK.workers)))
    await feeding


run(main(), TASK)
