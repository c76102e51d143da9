"""How one consumer group runs: order, parallelism, bounds and time-outs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict, Unpack, get_args

from eventzr_kafka.limits import DEFAULT_LIMITS, Limits

__all__ = ["BatchOptions", "ConsumerOptions", "ConsumerOptionsDict", "GroupProtocol", "Ordering", "consumer_options"]

GroupProtocol: TypeAlias = Literal["classic", "consumer"]
Ordering: TypeAlias = Literal["tenant", "subject", "partition", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """Options of `@kafka_consumer`; every one has a default that suits most services.

    Attributes:
        ordering: What runs one after another: all events of a ``tenant``, of one tenant's ``subject``, of a
            ``partition``, or nothing (``none``).
        max_concurrency: Handlers that run at once, 1 or more.
        tenant_concurrency: Handlers of one tenant that run at once; None for no limit of its own. It matters with
            ``subject`` and ``none``.
        handler_timeout: Seconds after which an ``async def`` handler is cancelled, which counts as its failure; None
            for no limit. A ``def`` handler cannot be cancelled.
        drain_timeout: Seconds that running handlers may take to finish when a partition or the process goes away.
        max_buffered_events: Events in memory at which the intake stops.
        max_buffered_bytes: Bytes in memory at which the intake stops.
        limits: What one record may cost.
        group_protocol: ``classic`` (every broker, MSK Serverless too) or ``consumer`` (KIP-848, Kafka 4.0 and newer).
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

    def __post_init__(self) -> None:
        if self.ordering not in get_args(Ordering):
            raise ValueError(f"ordering={self.ordering!r}: must be one of {', '.join(get_args(Ordering))}")
        for name in ("max_concurrency", "max_buffered_events", "max_buffered_bytes"):
            _require_count(name, getattr(self, name))
        if self.tenant_concurrency is not None:
            _require_count("tenant_concurrency", self.tenant_concurrency)
        _require_seconds("drain_timeout", self.drain_timeout, zero=True)
        if self.handler_timeout is not None:
            _require_seconds("handler_timeout", self.handler_timeout, zero=False)
        if not isinstance(self.limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance] -- untyped callers
            raise ValueError(f"limits={self.limits!r}: must be a Limits object")  # noqa: TRY004 -- as for the others
        if self.group_protocol not in get_args(GroupProtocol):
            raise ValueError(f"group_protocol={self.group_protocol!r}: must be classic or consumer")


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


def _require_count(name: str, value: Any) -> None:
    if type(value) is not int:
        raise ValueError(f"{name}={value!r}: must be a whole number")
    if value < 1:
        raise ValueError(f"{name}={value}: must be 1 or more")


def _require_seconds(name: str, value: Any, *, zero: bool) -> None:
    fits = type(value) in (int, float) and math.isfinite(value) and (value > 0 or (zero and value == 0))
    if not fits:
        raise ValueError(f"{name}={value!r}: must be {'0 or more' if zero else 'more than 0'} seconds")


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


def consumer_options(**given: Unpack[ConsumerOptionsDict]) -> ConsumerOptions:
    """Options from keywords.

    Raises:
        ValueError: An option is unknown (then it names the known ones) or out of range.
    """
    known = [field.name for field in fields(ConsumerOptions)]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; there are: group_id, {', '.join(known)}")
    return ConsumerOptions(**given)
