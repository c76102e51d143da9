"""Which topics and lanes wait, how long, and which rows go meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from eventzr_kafka.outbox.delays import Delays
from eventzr_kafka.outbox.rows import OutboxRow


def row(id_: int, tenant: str, topic: str = "t") -> OutboxRow:
    return OutboxRow(id_, 0, tenant, str(id_), topic, "[]", b"")


def ids(rows: Sequence[OutboxRow]) -> list[int]:
    return [row.id for row in rows]


def test_topic_waits_twice_as_long_until_acknowledged() -> None:
    delays, now, waits = Delays(), 0.0, list[float]()
    for _ in range(7):
        waits.append(delays.delay_topic(row(1, "a"), "missing", now))
        assert delays.delay_topic(row(2, "b"), "missing", now) == 0  # rows that fail together count once
        assert delays.choose_rows([row(1, "a")], (), now).rows == []
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert delays.acknowledged(row(1, "a"))
    assert delays.delay_topic(row(1, "a"), "missing", now) == 1


def test_tenants_behind_a_waiting_topic_are_set_aside() -> None:
    delays = Delays()
    delays.delay_topic(row(1, "a"), "missing", 0)
    rows = [row(1, "a"), row(2, "a", "other"), row(3, "b", "other"), row(4, "b"), row(5, "b", "other")]
    choice = delays.choose_rows(rows, (), 0.5)
    assert (ids(choice.rows), choice.set_aside) == ([3], 2)
    assert delays.tenants_to_skip((), 0.5) == {"a", "b"}
    delays.acknowledged(row(1, "a"))
    assert delays.tenants_to_skip((), 0.5) == set()


def test_one_row_of_a_topic_is_tried_at_a_time() -> None:
    delays = Delays()
    delays.delay_topic(row(1, "a"), "missing", 0)
    delays.choose_rows([row(1, "a"), row(2, "b"), row(3, "b")], (), 0)
    assert delays.tenants_to_skip((), 1) == {"b"}
    assert ids(delays.choose_rows([row(1, "a"), row(4, "c"), row(5, "d", "other")], (), 1).rows) == [1, 5]
    assert delays.tenants_to_skip({"t"}, 1) == {"b", "c"}  # the trial is under way
    assert delays.choose_rows([row(6, "e")], {"t"}, 1).rows == []
    delays.delay_topic(row(1, "a"), "missing", 1)
    assert delays.tenants_to_skip((), 3) == {"c", "e"}


def test_stopped_tenant_waits_long_and_alone() -> None:
    delays = Delays()
    assert delays.stop_tenant_at(row(2, "b"), "too large", 0) == 30
    assert delays.tenants_to_skip((), 29) == {"b"}
    assert delays.tenants_to_skip((), 30) == set()
    rows = [row(1, "a"), row(2, "b"), row(3, "b", "other"), row(4, "c", "other")]
    assert ids(delays.choose_rows(rows, (), 30).rows) == [2, 4]
    delays.parked(row(2, "b"))
    assert ids(delays.choose_rows(rows, (), 30).rows) == [1, 2, 3, 4]


def test_unanswered_tenant_has_no_trial() -> None:
    delays = Delays()
    delays.delay_tenant("a", 0)
    delays.delay_tenant("a", 0)  # another row of it
    assert delays.tenants_to_skip((), 0.5) == {"a"}
    assert ids(delays.choose_rows([row(1, "a"), row(2, "b")], (), 1).rows) == [1, 2]
    delays.delay_tenant("a", 1)
    assert delays.tenants_to_skip((), 2.5) == {"a"}
    assert delays.problems((), 2) == []


LANE = "tenants that wait for a row that the broker refuses: 1"


def test_moved_buckets_read_their_tenants_again() -> None:
    delays = Delays()
    delays.delay_topic(row(1, "a"), "missing", 0)
    delays.choose_rows([row(1, "a")], (), 0)
    delays.stop_tenant_at(row(2, "b"), "too large", 0)
    assert delays.problems((), 0) == ["t: missing; tenants that wait: 1", LANE]
    delays.forget_tenants()
    assert delays.tenants_to_skip((), 0) == set()
    assert delays.problems((), 1) == []


def test_wait_is_a_problem_until_rows_go() -> None:
    delays = Delays()
    delays.delay_topic(row(1, "a"), "missing", 0)
    delays.choose_rows([row(1, "a")], (), 0)
    delays.stop_tenant_at(row(2, "b"), "too large", 0)
    assert delays.tenants_to_skip((), 1) == {"b"}  # the trial of the topic
    assert delays.problems({"t"}, 1) == ["t: missing; tenants that wait: 0", LANE]
    assert delays.problems((), 31) == []  # neither row was there to be tried
