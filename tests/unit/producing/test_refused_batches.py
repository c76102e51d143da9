"""Events of refused batches: their order, and what becomes of them whatever the second client does."""

from __future__ import annotations

import logging

import pytest
from tests.unit.conftest import FakeProducer

from eventzr_kafka._confluent.refused import RefusedBatches
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome

TOO_LARGE = DeliveryFailure("MSG_SIZE_TOO_LARGE", "too large", unknown=False)


def record(name: str, key: bytes = b"t", topic: str = "orders") -> OutgoingRecord:
    return OutgoingRecord(topic, key, name.encode(), ())


class Bench:
    """A first client that holds events of `busy` topics, and a second one."""

    def __init__(self) -> None:
        self.second = FakeProducer()
        self.busy = {"orders"}
        self.outcomes: dict[str, DeliveryOutcome] = {}
        self.batches = RefusedBatches(self.make, 500_000)
        self.fails = False

    def make(self) -> FakeProducer:
        if self.fails:
            raise OSError("no token now")
        return self.second

    def report(self, name: str) -> DeliveryCallback:
        return lambda outcome: self.outcomes.__setitem__(name, outcome)

    def refuse(self, name: str, key: bytes = b"t") -> None:
        self.batches.take(record(name, key), self.report(name), TOO_LARGE)

    def publish(self, name: str, topic: str = "orders") -> bool | None:
        return self.batches.wait(record(name, topic=topic), self.report(name))

    def advance(self) -> None:
        for _ in range(2):  # one turn sends, the next one reports
            self.batches.advance(lambda: self.busy)

    @property
    def sent(self) -> list[bytes | None]:
        return [one.value for one in self.second.records]


def test_refused_events_go_first() -> None:
    bench = Bench()
    assert bench.publish("a") is None  # nothing was refused yet
    bench.refuse("1")
    assert bench.publish("4") is True
    bench.refuse("2")
    bench.advance()
    assert bench.sent == []  # the first client still holds events of the topic
    bench.refuse("3")
    bench.busy = {"other"}
    bench.advance()
    assert bench.sent == [b"1", b"2", b"3", b"4"]
    assert bench.outcomes == {str(n): Acknowledgement(0, n - 1) for n in (1, 2, 3, 4)}
    assert (bench.batches.episodes, bench.publish("5")) == ({}, None)


def test_another_topic_does_not_wait() -> None:
    bench = Bench()
    bench.refuse("1")
    assert bench.publish("a", topic="other") is None


def test_stored_ahead_is_named(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.batches.note_stored("orders", b"t", 0, 1)  # before anything was refused
    bench.refuse("1")
    bench.batches.note_stored("orders", b"another", 0, 2)
    for offset in (3, 4, 7):
        bench.batches.note_stored("orders", b"t", 0, offset)
    bench.busy = set()
    bench.advance()
    assert caplog.messages[-1].startswith("orders: 1 events were sent again one by one; later events of the same keys ")
    assert caplog.messages[-1].endswith(" are stored before them: orders[0]@3-4,7")


def test_event_refused_alone_fails() -> None:
    bench = Bench()
    bench.second.failure = TOO_LARGE
    bench.refuse("1")
    bench.busy = set()
    bench.advance()
    assert bench.outcomes == {"1": TOO_LARGE}
    assert bench.batches.count == 0


def test_full_second_client_gets_it_later() -> None:
    bench = Bench()
    bench.second.produce = lambda *_: False  # type: ignore[method-assign]
    bench.refuse("1")
    bench.refuse("2")
    bench.busy = set()
    bench.advance()
    assert bench.batches.count == 2
    del bench.second.produce
    bench.advance()
    assert bench.sent == [b"1", b"2"]


def test_missing_second_client_fails_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    bench = Bench()
    bench.fails = True
    bench.refuse("1")
    bench.publish("2")
    bench.busy = set()
    bench.advance()
    assert [outcome.reason for outcome in bench.outcomes.values() if isinstance(outcome, DeliveryFailure)] == [
        "_STATE"
    ] * 2
    assert "no token now" not in str(bench.outcomes)
    assert bench.batches.count == 0


def test_close_reports_waiting_as_failed() -> None:
    bench = Bench()
    bench.refuse("1")
    bench.publish("2")
    bench.batches.close()
    assert {
        name: outcome.reason for name, outcome in bench.outcomes.items() if isinstance(outcome, DeliveryFailure)
    } == {
        "1": "_DESTROY",
        "2": "_DESTROY",
    }


def test_only_so_many_events_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventzr_kafka._confluent.refused._MAX_WAITING", 1)
    bench = Bench()
    bench.refuse("1")
    assert (bench.publish("2"), bench.publish("3")) == (True, False)
