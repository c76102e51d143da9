"""`accepts=` of an event class: whose events are read on its topic, in every place that reads them."""

from __future__ import annotations

from typing import Any

import pytest

from eventzr_kafka import (
    CloudEvent,
    EventData,
    Record,
    RetryPolicy,
    decode,
    encode,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.aws_lambda import lambda_handler
from eventzr_kafka.errors import EventDeclarationError, SourceNotAllowedError
from eventzr_kafka.events.catalogue import known_events
from eventzr_kafka.events.event_data import sources_accepted_by
from eventzr_kafka.testing import Events
from eventzr_marketplace_events import PaymentCompleted, example

# The table of the guide: the 12 topics of the marketplace, and the source of each of the 6 that it consumes.
GUIDE = {
    "eventzr.marketplace.": "marketplace-svc",
    "eventzr.event.": "event-svc",
    "eventzr.reviews.": "reviews-svc",
    "eventzr.wallet.": "wallet-svc",
    "eventzr.subscriptions.": "subscriptions-svc",
    "eventzr.user.": "user-svc",
}
MARKETPLACE = [kind for kind in known_events().values() if kind.__module__.startswith("eventzr_marketplace_events.")]


class Points(EventData, topic="accepts.points.v1", source="loyalty-svc", accepts={"/loyalty-svc"}):
    n: int = 1


class Open(EventData, topic="accepts.open.v1", source="open-svc"):
    n: int = 1


def event_of(kind: type[EventData], source: str, **data: Any) -> CloudEvent[Any]:
    return CloudEvent[Any](
        id="e1", source=source, type=str(kind.__topic__), tenantid="t1", data=data or kind().model_dump(by_alias=True)
    )


def payment(source: str) -> CloudEvent[Any]:
    data = example(PaymentCompleted).model_dump(mode="json", by_alias=True, exclude_none=True)
    return CloudEvent[Any](id="e1", source=source, type=str(PaymentCompleted.__topic__), tenantid="t1", data=data)


def record_of(event: CloudEvent[Any]) -> Record:
    out = encode(event)
    return Record(out.topic, 0, 0, out.key, out.value, out.headers)


@kafka_consumer(group_id="payments", retry=RetryPolicy(attempts=1))
class Payments:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @on_message(PaymentCompleted)
    async def pay(self, event: CloudEvent[PaymentCompleted]) -> None:
        self.seen.append(event.source)


@kafka_consumer(group_id="raw")
class Raw:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @on_message("eventzr.wallet.payment.completed.v1")
    async def pay(self, event: CloudEvent[Any]) -> None:
        self.seen.append(event.source)


@kafka_consumer(group_id="batches")
class Batches:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @on_batch("eventzr.wallet.payment.completed.v1", max_wait=0)
    async def pay(self, events: list[CloudEvent[PaymentCompleted]]) -> None:
        self.seen += [event.source for event in events]


@kafka_consumer(group_id="odd", sources={"nobody-svc"})
class Overriding:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @on_message(PaymentCompleted, sources={"reviews-svc"})
    async def pay(self, event: CloudEvent[PaymentCompleted]) -> None:
        self.seen.append(event.source)


@kafka_consumer(group_id="any", sources="any")
class Trusting(Payments):
    pass


# The class


def test_18_classes_are_checked() -> None:
    assert len(MARKETPLACE) == 18


@pytest.mark.parametrize("kind", MARKETPLACE)
def test_only_source_of_guide_is_accepted(kind: type[EventData]) -> None:
    accepted = sources_accepted_by(kind)
    [name] = [source for start, source in GUIDE.items() if str(kind.__topic__).startswith(start)]
    assert accepted is not None
    assert {name, f"/{name}"} <= accepted
    assert all(spelling.endswith(name) for spelling in accepted)


def test_without_accepts_all_are_read() -> None:
    assert sources_accepted_by(Open) is None
    assert decode(record_of(event_of(Open, "stranger"))).source == "stranger"


def test_own_source_is_accepted() -> None:
    assert sources_accepted_by(Points) == frozenset({"loyalty-svc", "/loyalty-svc"})


def test_subclass_inherits_accepts() -> None:
    class Heir(Points, topic="accepts.heir.v1"):
        pass

    class Other(Points, topic="accepts.other.v1", source="other-svc"):
        pass

    assert sources_accepted_by(Heir) == frozenset({"loyalty-svc", "/loyalty-svc"})
    assert sources_accepted_by(Other) is None


@pytest.mark.parametrize("wrong", ["wallet-svc", set[str](), {"a b"}, {1}, 7])
def test_wrong_accepts_is_refused(wrong: Any) -> None:
    with pytest.raises(EventDeclarationError, match=r"Wrong: accepts=.*must be one source or more"):

        class Wrong(EventData, topic="accepts.wrong.v1", accepts=wrong):  # pyright: ignore[reportUnusedClass] -- refused
            pass


# Readers


def test_decode_checks_the_source() -> None:
    assert decode(record_of(event_of(Points, "/loyalty-svc")), Points).data.n == 1
    stranger = record_of(event_of(Points, "stranger"))
    with pytest.raises(SourceNotAllowedError) as found:
        decode(stranger)
    assert found.value.source == "stranger"
    assert found.value.reason == "source 'stranger' is not accepted on this topic, only 'loyalty-svc', '/loyalty-svc'"
    assert decode(stranger, sources="any").source == decode(stranger, sources={"stranger"}).source == "stranger"


@pytest.mark.parametrize("kind", [Payments, Raw, Batches])
async def test_foreign_payment_pays_nothing(kind: type[Any]) -> None:
    handler, events = kind(), Events()
    events.subscribe(handler)
    async with events.running():
        for source in ("wallet-svc", "/wallet-svc"):
            await events.emit(payment(source))
        refused = await events.emit(payment("reviews-svc"), expect="dead-lettered")
    assert handler.seen == ["wallet-svc", "/wallet-svc"]
    assert events.outcome(refused) == "dead-lettered"
    assert [letter.facts.error for letter in events.dead_letters()] == ["SourceNotAllowedError"]


@pytest.mark.parametrize(("kind", "source"), [(Overriding, "reviews-svc"), (Trusting, "evil-svc")])
async def test_nearest_sources_count(kind: type[Any], source: str) -> None:
    handler, events = kind(), Events()
    events.subscribe(handler)
    await events.emit(payment(source))
    assert handler.seen == [source]


async def test_sources_replace_accepts() -> None:
    handler, events = Overriding(), Events()
    events.subscribe(handler)
    await events.emit(payment("wallet-svc"), expect="dead-lettered")
    assert handler.seen == []


def test_lambda_refuses_other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.conftest import FakeProducer  # noqa: PLC0415 -- of this test alone
    from tests.unit.lambda_events import lambda_event  # noqa: PLC0415

    monkeypatch.setenv("KAFKA_ENABLED", "true")
    handler, client = Payments(), FakeProducer()
    function = lambda_handler(handler, transport=lambda _settings: client)
    records = [record_of(payment(source))._replace(offset=n) for n, source in enumerate(["wallet-svc", "evil-svc"])]
    assert function(lambda_event(records)) == {"batchItemFailures": []}
    assert handler.seen == ["wallet-svc"]
    assert len(client.records) == 1


# Events of the testing kit


async def test_kit_knows_what_was_skipped() -> None:
    @kafka_consumer(group_id="orders")
    class Orders:
        @on_message(PaymentCompleted, when=lambda event: "orderId" in event.data)
        async def pay(self, event: CloudEvent[PaymentCompleted]) -> None: ...

    events = Events()
    events.subscribe(Orders())
    ticket = payment("tickets-svc").replace(data={"id": "p1", "ticketId": "t1"})
    await events.emit(ticket, expect="skipped")
    assert events.outcome(ticket) == "skipped"
    await events.drain()
    assert events.dead_letters() == []
