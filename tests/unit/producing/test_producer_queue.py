"""Events that find no room, over a transport whose queue and reports are in the test's hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.unit.producing.bench import TIMED_OUT, Bench, Thing, Transport, settle

from eventzr_kafka import CloudEvent, EventProducer
from eventzr_kafka.errors import DeliveryError, EncodeError, ProducerError, ProducerStateError, QueueFullError
from eventzr_kafka.kafka.transport import Acknowledgement
from eventzr_kafka.settings import KafkaSettings


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Order


def test_waiting_events_go_out_in_order(bench: Bench) -> None:
    deliveries = [bench.enqueue(event_id) for event_id in "abc"]
    assert bench.transport.sent == []
    bench.transport.room = 2
    bench.transport.reported()
    assert bench.transport.sent == ["a", "b"]
    bench.transport.report()
    bench.transport.reported()
    assert bench.transport.sent == ["a", "b", "c"]
    assert [delivery.done() for delivery in deliveries] == [True, False, False]
    assert deliveries[0].result().status == "acknowledged"


async def test_no_event_overtakes_a_waiting_one(bench: Bench) -> None:
    bench.enqueue("a")
    bench.transport.room = 4
    bench.enqueue("b")
    bench.publish("c")
    await settle()
    assert bench.transport.sent == []
    bench.transport.reported()
    bench.enqueue("d")
    assert bench.transport.sent == ["a", "b", "c", "d"]


async def test_publishing_task_wakes_when_sent(bench: Bench) -> None:
    task = bench.publish("a")
    await settle()
    bench.transport.room = 1
    bench.transport.reported()
    bench.transport.report(Acknowledgement(3, 17))
    bench.transport.reported()
    async with asyncio.timeout(60):
        result = await task
    assert (result.event_id, result.partition, result.offset) == ("a", 3, 17)


# Bounds


async def test_cancelled_publish_withdraws(bench: Bench) -> None:
    tasks = [bench.publish(event_id) for event_id in "abc"]
    await settle()
    tasks[1].cancel()
    await settle()
    assert len(bench.producer._waiting.entries) == 2
    bench.transport.room = 9
    bench.transport.reported()
    assert bench.transport.sent == ["a", "c"]


async def test_many_cancels_leave_nothing(bench: Bench) -> None:
    for _ in range(20):
        tasks = [bench.publish(f"e{number}") for number in range(200)]
        await settle()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert len(bench.producer._waiting.entries) == 0
    assert bench.producer.unreported_failures == 0


async def test_cancelled_sent_event_may_arrive(bench: Bench) -> None:
    bench.transport.room = 1
    task = bench.publish("a")
    await settle()
    task.cancel()
    await settle()
    assert task.cancelled()
    assert bench.transport.sent == ["a"]
    bench.transport.report()
    bench.transport.reported()
    assert bench.producer.unreported_failures == 0


async def test_cancelled_tasks_failure_is_the_producers(bench: Bench) -> None:
    bench.transport.room = 1
    task = bench.publish("a")
    await settle()
    task.cancel()
    await settle()
    bench.transport.report(TIMED_OUT)
    bench.transport.reported()
    assert bench.producer.unreported_failures == 1


async def test_cancelled_result_withdraws_nothing(bench: Bench) -> None:
    delivery = bench.enqueue("a")
    with suppress(TimeoutError):
        await asyncio.wait_for(delivery, 0.01)
    bench.transport.room = 1
    bench.transport.reported()
    assert bench.transport.sent == ["a"]


# The end of the process


def test_exit_sends_and_counts_waiting(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for event_id in "abc":
        bench.enqueue(event_id)
    bench.transport.room = 2

    def flush(timeout: float) -> int:
        bench.now += timeout
        bench.transport.reported()
        return len(bench.transport.under_way)

    bench.transport.flush = flush  # type: ignore[method-assign]
    bench.producer.end_at_exit(bench.now + 7)
    assert bench.transport.sent == ["a", "b"]
    first, *failures, last = [record.message for record in caplog.records]
    assert first.startswith("the process ends with an open producer: delivering 3 events, for 7 s at most; use `async")
    assert [failure.split(":")[0] for failure in failures] == ["not published"] * 3
    assert last == "3 events were not delivered before the process ended; the log names each one"


def test_idle_exit_is_silent(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.producer.end_at_exit(bench.now + 7)
    bench.producer.end_at_exit(bench.now + 7)
    assert caplog.records == []


async def test_cancelled_start_ends_client() -> None:
    entered, gate = threading.Event(), threading.Event()
    transport = Transport()

    def make(_settings: KafkaSettings) -> Transport:
        entered.set()
        gate.wait(5)
        return transport

    producer = EventProducer(source="s", settings=KafkaSettings(), transport=make)
    starting = asyncio.create_task(producer.__aenter__())
    await asyncio.to_thread(entered.wait, 5)
    starting.cancel()
    gate.set()
    await asyncio.wait({starting}, timeout=5)
    assert starting.cancelled()
    assert transport.closed == 1


async def test_cancelled_block_closes_first(bench: Bench) -> None:
    flushing, gate = threading.Event(), threading.Event()

    def flush(timeout: float) -> int:
        flushing.set()
        return 0 if gate.wait(timeout) else 1

    bench.transport.flush = flush  # type: ignore[method-assign]
    leaving = asyncio.create_task(bench.producer.__aexit__(None, None, None))
    await asyncio.to_thread(flushing.wait, 5)
    for _ in range(2):
        await settle()
        leaving.cancel()
    assert bench.transport.closed == 0
    gate.set()
    await asyncio.wait({leaving}, timeout=5)
    assert leaving.cancelled()
    assert bench.transport.closed == 1


# Bounds, in time


def test_room_is_awaited_for_time_out(bench: Bench) -> None:
    first = bench.enqueue("a")
    bench.now += 3
    second = bench.enqueue("b")
    bench.now += 1.9
    bench.transport.reported()
    assert not first.done()
    bench.now += 0.2
    bench.transport.reported()
    with pytest.raises(QueueFullError, match="no room in the queue within 5 s"):
        first.result(0)
    assert not second.done()
    bench.transport.room = 2
    bench.transport.reported()
    assert bench.transport.sent == ["b"]


async def test_late_publishing_task_is_woken(bench: Bench) -> None:
    task = bench.publish("a")
    await settle()
    bench.now += 5.1
    bench.transport.reported()
    async with asyncio.timeout(60):
        with pytest.raises(QueueFullError):
            await task


async def test_enqueue_refuses_beyond_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventzr_kafka.producing.producer._MAX_WAITING", 2)
    bench.enqueue("a")
    bench.enqueue("b")
    with pytest.raises(QueueFullError, match="2 events wait already"):
        bench.enqueue("c")
    bench.publish("d")
    await settle()
    bench.transport.room = 4
    bench.transport.reported()
    assert bench.transport.sent == ["a", "b", "d"]


# Closing


async def test_close_notifies_waiting_task(bench: Bench) -> None:
    task = bench.publish("a")
    await settle()
    with suppress(ProducerError):
        bench.producer.close(0)
    async with asyncio.timeout(60):
        with pytest.raises(QueueFullError):
            await task


async def test_close_notifies_task_in_flight(bench: Bench) -> None:
    bench.transport.room = 1
    task = bench.publish("a")
    await settle()
    with suppress(ProducerError):
        bench.producer.close(0)
    async with asyncio.timeout(60):
        with pytest.raises(DeliveryError, match="_DESTROY"):
            await task


async def test_close_is_silent_for_awaited(bench: Bench) -> None:
    bench.transport.room = 1
    tasks = [bench.publish("under way"), bench.publish("waits")]
    await settle()
    try:
        bench.producer.close(0)
    finally:
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DeliveryError, QueueFullError]


def test_close_reports_unawaited_failures(bench: Bench) -> None:
    bench.transport.room = 3
    seen, _unseen, _acknowledged = (bench.enqueue(event_id) for event_id in "abc")
    bench.transport.report(TIMED_OUT)
    bench.transport.report(TIMED_OUT)
    bench.transport.report()
    bench.transport.reported()
    with pytest.raises(DeliveryError, match="_MSG_TIMED_OUT"):
        seen.result(0)
    with pytest.raises(ProducerError, match="1 events were not acknowledged"):
        bench.producer.close(0)
    bench.producer.close(0)


def test_close_is_silent_once_seen(bench: Bench) -> None:
    bench.transport.room = 1
    delivery = bench.enqueue("a")
    bench.transport.report(TIMED_OUT)
    bench.transport.reported()
    with pytest.raises(DeliveryError):
        delivery.result(0)
    bench.producer.close(0)


def test_close_reports_waiting_events(bench: Bench) -> None:
    bench.enqueue("a")
    bench.enqueue("b")
    with pytest.raises(ProducerError, match="2 events were not acknowledged"):
        bench.producer.close(0)


def test_closed_producer_publishes_nothing(bench: Bench) -> None:
    bench.transport.room = 1
    bench.producer.close(0)
    with pytest.raises(ProducerStateError):
        bench.enqueue("a")
    assert bench.transport.sent == []


# Arguments


async def test_whole_event_has_its_envelope(bench: Bench) -> None:
    event = CloudEvent(id="1", source="s", type="bench.thing.queued.v1", tenantid="t1", data=Thing(n=1))
    producer: Any = bench.producer
    with pytest.raises(TypeError, match="tenant_id"):
        await producer.publish(event, tenant_id="t2")
    with pytest.raises(TypeError, match="tenant_id"):
        producer.enqueue(event, tenant_id="t2")


def test_empty_event_id_is_refused(bench: Bench) -> None:
    bench.transport.room = 1
    with pytest.raises(EncodeError, match="id:"):
        bench.enqueue("")
    assert bench.transport.sent == []


@pytest.mark.parametrize(
    "name",
    ["specversion", "id", "type", "source", "time", "datacontenttype", "subject", "dataschema", "tenantid", "data"],
)
def test_extension_replaces_no_attribute(bench: Bench, name: str) -> None:
    bench.transport.room = 1
    with pytest.raises(EncodeError, match=f"'{name}'.* is not an extension"):
        bench.producer.enqueue(Thing(n=1), tenant_id="t1", extensions={name: "x"})
    assert bench.transport.sent == []


# Waking


async def test_reports_wake_a_loop_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.transport.room = 5
    tasks = [bench.publish(event_id) for event_id in "abcde"]
    await settle()
    loop, calls = asyncio.get_running_loop(), list[object]()
    real = loop.call_soon_threadsafe

    def count(callback: Callable[..., object], *args: Any) -> asyncio.Handle:
        calls.append(callback)
        return real(callback, *args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    for _ in tasks:
        bench.transport.report()
    assert calls == []
    bench.transport.reported()
    bench.transport.reported()
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    assert len(calls) == 1


async def test_cancelled_publishes_do_not_pile_up() -> None:
    settings = KafkaSettings(brokers="127.0.0.1:1", librdkafka={"queue.buffering.max.messages": 50})
    producer = EventProducer(source="s", settings=settings)
    async with producer:
        for _ in range(5):
            tasks = [asyncio.create_task(producer.publish(Thing(n=n), tenant_id="t1")) for n in range(100)]
            await settle()
            assert 0 < len(producer._waiting.entries) <= 100
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert len(producer._waiting.entries) == 0
        with suppress(ProducerError):
            await asyncio.to_thread(producer.close, 0.0)
