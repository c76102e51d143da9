"""2,000 random histories of orders: after each step, refunds and payouts add up to what was paid."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.marketplace_service.database import open_engine
from examples.marketplace_service.schema import migrate
from tests.example.histories import play_histories

pytestmark = pytest.mark.torture

HISTORIES = 2_000


async def test_money_adds_up_in_2000_histories(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/marketplace.db"
    migrate(url)
    engine = open_engine(url)

    steps = await play_histories(HISTORIES)

    await engine.dispose()
    print(f"{HISTORIES} histories; successful and (refused) steps: {steps}")  # noqa: T201 -- `make torture` shows it
    assert min(steps.values()) >= HISTORIES / 100
