"""`MemoryInbox`: duplicates kept from handlers that have no database."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import cast

from eventzr_kafka.errors import BatchItemError
from eventzr_kafka.handlers.inbox import (
    AsyncHandling,
    Delivery,
    EventKey,
    Handled,
    ThreadHandling,
    key_of,
    named_in,
    sort_out,
)
from eventzr_kafka.safe_text import is_a

__all__ = ["MemoryInbox"]


class MemoryInbox:
    """Remembers the last events that this process has handled.

    It spares most duplicates, and promises nothing: it is empty after a restart, other processes do not know what it
    knows, and it forgets the oldest event when it is full. A handler whose effect must not be repeated needs a
    `SqlInbox`, or has to bear the repetition.
    """

    def __init__(self, *, size: int = 100_000) -> None:
        """Begin empty.

        Args:
            size: Events that are remembered, 1 or more; each takes some 300 bytes.
        """
        if size < 1:
            raise ValueError(f"MemoryInbox(size={size!r}): must be 1 or more")
        self._size = size
        self._lock = Lock()
        self._known: OrderedDict[EventKey, None] = OrderedDict()
        self._under_way: dict[EventKey, Future[None]] = {}

    def check(self, handler: str, *, is_async: bool) -> None:
        """Serve every handler."""

    async def prepare(self) -> None:
        """Need nothing."""

    async def tidy(self) -> bool:
        """Stay within the size by itself."""
        return False

    async def handle(self, deliveries: Sequence[Delivery], handler: AsyncHandling, /) -> Handled:
        """Handle what is new, on the event loop."""
        new: set[EventKey] = set()
        try:
            for key in _in_order(deliveries):
                while (other := self._claim(key, new)) is not None:
                    await asyncio.wait([asyncio.wrap_future(other)])
            fresh, duplicates = sort_out(deliveries, new)
            if fresh:
                await handler(fresh, None)
        except BaseException as error:  # noqa: BLE001 -- goes on, unless it leaves a part done
            return self._failed(deliveries, new, error)
        self._release(new, new)
        return Handled(duplicates)

    def handle_in_thread(self, deliveries: Sequence[Delivery], handler: ThreadHandling, /) -> Handled:
        """Handle what is new, in a thread that may block."""
        new: set[EventKey] = set()
        try:
            for key in _in_order(deliveries):
                while (other := self._claim(key, new)) is not None:
                    other.result()
            fresh, duplicates = sort_out(deliveries, new)
            if fresh:
                handler(fresh, None)
        except BaseException as error:  # noqa: BLE001 -- goes on, unless it leaves a part done
            return self._failed(deliveries, new, error)
        self._release(new, new)
        return Handled(duplicates)

    def _claim(self, key: EventKey, new: set[EventKey]) -> Future[None] | None:
        """Take an event for this call, unless it is known; returns what to wait for if another call has it."""
        with self._lock:
            if key in self._known:
                return None
            if key not in self._under_way:
                self._under_way[key] = Future()
                new.add(key)
                return None
            return self._under_way[key]

    def _failed(self, deliveries: Sequence[Delivery], new: set[EventKey], error: BaseException) -> Handled:
        fresh, duplicates = sort_out(deliveries, new)
        named = named_in(cast("BatchItemError", error), fresh) if is_a(error, BatchItemError) else set[EventKey]()
        self._release(new, new - named if named else ())
        if not named:
            raise error
        return Handled(duplicates, cast("BatchItemError", error))

    def _release(self, claimed: Iterable[EventKey], done: Collection[EventKey]) -> None:
        with self._lock:
            for key in done:
                self._known[key] = None
            while len(self._known) > self._size:
                self._known.popitem(last=False)
            ended = [self._under_way.pop(key) for key in claimed]
        for future in ended:
            future.set_result(None)


def _in_order(deliveries: Sequence[Delivery]) -> list[EventKey]:
    """Each event once, in one order for all calls: two that wait for each other would wait for ever."""
    return sorted({key_of(delivery) for delivery in deliveries})
