"""Typed CloudEvents on Kafka: decorated consumers, and a producer that cannot send an event without its tenant.

Importing this package loads neither the Kafka client nor an event loop; both come with the first runner or producer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventzr_kafka import errors
from eventzr_kafka.codec.decoder import decode
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.codec.limits import Limits
from eventzr_kafka.errors import BatchItemError, OffsetsLostError, Reject, RetryLater
from eventzr_kafka.events.context import current_event, current_tenant
from eventzr_kafka.events.event import CloudEvent, EventData
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.events.timestamp import Timestamp
from eventzr_kafka.handlers.decorators import kafka_consumer, on_batch, on_message
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.kafka.record import OutgoingRecord, Record
from eventzr_kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from eventzr_kafka._confluent.embedded import EmbeddedBroker, embedded_broker
    from eventzr_kafka.engine.runner import ConsumerRunner
    from eventzr_kafka.inbox.memory_inbox import MemoryInbox
    from eventzr_kafka.producing.delivery import Delivery, PublishResult
    from eventzr_kafka.producing.producer import EventProducer

__all__ = [
    "BatchItemError",
    "CloudEvent",
    "ConsumerRunner",
    "Delivery",
    "EmbeddedBroker",
    "EventData",
    "EventProducer",
    "KafkaSettings",
    "Limits",
    "MemoryInbox",
    "MessageContext",
    "OffsetsLostError",
    "OutgoingRecord",
    "PublishResult",
    "Record",
    "Reject",
    "RetryLater",
    "RetryPolicy",
    "Timestamp",
    "current_event",
    "current_tenant",
    "decode",
    "embedded_broker",
    "encode",
    "errors",
    "kafka_consumer",
    "on_batch",
    "on_message",
]

_ON_FIRST_USE = {
    "ConsumerRunner": "eventzr_kafka.engine.runner",
    "Delivery": "eventzr_kafka.producing.delivery",
    "EmbeddedBroker": "eventzr_kafka._confluent.embedded",
    "EventProducer": "eventzr_kafka.producing.producer",
    "MemoryInbox": "eventzr_kafka.inbox.memory_inbox",
    "PublishResult": "eventzr_kafka.producing.delivery",
    "embedded_broker": "eventzr_kafka._confluent.embedded",
}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        value = globals()[name] = getattr(import_module(_ON_FIRST_USE[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
