"""The event in hand, and what the events published meanwhile inherit from it.

1. While a handler runs, its event is *in hand*: in the handler, in the tasks that it starts, and in threads that are
   given its context (a ``def`` handler's, `asyncio.to_thread`). Nothing is in hand before, after, or anywhere else.
2. A payload that is published then belongs to the tenant of that event, unless the call names a tenant. Its
   ``correlationid`` is that of the event, or the event's id if it has none; its ``causationid`` is the event's id; its
   ``traceparent`` and ``tracestate`` are the event's.
3. An extension that the call gives counts more. A ``traceparent`` of its own brings its own ``tracestate``, or none.
4. In a batch no single event is in hand: only the tenant is inherited, and only if all its events have the same one.
5. An event of a tenant that is not in hand is refused, unless the call allows it.
6. A thread that a handler starts by itself (`threading.Thread`, an executor) does not get the handler's context. There,
   nothing is in hand, as in any thread of the process: Python does not know who has started a thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventzr_kafka.errors import CrossTenantError
from eventzr_kafka.events.event import CloudEvent, ExtensionValue

__all__ = [
    "BatchInHand",
    "InHand",
    "begin_handling",
    "current_event",
    "current_tenant",
    "end_handling",
    "enter",
    "enter_batch",
    "handling",
    "has_in_hand",
    "in_hand",
    "inherited",
    "is_beside_handlers",
    "leave",
    "require_own_tenant",
]


@dataclass(frozen=True, slots=True)
class BatchInHand:
    """A batch handler's events, as far as anything is inherited from them."""

    tenants: frozenset[str]


InHand: TypeAlias = CloudEvent[Any] | BatchInHand | None
_in_hand: ContextVar[InHand] = ContextVar("eventzr_kafka.in_hand", default=None)

# The variable's own methods: `enter` and `leave` run for every event, `in_hand` for every one that is published.
in_hand: Callable[[], InHand] = _in_hand.get
enter: Callable[[InHand], Token[InHand]] = _in_hand.set
leave: Callable[[Token[InHand]], None] = _in_hand.reset


handling: Counter[int] = Counter()  # by thread: the event loops of this process on which handlers run


def begin_handling() -> int:
    """Note that handlers run on this thread's event loop from now on; returns what `end_handling` takes."""
    thread = threading.get_ident()
    handling[thread] += 1
    return thread


def end_handling(thread: int) -> None:
    """Note that the handlers of one `begin_handling` have ended."""
    handling[thread] -= 1
    if handling[thread] <= 0:
        del handling[thread]


def is_beside_handlers() -> bool:
    """True in a thread of a process whose handlers run on the event loops of other threads, see rule 6."""
    return bool(handling) and threading.get_ident() not in handling


def enter_batch(events: Iterable[CloudEvent[Any]]) -> Token[InHand]:
    """Take a batch in hand; `leave` ends it, as for a single event."""
    return enter(BatchInHand(frozenset([event.tenantid for event in events])))


def current_event() -> CloudEvent[Any] | None:
    """The event that the running handler was given; None outside of handlers, and in a batch handler."""
    held = in_hand()
    return held if isinstance(held, CloudEvent) else None


def current_tenant() -> str | None:
    """The tenant of the running handler's event, or of all events of its batch; None if there is no such tenant."""
    return _only(_tenants(in_hand()))


def inherited(held: CloudEvent[Any] | BatchInHand, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `EventProducer.publish`, with what they leave to what is in hand.

    Args:
        held: What `in_hand` gave.
        given: The arguments as the caller gave them; None for a tenant is not taken for "the same".
    """
    if isinstance(held, BatchInHand):
        tenant = _only(held.tenants)
        return dict(given) if tenant is None else {"tenant_id": tenant, **given}
    extensions = _causality(held, given.get("extensions") or {})
    return {"tenant_id": held.tenantid, **given, "extensions": extensions}


def has_in_hand(held: CloudEvent[Any] | BatchInHand, tenant_id: str) -> bool:
    """True if the event or batch that `in_hand` gave is, or has events, of a tenant."""
    return tenant_id in held.tenants if isinstance(held, BatchInHand) else tenant_id == held.tenantid


def require_own_tenant(event: CloudEvent[Any], held: CloudEvent[Any] | BatchInHand) -> None:
    """Let an event pass if its tenant is in hand.

    Raises:
        CrossTenantError: It is not.
    """
    if not has_in_hand(held, event.tenantid):
        raise CrossTenantError(event.id, event.type, event.tenantid, _tenants(held))


def _tenants(held: InHand) -> frozenset[str]:
    if isinstance(held, CloudEvent):
        return frozenset((held.tenantid,))
    return held.tenants if held is not None else frozenset()


def _only(tenants: frozenset[str]) -> str | None:
    return next(iter(tenants)) if len(tenants) == 1 else None


def _causality(event: CloudEvent[Any], given: Mapping[str, ExtensionValue]) -> dict[str, ExtensionValue]:
    known = event.extensions
    causes: dict[str, ExtensionValue] = {
        "correlationid": known.get("correlationid") or event.id,  # an empty one names no flow
        "causationid": event.id,
    }
    if "traceparent" not in given:
        for name in ("traceparent", "tracestate"):
            if name in known:
                causes[name] = known[name]
    return {**causes, **given} if given else causes
