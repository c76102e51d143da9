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
    """Options of a relay.

    Attributes:
        on_unpublishable: ``park`` sets aside a row that the broker refuses for good, and its tenant goes on. With
            ``stop_tenant`` the tenant waits until the topic accepts the row, which is tried every 30 s.
        batch_rows, batch_bytes: Limits of one read. Four times as much may be in flight while some partitions do not
            answer.
        lease: Time after which another relay takes the tenants of a dead one, at most.
        poll_every: Longest time between two reads when no commit wakes the relay.
        keep: Time that published rows stay in the table.
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
        """Refuse options that would leave rows unpublished without an error.

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
