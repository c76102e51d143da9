"""Answers to commits: the client commits by itself, and its callback alone hears the answers.

1. Refused metadata is made shorter, and left out at last; what the broker takes is remembered as long as the client.
2. Any other refusal is a problem and one log line, until commits work again, which is another line. The client tries
   again each second.
3. Refusals that a rebalance brings along are reported only when they last.
4. The last commit is not tried again: a refusal is reported at once, of whatever kind.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.arrivals import log
from eventzr_kafka._confluent.outage import describe_kafka_error
from eventzr_kafka.engine.commit_metadata import MAX_METADATA_BYTES

__all__ = ["CommitResults"]

_STEPS = (1024, 256, 64, 16, 0)  # bytes of metadata, one after another until the broker takes it
_LASTING = 10.0  # seconds after which a refusal is more than a rebalance
_APART = 60.0  # seconds between two refusals that have nothing to do with each other: else one comes each second
_PASSING = {
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
}
_NOTHING = {KafkaError._NO_OFFSET, KafkaError._DESTROY}
_HINTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "allow Read on the group, on MSK kafka-cluster:AlterGroup",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow Read on the topic, on MSK kafka-cluster:ReadData",
    KafkaError.OFFSET_METADATA_TOO_LARGE: "raise the brokers' offset.metadata.max.bytes",
}


class CommitResults:
    """Takes the answers to the commits of one group's client; used in the owner thread, but for `problem`.

    Attributes:
        problem: Why offsets cannot be committed, or None; any thread may read it.
        limit: Bytes of metadata to store beside an offset, at most.
        proven: The most bytes of metadata that the broker has taken.
        answers: Commits that were answered.
        nothing_left: Whether the last answer was that no offset has grown since it was committed.
        closing: Set before the last commit.
    """

    def __init__(self, group_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a problem."""
        self.problem: str | None = None
        self.limit = MAX_METADATA_BYTES
        self.proven = 0
        self.answers = 0
        self.nothing_left = False
        self.closing = False
        self._group_id = group_id
        self._clock = clock
        self._failing_since = self._refused_at = -math.inf
        self._too_long = False

    def on_commit(self, error: KafkaError | None, partitions: Sequence[Offset]) -> None:
        """Take the answer to one commit; a callback of the client, which must not raise."""
        self.answers += 1
        faults = [p.error for p in partitions if p.error is not None]
        fault = error or next(iter(faults), None)
        self.nothing_left = fault is not None and fault.code() == KafkaError._NO_OFFSET
        if fault is None:
            self._accepted(partitions)
        elif fault.code() not in _NOTHING:
            self._refused(fault, partitions)

    def take_too_long(self) -> bool:
        """Take note, once, that metadata was refused and positions must be stored anew."""
        too_long, self._too_long = self._too_long, False
        return too_long

    def _accepted(self, partitions: Sequence[Offset]) -> None:
        if not any(p.offset >= 0 for p in partitions):
            return
        self.proven = max([self.proven, *(len(p.metadata or "") for p in partitions)])
        self._refused_at = -math.inf
        if self.problem is not None:
            self.problem = None
            log.warning("%s: offsets are committed again", self._group_id)

    def _refused(self, fault: KafkaError, partitions: Sequence[Offset]) -> None:
        if fault.code() == KafkaError.OFFSET_METADATA_TOO_LARGE and self.limit > 0:
            self._shorten(partitions)
            return
        now = self._clock()
        if now - self._refused_at >= _APART:
            self._failing_since = now
        self._refused_at = now
        lasts = now - self._failing_since >= _LASTING
        if self.problem is None and (lasts or self.closing or fault.code() not in _PASSING):
            hint = "; ".join(filter(None, (describe_kafka_error(fault), _HINTS.get(fault.code()))))
            self.problem = f"{self._group_id}: offsets cannot be committed, what is handled runs again: {hint}"
            log.error("%s", self.problem)

    def _shorten(self, partitions: Sequence[Offset]) -> None:
        refused = [p for p in partitions if p.error is not None] or partitions
        longest = max((len(p.metadata or "") for p in refused), default=0)
        if longest > self.limit:  # it was under way when the limit fell
            return
        if self.limit == MAX_METADATA_BYTES:
            log.warning(
                "%s: the broker refuses %d bytes of commit metadata and gets less: events may run again "
                "after a restart that were finished above the committed offset; %s",
                self._group_id,
                longest,
                _HINTS[KafkaError.OFFSET_METADATA_TOO_LARGE],
            )
        self.limit = next((step for step in _STEPS if step < longest), 0)
        self._too_long = True
