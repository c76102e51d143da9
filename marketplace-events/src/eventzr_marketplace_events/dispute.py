"""Disputes: what buyer and seller do not agree on about an order."""

from eventzr_kafka import EventData
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Id

__all__ = ["DisputeEvidence", "DisputeOpened", "DisputeResolved"]


class DisputeEvidence(EventData):
    """One piece of evidence in a dispute."""

    kind: str
    """Kind of evidence; an open set, such as ``photo``, ``document`` or ``message``."""
    url: str | None = None
    """Address of the file; None for evidence that is only words."""
    description: str | None = None
    """Description of the evidence, in the words of the party that handed it in."""


class DisputeOpened(
    EventData,
    topic="eventzr.marketplace.dispute.opened.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="dispute:{id}",
):
    """Emitted when a dispute is opened on an order."""

    id: Id
    """The dispute."""
    order_id: Id
    """The order in dispute."""
    reason: str
    """Why it was opened; an open set, such as ``not_delivered`` or ``not_as_described``."""
    evidence: list[DisputeEvidence]
    """Evidence handed in on opening, in that order; may be empty."""


class DisputeResolved(
    EventData,
    topic="eventzr.marketplace.dispute.resolved.v1",
    source="marketplace-svc",
    accepts=spellings_of("marketplace-svc"),
    subject="dispute:{id}",
):
    """Emitted when a dispute is resolved by admin."""

    id: Id
    """The dispute."""
    outcome: str
    """Resolution outcome; an open set, such as ``buyer_refunded``, ``seller_paid`` or ``split``."""
    notes: str
    """The admin's explanation; may be empty."""
    order_id: Id | None = None
    """The order that was in dispute; None where it is not sent along."""
