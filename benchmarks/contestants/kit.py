"""Parts that all contestants share: task, the guide's event, and a meter that prints the JSON line."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from eventzr_kafka import CloudEvent
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
    "numbered_values",
    "read_event",
    "report",
    "rss_mib",
    "task",
    "tenants",
]

LATENCY_WARM_UP = 200  # samples that do not count
_LOOK_EVERY = 500  # events between two looks at the clock

LISTING = example(ListingCreated)
TOPIC: str = ListingCreated.__topic__ or ""
read_event: Callable[[Any], CloudEvent[ListingCreated]] = CloudEvent[
    ListingCreated
].__pydantic_validator__.validate_json


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
    """

    brokers: str
    group: str
    events: int
    seconds: float
    wait: float
    mode: str
    workers: int


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
    return Task(**vars(parser.parse_args()))


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


def numbered_values(names: list[str], count: int) -> Iterator[tuple[str, bytes]]:
    """Yield tenants and structured events, as this package writes them."""
    event = CloudEvent[ListingCreated](
        id="%ID%",
        source="marketplace-svc",
        type=TOPIC,
        tenantid="%TENANT%",
        subject="listing:listing-uuid",
        data=LISTING,
    ).model_dump_json(by_alias=True, exclude_none=True)
    text = event.replace("%ID%", "\0").replace("%TENANT%", "\1").replace("%", "%%")
    template = text.replace("\0", "a1b2c3d4-e5f6-7890-abcd-%012d").replace("\1", "%s")
    for number in range(count):
        tenant = names[number % len(names)]
        yield tenant, (template % (number, tenant)).encode()


def rss_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
