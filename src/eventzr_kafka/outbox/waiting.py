"""What waits after a failure, for how long, and which rows go meanwhile.

1. A topic that failed, because it is missing say, waits 1 s, then twice as long, up to 30 s. Then one row of it goes on
   *trial*; once that is acknowledged, the topic goes on.
2. A tenant whose next row is for a waiting topic is set aside: it is not read until the topic goes on, because its
   later rows must not overtake that one.
3. A lane that is stopped at a refused row waits 30 s; then that row goes on trial.
4. A row on trial is the only one of its topic in its turn. Rows of other topics do not matter, nor does it to them.
5. A lane whose row had no answer when the client was replaced waits as in 1, and then goes on as before: otherwise a
   partition without leader would be company to every row of its topic, and none of them ever alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eventzr_kafka.outbox.rows import OutboxRow

__all__ = ["Choice", "Waiting"]

_FIRST, _LONGEST = 1.0, 30.0


@dataclass(slots=True)
class _Wait:
    until: float
    seconds: float
    failure: str  # empty if there was none: no trial follows


class Choice(NamedTuple):
    """The rows that go, and how many tenants were set aside."""

    rows: list[OutboxRow]
    set_aside: int


class Waiting:
    """Topics and lanes that wait. It holds a name for each tenant that was set aside, however many there are."""

    def __init__(self) -> None:
        self._topics: dict[str, _Wait] = {}
        self._lanes: dict[str, _Wait] = {}  # by tenant
        self._aside: dict[str, dict[str, None]] = {}  # topic -> tenants, the first set aside first

    def topic_failed(self, row: OutboxRow, failure: str, now: float) -> float:
        """Let a row's topic wait; returns for how many seconds, 0 if it waits already (several rows failed at once)."""
        known = self._topics.get(row.topic)
        if known is not None and known.until > now:
            return 0.0
        self._topics[row.topic] = wait = _longer(known, now, failure)
        return wait.seconds

    def tenant_stopped(self, row: OutboxRow, failure: str, now: float) -> float:
        """Let a lane wait for its refused row; returns for how many seconds."""
        self._lanes[row.tenant_id] = _Wait(now + _LONGEST, _LONGEST, failure)
        return _LONGEST

    def tenant_unanswered(self, tenant_id: str, now: float) -> None:
        """Let a lane wait whose row had no answer, unless it waits already."""
        known = self._lanes.get(tenant_id)
        if known is None or (known.failure == "" and known.until <= now):
            self._lanes[tenant_id] = _longer(known, now)

    def acknowledged(self, row: OutboxRow) -> bool:
        """Let a row's topic and lane go on; returns whether the topic had waited."""
        self._lanes.pop(row.tenant_id, None)
        self._aside.pop(row.topic, None)
        return self._topics.pop(row.topic, None) is not None

    def parked(self, row: OutboxRow) -> None:
        """Let a lane go on without the row."""
        self._lanes.pop(row.tenant_id, None)

    def forget_tenants(self) -> None:
        """Let all tenants be read again: other buckets are held, with other ones."""
        self._aside.clear()
        self._lanes.clear()

    def is_known(self, row: OutboxRow) -> bool:
        """Whether the row's topic or lane has failed before, and not gone on since."""
        return row.topic in self._topics or row.tenant_id in self._lanes

    def leave_out(self, busy: Collection[str], now: float) -> set[str]:
        """Say which tenants are not to be read; the first one behind a topic that is due for a trial is let go.

        Args:
            busy: Topics with rows under way.
        """
        for topic in self._due(busy, now):
            tenants = self._aside.get(topic)
            if tenants:
                del tenants[next(iter(tenants))]
        waiting = {tenant_id for tenant_id, wait in self._lanes.items() if wait.until > now}
        return waiting.union(*self._aside.values())

    def choose(self, rows: Sequence[OutboxRow], busy: Collection[str], now: float) -> Choice:
        """Choose the rows that go, and set the tenants aside whose next one is for a waiting topic."""
        if not self._topics and not self._lanes:
            return Choice(list(rows), 0)
        trials = self._trials(rows, set(self._due(busy, now)))
        chosen, passed, aside = list[OutboxRow](), set[str](), 0
        for row in rows:
            if row.tenant_id in passed:
                continue
            trial, waits = trials.get(row.topic), row.topic in self._topics
            if trial is row or (trial is None and not waits):
                chosen.append(row)
            elif waits:
                self._aside.setdefault(row.topic, {})[row.tenant_id] = None
                aside += 1
            if trial is not None or waits:
                passed.add(row.tenant_id)
        return Choice(chosen, aside)

    def problems(self, busy: Collection[str], now: float) -> list[str]:
        """What waits, in words; not the topics and lanes whose rows were taken away meanwhile.

        Args:
            busy: Topics with rows under way.
        """
        topics = [
            f"{topic}: {wait.failure}; tenants that wait: {len(self._aside.get(topic, ()))}"
            for topic, wait in self._topics.items()
            if wait.until > now or topic in busy or self._aside.get(topic)
        ]
        stopped = sum(self._is_stopped(tenant_id) and wait.until > now for tenant_id, wait in self._lanes.items())
        return [*topics, *([f"tenants that wait for a row that the broker refuses: {stopped}"] if stopped else [])]

    def _due(self, busy: Collection[str], now: float) -> Iterator[str]:
        return (topic for topic, wait in self._topics.items() if wait.until <= now and topic not in busy)

    def _trials(self, rows: Sequence[OutboxRow], due: Collection[str]) -> dict[str, OutboxRow]:
        """One row for each topic that is due, and for each in which a stopped lane goes on; the first of its tenant."""
        trials: dict[str, OutboxRow] = {}
        seen: set[str] = set()
        for row in rows:
            if row.tenant_id not in seen:
                seen.add(row.tenant_id)
                if row.topic in due or (row.topic not in self._topics and self._is_stopped(row.tenant_id)):
                    trials.setdefault(row.topic, row)
        return trials

    def _is_stopped(self, tenant_id: str) -> bool:
        wait = self._lanes.get(tenant_id)
        return wait is not None and wait.failure != ""


def _longer(known: _Wait | None, now: float, failure: str = "") -> _Wait:
    seconds = min(known.seconds * 2, _LONGEST) if known else _FIRST
    return _Wait(now + seconds, seconds, failure)
