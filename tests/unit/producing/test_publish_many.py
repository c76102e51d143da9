"""`publish_many`: order, one error with every result, room, cancellation and the end of the producer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.producing.bench import TIMED_OUT, Bench, Thing, settle

from eventzr_kafka import CloudEvent, EventProducer, KafkaSettings, PublishManyError, PublishResult
from eventzr_kafka.errors import (
    CrossTenantError,
    DeliveryError,
    EncodeError,
    MissingTenantError,
    ProducerStateError,
    QueueFullError,
)
from eventzr_kafka.events.context import enter, leave
from eventzr_kafka.producing.many import Publishable
from eventzr_kafka.testing import MemoryBroker

HELD = CloudEvent[Any](id="held", source="s", type="t", tenantid="t1")


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.transport.room = 100
    return bench


def things(ids: str) -> Iterator[Publishable]:
    return ((Thing(n=1), {"event_id": each}) for each in ids)


def begin(bench: Bench, ids: str, **keywords: Any) -> asyncio.Task[list[PublishResult]]:
    keywords.setdefault("tenant_id", "t1")
    return asyncio.create_task(bench.producer.publish_many(things(ids), **keywords))


def acknowledge(bench: Bench) -> None:
    while bench.transport.under_way:
        bench.transport.report()
    bench.transport.reported()


async def test_events_go_out_and_return_in_order(bench: Bench) -> None:
    call = begin(bench, "abc")
    await settle()
    assert bench.transport.sent == ["a", "b", "c"]
    acknowledge(bench)
    results = await call
    assert [(one.event_id, one.status, one.partition) for one in results] == [
        ("a", "acknowledged", 0),
        ("b", "acknowledged", 0),
        ("c", "acknowledged", 0),
    ]


async def test_own_keywords_win_over_shared_ones(bench: Bench) -> None:
    whole = CloudEvent[Any](id="w", source="s", type=Thing.__topic__ or "", tenantid="t3", data=Thing(n=1))
    call = asyncio.create_task(bench.producer.publish_many([(Thing(n=1), {"tenant_id": "t2"}), whole]))
    await settle()
    assert [record.key for record in bench.transport.records] == [b"t2", b"t3"]
    acknowledge(bench)
    assert len(await call) == 2


async def test_no_events_give_no_results(bench: Bench) -> None:
    assert await bench.producer.publish_many([]) == []


async def test_failure_has_the_result_of_each(bench: Bench) -> None:
    call = begin(bench, "abc")
    await settle()
    bench.transport.report()
    bench.transport.report(TIMED_OUT)
    acknowledge(bench)
    with pytest.raises(PublishManyError) as caught:
        await call
    first, second, third = caught.value.results
    assert isinstance(first, PublishResult)
    assert isinstance(third, PublishResult)
    assert (first.event_id, third.event_id) == ("a", "c")
    assert isinstance(second, DeliveryError)
    assert caught.value.exceptions == (second,)
    assert str(caught.value).startswith("1 of 3 events were not published, see results; the first: event b for")
    assert bench.producer.unreported_failures == 0


async def test_except_star_takes_one_kind(bench: Bench) -> None:
    call = begin(bench, "ab")
    await settle()
    bench.transport.report(TIMED_OUT)
    acknowledge(bench)
    taken: list[str] = []
    try:
        await call
    except* DeliveryError as group:
        taken = [error.event_id for error in group.exceptions if isinstance(error, DeliveryError)]
    assert taken == ["a"]


# Nothing that publish refuses


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((Thing(n=1), {"event_id": ""}), EncodeError),
        ((Thing(n=1), {"tenant_id": "a\x00"}), EncodeError),
        ((Thing(n=1), {"tenant_id": None}), MissingTenantError),
        ((Thing(n=1), {"unknown": 1}), TypeError),
        (CloudEvent[Any](id="1", source="s", type="t", tenantid="t"), TypeError),
        ({"n": 1}, EncodeError),
    ],
    ids=["id", "tenant", "no tenant", "keyword", "whole event", "no payload"],
)
async def test_one_bad_event_sends_none(bench: Bench, bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await bench.producer.publish_many([*things("a"), bad], tenant_id="t1")
    assert bench.transport.sent == []


async def test_other_tenants_event_sends_none(bench: Bench) -> None:
    token = enter(HELD)
    try:
        with pytest.raises(CrossTenantError):
            await bench.producer.publish_many([*things("a"), (Thing(n=1), {"tenant_id": "t2"})])
        call = asyncio.create_task(bench.producer.publish_many(things("a")))
        await settle()
    finally:
        leave(token)
    acknowledge(bench)
    await call
    assert [record.key for record in bench.transport.records] == [b"t1"]
    assert b'"causationid":"held"' in (bench.transport.records[0].value or b"")


async def test_unstarted_producer_sends_none() -> None:
    producer = EventProducer(source="s", settings=KafkaSettings(brokers="127.0.0.1:1"))
    with pytest.raises(ProducerStateError, match="the producer is not started"):
        await producer.publish_many(things("a"), tenant_id="t1")


async def test_disabled_producer_skips_all() -> None:
    producer = EventProducer(source="s", settings=KafkaSettings(enabled=False))
    results = await producer.publish_many(things("ab"), tenant_id="t1")
    assert [(one.status, one.event_id, one.offset) for one in results] == [
        ("skipped", "a", None),
        ("skipped", "b", None),
    ]


# Room


async def test_waiting_events_follow_in_order(bench: Bench) -> None:
    bench.transport.room = 2
    call = begin(bench, "abcde")
    await settle()
    assert bench.transport.sent == ["a", "b"]
    assert len(bench.producer._waiting.entries) == 1
    while not call.done():
        acknowledge(bench)
        await settle()
    assert bench.transport.sent == ["a", "b", "c", "d", "e"]
    assert [one.event_id for one in await call] == ["a", "b", "c", "d", "e"]


async def test_no_room_in_time_ends_the_call(bench: Bench) -> None:
    bench.transport.room = 1
    call = begin(bench, "abc")
    await settle()
    bench.now += 5.1
    bench.transport.reported()
    await settle()
    bench.transport.room = 100
    acknowledge(bench)
    with pytest.raises(PublishManyError) as caught:
        await call
    assert [type(result) for result in caught.value.results] == [PublishResult, QueueFullError, QueueFullError]
    assert bench.transport.sent == ["a"]


async def test_cancelled_call_sends_no_further_event(bench: Bench) -> None:
    bench.transport.room = 1
    call = begin(bench, "abc")
    await settle()
    call.cancel()
    await settle()
    assert call.cancelled()
    bench.transport.room = 100
    bench.transport.report(TIMED_OUT)
    bench.transport.reported()
    assert bench.transport.sent == ["a"]
    assert bench.producer.unreported_failures == 1


async def test_closed_producer_fails_the_rest(bench: Bench) -> None:
    bench.transport.room = 1
    call = begin(bench, "abc")
    await settle()
    bench.producer.close(0)
    with pytest.raises(PublishManyError) as caught:
        await call
    assert [type(result) for result in caught.value.results] == [DeliveryError, QueueFullError, QueueFullError]
    assert bench.transport.sent == ["a"]


async def test_other_tasks_run_meanwhile(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventzr_kafka.producing.many.AT_ONCE", 2)
    call = begin(bench, "abcdef")
    seen: list[int] = []
    while len(bench.transport.sent) < 6:
        seen.append(len(bench.transport.sent))
        await asyncio.sleep(0)
    assert {2, 4} <= set(seen)
    acknowledge(bench)
    assert len(await call) == 6


def test_blocking_call_needs_no_event_loop() -> None:
    broker = MemoryBroker()
    broker.create_topics(Thing.__topic__ or "")
    with EventProducer(source="s", settings=KafkaSettings(), transport=broker.producer) as producer:
        results = producer.publish_many_sync(things("abc"), tenant_id="t1")
        with pytest.raises(EncodeError):
            producer.publish_many_sync(things("a"), tenant_id="")
    assert [one.event_id for one in results] == ["a", "b", "c"]
