"""Events in the calendar's sense, such as a trade fair, as event-svc announces them."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from pydantic import Field, model_serializer

from eventzr_kafka import EventData, Written, WrittenOrNone
from eventzr_marketplace_events._shapes import OrElse
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Count, Currency, Id, Money, Timestamp

__all__ = ["EventCreated", "ExhibitorSlot", "ExhibitorSlots", "SponsorshipOpportunity"]

Size: TypeAlias = Annotated[str, Field(coerce_numbers_to_str=True, examples=["3x3 m"])]


class ExhibitorSlot(EventData):
    """One place for an exhibitor at an event."""

    id: Id | None = None
    """The slot; None where slots have no ids."""
    title: str | None = None
    """Name of the slot, such as ``Hall 1, A7``."""
    size: Size | None = None
    """Size of the slot, as its organizer writes it, such as ``3x3 m``."""
    price: Money | None = None
    """Price of the slot, in whole units of ``currency``, such as 1200; None for a price on request."""
    currency: Currency | None = None
    """ISO 4217 code of ``price``."""


def _named(title: str) -> ExhibitorSlot:
    return ExhibitorSlot(title=title)


Slot: TypeAlias = Annotated[ExhibitorSlot, OrElse(str, _named, should_be="an object or a name")]


class ExhibitorSlots(EventData):
    """The exhibitor slots of an event: their number, and each of them where they are sent along.

    On the wire it is a number, or the list of all slots, or an object if only some of the slots are known.
    """

    count: Count
    """How many exhibitors the event has room for; 0 means that it takes none."""
    slots: list[Slot] = []  # noqa: RUF012 -- pydantic copies it
    """The slots; empty where only their number is known."""

    @model_serializer(mode="plain")
    def _write(self) -> int | list[ExhibitorSlot] | dict[str, int | list[ExhibitorSlot]]:
        if not self.slots:
            return self.count
        return self.slots if len(self.slots) == self.count else {"count": self.count, "slots": self.slots}


def _numbered(count: int) -> ExhibitorSlots:
    return ExhibitorSlots.model_validate({"count": count})


def _listed(slots: list[ExhibitorSlot]) -> ExhibitorSlots:
    return ExhibitorSlots(count=len(slots), slots=slots)


class SponsorshipOpportunity(EventData):
    """One way to sponsor an event."""

    title: Written[str]
    """Name of the package, such as ``Gold``."""
    price: WrittenOrNone[Money]
    """Price of the package, in whole units of ``currency``, such as 10000; None for a price on request."""
    currency: Written[Currency]
    """ISO 4217 code of ``price``."""
    id: Id | None = None
    """The opportunity; None where opportunities have no ids."""
    size: Size | None = None
    """Size of what the sponsor gets, as its organizer writes it, such as ``banner 2x1 m``."""


def _titled(title: str) -> SponsorshipOpportunity:
    return SponsorshipOpportunity.model_validate({"title": title})


Sponsorship: TypeAlias = Annotated[SponsorshipOpportunity, OrElse(str, _titled, should_be="an object or a title")]


def _alone(sponsorship: SponsorshipOpportunity) -> list[SponsorshipOpportunity]:
    return [sponsorship]


def _midnight(day: str) -> datetime:
    return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)


Day: TypeAlias = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


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
    exhibitor_slots: Written[
        Annotated[
            ExhibitorSlots,
            OrElse(list[Slot], _listed, should_be="a number of slots, or a list of slots"),
            OrElse(Count, _numbered, should_be="a number of slots, or a list of slots", is_usual=True),
        ]
    ]
    """Places for exhibitors; read from their number or from a list of them; None where none are sent along."""
    sponsorship_opportunities: Written[
        Annotated[
            list[Sponsorship], OrElse(Sponsorship, _alone, should_be="a list of sponsorships, or one sponsorship")
        ]
    ]
    """Ways to sponsor it; empty means that it takes no sponsors."""
    title: str | None = None
    """Name of the event as visitors see it; None where it is not sent along."""
    organizer_id: Id | None = None
    """Organizer, who offers the slots; None where it is not sent along."""
    starts_at: Annotated[Timestamp, OrElse(Day, _midnight, should_be="a date-time with a zone, or a day")] | None = None
    """When it begins; a day alone is read as its midnight in UTC; None while no date is set."""
    created_at: Timestamp | None = None
    """When the event was entered; None where the event's own ``time`` says it."""
