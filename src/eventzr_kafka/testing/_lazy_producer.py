"""A producer of a `MemoryBroker` that starts with the first record.

A fixture may make a producer before any event loop runs. The first record decides on which clock it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from eventzr_kafka.events.event_data import declared_events
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import DeliveryCallback
from eventzr_kafka.testing._memory_producer import MemoryProducer
from eventzr_kafka.testing._memory_service import ensure_topics
from eventzr_kafka.testing.memory_broker import MemoryBroker

__all__ = ["LazyProducer"]


class LazyProducer:
    """A `ProducerTransport` that creates the topics of declared events when they are needed."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._producer: MemoryProducer | None = None
        self._lock = threading.Lock()

    def start(self, reported: Callable[[], None]) -> None:
        """Keep the callback for the first record."""
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
        """Give up the records that are not acknowledged."""
        if self._producer is not None:
            self._producer.close()
