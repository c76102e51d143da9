"""``--workers`` members of one group, each in a process; measures their sum. Modes: none, ``bare``."""

import asyncio
import multiprocessing
import multiprocessing.process
import os
import time
from collections.abc import MutableSequence, Sequence
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from benchmarks.contestants.events import read_event
from benchmarks.contestants.kit import TOPIC, Task, consumer_config, report, task
from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.hooks import ConsumerHooks, PartitionsAssigned
from eventzr_marketplace_events import ListingCreated

_LOOK = 0.01  # seconds between two looks at the counts
_QUICK_JOIN = {"heartbeat.interval.ms": 200, "session.timeout.ms": 6000}


def member(work: Task, joined: MutableSequence[int], counts: MutableSequence[int], place: int) -> None:
    """Consume until killed; count events in one place of `counts` once all members have joined."""

    @kafka_consumer(group_id=work.group, drain_timeout=0)
    class NoOp:
        """Only counts."""

        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None:  # noqa: ARG002
            """Count."""
            while not all(joined):  # noqa: ASYNC110 -- another process sets it
                await asyncio.sleep(_LOOK)
            counts[place] += 1

    def assigned(fact: PartitionsAssigned) -> None:
        joined[place] = joined[place] or len(fact.partitions)

    settings = KafkaSettings(brokers=work.brokers, librdkafka=_QUICK_JOIN)
    asyncio.run(ConsumerRunner(NoOp(), settings=settings, hooks=ConsumerHooks(on_partitions_assigned=assigned)).run())


def bare_member(work: Task, joined: MutableSequence[int], counts: MutableSequence[int], place: int) -> None:
    """Consume with a loop of confluent-kafka that decodes each event."""

    def assigned(client: Consumer, partitions: list[TopicPartition]) -> None:
        client.incremental_assign(partitions)
        client.pause(partitions)
        joined[place] = joined[place] or len(partitions)

    client = Consumer({**consumer_config(work), **_QUICK_JOIN, "partition.assignment.strategy": "cooperative-sticky"})
    client.subscribe([TOPIC], on_assign=assigned)
    while not all(joined):
        client.poll(_LOOK)  # a member that does not poll gets no partitions
    client.resume(client.assignment())
    while True:
        messages = client.consume(2000, 0.1)
        for message in messages:
            read_event(message.value())
            counts[place] += 1


def cpu_seconds(members: Sequence[multiprocessing.process.BaseProcess]) -> float:
    """Return the processor time that these processes have used."""
    stats = (Path(f"/proc/{member.pid}/stat").read_text(encoding="ascii", errors="replace") for member in members)
    ticks = (text.rpartition(")")[2].split()[11:13] for text in stats)
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def measure(
    work: Task,
    joined: MutableSequence[int],
    counts: MutableSequence[int],
    members: Sequence[multiprocessing.process.BaseProcess],
) -> None:
    """Measure from the first event of the last member until enough are handled or the time is over, and report it."""
    while not all(joined):
        time.sleep(_LOOK)
    first, began, used = sum(counts), time.perf_counter(), cpu_seconds(members)
    while True:
        time.sleep(_LOOK)
        handled, elapsed = sum(counts) - first, time.perf_counter() - began
        if handled >= work.events or elapsed >= work.seconds:
            report(handled / elapsed, cpu=(cpu_seconds(members) - used) / handled * 1e6)
            return


def main() -> None:
    """Start the members, measure, and end them."""
    work, context = task(), multiprocessing.get_context("spawn")
    joined: MutableSequence[int] = RawArray("L", work.workers)
    counts: MutableSequence[int] = RawArray("L", work.workers)
    target = bare_member if work.mode == "bare" else member
    members = [context.Process(target=target, args=(work, joined, counts, place)) for place in range(work.workers)]
    for process in members:
        process.start()
    measure(work, joined, counts, members)
    for process in members:
        process.kill()


if __name__ == "__main__":
    main()
