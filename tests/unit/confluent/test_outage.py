"""When a client counts as having lost its brokers for good, and that another one takes its place."""

from __future__ import annotations

import json
import logging
import time
from typing import Final

import pytest
from confluent_kafka import Consumer, KafkaError

from eventzr_kafka._confluent.outage import Outage

LOGICAL: Final = json.dumps({"brokers": {"GroupCoordinator": {"source": "logical"}}}, separators=(",", ":"))
LEARNED: Final = json.dumps({"brokers": {"b:9092/1": {"source": "learned"}}}, separators=(",", ":"))


@pytest.fixture
def outage() -> Outage:
    return Outage(logging.getLogger("test"), "g", "b:9092")


def test_three_statistics_in_a_row_without_a_broker_are_for_good(outage: Outage) -> None:
    said: list[bool] = []
    for _ in range(3):
        outage.on_statistics(LOGICAL)
        said.append(outage.for_good)
    assert said == [False, False, True]


def test_a_broker_between_them_begins_the_count_anew(outage: Outage) -> None:
    for statistics in (LOGICAL, LOGICAL, LEARNED, LOGICAL, LOGICAL):
        outage.on_statistics(statistics)
    assert not outage.for_good


@pytest.mark.parametrize(("brokers", "lost"), [({}, True), ({"bootstrap.servers": "127.0.0.1:1"}, False)])
def test_a_real_client_says_whether_it_knows_a_broker_though_none_answers(
    outage: Outage, *, brokers: dict[str, str], lost: bool
) -> None:
    told: list[str] = []

    def take(statistics: str) -> None:
        told.append(statistics)
        outage.on_statistics(statistics)

    client = Consumer(
        {**brokers, "group.id": "g", "statistics.interval.ms": 100, "stats_cb": take, "log_level": 0},
        logger=logging.getLogger("test.client"),
    )
    client.subscribe(["nothing"])
    deadline = time.monotonic() + 60  # ends what hangs
    while len(told) < 5 and time.monotonic() < deadline:
        client.poll(0.1)
    client.close()
    assert len(told) >= 5
    assert outage.for_good is lost


def test_an_error_that_goes_on_is_told_each_minute_with_its_hint(
    outage: Outage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(61):
        outage.on_error(KafkaError(KafkaError.GROUP_MAX_SIZE_REACHED))
        now += 2
    outage.on_error(KafkaError(KafkaError.INVALID_GROUP_ID))
    full = "joining once others have left, or the broker's group.max.size is raised"
    assert [line.partition("; ")[2] for line in caplog.messages] == [full, full, ""]
