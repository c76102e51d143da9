"""`eventzr-kafka topics` on a real Kafka."""

from __future__ import annotations

import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from tests.broker.msk_broker import MskBroker
from tests.pty_call import COMMAND, CTRL_D, python_on_a_terminal

from eventzr_kafka._confluent.admin import ConfluentAdmin
from eventzr_kafka.cli.app import call
from eventzr_kafka.kafka.topics import Change, CreateTopic
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


def test_applied_plan_is_empty(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    targets = [module, f"{module}:Reader", "--partitions", "4", "--retention", "7d"]

    assert call(["topics", "plan", *targets]) == 2
    shown = capsys.readouterr().out
    assert f"+ {module}.made.v1: 4 partitions, retention.ms=604800000" in shown
    assert f"+ {module}-readers.dlq: 1 partition, retention.ms=1209600000" in shown
    assert " + 9 = " in shown

    assert call(["topics", "apply", "--yes", *targets]) == 0
    assert capsys.readouterr().out.count("✓") == 3
    assert call(["topics", "plan", *targets]) == 0
    assert "= 3 topics as declared" in capsys.readouterr().out
    assert call(["topics", "ls"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{module}.made.v1")]
    assert row.split() == [f"{module}.made.v1", "4", "partitions", "retention.ms=604800000", "Made"]


def test_apply_never_removes(module: str, kafka: KafkaServer, capsys: pytest.CaptureFixture[str]) -> None:
    kafka.create_topic(f"{module}.made.v1", partitions=2, configs={"retention.ms": "1000"})
    kafka.create_topic(f"{module}.broken.v1", partitions=9)
    targets = [module, "--retention", "12h"]

    assert call(["topics", "apply", "--yes", *targets]) == 0
    assert call(["topics", "plan", *targets]) == 0

    shown = capsys.readouterr().out
    assert f"~ {module}.made.v1: 2 → 6 partitions; tenants move" in shown
    assert f"~ {module}.made.v1: retention.ms 1000 → 43200000" in shown
    assert f"! {module}.broken.v1 has 9 partitions, declared 6: partitions are never removed" in shown


def test_plan_names_topics_smaller_than_a_batch(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(f"[topics.'{module}.made.v1'.configs]\n'max.message.bytes' = 100000\n")
    assert call(["topics", "apply", "--yes", module, "--file", str(file)]) == 0
    assert f"! {module}.made.v1 takes 100,000 bytes at a time (max.message.bytes)" in capsys.readouterr().out

    monkeypatch.setenv("KAFKA_BATCH_BYTES", "90000")
    assert call(["topics", "plan", module, "--file", str(file)]) == 0
    assert "at a time" not in capsys.readouterr().out


def test_apply_without_an_answer_changes_nothing(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["topics", "apply", module]) == 2

    assert "pass --yes" in capsys.readouterr().err
    assert call(["topics", "plan", module]) == 2


@pytest.mark.parametrize("keys", [b"n\n", CTRL_D])
def test_declined_plan_exits_with_1(module: str, keys: bytes) -> None:
    ended = python_on_a_terminal([*COMMAND, "topics", "apply", module], keys, question="[y/N] ")

    assert ended.code == 1
    assert "declined: nothing was changed" in ended.text
    assert "Traceback" not in ended.text
    assert call(["topics", "plan", module]) == 2


def test_agreed_plan_is_applied(module: str) -> None:
    ended = python_on_a_terminal([*COMMAND, "topics", "apply", module], b"y\n", question="[y/N] ")

    assert ended.code == 0
    assert call(["topics", "plan", module]) == 0


def test_failed_change_is_named_and_others_are_made(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = ConfluentAdmin.apply

    def apply(self: ConfluentAdmin, change: Change) -> None:
        if isinstance(change, CreateTopic) and change.topic.startswith(f"{module}.broken"):
            change = replace(change, spec=replace(change.spec, configs={"retention.ms": "never"}))
        real(self, change)

    monkeypatch.setattr(ConfluentAdmin, "apply", apply)
    assert call(["topics", "apply", "--yes", module]) == 1
    shown = capsys.readouterr()
    assert f"✓ {module}.made.v1" in shown.out
    assert f"✗ {module}.broken.v1: " in shown.err
    monkeypatch.undo()


@pytest.mark.parametrize(
    "wrong",
    [[], ["nowhere:Class"], ["eventzr_marketplace_events", "--retention", "7 days"], ["json"], ["x", "--unknown"]],
)
def test_wrong_call_of_plan_is_no_plan(wrong: list[str]) -> None:
    assert call(["topics", "plan", *wrong]) == 1


def test_forbidden_topics_hide_no_others(
    module: str, msk: MskBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in msk.variables.items():
        monkeypatch.setenv(name, value)
    sealed, open_one = f"{module}.made.v1", f"{module}.elsewhere"
    msk.server.create_topics([sealed, open_one], partitions=1)
    msk.allow("DESCRIBE", topic=sealed)

    assert call(["topics", "ls"]) == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "has configs that may not be described by this login" in shown[sealed]
    assert "retention.ms=" in shown[open_one]

    assert call(["topics", "plan", "eventzr_marketplace_events"]) == 2  # other topics
    assert call(["topics", "plan", module, "--retention", "7d"]) == 1
    assert f"topic {sealed} has configs that may not be described" in capsys.readouterr().err
    msk.allow("READ", topic=f"{module}.broken.v1", who="somebody")
    assert call(["topics", "plan", f"{module}:Broken"]) == 1
    assert f"topic {module}.broken.v1 may not be described by this login" in capsys.readouterr().err


def test_missing_broker_exits_with_1(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", "127.0.0.1:1")

    assert call(["topics", "plan", module]) == 1
    assert "Connection refused" in capsys.readouterr().err
