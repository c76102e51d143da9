"""Requests for proposals (RFP): what a buyer asks all matching sellers for."""

from eventzr_kafka import EventData, Written
from eventzr_marketplace_events._shapes import Texts
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Currency, Id, Money, Timestamp

__all__ = ["RfpBroadcast"]


class RfpBroadcast(
    EventData,
    topic="eventzr.marketplace.rfp.broadcast.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="rfp:{id}",
):
    """Emitted when an RFP is broadcast to matching sellers."""

    id: Id
    """The RFP."""
    requirements: Written[Texts]
    """Requirements of a proposal, one an item, in the buyer's words; a text alone is read as a list of one."""
    target_lanes: Written[Texts]
    """Lanes whose sellers are asked, such as ``vendora``; an open set; a text alone is read as a list of one."""
    deadline: Written[Timestamp]
    """Until when proposals are taken, such as ``2026-03-16T12:00:00.000Z``."""
    title: str | None = None
    """Headline as sellers see it; None where the RFP has none."""
    buyer_id: Id | None = None
    """The buyer who asks; None where it is not sent along."""
    budget: Money | None = None
    """Most that the buyer wants to pay, in whole units of ``currency``, such as 6000; None where not sent along."""
    currency: Currency | None = None
    """ISO 4217 code of ``budget``; None where no budget is sent along."""
    matched_seller_ids: list[Id] | None = None
    """Sellers who are asked; None where they are not sent along."""
    event_id: Id | None = None
    """The event that the buyer plans; None where it is for none, or is not sent along."""
    broadcast_at: Timestamp | None = None
    """When it was broadcast; None where the event's own ``time`` says it."""
