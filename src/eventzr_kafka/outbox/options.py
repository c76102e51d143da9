"""`RelayOptions`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias, get_args

from eventzr_kafka.errors import ConfigurationError

__all__ = ["OnUnpublishable", "RelayOptions"]

OnUnpublishable: TypeAlias = Literal["park", "stop_tenant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """How a relay works.

    Attributes:
        on_unpublishable: A row that the broker will never take is parked, and its tenant goes on; with ``stop_tenant``
            its tenant waits until the topic takes it, and is tried every 30 s.
        batch_rows, batch_bytes: What is read at a time. Four times as much may be under way, for as long as some
            partitions do not answer.
        lease: How long the tenants of a dead relay wait at most until another relay takes them.
        poll_every: The longest wait between two looks when nothing wakes the relay.
        keep: How long published rows stay in the table.
        clean_rows: Rows that one statement deletes.
    """

    on_unpublishable: OnUnpublishable = "park"
    batch_rows: int = 2_000
    batch_bytes: int = 16 * 1024 * 1024
    lease: timedelta = timedelta(seconds=6)
    poll_every: timedelta = timedelta(seconds=1)
    keep: timedelta = timedelta(days=1)
    clean_rows: int = 1_000

    def __post_init__(self) -> None:
        """Refuse what would leave rows unpublished in silence.

        Raises:
            ConfigurationError: A number or a time is too small, or `on_unpublishable` is another word.
        """
        if self.on_unpublishable not in get_args(OnUnpublishable):
            raise ConfigurationError(
                f'RelayOptions: on_unpublishable={self.on_unpublishable!r}: "park" or "stop_tenant"'
            )
        if min(self.batch_rows, self.batch_bytes, self.clean_rows) < 1:
            raise ConfigurationError("RelayOptions: batch_rows, batch_bytes and clean_rows must be 1 or more")
        if min(self.lease, self.poll_every) <= timedelta(0):
            raise ConfigurationError("RelayOptions: lease and poll_every must be above zero")
