"""The recorder sees each way in which a position may be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from tests.recorder import Recorder
from tests.unit.confluent.test_owner_thread import TOPIC, Sink, position
from tests.unit.conftest import FakeTransport

from eventzr_kafka import Record
from eventzr_kafka.engine.ledger import Ledger
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment, Batch


def _take(_taken: object) -> None:
    """Neither records nor offsets matter to the sink."""


class Member:
    """A member of which the test is the transport and the consumer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorder = Recorder()
        self.recorder.watch_runners(monkeypatch.setattr)
        self.ledger = Ledger(0)
        sink: Any = Sink()
        sink.on_received = sink.on_progress = _take
        sink._epochs = {1: self}
        self.transport = self.recorder.wrap(inner := FakeTransport())
        self.transport.start([TOPIC], sink)
        self._sink = inner.sink
        self._sink.on_assigned([Assignment(TopicPartition(TOPIC, 0), 1, 0)])

    def receive(self, *offsets: int) -> None:
        self._sink.on_received([Batch(1, [Record(TOPIC, 0, offset, None, None) for offset in offsets])])

    def finish(self, *offsets: int) -> None:
        for offset in offsets:
            self.ledger.finish(offset)

    def pass_to(self, offset: int) -> None:
        self._sink.on_progress({1: offset})

    def store(self, offset: int, epoch: int = 1) -> None:
        self.transport.store([position(epoch, offset)])


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    return Member(monkeypatch)


def test_finished_offset_may_be_stored(member: Member) -> None:
    member.receive(0, 1, 2)
    member.finish(0, 2)
    member.store(1)
    member.finish(1)
    member.store(3)
    member.pass_to(5)
    member.store(5)
    assert (member.recorder.faults, member.recorder.stored) == ([], 3)


@pytest.mark.parametrize(
    ("finished", "offset", "epoch", "fault"),
    [
        ([0, 2], 3, 1, "[1] have no outcome"),
        ([0, 1, 2], 4, 1, "handed over is what is below 3"),
        ([], 0, 2, "never assigned"),
    ],
)
def test_wrong_position_is_a_fault(member: Member, finished: list[int], offset: int, epoch: int, fault: str) -> None:
    member.receive(0, 1, 2)
    member.finish(*finished)
    member.store(offset, epoch)
    (line,) = member.recorder.faults
    assert fault in line


def test_skipped_offsets_are_a_gap(member: Member) -> None:
    member.receive(0, 1)
    member.receive(4)
    member.pass_to(7)
    assert member.recorder.gaps == [(TopicPartition(TOPIC, 0), 2, 4), (TopicPartition(TOPIC, 0), 5, 7)]
