"""Requests for proposals (RFP): what a buyer asks all matching sellers for."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Id, Timestamp

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
    requirements: list[str]
    """Requirements of a proposal, one an item, in the buyer's words."""
    target_lanes: list[str]
    """Lanes whose sellers are asked, such as ``vendora``; an open set."""
    deadline: Timestamp
    """Until when proposals are taken."""
    title: str | None = None
    """Headline as sellers see it; None where the RFP has none."""
    buyer_id: Id | None = None
    """The buyer who asks; None where it is not sent along."""
