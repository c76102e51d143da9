"""The README's handler pays once and publishes once, though its event comes twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from tests.outbox.member import running

from eventzr_kafka import CloudEvent, Record, encode
from eventzr_marketplace_events import OrderCompleted, example

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
(BLOCK,) = [block for block in BLOCKS if "SqlInbox" in block]

TOPIC = "eventzr.marketplace.order.completed.v1"


def completed(offset: int) -> Record:
    event: CloudEvent[Any] = CloudEvent(
        id="e", source="marketplace-svc", type=TOPIC, tenantid="t", data=example(OrderCompleted)
    )
    out = encode(event)
    return Record(out.topic, 0, offset, out.key, out.value, out.headers)


async def test_readme_wallet_pays_once(engine: AsyncEngine) -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(BLOCK, "README.md", "exec"), names)  # noqa: S102 -- that is the test
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE payment (order_id text)"))
    async with running(names["Wallet"](async_sessionmaker(engine))) as member:
        member.deliver(completed(0), completed(1))
        await member.done(2)
    async with engine.connect() as connection:
        assert (await connection.scalars(text("SELECT order_id FROM payment"))).all() == ["order-uuid"]
        published = await connection.execute(text("SELECT tenant_id, topic FROM eventzr_outbox"))
        assert [*published] == [("t", "eventzr.wallet.payment.completed.v1")]
