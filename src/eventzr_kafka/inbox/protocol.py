"""`Inbox`: the memory of a consumer for the events that it has handled.

An event is known by its consumer group and its `EventIdentity`, that is ``tenantid``, ``source`` and ``id``. These are
the same when the event is redelivered, in this epoch or a later one, and when it is replayed from the dead letters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Protocol, TypeAlias, Union, get_args, get_origin

from eventzr_kafka.errors import BatchItemError, events_named
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.identity import identity_of
from eventzr_kafka.events.message_context import MessageContext

__all__ = [
    "AsyncHandling",
    "Handled",
    "Inbox",
    "InboxChoice",
    "InboxKey",
    "ReceivedEvent",
    "ThreadHandling",
    "failed_keys",
    "fits_session",
    "inbox_fault",
    "inbox_key",
    "is_inbox",
    "split_duplicates",
]

ReceivedEvent: TypeAlias = tuple[CloudEvent[Any], MessageContext]
InboxKey: TypeAlias = tuple[str, str, str, str]  # group, tenant, source, id
# Functions that call the handler, given the new events and the session that their context shall hold.
AsyncHandling: TypeAlias = Callable[[Sequence[ReceivedEvent], Any], Awaitable[None]]
ThreadHandling: TypeAlias = Callable[[Sequence[ReceivedEvent], Any], None]


@dataclass(frozen=True, slots=True)
class Handled:
    """Result of a call that is not rolled back.

    Attributes:
        duplicates: The events that were left out, because the inbox knew them.
        failure: Names the events of a batch that failed while the others are done.
    """

    duplicates: Sequence[ReceivedEvent] = ()
    failure: BatchItemError | None = None


class Inbox(Protocol):
    """Remembers which events were handled.

    The two ``handle`` methods call the handler with the new events, unless there are none, and remember them if the
    handler returns. If the handler raises, nothing is remembered and the error is raised on. One exception: a
    `BatchItemError` that names a part of the batch is returned, and the other events are remembered. Of two calls with
    one event at the same time, the second waits for the first.
    """

    def check_handler(self, handler: str, *, is_async: bool, session: Any) -> None:
        """Raise `ConfigurationError` if the inbox cannot serve a handler.

        Args:
            handler: ``Class.method``.
            is_async: True for an ``async def``.
            session: X of its ``MessageContext[X]``, see `fits_session`; `Any` if it names none.
        """
        ...

    async def check_tables(self) -> None:
        """Raise `ConfigurationError` if the inbox cannot work; called before anything is consumed."""
        ...

    async def handle(self, deliveries: Sequence[ReceivedEvent], handler: AsyncHandling, /) -> Handled:
        """Handle the new events, on the event loop."""
        ...

    def handle_in_thread(self, deliveries: Sequence[ReceivedEvent], handler: ThreadHandling, /) -> Handled:
        """Handle the new events, in a thread that may block."""
        ...

    async def purge_expired(self) -> bool:
        """Forget some of the events that are too old; returns whether there are more."""
        ...


InboxChoice: TypeAlias = Inbox | Callable[[Any], Inbox]  # the function is given the handler object


def is_inbox(given: object) -> bool:
    """True for an inbox, not for a class of inboxes."""
    return hasattr(given, "handle_in_thread") and not isinstance(given, type)


def inbox_fault(given: object) -> str | None:
    """The fault of an ``inbox=`` in words, or None if it has none."""
    if given is None or is_inbox(given) or (callable(given) and not isinstance(given, type)):
        return None
    return f"inbox={type(given).__name__}: must be an inbox, such as SqlInbox(sessions), or a function that makes one"


def fits_session(declared: Any, session: object) -> bool:
    """True if a ``MessageContext[declared]`` may hold the session, and if that cannot be checked."""
    kinds = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    classes = [type(None) if kind is None else get_origin(kind) or kind for kind in kinds]
    try:
        return any(not isinstance(kind, type) or isinstance(session, kind) for kind in classes)
    except TypeError:  # a Protocol, say, that cannot be asked
        return True


def inbox_key(delivery: ReceivedEvent) -> InboxKey:
    """The name of an event in its consumer group; another event, or the same one in another group, has another."""
    event, context = delivery
    tenant_id, source, event_id = identity_of(event)
    return context.group_id, tenant_id, source, event_id


def split_duplicates(
    deliveries: Sequence[ReceivedEvent], new: set[InboxKey]
) -> tuple[list[ReceivedEvent], list[ReceivedEvent]]:
    """Split into the first delivery of each new event, and the duplicates."""
    left = set(new)
    fresh: list[ReceivedEvent] = []
    duplicates: list[ReceivedEvent] = []
    for delivery in deliveries:
        key = inbox_key(delivery)
        (fresh if key in left else duplicates).append(delivery)
        left.discard(key)
    return fresh, duplicates


def failed_keys(error: BatchItemError, deliveries: Sequence[ReceivedEvent]) -> set[InboxKey]:
    """The keys of the events that the error names; empty if it names none or all, since the whole call failed then."""
    named = {id(event) for event in events_named(error)}
    keys = {inbox_key(delivery) for delivery in deliveries if id(delivery[0]) in named}
    return keys if len(keys) < len(deliveries) else set()
