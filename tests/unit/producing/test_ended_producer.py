"""A producer whose client can send nothing more; `Client` stands in for a real one that ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from tests.unit.manual_time import ManualTime

from eventzr_kafka import KafkaSettings
from eventzr_kafka._confluent import producer
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import DeliveryFailure, DeliveryOutcome

RECORD = OutgoingRecord("thing.happened.v1", b"t-1", b"{}", ())
SECONDS = 60.0
FENCED = KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "fenced", fatal=True)
_PURGED = KafkaError(KafkaError._PURGE_QUEUE)


class Turns:
    """Lets the producer's thread go on for one turn at a time: it waits in `poll` for the next one."""

    def __init__(self) -> None:
        self.time = ManualTime(1000.0)
        self._may_go = threading.Semaphore(0)
        self._waits = threading.Semaphore(0)
        self._are_over = False

    def wait_for_next(self) -> None:
        """Wait for the test; in the producer's thread."""
        self._waits.release()
        if not self._are_over:
            self._may_go.acquire()

    def begin(self) -> None:
        """Wait until the thread has begun."""
        assert self._waits.acquire(timeout=SECONDS)

    def take(self, count: int = 1, *, seconds: float = 0.0) -> None:
        """Let so many turns pass, each so many seconds after the one before."""
        for _ in range(count):
            self.time.now += seconds
            self._may_go.release()
            assert self._waits.acquire(timeout=SECONDS)

    def end(self) -> None:
        """Let the thread go on by itself."""
        self._are_over = True
        self._may_go.release()


class Client:
    """Keeps what it is given until it is purged; with `forgets`, it forgets that, too."""

    def __init__(self, config: dict[str, Any], turns: Turns, *, forgets: bool) -> None:
        self.config = config
        self.forgets = forgets
        self.held: list[Callable[..., None]] = []
        self.purged: list[Callable[..., None]] = []
        self.raises: KafkaError | None = None
        self.raises_in = "poll"
        self.taken = 0
        self._turns = turns

    def __len__(self) -> int:
        return len(self.held) + len(self.purged)

    def produce(self, *_: object, on_delivery: Callable[..., None], **__: object) -> None:
        self.taken += 1
        self.held.append(on_delivery)

    def poll(self, seconds: float) -> None:
        if seconds:
            self._turns.wait_for_next()
        self._serve("poll")

    def flush(self, _seconds: float) -> None:
        self._serve("flush")

    def _serve(self, by: str) -> None:
        if self.raises is not None and by == self.raises_in:
            raises, self.raises = self.raises, None
            raise KafkaException(raises)
        while self.purged:
            self.purged.pop()(_PURGED, None)

    def purge(self) -> None:
        purged, self.held = self.held, []
        self.purged += [] if self.forgets else purged

    def close(self) -> None:
        """Nothing to do."""


class Made(list[Client]):
    """The clients that were made, how the next ones are, and the turns of the producer's thread."""

    forgets = False
    fails = 0
    raises: KafkaError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()

    def make(self, _: type[Producer], config: dict[str, Any]) -> Client:
        if self.fails and self:
            self.fails -= 1
            raise OSError("no token now")
        self.append(Client(config, self.turns, forgets=self.forgets))
        self[-1].raises = self.raises
        return self[-1]

    def lose_brokers(self) -> None:
        for _ in range(3):
            self[-1].config["stats_cb"]('{"brokers":{}}')

    @contextmanager
    def started(self, **client: bool) -> Generator[tuple[producer.ConfluentProducer, list[DeliveryOutcome]]]:
        settings = KafkaSettings(brokers="127.0.0.1:1", librdkafka=client)
        one = producer.ConfluentProducer(settings, clock=self.turns.time.clock)
        one.start(lambda: None)
        self.turns.begin()
        try:
            yield one, []
        finally:
            self.turns.end()
            one.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(producer, "make_client", made.make)
    return made


@pytest.mark.parametrize("where", ["poll", "flush"])
def test_fatal_client_is_replaced(made: Made, where: str) -> None:
    made.forgets = True
    with made.started() as (one, outcomes):
        one.produce(RECORD, outcomes.append)
        made[0].raises_in = where
        made[0].raises = FENCED
        one.flush(0.1)
        made.turns.take()
        assert outcomes == []
        made.turns.take(seconds=6)
        (outcome,) = outcomes
        one.produce(RECORD, outcomes.append)
        assert [client.taken for client in made] == [1, 1]

    assert isinstance(outcome, DeliveryFailure)
    assert (outcome.reason, outcome.unknown, outcome.local) == ("_FATAL", True, False)
    assert outcome.text == "INVALID_PRODUCER_EPOCH: fenced"


def test_broker_error_comes_first(made: Made) -> None:
    """A relay parks a row that is too large, and sends one again that was only in its company."""
    with made.started(**{"enable.gapless.guarantee": True}) as (one, outcomes):
        one.produce(RECORD, outcomes.append)
        made[0].raises = FENCED
        made.turns.take(3, seconds=0.1)
        made[0].held.pop()(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
        (outcome,) = outcomes

    assert isinstance(outcome, DeliveryFailure)
    assert outcome.reason == "MSG_SIZE_TOO_LARGE"


def test_lost_clients_unsent_is_reported(made: Made) -> None:
    with made.started() as (one, outcomes):
        one.produce(RECORD, outcomes.append)
        made.lose_brokers()
        made.turns.take(2, seconds=6)
        (outcome,) = outcomes
        assert len(made) == 2

    assert isinstance(outcome, DeliveryFailure)
    assert (outcome.reason, outcome.unknown) == ("_PURGE_QUEUE", False)


@pytest.mark.parametrize("fatal", [True, False])
def test_gapless_client_is_not_replaced(made: Made, caplog: pytest.LogCaptureFixture, *, fatal: bool) -> None:
    """A relay would see later rows written before those that failed."""
    caplog.set_level(logging.INFO)
    with made.started(**{"enable.gapless.guarantee": True}) as (one, outcomes):
        one.produce(RECORD, outcomes.append)
        if fatal:
            made[0].raises = FENCED
        else:
            made.lose_brokers()
        made.turns.take(5, seconds=6)
        assert one.produce(RECORD, outcomes.append)
        first, second = outcomes

    assert isinstance(first, DeliveryFailure)
    assert isinstance(second, DeliveryFailure)
    assert first.reason == "_PURGE_QUEUE"
    assert (second.reason, second.unknown, second.local) == ("_FATAL", False, True)
    assert [client.taken for client in made] == [1]
    assert (
        len([line for line in caplog.messages if "the client is dead, as enable.gapless.guarantee asks" in line]) == 1
    )


def test_late_event_of_a_client_is_reported(made: Made) -> None:
    with made.started() as (one, outcomes):
        made.lose_brokers()
        made.turns.take(2, seconds=6)
        late = producer._Sent(one, outcomes.append, RECORD.topic, ())
        one._in_flight.add(late)
        made[0].held.append(late)
        made.turns.take()
        (outcome,) = outcomes
        assert isinstance(outcome, DeliveryFailure)


def test_replaced_client_is_ignored(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with made.started() as (one, outcomes):
        made.lose_brokers()
        made.turns.take(2, seconds=6)
        made[0].raises = FENCED
        for _ in range(5):
            made[0].config["stats_cb"]('{"brokers":{}}')
            made[0].config["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN))
        made.turns.take(5, seconds=6)
        one.produce(RECORD, outcomes.append)
        assert [client.taken for client in made] == [0, 1]

    assert len(caplog.messages) == 1


def test_replacement_is_retried_later(made: Made) -> None:
    made.fails = 2
    with made.started() as (one, outcomes):
        made.lose_brokers()
        made.turns.take(2, seconds=6)
        assert [len(made), made.fails] == [1, 0]
        one.produce(RECORD, outcomes.append)
        assert len(outcomes) == 1
        made.turns.take(seconds=6)
        one.produce(RECORD, outcomes.append)
        assert [client.taken for client in made] == [0, 1]


def test_mild_error_ends_no_client(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with made.started() as (one, outcomes):
        made[0].raises = KafkaError(KafkaError._STATE, "not now")
        made.turns.take(5, seconds=6)
        one.produce(RECORD, outcomes.append)
        assert [client.taken for client in made] == [1]

    assert [line.partition(",")[0] for line in caplog.messages] == ["producer: serving reports failed"]


def test_lasting_fault_makes_few_clients(made: Made) -> None:
    made.raises = FENCED
    with made.started():
        made.turns.take(70, seconds=0.1)
    assert len(made) == 2
