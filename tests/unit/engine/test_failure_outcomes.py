"""Each outcome of a failed event: what its lane, its history, the log and the hooks see of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, record
from tests.unit.failing_room import Again, Park, Room

from eventzr_kafka import Reject, RetryLater, RetryPolicy
from eventzr_kafka.clock import Clock
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.errors import (
    ConsumerError,
    EventStoppedError,
    HandlerResultError,
    InvalidEnvelopeError,
    TypeMismatchError,
)
from eventzr_kafka.handlers.retry import DeadLetter, Stop
from eventzr_kafka.hooks import ConsumerHooks, EventFailed

pytestmark = pytest.mark.virtual_time

TWICE = RetryPolicy(attempts=2, wait_initial=0.5, jitter=False)
STOPS = RetryPolicy(attempts=1, on_exhausted="stop")


def facts_of(*, error: str = "ValueError", attempt: int = 1, outcome: Any = "dead-lettered") -> EventFailed:
    return EventFailed(
        group_id="group",
        topic=TOPIC,
        partition=0,
        offset=0,
        tenant_id="t1",
        handler="Consumer.handle",
        error=error,
        attempt=attempt,
        outcome=outcome,
    )


def unread(failed: FailedEvent) -> FailedEvent:
    return FailedEvent(failed.lane, failed.work, None)


@pytest.mark.parametrize(
    ("policy", "error", "outcome"),
    [
        (TWICE, ValueError("secret"), "retried"),
        (RetryPolicy(attempts=1), ValueError("secret"), "dead-lettered"),
        (STOPS, ValueError("secret"), "stopped"),
    ],
)
async def test_hooks_learn_of_each_failure(policy: RetryPolicy, error: Exception, outcome: str) -> None:
    facts: list[EventFailed] = []
    room = Room(policy=policy, hooks=ConsumerHooks(on_event_failed=facts.append))
    room.failures.handle(room.route, [room.one()], error)
    assert facts == [facts_of(outcome=outcome)]
    assert facts[0].cause is error


async def test_skipped_tombstone_is_done(caplog: pytest.LogCaptureFixture) -> None:
    facts: list[EventFailed] = []
    room = Room(hooks=ConsumerHooks(on_event_failed=facts.append), on_unknown_type="skip", on_tombstone="skip")
    (failed,) = room.take_unread(record(0)._replace(value=None))
    room.failures.handle(room.route, [failed], failed_to_read(failed))
    assert facts == [facts_of(error="TombstoneError", attempt=0, outcome="skipped")]
    assert (room.epoch.ledger.position(), room.lanes.count, room.failures.states) == (1, 0, {})
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == (
        f"{TOPIC}[0]@0, tenant t1: Consumer.handle: no value and no ce_ headers: a tombstone, not an event; skipped"
    )


async def test_unknown_type_follows_its_policy() -> None:
    room = Room(on_unknown_type="skip")
    (failed,) = room.take_unread(record(0))
    room.failures.handle(room.route, [failed], TypeMismatchError(record(0), "bench.other.v1"))
    assert (room.epoch.ledger.position(), room.failures.states) == (1, {})


async def test_dead_letter_is_logged_as_error(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    room.failures.handle(room.route, [room.one()], ValueError())
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage().endswith(": raised ValueError; attempt 1 of 1; to the dead letters")


def failed_to_read(failed: FailedEvent) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- which one is what the test is about
        failed.work[1].decode(failed.work[0])
    return raised.value


async def test_retry_waits_for_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(policy=TWICE)
    failed = room.one()
    room.failures.handle(room.route, [failed], ValueError())
    await asyncio.sleep(0.4)
    assert (room.lanes.take(), room.ready) == (None, 0)
    await asyncio.sleep(0.2)
    assert (room.lanes.take(), room.ready) == (failed.lane, 1)
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == (
        f"{TOPIC}[0]@0, event e0, tenant t1: Consumer.handle: raised ValueError; attempt 1 of 2; again in 0.5 s"
    )


async def test_stop_names_event_and_cause() -> None:
    room = Room(policy=STOPS)
    error = ValueError("secret")
    room.failures.handle(room.route, [room.one()], error)
    (stopped,) = room.stops
    assert isinstance(stopped, EventStoppedError)
    assert (stopped.event_id, stopped.handler, stopped.offset, stopped.error) == ("e0", "Consumer.handle", 0, error)
    assert stopped.__cause__ is error
    assert (room.epoch.exits, room.epoch.ledger.position()) == (set(), 0)


async def test_unreadable_record_stops_causeless() -> None:
    room = Room(on_tombstone="stop")
    (failed,) = room.take_unread(record(0)._replace(value=None))
    room.failures.handle(room.route, [failed], failed_to_read(failed))
    (stopped,) = room.stops
    assert isinstance(stopped, EventStoppedError)
    assert (stopped.event_id, stopped.__cause__) == (None, None)


async def test_second_exit_is_a_failure() -> None:
    room = Room(policy=TWICE)
    failed = room.one()
    room.failures.handle(room.route, [failed], SystemExit(3))
    assert len(room.stops) == 1
    assert (room.epoch.exits, room.failures.states[failed.key].has_exited) == ({0}, True)
    room.failures.handle(room.route, [failed], SystemExit(3))
    await room.settle()
    assert (len(room.stops), len(room.pen.written)) == (1, 1)


async def test_exit_of_earlier_runner_counts() -> None:
    room = Room()
    room.epoch.exits.add(0)
    room.failures.handle(room.route, [room.one()], SystemExit(3))
    assert room.stops == []


@pytest.mark.parametrize(("error", "exits"), [(SystemExit(3), {0}), (ValueError(), set[int]())])
async def test_stop_is_left_to_redelivery(error: BaseException, exits: set[int]) -> None:
    again = Again()
    room = Room(policy=STOPS, again=again)
    failed = room.one()
    room.failures.handle(room.route, [failed], error)
    ((offset, left),) = again.left
    assert (offset, left.instead_of, room.epoch.exits, room.stops) == (0, Stop(), exits, [])
    assert (failed.lane.waiting, room.epoch.ledger.position()) == (True, 0)


async def test_exit_elsewhere_is_not_noted() -> None:
    again = Again()
    room = Room(again=again)
    room.epoch.exits.add(1)
    (failed,) = room.take(record(1))
    room.failures.handle(room.route, [failed], SystemExit(3))
    assert isinstance(again.left[0][1].instead_of, DeadLetter)
    assert not room.failures.states[failed.key].has_exited


async def test_left_event_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    facts: list[EventFailed] = []
    room = Room(again=Again(), hooks=ConsumerHooks(on_event_failed=facts.append))
    room.failures.handle(room.route, [room.one()], Reject("no use"))
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage().endswith(": rejected: no use; attempt 1 of 1; its event comes later")
    assert facts == [facts_of(error="Reject")]


@pytest.mark.parametrize(("after", "wait"), [(0.25, 5), (12.345, 12.345)])
async def test_longer_of_both_waits_is_kept(after: float, wait: float, caplog: pytest.LogCaptureFixture) -> None:
    room = Room(policy=RetryPolicy(attempts=3, wait_initial=5, jitter=False))
    room.failures.handle(room.route, [room.one()], RetryLater(after=after, why="the order is unpaid"))
    assert ": asked to be retried later: the order is unpaid; attempt 1 of 3; " in caplog.records[0].getMessage()
    assert caplog.records[0].getMessage().endswith(f"again in {wait:.3g} s")
    await asyncio.sleep(wait - 0.1)
    assert room.ready == 0
    await asyncio.sleep(0.2)
    assert room.ready == 1


async def test_first_failure_bounds_retries() -> None:
    await asyncio.sleep(100)
    room = Room(policy=RetryPolicy(attempts=9, wait_initial=1, jitter=False, max_elapsed=10))
    failed = room.one()
    room.failures.handle(room.route, [failed], RetryLater(after=6))
    await asyncio.sleep(6)
    room.failures.handle(room.route, [failed], RetryLater(after=3))
    await asyncio.sleep(3)
    assert room.pen.written == []
    room.failures.handle(room.route, [failed], RetryLater(after=3))
    await room.settle()
    ((_, facts),) = room.pen.written
    assert (facts.attempts, facts.group_id, facts.handler) == (3, "group", "Consumer.handle")


async def test_letter_carries_its_failure() -> None:
    times = iter((1_000.0, 2_000.0))
    clock = Clock(wall=lambda: next(times))
    room = Room(policy=RetryPolicy(attempts=2, wait_initial=0), ordering="subject", clock=clock)
    failed = room.one(subject="order-7")
    room.failures.handle(room.route, [failed], ValueError())
    await asyncio.sleep(0.01)
    room.lanes.take()
    room.failures.handle(room.route, [failed], ValueError())
    await room.settle()
    ((_, facts),) = room.pen.written
    assert (facts.first_failure, facts.last_failure, facts.attempts) == (1_000.0, 2_000.0, 2)
    assert (facts.event_id, facts.event_source, facts.ordering_key) == ("e0", "s", "order-7")
    assert (facts.error, facts.reason) == ("ValueError", "ValueError")


async def test_unread_letter_has_no_event() -> None:
    room = Room()
    failed = unread(room.one())
    room.failures.handle(room.route, [failed], InvalidEnvelopeError(failed.work[0], "bad"))
    await room.settle()
    ((_, facts),) = room.pen.written
    assert (facts.event_id, facts.event_source, facts.attempts, facts.error) == (None, None, 0, "InvalidEnvelopeError")


async def test_failed_batch_is_tried_singly(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    both = room.take(record(0, "a"), record(1, "b"))
    room.failures.handle(room.route, both, ValueError(), dead_letter_each=False)
    assert [room.failures.is_retried_individually(each.work) for each in both] == [True, True]
    assert ("@0 and 1 more, event e0" in caplog.text, "again in 0 s" in caplog.text) == (True, True)
    await asyncio.sleep(0.01)
    assert (room.ready, room.lanes.ready, room.pen.written) == (2, 2, [])


async def test_wrong_batch_result_stops_all() -> None:
    room = Room()
    both = room.take(record(0, "a"), record(1, "b"))
    room.failures.handle(room.route, both, HandlerResultError("H.h", "a list"), dead_letter_each=False)
    assert len(room.stops) == 2
    assert not any(room.failures.is_retried_individually(each.work) for each in both)


async def test_worst_event_judges_its_batch() -> None:
    room = Room(policy=RetryPolicy(attempts=2, wait_initial=0))
    both = room.take(record(0, "a"), record(1, "b"))
    room.failures.count(both[1])
    room.failures.handle(room.route, both, ValueError())
    await room.settle()
    assert [facts.attempts for _, facts in room.pen.written] == [1, 2]


async def test_unfailed_event_is_not_alone() -> None:
    room = Room()
    failed = room.one()
    assert room.failures.is_retried_individually(failed.work) is False
    room.failures.count(failed)
    assert room.failures.is_retried_individually(failed.work) is False


async def test_ended_epoch_drops_its_failures() -> None:
    room = Room(policy=TWICE)
    failed, other = room.take(record(0, "a"), record(1, "b"))
    room.failures.handle(room.route, [failed], ValueError())
    room.epoch.ended = True
    room.failures.handle(room.route, [other], ValueError())
    assert (room.lanes.count, list(room.failures.states)) == (1, [(1, 0)])
    room.failures.forget([room.epoch])
    await asyncio.sleep(1)
    assert (room.failures.states, room.ready, failed.lane.waiting) == ({}, 0, True)


async def test_other_epochs_are_not_forgotten() -> None:
    room = Room(policy=TWICE)
    room.failures.handle(room.route, [room.one()], ValueError())
    other = Room().epoch
    other.number = 2
    room.failures.forget([other])
    await asyncio.sleep(1)
    assert (len(room.failures.states), room.ready) == (1, 1)


async def test_stopping_group_decides_nothing() -> None:
    room = Room()
    room.failures.stop_deciding()
    room.failures.handle(room.route, [room.one()], ValueError())
    await room.settle()
    assert (room.pen.written, room.failures.states, room.stops) == ([], {}, [])


async def test_last_error_is_handed_on() -> None:
    room = Room()
    error = ValueError("secret")
    room.failures.stop_group(error)
    room.failures.stop_group(KeyboardInterrupt("secret"))
    assert room.stops[0] is error
    assert isinstance(room.stops[1], ConsumerError)
    assert str(room.stops[1]) == "a worker ended: KeyboardInterrupt"


async def test_parked_event_follows_its_letter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eventzr_kafka.consumer")
    park, facts = Park(), list[EventFailed]()
    room = Room(park=park, hooks=ConsumerHooks(on_event_failed=facts.append), ordering="subject")
    failed = room.one(subject="order-7")
    assert room.failures.park_front(failed.lane, failed.work)
    assert failed.lane.waiting
    await room.settle()
    ((_, letter),) = room.pen.written
    assert (letter.error, letter.reason, letter.attempts) == ("parked", "follows a dead letter of its ordering key", 0)
    assert (letter.event_id, letter.ordering_key) == ("e0", "order-7")
    assert park.asked == [(b"t1", "order-7")]
    assert facts == [facts_of(error="", attempt=0, outcome="parked")]
    assert caplog.records[0].getMessage() == (
        f"{TOPIC}[0]@0, event e0, tenant t1: parked: its ordering key has an open dead letter"
    )


async def test_open_lane_parks_nothing() -> None:
    for park in (None, Park(holds=False)):
        room = Room(park=park)
        failed = room.one()
        assert room.failures.park_front(failed.lane, failed.work) is False
        assert (failed.lane.waiting, room.failures.states) == (False, {})


@pytest.mark.parametrize(("ordering", "lane"), [("tenant", ""), ("partition", f"{TOPIC}[0]")])
async def test_parked_event_is_read_for_letter(ordering: str, lane: str) -> None:
    park = Park()
    room = Room(park=park, ordering=ordering)
    failed = room.one()
    assert room.failures.park_front(failed.lane, failed.work)
    await room.settle()
    ((_, letter),) = room.pen.written
    assert (letter.event_id, letter.event_source, letter.ordering_key) == ("e0", "s", lane)
    assert park.asked == [(b"t1", lane)]


async def test_letter_names_its_position() -> None:
    room = Room()
    _first, second = room.take(record(4, "a"), record(7, "b"))
    room.failures.handle(room.route, [second], ValueError())
    await room.settle()
    assert [facts.position for _, facts in room.pen.written] == [4]


async def test_history_ends_with_its_epoch() -> None:
    room = Room(policy=TWICE)
    failed = room.one()
    room.failures.handle(room.route, [failed], ValueError())
    await asyncio.sleep(1)
    assert room.lanes.take() is failed.lane
    room.epoch.ended = True
    room.failures.handle(room.route, [failed], ValueError())
    assert (room.failures.states, room.lanes.count) == ({}, 0)
