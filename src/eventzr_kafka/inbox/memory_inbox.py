"""`MemoryInbox`: an inbox for handlers that have no database."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, cast

from eventzr_kafka.errors import BatchItemError, ConfigurationError
from eventzr_kafka.inbox.protocol import (
    AsyncHandling,
    Handled,
    InboxKey,
    ReceivedEvent,
    ThreadHandling,
    failed_keys,
    fits_session,
    inbox_key,
    split_duplicates,
)
from eventzr_kafka.safe_text import is_a

__all__ = ["MemoryInbox"]


class MemoryInbox:
    """Remembers the last events that this process has handled.

    It skips most duplicates, and guarantees nothing: it is empty after a restart, each process has its own, and the
    oldest event is forgotten when it is full. A handler whose effect must not be repeated needs a `SqlInbox`.
    """

    def __init__(self, *, size: int = 100_000) -> None:
        """Start empty.

        Args:
            size: Number of events that are remembered, 1 or more; each takes about 300 bytes.
        """
        if size < 1:
            raise ValueError(f"MemoryInbox(size={size!r}): must be 1 or more")
        self._size = size
        self._lock = Lock()
        self._known: OrderedDict[InboxKey, None] = OrderedDict()
        self._under_way: dict[InboxKey, Future[None]] = {}

    def check_handler(self, handler: str, *, is_async: bool, session: Any = Any) -> None:  # noqa: ARG002 -- any kind
        """Refuse a handler that wants a session: this inbox has none.

        Raises:
            ConfigurationError: Its context is annotated, say, ``MessageContext[AsyncSession]``.
        """
        if not fits_session(session, None):
            problem = f"{handler} takes a MessageContext[{getattr(session, '__name__', session)}]"
            raise ConfigurationError(
                f"{problem}, and a MemoryInbox has no session: use a SqlInbox, or MessageContext alone"
            )

    async def check_tables(self) -> None:
        """Accept: there are no tables."""

    async def purge_expired(self) -> bool:
        """Do nothing: the size is bounded anyway."""
        return False

    async def handle(self, deliveries: Sequence[ReceivedEvent], handler: AsyncHandling, /) -> Handled:
        """Handle the new events, on the event loop."""
        new: set[InboxKey] = set()
        try:
            for key in _in_order(deliveries):
                while (other := self._claim(key, new)) is not None:
                    await asyncio.wait([asyncio.wrap_future(other)])
            fresh, duplicates = split_duplicates(deliveries, new)
            if fresh:
                await handler(fresh, None)
        except BaseException as error:  # noqa: BLE001 -- goes on, unless it leaves a part done
            return self._failed(deliveries, new, error)
        self._release(new, new)
        return Handled(duplicates)

    def handle_in_thread(self, deliveries: Sequence[ReceivedEvent], handler: ThreadHandling, /) -> Handled:
        """Handle the new events, in a thread that may block."""
        new: set[InboxKey] = set()
        try:
            for key in _in_order(deliveries):
                while (other := self._claim(key, new)) is not None:
                    other.result()
            fresh, duplicates = split_duplicates(deliveries, new)
            if fresh:
                handler(fresh, None)
        except BaseException as error:  # noqa: BLE001 -- goes on, unless it leaves a part done
            return self._failed(deliveries, new, error)
        self._release(new, new)
        return Handled(duplicates)

    def _claim(self, key: InboxKey, new: set[InboxKey]) -> Future[None] | None:
        """Claim an event for this call, unless it is known; returns the future to wait for if another call has it."""
        with self._lock:
            if key in self._known:
                return None
            if key not in self._under_way:
                self._under_way[key] = Future()
                new.add(key)
                return None
            return self._under_way[key]

    def _failed(self, deliveries: Sequence[ReceivedEvent], new: set[InboxKey], error: BaseException) -> Handled:
        fresh, duplicates = split_duplicates(deliveries, new)
        named = failed_keys(cast("BatchItemError", error), fresh) if is_a(error, BatchItemError) else set[InboxKey]()
        self._release(new, new - named if named else ())
        if not named:
            raise error
        return Handled(duplicates, cast("BatchItemError", error))

    def _release(self, claimed: Iterable[InboxKey], done: Collection[InboxKey]) -> None:
        with self._lock:
            for key in done:
                self._known[key] = None
            while len(self._known) > self._size:
                self._known.popitem(last=False)
            ended = [self._under_way.pop(key) for key in claimed]
        for future in ended:
            future.set_result(None)


def _in_order(deliveries: Sequence[ReceivedEvent]) -> list[InboxKey]:
    """Each event once, in one order for all calls, so that two calls cannot wait for each other."""
    return sorted({inbox_key(delivery) for delivery in deliveries})
