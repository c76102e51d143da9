"""Every error that the SDK raises, in one tree.

::

    EventzrKafkaError
    ├── ConfigurationError             wrong before the first event: fix the code or the environment
    │   ├── SettingsError              an environment variable or a KafkaSettings field
    │   ├── EventDeclarationError      a class EventData(topic=…)
    │   ├── RoutingError               @kafka_consumer or @on_message; names file:line and the lines to write
    │   └── MissingExtraError          an optional dependency is not installed
    ├── AuthenticationError            the provider gave no token, or the broker refused the login; names the identity
    ├── AdminError                     the broker did not answer a question about topics, or refused a change
    ├── DecodeError                    a record is not a valid event; names the record and the reason
    │   ├── RecordTooLargeError        over a limit: bytes, headers, arrays and objects, or nesting
    │   ├── TombstoneError             a record without a value that is not an event
    │   ├── InvalidEnvelopeError       breaks a rule of CloudEvents 1.0.2 or of the platform
    │   ├── InvalidDataError           the payload does not fit its class
    │   ├── TypeMismatchError          the event's type is not the one that its topic carries
    │   ├── SourceNotAllowedError      the event's source is not one that is accepted on its topic
    │   └── TenantMismatchError        the record's key is not the event's tenantid
    ├── PayloadError (e)               a payload class was called with an unknown field, or without a written one
    ├── EncodeError                    an event cannot be written; nothing was sent
    │   ├── MissingTenantError         the call names no tenant, and there is none to inherit
    │   └── CrossTenantError           published for a tenant other than the one whose event is being handled
    ├── ProducerError
    │   ├── ProducerStateError         used before start, after close, or in a forked child
    │   ├── QueueFullError             no room within the deadline; nothing was sent
    │   ├── OutboxFullError (o)        Kafka is disabled, and the outbox may not keep more rows; nothing is committed
    │   ├── PublishManyError (e)       some events of publish_many were not published; has the result of every event
    │   ├── UnacknowledgedError (λ)    an invocation ends with these events unsent
    │   └── DeliveryError              the broker did not acknowledge; names event, topic and what to do
    └── ConsumerError
        ├── EventSourceError (λ)       the invocation's event is not from a Kafka event source
        ├── BatchIncompleteError (λ)   records must be redelivered, and the mapping takes no report of single ones
        ├── ConsumerStateError         the runner is used in a way that its state does not allow
        ├── TransportError             the client gave up: not authorised, or a fatal broker error
        ├── OffsetsLostError           records were deleted before they were read, and on_offset_lost="stop"
        ├── HandlerResultError         a def handler returned a value, such as a coroutine that was never awaited
        ├── BatchItemError             raised by a batch handler, to name the events that failed
        ├── RetryLater                 raised by a handler: try this event again in so many seconds
        ├── Reject                     raised by a handler: do not retry, write a dead letter
        └── EventStoppedError          an event without an outcome stopped the runner; it is not committed

They are imported from here; those marked (λ) from `eventzr_kafka.aws_lambda`, (o) from `eventzr_kafka.outbox`, and (e)
from `eventzr_kafka`. No message shows a payload, a token or a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventzr_kafka.safe_text import attribute, cause_of, error_location, is_a, list_some, printable

if TYPE_CHECKING:
    from eventzr_kafka.events.event import CloudEvent
    from eventzr_kafka.kafka.losses import Loss
    from eventzr_kafka.kafka.record import Record, TopicPartition

__all__ = [
    "AdminError",
    "AuthenticationError",
    "BatchItemError",
    "ConfigurationError",
    "ConsumerError",
    "ConsumerStateError",
    "CrossTenantError",
    "DecodeError",
    "DeliveryError",
    "EncodeError",
    "EventDeclarationError",
    "EventStoppedError",
    "EventzrKafkaError",
    "HandlerResultError",
    "InvalidDataError",
    "InvalidEnvelopeError",
    "MissingExtraError",
    "MissingTenantError",
    "OffsetsLostError",
    "ProducerError",
    "ProducerStateError",
    "QueueFullError",
    "RecordTooLargeError",
    "Reject",
    "RetryLater",
    "RoutingError",
    "SettingsError",
    "SourceNotAllowedError",
    "TenantMismatchError",
    "TombstoneError",
    "TransportError",
    "TypeMismatchError",
]


class EventzrKafkaError(Exception):
    """Root of every error of this package. Errors can be copied and pickled, as a pool of processes does."""

    def __reduce__(self) -> tuple[Any, ...]:  # an exception's own calls `__init__` with the text alone
        return type(self).__new__, (type(self), *self.args), self.__dict__


class ConfigurationError(EventzrKafkaError):
    """Something is wrong before the first event flows."""


class SettingsError(ConfigurationError):
    """A setting is missing or malformed: the environment variable, or the field, `name`."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{name}: {problem}")


class EventDeclarationError(ConfigurationError):
    """A class derived from EventData is declared wrongly."""


class RoutingError(ConfigurationError):
    """A consumer class or one of its handlers is declared wrongly.

    Attributes:
        location: ``file:line`` of the declaration.
        handler: ``Class.method``, or the class alone.
    """

    def __init__(self, location: str, handler: str, problem: str) -> None:
        self.location = location
        self.handler = handler
        super().__init__(f"{location}: {handler}: {problem}")


class MissingExtraError(ConfigurationError):
    """An optional dependency is needed and not installed; the `extra` of the distribution brings it."""

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs an extra: pip install 'eventzr-kafka[{extra}]'")


class AuthenticationError(EventzrKafkaError):
    """The login does not work: the provider gives no token, or the broker refuses it.

    Attributes:
        identity: Name of the login, without any secret.
        problem, hint: The two halves of the message.
    """

    def __init__(self, identity: str, problem: str, hint: str) -> None:
        self.identity = identity
        self.problem, self.hint = problem, hint
        super().__init__(f"{problem} (as {identity}); {hint}")


class AdminError(EventzrKafkaError):
    """The broker did not answer a question about topics, or refused to change them."""


class DecodeError(EventzrKafkaError):
    """A record cannot be read as an event.

    It is raised ``from None`` on purpose: the cause (pydantic, json) may quote the payload.

    Attributes:
        topic, partition, offset: Place of the record.
        reason: The fault in words, without payload.
    """

    def __init__(self, record: Record, reason: str) -> None:
        self.topic, self.partition, self.offset = record.topic, record.partition, record.offset
        self.reason = reason
        super().__init__(f"{record.position}: {reason}")


class RecordTooLargeError(DecodeError):
    """The record breaks a limit of `Limits`: value bytes, headers, or arrays and objects; or the parser's, nesting."""


class TombstoneError(DecodeError):
    """The record has no value and no ``ce_*`` headers: a deletion marker, not an event."""


class InvalidEnvelopeError(DecodeError):
    """An attribute breaks CloudEvents 1.0.2 or the platform's contract."""


class InvalidDataError(DecodeError):
    """The payload does not fit the class that the handler declared."""


class TypeMismatchError(DecodeError):
    """The event's ``type`` is not the one that its topic carries."""


class SourceNotAllowedError(DecodeError):
    """The event's `source` is not one that is accepted on its topic."""

    def __init__(self, record: Record, source: str, accepted: frozenset[str]) -> None:
        self.source = source
        names = list_some([repr(name) for name in sorted(sorted(accepted), key=len)])
        super().__init__(record, f"source {printable(source)!r} is not accepted on this topic, only {names}")


class TenantMismatchError(DecodeError):
    """The record's key is not the UTF-8 form of the event's ``tenantid``."""


class EncodeError(EventzrKafkaError):
    """An event cannot be written as a record; nothing was sent.

    Attributes:
        event_id, topic: The event, and the topic that it was for.
    """

    def __init__(self, event_id: str, topic: str, problem: str) -> None:
        self.event_id, self.topic = event_id, topic
        super().__init__(f"event {printable(event_id)} for {printable(topic, limit=249)}: {problem}")


class MissingTenantError(EncodeError):
    """An event was to be published for no tenant; nothing was sent."""

    def __init__(self, event_id: str, topic: str) -> None:
        hint = "pass tenant_id=…, or publish inside a handler of one tenant's events"
        super().__init__(event_id, topic, f"no tenant: {hint}")


class CrossTenantError(EncodeError):
    """A handler published for a tenant other than the one whose event it handles; nothing was sent.

    Attributes:
        tenant_id: The tenant that the event was published for.
        in_hand: The tenant of the event that is being handled; in a batch handler, those of its events; else empty.
    """

    def __init__(self, event_id: str, topic: str, tenant_id: str, in_hand: frozenset[str]) -> None:
        self.tenant_id, self.in_hand = tenant_id, in_hand
        names = list_some([repr(printable(tenant)) for tenant in sorted(in_hand)])
        held = f"the handler runs for {names}" if in_hand else "no event is in hand here (is it a thread of a handler? "
        held += "" if in_hand else "run it with asyncio.to_thread or contextvars.copy_context().run)"
        problem = f"it is tenant {printable(tenant_id)!r}'s, and {held}"
        super().__init__(event_id, topic, f"{problem}; pass allow_cross_tenant=True if that is intended")


class ProducerError(EventzrKafkaError):
    """The producer could not send an event, or cannot be used."""


class ProducerStateError(ProducerError):
    """The producer is not started, already closed, or was carried into a forked process."""


class _EventNotSentError(ProducerError):
    def __init__(self, event_id: str, topic: str, problem: str, hint: str) -> None:
        self.event_id, self.topic = event_id, topic
        self.problem, self.hint = problem, hint
        super().__init__(f"event {printable(event_id)} for {topic}: {problem}; {hint}")


class QueueFullError(_EventNotSentError):
    """The local queue had no room within the deadline; the event was not sent. Attributes as in `DeliveryError`."""


class DeliveryError(_EventNotSentError):
    """The broker did not acknowledge the event.

    After a time-out the outcome is unknown: publish the event again *with the same event id*, so that consumers
    recognise the duplicate.

    Attributes:
        event_id, topic: The event, and the topic that it was for.
        problem: The client's reason, for example ``_MSG_TIMED_OUT``.
        hint: What to do.
    """


class ConsumerError(EventzrKafkaError):
    """The runner cannot go on."""


class ConsumerStateError(ConsumerError):
    """The runner was used in a way that its state does not allow."""


class TransportError(ConsumerError):
    """The Kafka client cannot go on: it is not authorised, or the broker has a fatal error.

    A lost connection and refused credentials are other cases: the client tries again, and one log line says so.
    """


class OffsetsLostError(ConsumerError):
    """Records were deleted before the group read them, and ``on_offset_lost="stop"`` stopped the runner.

    Attributes:
        partition, loss: The partition, and the offsets that are gone.
    """

    def __init__(self, group_id: str, partition: TopicPartition, loss: Loss) -> None:
        self.partition = partition
        self.loss = loss
        super().__init__(
            f"{group_id}: {partition.topic}[{partition.partition}]: {loss}; stopped before reading on: start with "
            'on_offset_lost="continue", or set the group\'s offset with kafka-consumer-groups --reset-offsets'
        )


class HandlerResultError(ConsumerError):
    """A ``def`` handler returned a value: most likely a coroutine, whose work was never done.

    Attributes:
        handler: ``Class.method``.
    """

    def __init__(self, handler: str, kind: str) -> None:
        self.handler = handler
        super().__init__(f"{handler} is a def and returned a {kind}: return None, or make it async def to await")


class BatchItemError(ConsumerError):
    """Raised by an `@on_batch` handler to name the events that failed; all others of the batch count as done.

    ::

        raise BatchItemError(event) from error

    Any other error, and one that names no event of the batch, means that the whole batch failed.

    Attributes:
        events: The events that failed: the very objects of the list that the handler was given, not copies.
    """

    def __init__(self, *events: CloudEvent[Any]) -> None:
        self.events = events
        super().__init__(f"{len(events)} of a batch failed")


def events_named(error: BaseException) -> tuple[object, ...]:
    """The events that a `BatchItemError` names; empty for any other error, and if it names none."""
    events: Any = attribute(error, "events") if is_a(error, BatchItemError) else None
    return tuple(events) if type(events) in (tuple, list) else ()


class RetryLater(ConsumerError):  # noqa: N818 -- an instruction, not a fault
    """Raised by a handler: try this event again in so many seconds or later, if it has attempts left.

    Attributes:
        after: Seconds, 0 or more; the wait is never shorter than the retry policy's own.
        why: The reason, for the log and the dead letter as it is: keep payloads and secrets out of it.
    """

    def __init__(self, *, after: float, why: str | None = None) -> None:
        if not 0 <= after < float("inf"):
            raise ValueError(f"RetryLater(after={after!r}): must be 0 or more seconds")
        self.after = float(after)
        self.why = why
        super().__init__(f"again in {after:g} s" if why is None else f"{why}; again in {after:g} s")


class Reject(ConsumerError):  # noqa: N818 -- an instruction, not a fault
    """Raised by a handler: the event is not retried, and a dead letter is written.

    Attributes:
        why: The reason. It is written to the log and the dead letter as it is: keep payloads and secrets out of it.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class EventStoppedError(ConsumerError):
    """An event ended without an outcome and stopped the runner; its offset is not committed.

    Attributes:
        topic, partition, offset: Place of the record.
        handler: The handler that the event was for, as ``Class.method``.
        event_id: None if the record could not be read.
        error: The handler's or the codec's error, whose own text may quote a payload.
        found, hint: The two halves of the message, both safe to log: what happened where, and what to do.
    """

    def __init__(self, record: Record, handler: str, error: BaseException, *, event_id: str | None) -> None:
        self.topic, self.partition, self.offset = record.topic, record.partition, record.offset
        self.handler = handler
        self.event_id = event_id
        self.error = error
        event = f", event {printable(event_id)}" if event_id else ""
        self.found = f"{record.position}{event}: {handler}: {_failure_text(error, was_read=event_id is not None)}"
        self.hint = "stopped before committing it: fix the handler (or the record) and start again, it is redelivered"
        if is_a(error, SystemExit):
            self.hint += " (if it ends the process again, it fails under its retry policy)"
        super().__init__(f"{self.found}; {self.hint}")


def _failure_text(error: BaseException, *, was_read: bool) -> str:
    if not was_read and isinstance(error, DecodeError):
        return error.reason
    if is_a(error, BatchItemError) and (cause := cause_of(error)) is not None:
        error = cause
    return str(error) if type(error) is HandlerResultError else f"raised {error_location(error)}"
