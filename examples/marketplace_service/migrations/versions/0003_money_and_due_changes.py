"""What was paid and refunded for an order, its one open dispute, and changes of subscriptions that are not due yet."""

from typing import Any, TypeAlias

import sqlalchemy as sa
from alembic import op
from examples.marketplace_service.database import Amount, Moment

revision = "0003"
down_revision = "0002"

Kinds: TypeAlias = dict[str, sa.types.TypeEngine[Any]]

SUBSCRIBED: Kinds = {
    "subscribed_at": Moment(),
    "tier": sa.String(),
    "entitlements": sa.JSON(),
    "listing_limit": sa.Integer(),
}
OFFERED: Kinds = {"title": sa.String(), "price": Amount(), "currency": sa.String()}
OPEN, NOT_APPLIED = sa.text("state = 'opened'"), sa.text("NOT applied")


def upgrade() -> None:
    for name in ("paid", "refunded"):
        op.add_column("orders", sa.Column(name, Amount(), nullable=False, server_default="0"))
    for name in ("cancel_reason", "cancelled_by"):
        op.add_column("orders", sa.Column(name, sa.String()))
    op.add_column("dispute", sa.Column("refund", Amount()))
    complete_orders()
    keep_newest_disputes()
    create_changes()
    allow_missing(nullable=True)


def downgrade() -> None:
    allow_missing(nullable=False)
    op.drop_table("subscription_change")
    op.drop_index("dispute_open", "dispute")
    op.drop_column("dispute", "refund")
    for name in ("cancelled_by", "cancel_reason", "refunded", "paid"):
        op.drop_column("orders", name)


def allow_missing(*, nullable: bool) -> None:
    """Values that other services may leave out: of an offer without a price, and a review of the seller alone."""
    with op.batch_alter_table("sponsorship") as sponsorship:
        for name, kind in OFFERED.items():
            sponsorship.alter_column(name, existing_type=kind, nullable=nullable)
    with op.batch_alter_table("review") as review:
        review.alter_column("listing_id", existing_type=sa.String(), nullable=nullable)


def complete_orders() -> None:
    """Orders of earlier releases: a payment was of the whole amount, and only delivered ones had a payout."""
    op.execute("UPDATE orders SET paid = amount WHERE payment_id IS NOT NULL")
    op.execute("UPDATE orders SET refunded = paid, cancel_reason = 'unknown' WHERE state = 'cancelled'")
    op.execute(
        "INSERT INTO payout (tenant_id, id, seller_id, amount, currency, state) "
        "SELECT tenant_id, id, seller_id, amount, currency, 'pending' FROM orders WHERE state = 'paid'"
    )


def keep_newest_disputes() -> None:
    op.execute(
        "UPDATE dispute SET state = 'resolved', outcome = 'superseded' WHERE state = 'opened' AND EXISTS "
        "(SELECT 1 FROM dispute AS other WHERE other.tenant_id = dispute.tenant_id "
        "AND other.order_id = dispute.order_id AND other.state = 'opened' AND other.id > dispute.id)"
    )
    columns = ["tenant_id", "order_id"]
    op.create_index("dispute_open", "dispute", columns, unique=True, sqlite_where=OPEN, postgresql_where=OPEN)


def create_changes() -> None:
    """The table of changes, with the one that each member shows."""
    table = op.create_table(
        "subscription_change",
        *(sa.Column(name, sa.String(), primary_key=True) for name in ("tenant_id", "id")),
        sa.Column("seller_id", sa.String(), nullable=False),
        *(sa.Column(name, Moment(), nullable=False) for name in ("effective_at", "announced_at", "noted_at")),
        sa.Column("named", sa.JSON(), nullable=False),
        sa.Column("applied", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "seller_id"], ["member.tenant_id", "member.id"]),
    )
    op.create_index("subscription_change_seller", "subscription_change", ["tenant_id", "seller_id"])
    op.create_index(
        "subscription_change_due",
        "subscription_change",
        ["effective_at"],
        sqlite_where=NOT_APPLIED,
        postgresql_where=NOT_APPLIED,
    )
    member = sa.table("member", *map(sa.column, ("tenant_id", "id")), *typed(SUBSCRIBED))
    known = op.get_bind().execute(sa.select(member).where(member.c.subscribed_at.is_not(None)))
    op.bulk_insert(table, [first_change(row) for row in known.mappings()])


def typed(columns: Kinds) -> list[sa.ColumnClause[Any]]:
    return [sa.column(name, kind) for name, kind in columns.items()]


def first_change(member: sa.RowMapping) -> dict[str, Any]:
    """The change that a member of an earlier release shows."""
    times = dict.fromkeys(("effective_at", "announced_at", "noted_at"), member["subscribed_at"])
    named = {name: member[name] for name in ("tier", "entitlements", "listing_limit")}
    names = {"tenant_id": member["tenant_id"], "id": f"of {member['id']}", "seller_id": member["id"]}
    return {**names, **times, "named": named, "applied": True}
