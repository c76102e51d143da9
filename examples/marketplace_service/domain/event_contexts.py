"""The marketplace of a calendar event: slots for exhibitors, and sponsorships."""

from __future__ import annotations

from eventzr_marketplace_events import EventCreated
from examples.marketplace_service.domain.errors import TooLargeError
from examples.marketplace_service.domain.models import EventContext, ExhibitorSlot, Sponsorship
from examples.marketplace_service.domain.unit_of_work import UnitOfWork

__all__ = ["apply_event"]

_MOST_SLOTS = 10_000


async def apply_event(unit: UnitOfWork, event: EventCreated) -> None:
    """Create the slots and sponsorships of a new event; an event that exists is left unchanged.

    Raises:
        TooLargeError: The event has more slots than are allowed.
    """
    slots = event.exhibitor_slots.count if event.exhibitor_slots is not None else 0
    if slots > _MOST_SLOTS:
        raise TooLargeError("exhibitor slots", slots, _MOST_SLOTS)
    if await unit.find(EventContext, event.id) is not None:
        return
    unit.add(EventContext, id=event.id, title=event.title, organizer_id=event.organizer_id, starts_at=event.starts_at)
    await unit.session.flush()
    for number in range(1, slots + 1):
        unit.add(ExhibitorSlot, event_id=event.id, number=number)
    for offer in event.sponsorship_opportunities or []:
        unit.add(Sponsorship, event_id=event.id, title=offer.title, price=offer.price, currency=offer.currency)
