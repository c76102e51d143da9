"""A producer of a `MemoryBroker` that begins when something is produced.

A fixture may hand out a producer before any event loop runs; which clock it lives on is known with the first event.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from eventzr_kafka.events.event import declared_events
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import DeliveryCallback
from eventzr_kafka.testing._memory_producer import MemoryProducer
from eventzr_kafka.testing._memory_service import ensure_topics
from eventzr_kafka.testing.memory_broker import MemoryBroker

__all__ = ["LazyProducer"]


class LazyProducer:
    """A `ProducerTransport`; topics of declared events are there when they are needed."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._producer: MemoryProducer | None = None
        self._lock = threading.Lock()

    def start(self, reported: Callable[[], None]) -> None:
        """Keep whom to tell."""
        self._reported = reported

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        """Queue a record; False if there is no room."""
        with self._lock:
            if record.topic in declared_events():
                ensure_topics(self._broker, record.topic)
            if self._producer is None:
                self._producer = self._broker.producer()
                self._producer.start(self._reported)
        return self._producer.produce(record, report)

    def flush(self, timeout: float) -> int:
        """Wait for the reports; returns how many are missing."""
        return 0 if self._producer is None else self._producer.flush(timeout)

    def close(self) -> None:
        """Give up what is not acknowledged."""
        if self._producer is not None:
            self._producer.close()
