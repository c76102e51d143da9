"""The events of the marketplace: 12 that marketplace-svc publishes and 6 that it consumes.

The platform's guide gives the topics, their sources, and the JSON of ``listing.created``. It describes the
other payloads in phrases, which these classes spell out: ``docs/reference/events.md`` has the phrase of each field.
What the guide names is required to make an event (`eventzr_kafka.Written`); reading requires the ids that it names, and
what its action cannot do without. An amount always has its currency beside it. ``id`` is the entity's own id,
``<entity>_id`` refers to another entity.
"""

from eventzr_marketplace_events import topics
from eventzr_marketplace_events.dispute import DisputeEvidence, DisputeOpened, DisputeResolved
from eventzr_marketplace_events.event import EventCreated, ExhibitorSlot, ExhibitorSlots, SponsorshipOpportunity
from eventzr_marketplace_events.examples import example, full_example, minimal_example
from eventzr_marketplace_events.listing import (
    ListingClosed,
    ListingCreated,
    ListingPublished,
    ListingStatistics,
    ListingUpdated,
)
from eventzr_marketplace_events.order import OrderCancelled, OrderCompleted, OrderCreated
from eventzr_marketplace_events.quote import QuoteAccepted, QuoteSubmitted
from eventzr_marketplace_events.review import ReviewCreated
from eventzr_marketplace_events.rfp import RfpBroadcast
from eventzr_marketplace_events.subscription import SubscriptionChanged
from eventzr_marketplace_events.user import UserProfileUpdated
from eventzr_marketplace_events.wallet import EscrowReleased, PaymentCompleted

__all__ = [
    "DisputeEvidence",
    "DisputeOpened",
    "DisputeResolved",
    "EscrowReleased",
    "EventCreated",
    "ExhibitorSlot",
    "ExhibitorSlots",
    "ListingClosed",
    "ListingCreated",
    "ListingPublished",
    "ListingStatistics",
    "ListingUpdated",
    "OrderCancelled",
    "OrderCompleted",
    "OrderCreated",
    "PaymentCompleted",
    "QuoteAccepted",
    "QuoteSubmitted",
    "ReviewCreated",
    "RfpBroadcast",
    "SponsorshipOpportunity",
    "SubscriptionChanged",
    "UserProfileUpdated",
    "example",
    "full_example",
    "minimal_example",
    "topics",
]
