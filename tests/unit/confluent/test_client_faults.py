"""Each call of the client library raises in its turn: nothing is lost, one typed error, the next start works."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Any, Final

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.recorder import Recorder
from tests.unit.faulty_client import Faults, Server
from tests.waiting import until

from eventzr_kafka import CloudEvent, ConsumerRunner, KafkaSettings, encode, kafka_consumer, on_message
from eventzr_kafka.dead_letters.letter import dead_letter_topic
from eventzr_kafka.errors import EventzrKafkaError

TOPIC: Final = "bench.thing.happened.v1"
GROUP: Final = "faults"
EVENTS: Final = 30  # of each partition
POISON: Final = 7
PATIENCE: Final = 0.6  # seconds for a member that goes on in spite of a fault and may never be done
BOUND: Final = 60.0  # seconds that end what hangs
MESSAGE: Final = ["error", "topic", "partition", "offset", "key", "value", "headers", "timestamp"]
CONSUMER: Final = [
    "make_client",
    "subscribe",
    "consume",
    "poll",
    "committed",
    "incremental_assign",
    "position",
    "pause",
    "resume",
    "store_offsets",
    "close",
]
PRODUCER: Final = ["produce", "poll", "flush", "purge", "close"]
METHODS: Final = [*CONSUMER, *(f"message.{name}" for name in MESSAGE), *(f"producer.{name}" for name in PRODUCER)]


class Service:
    """A consumer of two partitions, one record of which is poison, and what its handler was called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = Server()
        self.handled: Counter[tuple[int, int]] = Counter()
        self.recorder = Recorder()
        self.recorder.watch_runners(monkeypatch.setattr)
        monkeypatch.setattr("eventzr_kafka._confluent.client_owner.make_client", self._make_client)
        monkeypatch.setattr("eventzr_kafka._confluent.producer.make_client", self._make_client)
        monkeypatch.setattr("eventzr_kafka._confluent.topic_ids.make_client", _no_client)
        monkeypatch.setattr("eventzr_kafka.engine.group_consumer._STORE_INTERVAL", 0.02)
        for partition in range(2):
            for offset in range(EVENTS):
                event = CloudEvent[Any](
                    id=f"{partition}-{offset}", source="s", type=TOPIC, tenantid=f"t{offset % 5}", data=offset
                )
                out = encode(event)
                value = b"no JSON" if (partition, offset) == (0, POISON) else out.value
                self.server.logs[TOPIC, partition].append((out.key, value, list(out.headers)))

    def _make_client(self, kind: type[Any], config: dict[str, Any]) -> Any:
        return self.server.make_client(kind, config)

    async def run(self, faults: Faults) -> Exception | None:
        """Run one member until all is committed, it fails, or it has been long enough; returns its error."""
        self.server.faults = faults
        handled = self.handled

        @kafka_consumer(group_id=GROUP, drain_timeout=1)
        class Handler:
            @on_message(TOPIC)
            async def handle(self, event: CloudEvent[Any]) -> None:
                partition, offset = event.id.split("-")
                time.sleep(0.002)  # noqa: ASYNC251 -- keeps the loop, so that the next hop is always under way
                handled[int(partition), int(offset)] += 1

        runner = ConsumerRunner(Handler(), settings=KafkaSettings(brokers="double:9092"))
        patience = PATIENCE if faults.method else BOUND  # without a fault, all will be committed
        async with asyncio.timeout(BOUND):
            try:
                async with runner:
                    with suppress(TimeoutError):
                        await until(lambda: self.complete or runner.error, patience)
            except EventzrKafkaError as error:
                return error
        return runner.error

    @property
    def complete(self) -> bool:
        return self.committed == {0: EVENTS, 1: EVENTS}

    @property
    def committed(self) -> dict[int, int]:
        found = self.server.committed
        return {partition: offset for (topic, partition), (offset, _) in found.items() if topic == TOPIC}

    def outcomes(self) -> set[tuple[int, int]]:
        """Records that were handled, or have a dead letter."""
        letters = self.server.logs[dead_letter_topic(GROUP), 0]
        places: set[tuple[int, int]] = set()
        for _, _, headers in letters:
            found = dict(headers)
            places.add((int(found["eventzr-dlq-partition"]), int(found["eventzr-dlq-offset"])))
        return self.handled.keys() | places

    def passed(self) -> set[tuple[int, int]]:
        """Records below the committed offsets."""
        return {(partition, offset) for partition, end in self.committed.items() for offset in range(end)}


def _no_client(_kind: type[Any], _config: dict[str, Any]) -> Any:
    """Topic ids are not known here."""
    raise client_error()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch)


def client_error() -> KafkaException:
    return KafkaException(KafkaError(KafkaError._STATE))


async def test_faultless_run_makes_all_calls(service: Service) -> None:
    faults = Faults()
    assert await service.run(faults) is None
    assert service.complete
    assert set(METHODS) <= faults.calls.keys()
    assert service.handled.total() == 2 * EVENTS - 1


@pytest.mark.parametrize("error", [RuntimeError, client_error], ids=["any", "kafka"])
@pytest.mark.parametrize("calls", [range(1, 10**9), [25]], ids=["always", "once"])
@pytest.mark.parametrize("method", METHODS)
async def test_raising_call_loses_nothing(
    service: Service, method: str, calls: Container[int], error: Callable[[], BaseException]
) -> None:
    failure = await service.run(Faults(method, calls, error))
    assert failure is None or isinstance(failure, EventzrKafkaError)
    assert service.passed() <= service.outcomes()
    assert service.server.open_clients == 0
    assert await service.run(Faults()) is None
    assert service.complete
    assert service.recorder.faults == []
    assert service.recorder.gaps == []
    assert service.recorder.stored > 0
    assert service.outcomes() == {(partition, offset) for partition in range(2) for offset in range(EVENTS)}
