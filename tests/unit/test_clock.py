"""The clock: what a component takes from outside of its arguments."""

from __future__ import annotations

import re
import sys

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock, renew_ids, uuid7


def test_id_is_a_uuid_of_version_7() -> None:
    ids = [SYSTEM_CLOCK.new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", id_) for id_ in ids)


def test_later_ids_sort_later() -> None:
    assert uuid7(1_000, (1 << 74) - 1) < uuid7(1_001, 0)


def test_default_is_the_system_clock() -> None:
    clock = Clock(monotonic=lambda: 5.0)
    assert clock.monotonic() == 5.0
    assert clock.wall is SYSTEM_CLOCK.wall


def test_renewed_ids_leave_the_snapshot() -> None:
    random = sys.modules["eventzr_kafka.clock"]._random
    snapshot = random.getstate()
    before = SYSTEM_CLOCK.random()
    random.setstate(snapshot)
    renew_ids()
    assert SYSTEM_CLOCK.random() != before
