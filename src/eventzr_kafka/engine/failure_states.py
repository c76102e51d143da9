"""`FailureStates`: how often each event without an outcome has failed, and since when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from eventzr_kafka.engine.intake import Work

__all__ = ["FailureKey", "FailureState", "FailureStates", "failure_key"]

FailureKey: TypeAlias = tuple[int, int]  # epoch and offset


def failure_key(work: Work) -> FailureKey:
    """Key of an event's state: no two records of a process have the same."""
    record, batch, _, _ = work
    return batch.epoch.number, record.offset


@dataclass(slots=True)
class FailureState:
    """The failures of one event so far.

    Attributes:
        since: The loop's time of the first failure.
        first, last: Seconds since the Unix epoch.
        attempts: Calls of the handler; 0 if the record could not be read.
        retry_individually: True if the event is to be retried outside of a batch.
        has_exited: True if it has stopped the runner with `SystemExit`.
        timer: Runs the event again; None if it does not wait for a retry.
    """

    since: float
    first: float
    last: float = 0.0
    attempts: int = 0
    retry_individually: bool = False
    has_exited: bool = False
    timer: asyncio.TimerHandle | None = None


class FailureStates(dict[FailureKey, FailureState]):
    """The states of all events that have failed and have no outcome yet.

    A dict, since the dispatcher asks for each event whether there are any, and that must not cost a Python call.
    """

    def count(self, work: Work, *, attempted: bool, now: float, wall: float) -> FailureState:
        """Count one more failure of an event.

        Args:
            attempted: True if its handler was called.
            now: The loop's time.
            wall: Seconds since the Unix epoch.
        """
        state = self.setdefault(failure_key(work), FailureState(now, wall))
        state.attempts += attempted
        state.last = wall
        return state

    def find(self, work: Work) -> FailureState | None:
        """State of an event; None if it has not failed."""
        return self.get(failure_key(work))

    def forget(self, key: FailureKey) -> None:
        """Forget an event that has its outcome, and cancel its retry."""
        state = self.pop(key, None)
        if state is not None and state.timer is not None:
            state.timer.cancel()

    def forget_epochs(self, numbers: Iterable[int]) -> None:
        """Forget the events of epochs that have ended."""
        ended = set(numbers)
        for key in [key for key in self if key[0] in ended]:
            self.forget(key)

    def forget_passed(self, first_offsets: Mapping[int, int], limit: int) -> None:
        """Forget events before the first offset of their epoch; without such events, the oldest above a limit.

        Args:
            first_offsets: By epoch.
            limit: The number of states to keep.
        """
        passed = [key for key in self if key[1] < first_offsets.get(key[0], 0)]
        for key in passed or list(islice(self, max(len(self) - limit, 0))):
            self.forget(key)
