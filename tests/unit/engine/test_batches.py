"""Batch handlers: what is gathered, in which order, and what one failure means."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.conftest import TOPIC, Group, MakeGroup, MakeRecord

from eventzr_kafka import (
    BatchItemError,
    CloudEvent,
    MessageContext,
    RetryPolicy,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.errors import EventStoppedError, RoutingError
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment
from eventzr_marketplace_events import ListingCreated

pytestmark = pytest.mark.virtual_time


def consumer(*, max_size: int = 3, max_wait: float = 60.0, **options: Any) -> type:
    """A class with one batch handler that notes what it was given and then does `act`."""

    chosen: dict[str, Any] = {"retry": RetryPolicy(attempts=1, on_exhausted="stop"), **options}

    @kafka_consumer(group_id="group", **chosen)
    class Consumer:
        def __init__(self) -> None:
            self.batches: list[list[CloudEvent[Any]]] = []
            self.gate = asyncio.Event()
            self.gate.set()
            self.act: Callable[[list[CloudEvent[Any]]], None] = lambda _events: None

        @on_batch(TOPIC, max_size=max_size, max_wait=max_wait)
        async def handle(self, events: list[CloudEvent[Any]]) -> None:
            self.batches.append(events)
            await self.gate.wait()
            self.act(events)

    return Consumer


def ids(handler: Any) -> list[list[str]]:
    return [[event.id for event in batch] for batch in handler.batches]


async def until_empty(group: Group) -> None:
    while group.consumer._lanes.count:  # noqa: ASYNC110 -- no event is set for it
        await asyncio.sleep(0.005)


async def test_full_batch_is_handed_over(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await group.settle()
    assert ids(handler) == []
    group.receive(make_record(2, "c"))
    await group.settle()
    group.store()
    assert ids(handler) == [["e0", "e1", "e2"]]
    assert group.transport.offset() == 3


async def test_batch_that_is_not_full_runs_after_its_longest_wait(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    handler = consumer(max_wait=0.02)()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"))
    await group.settle()
    assert ids(handler) == []
    await asyncio.sleep(0.05)
    assert ids(handler) == [["e0"]]


async def test_arrivals_join_a_gathered_batch(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    group = make_group(handler)
    group.assign()
    for offset in range(3):
        group.receive(make_record(offset, "a"))
        await group.settle()
    assert ids(handler) == [["e0", "e1", "e2"]]


async def test_lane_is_in_one_batch_at_a_time(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    handler.gate.clear()
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(offset, "a") for offset in range(6)), *(make_record(6 + n, "b") for n in range(3)))
    await group.settle()
    assert ids(handler) == [["e0", "e1", "e2"], ["e6", "e7", "e8"]]
    handler.gate.set()
    await group.settle()
    assert ids(handler)[2:] == [["e3", "e4", "e5"]]


async def test_another_batch_runs_meanwhile(make_group: MakeGroup, make_record: MakeRecord) -> None:
    started: list[str] = []

    @kafka_consumer(group_id="group", drain_timeout=0)
    class Consumer:
        @on_batch(TOPIC, max_size=9, max_wait=0.01)
        async def one(self, events: list[CloudEvent[Any]]) -> None:
            started.append(events[0].id)
            await asyncio.Event().wait()

        @on_batch("another.thing.happened.v1", max_size=9, max_wait=0.01)
        async def other(self, events: list[CloudEvent[Any]]) -> None:
            await self.one(events)

    group = make_group(Consumer())
    group.assign()
    group.consumer.on_assigned([Assignment(TopicPartition("another.thing.happened.v1", 0), 2, 0)])
    group.receive(make_record(0, "a"))
    group.receive(make_record(1, "b")._replace(topic="another.thing.happened.v1"), epoch=2)
    await group.settle()
    assert started == []
    await asyncio.sleep(0.03)
    assert started == ["e0", "e1"]


async def test_paused_partition_ends_no_batch(make_group: MakeGroup, make_record: MakeRecord) -> None:
    sizes: list[int] = []

    @kafka_consumer(group_id="group", drain_timeout=0, max_buffered_events=80)
    class Consumer:
        @on_message("another.thing.happened.v1")
        async def one(self, event: CloudEvent[Any]) -> None:  # noqa: ARG002
            await asyncio.Event().wait()

        @on_batch(TOPIC, max_size=10, max_wait=60)
        async def many(self, events: list[CloudEvent[Any]]) -> None:
            sizes.append(len(events))

    group = make_group(Consumer())
    group.assign()
    group.consumer.on_assigned([Assignment(TopicPartition("another.thing.happened.v1", 0), 2, 0)])
    backlog = [make_record(n, "backlog")._replace(topic="another.thing.happened.v1") for n in range(45)]
    group.receive(*backlog, epoch=2)
    assert group.transport.pauses == [{2}]
    for n in range(10):
        group.receive(make_record(n, f"t{n}"))
        await group.settle()
    assert sizes == [10]


async def test_no_lane_is_crowded_out(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await group.settle()
    group.receive(*(make_record(offset, "a") for offset in range(2, 9)))
    await group.settle()
    assert ids(handler)[0] == ["e0", "e2", "e1"]


async def test_gathered_goes_with_its_partition(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    group = make_group(handler)
    group.assign(epoch=1, partition=0)
    group.assign(epoch=2, partition=1)
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await group.settle()
    group.consumer.on_lost([1])
    group.receive(*(make_record(offset, "a", partition=1) for offset in range(3)), epoch=2)
    await group.settle()
    assert ids(handler) == [["e0", "e1", "e2"]]
    assert {event.data["n"] for event in handler.batches[0]} == {0, 1, 2}


async def test_revocation_while_a_batch_is_read_drops_its_cut_share(
    make_group: MakeGroup, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = consumer()()
    group = make_group(handler)
    group.assign()
    monkeypatch.setattr("eventzr_kafka.engine.turn._LENGTH", -1.0)  # a turn before each record
    group.receive(make_record(0)._replace(value=b"{"), make_record(1), make_record(2))
    while not any(epoch.running for epoch in group.consumer._epochs.values()):  # noqa: ASYNC110 -- no event is set for it
        await asyncio.sleep(0)
    group.consumer.on_lost([1])
    await group.settle()
    assert ids(handler) == []
    assert group.consumer._lanes.count == 0


async def test_running_batch_is_awaited(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_size=2)()
    handler.gate.clear()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await group.settle()
    handed_over = asyncio.Event()
    group.consumer.on_revoked([1], handed_over.set)
    await group.settle()
    assert not handed_over.is_set()
    handler.gate.set()
    await asyncio.wait_for(handed_over.wait(), 5)
    assert group.transport.offset() == 2


def refuse(number: int) -> Callable[[list[CloudEvent[Any]]], None]:
    """Name the event of this number, if it is there."""

    def act(events: list[CloudEvent[Any]]) -> None:
        bad = [event for event in events if event.data["n"] == number]
        if bad:
            raise BatchItemError(*bad) from ValueError("secret")

    return act


def fail_with(number: int) -> Callable[[list[CloudEvent[Any]]], None]:
    """Fail without a name, if the event of this number is there."""

    def act(events: list[CloudEvent[Any]]) -> None:
        if any(event.data["n"] == number for event in events):
            raise ValueError

    return act


async def test_unnamed_rest_counts_as_done(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    handler.act = refuse(1)
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(offset, "abc"[offset]) for offset in range(3)))
    await group.settle()
    group.store()
    stopped = group.errors[0]
    assert isinstance(stopped, EventStoppedError)
    assert (stopped.offset, stopped.event_id) == (1, "e1")
    assert "secret" not in str(stopped)
    assert group.transport.offset() == 1
    assert group.consumer._epochs[1].ledger.unfinished == 1


async def test_named_event_is_retried_before_the_rest_of_its_lane(
    make_group: MakeGroup, make_record: MakeRecord
) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=0))()
    handler.act = refuse(1)
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(offset, "a") for offset in range(3)))
    await group.settle()
    handler.act = refuse(-1)
    group.receive(make_record(3, "a"), make_record(4, "a"))
    await until_empty(group)
    assert ids(handler) == [["e0", "e1", "e2"], ["e1", "e3", "e4"]]


async def test_unnamed_error_is_pinned_down(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(retry=RetryPolicy(attempts=2, wait_initial=0))()
    handler.act = fail_with(1)
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(offset, "abc"[offset]) for offset in range(3)))
    await until_empty(group)
    assert ids(handler)[:2] == [["e0", "e1", "e2"]] * 2
    assert sorted(ids(handler)[2:]) == [["e0"], ["e1"], ["e2"]]
    assert [record.headers[1] for record in group.producer.records] == [("eventzr-dlq-topic", TOPIC.encode())]
    assert group.producer.records[0].value == make_record(1, "b").value
    group.store()
    assert group.transport.offset() == 3


async def test_two_named_events_keep_order(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_wait=0.01, retry=RetryPolicy(attempts=1))()

    def refuse_odd(events: list[CloudEvent[Any]]) -> None:
        if bad := [event for event in events if event.data["n"] % 2]:
            raise BatchItemError(*bad)

    handler.act = refuse_odd
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(offset, "a") for offset in range(6)))
    await until_empty(group)
    assert [record.value for record in group.producer.records] == [make_record(n, "a").value for n in (1, 3, 5)]


async def test_unreadable_record_ends_its_share(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_size=4, max_wait=0.02)()
    group = make_group(handler)
    group.assign()
    broken = make_record(1, "a")._replace(value=b"{")
    group.receive(make_record(0, "a"), broken, make_record(2, "a"), make_record(3, "b"))
    await until_empty(group)
    assert ids(handler) == [["e0", "e3"], ["e2"]]
    assert [record.value for record in group.producer.records] == [b"{"]


async def test_full_memory_hands_batches_over(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_size=100, max_buffered_events=2)()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await group.settle()
    assert ids(handler) == [["e0", "e1"]]


async def test_stop_drops_what_is_gathered(make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer()()
    group = make_group(handler)
    group.assign()
    group.receive(make_record(0, "a"))
    await group.settle()
    await group.consumer.stop()
    assert ids(handler) == []
    assert group.transport.offset() in (None, 0)


@pytest.mark.parametrize("ordering", ["tenant", "subject", "partition", "none"])
async def test_every_event_runs_once_in_order(ordering: str, make_group: MakeGroup, make_record: MakeRecord) -> None:
    handler = consumer(max_size=7, max_wait=0.01, ordering=ordering)()
    group = make_group(handler)
    group.assign()
    group.receive(*(make_record(offset, f"t{offset % 5}") for offset in range(100)))
    await until_empty(group)
    seen = [(event.tenantid, event.data["n"]) for batch in handler.batches for event in batch]
    assert sorted(number for _, number in seen) == list(range(100))
    if ordering != "none":
        assert all([n for t, n in seen if t == f"t{i}"] == list(range(i, 100, 5)) for i in range(5))
    assert max(len(batch) for batch in handler.batches) == 7


async def test_def_handler_gets_each_context(make_group: MakeGroup, make_record: MakeRecord) -> None:
    seen: list[list[int]] = []

    @kafka_consumer(group_id="group")
    class Consumer:
        @on_batch(TOPIC, max_size=2)
        def handle(self, events: list[CloudEvent[Any]], contexts: list[MessageContext]) -> None:
            assert len(events) == len(contexts)
            seen.append([context.record.offset for context in contexts])

    group = make_group(Consumer())
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))
    await until_empty(group)
    assert seen == [[0, 1]]


def test_batch_handler_needs_a_list() -> None:
    with pytest.raises(RoutingError, match=r"is not annotated list\[eventzr_kafka\.CloudEvent\[…\]\]") as refused:

        @kafka_consumer(group_id="group")
        class _Consumer:
            @on_batch(ListingCreated, max_wait=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
            async def handle(self, events: CloudEvent[ListingCreated]) -> None: ...

    right = "\n    @on_batch(ListingCreated, max_size=500, max_wait=2)\n    async def handle"
    assert f"{right}(self, events: list[CloudEvent[ListingCreated]]) -> None:" in str(refused.value)


def test_bad_numbers_are_refused_by_name() -> None:
    with pytest.raises(RoutingError, match="@on_batch: max_size=0: must be 1 or more"):
        on_batch(ListingCreated, max_size=0)
