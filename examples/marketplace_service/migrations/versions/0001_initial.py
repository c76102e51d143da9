"""The first tables."""

import sqlalchemy as sa
from alembic import op
from examples.marketplace_service.database import Amount, Moment

from eventzr_kafka.inbox import migration as inbox
from eventzr_kafka.outbox import migration as outbox

revision = "0001"
down_revision = None

RISING = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    outbox.upgrade(op)
    inbox.upgrade(op, step=1)
    create_members()
    create_listings()
    create_orders()
    create_events()
    create_records()


def downgrade() -> None:
    op.drop_table("idempotency_key")
    for name in ("activity", "failure", "dead_letter", "sponsorship", "exhibitor_slot", "event_context"):
        op.drop_table(name)
    for name in ("dispute", "payout", "orders", "quote", "review", "listing", "rfp", "member"):
        op.drop_table(name)
    inbox.downgrade(op)
    outbox.downgrade(op)


def create_members() -> None:
    create_owned(
        "member",
        sa.Column("sells", sa.Boolean(), nullable=False),
        *texts("display_name", "avatar_url", "bio", nullable=True),
        *(sa.Column(name, Moment()) for name in ("display_name_at", "avatar_url_at", "bio_at", "subscribed_at")),
        *texts("tier"),
        sa.Column("entitlements", sa.JSON(), nullable=False),
        sa.Column("listing_limit", sa.Integer()),
        sa.Column("rating", Amount()),
        sa.Column("rating_count", sa.Integer(), nullable=False),
    )
    create_owned(
        "rfp",
        *texts("buyer_id", "title"),
        *(sa.Column(name, sa.JSON(), nullable=False) for name in ("requirements", "target_lanes", "sellers")),
        sa.Column("deadline", Moment(), nullable=False),
    )


def create_listings() -> None:
    create_owned(
        "listing",
        *texts("seller_id", "title", "lane"),
        *price("price"),
        *texts("state"),
        sa.Column("views", sa.Integer(), nullable=False),
        *texts("seller_name", "seller_avatar_url", nullable=True),
        sa.Column("quality_score", Amount()),
        sa.Column("created_at", Moment(), nullable=False),
    )
    op.create_index("listing_seller", "listing", ["tenant_id", "seller_id"])
    create_owned(
        "review",
        *texts("seller_id", "listing_id"),
        sa.Column("share", Amount(), nullable=False),
        refers_to("listing", "listing_id"),
    )
    for column in ("seller_id", "listing_id"):
        op.create_index(f"review_{column.removesuffix('_id')}", "review", ["tenant_id", column])
    create_owned(
        "quote",
        *texts("listing_id", "buyer_id"),
        *price("amount"),
        *texts("message", "state"),
        sa.Column("created_at", Moment(), nullable=False),
        refers_to("listing", "listing_id"),
    )


def create_orders() -> None:
    create_owned(
        "orders",
        *texts("quote_id", "listing_id", "buyer_id", "seller_id"),
        *price("amount"),
        *texts("state"),
        *texts("payment_id", nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        refers_to("quote", "quote_id"),
    )
    create_owned(
        "payout",
        *texts("seller_id"),
        *price("amount"),
        *texts("state"),
        *texts("escrow_id", nullable=True),
        refers_to("orders", "id"),
    )
    create_owned(
        "dispute",
        *texts("order_id", "reason", "state"),
        *texts("outcome", "notes", nullable=True),
        refers_to("orders", "order_id"),
    )


def create_events() -> None:
    create_owned(
        "event_context",
        *texts("title", "organizer_id", nullable=True),
        sa.Column("starts_at", Moment()),
    )
    create_owned(
        "exhibitor_slot",
        *texts("event_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        refers_to("event_context", "event_id"),
    )
    create_owned("sponsorship", *texts("event_id", "title"), *price("price"), refers_to("event_context", "event_id"))


def create_records() -> None:
    create_numbered("activity", *texts("tenant_id", "direction", "topic", "event_id"), *texts("subject", nullable=True))
    create_numbered(
        "failure",
        *texts("tenant_id", "topic", "position", "handler", "error"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        *texts("outcome"),
    )
    op.create_table(
        "dead_letter",
        *texts("tenant_id", "position", primary_key=True),
        *texts("topic", "event_id", "handler", "error", "reason"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failed_at", Moment(), nullable=False),
        sa.Column("replayed_at", Moment()),
    )
    op.create_table(
        "idempotency_key",
        *texts("tenant_id", "key", primary_key=True),
        *texts("request", "body"),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
    )
    op.create_index("idempotency_key_at", "idempotency_key", ["at"])


def create_owned(name: str, *parts: sa.schema.SchemaItem) -> None:
    """Create a table whose key begins with the tenant."""
    op.create_table(name, *texts("tenant_id", "id", primary_key=True), *parts)


def create_numbered(name: str, *parts: sa.schema.SchemaItem) -> None:
    """Create a table of numbered lines, indexed by tenant."""
    number = sa.Column("number", RISING, primary_key=True)
    op.create_table(name, number, *parts, sa.Column("at", Moment(), nullable=False))
    op.create_index(f"{name}_tenant", name, ["tenant_id", "number"])
    op.create_index(f"{name}_at", name, ["at"])


def texts(*names: str, nullable: bool = False, primary_key: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=nullable, primary_key=primary_key) for name in names]


def price(name: str) -> list[sa.schema.SchemaItem]:
    return [sa.Column(name, Amount(), nullable=False), *texts("currency")]


def refers_to(table: str, column: str) -> sa.schema.SchemaItem:
    return sa.ForeignKeyConstraint(["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"])
