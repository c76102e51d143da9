"""The runner over transports that only write down: how it starts, stops and reports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from eventzr_kafka import (
    CloudEvent,
    ConsumerRunner,
    KafkaSettings,
    Record,
    RetryPolicy,
    encode,
    kafka_consumer,
    on_message,
)
from eventzr_kafka.engine.clients import RealClients
from eventzr_kafka.errors import ConsumerStateError, EventStoppedError, RoutingError
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.hooks import ConsumerHooks, EventFailed, PartitionsAssigned, RunnerStopping
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment, Batch, ConsumerSink, Paused, Position

TOPIC = "runner.thing.happened.v1"
SETTINGS = KafkaSettings()


class Wire:
    """A transport of one group that hands over what the test gives it."""

    def __init__(self, group_id: str, options: ConsumerOptions) -> None:
        self.group_id = group_id
        self.options = options
        self.positions: list[Position] = []
        self.closed = False
        self.problem: str | None = None

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        self.topics, self.sink = list(topics), sink

    def store(self, positions: Sequence[Position]) -> None:
        self.positions += positions

    def request_batch(self) -> None:
        """Take no notice: the test brings what it wants."""

    def pause(self, epochs: Paused) -> None:
        """Take no notice."""

    async def close(self, timeout: float) -> bool:
        self.closed = timeout > 0
        return True

    def bring(self, *tenants: str) -> None:
        topic = self.topics[0]
        self.sink.on_assigned([Assignment(TopicPartition(topic, 0), 1, 0)])
        records: list[Record] = []
        for offset, tenant in enumerate(tenants):
            event: CloudEvent[Any] = CloudEvent(id=f"e{offset}", source="s", type=topic, tenantid=tenant, data={})
            out = encode(event)
            records.append(Record(topic, 0, offset, out.key, out.value, out.headers))
        self.sink.on_received([Batch(1, records)])


@kafka_consumer(group_id="runner", retry=RetryPolicy(attempts=1, on_exhausted="stop"))
class Handler:
    def __init__(self, fails_for: str = "") -> None:
        self.fails_for = fails_for
        self.handled: list[str] = []

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        await asyncio.sleep(0)
        if event.tenantid == self.fails_for:
            raise ValueError("s3cr3t")
        self.handled.append(event.tenantid)


class Wires(RealClients):
    """The transports that a runner has asked for."""

    def __init__(self) -> None:
        self.made: list[Wire] = []

    def consumer(self, group_id: str, options: ConsumerOptions, settings: KafkaSettings) -> Wire:  # noqa: ARG002
        self.made.append(Wire(group_id, options))
        return self.made[-1]


async def test_error_stops_runner_at_once() -> None:
    wires, handler = Wires(), Handler(fails_for="bad")
    runner = ConsumerRunner(handler, settings=SETTINGS, clients=wires)
    await runner.__aenter__()
    wires.made[0].bring("good", "bad")
    with pytest.raises(EventStoppedError, match="raised ValueError at"):
        await asyncio.wait_for(runner.wait(), 60)
    assert wires.made[0].closed
    assert isinstance(runner.error, EventStoppedError)
    assert [position.offset for position in wires.made[0].positions] == [1]
    with pytest.raises(EventStoppedError):
        await runner.__aexit__(None, None, None)


@pytest.mark.virtual_time
async def test_stop_drains_commits_and_returns() -> None:
    wires, handler = Wires(), Handler()
    async with ConsumerRunner(handler, settings=SETTINGS, clients=wires) as runner:
        wires.made[0].bring("a", "b")
        await runner.ready()
        await asyncio.sleep(0.01)
        runner.stop()
        await asyncio.wait_for(runner.wait(), 60)
        assert wires.made[0].closed
    assert handler.handled == ["a", "b"]


@kafka_consumer(group_id="runner")
class Patient:
    """Handles an event for as long as the test wants."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
        await self.gate.wait()


@pytest.mark.virtual_time
async def test_caller_that_stops_waiting_does_not_break_the_end_off() -> None:
    wires, handler = Wires(), Patient()
    async with ConsumerRunner(handler, settings=SETTINGS, clients=wires) as runner:
        wires.made[0].bring("a")
        await asyncio.sleep(0.01)
        runner.stop()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runner.wait(), 0.01)
        handler.gate.set()
        await asyncio.wait_for(runner.wait(), 60)
    assert wires.made[0].closed
    assert [position.offset for position in wires.made[0].positions] == [1]


async def test_blocked_group_leaves_threads() -> None:
    unblocked = threading.Event()

    @kafka_consumer(group_id="slow", max_concurrency=1)
    class Slow:
        @on_message("runner.slow.v1")
        def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            unblocked.wait(5)

    @kafka_consumer(group_id="quick", max_concurrency=1)
    class Quick:
        @on_message("runner.quick.v1")
        def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            unblocked.set()

    wires = Wires()
    async with ConsumerRunner(Slow(), Quick(), settings=SETTINGS, clients=wires):
        for wire in wires.made:
            wire.bring("a")
        await asyncio.to_thread(unblocked.wait, 2)
        in_time = unblocked.is_set()
        unblocked.set()
    assert in_time


async def test_runner_runs_where_signals_cannot_be_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise NotImplementedError  # as on Windows

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_signal_handler", refuse)
    monkeypatch.setattr(loop, "remove_signal_handler", refuse)
    runner = ConsumerRunner(Handler(), settings=SETTINGS, clients=Wires())
    loop.call_later(0.01, runner.stop)
    await asyncio.wait_for(runner.run(), 60)


async def test_run_raises_what_stopped_it() -> None:
    wires = Wires()
    runner = ConsumerRunner(Handler(), settings=SETTINGS, clients=wires)
    running = asyncio.create_task(runner.run(handle_signals=False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    runner.stop()
    await asyncio.wait_for(running, 60)
    with pytest.raises(ConsumerStateError, match="has run already"):
        await runner.run()


async def test_raising_hook_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    facts: list[object] = []

    def assigned(fact: PartitionsAssigned) -> None:
        facts.append(fact)
        raise ZeroDivisionError

    wires, hooks = Wires(), ConsumerHooks(on_partitions_assigned=assigned, on_runner_stopping=facts.append)
    async with ConsumerRunner(Handler(), settings=SETTINGS, clients=wires, hooks=hooks):
        wires.made[0].bring("a")
    assert facts == [PartitionsAssigned("runner", (TopicPartition(TOPIC, 0),)), RunnerStopping(None)]
    assert "a hook failed at PartitionsAssigned" in caplog.text


@pytest.mark.virtual_time
async def test_failure_hook_names_the_tenant() -> None:
    facts: list[EventFailed] = []
    wires, hooks = Wires(), ConsumerHooks(on_event_failed=facts.append)
    with suppress(EventStoppedError):
        async with ConsumerRunner(Handler(fails_for="bad"), settings=SETTINGS, clients=wires, hooks=hooks):
            wires.made[0].bring("good", "bad")
            await asyncio.sleep(0.01)
    assert (facts[0].tenant_id, facts[0].offset) == ("bad", 1)


async def test_disabled_runner_says_so(caplog: pytest.LogCaptureFixture) -> None:
    wires = Wires()
    runner = ConsumerRunner(Handler(), settings=KafkaSettings(enabled=False), clients=wires)
    await asyncio.wait_for(runner.run(), 60)
    await runner.ready()
    assert wires.made == []
    assert "nothing is consumed" in caplog.text


def test_handlers_share_a_membership() -> None:
    with pytest.raises(RoutingError, match=r"is handled by Handler\.handle already"):
        ConsumerRunner(Handler(), Handler(), settings=SETTINGS)


def test_handlers_must_agree_on_options() -> None:
    @kafka_consumer(group_id="runner", max_concurrency=3)
    class Other:
        @on_message("runner.other.v1")
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    with pytest.raises(RoutingError, match="its options differ from those of Handler"):
        ConsumerRunner(Handler(), Other(), settings=SETTINGS)


def test_runner_needs_a_handler() -> None:
    with pytest.raises(ConsumerStateError, match="at least one handler"):
        ConsumerRunner(settings=SETTINGS)
