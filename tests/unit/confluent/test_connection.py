"""When a client counts as having lost its brokers for good, and that another one takes its place."""

from __future__ import annotations

import json
import logging
from typing import Final

import pytest
from confluent_kafka import Consumer, KafkaError
from tests.unit.manual_time import ManualTime
from tests.waiting import wait_until

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent.connection import ConnectionMonitor

LOGICAL: Final = json.dumps({"brokers": {"GroupCoordinator": {"source": "logical"}}}, separators=(",", ":"))
LEARNED: Final = json.dumps({"brokers": {"b:9092/1": {"source": "learned"}}}, separators=(",", ":"))


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(1000.0)


@pytest.fixture
def connection(time: ManualTime) -> ConnectionMonitor:
    return ConnectionMonitor(logging.getLogger("test"), "g", KafkaSettings(brokers="b:9092"), clock=time.clock)


def test_three_empty_statistics_are_final(connection: ConnectionMonitor) -> None:
    said: list[bool] = []
    for _ in range(3):
        connection.on_statistics(LOGICAL)
        said.append(connection.brokers_forgotten)
    assert said == [False, False, True]


def test_one_broker_restarts_the_count(connection: ConnectionMonitor) -> None:
    for statistics in (LOGICAL, LOGICAL, LEARNED, LOGICAL, LOGICAL):
        connection.on_statistics(statistics)
    assert not connection.brokers_forgotten


@pytest.mark.parametrize(("brokers", "lost"), [({}, True), ({"bootstrap.servers": "127.0.0.1:1"}, False)])
def test_silent_brokers_are_still_known(connection: ConnectionMonitor, *, brokers: dict[str, str], lost: bool) -> None:
    told: list[str] = []

    def take(statistics: str) -> None:
        told.append(statistics)
        connection.on_statistics(statistics)

    client = Consumer(
        {**brokers, "group.id": "g", "statistics.interval.ms": 100, "stats_cb": take, "log_level": 0},
        logger=logging.getLogger("test.client"),
    )
    client.subscribe(["nothing"])
    wait_until(lambda: client.poll(0.1) or len(told) >= 5)
    client.close()
    assert connection.brokers_forgotten is lost


def test_lasting_error_is_logged_each_minute(
    connection: ConnectionMonitor, time: ManualTime, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(61):
        connection.on_error(KafkaError(KafkaError.GROUP_MAX_SIZE_REACHED))
        time.now += 2
    connection.on_error(KafkaError(KafkaError.INVALID_GROUP_ID))
    full = "waiting: will join when others have left, or the broker's group.max.size is raised"
    assert [line.partition("; ")[2] for line in caplog.messages] == [full, full, ""]
