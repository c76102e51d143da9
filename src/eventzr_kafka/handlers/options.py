"""How one consumer group runs: order, parallelism, bounds and time-outs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict, Unpack, get_args

from eventzr_kafka.codec.limits import DEFAULT_LIMITS, Limits, LoneSurrogates
from eventzr_kafka.events.event_data import Sources, source_set
from eventzr_kafka.handlers.retry import DEFAULT_RETRY, OnPoison, RetryPolicy
from eventzr_kafka.kafka.losses import OnOffsetLost

__all__ = [
    "AfterDeadLetter",
    "BatchOptions",
    "ConsumerOptions",
    "ConsumerOptionsDict",
    "GroupProtocol",
    "Ordering",
    "checked_sources",
    "consumer_options",
]

GroupProtocol: TypeAlias = Literal["classic", "consumer"]
AfterDeadLetter: TypeAlias = Literal["continue", "park_key"]
Ordering: TypeAlias = Literal["tenant", "subject", "partition", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    r"""Options of `@kafka_consumer`; every one has a default that suits most services.

    Attributes:
        ordering: What runs one after another: all events of a ``tenant``, of one tenant's ``subject``, of a
            ``partition``, or nothing (``none``).
        max_concurrency: Handlers that run at once, 1 or more.
        tenant_concurrency: Handlers of one tenant that run at once; None for no limit of its own. It matters with
            ``subject`` and ``none``; batches are not counted.
        handler_timeout: Seconds after which an ``async def`` handler is cancelled, which counts as its failure; None
            for no limit. It does not hold for a ``def`` handler: a thread cannot be cancelled, and would go on beside
            the next attempt.
        drain_timeout: Seconds that running handlers may take to finish when a partition or the process goes away.
        max_buffered_events: Events in memory at which the intake stops; for a partition that alone holds half as many,
            its own, unless it is the only one.
        max_buffered_bytes: The same in bytes.
        limits: What one record may cost.
        group_protocol: ``classic`` (every broker, MSK Serverless too) or ``consumer`` (KIP-848, Kafka 4.0 and newer).
        retry: How often and when a handler's failure is tried again; `on_message` can set another one for its handler.
        on_tombstone: A record without a value that is not an event becomes a ``dead_letter``, or the group does
            ``skip`` it or ``stop``.
        on_unknown_type: The same for an event of another type than its topic's.
        after_dead_letter: ``continue``: later events of the ordering key are handled; ``park_key``: they become dead
            letters too, in order, until the dead letters of the key are replayed or discarded.
        on_offset_lost: What follows when records were deleted before the group read them: ``continue`` behind them,
            with a warning; or ``stop`` with an `OffsetsLostError`, and commit nothing past them.
        sources: The only values of ``source`` that are handled, such as ``{"marketplace-svc"}``, in place of those that
            each event class `accepts`; an event of any other is poison. ``any`` for every source, which is logged at
            the start; None for what the classes declare. `on_message` can set others for its handler.
        lone_surrogates: What becomes of an escaped surrogate without its other half in a JSON text, such as ``\ud83c``
            alone: ``refuse`` makes the record poison, ``replace`` reads it as U+FFFD.
    """

    ordering: Ordering = "tenant"
    max_concurrency: int = 64
    tenant_concurrency: int | None = None
    handler_timeout: float | None = None
    drain_timeout: float = 25.0
    max_buffered_events: int = 100_000
    max_buffered_bytes: int = 64 * 1024 * 1024
    limits: Limits = DEFAULT_LIMITS
    group_protocol: GroupProtocol = "classic"
    retry: RetryPolicy = DEFAULT_RETRY
    on_tombstone: OnPoison = "dead_letter"
    on_unknown_type: OnPoison = "dead_letter"
    after_dead_letter: AfterDeadLetter = "continue"
    on_offset_lost: OnOffsetLost = "continue"
    sources: Sources | None = None
    lone_surrogates: LoneSurrogates = "refuse"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            _require_choice(name, getattr(self, name), choices)
        for name in ("max_concurrency", "max_buffered_events", "max_buffered_bytes"):
            _require_count(name, getattr(self, name))
        if self.tenant_concurrency is not None:
            _require_count("tenant_concurrency", self.tenant_concurrency)
        _require_seconds("drain_timeout", self.drain_timeout, zero=True)
        if self.handler_timeout is not None:
            _require_seconds("handler_timeout", self.handler_timeout, zero=False)
        _require_object("limits", self.limits, Limits)
        _require_object("retry", self.retry, RetryPolicy)
        if self.after_dead_letter == "park_key" and self.ordering == "none":
            raise ValueError('after_dead_letter="park_key": ordering="none" has no ordering keys')
        object.__setattr__(self, "sources", checked_sources(self.sources))


_CHOICES: dict[str, tuple[str, ...]] = {
    "ordering": get_args(Ordering),
    "group_protocol": get_args(GroupProtocol),
    "on_tombstone": get_args(OnPoison),
    "on_unknown_type": get_args(OnPoison),
    "after_dead_letter": get_args(AfterDeadLetter),
    "lone_surrogates": get_args(LoneSurrogates),
    "on_offset_lost": get_args(OnOffsetLost),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How `@on_batch` gathers events.

    Attributes:
        max_size: Events at which a batch is handed over, 1 or more.
        max_wait: Seconds after its first event at which it is handed over, however few there are; 0 for what is
            there already.
    """

    max_size: int
    max_wait: float

    def __post_init__(self) -> None:
        _require_count("max_size", self.max_size)
        _require_seconds("max_wait", self.max_wait, zero=True)


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(choices)}")


def _require_object(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name}={value!r}: must be a {kind.__name__} object")  # noqa: TRY004 -- as for the others


def _require_count(name: str, value: Any) -> None:
    if type(value) is not int:
        raise ValueError(f"{name}={value!r}: must be a whole number")
    if value < 1:
        raise ValueError(f"{name}={value}: must be 1 or more")


def _require_seconds(name: str, value: Any, *, zero: bool) -> None:
    fits = type(value) in (int, float) and math.isfinite(value) and (value > 0 or (zero and value == 0))
    if not fits:
        raise ValueError(f"{name}={value!r}: must be {'0 or more' if zero else 'more than 0'} seconds")


def checked_sources(given: object) -> Sources | None:
    """Return `sources` as it is kept.

    Raises:
        ValueError: It is not a set of URI-references, nor ``any`` or None.
    """
    if given is None:
        return None
    if given == "any":
        return "any"
    found = source_set(given)
    if found is None:
        problem = 'must be one source or more, in a set such as {"marketplace-svc"}, or "any"'
        raise ValueError(f"sources={given!r}: {problem}")
    return found


class ConsumerOptionsDict(TypedDict, total=False):
    """The same options as keywords, for type checkers; see `ConsumerOptions`."""

    ordering: Ordering
    max_concurrency: int
    tenant_concurrency: int | None
    handler_timeout: float | None
    drain_timeout: float
    max_buffered_events: int
    max_buffered_bytes: int
    limits: Limits
    group_protocol: GroupProtocol
    retry: RetryPolicy
    on_tombstone: OnPoison
    on_unknown_type: OnPoison
    after_dead_letter: AfterDeadLetter
    on_offset_lost: OnOffsetLost
    sources: Sources | None
    lone_surrogates: LoneSurrogates


def consumer_options(**given: Unpack[ConsumerOptionsDict]) -> ConsumerOptions:
    """Options from keywords.

    Raises:
        ValueError: An option is unknown (then it names the known ones) or out of range.
    """
    known = [field.name for field in fields(ConsumerOptions)]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; there are: group_id, {', '.join(known)}, inbox")
    return ConsumerOptions(**given)
