"""What becomes of events that fail: retries in their lane, dead letters, skips, stops."""

import asyncio
import logging
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, FakeProducer, Group, MakeGroup, MakeRecord
from tests.waiting import until

from eventzr_kafka import CloudEvent, Record, Reject, RetryLater, RetryPolicy, kafka_consumer, on_message
from eventzr_kafka.dead_letters.letter import Cut, DeadLetterFacts, Letter, read_letter
from eventzr_kafka.dead_letters.writer import DeadLetterWriter
from eventzr_kafka.errors import EventStoppedError
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import DeliveryFailure

pytestmark = pytest.mark.virtual_time

AT_ONCE = RetryPolicy(attempts=3, wait_initial=0)


def consumer(**options: Any) -> Any:
    """An object that raises what `errors` holds for an event's id, first to last, and then handles it."""

    chosen: dict[str, Any] = {"retry": AT_ONCE, **options}

    @kafka_consumer(group_id="group", **chosen)
    class Consumer:
        def __init__(self) -> None:
            self.calls: list[str] = []
            self.errors: dict[str, list[BaseException]] = {}

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.calls.append(event.id)
            if self.errors.get(event.id):
                raise self.errors[event.id].pop(0)

    return Consumer()


def waiting_consumer() -> Any:
    """An object whose handler waits for `gate`, and then fails."""

    @kafka_consumer(group_id="group", retry=AT_ONCE)
    class Consumer:
        def __init__(self) -> None:
            self.calls = 0
            self.gate = asyncio.Event()

        @on_message(TOPIC)
        async def handle(self, _event: CloudEvent[Any]) -> None:
            self.calls += 1
            await self.gate.wait()
            raise ValueError

    return Consumer()


def letters(group: Group) -> list[Letter]:
    found = [
        read_letter(Record(record.topic, 0, offset, record.key, record.value, tuple(record.headers)))
        for offset, record in enumerate(group.producer.records)
    ]
    return [letter for letter in found if letter is not None]


async def test_key_waits_for_its_failing_event_and_others_go_on(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=0.05, jitter=False))
    handler.errors["e0"] = [ValueError()]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"), make_record(2, "b"))
    await group.settle()
    group.store()
    assert handler.calls == ["e0", "e2"]
    assert group.transport.offset() == 0
    await asyncio.sleep(0.1)
    group.store()
    assert handler.calls == ["e0", "e2", "e0", "e1"]
    assert group.transport.offset() == 3


async def test_event_that_fails_too_often_is_dead_lettered(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()
    handler.errors["e0"] = [ValueError("secret") for _ in range(3)]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"))
    await group.settle()
    await asyncio.sleep(0.01)
    group.store()
    (letter,) = letters(group)
    assert letter.record == make_record(0, "a")._replace(timestamp=-1)
    assert (letter.facts.error, letter.facts.attempts, letter.facts.event_id) == ("ValueError", 3, "e0")
    assert letter.facts.reason.startswith("ValueError at ")
    assert "secret" not in str(group.producer.records)
    assert handler.calls == ["e0", "e0", "e0", "e1"]
    assert group.transport.offset() == 2


async def test_unreadable_record_becomes_a_dead_letter_at_once(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(consumer())
    group.assign()
    group.receive(make_record(0)._replace(value=b"{"), make_record(1)._replace(key=b"other"), make_record(2))
    await group.settle()
    group.store()
    assert [letter.facts.error for letter in letters(group)] == ["InvalidEnvelopeError", "TenantMismatchError"]
    assert [letter.facts.attempts for letter in letters(group)] == [0, 0]
    assert group.transport.offset() == 3


async def test_dead_letter_counts_once_written(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eventzr_kafka.consumer")
    handler = consumer(retry=RetryPolicy(attempts=1))
    handler.errors["e0"] = [ValueError()]
    group = make_group(handler)
    group.producer.failure = DeliveryFailure("TOPIC_AUTHORIZATION_FAILED", "not authorised", unknown=False)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"), make_record(2, "b"))
    await asyncio.sleep(0.1)
    group.store()
    assert group.transport.offset() == 0
    assert handler.calls == ["e0", "e2"]
    assert "TOPIC_AUTHORIZATION_FAILED" in str(group.consumer.problems)
    group.producer.failure = None
    await asyncio.sleep(0.7)
    group.store()
    assert handler.calls == ["e0", "e2", "e1"]
    assert group.transport.offset() == 3
    assert group.consumer.problems == []
    gone, back = [record.message for record in caplog.records if "dead letters can" in record.message]
    assert gone.startswith("group: dead letters cannot be written, their ordering keys wait: event e0 for group.dlq: ")
    assert "TOPIC_AUTHORIZATION_FAILED: not authorised; allow this identity to write to it: " in gone
    assert back.startswith("group: dead letters can be written again after ")


async def test_given_up_letter_counts_once(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=1))
    handler.errors["e0"] = [ValueError()]
    group = make_group(handler)
    group.producer.failure = DeliveryFailure("TOPIC_AUTHORIZATION_FAILED", "not authorised", unknown=False)
    group.assign()
    group.receive(make_record(0))
    await asyncio.sleep(0.1)
    epoch = group.consumer._epochs[1]
    assert epoch.running == 0  # a hand-over need not wait for the next try
    await group.consumer.stop()
    assert epoch.running == 0


async def test_pending_dead_letter_is_not_sent_after_a_revocation(
    make_group: MakeGroup, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_record: object) -> bool:
        return False

    monkeypatch.setattr("eventzr_kafka.dead_letters.writer._FULL_QUEUE_PAUSE", 0.0)
    handler = consumer(retry=RetryPolicy(attempts=1))
    handler.errors["e0"] = [ValueError()]
    group = make_group(handler)
    with monkeypatch.context() as full:
        full.setattr(group.producer, "produce", refuse)
        group.assign()
        group.receive(make_record(0))
        await group.settle()
        group.consumer.on_lost([1])
    await group.settle()
    assert letters(group) == []
    assert "cannot be written" not in caplog.text


async def test_missing_letter_topic_has_a_hint(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(consumer())
    group.producer.failure = DeliveryFailure("_UNKNOWN_TOPIC", "unknown topic", unknown=False)
    group.assign()
    group.receive(make_record(0)._replace(value=b"{"))
    await asyncio.sleep(0.05)
    assert "topic group.dlq does not exist; create it" in caplog.text


def refuse_letters(group: Group, count: int, reason: str) -> list[OutgoingRecord]:
    """Have the first letters refused; gives all that are sent."""
    sent: list[OutgoingRecord] = []
    produce = group.producer.produce

    def refuse(record: OutgoingRecord, report: Any) -> bool:
        sent.append(record)
        group.producer.failure = DeliveryFailure(reason, "no", unknown=False) if len(sent) <= count else None
        return produce(record, report)

    group.producer.produce = refuse  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize("reason", ["MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "_INVALID_ARG"])
async def test_letter_shrinks_until_it_fits(
    reason: str, make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(consumer())
    sent = refuse_letters(group, 3, reason)
    group.assign()
    bad = make_record(0)._replace(value=b"{", headers=(("x", b"1"),))
    group.receive(bad)
    await group.settle()
    await asyncio.sleep(0.05)
    assert [record.value for record in sent] == [b"{", b"{", b"", b""]
    assert ["x" in dict(record.headers) for record in sent] == [True, True, True, False]
    assert letters(group)[0].cut == Cut.measure(b"{", headers_too=True)
    assert "without the value of 1 bytes" in caplog.text
    group.store()
    assert group.transport.offset() == 1


async def test_large_letter_is_compressed(make_record: MakeRecord) -> None:
    plain, gzip = FakeProducer(), FakeProducer()
    plain.failure = DeliveryFailure("MSG_SIZE_TOO_LARGE", "too large", unknown=False)
    writer = DeadLetterWriter(lambda: plain, lambda: gzip)
    facts = DeadLetterFacts(
        group_id="group", handler="H.h", error="E", reason="r", attempts=0, first_failure=1.0, last_failure=1.0
    )
    await writer.write_letter(make_record(0), facts)
    assert plain.records == []
    assert [record.value for record in gzip.records] == [make_record(0).value]
    await writer.close()


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("INVALID_RECORD", "set its cleanup.policy to delete"),
        ("TOPIC_AUTHORIZATION_FAILED", "allow this identity to write to it"),
        ("TOPIC_EXCEPTION", "give the group another id"),
        ("MSG_SIZE_TOO_LARGE", "raise its max.message.bytes"),
        ("_MSG_TIMED_OUT", "it is tried again"),
    ],
)
async def test_wrong_letter_topic_has_a_hint(
    reason: str, hint: str, make_group: MakeGroup, make_record: MakeRecord
) -> None:
    group = make_group(consumer())
    group.producer.failure = DeliveryFailure(reason, "no", unknown=False)
    group.assign()
    group.receive(make_record(0)._replace(value=b"{"))
    await asyncio.sleep(0.05)
    (problem,) = group.consumer.problems
    assert hint in problem


async def test_handler_says_when_to_retry(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=0, jitter=False))
    handler.errors["e0"] = [RetryLater(after=0.02)]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0))
    await asyncio.sleep(0.06)
    assert handler.calls == ["e0", "e0"]


async def test_handler_says_never_to_retry(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()
    handler.errors["e0"] = [Reject("no such\nseller")]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0))
    await asyncio.sleep(0.02)
    assert handler.calls == ["e0"]
    assert letters(group)[0].facts.reason == "no such?seller"


@pytest.mark.parametrize(("policy", "written", "offset"), [("dead_letter", 1, 1), ("skip", 0, 1), ("stop", 0, 0)])
async def test_tombstone_follows_its_policy(
    policy: str, written: int, offset: int, make_group: MakeGroup, make_record: MakeRecord
) -> None:
    group = make_group(consumer(on_tombstone=policy))
    group.assign(position=None)
    group.receive(make_record(0)._replace(value=None, headers=()))
    await asyncio.sleep(0.02)
    group.store()
    assert len(group.producer.records) == written
    assert group.transport.offset() == offset
    assert [type(error) for error in group.errors] == ([EventStoppedError] if policy == "stop" else [])


async def test_handler_has_its_own_policy(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="group", retry=RetryPolicy(attempts=5, wait_initial=60))
    class Own:
        calls = 0

        @on_message(TOPIC, retry=RetryPolicy(attempts=2, wait_initial=0))
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.calls += 1
            raise ValueError(event.id)

    group = make_group(handler := Own())
    group.assign()
    group.receive(make_record(0))
    await asyncio.sleep(0.05)
    assert handler.calls == 2
    assert len(group.producer.records) == 1


async def test_each_failure_logs_place_tenant_error_and_next_step(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=0))
    handler.errors["e0"] = [ValueError("secret"), ValueError("secret")]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "t1"), make_record(1, "t2")._replace(value=b"{"))
    await asyncio.sleep(0.05)
    lines = [record.message for record in caplog.records]
    first = f"{TOPIC}[0]@0, event e0, tenant t1: Consumer.handle: raised ValueError at {__file__}:"
    assert [line for line in lines if line.startswith(first)] == [lines[0], lines[2]]
    assert lines[0].endswith("; attempt 1 of 2; again in 0 s")
    assert lines[2].endswith("; attempt 2 of 2; to the dead letters")
    assert lines[1].startswith(f"{TOPIC}[0]@1, tenant t2: Consumer.handle: ")
    assert lines[1].endswith("; to the dead letters")
    assert "secret" not in caplog.text
    assert len(lines) == 3


async def test_waiting_event_is_forgotten_with_its_partition(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=0.02, jitter=False))
    handler.errors["e0"] = [ValueError(), ValueError()]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"))
    await group.settle()
    group.consumer.on_lost([1])
    group.assign(epoch=2, position=0)
    group.receive(make_record(0, "a"), epoch=2)
    await group.settle()
    assert not group.producer.records
    assert [state.attempts for state in group.consumer._failures.states.values()] == [1]
    await asyncio.sleep(0.06)
    assert handler.calls == ["e0", "e0", "e0"]


async def test_lane_goes_on_when_its_waiting_front_is_revoked(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=60, jitter=False))
    handler.errors["e0"] = [ValueError()]
    group = make_group(handler)
    group.assign(epoch=1)
    group.assign(epoch=2, partition=1)
    group.receive(make_record(0, "a"), epoch=1)
    await group.settle()
    group.receive(make_record(1, "a", partition=1), epoch=2)
    await group.settle()
    group.consumer.on_lost([1])
    await group.settle()
    assert handler.calls == ["e0", "e1"]


async def test_failure_after_its_partition_was_lost_is_dropped(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = waiting_consumer()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"))
    await group.settle()
    group.consumer.on_lost([1])
    group.assign(epoch=2, position=0)
    group.receive(make_record(0, "a"), epoch=2)
    handler.gate.set()
    await group.settle()
    assert handler.calls == 1 + 3
    assert len(letters(group)) == 1
    assert not group.consumer._failures.states


async def test_waiting_lane_fills_the_buffer(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_buffered_events=3, retry=RetryPolicy(attempts=2, wait_initial=60, jitter=False))
    handler.errors["e0"] = [ValueError()]
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(n, "a") for n in range(3)))
    await group.settle()
    assert group.transport.paused


async def test_intake_resumes_after_letters(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_buffered_events=2)
    handler.errors = {"e0": [Reject("no")], "e1": [Reject("no")]}
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))
    assert group.transport.paused
    await asyncio.wait_for(until(lambda: len(letters(group)) == 2 and not group.transport.paused), 5)


async def test_poison_leaves_loop_its_turns(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(consumer())
    group.assign()
    logging.getLogger("eventzr_kafka.consumer").disabled = True
    try:
        group.receive(*(make_record(n, f"t{n}")._replace(value=b"{") for n in range(3_000)))
        turns = 0
        while len(group.producer.records) < 3_000:
            await asyncio.sleep(0)
            turns += 1
    finally:
        logging.getLogger("eventzr_kafka.consumer").disabled = False
    assert turns > 10


async def test_intake_goes_on_after_dead_letters_free_the_memory(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    group = make_group(consumer(max_buffered_events=4))
    group.assign()
    group.receive(*(make_record(n, f"t{n}")._replace(value=b"{") for n in range(4)))
    assert group.transport.paused
    await asyncio.sleep(0.1)
    assert len(group.producer.records) == 4
    assert not group.transport.paused


class Held:
    """Waits for `gate` and fails."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.calls = 0

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        self.calls += 1
        await self.gate.wait()
        raise ValueError(event.id)


@pytest.mark.parametrize("attempts", [1, 5])
@pytest.mark.parametrize("how", ["lost", "revoked"])
async def test_failure_in_a_revoked_partition_is_another_members(
    attempts: int, how: str, make_group: MakeGroup, make_record: MakeRecord
) -> None:
    @kafka_consumer(group_id="group", retry=RetryPolicy(attempts=attempts, wait_initial=0))
    class Late(Held): ...

    group = make_group(handler := Late())
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"))
    await group.settle()
    handed_over = asyncio.Event()
    if how == "lost":
        group.consumer.on_lost([1])
    else:
        group.consumer.on_revoked([1], handed_over.set)
    handler.gate.set()
    await asyncio.sleep(0.05)
    assert handed_over.is_set() == (how == "revoked")
    assert (handler.calls, group.producer.records, group.consumer._lanes.count) == (1, [], 0)
    assert group.consumer._failures.states == {}
    assert group.transport.offset() in (None, 0)


async def test_failure_in_a_stop_is_redelivered(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="group", retry=RetryPolicy(attempts=5, wait_initial=0))
    class Late(Held): ...

    group = make_group(handler := Late())
    group.assign()
    group.receive(make_record(0, "a"))
    await group.settle()
    stopping = asyncio.create_task(group.consumer.stop())
    await group.settle()
    handler.gate.set()
    await stopping
    assert (handler.calls, group.producer.records) == (1, [])
    assert group.transport.offset() in (None, 0)


async def test_troubled_lane_is_a_problem(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(consumer())
    produce = group.producer.produce

    def refuse_a(record: Any, report: Any) -> bool:
        bad = record.key == b"a"
        group.producer.failure = DeliveryFailure("MSG_TIMED_OUT", "late", unknown=True) if bad else None
        return produce(record, report)

    group.producer.produce = refuse_a  # type: ignore[method-assign]
    group.assign()
    group.receive(make_record(0, "a")._replace(value=b"{"), make_record(1, "b")._replace(value=b"{"))
    await asyncio.sleep(0.1)
    assert len(group.producer.records) == 1
    assert "MSG_TIMED_OUT" in str(group.consumer.problems)


async def test_reset_offsets_reset_attempts(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=60))
    handler.errors["e0"] = [ValueError(), ValueError()]
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"))
    await group.settle()
    group.receive(make_record(0, "a"))
    await group.settle()
    assert [state.attempts for state in group.consumer._failures.states.values()] == [1]
    assert group.producer.records == []
