"""1,000 events, 2 % of them poison, and a member that is killed: each ends as an effect or as a dead letter."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.broker.poisoned import LARGE, PARTITIONS, Traffic, members_of
from tests.torture.test_members_die import out_of_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventzr_kafka.testing.kafka_server import KafkaServer

    TopicFactory = Callable[..., str]

EVENTS: Final = 1_000
SECONDS: Final = 60.0


def test_each_record_has_an_outcome_though_a_member_is_killed(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic(partitions=PARTITIONS, configs=LARGE)
    traffic = Traffic(kafka.bootstrap_servers, name)
    with members_of(kafka, name, tmp_path) as members:
        members.start()
        members.start()
        traffic.publish(0, EVENTS // 2)
        deadline = time.monotonic() + SECONDS
        while len(members.effects()) < EVENTS // 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        members.end_one(signal.SIGKILL)
        traffic.publish(EVENTS // 2, EVENTS // 2)
        members.await_commits()
        members.end_all()
        outcomes = members.outcomes()
    assert len(traffic.poison) == EVENTS // 50
    assert outcomes.contents() == traffic.poison
    assert outcomes.effects.keys() == traffic.events.keys()
    assert out_of_order(members.journals()) == []
