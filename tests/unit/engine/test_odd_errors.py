"""Errors that are hard to judge: each is one failed event with the policy's end, and the next event is handled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import field_validator
from tests.odd_errors import ODD, TEXT
from tests.unit.conftest import TOPIC, Group, MakeGroup, MakeRecord
from tests.unit.engine.test_failures import letters
from tests.waiting import until

from eventzr_kafka import (
    CloudEvent,
    EventData,
    MemoryInbox,
    MessageContext,
    Reject,
    RetryPolicy,
    decode,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.errors import EventStoppedError
from eventzr_kafka.inbox.protocol import Handled

TWICE = RetryPolicy(attempts=2, wait_initial=0)


async def committed(group: Group, offset: int) -> None:
    def is_stored() -> bool:
        group.store()
        return group.transport.offset() == offset

    await until(is_stored)


def consumer(kind: str, act: Callable[[], object]) -> Any:
    """An object whose handler does that with event e0."""

    @kafka_consumer(group_id="group", retry=TWICE)
    class Async:
        def __init__(self) -> None:
            self.calls: list[str] = []

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.calls.append(event.id)
            if event.id == "e0":
                act()

    @kafka_consumer(group_id="group", retry=TWICE)
    class Sync:
        def __init__(self) -> None:
            self.calls: list[str] = []

        @on_message(TOPIC)
        def handle(self, event: CloudEvent[Any]) -> None:
            self.calls.append(event.id)
            if event.id == "e0":
                act()

    @kafka_consumer(group_id="group", retry=TWICE)
    class Batch:
        def __init__(self) -> None:
            self.calls: list[str] = []

        @on_batch(TOPIC, max_size=10, max_wait=0.0)
        async def handle(self, events: list[CloudEvent[Any]]) -> None:
            self.calls += [event.id for event in events]
            if "e0" in self.calls and events[0].id == "e0":
                act()

    return {"async": Async, "sync": Sync, "batch": Batch}[kind]()


def attempts(name: str, kind: str) -> int:
    """The calls for one event: in a batch that condemns none, one more, in which it is alone."""
    return (1 if name.startswith("Reject") else 2) + (kind == "batch")


@pytest.mark.parametrize("kind", ["async", "sync", "batch"])
@pytest.mark.parametrize("name", ODD)
async def test_odd_error_is_one_failed_event(
    name: str, kind: str, make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(handler := consumer(kind, ODD[name]))
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"), make_record(2, "b"))
    await until(lambda: len(letters(group)) == 1 and {"e1", "e2"} <= set(handler.calls))
    (letter,) = letters(group)
    assert letter.facts.event_id == "e0"
    assert handler.calls.count("e0") == letter.facts.attempts == attempts(name, kind)
    await committed(group, 3)
    assert group.errors == []
    assert TEXT not in caplog.text
    assert TEXT not in str(group.producer.records)


@pytest.mark.parametrize("name", [name for name in ODD if name.endswith("of its own")])
async def test_handlers_decode_error_is_retried(
    name: str, make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(handler := consumer("async", ODD[name]))
    group.assign()
    group.receive(make_record(0))
    await until(lambda: len(letters(group)) == 1)
    assert handler.calls == ["e0", "e0"]
    assert letters(group)[0].facts.reason.startswith(f"{letters(group)[0].facts.error} at ")
    assert "attempt 1 of 2; again in" in caplog.messages[0]


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("name", ODD)
async def test_inbox_releases_an_odd_event(name: str, *, in_thread: bool, make_record: MakeRecord) -> None:
    inbox, record = MemoryInbox(), make_record(0)
    delivery = decode(record), MessageContext(record, "group")

    async def call(act: Callable[[], object]) -> Handled:
        def handle(*_: object) -> None:
            act()

        async def handle_async(*_: object) -> None:
            act()

        if in_thread:
            return inbox.handle_in_thread([delivery], handle)
        return await inbox.handle([delivery], handle_async)

    error: BaseException | None = None
    try:
        await call(ODD[name])
    except BaseException as caught:  # noqa: BLE001 -- whatever it is
        error = caught
    assert type(error) is not AttributeError
    async with asyncio.timeout(5):
        assert await call(lambda: None) == Handled([])


def stops_at_e1(retry: RetryPolicy = TWICE) -> Any:
    @kafka_consumer(group_id="group", retry=retry)
    class Exits:
        def __init__(self) -> None:
            self.calls: list[str] = []

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.calls.append(event.id)
            if event.id == "e1":
                raise SystemExit(3)

    return Exits()


async def test_system_exit_stops_with_its_event(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(stops_at_e1())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(3)))
    await until(lambda: group.errors != [])
    (error,) = group.errors
    assert isinstance(error, EventStoppedError)
    assert f"{TOPIC}[0]@1, event e1: Exits.handle: raised SystemExit at {__file__}:" in str(error)
    assert "if it ends the process again, it fails under its retry policy" in str(error)
    group.store()
    assert group.transport.stored[1].metadata.endswith(" x:1")


async def test_redelivered_exit_is_a_failure(make_group: MakeGroup, make_record: MakeRecord) -> None:
    first = make_group(stops_at_e1())
    first.assign()
    first.receive(*(make_record(n, f"t{n}") for n in range(3)))
    await until(lambda: first.errors != [])
    first.store()
    position = first.transport.stored[1]
    assert position.offset == 1

    group = make_group(handler := stops_at_e1())
    group.assign(position=1, metadata=position.metadata)
    group.receive(*(make_record(n, f"t{n}") for n in range(1, 4)))
    await committed(group, 4)
    assert group.errors == []
    assert [letter.facts.event_id for letter in letters(group)] == ["e1"]
    assert handler.calls.count("e1") == 2
    assert group.transport.stored[1].metadata == ""


async def test_another_exit_stops_again(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(stops_at_e1())
    group.assign(metadata=" x:0")
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await until(lambda: group.errors != [])
    group.store()
    assert group.transport.stored[1].metadata.endswith(" x:1")


async def test_exiting_batch_names_its_event(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="group", retry=TWICE)
    class Exits:
        @on_batch(TOPIC, max_size=10, max_wait=0.0)
        async def handle(self, events: list[CloudEvent[Any]]) -> None:
            if any(event.id == "e1" for event in events):
                raise SystemExit

    group = make_group(Exits())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(3)))
    await until(lambda: group.errors != [])
    assert f"{TOPIC}[0]@1, event e1: " in str(group.errors[0])


async def test_thread_interrupt_is_a_failure(make_group: MakeGroup, make_record: MakeRecord) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    group = make_group(consumer("sync", interrupt))
    group.assign()
    group.receive(make_record(0), make_record(1))
    await committed(group, 2)
    assert [letter.facts.error for letter in letters(group)] == ["RuntimeError"]


class Strange(EventData):
    """A payload class whose validator raises a given error."""

    n: int
    error: ClassVar[BaseException] = SystemExit()

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        if n == 0:
            raise cls.error
        return n


@pytest.mark.parametrize("ordering", ["tenant", "subject"])
@pytest.mark.parametrize("error", [SystemExit(TEXT), GeneratorExit(), asyncio.CancelledError(), Reject(TEXT)])
async def test_odd_payload_class_costs_a_record(
    error: BaseException,
    ordering: Any,
    make_group: MakeGroup,
    make_record: MakeRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Strange, "error", error)

    @kafka_consumer(group_id="group", ordering=ordering)
    class Typed:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Strange]) -> None: ...

    group = make_group(Typed())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await committed(group, 2)
    assert group.errors == []
    assert [letter.facts.error for letter in letters(group)] == ["InvalidDataError"]
    assert TEXT not in caplog.text
