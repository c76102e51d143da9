"""`eventzr-kafka topics` on a real Kafka."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from eventzr_kafka.cli.app import call
from eventzr_kafka.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.usefixtures("command")
EVENTS = """
from eventzr_kafka import CloudEvent, EventData, kafka_consumer, on_message

class Made(EventData, topic="{name}.made.v1", source="s"):
    id: str

class Broken(EventData, topic="{name}.broken.v1", source="s"):
    id: str

@kafka_consumer(group_id="{name}-readers")
class Reader:
    @on_message(Made)
    async def handle(self, event: CloudEvent[Made]) -> None: ...
"""


@pytest.fixture
def module(kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a service, importable, with topics of its own."""
    name = f"events_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(EVENTS.format(name=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("KAFKA_BROKERS", kafka.bootstrap_servers)
    return name


def test_a_plan_is_shown_applied_and_then_empty(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    targets = [module, f"{module}:Reader", "--partitions", "4", "--retention", "7d"]

    assert call(["topics", "plan", *targets]) == 2
    shown = capsys.readouterr().out
    assert f"+ {module}.made.v1: 4 partitions, retention.ms=604800000" in shown
    assert f"+ {module}-readers.dlq: 1 partitions, retention.ms=1209600000" in shown
    assert " + 9 = " in shown

    assert call(["topics", "apply", "--yes", *targets]) == 0
    assert capsys.readouterr().out.count("✓") == 3
    assert call(["topics", "plan", *targets]) == 0
    assert "= 3 topics as declared" in capsys.readouterr().out
    assert call(["topics", "ls"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{module}.made.v1")]
    assert row.split() == [f"{module}.made.v1", "4", "partitions", "retention.ms=604800000", "Made"]


def test_a_difference_is_mended_and_nothing_is_taken_away(
    module: str, kafka: KafkaServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.create_topic(f"{module}.made.v1", partitions=2, configs={"retention.ms": "1000"})
    kafka.create_topic(f"{module}.broken.v1", partitions=9)
    targets = [module, "--retention", "12h"]

    assert call(["topics", "apply", "--yes", *targets]) == 0
    assert call(["topics", "plan", *targets]) == 0

    shown = capsys.readouterr().out
    assert f"~ {module}.made.v1: 2 → 6 partitions; tenants move" in shown
    assert f"~ {module}.made.v1: retention.ms 1000 → 43200000" in shown
    assert f"! {module}.broken.v1 has 9 partitions, declared 6: none is ever taken away" in shown


def test_apply_asks_and_where_nobody_answers_it_does_nothing(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["topics", "apply", module]) == 2

    assert "give --yes" in capsys.readouterr().err
    assert call(["topics", "plan", module]) == 2


def test_a_broker_that_is_away_ends_it_with_1(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", "127.0.0.1:1")

    assert call(["topics", "plan", module]) == 1
    assert "Connection refused" in capsys.readouterr().err
