"""Typed CloudEvents on Kafka: decorated consumers, and a producer that cannot send an event without its tenant.

Importing this package loads neither the Kafka client nor an event loop; both come with the first runner or producer.

Eight paths are public. Everything else may change in any version:

- ``eventzr_kafka``: consumers, producers, events.
- ``eventzr_kafka.errors``: the tree of errors.
- ``eventzr_kafka.hooks``: what a runner reports.
- ``eventzr_kafka.settings``: the environment variables.
- ``eventzr_kafka.outbox``: events in the caller's transaction (its ``migration`` too).
- ``eventzr_kafka.inbox``: each effect once (its ``migration`` too).
- ``eventzr_kafka.aws_lambda``: a consumer as a Lambda function.
- ``eventzr_kafka.testing``: tests of a service (its ``strategies`` too).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventzr_kafka import errors
from eventzr_kafka.codec.decoder import decode
from eventzr_kafka.codec.encoder import encode
from eventzr_kafka.codec.limits import Limits
from eventzr_kafka.codec.rounding import RoundedAmount, rounded_amounts
from eventzr_kafka.errors import BatchItemError, OffsetsLostError, Reject, RetryLater
from eventzr_kafka.events.amounts import Currency, Money, Number, digits_of
from eventzr_kafka.events.construction import PayloadError, Written, WrittenOrNone
from eventzr_kafka.events.context import current_event, current_tenant
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData, topic_of
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.events.timestamp import Timestamp
from eventzr_kafka.handlers.decorators import kafka_consumer
from eventzr_kafka.handlers.marks import on_batch, on_message
from eventzr_kafka.handlers.options import ConsumerOptions, ConsumerOptionsDict
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.kafka.record import OutgoingRecord, Record, TopicPartition
from eventzr_kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from eventzr_kafka._confluent.embedded import EmbeddedBroker, embedded_broker
    from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Letter, read_letter
    from eventzr_kafka.engine.runner import ConsumerRunner
    from eventzr_kafka.inbox.memory_inbox import MemoryInbox
    from eventzr_kafka.producing.delivery import Delivery, PublishResult
    from eventzr_kafka.producing.envelope import PublishKeywords
    from eventzr_kafka.producing.many import PublishManyError
    from eventzr_kafka.producing.producer import EventProducer

    __version__: str

__all__ = [
    "BatchItemError",
    "CloudEvent",
    "ConsumerOptions",
    "ConsumerOptionsDict",
    "ConsumerRunner",
    "Currency",
    "DeadLetterFacts",
    "Delivery",
    "EmbeddedBroker",
    "EventData",
    "EventProducer",
    "KafkaSettings",
    "Letter",
    "Limits",
    "MemoryInbox",
    "MessageContext",
    "Money",
    "Number",
    "OffsetsLostError",
    "OutgoingRecord",
    "PayloadError",
    "PublishKeywords",
    "PublishManyError",
    "PublishResult",
    "Record",
    "Reject",
    "RetryLater",
    "RetryPolicy",
    "RoundedAmount",
    "Timestamp",
    "TopicPartition",
    "Written",
    "WrittenOrNone",
    "current_event",
    "current_tenant",
    "decode",
    "digits_of",
    "embedded_broker",
    "encode",
    "errors",
    "kafka_consumer",
    "on_batch",
    "on_message",
    "read_letter",
    "rounded_amounts",
    "topic_of",
]

_ON_FIRST_USE = {
    "ConsumerRunner": "eventzr_kafka.engine.runner",
    "DeadLetterFacts": "eventzr_kafka.dead_letters.letter",
    "Delivery": "eventzr_kafka.producing.delivery",
    "EmbeddedBroker": "eventzr_kafka._confluent.embedded",
    "EventProducer": "eventzr_kafka.producing.producer",
    "Letter": "eventzr_kafka.dead_letters.letter",
    "MemoryInbox": "eventzr_kafka.inbox.memory_inbox",
    "PublishKeywords": "eventzr_kafka.producing.envelope",
    "PublishManyError": "eventzr_kafka.producing.many",
    "PublishResult": "eventzr_kafka.producing.delivery",
    "embedded_broker": "eventzr_kafka._confluent.embedded",
    "read_letter": "eventzr_kafka.dead_letters.letter",
}


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        value = globals()[name] = getattr(import_module(_ON_FIRST_USE[name]), name)
        return value
    if name == "__version__":
        # Read from the installed package: its import costs some milliseconds, so only for those who ask.
        version = globals()[name] = import_module("importlib.metadata").version("eventzr-kafka")
        return version
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
