"""What events published in a handler inherit from the event in hand, and what they may not do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator
from tests.unit.conftest import TOPIC, FakeProducer, MakeGroup, MakeRecord
from tests.waiting import until

from eventzr_kafka import (
    CloudEvent,
    EventData,
    EventProducer,
    KafkaSettings,
    Reject,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.errors import CrossTenantError, EncodeError, MissingTenantError
from eventzr_kafka.events.context import current_event, current_tenant, enter, enter_batch, leave
from eventzr_kafka.producing.envelope import Enveloper

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-01"


class Reply(EventData, topic="bench.reply.sent.v1"):
    n: int = 0


class Outbox:
    """A producer, and the events that its client was given."""

    def __init__(self) -> None:
        self.client = FakeProducer()
        self.producer = EventProducer(source="s", settings=KafkaSettings(), transport=lambda _settings: self.client)
        self.producer.start()

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(record.value or b"") for record in self.client.records]

    @property
    def tenants(self) -> list[tuple[str, str]]:
        return [
            ((record.key or b"").decode(), event["tenantid"])
            for record, event in zip(self.client.records, self.sent, strict=True)
        ]


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    outbox = Outbox()
    yield outbox
    outbox.producer.close()


def happened(tenant: str = "a", event_id: str = "e1", **extensions: Any) -> CloudEvent[Any]:
    return CloudEvent(id=event_id, source="s", type=TOPIC, tenantid=tenant, data=None).with_extensions(**extensions)


@contextmanager
def handling(*events: CloudEvent[Any], batch: bool = False) -> Generator[None]:
    token = enter_batch(events) if batch else enter(*events)
    try:
        yield
    finally:
        leave(token)


# What is inherited


async def test_an_event_published_in_a_handler_is_its_tenants(outbox: Outbox) -> None:
    with handling(happened("a")):
        await outbox.producer.publish(Reply())
        outbox.producer.enqueue(Reply())
    assert outbox.tenants == [("a", "a"), ("a", "a")]


def test_what_caused_an_event_is_known(outbox: Outbox) -> None:
    with handling(happened(event_id="e7", traceparent=TRACE, tracestate="v=1")):
        outbox.producer.enqueue(Reply())
    (sent,) = outbox.sent
    assert (sent["correlationid"], sent["causationid"]) == ("e7", "e7")
    assert (sent["traceparent"], sent["tracestate"]) == (TRACE, "v=1")


def test_what_the_event_in_hand_does_not_have_is_not_inherited(outbox: Outbox) -> None:
    with handling(happened(partitionkey="p", expirytime="2030-01-01T00:00:00Z")):
        outbox.producer.enqueue(Reply())
    (sent,) = outbox.sent
    assert sent.keys().isdisjoint({"traceparent", "tracestate", "partitionkey", "expirytime"})


def test_a_chain_of_events_keeps_the_correlation_of_its_first() -> None:
    envelop, link = Enveloper("s"), happened(event_id="first")
    for _ in range(3):
        with handling(link):
            cause, link = link, envelop.prepare_event(Reply())
        assert (link.correlationid, link.causationid, link.tenantid) == ("first", cause.id, "a")


def test_extensions_that_are_given_count_more(outbox: Outbox) -> None:
    mine: dict[str, str | int] = {
        "correlationid": "c",
        "causationid": "x",
        "traceparent": OTHER_TRACE,
        "tracestate": "w=2",
        "n": 1,
    }
    with handling(happened(traceparent=TRACE, tracestate="v=1")):
        outbox.producer.enqueue(Reply(), extensions=mine)
    (sent,) = outbox.sent
    assert {name: sent[name] for name in mine} == mine


def test_another_trace_does_not_get_the_state_of_the_one_in_hand(outbox: Outbox) -> None:
    with handling(happened(traceparent=TRACE, tracestate="v=1")):
        outbox.producer.enqueue(Reply(), extensions={"traceparent": OTHER_TRACE})
    assert "tracestate" not in outbox.sent[0]


def test_nothing_is_inherited_outside_of_handlers(outbox: Outbox) -> None:
    outbox.producer.enqueue(Reply(), tenant_id="a")
    assert outbox.sent[0].keys().isdisjoint({"correlationid", "causationid", "traceparent"})


# No event without its tenant


def test_outside_of_handlers_the_tenant_must_be_given(outbox: Outbox) -> None:
    with pytest.raises(MissingTenantError, match="no tenant: pass tenant_id=…, or publish inside a handler"):
        outbox.producer.enqueue(Reply())
    assert outbox.sent == []


@pytest.mark.parametrize("tenant", [None, "", 7])
def test_a_tenant_of_none_does_not_inherit_the_current_one(outbox: Outbox, tenant: Any) -> None:
    with handling(happened("a")), pytest.raises(EncodeError, match="tenant"):
        outbox.producer.enqueue(Reply(), tenant_id=tenant)
    assert outbox.sent == []


# Other tenants' events


def test_a_handler_may_name_its_own_tenant(outbox: Outbox) -> None:
    with handling(happened("a")):
        outbox.producer.enqueue(Reply(), tenant_id="a")
    assert outbox.tenants == [("a", "a")]


async def test_an_event_for_another_tenant_is_refused(outbox: Outbox) -> None:
    with handling(happened("a")):
        with pytest.raises(
            CrossTenantError, match=r"tenant 'b'.*handler runs for 'a'; pass allow_cross_tenant=True"
        ) as found:
            await outbox.producer.publish(Reply(), tenant_id="b", event_id="r1")
        with pytest.raises(CrossTenantError):
            outbox.producer.enqueue(Reply(), tenant_id="b")
    error = found.value
    assert (error.event_id, error.topic, error.tenant_id) == ("r1", "bench.reply.sent.v1", "b")
    assert error.in_hand == {"a"}
    assert outbox.sent == []


def test_an_allowed_other_tenant_keeps_the_cause(outbox: Outbox) -> None:
    with handling(happened("a", "e1")):
        outbox.producer.enqueue(Reply(), tenant_id="b", allow_cross_tenant=True)
        outbox.producer.enqueue(Reply(), allow_cross_tenant=True)
    assert outbox.tenants == [("b", "b"), ("a", "a")]
    assert outbox.sent[0]["causationid"] == "e1"


def test_a_whole_event_is_sent_as_it_is(outbox: Outbox) -> None:
    with handling(happened("a", "e1", traceparent=TRACE)):
        outbox.producer.enqueue(happened("a", "e2"))
    assert outbox.sent[0]["id"] == "e2"
    assert outbox.sent[0].keys().isdisjoint({"correlationid", "causationid", "traceparent"})


def test_a_whole_event_of_another_tenant_must_be_allowed(outbox: Outbox) -> None:
    with handling(happened("a")):
        with pytest.raises(CrossTenantError):
            outbox.producer.enqueue(happened("b"))
        outbox.producer.enqueue(happened("b"), allow_cross_tenant=True)
    assert outbox.tenants == [("b", "b")]


def test_a_disabled_producer_keeps_tenants_apart_all_the_same() -> None:
    producer = EventProducer(source="s", settings=KafkaSettings(enabled=False))
    with handling(happened("a")), pytest.raises(CrossTenantError):
        producer.enqueue(Reply(), tenant_id="b")


# Batches


def test_of_a_batch_of_one_tenant_only_the_tenant_is_inherited(outbox: Outbox) -> None:
    with handling(happened("a", "e1", traceparent=TRACE), happened("a", "e2"), batch=True):
        assert (current_event(), current_tenant()) == (None, "a")
        outbox.producer.enqueue(Reply())
    assert outbox.tenants == [("a", "a")]
    assert outbox.sent[0].keys().isdisjoint({"correlationid", "causationid", "traceparent"})


def test_in_a_batch_of_several_tenants_the_tenant_must_be_given(outbox: Outbox) -> None:
    with handling(happened("a"), happened("b"), batch=True):
        assert (current_event(), current_tenant()) == (None, None)
        with pytest.raises(MissingTenantError):
            outbox.producer.enqueue(Reply())
        outbox.producer.enqueue(Reply(), tenant_id="b")
    assert outbox.tenants == [("b", "b")]


def test_a_batch_may_not_publish_for_a_tenant_that_is_not_in_it(outbox: Outbox) -> None:
    events = [happened(tenant) for tenant in "abcde"]
    with handling(*events, batch=True), pytest.raises(CrossTenantError, match=r"'x'.*for 'a', 'b', 'c' and 2 more;"):
        outbox.producer.enqueue(Reply(), tenant_id="x")


# Where the event is in hand, and where it no longer is


def test_an_event_is_current_only_while_its_handler_runs() -> None:
    event, before = happened("a"), copy_context()
    assert (current_event(), current_tenant()) == (None, None)
    with handling(event):
        assert (current_event(), current_tenant()) == (event, "a")
    assert (current_event(), current_tenant()) == (None, None)
    assert copy_context() == before


async def test_a_task_that_a_handler_starts_keeps_its_event(outbox: Outbox) -> None:
    gate = asyncio.Event()

    async def later() -> None:
        await gate.wait()
        await outbox.producer.publish(Reply())

    with handling(happened("a")):
        task = asyncio.create_task(later())
    with handling(happened("b")):
        gate.set()
        await task
    assert outbox.tenants == [("a", "a")]


async def test_only_a_thread_with_the_context_has_the_current_event(outbox: Outbox) -> None:
    with handling(happened("a")), ThreadPoolExecutor(1) as pool:
        await asyncio.to_thread(outbox.producer.enqueue, Reply())
        assert pool.submit(current_tenant).result() is None
    assert outbox.tenants == [("a", "a")]


@dataclass(frozen=True)
class Step:
    """A handler: its tenant, how it is started, and the handlers that run inside of it."""

    tenant: str
    how: Literal["inline", "task", "thread"]
    inner: list[Step]


def steps(inner: st.SearchStrategy[list[Step]]) -> st.SearchStrategy[list[Step]]:
    how = st.sampled_from(["inline", "task", "thread"])
    return st.lists(st.builds(Step, st.sampled_from("abc"), how, inner), max_size=3)


async def run(step: Step, published: list[tuple[str, str]]) -> None:
    """Publish between any two inner handlers, which go on at the same time."""
    envelop = Enveloper("s")
    with handling(happened(step.tenant)):
        running: list[asyncio.Future[Any]] = []
        for inner in [None, *step.inner]:
            if inner is None:
                pass
            elif inner.how == "inline":
                await run(inner, published)
            elif inner.how == "task":
                running.append(asyncio.ensure_future(run(inner, published)))
            else:
                await asyncio.to_thread(asyncio.run, run(inner, published))
            await asyncio.sleep(0)
            published.append((step.tenant, envelop.prepare_event(Reply()).tenantid))
        await asyncio.gather(*running)


@given(st.recursive(st.just([]), steps, max_leaves=8))
def test_nested_calls_publish_for_the_innermost_tenant(handlers: list[Step]) -> None:
    published: list[tuple[str, str]] = []
    asyncio.run(run(Step("top", "inline", handlers), published))
    assert published
    assert [inherited for _, inherited in published] == [tenant for tenant, _ in published]
    assert current_tenant() is None


# In the loop


async def test_concurrent_handlers_publish_for_their_own_tenants(
    make_group: MakeGroup, make_record: MakeRecord, outbox: Outbox
) -> None:
    gate = asyncio.Event()

    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            await gate.wait()
            result = await outbox.producer.publish(Reply(n=event.data["n"]))
            assert result.status == "acknowledged"

    group = make_group(Handler())
    group.assign()
    group.receive(*[make_record(offset, tenant) for offset, tenant in enumerate("abca")])
    await group.settle()
    gate.set()
    await group.settle()
    assert sorted((sent["data"]["n"], sent["tenantid"], sent["causationid"]) for sent in outbox.sent) == [
        (n, tenant, f"e{n}") for n, tenant in enumerate("abca")
    ]


async def test_a_def_handler_publishes_for_its_tenant(
    make_group: MakeGroup, make_record: MakeRecord, outbox: Outbox
) -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(TOPIC)
        def handle(self, _event: CloudEvent[Any]) -> None:
            outbox.producer.enqueue(Reply()).result()

    group = make_group(Handler())
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"))

    def is_stored() -> bool:
        group.store()
        return group.transport.offset() == 2

    await until(is_stored)
    assert sorted(outbox.tenants) == [("a", "a"), ("b", "b")]


async def test_a_batch_handler_publishes_for_the_tenant_of_its_batch(
    make_group: MakeGroup, make_record: MakeRecord, outbox: Outbox
) -> None:
    @kafka_consumer(group_id="group")
    class Handler:
        @on_batch(TOPIC, max_size=2, max_wait=60)
        async def handle(self, _events: list[CloudEvent[Any]]) -> None:
            await asyncio.sleep(0)
            outbox.producer.enqueue(Reply())

    group = make_group(Handler())
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "a"))
    await group.settle()
    assert outbox.tenants == [("a", "a")]


class Noting(BaseModel):
    """A payload that notes which event is in hand while it is decoded."""

    seen: ClassVar[list[str | None]] = []
    n: int

    @field_validator("n")
    @classmethod
    def note(cls, n: int) -> int:
        cls.seen.append(current_tenant())
        return n


@pytest.mark.parametrize("fails", [False, True])
async def test_the_next_event_is_decoded_with_none_in_hand(
    make_group: MakeGroup, make_record: MakeRecord, *, fails: bool
) -> None:
    handled: list[str | None] = []
    workers: set[asyncio.Task[Any] | None] = set()
    Noting.seen.clear()

    @kafka_consumer(group_id="group")
    class Handler:
        @on_message(TOPIC)
        async def handle(self, _event: CloudEvent[Noting]) -> None:
            handled.append(current_tenant())
            workers.add(asyncio.current_task())
            if fails:
                raise Reject("no")

    group = make_group(Handler())
    group.assign()
    group.receive(make_record(0, "a"), make_record(1, "b"), make_record(2, "a"))
    await group.settle()
    assert sorted(map(str, handled)) == ["a", "a", "b"]
    assert set(Noting.seen) == {None}
    assert fails or len(workers) == 1  # its context is as it was, else it would have ended
