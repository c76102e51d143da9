"""The fixture `events`: real handlers on a broker in memory, and words that help when a test fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from eventzr_kafka import CloudEvent, EventData, EventProducer, Record, encode, kafka_consumer, on_batch, on_message
from eventzr_kafka.errors import ConsumerStateError, InvalidDataError
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.testing import EventNotHandledError, Events, in_virtual_time
from eventzr_marketplace_events import ListingCreated, ListingPublished, OrderCompleted, example

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LISTING = example(ListingCreated)


@kafka_consumer(group_id="kit")
class Handler:
    """Does what the title says."""

    def __init__(self, producer: EventProducer | None = None) -> None:
        self.producer = producer
        self.seen: list[str] = []
        self.mended = False
        self.on_failure: Callable[[], None] = lambda: None

    @on_message(ListingCreated)
    async def handle(self, event: CloudEvent[ListingCreated]) -> None:
        self.seen.append(event.tenantid)
        if event.data.title == "fail" and not self.mended:
            self.on_failure()
            raise KeyError("seat 7")
        if event.data.title == "wait":
            await asyncio.sleep(600)
        if self.producer is not None:
            published = ListingPublished(id=event.data.id, seller_id="s", lane="l", published_at=NOON)
            await self.producer.publish(published, tenant_id=event.tenantid)


def titled(title: str) -> ListingCreated:
    return LISTING.model_copy(update={"title": title})


async def test_emit_waits_for_the_commit(events: Events) -> None:
    handler = Handler()
    events.subscribe(handler)

    event = await events.emit(LISTING, tenant_id="t1")

    assert handler.seen == ["t1"]
    assert events.broker.lag("kit", event.type) == 0
    assert sum(events.broker.committed("kit", event.type).values()) == 1
    assert events.outcome(event) == "done"


async def test_published_excludes_the_events_that_the_test_emits(events: Events) -> None:
    events.subscribe(Handler(events.producer))
    for tenant in ("t1", "t2"):
        await events.emit(LISTING, tenant_id=tenant)

    assert {event.tenantid for event in events.published()} == {"t1", "t2"}
    assert events.assert_published(ListingPublished, where=lambda event: event.tenantid == "t2").data.lane == "l"
    assert events.published(ListingCreated) == []
    assert len(events.published("eventzr.marketplace.listing.published.v1")) == 2


async def test_handler_error_is_raised_at_once_with_its_cause(events: Events) -> None:
    events.subscribe(Handler())

    with pytest.raises(EventNotHandledError) as caught:
        await events.emit(titled("fail"), tenant_id="t1")

    assert "Handler.handle: KeyError: 'seat 7'; attempt 1" in str(caught.value)
    assert "retried, not done: ListingCreated(id='listing-uuid', title='fail'" in str(caught.value)
    assert "@in_virtual_time runs a test with its retries" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


@in_virtual_time
async def test_virtual_clock_waits_for_retries(events: Events) -> None:
    handler = Handler()
    events.subscribe(handler)

    with pytest.raises(EventNotHandledError, match=r"attempt 5(.|\n)*dead-lettered, not done") as caught:
        await events.emit(titled("fail"), tenant_id="t1")

    assert handler.seen == ["t1"] * 5
    assert isinstance(caught.value.__cause__, KeyError)


@in_virtual_time
async def test_expected_dead_letter_passes(events: Events) -> None:
    events.subscribe(Handler())

    event = await events.emit(titled("fail"), tenant_id="t1", expect="dead-lettered")

    (letter,) = events.dead_letters()
    assert (letter.facts.error, letter.facts.attempts, letter.facts.event_id) == ("KeyError", 5, event.id)
    assert letter.origin == events.broker.records(event.type)[0][:3]
    assert events.outcome(event) == "dead-lettered"
    assert events.published() == []


@kafka_consumer(group_id="stops", retry=RetryPolicy(attempts=1, on_exhausted="stop"))
class StoppingHandler(Handler):
    """Stops at the first failure."""


async def test_expected_stop_is_not_a_failure_and_is_redelivered(events: Events) -> None:
    handler = StoppingHandler()
    events.subscribe(handler)
    event = await events.emit(titled("fail"), tenant_id="t1", expect="stopped")
    assert events.outcome(event) == "stopped"
    with pytest.raises(EventNotHandledError, match=r"the consumer stopped: .*KeyError"):
        await events.drain()

    handler.mended = True
    await events.drain()

    assert handler.seen == ["t1", "t1", "t1"]
    assert events.outcome(event) == "done"


async def test_unexpected_success_fails(events: Events) -> None:
    events.subscribe(Handler())

    with pytest.raises(EventNotHandledError, match="done, not stopped"):
        await events.emit(LISTING, tenant_id="t1", expect="stopped")


async def test_drain_waits_for_others_events(events: Events) -> None:
    handler = Handler()
    events.subscribe(handler)
    for tenant in ("t1", "t2", "t3"):
        await events.producer.publish(LISTING, tenant_id=tenant)

    await events.drain()

    assert sorted(handler.seen) == ["t1", "t2", "t3"]
    assert {events.outcome(event) for event in events.published()} == {"done"}


async def test_end_of_a_running_block_raises_what_stopped_it(events: Events) -> None:
    events.subscribe(handler := StoppingHandler())
    failed = asyncio.Event()
    handler.on_failure = failed.set

    async def serve() -> None:
        async with events.running():
            await events.emit(LISTING, tenant_id="t1")
            await events.producer.publish(titled("fail"), tenant_id="t2")
            await asyncio.wait_for(failed.wait(), 60)

    with pytest.raises(EventNotHandledError, match=r"the consumer stopped: .*KeyError"):
        await serve()


async def test_concurrent_emits_are_awaited(events: Events) -> None:
    handler = Handler()
    events.subscribe(handler)

    await asyncio.gather(*(events.emit(LISTING, tenant_id=f"t{number}") for number in range(20)))

    assert len(handler.seen) == 20


async def test_any_record_can_be_emitted(events: Events) -> None:
    events.subscribe(Handler())
    good = encode(
        CloudEvent(id="1", source="marketplace-svc", type=str(ListingCreated.__topic__), tenantid="t1", data={})
    )

    with pytest.raises(EventNotHandledError, match="Field required") as caught:
        await events.emit(Record(good.topic, 0, 0, good.key, good.value, good.headers))
    assert isinstance(caught.value.__cause__, InvalidDataError)


async def test_topic_without_handler_is_named(events: Events) -> None:
    events.subscribe(Handler())

    with pytest.raises(EventNotHandledError, match=r"no handler for .*order.completed.v1; subscribed: Handler.handle"):
        await events.emit(example(OrderCompleted), tenant_id="t1")


async def test_emit_takes_payload_or_record(events: Events) -> None:
    anything: Any = events
    with pytest.raises(TypeError, match="not dict"):
        await anything.emit({})
    with pytest.raises(TypeError, match="tenant_id= belongs to a payload, not to a Record"):
        await anything.emit(Record("t", 0, 0, None, None), tenant_id="t1")


async def test_handlers_subscribe_first(events: Events) -> None:
    events.subscribe(Handler())
    async with events.running():
        with pytest.raises(ConsumerStateError):
            events.subscribe(Handler())


async def test_failed_assertion_shows_events(events: Events) -> None:
    events.subscribe(Handler(events.producer))
    await events.emit(LISTING, tenant_id="t1")

    instead = "ListingPublished(id='listing-uuid', seller_id='s'"
    with pytest.raises(AssertionError, match="0 OrderCompleted published, not 1") as caught:
        events.assert_published(OrderCompleted)
    assert instead in str(caught.value)
    assert "of tenant t1, id " in str(caught.value)
    with pytest.raises(AssertionError, match="0 ListingPublished that fits `where` published"):
        events.assert_published(ListingPublished, where=lambda event: event.tenantid == "t9")
    shown = repr(events.published(OrderCompleted))
    assert shown.startswith("[] (no OrderCompleted was published; published were: ListingPublished(")


def test_nothing_published_has_a_repr(events: Events) -> None:
    assert repr(events.published()) == "[] (no event was published; published were: nothing)"


async def test_slow_handler_explains_waiting(events: Events) -> None:
    events.subscribe(Handler())
    events.timeout = 0.05

    with pytest.raises(EventNotHandledError, match=r"0.05 s have passed; .*@in_virtual_time(.|\n)*not committed"):
        await events.emit(titled("wait"), tenant_id="t1")


@in_virtual_time
async def test_virtual_minutes_pass_at_once(events: Events) -> None:
    handler = Handler(events.producer)
    events.subscribe(handler)

    await events.emit(titled("wait"), tenant_id="t1")

    assert asyncio.get_running_loop().time() >= 600
    assert events.assert_published(ListingPublished).tenantid == "t1"


@kafka_consumer(group_id="batches", handler_timeout=1.0)
class Batches:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    @on_batch(ListingCreated, max_size=10, max_wait=30.0)
    async def handle(self, events: list[CloudEvent[ListingCreated]]) -> None:
        self.sizes.append(len(events))
        await asyncio.sleep(2 if events[0].data.title == "wait" else 0)


@in_virtual_time
async def test_batches_are_tested_at_once(events: Events) -> None:
    handler = Batches()
    events.subscribe(handler)

    await asyncio.gather(*(events.emit(LISTING, tenant_id=f"t{number}") for number in range(3)))
    await events.emit(titled("wait"), tenant_id="t1", expect="dead-lettered")

    assert handler.sizes[:2] == [3, 1]


@kafka_consumer(group_id="parks", retry=RetryPolicy(attempts=1), after_dead_letter="park_key")
class ParkingHandler(Handler):
    """What follows a dead letter in its lane is a dead letter, too."""


async def test_parked_key_stays_in_next_emit(events: Events) -> None:
    handler = ParkingHandler()
    events.subscribe(handler)

    await events.emit(titled("fail"), tenant_id="t1", expect="dead-lettered")
    await events.emit(LISTING, tenant_id="t1", expect="dead-lettered")
    await events.emit(LISTING, tenant_id="t2")

    assert handler.seen == ["t1", "t2"]
    assert [letter.facts.error for letter in events.dead_letters()] == ["KeyError", "parked"]


def test_producer_precedes_the_loop(events: Events) -> None:
    handler = Handler(events.producer)
    events.subscribe(handler)

    @in_virtual_time
    async def emit() -> None:
        await events.emit(LISTING, tenant_id="t1")

    emit()
    assert len(events.published(ListingPublished)) == 1


async def test_own_producer_shares_the_broker(events: Events) -> None:
    async with EventProducer(source="marketplace-svc", transport=events.transport) as producer:
        await producer.publish(LISTING, tenant_id="t1")

    assert events.assert_published(ListingCreated).source == "marketplace-svc"


async def test_kafka_may_be_disabled(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ENABLED", "false")
    events.subscribe(handler := Handler(events.producer))

    await events.emit(LISTING, tenant_id="t1")

    assert handler.seen == ["t1"]
    assert len(events.published()) == 1


async def test_unknown_event_has_no_outcome(events: Events) -> None:
    event: CloudEvent[Any] = CloudEvent(id="1", source="s", type="no.such.v1", tenantid="t1")
    with pytest.raises(LookupError):
        events.outcome(event)


async def test_outcomes_differ_by_tenant(events: Events) -> None:
    events.subscribe(Handler())
    good, bad = LISTING, titled("fail")
    rejected = await events.emit(bad, tenant_id="t1", event_id="42", expect="retried")
    other = await events.emit(good, tenant_id="t2", event_id="42")
    third = rejected.replace(source="another-svc")
    assert (events.outcome(rejected), events.outcome(other)) == ("retried", "done")
    with pytest.raises(LookupError):
        events.outcome(third)


@in_virtual_time
async def test_unseen_dead_letter_fails_drain(events: Events) -> None:
    @kafka_consumer(group_id="g", retry=RetryPolicy(attempts=1))
    class Failing:
        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None:
            raise ValueError(event.id)

    events.subscribe(Failing())
    await events.producer.publish(example(ListingCreated), tenant_id="t1")
    with pytest.raises(EventNotHandledError, match=r"Failing\.handle: ValueError: .*dead-lettered") as failed:
        await events.drain()
    assert isinstance(failed.value.__cause__, ValueError)
    await events.emit(example(ListingCreated), tenant_id="t1", expect="dead-lettered")
    await events.drain()


async def test_done_is_the_first_attempt(events: Events) -> None:
    @kafka_consumer(group_id="g", retry=RetryPolicy(wait_initial=0))
    class Second:
        calls = 0

        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None:
            self.calls += 1
            if self.calls == 1:
                raise ValueError(event.id)

    events.subscribe(Second())
    with pytest.raises(EventNotHandledError, match="ValueError"):
        await events.emit(example(ListingCreated), tenant_id="t1")


@in_virtual_time
async def test_retry_can_be_expected(events: Events) -> None:
    @kafka_consumer(group_id="g")
    class Failing:
        @on_message(ListingCreated)
        async def handle(self, event: CloudEvent[ListingCreated]) -> None:
            raise ValueError(event.id)

    events.subscribe(Failing())
    await events.emit(example(ListingCreated), tenant_id="t1", expect="retried")


def test_topicless_class_is_no_wildcard(events: Events) -> None:
    with pytest.raises(TypeError, match="EventData declares no topic"):
        events.published(EventData)
