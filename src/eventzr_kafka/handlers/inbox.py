"""`Inbox`: what a consumer asks of whatever remembers which events were handled.

An event is known by its consumer group and its `EventIdentity`, that is ``tenantid``, ``source`` and ``id``: they are
the same when an event is delivered again, in this epoch or a later one, or replayed from the dead letters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from eventzr_kafka.errors import BatchItemError
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.identity import identity_of
from eventzr_kafka.handlers.retry import events_named
from eventzr_kafka.handlers.signature import MessageContext

__all__ = [
    "AsyncHandling",
    "Delivery",
    "EventKey",
    "Handled",
    "Inbox",
    "InboxChoice",
    "ThreadHandling",
    "inbox_fault",
    "is_inbox",
    "key_of",
    "named_in",
    "sort_out",
]

Delivery: TypeAlias = tuple[CloudEvent[Any], MessageContext]
EventKey: TypeAlias = tuple[str, str, str, str]  # group, tenant, source, id
# What calls the handler: with the events that are new, and the session that its context shall have.
AsyncHandling: TypeAlias = Callable[[Sequence[Delivery], Any], Awaitable[None]]
ThreadHandling: TypeAlias = Callable[[Sequence[Delivery], Any], None]


@dataclass(frozen=True, slots=True)
class Handled:
    """How a call went that is not to be rolled back.

    Attributes:
        duplicates: What had been handled before, and was left out.
        failure: Names the events of a batch that failed while the rest is done.
    """

    duplicates: Sequence[Delivery] = ()
    failure: BatchItemError | None = None


class Inbox(Protocol):
    """Remembers which events were handled.

    The two ``handle`` methods call the handler with what is new, unless that is nothing, and remember it if the handler
    returns. If it raises, nothing is remembered and the error goes on; but `BatchItemError` that names a part of the
    batch means that the rest is remembered, and is returned. Of two calls with one event at the same time, the second
    waits for the first.
    """

    def check(self, handler: str, *, is_async: bool) -> None:
        """Raise `ConfigurationError` if it cannot serve a handler, given as ``Class.method``."""
        ...

    async def prepare(self) -> None:
        """Raise `ConfigurationError` if it cannot work; called before anything is consumed."""
        ...

    async def handle(self, deliveries: Sequence[Delivery], handler: AsyncHandling, /) -> Handled:
        """Handle what is new, on the event loop."""
        ...

    def handle_in_thread(self, deliveries: Sequence[Delivery], handler: ThreadHandling, /) -> Handled:
        """Handle what is new, in a thread that may block."""
        ...

    async def tidy(self) -> bool:
        """Forget some of what is too old; returns whether there is more."""
        ...


InboxChoice: TypeAlias = Inbox | Callable[[Any], Inbox]  # the function is given the handler object


def is_inbox(given: object) -> bool:
    """Whether it looks like an inbox, and is no class of them."""
    return hasattr(given, "handle_in_thread") and not isinstance(given, type)


def inbox_fault(given: object) -> str | None:
    """What is wrong with an ``inbox=``, if anything is."""
    if given is None or is_inbox(given) or (callable(given) and not isinstance(given, type)):
        return None
    return f"inbox={type(given).__name__}: must be an inbox, such as SqlInbox(sessions), or a function that makes one"


def key_of(delivery: Delivery) -> EventKey:
    """Group and event: a name that no other event has, in no group."""
    event, context = delivery
    tenant_id, source, event_id = identity_of(event)
    return context.group_id, tenant_id, source, event_id


def sort_out(deliveries: Sequence[Delivery], new: set[EventKey]) -> tuple[list[Delivery], list[Delivery]]:
    """Split into the first delivery of each new event, and the duplicates."""
    left = set(new)
    fresh: list[Delivery] = []
    duplicates: list[Delivery] = []
    for delivery in deliveries:
        key = key_of(delivery)
        (fresh if key in left else duplicates).append(delivery)
        left.discard(key)
    return fresh, duplicates


def named_in(error: BatchItemError, deliveries: Sequence[Delivery]) -> set[EventKey]:
    """The events that the error names, if they are some and not all; an empty set means that the whole call failed."""
    named = {id(event) for event in events_named(error)}
    keys = {key_of(delivery) for delivery in deliveries if id(delivery[0]) in named}
    return keys if len(keys) < len(deliveries) else set()
