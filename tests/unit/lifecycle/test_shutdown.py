"""How runners end: cancelled, by a signal, before they have begun, beside handlers that hang."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from tests.unit.engine.test_runner import SETTINGS, Handler, Patient, Wire, Wires

from eventzr_kafka import CloudEvent, ConsumerRunner, kafka_consumer, on_message
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.engine.group_consumer import GroupConsumer
from eventzr_kafka.engine.handler_threads import HandlerThreads
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, ConsumerSink, DeliveryCallback
from eventzr_kafka.lifecycle.shutdown import LoopWatch, complete
from eventzr_kafka.lifecycle.signals import stopped_by_signals

SECONDS: Final = 60.0  # ends what hangs


@kafka_consumer(group_id="other")
class Other:
    @on_message("runner.other.happened.v1")
    async def handle(self, event: CloudEvent[Any]) -> None: ...


@pytest.mark.virtual_time
@pytest.mark.parametrize("cancellations", [1, 2])
async def test_cancelled_runner_drains_and_leaves(cancellations: int) -> None:
    wires, handler = Wires(), Patient()
    runner = ConsumerRunner(handler, settings=SETTINGS, clients=wires)

    async def serve() -> None:
        async with runner:
            wires.made[0].bring("a")
            await asyncio.Event().wait()

    service = asyncio.create_task(serve())
    await asyncio.sleep(0.01)
    for _ in range(cancellations):
        service.cancel()
        await asyncio.sleep(0.01)
    assert not service.done()
    handler.gate.set()
    await asyncio.wait({service}, timeout=SECONDS)
    assert service.cancelled()
    assert wires.made[0].closed
    assert [position.offset for position in wires.made[0].positions] == [1]


async def test_failed_drain_leaves_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(group: GroupConsumer, _epochs: object) -> None:
        if group.group_id == wires.made[0].group_id:
            raise ZeroDivisionError

    wires = Wires()
    runner = ConsumerRunner(Handler(), Other(), settings=SETTINGS, clients=wires)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(ZeroDivisionError):
            async with runner:
                monkeypatch.setattr(GroupConsumer, "_drain", fail)
    assert [wire.closed for wire in wires.made] == [True, True]


async def test_failed_start_leaves_its_groups() -> None:
    class Unstartable(Wire):
        def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
            raise OSError(len(topics), str(sink))

    class SecondUnstartable(Wires):
        def consumer(self, group_id: str, options: Any, settings: Any) -> Wire:  # noqa: ARG002
            self.made.append((Unstartable if self.made else Wire)(group_id, options))
            return self.made[-1]

    wires = SecondUnstartable()
    runner = ConsumerRunner(Handler(), Other(), settings=SETTINGS, clients=wires)
    with pytest.raises(OSError, match="GroupConsumer"):
        await runner.run()
    assert [wire.closed for wire in wires.made] == [True, False]
    await asyncio.wait_for(runner.ready(), SECONDS)


async def test_stopped_runner_does_not_start() -> None:
    wires = Wires()
    runner = ConsumerRunner(Handler(), settings=SETTINGS, clients=wires)
    runner.stop()
    await asyncio.wait_for(runner.run(), SECONDS)
    await asyncio.wait_for(runner.ready(), SECONDS)
    assert wires.made == []


@pytest.mark.virtual_time
async def test_vain_ready_leaves_no_task() -> None:
    async with ConsumerRunner(Handler(), Other(), settings=SETTINGS, clients=Wires()) as runner:
        await asyncio.sleep(0)
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runner.ready(), 0.01)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


@pytest.mark.virtual_time
async def test_one_signal_stops_every_runner() -> None:
    runners = [ConsumerRunner(Handler(), settings=SETTINGS, clients=Wires()) for _ in range(3)]
    running = asyncio.gather(*(runner.run() for runner in runners))
    await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, SECONDS)
    assert asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM) is False


@pytest.mark.virtual_time
async def test_runner_after_a_signal_stops() -> None:
    wires, late, patient = Wires(), Wires(), Patient()
    first = asyncio.create_task(ConsumerRunner(patient, settings=SETTINGS, clients=wires).run())
    await asyncio.sleep(0.01)
    wires.made[0].bring("a")
    await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.01)
    await asyncio.wait_for(ConsumerRunner(Handler(), settings=SETTINGS, clients=late).run(), SECONDS)
    assert late.made == []
    patient.gate.set()
    await asyncio.wait_for(first, SECONDS)


@pytest.mark.virtual_time
async def test_ended_runner_leaves_signals() -> None:
    stopped: list[str] = []
    with stopped_by_signals(lambda: stopped.append("outer")):
        with stopped_by_signals(lambda: stopped.append("inner")):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)
    assert stopped == ["outer"]


def test_hanging_threads_hold_no_process() -> None:
    threads, entered, gate = HandlerThreads(2), threading.Event(), threading.Event()

    def hang() -> bool:
        entered.set()
        gate.wait(10)
        return threading.current_thread().daemon

    future = threads.submit(hang)
    waiting = [threads.submit(hang) for _ in range(3)]
    assert entered.wait(SECONDS)
    threads.shutdown()
    assert waiting[-1].cancelled()
    gate.set()
    assert future.result(SECONDS) is True


def test_handler_threads_are_bounded() -> None:
    threads = HandlerThreads(2)
    barrier = threading.Barrier(2)

    def name(_number: int) -> str:
        barrier.wait(SECONDS)
        return threading.current_thread().name

    names = {
        future.result(SECONDS) for _ in range(5) for future in [threads.submit(name, number) for number in range(2)]
    }
    threads.shutdown()
    assert len(names) == 2


def test_call_without_thread_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, called = HandlerThreads(1), list[str]()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            threads.submit(called.append, "first")
    threads.submit(called.append, "second").result(5)
    threads.shutdown()
    assert called == ["second"]


async def test_work_survives_cancellations() -> None:
    gate, ended = asyncio.Event(), list[str]()

    async def work() -> None:
        await gate.wait()
        ended.append("work")

    waiting = asyncio.create_task(complete(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["work"]


async def test_complete_raises_a_works_error() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await complete(fail())


def test_closed_loop_ends_its_client(caplog: pytest.LogCaptureFixture) -> None:
    loop, closed = asyncio.new_event_loop(), threading.Semaphore(0)
    watch = LoopWatch(loop, "outbox relay", closed.release)
    watch()
    assert not closed.acquire(blocking=False)
    loop.close()
    watch()
    watch()
    assert closed.acquire(timeout=SECONDS)
    assert [record.message for record in caplog.records] == [
        "outbox relay: its event loop was closed without stop(): the Kafka client is closed"
    ]


def test_letter_client_ends_with_its_loop() -> None:
    class Client:
        def __init__(self) -> None:
            self.closed = threading.Event()

        def start(self, reported: Callable[[], None]) -> None:
            self.reported = reported

        def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
            report(Acknowledgement(0, len(record.topic)))
            return True

        def flush(self, timeout: float) -> int:
            return int(timeout)

        def close(self) -> None:
            self.closed.set()

    client = Client()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(DeadLetterWriter(lambda: client).write(OutgoingRecord("t", b"k", b"v", ())))
    client.reported()
    assert not client.closed.is_set()
    loop.close()
    client.reported()
    assert client.closed.wait(SECONDS)
