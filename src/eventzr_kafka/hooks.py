"""What a runner tells whoever wants to know: frozen facts, and one function for each.

Hooks run on the event loop and must be quick. One that raises is logged and does not disturb the runner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from eventzr_kafka.kafka.losses import LossReason
from eventzr_kafka.kafka.record import TopicPartition

__all__ = [
    "ConsumerHooks",
    "DuplicateSkipped",
    "EventFailed",
    "OffsetsSkipped",
    "Outcome",
    "PartitionsAssigned",
    "RunnerStopping",
    "tell",
]

log = logging.getLogger("eventzr_kafka.hooks")
FactT = TypeVar("FactT")


@dataclass(frozen=True, slots=True)
class PartitionsAssigned:
    """A group has been given partitions; none, if it has joined and other members have them all."""

    group_id: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class RunnerStopping:
    """The runner was asked to stop, or an error stops it."""

    error: Exception | None


Outcome: TypeAlias = Literal["retried", "dead-lettered", "skipped", "stopped", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFailed:
    """An event failed, or follows one that did.

    Attributes:
        tenant_id: The record's key, which is the tenant; None if it has none, or no text.
        error: Qualified name of the error's class.
        attempt: Calls of the handler so far; 0 if the record could not be read.
        outcome: What was decided. A dead letter is announced here before it is written.
        cause: The error itself, whose text may quote a payload: for tests, and not for logs.
    """

    group_id: str
    topic: str
    partition: int
    offset: int
    tenant_id: str | None
    handler: str
    error: str
    attempt: int
    outcome: Outcome
    cause: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateSkipped:
    """An event was handled before, says the inbox, and did not reach its handler again."""

    group_id: str
    topic: str
    partition: int
    offset: int
    handler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetsSkipped:
    """Records were gone before the group read them.

    Attributes:
        first: The offset at which the group stood.
        after: The offset after the last that is gone; None where the number is not known.
        reason: ``retention`` deleted them, the topic was ``recreated``, or its log ``truncated``.
    """

    group_id: str
    topic: str
    partition: int
    first: int
    after: int | None
    reason: LossReason

    @property
    def count(self) -> int | None:
        """The number of records that are gone, at most; None where it is not known."""
        return None if self.after is None else self.after - self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerHooks:
    """Functions to be called; those left out are not missed."""

    assigned: Callable[[PartitionsAssigned], None] | None = None
    stopping: Callable[[RunnerStopping], None] | None = None
    failed: Callable[[EventFailed], None] | None = None
    duplicate: Callable[[DuplicateSkipped], None] | None = None
    offsets_skipped: Callable[[OffsetsSkipped], None] | None = None


def tell(hook: Callable[[FactT], None] | None, fact: FactT) -> None:
    """Call a hook, if there is one."""
    if hook is None:
        return
    try:
        hook(fact)
    except Exception:
        log.exception("a hook failed at %s", type(fact).__name__)
