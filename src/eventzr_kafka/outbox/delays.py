"""`Delays`: the topics and tenants that wait after a failure, for how long, and the rows that are sent meanwhile.

1. A topic that failed, for example because it does not exist, waits 1 s, then twice as long, up to 30 s. Then one row
   of it is sent on *trial*. When that row is acknowledged, the topic waits no longer.
2. A tenant whose next row is for a waiting topic is set aside: its rows are not read until the topic goes on, because
   its later rows must not overtake that one.
3. A tenant that is stopped at a refused row waits 30 s; then that row is sent on trial.
4. A row on trial is the only one of its topic in its turn. Rows of other topics are sent as always.
5. A tenant whose row had no answer when the client was replaced waits as in 1, and then goes on without a trial.
   Otherwise a partition without a leader would keep a row of its topic in flight, and none of the topic's rows would
   ever be sent alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eventzr_kafka.lifecycle.back_off import exponential_pause
from eventzr_kafka.outbox.rows import OutboxRow

__all__ = ["Delays", "RowChoice"]

_FIRST, _LONGEST = 1.0, 30.0


@dataclass(slots=True)
class _Wait:
    until: float
    seconds: float
    failure: str  # empty for a row without an answer: no trial follows


class RowChoice(NamedTuple):
    """The rows to be sent, and the number of tenants that were set aside."""

    rows: list[OutboxRow]
    set_aside: int


class Delays:
    """The topics and tenants that wait; holds a name for each tenant that was set aside, however many there are."""

    def __init__(self) -> None:
        self._topics: dict[str, _Wait] = {}
        self._tenants: dict[str, _Wait] = {}
        self._aside: dict[str, dict[str, None]] = {}  # topic -> tenants, the first set aside first

    def delay_topic(self, row: OutboxRow, failure: str, now: float) -> float:
        """Let a row's topic wait; returns the seconds, or 0 if it waits already because several rows failed at once."""
        known = self._topics.get(row.topic)
        if known is not None and known.until > now:
            return 0.0
        self._topics[row.topic] = wait = _longer(known, now, failure)
        return wait.seconds

    def stop_tenant_at(self, row: OutboxRow, failure: str, now: float) -> float:
        """Let a tenant wait for its refused row; returns the seconds."""
        self._tenants[row.tenant_id] = _Wait(now + _LONGEST, _LONGEST, failure)
        return _LONGEST

    def delay_tenant(self, tenant_id: str, now: float) -> None:
        """Let a tenant wait whose row had no answer, unless it waits already."""
        known = self._tenants.get(tenant_id)
        if known is None or (known.failure == "" and known.until <= now):
            self._tenants[tenant_id] = _longer(known, now)

    def acknowledged(self, row: OutboxRow) -> bool:
        """End the waits of an acknowledged row's topic and tenant; returns True if the topic had waited."""
        self._tenants.pop(row.tenant_id, None)
        self._aside.pop(row.topic, None)
        return self._topics.pop(row.topic, None) is not None

    def parked(self, row: OutboxRow) -> None:
        """End the wait of a tenant whose row was parked."""
        self._tenants.pop(row.tenant_id, None)

    def forget_tenants(self) -> None:
        """Read all tenants again, because the relay holds other buckets now."""
        self._aside.clear()
        self._tenants.clear()

    def is_known(self, row: OutboxRow) -> bool:
        """True if the row's topic or tenant has failed, and no row of it was acknowledged since."""
        return row.topic in self._topics or row.tenant_id in self._tenants

    def tenants_to_skip(self, busy: Collection[str], now: float) -> set[str]:
        """The tenants whose rows are not to be read; for each topic that is due for a trial, one tenant is released.

        Args:
            busy: Topics with rows in flight.
        """
        for topic in self._due(busy, now):
            tenants = self._aside.get(topic)
            if tenants:
                del tenants[next(iter(tenants))]
        waiting = {tenant_id for tenant_id, wait in self._tenants.items() if wait.until > now}
        return waiting.union(*self._aside.values())

    def choose_rows(self, rows: Sequence[OutboxRow], busy: Collection[str], now: float) -> RowChoice:
        """Choose the rows to be sent, and set aside the tenants whose next row is for a waiting topic.

        ==============  =============  ==========================================================
        trial of topic  topic waits    the row
        ==============  =============  ==========================================================
        none            no             is sent, and the tenant's next row is looked at
        none            yes            is not sent, and its tenant is set aside
        this row        yes or no      is sent; the tenant's later rows are not, in this turn
        another row     yes            is not sent, and its tenant is set aside
        another row     no             is not sent in this turn, nor are the tenant's later rows
        ==============  =============  ==========================================================
        """
        if not self._topics and not self._tenants:
            return RowChoice(list(rows), 0)
        trials = self._trials(rows, set(self._due(busy, now)))
        chosen, passed, aside = list[OutboxRow](), set[str](), 0
        for row in rows:
            if row.tenant_id in passed:
                continue
            trial, topic_waits = trials.get(row.topic), row.topic in self._topics
            if trial is None and not topic_waits:
                chosen.append(row)
                continue
            passed.add(row.tenant_id)
            if trial is row:
                chosen.append(row)
            elif topic_waits:
                self._aside.setdefault(row.topic, {})[row.tenant_id] = None
                aside += 1
        return RowChoice(chosen, aside)

    def problems(self, busy: Collection[str], now: float) -> list[str]:
        """The waiting topics and tenants, in words; without those whose rows another relay has taken.

        Args:
            busy: Topics with rows in flight.
        """
        topics = [
            f"{topic}: {wait.failure}; tenants that wait: {len(self._aside.get(topic, ()))}"
            for topic, wait in self._topics.items()
            if wait.until > now or topic in busy or self._aside.get(topic)
        ]
        stopped = sum(self._is_stopped(tenant_id) and wait.until > now for tenant_id, wait in self._tenants.items())
        return [*topics, *([f"tenants that wait for a row that the broker refuses: {stopped}"] if stopped else [])]

    def _due(self, busy: Collection[str], now: float) -> Iterator[str]:
        return (topic for topic, wait in self._topics.items() if wait.until <= now and topic not in busy)

    def _trials(self, rows: Sequence[OutboxRow], due: Collection[str]) -> dict[str, OutboxRow]:
        """One row for each topic that is due, and for each topic with a stopped tenant; the first row of its tenant."""
        trials: dict[str, OutboxRow] = {}
        seen: set[str] = set()
        for row in rows:
            if row.tenant_id not in seen:
                seen.add(row.tenant_id)
                if row.topic in due or (row.topic not in self._topics and self._is_stopped(row.tenant_id)):
                    trials.setdefault(row.topic, row)
        return trials

    def _is_stopped(self, tenant_id: str) -> bool:
        wait = self._tenants.get(tenant_id)
        return wait is not None and wait.failure != ""


def _longer(known: _Wait | None, now: float, failure: str = "") -> _Wait:
    seconds = exponential_pause(1, first=known.seconds, longest=_LONGEST) if known else _FIRST
    return _Wait(now + seconds, seconds, failure)
