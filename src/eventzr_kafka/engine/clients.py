"""`Clients`: makes the Kafka clients of a runner: the real ones, or those of a `MemoryBroker`."""

from __future__ import annotations

from typing import Protocol

from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.transport import ConsumerTransport, LogReader, ProducerTransport
from eventzr_kafka.settings import KafkaSettings

__all__ = ["Clients", "RealClients"]


class Clients(Protocol):
    """Makes clients; none of them connects before it is started."""

    def consumer(self, group_id: str, options: ConsumerOptions, settings: KafkaSettings, /) -> ConsumerTransport:
        """Make the member of a group."""
        ...

    def producer(self, settings: KafkaSettings, /) -> ProducerTransport:
        """Make the client that writes dead letters."""
        ...

    def log_reader(self, group_id: str, settings: KafkaSettings, /) -> LogReader:
        """Make the client that reads a group's dead letters."""
        ...


class RealClients:
    """Clients of the client library, which is loaded with the first of them: 60 ms."""

    def consumer(self, group_id: str, options: ConsumerOptions, settings: KafkaSettings) -> ConsumerTransport:
        """Make the member of a group."""
        from eventzr_kafka._confluent.consumer import ConfluentConsumer  # noqa: PLC0415 -- see the class

        return ConfluentConsumer(settings, group_id, options)

    def producer(self, settings: KafkaSettings) -> ProducerTransport:
        """Make the client that writes dead letters, of any size that a topic took in."""
        from eventzr_kafka._confluent.producer import dead_letter_client  # noqa: PLC0415 -- see the class

        return dead_letter_client(settings)

    def log_reader(self, group_id: str, settings: KafkaSettings) -> LogReader:
        """Make the client that reads a group's dead letters."""
        from eventzr_kafka._confluent.log_reader import ConfluentLogReader  # noqa: PLC0415 -- see the class

        return ConfluentLogReader(settings, group_id)
