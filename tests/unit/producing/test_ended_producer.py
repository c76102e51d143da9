"""A producer whose client can send nothing more; `Client` stands in for a real one that ends."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent import producer
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import DeliveryFailure, DeliveryOutcome

RECORD = OutgoingRecord("thing.happened.v1", b"t-1", b"{}", ())
SECONDS = 60.0
FENCED = KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "fenced", fatal=True)
_PURGED = KafkaError(KafkaError._PURGE_QUEUE)


class Client:
    """Keeps what it is given until it is purged, and forgets that too if it is told to."""

    def __init__(self, config: dict[str, Any], *, forgets: bool) -> None:
        self.config = config
        self.forgets = forgets
        self.held: list[Callable[..., None]] = []
        self.purged: list[Callable[..., None]] = []
        self.raises: KafkaError | None = None
        self.raises_in = "poll"
        self.taken = 0

    def __len__(self) -> int:
        return len(self.held) + len(self.purged)

    def produce(self, *_: object, on_delivery: Callable[..., None], **__: object) -> None:
        self.taken += 1
        self.held.append(on_delivery)

    def poll(self, seconds: float) -> None:
        self._serve("poll", seconds)

    def flush(self, seconds: float) -> None:
        self._serve("flush", seconds)

    def _serve(self, by: str, seconds: float) -> None:
        if self.raises is not None and by == self.raises_in:
            raises, self.raises = self.raises, None
            raise KafkaException(raises)
        while self.purged:
            self.purged.pop()(_PURGED, None)
        time.sleep(min(seconds, 0.01))

    def purge(self) -> None:
        purged, self.held = self.held, []
        self.purged += [] if self.forgets else purged

    def close(self) -> None:
        """Nothing to do."""


class Made(list[Client]):
    """The clients that were made, and how the next ones are."""

    forgets = False
    fails = 0

    def make(self, _: type[Producer], config: dict[str, Any]) -> Client:
        if self.fails and self:
            self.fails -= 1
            raise OSError("no token now")
        self.append(Client(config, forgets=self.forgets))
        return self[-1]

    def lose_brokers(self) -> None:
        for _ in range(3):
            self[-1].config["stats_cb"]('{"brokers":{}}')

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + SECONDS
        while len(self) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self) == count


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(producer, "make_client", made.make)
    monkeypatch.setattr(producer, "_MIN_CLIENT_SECONDS", 0.05)
    monkeypatch.setattr(producer, "_GRACE_SECONDS", 0.3)
    return made


@contextmanager
def started(
    **client: bool,
) -> Generator[tuple[producer.ConfluentProducer, queue.Queue[DeliveryOutcome]]]:
    one = producer.ConfluentProducer(KafkaSettings(brokers="127.0.0.1:1", librdkafka=client))
    one.start(lambda: None)
    try:
        yield one, queue.Queue()
    finally:
        one.close()


@pytest.mark.parametrize("where", ["poll", "flush"])
def test_fatal_client_is_replaced(made: Made, where: str) -> None:
    made.forgets = True
    with started() as (one, outcomes):
        one.produce(RECORD, outcomes.put)
        made[0].raises_in = where
        made[0].raises = FENCED
        one.flush(0.1)
        outcome = outcomes.get(timeout=SECONDS)
        made.wait_for(2)
        until_taken(one, made[1])

    assert isinstance(outcome, DeliveryFailure)
    assert (outcome.reason, outcome.unknown, outcome.local) == ("_FATAL", True, False)
    assert outcome.text == "INVALID_PRODUCER_EPOCH: fenced"
    assert made[0].taken == 1


def test_broker_error_comes_first(made: Made) -> None:
    """A relay parks a row that is too large, and sends one again that was only in its company."""
    with started(**{"enable.gapless.guarantee": True}) as (one, outcomes):
        one.produce(RECORD, outcomes.put)
        made[0].raises = FENCED
        time.sleep(0.1)
        made[0].held.pop()(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
        outcome = outcomes.get(timeout=SECONDS)

    assert isinstance(outcome, DeliveryFailure)
    assert outcome.reason == "MSG_SIZE_TOO_LARGE"


def test_lost_clients_unsent_is_reported(made: Made) -> None:
    with started() as (one, outcomes):
        one.produce(RECORD, outcomes.put)
        made.lose_brokers()
        outcome = outcomes.get(timeout=SECONDS)
        made.wait_for(2)

    assert isinstance(outcome, DeliveryFailure)
    assert (outcome.reason, outcome.unknown) == ("_PURGE_QUEUE", False)


@pytest.mark.parametrize("fatal", [True, False])
def test_gapless_client_is_not_replaced(made: Made, caplog: pytest.LogCaptureFixture, *, fatal: bool) -> None:
    """A relay would see later rows written before those that failed."""
    caplog.set_level(logging.INFO)
    with started(**{"enable.gapless.guarantee": True}) as (one, outcomes):
        one.produce(RECORD, outcomes.put)
        if fatal:
            made[0].raises = FENCED
        else:
            made.lose_brokers()
        first = outcomes.get(timeout=SECONDS)
        time.sleep(0.3)
        assert one.produce(RECORD, outcomes.put)
        second = outcomes.get(timeout=SECONDS)

    assert isinstance(first, DeliveryFailure)
    assert isinstance(second, DeliveryFailure)
    assert first.reason == "_PURGE_QUEUE"
    assert (second.reason, second.unknown, second.local) == ("_FATAL", False, True)
    assert [client.taken for client in made] == [1]
    assert (
        len([line for line in caplog.messages if "the client is dead, as enable.gapless.guarantee asks" in line]) == 1
    )


def test_late_event_of_a_client_is_reported(made: Made) -> None:
    with started() as (one, outcomes):
        made.lose_brokers()
        made.wait_for(2)
        late = producer._Sent(one, outcomes.put, RECORD.topic, ())
        one._in_flight.add(late)
        made[0].held.append(late)
        assert isinstance(outcomes.get(timeout=SECONDS), DeliveryFailure)


def test_given_up_client_is_not_heard(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with started() as (one, _outcomes):
        made.lose_brokers()
        made.wait_for(2)
        made[0].raises = FENCED
        for _ in range(5):
            made[0].config["stats_cb"]('{"brokers":{}}')
            made[0].config["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN))
        time.sleep(0.3)
        until_taken(one, made[1])

    assert len(made) == 2
    assert len(caplog.messages) == 1


def test_replacement_is_retried_later(made: Made) -> None:
    made.fails = 2
    with started() as (one, outcomes):
        made.lose_brokers()
        while made.fails:
            time.sleep(0.01)
        one.produce(RECORD, outcomes.put)
        assert outcomes.get(timeout=SECONDS)
        made.wait_for(2)
        until_taken(one, made[1])


def test_mild_error_ends_no_client(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with started() as (one, _outcomes):
        made[0].raises = KafkaError(KafkaError._STATE, "not now")
        until_taken(one, made[0])
        time.sleep(0.3)

    assert len(made) == 1
    assert [line.partition(",")[0] for line in caplog.messages] == ["producer: serving reports failed"]


def test_lasting_fault_makes_few_clients(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "_MIN_CLIENT_SECONDS", 1.0)
    ends = threading.Event()

    def make(kind: type[Producer], config: dict[str, Any]) -> Client:
        client = Made.make(made, kind, config)
        client.raises = FENCED
        ends.set()
        return client

    monkeypatch.setattr(producer, "make_client", make)
    with started():
        assert ends.wait(SECONDS)
        time.sleep(1.5)
    assert len(made) == 2


def until_taken(one: producer.ConfluentProducer, client: Client) -> None:
    """Produce until this client gets it."""
    deadline = time.monotonic() + SECONDS
    while not client.taken and time.monotonic() < deadline:
        one.produce(RECORD, lambda _outcome: None)
        time.sleep(0.01)
    assert client.taken
