"""`when=` and sources in a running group: what is skipped, what fails, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, FakeReader, Group, MakeGroup, MakeRecord

from eventzr_kafka import CloudEvent, EventData, Record, kafka_consumer, on_batch, on_message
from eventzr_kafka.dead_letters.letter import read_letter
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment


def wanted(event: CloudEvent[Any]) -> bool:
    return event.data["wanted"] is True


class Plain:
    def __init__(self) -> None:
        self.seen: list[str] = []


@kafka_consumer(group_id="group", retry=RetryPolicy(attempts=2, wait_initial=0.0))
class Chooser(Plain):
    @on_message(TOPIC, when=wanted)
    async def handle(self, event: CloudEvent[Any]) -> None:
        self.seen.append(event.id)


@kafka_consumer(group_id="group")
class BatchChooser(Plain):
    @on_batch(TOPIC, when=wanted, max_wait=0)
    async def handle(self, events: list[CloudEvent[Any]]) -> None:
        self.seen.append(" ".join(event.id for event in events))


def letters(group: Any) -> list[tuple[str, str]]:
    found = [read_letter(Record("group.dlq", 0, 0, *record[1:])) for record in group.producer.records]
    return [(letter.facts.error, letter.facts.reason) for letter in found if letter is not None]


async def test_unwanted_events_are_skipped(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    handler = Chooser()
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(n, data={"wanted": n % 3 == 0}) for n in range(7)))
    await group.settle()
    group.store()
    assert handler.seen == ["e0", "e3", "e6"]
    assert group.transport.offset() == 7
    assert group.consumer.skipped == {"Chooser.handle": 4}
    assert letters(group) == []
    assert {record.levelname for record in caplog.records} == {"INFO"}


async def test_unwanted_event_may_be_invalid(make_group: MakeGroup, make_record: MakeRecord) -> None:
    class Thing(EventData):
        n: int

    @kafka_consumer(group_id="group", sources={"s"})
    class Strict(Plain):
        @on_message(TOPIC, when=wanted)
        async def handle(self, event: CloudEvent[Thing]) -> None:
            self.seen.append(event.id)

    def of(record: Record, source: bytes) -> Record:
        return record._replace(value=(record.value or b"").replace(b'"source":"s"', b'"source":"' + source + b'"'))

    handler = Strict()
    group = make_group(handler)
    group.assign()
    group.receive(
        make_record(0, data={"wanted": False, "n": "none"}),
        of(make_record(1, data={"wanted": False, "n": 1}), b"evil"),
        make_record(2, data={"wanted": True, "n": "none"}),
        of(make_record(3, data={"wanted": True, "n": 1}), b"evil"),
        make_record(4, data={"wanted": True, "n": 1}),
    )
    await group.settle()
    group.store()
    assert handler.seen == ["e4"]
    assert [error for error, _ in letters(group)] == ["InvalidDataError", "SourceNotAllowedError"]
    assert group.transport.offset() == 5


async def test_failing_predicate_is_retried(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = Chooser()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, data={"other": 1}), make_record(1, data={"wanted": True}))
    await group.settle()
    await group.settle()
    group.store()
    [(error, reason)] = letters(group)
    assert error == "KeyError"
    assert reason.startswith("KeyError at ")
    assert handler.seen == ["e1"]
    assert group.consumer.skipped == {}
    assert group.transport.offset() == 2


async def test_odd_result_is_a_dead_letter(make_group: MakeGroup, make_record: MakeRecord) -> None:
    def odd(event: CloudEvent[Any]) -> bool:
        return event.data.get("orderId")  # type: ignore[no-any-return]

    @kafka_consumer(group_id="group")
    class Odd(Plain):
        @on_message(TOPIC, when=odd)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.seen.append(event.id)

    group = make_group(Odd())
    group.assign()
    group.receive(make_record(0))
    await group.settle()
    assert letters(group) == [("Reject", "when= of Odd.handle returned a NoneType, not True or False")]


async def test_skipped_are_not_in_a_batch(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = BatchChooser()
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(n, data={"wanted": n % 2 == 1}) for n in range(6)))
    await group.settle()
    group.receive(make_record(6, data={"wanted": False}))
    await group.settle()
    group.store()
    assert handler.seen == ["e1 e3 e5"]
    assert group.transport.offset() == 7
    assert group.consumer.skipped == {"BatchChooser.handle": 4}
    assert letters(group) == []


async def test_unreadable_cuts_behind_skipped(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = BatchChooser()
    group = make_group(handler)
    group.assign()
    broken = make_record(2)._replace(value=b"{")
    group.receive(
        make_record(0, data={"wanted": False}),
        make_record(1, data={"wanted": True}),
        broken,
        make_record(3, data={"wanted": False}),
        make_record(4, data={"wanted": True}),
    )
    for _ in range(3):
        await group.settle()
    group.store()
    assert handler.seen == ["e1", "e4"]
    assert group.consumer.skipped == {"BatchChooser.handle": 2}
    assert [error for error, _ in letters(group)] == ["InvalidEnvelopeError"]
    assert group.transport.offset() == 5


async def test_failed_predicate_keeps_order(make_group: MakeGroup, make_record: MakeRecord) -> None:
    failures = [KeyError()]

    def fails_once(event: CloudEvent[Any]) -> bool:
        if event.id == "e0" and len(failures) < 3:  # at its arrival and in its turn
            failures.append(KeyError())
            raise failures[-1]
        return True

    @kafka_consumer(group_id="group", ordering="subject", retry=RetryPolicy(wait_initial=0.0))
    class BySubject(Plain):
        @on_message(TOPIC, when=fails_once)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.seen.append(event.id)

    handler = BySubject()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, subject="a"), make_record(1, subject="a"), make_record(2, subject="b"))
    await group.settle()
    await group.settle()
    assert [each for each in handler.seen if each != "e2"] == ["e0", "e1"]


async def parking_group(make_group: MakeGroup, handler: object) -> Group:
    """A group that knows which keys are parked."""
    group = make_group(handler)
    group.assign()
    assert isinstance(group.reader, FakeReader)
    await group.settle()
    group.reader.catch_up()
    return group


async def test_unwanted_is_not_parked(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="group", after_dead_letter="park_key")
    class Parking(Plain):
        @on_message(TOPIC, when=wanted)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.seen.append(event.id)

    handler = Parking()
    group = await parking_group(make_group, handler)
    group.receive(
        make_record(0)._replace(value=b"{"),
        make_record(1, data={"wanted": False}),
        make_record(2, data={"wanted": True}),
    )
    for _ in range(3):
        await group.settle()
    group.store()
    assert handler.seen == []
    assert [error for error, _ in letters(group)] == ["InvalidEnvelopeError", "parked"]
    assert group.consumer.skipped == {"Parking.handle": 1}
    assert group.transport.offset() == 3


async def test_failed_predicate_is_parked_by_subject(make_group: MakeGroup, make_record: MakeRecord) -> None:
    calls: list[str] = []

    def flaky(event: CloudEvent[Any]) -> bool:
        calls.append(event.id)
        if event.id == "e0" or (event.id == "e1" and calls.count("e1") == 1):  # as the lane of e1 is chosen
            raise ConnectionError
        return True

    @kafka_consumer(group_id="group", after_dead_letter="park_key", ordering="subject", retry=RetryPolicy(attempts=1))
    class Parking(Plain):
        @on_message(TOPIC, when=flaky)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.seen.append(event.id)

    handler = Parking()
    group = await parking_group(make_group, handler)
    group.receive(make_record(0, subject="a"), make_record(1, subject="a"), make_record(2, subject="b"))
    for _ in range(3):
        await group.settle()
    assert handler.seen == ["e2"]
    assert [error for error, _ in letters(group)] == ["ConnectionError", "parked"]


# Sources


async def test_refused_source_is_a_problem(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    @kafka_consumer(group_id="group", sources={"t-svc"})
    class Consumer(Plain):
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    group = make_group(Consumer())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await group.settle()
    hint = "if it is right, accept it: sources= in the decorator of Consumer.handle, or accepts= of the event's class"
    assert group.consumer.problems == [f"group: {TOPIC}: source 's' is refused: 2 events are dead letters; {hint}"]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert [f"group: {TOPIC}: source 's' is refused: 1 event is a dead letter; {hint}" in errors, len(errors)] == [
        True,
        3,
    ]


async def test_any_source_is_logged(make_group: MakeGroup, caplog: pytest.LogCaptureFixture) -> None:
    @kafka_consumer(group_id="group")
    class Trusting(Plain):
        @on_message(TOPIC, sources="any")
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    make_group(Trusting())
    assert [record.message for record in caplog.records] == [
        'Trusting.handle: handles events of any source (sources="any")'
    ]


async def test_unreadable_letter_makes_no_letter(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(Chooser())
    group.assign()
    group.receive(make_record(0)._replace(key=None))
    await group.settle()
    [letter] = group.producer.records

    @kafka_consumer(group_id="mirror")
    class Mirror(Plain):
        @on_message("group.dlq")
        async def handle(self, event: CloudEvent[Any]) -> None: ...

    caplog.clear()
    mirror = make_group(Mirror())
    mirror.consumer.on_assigned([Assignment(TopicPartition("group.dlq", 0), 1, 0, "")])
    mirror.receive(Record("group.dlq", 0, 0, *letter[1:]), make_record(1)._replace(topic="group.dlq", value=b"{"))
    await mirror.settle()
    mirror.store()
    assert [error for error, _ in letters(mirror)] == ["InvalidEnvelopeError"]
    assert mirror.transport.offset() == 2
    [line] = [each for each in caplog.records if "group.dlq[0]@0" in each.message]
    assert (line.levelname, line.message.endswith("; skipped")) == ("WARNING", True)


# Decoration


async def _async_when(event: CloudEvent[Any]) -> bool:
    return bool(event.data)


class _AsyncWhen:
    async def __call__(self, event: CloudEvent[Any]) -> bool:
        return bool(event.data)


@pytest.mark.parametrize("when", [_async_when, _AsyncWhen()])
@pytest.mark.parametrize("decorator", [on_message, on_batch])
def test_async_predicate_is_refused(decorator: Any, when: Any) -> None:
    with pytest.raises(RoutingError) as found:
        decorator(TOPIC, when=when)
    assert "when= is an async function: the choice is made before anything is awaited; write" in str(found.value)
    assert f'@{decorator.__name__}("{TOPIC}"' in str(found.value)
    assert "when=lambda event: …)" in str(found.value)
    assert "test_when_and_sources.py:" in str(found.value)


def test_predicate_must_be_callable() -> None:
    nothing: Any = "orderId"
    with pytest.raises(RoutingError, match="when= is a str: it must be a function"):
        on_message(TOPIC, when=nothing)


def test_sources_of_handler_are_checked() -> None:
    wrong: Any = "wallet-svc"
    with pytest.raises(RoutingError, match="sources='wallet-svc': must be one source or more"):
        on_message(TOPIC, sources=wrong)
