"""The topics of the marketplace, in the order of the platform's guide."""

__all__ = ["CONSUMED", "PRODUCED"]

PRODUCED: tuple[str, ...] = (
    "eventzr.marketplace.listing.created.v1",
    "eventzr.marketplace.listing.published.v1",
    "eventzr.marketplace.listing.updated.v1",
    "eventzr.marketplace.listing.closed.v1",
    "eventzr.marketplace.quote.submitted.v1",
    "eventzr.marketplace.quote.accepted.v1",
    "eventzr.marketplace.order.created.v1",
    "eventzr.marketplace.order.completed.v1",
    "eventzr.marketplace.order.cancelled.v1",
    "eventzr.marketplace.dispute.opened.v1",
    "eventzr.marketplace.dispute.resolved.v1",
    "eventzr.marketplace.rfp.broadcast.v1",
)
"""Topics that marketplace-svc publishes."""

CONSUMED: tuple[str, ...] = (
    "eventzr.event.created.v1",
    "eventzr.reviews.review.created.v1",
    "eventzr.wallet.payment.completed.v1",
    "eventzr.wallet.escrow.released.v1",
    "eventzr.subscriptions.subscription.changed.v1",
    "eventzr.user.profile.updated.v1",
)
"""Topics of other services that marketplace-svc consumes."""
