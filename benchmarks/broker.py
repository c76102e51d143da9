"""A real Kafka for each case, with the topic of the guide's listing event and a backlog in it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Producer

from benchmarks.contestants.events import numbered_records
from benchmarks.contestants.kit import TOPIC, tenants
from eventzr_kafka import OutgoingRecord
from eventzr_kafka.testing.kafka_server import KafkaServer, start_kafka

__all__ = ["Backlog", "run_broker"]


@dataclass(frozen=True, slots=True)
class Backlog:
    """The events that wait in the topic.

    Attributes:
        skewed: Every second event is the first tenant's.
        kind: Kind of the events, see ``contestants/events.py``.
    """

    events: int
    tenants: int = 1000
    partitions: int = 6
    skewed: bool = False
    kind: str = "plain"

    def tenant_names(self) -> list[str]:
        """Return one tenant for each event, to be repeated."""
        found = tenants(self.tenants)
        return [name for other in found for name in (found[0], other)] if self.skewed else found


@contextmanager
def run_broker(backlog: Backlog) -> Generator[KafkaServer]:
    """Start a broker with this backlog, and end it after the block."""
    with start_kafka() as kafka:
        kafka.create_topic(TOPIC, partitions=backlog.partitions)
        _fill(kafka.bootstrap_servers, backlog)
        yield kafka


def _fill(brokers: str, backlog: Backlog) -> None:
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "enable.idempotence": True,  # a tenant's events keep their order, also after a retry
        }
    )
    for record in numbered_records(backlog.tenant_names(), backlog.events, backlog.kind):
        _put(producer, record)
    if producer.flush(60):
        raise TimeoutError("the backlog was not acknowledged within 60 s")


def _put(producer: Producer, record: OutgoingRecord) -> None:
    while True:
        try:
            producer.produce(record.topic, value=record.value, key=record.key, headers=list(record.headers))
        except BufferError:
            producer.poll(0.05)
        else:
            return
