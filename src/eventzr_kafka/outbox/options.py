"""`RelayOptions`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

__all__ = ["RelayOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How a relay works.

    Attributes:
        on_unpublishable: A row that the broker will never take is parked, and its tenant goes on; with ``stop_lane``
            its tenant waits until the topic takes it, and is tried every 30 s.
        batch_rows, batch_bytes: What is read at a time, and under way.
        lease: How long the tenants of a dead relay wait at most until another relay takes them.
        poll_every: The longest wait between two looks when nothing wakes the relay.
        keep: How long published rows stay in the table.
        clean_rows: Rows that one statement deletes.
    """

    on_unpublishable: Literal["park", "stop_lane"] = "park"
    batch_rows: int = 2_000
    batch_bytes: int = 16 * 1024 * 1024
    lease: timedelta = timedelta(seconds=6)
    poll_every: timedelta = timedelta(seconds=1)
    keep: timedelta = timedelta(days=1)
    clean_rows: int = 1_000
