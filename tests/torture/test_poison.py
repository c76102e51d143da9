"""10,000 events, 2 % of them poison and 3 % failing twice, while members die: each has one end, and none is lost."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.broker.poisoned import LARGE, PARTITIONS, Members, Outcomes, Traffic, members_of
from tests.torture.conftest import Finding
from tests.torture.test_members_die import out_of_order

from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.torture

EVENTS, TURNS, MEMBERS = 10_000, 20, 3
KILLED = TURNS // 2


def publish_while_members_die(traffic: Traffic, members: Members) -> None:
    for turn in range(TURNS):
        traffic.publish(turn * EVENTS // TURNS, EVENTS // TURNS)
        time.sleep(random.uniform(0.1, 1.5))  # noqa: S311 -- anywhere in the work of the turn
        if turn % 2:
            members.end_one(signal.SIGKILL)
            members.start()


def seen(outcomes: Outcomes) -> str:
    twice = outcomes.effects.total() - len(outcomes.effects)
    return (
        f"{len(outcomes.effects):,} effects, {twice:,} of them again; "
        f"{len(outcomes.letters)} dead letters equal to the poison, {outcomes.again} of them again"
    )


def test_record_is_effect_or_dead_letter_despite_deaths(
    kafka: KafkaServer, topic: Callable[..., str], tmp_path: Path, finding: Finding
) -> None:
    name = topic(partitions=PARTITIONS, configs=LARGE)
    traffic = Traffic(kafka.bootstrap_servers, name)
    with members_of(kafka, name, tmp_path) as members:
        for _ in range(MEMBERS):
            members.start()
        publish_while_members_die(traffic, members)
        members.await_commits()
        members.end_all()
        outcomes = members.outcomes()
    assert len(traffic.poison) == EVENTS // 50
    assert outcomes.contents() == traffic.poison
    assert outcomes.effects.keys() == traffic.events.keys()
    assert out_of_order(members.journals()) == []
    # Again comes what a killed member had finished in its last second and a half: it was not committed yet.
    assert outcomes.effects.total() - len(outcomes.effects) < EVENTS
    finding(f"{EVENTS:,} events, 2 % poison, 3 % failing twice, {MEMBERS} members, {KILLED} SIGKILL", seen(outcomes))
