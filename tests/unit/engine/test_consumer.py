"""The loop of one group, driven by hand over a transport that only writes down."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from eventzr_kafka import CloudEvent, MessageContext, RetryPolicy, kafka_consumer, on_message
from eventzr_kafka.engine.commit_metadata import read_metadata
from eventzr_kafka.errors import EventStoppedError, OffsetsLostError
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment

pytestmark = pytest.mark.virtual_time

if TYPE_CHECKING:
    from tests.unit.conftest import MakeGroup, MakeRecord

TOPIC = "bench.thing.happened.v1"


@kafka_consumer(group_id="g", max_concurrency=8, drain_timeout=0.2)
class Gated:
    """Handlers that wait until the test lets them go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def open(self, *ids: str) -> None:
        for event_id in ids:
            self.gates.setdefault(event_id, asyncio.Event()).set()

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        self.started.append(event.id)
        await self.gates.setdefault(event.id, asyncio.Event()).wait()
        self.ended.append(event.id)


async def test_events_of_a_tenant_keep_order(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0), make_record(1), make_record(2))
    await group.settle()
    assert handler.started == ["e0"]
    handler.open("e0")
    await group.settle()
    assert handler.started == ["e0", "e1"]


async def test_tenants_do_not_wait(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(5)))
    await group.settle()
    assert handler.started == ["e0", "e1", "e2", "e3", "e4"]


async def test_concurrency_is_bounded(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(20)))
    await group.settle()
    assert len(handler.started) == 8
    handler.open("e3")
    await group.settle()
    assert len(handler.started) == 9


async def test_position_stays_at_unfinished(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(4)))
    handler.open("e0", "e2", "e3")
    await group.settle()
    group.store()
    assert group.transport.offset() == 1
    assert read_metadata(1, group.transport.stored[1].metadata) == {2, 3}


async def test_finished_events_do_not_rerun(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(4)))
    handler.open("e0", "e2", "e3")
    await group.settle()
    group.store()
    metadata = group.transport.stored[1].metadata
    restarted = make_group(again := Gated())
    restarted.assign(position=1, metadata=metadata)
    restarted.receive(*(make_record(n, f"t{n}") for n in range(1, 5)))
    await restarted.settle()
    assert again.started == ["e1", "e4"]


async def test_revoked_partition_waits_for_its_running_handler_alone(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await group.settle()
    handed_over = asyncio.Event()
    group.consumer.on_revoked([1], handed_over.set)
    await group.settle()
    assert not handed_over.is_set()
    handler.open("e0", "e1")
    await asyncio.wait_for(handed_over.wait(), 1)
    assert handler.ended == ["e0"]
    assert group.transport.offset() == 1


async def test_handler_beyond_the_drain_timeout_has_no_outcome(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0))
    await group.settle()
    handed_over = asyncio.Event()
    group.consumer.on_revoked([1], handed_over.set)
    await asyncio.wait_for(handed_over.wait(), 2)
    group.assign(epoch=2)
    handler.open("e0")
    await group.settle()
    group.store()
    assert group.transport.offset(epoch=1) is None
    assert group.transport.offset(epoch=2) is None


async def test_late_result_hides_no_fresh_one(make_group: MakeGroup, make_record: MakeRecord) -> None:
    """Parallel Consumer issue 909: a stale epoch's result finished the record of the new one."""
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0, "a"))
    await group.settle()
    group.consumer.on_lost([1])
    group.assign(epoch=2)
    group.receive(make_record(0, "b"), epoch=2)
    await group.settle()
    handler.gates["e0"].set()
    await group.settle()
    group.consumer._epochs[2].ledger.receive([1])
    group.store()
    assert group.transport.offset(epoch=1) is None
    assert group.transport.offset(epoch=2) == 1


async def test_ended_epoch_runs_nothing(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.consumer.on_lost([1])
    group.receive(make_record(0))
    await group.settle()
    assert handler.started == []


async def test_older_offsets_renew_the_ledger(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(handler := Gated())
    group.assign(position=100)
    group.receive(make_record(100))
    handler.open("e100", "e0")
    await group.settle()
    group.receive(make_record(0))
    await group.settle()
    group.store()
    assert handler.ended == ["e100", "e0"]
    assert group.transport.offset() == 1
    assert "truncated or recreated" in caplog.text


STOP = RetryPolicy(attempts=1, on_exhausted="stop")


@kafka_consumer(group_id="g", retry=STOP)
class Failing:
    """Fails at one event."""

    def __init__(self, bad: str, error: BaseException) -> None:
        self.bad = bad
        self.error = error
        self.ended: list[str] = []

    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        if event.id == self.bad:
            raise self.error
        self.ended.append(event.id)


@pytest.mark.parametrize(
    "error", [ValueError("s3cr3t"), asyncio.CancelledError()], ids=lambda error: type(error).__name__
)
async def test_event_that_stops_the_group_is_not_committed(
    make_group: MakeGroup, make_record: MakeRecord, error: BaseException
) -> None:
    group = make_group(handler := Failing("e1", error))
    group.assign()
    group.receive(make_record(0), make_record(1), make_record(2), make_record(3, "other"))
    await group.settle()
    (stopped,) = group.errors
    group.store()
    assert isinstance(stopped, EventStoppedError)
    assert str(stopped).startswith(f"{TOPIC}[0]@1, event e1: Failing.handle: raised {type(error).__name__} at ")
    assert "s3cr3t" not in str(stopped)
    assert handler.ended == ["e0", "e3"]
    assert group.transport.offset() == 1


async def test_stopping_group_takes_nothing_in(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", max_buffered_events=4)
    class Small(Gated):
        pass

    group = make_group(handler := Small())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(4)))
    stopping = asyncio.ensure_future(group.consumer.stop())
    await group.settle()
    handler.open("e0", "e1", "e2", "e3")
    await asyncio.wait_for(stopping, 1)
    assert group.transport.paused


async def test_sync_handler_keeps_its_context(make_group: MakeGroup, make_record: MakeRecord) -> None:
    threads: list[str] = []

    @kafka_consumer(group_id="g")
    class Sync:
        @on_message(TOPIC)
        def handle(self, event: CloudEvent[Any], context: MessageContext) -> None:
            assert event.data == {"n": context.record.offset}
            threads.append(threading.current_thread().name)

    group = make_group(Sync())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await asyncio.sleep(0.1)
    group.store()
    assert len(threads) == 2
    assert threading.main_thread().name not in threads
    assert group.transport.offset() == 2


@pytest.mark.parametrize(
    ("ordering", "started"),
    [("tenant", ["e0"]), ("subject", ["e0", "e1"]), ("partition", ["e0"]), ("none", ["e0", "e1", "e2"])],
)
async def test_ordering_says_what_runs_at_once(
    make_group: MakeGroup, make_record: MakeRecord, ordering: Any, started: list[str]
) -> None:
    @kafka_consumer(group_id="g", ordering=ordering, drain_timeout=0)
    class Ordered(Gated):
        pass

    group = make_group(handler := Ordered())
    group.assign()
    group.receive(make_record(0, subject="a"), make_record(1, subject="b"), make_record(2, subject="a"))
    await group.settle()
    assert handler.started == started


async def test_slow_handler_is_cancelled(make_group: MakeGroup, make_record: MakeRecord) -> None:
    @kafka_consumer(group_id="g", handler_timeout=0.02, drain_timeout=0, retry=STOP)
    class Slow(Gated):
        pass

    group = make_group(Slow())
    group.assign()
    group.receive(make_record(0))
    await asyncio.sleep(0.1)
    (stopped,) = group.errors
    assert "raised TimeoutError" in str(stopped)
    group.store()
    assert group.transport.offset() is None


async def test_def_handler_has_no_time_out_since_its_thread_goes_on(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    gate, calls = threading.Event(), asyncio.Queue[str]()
    loop = asyncio.get_running_loop()

    @kafka_consumer(group_id="g", handler_timeout=0.01, retry=RetryPolicy(attempts=3, wait_initial=0))
    class Sync:
        @on_message(TOPIC)
        def handle(self, event: CloudEvent[Any]) -> None:
            loop.call_soon_threadsafe(calls.put_nowait, event.id)
            gate.wait(60)

    group = make_group(Sync())
    group.assign()
    group.receive(make_record(0), make_record(1))
    assert await calls.get() == "e0"
    await asyncio.sleep(0.1)  # ten time-outs
    assert calls.empty()
    gate.set()
    assert await calls.get() == "e1"


TENANT: ContextVar[str] = ContextVar("TENANT", default="no tenant")


async def test_context_variable_does_not_leak(make_group: MakeGroup, make_record: MakeRecord) -> None:
    seen: list[str] = []

    @kafka_consumer(group_id="g")
    class Careless:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            seen.append(TENANT.get())
            TENANT.set(event.tenantid)
            if event.id == "e1":
                await asyncio.sleep(0)
                assert TENANT.get() == "t1"

    group = make_group(Careless())
    group.assign()
    group.receive(*(make_record(n, f"t{n}") for n in range(5)))
    await group.settle()
    assert seen == ["no tenant"] * 5
    assert group.errors == []


async def test_stop_during_a_hand_over_lets_the_handler_finish(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0))
    await group.settle()
    handed_over = asyncio.Event()
    group.consumer.on_revoked([1], handed_over.set)
    stopping = asyncio.ensure_future(group.consumer.stop())
    await group.settle()
    assert not handed_over.is_set()
    handler.open("e0")
    await asyncio.wait_for(stopping, 1)
    assert handed_over.is_set()
    assert handler.ended == ["e0"]
    assert group.transport.offset() == 1


async def test_hand_over_that_begins_at_the_stop_is_completed(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0))
    handler.open("e0")
    await group.settle()
    handed_over = asyncio.Event()
    group.consumer.on_revoked([1], handed_over.set)
    await asyncio.wait_for(group.consumer.stop(), 1)
    assert handed_over.is_set()
    assert group.transport.offset() == 1


async def test_stop_finishes_and_begins_nothing(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0), make_record(1))
    await group.settle()
    stopping = asyncio.ensure_future(group.consumer.stop())
    await group.settle()
    handler.open("e0", "e1")
    await asyncio.wait_for(stopping, 1)
    assert handler.ended == ["e0"]
    assert group.transport.offset() == 1
    assert group.transport.closed


async def test_handler_that_ignores_cancellation_delays_no_stop(
    make_group: MakeGroup, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventzr_kafka.engine.dispatcher._CANCELLING", 0.01)
    gate = asyncio.Event()

    @kafka_consumer(group_id="g", drain_timeout=0)
    class Stubborn:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            while not gate.is_set():
                with suppress(asyncio.CancelledError):
                    await gate.wait()

    group = make_group(Stubborn())
    group.assign()
    group.receive(make_record(0))
    await group.settle()
    stopping = asyncio.ensure_future(group.consumer.stop())
    await asyncio.wait([stopping], timeout=1)
    gate.set()
    assert stopping.done()
    assert group.transport.closed
    assert group.transport.offset() is None


# Offsets that are no records


async def test_gaps_are_committed(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0), make_record(1, "t2"))
    group.consumer.on_progress({1: 4, 77: 9})
    handler.open("e1")
    await group.settle()
    group.store()
    assert group.transport.offset() == 0  # the first one runs yet
    handler.open("e0")
    await group.settle()
    group.store()
    assert group.transport.offset() == 4


async def test_stop_passes_nothing_dropped(make_group: MakeGroup, make_record: MakeRecord) -> None:
    group = make_group(Gated())
    group.assign()
    stopping = asyncio.create_task(group.consumer.stop())
    await asyncio.sleep(0)
    group.receive(make_record(0))
    group.consumer.on_progress({1: 1})
    await stopping
    assert group.transport.offset() is None


# Offsets that are gone


@kafka_consumer(group_id="g", on_offset_lost="stop")
class Careful:
    @on_message(TOPIC)
    async def handle(self, _event: CloudEvent[Any]) -> None:
        """Bear everything but a loss."""


async def test_lost_offsets_are_named(
    make_group: MakeGroup, make_record: MakeRecord, caplog: pytest.LogCaptureFixture
) -> None:
    group = make_group(handler := Gated())
    group.assign()
    group.receive(make_record(0))
    group.consumer.on_offsets_lost(1, Loss(1, 8, "retention"))
    group.consumer.on_offsets_lost(77, Loss(1, 8, "retention"))
    handler.open("e0")
    await group.settle()
    group.store()
    assert group.transport.offset() == 8
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"group: {TOPIC}[0]: offsets 1 to 7 (7 at most) were deleted before the group read them; going on"
    ]
    assert group.errors == []


async def test_loss_stops_a_strict_group(make_group: MakeGroup) -> None:
    group = make_group(Careful())
    group.assign(position=3)
    group.consumer.on_offsets_lost(1, Loss(3, 8, "retention"))
    group.store()
    assert isinstance(group.errors[0], OffsetsLostError)
    assert "offsets 3 to 7" in str(group.errors[0])
    assert group.transport.offset() in {None, 3}


@pytest.mark.parametrize(("handler", "opened"), [(Gated, True), (Careful, False)])
async def test_recreated_topic_opens_or_stops(make_group: MakeGroup, handler: type, *, opened: bool) -> None:
    group = make_group(handler())
    lost = Loss(3, None, "recreated")
    group.consumer.on_assigned([Assignment(TopicPartition(TOPIC, 0), 1, None, "", "new", lost)])
    assert bool(group.consumer._epochs) == opened
    assert [error.loss for error in group.errors if isinstance(error, OffsetsLostError)] == [lost] * (not opened)
