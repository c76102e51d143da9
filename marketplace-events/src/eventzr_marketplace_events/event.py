"""Events in the calendar's sense, such as a trade fair, as event-svc announces them."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Count, Currency, Id, Money, Timestamp

__all__ = ["EventCreated", "SponsorshipOpportunity"]


class SponsorshipOpportunity(EventData):
    """One way to sponsor an event."""

    title: str
    """Name of the package, such as ``Gold``."""
    price: Money
    """Price of the package, in whole units of ``currency``."""
    currency: Currency
    """ISO 4217 code of ``price``."""


class EventCreated(
    EventData,
    topic="eventzr.event.created.v1",
    source="event-svc",
    accepts=spellings_of("event-svc"),
    subject="event:{id}",
):
    """Consumed to auto-create marketplace context (exhibitor slots, sponsorship opportunities)."""

    id: Id
    """The event."""
    exhibitor_slots: Count
    """How many exhibitors it has room for; 0 means that it takes none."""
    sponsorship_opportunities: list[SponsorshipOpportunity]
    """Ways to sponsor it; empty means that it takes no sponsors."""
    title: str | None = None
    """Name of the event as visitors see it; None where it is not sent along."""
    organizer_id: Id | None = None
    """Organizer, who offers the slots; None where it is not sent along."""
    starts_at: Timestamp | None = None
    """When it begins; None while no date is set."""
