"""Workers: turns of the event loop, and what a handler may leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, Group, MakeGroup, MakeRecord
from tests.waiting import until

from eventzr_kafka import CloudEvent, RetryPolicy, kafka_consumer, on_batch, on_message
from eventzr_kafka.clock import Clock
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment

pytestmark = pytest.mark.virtual_time


@kafka_consumer(group_id="g")
class Busy:
    """Holds the event loop for a millisecond of a clock that nothing else moves."""

    def __init__(self) -> None:
        self.handled = 0
        self._now = 1_000.0
        self.clock = Clock(monotonic=lambda: self._now)

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
        self._now += 0.001
        self.handled += 1


async def waiting_group(make_group: MakeGroup, make_record: MakeRecord) -> Group:
    """Return a group whose only handler has begun, and never ends by itself."""
    began = asyncio.Event()

    @kafka_consumer(group_id="g", drain_timeout=0, retry=RetryPolicy(attempts=1))
    class Waits:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            began.set()
            await asyncio.Event().wait()

    group = make_group(Waits())
    group.assign()
    group.receive(make_record(0))
    await began.wait()
    return group


async def test_stop_iteration_is_a_failure(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handled: list[str] = []

    @kafka_consumer(group_id="g", retry=RetryPolicy(attempts=1))
    class Sync:
        @on_message(TOPIC)
        def handle(self, event: CloudEvent[Any]) -> None:
            handled.append(event.id)
            if event.id == "e0":
                next(iter(()))

    group = make_group(Sync())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await until(lambda: handled == ["e0", "e1"])
    assert len(group.producer.records) == 1


async def test_other_callbacks_run_within_10_ms_of_busy_handlers(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    turns: list[int] = []
    group = make_group(busy := Busy(), clock=busy.clock)
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(100)))
    while busy.handled < 100:
        before = busy.handled
        await asyncio.sleep(0)
        turns.append(busy.handled - before)
    assert max(turns) <= 10
    assert len(turns) <= 30


@pytest.mark.parametrize("concurrency", [1, 2, 4])
async def test_iteration_of_the_loop_takes_10_ms_with_any_workers(
    make_group: MakeGroup, make_record: MakeRecord, concurrency: int
) -> None:
    now, rounds = [1_000.0], [1_000.0]

    @kafka_consumer(group_id="g", max_concurrency=concurrency)
    class Mixed:
        def __init__(self) -> None:
            self.handled = 0

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            self.handled += 1
            if self.handled % 7 == 0:
                await asyncio.sleep(0)
            now[0] += 0.0005

    group = make_group(handler := Mixed(), clock=Clock(monotonic=lambda: now[0]))
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(1_000)))
    while handler.handled < 1_000:
        rounds.append(now[0])
        await asyncio.sleep(0)
    assert max(later - earlier for earlier, later in pairwise(rounds)) <= 0.0101


async def test_workers_that_have_waited_let_other_callbacks_run(make_group: MakeGroup, make_record: MakeRecord) -> None:
    now, gate, rounds = [1_000.0], asyncio.Event(), [1_000.0]

    @kafka_consumer(group_id="g", max_concurrency=64)
    class BusyLater:
        def __init__(self) -> None:
            self.handled = 0

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            self.handled += 1
            if self.handled <= 64:
                await gate.wait()
            else:
                now[0] += 0.001

    group = make_group(handler := BusyLater(), clock=Clock(monotonic=lambda: now[0]))
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(600)))
    await group.settle()
    assert handler.handled == 64
    gate.set()
    while handler.handled < 600:
        rounds.append(now[0])
        await asyncio.sleep(0)
    long = [later - earlier for earlier, later in pairwise(rounds) if later - earlier > 0.0101]
    assert len(long) <= 2  # each of them goes on once


async def test_worker_ends_after_a_handler_that_cancels_its_task(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    handled: list[str] = []

    @kafka_consumer(group_id="g", drain_timeout=0, retry=RetryPolicy(attempts=1))
    class Cancels:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.append(event.id)
            if event.id == "e0":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            elif event.id == "e1":
                raise asyncio.CancelledError

    group = make_group(Cancels())
    group.assign()
    group.receive(*(make_record(n) for n in range(3)))
    await until(lambda: len(handled) == 3)
    assert handled == ["e0", "e1", "e2"]
    assert group.errors == []


async def cancel_this() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def cancel_from_a_child() -> None:
    task = asyncio.current_task()
    assert task is not None

    async def child() -> None:
        task.cancel()

    await asyncio.wait([asyncio.create_task(child())])
    await asyncio.sleep(0)


@pytest.mark.parametrize("cancel", [cancel_this, cancel_from_a_child])
async def test_self_cancelling_handler_failed(
    cancel: Callable[[], Awaitable[None]], make_group: MakeGroup, make_record: MakeRecord
) -> None:
    handled: list[str] = []

    @kafka_consumer(group_id="g", drain_timeout=0, retry=RetryPolicy(attempts=2, wait_initial=0))
    class Cancels:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.append(event.id)
            if event.id == "e0":
                await cancel()

    group = make_group(Cancels())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await until(lambda: handled == ["e0", "e0", "e1"])
    assert group.errors == []
    assert len(group.producer.records) == 1


async def test_handlers_request_to_cancel_ends_its_own_worker_alone(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    handled: list[str] = []

    @kafka_consumer(group_id="g", drain_timeout=0)
    class Leaves:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            handled.append(event.id)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    group = make_group(Leaves())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await until(lambda: handled == ["e0", "e1"])
    await group.settle()
    assert group.errors == []


async def test_foreign_cancel_stops_the_group(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = await waiting_group(make_group, make_record)
    for worker in group.consumer._dispatcher._workers_alive:
        worker.cancel()
    await group.settle()
    assert [str(error) for error in group.errors] == ["a worker ended: CancelledError"]
    assert group.producer.records == []


async def test_closed_worker_has_no_outcome(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = await waiting_group(make_group, make_record)
    (worker,) = group.consumer._dispatcher._workers_alive
    coroutine: Any = worker.get_coro()
    with suppress(ValueError):  # of the context variable, which is another context's
        coroutine.close()
    await group.settle()
    assert group.producer.records == []
    worker.cancel()


async def test_demand_comes_before_the_end(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(busy := Busy(), clock=busy.clock)
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(2100)))
    assert group.transport.credits == 0
    while group.transport.credits == 0:  # noqa: ASYNC110 -- no event is set for it
        await asyncio.sleep(0)
    assert busy.handled < 200


async def test_handler_that_a_stop_cancels_is_not_an_error(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = await waiting_group(make_group, make_record)
    await group.consumer.stop()
    assert group.errors == []


async def test_gathered_lanes_take_part_in_turns(make_group: MakeGroup, make_record: MakeRecord) -> None:
    now, rounds = [1_000.0], [1_000.0]

    def tick() -> float:
        now[0] += 0.0001
        return now[0]

    @kafka_consumer(group_id="g", drain_timeout=0)
    class Both:
        def __init__(self) -> None:
            self.handled = 0

        @on_message("another.thing.happened.v1")
        async def one(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            self.handled += 1

        @on_batch(TOPIC, max_size=1_000, max_wait=60)
        async def many(self, events: list[CloudEvent[Any]]) -> None: ...

    group = make_group(handler := Both(), clock=Clock(monotonic=tick))
    group.assign()
    group.consumer.on_assigned([Assignment(TopicPartition("another.thing.happened.v1", 0), 2, 0)])
    group.receive(*(make_record(n, f"t{n}") for n in range(38)))
    others = [make_record(n, f"u{n}")._replace(topic="another.thing.happened.v1") for n in range(300)]
    group.receive(*others, epoch=2)
    while handler.handled < 300:
        rounds.append(now[0])
        await asyncio.sleep(0)
    assert max(later - earlier for earlier, later in pairwise(rounds)) < 0.006
