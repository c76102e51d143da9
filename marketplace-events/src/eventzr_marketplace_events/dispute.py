"""Disputes: what buyer and seller do not agree on about an order."""

import re
from typing import Annotated, TypeAlias

from eventzr_kafka import EventData, Written
from eventzr_marketplace_events._shapes import OrElse
from eventzr_marketplace_events._sources import spellings_of
from eventzr_marketplace_events._types import Currency, Id, Money, Timestamp

__all__ = ["DisputeEvidence", "DisputeOpened", "DisputeResolved"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://|/")


class DisputeEvidence(EventData):
    """One piece of evidence in a dispute; read from an object, from an address, or from plain words."""

    kind: str | None = None
    """Kind of evidence; an open set, such as ``photo``, ``document`` or ``message``."""
    url: str | None = None
    """Address of the file, such as ``https://files.example.com/buffet.jpg``; None for evidence that is only words."""
    description: str | None = None
    """Description of the evidence, in the words of the party that handed it in."""


def _evidence(text: str) -> DisputeEvidence:
    return DisputeEvidence(url=text) if _ADDRESS.match(text) else DisputeEvidence(description=text)


Evidence: TypeAlias = Annotated[DisputeEvidence, OrElse(str, _evidence, should_be="an object, an address or a text")]


def _alone(evidence: DisputeEvidence) -> list[DisputeEvidence]:
    return [evidence]


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
    reason: Written[str]
    """Why it was opened; an open set, such as ``not_delivered`` or ``not_as_described``."""
    evidence: Written[
        Annotated[list[Evidence], OrElse(Evidence, _alone, should_be="a list of evidence, or one piece of it")]
    ]
    """Evidence handed in on opening, in that order; may be empty."""
    opened_by: Id | None = None
    """The buyer or seller who opened it; None where it is not sent along."""
    opened_at: Timestamp | None = None
    """When it was opened; None where the event's own ``time`` says it."""


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
    outcome: Written[str]
    """Resolution outcome; an open set, such as ``buyer_refunded``, ``seller_paid`` or ``split``."""
    notes: Written[str]
    """The admin's explanation; may be empty."""
    order_id: Id | None = None
    """The order that was in dispute; None where it is not sent along."""
    buyer_refund_amount: Money | None = None
    """Part of the price that goes back to the buyer, in whole units of ``currency``, such as 2325.38."""
    seller_payout_amount: Money | None = None
    """Part of the price that the seller keeps, in whole units of ``currency``, such as 2325.37."""
    currency: Currency | None = None
    """ISO 4217 code of both amounts; None where none is sent along."""
    resolved_at: Timestamp | None = None
    """When it was resolved; None where the event's own ``time`` says it."""
