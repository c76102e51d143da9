"""The results of commits: the client commits by itself, and reports the results to a callback only.

1. Refused metadata is made shorter, and left out in the end; the length that the broker accepts is kept for the life of
   the client.
2. Any other refusal is a problem and one log line; another line follows when commits work again. The client tries again
   every second.
3. Refusals that a rebalance causes are reported only when they last.
4. The last commit is not tried again: its refusal is reported at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.arrivals import log
from eventzr_kafka._confluent.connection import describe_kafka_error
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.engine.commit_metadata import MAX_METADATA_BYTES
from eventzr_kafka.lifecycle.state_log import StateLog

__all__ = ["CommitResults"]

_STEPS = (1024, 256, 64, 16, 0)  # bytes of metadata, one after another until the broker takes it
_LASTING_SECONDS = 10.0  # after which a refusal is more than a passing one
_UNRELATED_SECONDS = 60.0  # between two refusals that are unrelated: a lasting one is repeated every second
_PASSING_ERRORS = {  # of a rebalance, or of a coordinator that moves or comes back
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._WAIT_COORD,
}
_NOTHING_TO_COMMIT = {KafkaError._NO_OFFSET, KafkaError._DESTROY}
_HINTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "allow Read on the group, on MSK kafka-cluster:AlterGroup",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow Read on the topic, on MSK kafka-cluster:ReadData",
    KafkaError.OFFSET_METADATA_TOO_LARGE: "raise the brokers' offset.metadata.max.bytes",
}


class CommitResults:
    """Reads the results of one client's commits; used in the owner thread, except for `problem`.

    Attributes:
        limit: Bytes of metadata to store with an offset, at most.
        proven: The most bytes of metadata that the broker has accepted.
        answers: The number of commits that were answered.
        nothing_left: True if the last answer was that no offset had grown since it was committed.
        closing: Set before the last commit.
    """

    def __init__(self, group_id: str, clock: Clock = SYSTEM_CLOCK) -> None:
        """Begin without a problem."""
        self.limit = MAX_METADATA_BYTES
        self.proven = 0
        self.answers = 0
        self.nothing_left = False
        self.closing = False
        self._group_id = group_id
        self._state = StateLog(log, clock=clock)
        self._monotonic = clock.monotonic
        self._failing_since = self._refused_at = -math.inf
        self._metadata_refused = False

    @property
    def problem(self) -> str | None:
        """The reason why offsets cannot be committed, or None; any thread may read it."""
        return self._state.reason

    def on_commit(self, error: KafkaError | None, partitions: Sequence[Offset]) -> None:
        """Read the result of one commit; a callback of the client, which must not raise."""
        self.answers += 1
        faults = [p.error for p in partitions if p.error is not None]
        fault = error or next(iter(faults), None)
        self.nothing_left = fault is not None and fault.code() == KafkaError._NO_OFFSET
        if fault is None:
            self._accepted(partitions)
        elif fault.code() not in _NOTHING_TO_COMMIT:
            self._refused(fault, partitions)

    def take_refused_metadata(self) -> bool:
        """Return True, once, after metadata was refused: positions must be stored with less of it."""
        refused, self._metadata_refused = self._metadata_refused, False
        return refused

    def _accepted(self, partitions: Sequence[Offset]) -> None:
        if not any(p.offset >= 0 for p in partitions):
            return
        self.proven = max([self.proven, *(len(p.metadata or "") for p in partitions)])
        self._refused_at = -math.inf
        self._state.report_success("%s: offsets are committed again", self._group_id)

    def _refused(self, fault: KafkaError, partitions: Sequence[Offset]) -> None:
        if fault.code() == KafkaError.OFFSET_METADATA_TOO_LARGE and self.limit > 0:
            self._shorten(partitions)
            return
        now = self._monotonic()
        if now - self._refused_at >= _UNRELATED_SECONDS:
            self._failing_since = now
        self._refused_at = now
        lasts = now - self._failing_since >= _LASTING_SECONDS
        if self.problem is None and (lasts or self.closing or fault.code() not in _PASSING_ERRORS):
            hint = "; ".join(filter(None, (describe_kafka_error(fault), _HINTS.get(fault.code()))))
            problem = f"{self._group_id}: offsets cannot be committed, handled events run again: {hint}"
            self._state.report_failure(problem, "%s", problem)

    def _shorten(self, partitions: Sequence[Offset]) -> None:
        refused = [p for p in partitions if p.error is not None] or partitions
        longest = max((len(p.metadata or "") for p in refused), default=0)
        if longest > self.limit:  # it was in flight when the limit was lowered
            return
        if self.limit == MAX_METADATA_BYTES:
            log.warning(
                "%s: the broker refuses %d bytes of commit metadata and gets less: after a restart, events that have "
                "finished above the committed offset may run again; %s",
                self._group_id,
                longest,
                _HINTS[KafkaError.OFFSET_METADATA_TOO_LARGE],
            )
        self.limit = next((step for step in _STEPS if step < longest), 0)
        self._metadata_refused = True
