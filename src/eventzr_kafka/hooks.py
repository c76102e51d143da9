"""Hooks of a runner: optional callbacks, each of which receives one frozen fact.

::

    ConsumerRunner(handler, hooks=ConsumerHooks(on_event_failed=lambda fact: counter.add(1, {"outcome": fact.outcome})))

A hook runs on the event loop and must be quick. A hook that raises is logged and does not disturb the runner.
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
    "EventSkipped",
    "FailureOutcome",
    "OffsetsSkipped",
    "PartitionsAssigned",
    "RunnerStopping",
    "notify",
]

log = logging.getLogger("eventzr_kafka.hooks")
FactT = TypeVar("FactT")


@dataclass(frozen=True, slots=True)
class PartitionsAssigned:
    """The group received partitions; none, if it has joined while other members own them all."""

    group_id: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class RunnerStopping:
    """The runner was asked to stop, or an error stops it."""

    error: Exception | None


FailureOutcome: TypeAlias = Literal["retried", "dead-lettered", "skipped", "stopped", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFailed:
    """An event failed, or follows one that did.

    Attributes:
        tenant_id: The record's key, which is the tenant; None if the record has no key, or the key is not text.
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
    outcome: FailureOutcome
    cause: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateSkipped:
    """An event that the inbox knows was delivered again; its handler was not called."""

    group_id: str
    topic: str
    partition: int
    offset: int
    handler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSkipped:
    """The handler's `when` does not want an event; the handler was not called.

    Attributes:
        tenant_id: The record's key, which is the tenant.
    """

    group_id: str
    topic: str
    partition: int
    offset: int
    tenant_id: str | None
    handler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetsSkipped:
    """Records were deleted before the group read them.

    Attributes:
        first: The group's offset, from which on records are gone.
        after: The offset after the last record that is gone; None where it is not known.
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
    """Optional callbacks of a runner, each named after the fact that it receives."""

    on_partitions_assigned: Callable[[PartitionsAssigned], None] | None = None
    on_runner_stopping: Callable[[RunnerStopping], None] | None = None
    on_event_failed: Callable[[EventFailed], None] | None = None
    on_event_skipped: Callable[[EventSkipped], None] | None = None
    on_duplicate_skipped: Callable[[DuplicateSkipped], None] | None = None
    on_offsets_skipped: Callable[[OffsetsSkipped], None] | None = None


def notify(hook: Callable[[FactT], None] | None, fact: FactT) -> None:
    """Call a hook with its fact, if there is a hook; an error of the hook is logged."""
    if hook is None:
        return
    try:
        hook(fact)
    except Exception:
        log.exception("a hook failed at %s", type(fact).__name__)
