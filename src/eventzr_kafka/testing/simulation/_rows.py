"""Checks an outbox: its rows are published in their tenant's order, and marked after that by their bucket's holder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from eventzr_kafka.kafka.record import Record
from eventzr_kafka.testing.simulation._tracking import ProcessState

__all__ = ["Rows"]


class Rows:
    """The rows of a history.

    Attributes:
        published: Ids of those that are in their topic.
    """

    def __init__(self, fail: Callable[[str, str], None]) -> None:
        self.published: set[int] = set()
        self._fail = fail
        self._ids: dict[str, dict[tuple[str, str], int]] = {}
        self._last: dict[tuple[str, bytes | None], int] = {}

    def commit(self, rows: Sequence[tuple[int, str, str, str]]) -> None:
        """They are in the table: the id, tenant, event and topic of each."""
        for row, tenant, event_id, topic in rows:  # of one source, that of the simulated outbox
            self._ids.setdefault(topic, {})[tenant, event_id] = row

    def appended(self, record: Record) -> None:
        """A record is in a topic; the first one of a row counts."""
        ids = self._ids.get(record.topic)
        event_id = json.loads(record.value or b"{}").get("id", "") if ids else ""
        row = ids.get(((record.key or b"").decode(), event_id)) if ids else None
        if row is None or row in self.published:
            return
        self.published.add(row)
        last = self._last.get((record.topic, record.key), 0)
        if row < last:
            self._fail("rows out of order", f"row {row} of {record.key!r} is first published after row {last}")
        self._last[record.topic, record.key] = row

    def read(self, name: str, rows: Sequence[tuple[int, str]], process: ProcessState) -> None:
        """Note rows that a relay has read, each with the holder of its bucket."""
        for row, holder in rows:
            if holder != name:
                self._fail("two relays on one bucket", f"{name} reads row {row}, whose bucket {holder} holds")
            process.rows.add(row)

    def marked(self, name: str, rows: Sequence[int], process: ProcessState) -> None:
        """A relay has marked them."""
        missing = set(rows) - self.published
        if missing:
            self._fail("a row is marked before it is published", f"{name} marks row {min(missing)}")
        process.rows.difference_update(rows)
