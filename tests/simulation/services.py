"""The services that the SDK's own simulations run: each order, retries, batches, parking, an outbox, both inboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventzr_kafka import (
    CloudEvent,
    EventData,
    MemoryInbox,
    MessageContext,
    RetryPolicy,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.testing.simulation import SimulatedService

RETRY = RetryPolicy(attempts=3, wait_initial=0.05, wait_max=0.2)
EXACT = RetryPolicy(attempts=3, wait_initial=0.05, wait_max=0.08, jitter=False)


class Ordered(EventData, topic="simulation.item.ordered.v1"):
    n: int


class Paid(EventData, topic="simulation.item.paid.v1"):
    n: int


class Booked(EventData, topic="simulation.item.booked.v1"):
    n: int


@kafka_consumer(group_id="ledger", drain_timeout=0.3, max_buffered_events=6, retry=RETRY)
class Ledger:
    """Publishes what it has booked; by tenant, with small buffers."""

    def __init__(self, service: SimulatedService) -> None:
        self.producer = service.producer

    @on_message(Ordered)
    async def book(self, event: CloudEvent[Ordered]) -> None:
        await self.producer.publish(Booked(n=event.data.n))  # for the tenant of the event in hand


@kafka_consumer(group_id="subjects", ordering="subject", handler_timeout=0.8, drain_timeout=0.2, retry=RETRY)
class BySubject:
    """One lane for each tenant and subject, and a time-out."""

    def __init__(self, _service: SimulatedService) -> None:
        self.seen = 0

    @on_message(Ordered)
    async def see(self, _event: CloudEvent[Ordered]) -> None:
        self.seen += 1


@kafka_consumer(group_id="parked", after_dead_letter="park_key", drain_timeout=0.3, retry=RETRY)
class Parked:
    """A dead letter parks its lane."""

    def __init__(self, _service: SimulatedService) -> None:
        self.seen = 0

    @on_message(Paid)
    def see(self, _event: CloudEvent[Paid]) -> None:
        self.seen += 1


@kafka_consumer(group_id="batches", drain_timeout=0.3, retry=RETRY)
class InBatches:
    """Takes what is there at once."""

    def __init__(self, _service: SimulatedService) -> None:
        self.seen = 0

    @on_batch(Ordered, max_size=4, max_wait=0.05)
    async def see(self, events: Sequence[CloudEvent[Ordered]]) -> None:
        self.seen += len(events)


@kafka_consumer(
    group_id="accounts", drain_timeout=0.3, retry=RETRY, inbox=lambda accounts: accounts.inbox, max_buffered_events=20
)
class Accounts:
    """Books each payment once, and publishes that by way of the outbox."""

    def __init__(self, service: SimulatedService) -> None:
        self.inbox = service.inbox
        self.outbox = service.outbox

    @on_message(Paid)
    async def book(self, event: CloudEvent[Paid], context: MessageContext) -> None:
        context.session.add(event.id)
        self.outbox.publish(context.session, Booked(n=event.data.n), tenant_id=event.tenantid)


@kafka_consumer(
    group_id="reminders",
    drain_timeout=0.3,
    retry=RETRY,
    inbox=lambda reminders: reminders.inbox,
    max_buffered_bytes=2_000,
)
class Reminders:
    """Remembers in memory what this process has seen; small buffers, in bytes."""

    def __init__(self, _service: SimulatedService) -> None:
        self.inbox = MemoryInbox()
        self.seen = 0

    @on_message(Ordered)
    async def see_order(self, _event: CloudEvent[Ordered]) -> None:
        self.seen += 1

    @on_message(Paid)
    def see_payment(self, _event: CloudEvent[Paid]) -> None:
        self.seen += 1


@kafka_consumer(group_id="turns", drain_timeout=0.3, retry=EXACT, max_concurrency=1)
class OneByOne:
    """One event at a time, so that tenants take turns; waits that are known beforehand."""

    def __init__(self, _service: SimulatedService) -> None:
        self.seen = 0

    @on_message(Ordered)
    async def see(self, _event: CloudEvent[Ordered]) -> None:
        self.seen += 1


@kafka_consumer(group_id="bulk", drain_timeout=0.3, retry=RETRY, inbox=lambda bulk: bulk.inbox)
class BulkAccounts:
    """Books several payments in one transaction, each once."""

    def __init__(self, service: SimulatedService) -> None:
        self.inbox = service.inbox

    @on_batch(Paid, max_size=4, max_wait=0.05)
    async def book(self, events: Sequence[CloudEvent[Paid]], contexts: Sequence[MessageContext]) -> None:
        contexts[0].session.add([event.id for event in events])


def is_wanted(event: CloudEvent[Any]) -> bool:
    return bool(event.data["n"] % 3)


@kafka_consumer(group_id="choosy", drain_timeout=0.3, max_buffered_events=20, retry=RETRY)
class Choosy:
    """Skips what it does not want, one by one and in batches."""

    def __init__(self, _service: SimulatedService) -> None:
        self.seen = 0

    @on_message(Ordered, when=is_wanted)
    async def see(self, _event: CloudEvent[Ordered]) -> None:
        self.seen += 1

    @on_batch(Paid, when=is_wanted, max_size=4, max_wait=0.05)
    async def see_many(self, events: Sequence[CloudEvent[Paid]]) -> None:
        self.seen += len(events)


SERVICES = (Ledger, BySubject, Parked, InBatches, Accounts, Reminders, OneByOne, BulkAccounts, Choosy)
