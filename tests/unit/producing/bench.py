"""A producer over a transport whose queue and reports are in the test's hands."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.unit.manual_time import ManualTime

from eventzr_kafka import EventData, EventProducer
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome
from eventzr_kafka.producing.delivery import Delivery
from eventzr_kafka.settings import KafkaSettings

__all__ = ["TIMED_OUT", "Bench", "Thing", "Transport", "settle"]

TIMED_OUT = DeliveryFailure("_MSG_TIMED_OUT", "too late", unknown=True)


class Thing(EventData, topic="bench.thing.queued.v1"):
    n: int


class Transport:
    """A client with room for so many records; the test reports them."""

    def __init__(self) -> None:
        self.room = 0
        self.sent: list[str] = []
        self.records: list[OutgoingRecord] = []
        self.under_way: deque[DeliveryCallback] = deque()
        self.flushed: DeliveryOutcome | None = None
        self.closed = 0

    def start(self, reported: Callable[[], None]) -> None:
        self.reported = reported

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        if len(self.under_way) >= self.room:
            return False
        self.sent.append(json.loads(record.value or b"{}")["id"])
        self.records.append(record)
        self.under_way.append(report)
        return True

    def report(self, outcome: DeliveryOutcome | None = None) -> None:
        """Report the oldest record under way, acknowledged unless said otherwise."""
        self.under_way.popleft()(outcome or Acknowledgement(0, len(self.sent)))

    def flush(self, timeout: float) -> int:
        assert timeout >= 0
        self.reported()
        return len(self.under_way)

    def close(self) -> None:
        self.closed += 1
        while self.under_way:
            self.report(DeliveryFailure("_DESTROY", "the producer was closed", unknown=True))
        self.reported()


class Bench(ManualTime):
    """A started producer, its transport, and a clock that stands still."""

    def __init__(self) -> None:
        super().__init__(1000.0)
        self.transport = Transport()
        self.producer = EventProducer(
            source="s",
            settings=KafkaSettings(),
            queue_timeout=5,
            transport=lambda _settings: self.transport,
            clock=self.clock,
        )
        self.producer.start()

    def enqueue(self, event_id: str) -> Delivery:
        return self.producer.enqueue(Thing(n=1), tenant_id="t1", event_id=event_id)

    def publish(self, event_id: str) -> asyncio.Task[Any]:
        return asyncio.create_task(self.producer.publish(Thing(n=1), tenant_id="t1", event_id=event_id))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
