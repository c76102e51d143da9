"""Asyncio workers that decode the same events and sleep the same time: no Kafka, no order, no commits."""

import asyncio
import itertools
from collections.abc import Iterator

from benchmarks.contestants.events import numbered_records, read_event
from benchmarks.contestants.kit import TENANTS, Meter, run, task

TASK = task()
done: list[bool] = []
METER = Meter(TASK, lambda: done.append(True))


async def work(values: Iterator[bytes]) -> None:
    """Take the next value until the meter has enough."""
    for value in values:
        if done:
            return
        read_event(value)
        await asyncio.sleep(TASK.wait)
        METER.count += 1
        if METER.count >= METER.mark:
            METER.look()


async def main() -> None:
    """Let the workers share one backlog."""
    values = itertools.cycle([record.value or b"" for record in numbered_records(TENANTS, 10_000, "plain")])
    await asyncio.gather(*(work(values) for _ in range(TASK.workers)))


run(main(), TASK)
