"""What a failure means, and how long lanes wait."""

from __future__ import annotations

import pytest

from eventzr_kafka.outbox.failures import Verdict, WaitingLanes, judge
from eventzr_kafka.transport import Failure


@pytest.mark.parametrize(
    ("reason", "alone", "verdict"),
    [
        ("MSG_SIZE_TOO_LARGE", True, "unpublishable"),
        ("MSG_SIZE_TOO_LARGE", False, "again"),
        ("_FATAL", True, "again"),
        ("UNKNOWN_TOPIC_OR_PART", False, "lane waits"),
        ("TOPIC_AUTHORIZATION_FAILED", True, "lane waits"),
    ],
)
def test_what_a_failure_means(reason: str, alone: bool, verdict: Verdict) -> None:  # noqa: FBT001
    assert judge(Failure(reason, "", unknown=False), alone=alone) == verdict


def test_a_lane_waits_twice_as_long_each_time_until_it_recovers() -> None:
    lanes, now, waits = WaitingLanes(), 0.0, list[float]()
    for _ in range(7):
        waits.append(lanes.wait("t", now))
        assert lanes.waiting(now) == ["t"]
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert not lanes.waiting(now)
    assert lanes.on_trial("t")
    lanes.recovered("t")
    assert not lanes.on_trial("t")


def test_rows_that_fail_together_count_once() -> None:
    lanes = WaitingLanes()
    assert [lanes.wait("t", 0.0) for _ in range(5)] == [1, 0, 0, 0, 0]
    assert lanes.wait("t", 1.0) == 2


def test_a_stopped_lane_waits_for_the_longest_time() -> None:
    assert WaitingLanes().wait("t", 0.0, longest=True) == 30
