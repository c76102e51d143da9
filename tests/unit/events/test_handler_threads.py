"""Threads beside handlers: whose tenant they may publish for, and what is logged about them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from tests.unit.conftest import FakeProducer

from eventzr_kafka import CloudEvent, EventData, EventProducer, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.errors import CrossTenantError, MissingTenantError
from eventzr_kafka.events.context import begin_handling, end_handling, handling, is_beside_handlers
from eventzr_kafka.settings import OutsideHandlers
from eventzr_kafka.testing import Events


@pytest.fixture(autouse=True)
def _no_handlers_left() -> Iterator[None]:
    """Other tests leave runners whose event loop ended first, on purpose."""
    left = handling.copy()
    handling.clear()
    yield
    handling.update(left)


class Asked(EventData, topic="threads.asked.v1"):
    n: int = 0


class Answered(EventData, topic="threads.answered.v1"):
    n: int = 0


def producer_of(outside_handlers: OutsideHandlers, client: FakeProducer) -> EventProducer:
    settings = KafkaSettings(outside_handlers=outside_handlers)
    producer = EventProducer(source="s", settings=settings, transport=lambda _settings: client)
    producer.start()
    return producer


@kafka_consumer(group_id="threads")
class InThread:
    """Publishes for tenant b in a thread while it handles an event."""

    def __init__(self, producer: EventProducer, wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        self.producer = producer
        self.wrap = wrap
        self.errors: list[Exception] = []

    @on_message(Asked)
    async def handle(self, _event: CloudEvent[Asked]) -> None:
        thread = threading.Thread(target=self.wrap(self.publish), name="of a handler")
        thread.start()
        await asyncio.to_thread(thread.join)

    def publish(self) -> None:
        try:
            self.producer.enqueue(Answered(), tenant_id="b")
        except CrossTenantError as error:
            self.errors.append(error)


def plainly(work: Callable[[], None]) -> Callable[[], None]:
    return work


def with_context(work: Callable[[], None]) -> Callable[[], None]:
    context = copy_context()
    return lambda: context.run(work)


async def run(outside: OutsideHandlers, wrap: Any, times: int = 1) -> tuple[InThread, FakeProducer]:
    client, events = FakeProducer(), Events()
    handler = InThread(producer_of(outside, client), wrap)
    events.subscribe(handler)
    for n in range(times):
        await events.emit(Asked(n=n), tenant_id="a")
    return handler, client


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "eventzr_kafka.producer"]


async def test_thread_of_handler_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    handler, client = await run("warn", plainly, times=3)
    [line] = warnings(caplog)
    assert line.startswith(
        "threads.answered.v1 is published from thread of a handler, which has no event in hand, beside"
    )
    assert "asyncio.to_thread" in line
    assert "KAFKA_OUTSIDE_HANDLERS=allow" in line
    assert (len(client.records), handler.errors) == (3, [])


async def test_refuse_makes_it_an_error() -> None:
    handler, client = await run("refuse", plainly)
    [error] = handler.errors
    assert isinstance(error, CrossTenantError)
    assert error.in_hand == frozenset()
    assert "no event is in hand here" in str(error)
    assert "contextvars.copy_context().run" in str(error)
    assert "allow_cross_tenant=True" in str(error)
    assert client.records == []


@pytest.mark.parametrize("outside", ["allow", "warn", "refuse"])
async def test_with_context_tenant_is_checked(outside: OutsideHandlers, caplog: pytest.LogCaptureFixture) -> None:
    handler, client = await run(outside, with_context)
    [error] = handler.errors
    assert "the handler runs for 'a'" in str(error)
    assert (client.records, warnings(caplog)) == ([], [])


# Threads that belong to no handler


def in_a_thread(work: Callable[[], object]) -> None:
    faults: list[Exception] = []

    def call() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- raised again below
            faults.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]


@pytest.fixture
def handlers_run() -> Iterator[None]:
    noted = begin_handling()
    yield
    end_handling(noted)


@pytest.mark.usefixtures("handlers_run")
def test_web_thread_may_publish(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeProducer()
    producer = producer_of("allow", client)
    in_a_thread(lambda: producer.enqueue(Answered(), tenant_id="b"))
    assert (len(client.records), warnings(caplog)) == (1, [])


def test_without_handlers_none_warns(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeProducer()
    producer = producer_of("warn", client)
    in_a_thread(lambda: producer.enqueue(Answered(), tenant_id="b"))
    assert (len(client.records), warnings(caplog)) == (1, [])


@pytest.mark.usefixtures("handlers_run")
def test_loop_thread_does_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeProducer()
    producer_of("warn", client).enqueue(Answered(), tenant_id="b")
    assert (len(client.records), warnings(caplog)) == (1, [])


@pytest.mark.usefixtures("handlers_run")
def test_call_can_allow_it() -> None:
    client = FakeProducer()
    producer = producer_of("refuse", client)
    in_a_thread(lambda: producer.enqueue(Answered(), tenant_id="b", allow_cross_tenant=True))
    assert len(client.records) == 1


def test_thread_inherits_no_tenant() -> None:
    producer = producer_of("allow", FakeProducer())
    with pytest.raises(MissingTenantError):
        in_a_thread(lambda: producer.enqueue(Answered()))


async def test_handlers_run_with_their_runner() -> None:
    events, found = Events(), list[bool]()
    events.subscribe(InThread(producer_of("allow", FakeProducer()), plainly))

    def note() -> None:
        found.append(is_beside_handlers())

    await asyncio.to_thread(note)
    async with events.running():
        await asyncio.to_thread(note)
        note()
    await asyncio.to_thread(note)
    assert found == [False, True, False, False]
