"""Parts that all contestants share: task, the guide's event, and a meter that prints the JSON line."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from eventzr_marketplace_events import ListingCreated, example

__all__ = [
    "LATENCY_WARM_UP",
    "LISTING",
    "TENANTS",
    "TOPIC",
    "LatencyMeter",
    "Meter",
    "Stopwatch",
    "Task",
    "consumer_config",
    "event_numbers",
    "new_loop",
    "report",
    "rss_mib",
    "run",
    "task",
    "tenants",
]

LATENCY_WARM_UP = 200  # samples that do not count
_LOOK_EVERY = 500  # events between two looks at the clock

LISTING = example(ListingCreated)
TOPIC: str = ListingCreated.__topic__ or ""


def tenants(count: int) -> list[str]:
    """Return tenant ids as the platform writes them."""
    return [str(UUID(int=number)) for number in range(count)]


TENANTS = tenants(1000)


@dataclass(frozen=True, slots=True)
class Task:
    """The task of a contestant.

    Attributes:
        events: Number of events to measure.
        seconds: Time after which it stops in any case.
        wait: Seconds that each handler sleeps.
        mode: Variant of the program.
        workers: Handlers at once.
        kind: Kind of events, see `events`.
        loop: ``asyncio`` or ``uvloop``.
    """

    brokers: str
    group: str
    events: int
    seconds: float
    wait: float
    mode: str
    workers: int
    kind: str
    loop: str


def task() -> Task:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--group", default=f"bench-{os.getpid()}-{time.time_ns()}")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--wait", type=float, default=0.0)
    parser.add_argument("--mode", default="")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--kind", default="plain")
    parser.add_argument("--loop", default="asyncio", choices=("asyncio", "uvloop"))
    return Task(**vars(parser.parse_args()))


def new_loop(work: Task) -> asyncio.AbstractEventLoop:
    """Make the event loop that the task asks for."""
    if work.loop == "uvloop":
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()  # not on Windows
        return loop
    return asyncio.new_event_loop()


def run(program: Coroutine[Any, Any, None], work: Task) -> None:
    """Do the same as `asyncio.run`, on the event loop that the task asks for."""
    with asyncio.Runner(loop_factory=lambda: new_loop(work)) as runner:
        runner.run(program)


def consumer_config(work: Task) -> dict[str, Any]:
    """Return this package's configuration of librdkafka for a bare loop, which stores offsets as it reads."""
    return {
        "bootstrap.servers": work.brokers,
        "group.id": work.group,
        "auto.offset.reset": "earliest",
        "queued.max.messages.kbytes": 16_384,
        "fetch.queue.backoff.ms": 10,
    }


def report(figure: float, **also: float) -> None:
    """Print the line that the benchmark reads."""
    sys.stdout.write(json.dumps({"figure": figure, "also": also}) + "\n")
    sys.stdout.flush()


class Meter:
    """Counts events from the first one on; the caller calls `look` whenever `count` has reached `mark`."""

    def __init__(self, work: Task, finished: Callable[[], object]) -> None:
        """Take the task, and a function to call at its end."""
        self.count = 0
        self.mark = 1
        self._work = work
        self._finished = finished
        self._began = self._cpu = 0.0

    def look(self) -> None:
        """Start the clock at the first call; stop when the task is done."""
        if self.mark == 1:
            self._began, self._cpu = time.perf_counter(), time.process_time()
        elapsed = time.perf_counter() - self._began
        if self.count >= self._work.events or elapsed > self._work.seconds:
            self.mark = sys.maxsize
            report(self.count / elapsed, cpu=(time.process_time() - self._cpu) / self.count * 1e6)
            self._finished()
        else:
            self.mark = min(self.count + _LOOK_EVERY, self._work.events)


class LatencyMeter:
    """Collects the ages of events; an event's id is the feeder's monotonic clock when it was sent."""

    def __init__(self, work: Task, finished: Callable[[], object]) -> None:
        """Prepare. Events sent within a second after the first do not count: the group was still joining."""
        self._begins: int | None = None
        self._wanted = work.events + LATENCY_WARM_UP
        self._ages: list[float] = []
        self._finished = finished

    def take(self, event_id: str) -> None:
        """Add the age of one event."""
        now, sent = time.monotonic_ns(), int(event_id)
        if self._begins is None:
            self._begins = now + 1_000_000_000
        if sent < self._begins or len(self._ages) >= self._wanted:
            return
        self._ages.append((now - sent) / 1e6)
        if len(self._ages) == self._wanted:
            percentiles = statistics.quantiles(self._ages[LATENCY_WARM_UP:], n=100)
            report(percentiles[49], p99=percentiles[98])
            self._finished()


class Stopwatch:
    """Measures the time since it was made, for contestants that end by themselves."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, count: int) -> None:
        """Print the figure for a number of events."""
        elapsed, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        report(count / elapsed, cpu=cpu / count * 1e6)


def event_numbers(work: Task, step: int = 1) -> Iterator[int]:
    """Yield numbers of events to publish, `step` apart, until there are enough or the time is over."""
    deadline = time.perf_counter() + work.seconds
    for number in range(0, work.events, step):
        if (step > 1 or number % 50 == 0) and time.perf_counter() > deadline:
            return
        yield number


def rss_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
