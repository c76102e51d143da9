"""Every error that the SDK raises, in one tree.

::

    EventzrKafkaError
    ├── ConfigurationError             wrong before the first event: fix the code or the environment
    │   ├── SettingsError              an environment variable or a KafkaSettings field
    │   ├── EventDeclarationError      a class EventData(topic=…)
    │   ├── RoutingError               @kafka_consumer or @on_message; names file:line and the hint
    │   └── MissingExtraError          an optional dependency is not installed
    ├── AuthenticationError            no token for the login, or the broker refused it; names the identity
    ├── AdminError                     a question about topics was not answered, or a change refused
    ├── DecodeError                    a record that is no valid event; names the record and the reason
    │   ├── RecordTooLargeError        over a limit: bytes, headers or nesting
    │   ├── TombstoneError             a record without a value that is no event
    │   ├── InvalidEnvelopeError       breaks a rule of CloudEvents 1.0.2 or of the platform
    │   ├── InvalidDataError           the payload does not fit its class
    │   ├── TypeMismatchError          the event's type is not the one its topic carries
    │   ├── SourceNotAllowedError      the event's source is none that the consumer allows
    │   └── TenantMismatchError        the record's key is not the event's tenantid
    ├── EncodeError                    an event that cannot be written; nothing was sent
    │   ├── MissingTenantError         no tenant was given, and there is none to inherit
    │   └── CrossTenantError           another tenant's than the event that the handler has in hand
    ├── ProducerError
    │   ├── ProducerStateError         used before start, after close, or in a forked child
    │   ├── QueueFullError             no room within the deadline; nothing was sent
    │   ├── UnacknowledgedError        on AWS Lambda (see aws_lambda): an invocation ends with these events unsent
    │   └── DeliveryError              the broker did not acknowledge; names event, topic and what to do
    └── ConsumerError
        ├── EventSourceError           on AWS Lambda: the invocation's event is none of Kafka's
        ├── BatchIncompleteError       on AWS Lambda: records have to come again, and may not be reported one by one
        ├── ConsumerStateError         the runner is used in a way its state does not allow
        ├── TransportError             the client gave up: not authorised, or a fatal broker error
        ├── OffsetsLostError           (see losses) records are gone, and on_offset_lost="stop"
        ├── HandlerResultError         a def handler returned a value, such as a coroutine that nobody awaited
        ├── BatchItemError             raised by a batch handler, to name the events that failed
        ├── RetryLater                 raised by a handler: try this event again in so many seconds
        ├── Reject                     raised by a handler: no use trying; put it among the dead letters
        └── EventStoppedError          an event without an outcome stopped the runner; it is not committed

No message shows a payload, a token or a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventzr_kafka.safe_text import cause_of, error_location, is_a, printable

if TYPE_CHECKING:
    from eventzr_kafka.events.event import CloudEvent
    from eventzr_kafka.kafka.record import Record

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
    """Root of every error of this package."""


class ConfigurationError(EventzrKafkaError):
    """Something is wrong before the first event flows."""


class SettingsError(ConfigurationError):
    """A setting is missing or malformed.

    Attributes:
        name: The environment variable or the field.
    """

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
    """An optional dependency is needed and not installed.

    Attributes:
        extra: The extra of the distribution that brings it.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(f"{purpose} needs an extra: pip install 'eventzr-kafka[{extra}]'")


class AuthenticationError(EventzrKafkaError):
    """The login does not work: no token can be had, or the broker refuses it.

    Attributes:
        identity: Whose login it is, without any secret.
        problem, hint: The two halves of the message.
    """

    def __init__(self, identity: str, problem: str, hint: str) -> None:
        self.identity = identity
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem} (as {identity}); {hint}")


class AdminError(EventzrKafkaError):
    """The broker did not answer a question about topics, or refused to change them."""


class DecodeError(EventzrKafkaError):
    """A record cannot be read as an event.

    It is raised ``from None`` on purpose: the cause (pydantic, json) may quote the payload.

    Attributes:
        topic, partition, offset: Where the record is.
        reason: What is wrong with it, without payload.
    """

    def __init__(self, record: Record, reason: str) -> None:
        self.topic = record.topic
        self.partition = record.partition
        self.offset = record.offset
        self.reason = reason
        super().__init__(f"{record.position}: {reason}")


class RecordTooLargeError(DecodeError):
    """The record breaks a limit of `codec.Limits`: value bytes, headers or nesting."""


class TombstoneError(DecodeError):
    """The record has no value and no ``ce_*`` headers: a deletion marker, not an event."""


class InvalidEnvelopeError(DecodeError):
    """An attribute breaks CloudEvents 1.0.2 or the platform's contract."""


class InvalidDataError(DecodeError):
    """The payload does not fit the class that the handler declared."""


class TypeMismatchError(DecodeError):
    """The event's ``type`` is not the one that its topic carries."""


class SourceNotAllowedError(DecodeError):
    """The event's ``source`` is not among the `sources` of the consumer."""


class TenantMismatchError(DecodeError):
    """The record's key is not the UTF-8 form of the event's ``tenantid``."""


class EncodeError(EventzrKafkaError):
    """An event cannot be written as a record; nothing was sent.

    Attributes:
        event_id, topic: Which event, and where it was to go.
    """

    def __init__(self, event_id: str, topic: str, problem: str) -> None:
        self.event_id = event_id
        self.topic = topic
        super().__init__(f"event {printable(event_id)} for {printable(topic, limit=249)}: {problem}")


class MissingTenantError(EncodeError):
    """An event was to be published for no tenant; nothing was sent."""

    def __init__(self, event_id: str, topic: str) -> None:
        super().__init__(
            event_id, topic, "no tenant: pass tenant_id=…, or publish inside a handler of one tenant's events"
        )


class CrossTenantError(EncodeError):
    """A handler published for a tenant whose event it does not have in hand; nothing was sent.

    Attributes:
        tenant_id: The tenant of the event that was to be published.
        in_hand: The tenant of the event that the handler was given; those of a batch.
    """

    def __init__(self, event_id: str, topic: str, tenant_id: str, in_hand: frozenset[str]) -> None:
        self.tenant_id = tenant_id
        self.in_hand = in_hand
        names = ", ".join([repr(printable(tenant)) for tenant in sorted(in_hand)[:3]])
        more = f" and {len(in_hand) - 3} more" if len(in_hand) > 3 else ""
        super().__init__(
            event_id,
            topic,
            f"it is tenant {printable(tenant_id)!r}'s, and the handler runs for {names}{more}; "
            "pass allow_cross_tenant=True where that is meant",
        )


class ProducerError(EventzrKafkaError):
    """The producer could not do what was asked."""


class ProducerStateError(ProducerError):
    """The producer is not started, already closed, or was carried into a forked process."""


class _EventNotSentError(ProducerError):
    def __init__(self, event_id: str, topic: str, problem: str, hint: str) -> None:
        self.event_id = event_id
        self.topic = topic
        self.problem = problem
        self.hint = hint
        super().__init__(f"event {printable(event_id)} for {topic}: {problem}; {hint}")


class QueueFullError(_EventNotSentError):
    """The local queue had no room within the deadline; the event was not sent.

    Attributes:
        event_id, topic: Which event, and where it was to go.
        hint: What to do.
    """


class DeliveryError(_EventNotSentError):
    """The broker did not acknowledge the event.

    After a time-out the outcome is unknown: publish it again *with the same event id*, so that consumers can tell
    the duplicate.

    Attributes:
        event_id, topic: Which event, and where it was to go.
        problem: The client's reason, for example ``_MSG_TIMED_OUT``.
        hint: What to do.
    """


class ConsumerError(EventzrKafkaError):
    """The runner cannot go on."""


class ConsumerStateError(ConsumerError):
    """The runner was used in a way that its state does not allow."""


class TransportError(ConsumerError):
    """The Kafka client cannot go on: it is not authorised, or the broker has a fatal error.

    A lost connection or refused credentials are no such error: the client tries again, and one log line says so.
    """


class HandlerResultError(ConsumerError):
    """A ``def`` handler returned something: a coroutine, most likely, so that its work was never done.

    Attributes:
        handler: ``Class.method``.
    """

    def __init__(self, handler: str, kind: str) -> None:
        self.handler = handler
        super().__init__(
            f"{handler} is a def and returned a {kind}: a handler returns None; make it async def to await"
        )


class BatchItemError(ConsumerError):
    """Raised by an `@on_batch` handler to name the events that failed; all others of the batch count as done.

    ::

        raise BatchItemError(event) from error

    Any other error, and one that names no event of the batch, means that the whole batch failed.

    Attributes:
        events: The events that failed, objects of the list that the handler was given.
    """

    def __init__(self, *events: CloudEvent[Any]) -> None:
        self.events = events
        super().__init__(f"{len(events)} of a batch failed")


class RetryLater(ConsumerError):  # noqa: N818 -- an instruction, not a fault
    """Raised by a handler: try this event again in so many seconds, if it has attempts left.

    Attributes:
        after: Seconds, 0 or more.
    """

    def __init__(self, *, after: float) -> None:
        if not 0 <= after < float("inf"):
            raise ValueError(f"RetryLater(after={after!r}): must be 0 or more seconds")
        self.after = float(after)
        super().__init__(f"again in {after:g} s")


class Reject(ConsumerError):  # noqa: N818 -- an instruction, not a fault
    """Raised by a handler: trying again is of no use, the event belongs among the dead letters.

    Attributes:
        why: Goes into the log and the dead letter as it is: no payload and no secret in it.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class EventStoppedError(ConsumerError):
    """An event ended without an outcome and stopped the runner; its offset is not committed.

    Its text is safe to log. Its cause is what the handler raised, whose own text may quote a payload.

    Attributes:
        topic, partition, offset: Where the record is.
        handler: ``Class.method`` that it was for.
        event_id: None if the record could not be read.
        error: What the handler or the codec raised.
        what: The failure in a few words, without any text of `error` that might quote a payload.
        found, hint: The two halves of the message: what happened where, and what to do.
    """

    def __init__(self, record: Record, handler: str, error: BaseException, *, event_id: str | None) -> None:
        self.topic = record.topic
        self.partition = record.partition
        self.offset = record.offset
        self.handler = handler
        self.event_id = event_id
        self.error = error
        self.what = _in_words(error, was_read=event_id is not None)
        event = f", event {printable(event_id)}" if event_id else ""
        self.found = f"{record.position}{event}: {handler}: {self.what}"
        again = " (if it ends the process again, it fails under its retry policy)" if is_a(error, SystemExit) else ""
        self.hint = (
            "stopped before committing it: fix the handler (or the record) and start again, it will be delivered again"
            + again
        )
        super().__init__(f"{self.found}; {self.hint}")


def _in_words(error: BaseException, *, was_read: bool) -> str:
    if not was_read and isinstance(error, DecodeError):
        return error.reason
    cause = cause_of(error) if is_a(error, BatchItemError) else None
    error = error if cause is None else cause
    return str(error) if type(error) is HandlerResultError else f"raised {error_location(error)}"
