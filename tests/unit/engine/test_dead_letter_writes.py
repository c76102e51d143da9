"""Dead letters in flight: when a write is tried again, is a problem, and makes its event done."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.unit.conftest import record
from tests.unit.failing_room import Again, Park, Room

from eventzr_kafka.engine import dead_letter_writes
from eventzr_kafka.engine.failed_event import FailedEvent
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.handlers.retry import DeadLetter

pytestmark = pytest.mark.virtual_time

REFUSED = DeliveryError("e0", "group.dlq", "NO", "do this")
CANNOT = "group: dead letters cannot be written"


def begin(room: Room, *failed: FailedEvent, error: BaseException | None = None) -> None:
    for each in failed:
        room.failures.handle(room.route, [each], error or ValueError())


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "letters c" in each.getMessage()]


async def test_written_letter_is_an_outcome() -> None:
    park = Park(holds=False)
    room = Room(park=park)
    failed = room.one()
    begin(room, failed)
    assert (room.epoch.running, room.epoch.ledger.position()) == (1, 0)
    await room.settle()
    ((written, facts),) = room.pen.written
    assert (written.offset, facts.error) == (0, "ValueError")
    assert park.parked == [(0, facts, (3, 101))]
    assert (room.epoch.running, room.epoch.ledger.position()) == (0, 1)
    assert (room.ready, room.lanes.count, room.failures.states) == (1, 0, {})
    assert room.failures._writes._tasks == set()


async def test_refused_letter_pauses_longer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eventzr_kafka.consumer")
    room = Room()
    room.pen.words = [REFUSED] * 7
    begin(room, room.one())
    calls: list[int] = []
    for seconds in (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0):  # tries at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5 and 35.5
        await asyncio.sleep(seconds)
        calls.append(room.pen.calls)
    assert calls == [1, 2, 3, 4, 5, 6, 7, 8]
    assert messages(caplog) == [
        f"{CANNOT}, their ordering keys wait: event e0 for group.dlq: NO; do this",
        "group: dead letters can be written again after 35.5 s",
    ]
    assert room.failures.problem is None


async def test_paused_letter_stops_its_epoch() -> None:
    room = Room()
    room.pen.words = [REFUSED]
    begin(room, room.one())
    await room.settle()
    assert room.epoch.running == 0
    assert room.failures.problem == f"{CANNOT}: event e0 for group.dlq: NO; do this"
    word = asyncio.Event()
    room.pen.words = [word]
    await asyncio.sleep(0.6)
    assert room.epoch.running == 1
    word.set()
    await room.settle()
    assert room.epoch.running == 0
    assert not room.failures.problem


async def test_8_s_of_silence_are_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eventzr_kafka.consumer")
    room = Room()
    word = asyncio.Event()
    room.pen.words = [word]
    begin(room, room.one())
    await asyncio.sleep(7.9)
    assert room.failures.problem is None
    await asyncio.sleep(0.2)
    assert room.failures.problem == f"{CANNOT}: no answer for 8 s"
    word.set()
    await room.settle()
    assert room.failures.problem is None
    await asyncio.sleep(20)
    assert messages(caplog) == [
        f"{CANNOT}, their ordering keys wait: no answer for 8 s",
        "group: dead letters can be written again after 0.1 s",
    ]


async def test_each_letter_counts_as_running() -> None:
    room = Room()
    room.pen.words = [REFUSED, asyncio.Event()]
    begin(room, *room.take(record(0, "a"), record(1, "b")))
    assert room.epoch.running == 2
    await room.settle()
    assert room.epoch.running == 1
    room.pen.words = [asyncio.Event()]
    await asyncio.sleep(0.6)
    assert room.epoch.running == 2


async def test_waiting_lane_wants_no_letter() -> None:
    room = Room()
    room.pen.words = [REFUSED]
    (failed,) = room.take(record(0), record(1))
    begin(room, failed)
    await room.settle()
    room.lanes.discard(lambda work: work[0].offset == 0)
    assert room.lanes.take() is failed.lane
    room.lanes.wait(failed.lane)
    await asyncio.sleep(60)
    assert (room.pen.calls, room.epoch.running) == (1, 0)


async def test_two_troubles_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eventzr_kafka.consumer")
    room = Room()
    room.pen.words = [REFUSED, REFUSED]
    begin(room, *room.take(record(0, "a"), record(1, "b")))
    await room.settle()
    assert len(messages(caplog)) == 1
    await asyncio.sleep(1)
    assert messages(caplog)[1:] == ["group: dead letters can be written again after 0.5 s"]


async def test_letter_of_lost_partition_is_dropped() -> None:
    room = Room()
    room.pen.words = [REFUSED]
    failed = room.one()
    begin(room, failed)
    await room.settle()
    room.lanes.discard(lambda _: True)
    await asyncio.sleep(60)
    assert (room.pen.calls, room.pen.written, room.epoch.running) == (1, [], 0)
    assert room.failures.problem is None


async def test_late_refusal_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room()
    failed = room.one()
    word = asyncio.Event()

    async def write_letter(*_: Any) -> None:
        await word.wait()
        raise REFUSED

    monkeypatch.setattr(room.pen, "write_letter", write_letter)
    begin(room, failed)
    await room.settle()
    room.lanes.discard(lambda _: True)
    word.set()
    await room.settle()
    assert (room.failures.problem, room.epoch.running) == (None, 0)


async def test_missing_client_stops_the_group() -> None:
    room = Room()
    broken = OSError("secret")
    room.pen.words = [broken]
    begin(room, room.one())
    await room.settle()
    assert (room.stops, room.epoch.running, room.ready) == ([broken], 0, 0)


@pytest.mark.parametrize("error", [REFUSED, OSError("secret")])
async def test_refused_redelivered_letter_stays(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    again = Again(but=DeadLetter)
    room = Room(again=again)
    room.pen.words = [error, error]
    begin(room, room.one())
    await room.settle()
    assert room.stops == []
    ((offset, left),) = again.left
    assert (offset, left.next_step) == (0, "its event is redelivered")
    assert left.instead_of == DeadLetter("ValueError")
    assert left.reason.startswith(str(REFUSED) if error is REFUSED else "OSError at ")
    assert "secret" not in left.reason
    assert messages(caplog) == [f"{CANNOT}, their events are redelivered: {left.reason}"]
    assert room.failures.problem == f"{CANNOT}: {left.reason}"
    assert (room.pen.calls, room.epoch.running) == (1, 0)


async def test_written_redelivery_ends_trouble() -> None:
    room = Room(again=Again(but=DeadLetter))
    room.pen.words = [REFUSED]
    failed = room.one()
    begin(room, failed)
    await room.settle()
    assert room.failures.problem
    begin(room, failed)
    await room.settle()
    assert (len(room.pen.written), room.ready) == (1, 1)
    assert not room.failures.problem


async def test_200_letters_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dead_letter_writes._MAX_TASKS == 200
    monkeypatch.setattr(dead_letter_writes, "_MAX_TASKS", 3)
    room = Room()
    word = asyncio.Event()
    room.pen.words = [word] * 5
    begin(room, *room.take(*[record(number, f"t{number}") for number in range(5)]))
    await room.settle()
    assert room.pen.calls == 3
    word.set()
    await room.settle()
    assert sorted(written.offset for written, _ in room.pen.written) == [0, 1, 2, 3, 4]


async def test_stop_waits_for_letters_in_flight() -> None:
    room = Room()
    word = asyncio.Event()
    room.pen.words = [word]
    begin(room, room.one())
    asyncio.get_running_loop().call_later(3, word.set)
    assert await room.failures.stop(5.0) is False
    assert len(room.pen.written) == 1
    assert await room.failures.stop(5.0) is False


@pytest.mark.parametrize("stopped", ["handler", "writes"])
async def test_late_letter_is_given_up(stopped: str) -> None:
    room = Room()
    room.pen.words = [asyncio.Event()]
    begin(room, room.one())
    await room.settle()
    before = asyncio.get_running_loop().time()
    stop = room.failures.stop if stopped == "handler" else room.failures._writes.stop
    assert await stop() is True
    assert asyncio.get_running_loop().time() - before < 0.5
    assert (room.epoch.running, room.epoch.ledger.position(), room.pen.written) == (0, 0, [])
