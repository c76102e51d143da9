"""Carries messages, rebalances and errors from the owner thread to the event loop, in their order.

1. Messages become records on the event loop, which uses and frees them: memory that moves between cores is slow. The
   epochs that the owner had when it fetched them come along, so that they cannot count for a later epoch.
2. A record whose headers the client cannot read gets `UNREADABLE_HEADERS`, which decoding refuses.
3. If any other error is raised before the sink has received a list of messages, the epochs of that list are fenced: no
   later list brings records of them, none of their positions is stored, and the sink stops. Otherwise a later list,
   which may be on its way already, would be committed past the lost records.
4. Any other error that the sink raises stops it too; the event loop would only log it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message

from eventzr_kafka._confluent.connection import ConnectionMonitor, describe_client_error, is_fatal
from eventzr_kafka._confluent.headers import PROBE
from eventzr_kafka._confluent.loop_gate import LoopGate
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka.codec.encoder import STRUCTURED_HEADERS
from eventzr_kafka.errors import AuthenticationError, EventzrKafkaError, TransportError
from eventzr_kafka.kafka.record import UNREADABLE_HEADERS, Record
from eventzr_kafka.kafka.transport import Batch, ConsumerSink
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["Arrivals", "Owned"]

Owned: TypeAlias = Mapping[tuple[str, int], int]  # epochs by topic and partition
_new_record = cast("Callable[[type[Record], Any], Record]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
log = logging.getLogger("eventzr_kafka.consumer")

_STRUCTURED_HEADERS = list(STRUCTURED_HEADERS)  # one object for most records is less for the garbage collector
_AFTER_A_FAULT = "its partition is neither handled nor committed from here on; report this, and restart"
_NO_PROTOCOL = '; use group_protocol="classic", or brokers of Kafka 4.0 or newer'
_DENIED = "; allow Describe and Read on the topic, on MSK kafka-cluster:DescribeTopic and kafka-cluster:ReadData"
_FINAL_ERRORS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


class Arrivals:
    """Connects an owner thread with a sink: the thread calls `notify`, all other methods run on the event loop."""

    def __init__(
        self,
        group_id: str,
        group_protocol: str,
        sink: ConsumerSink,
        mailbox: Mailbox,
        connection: ConnectionMonitor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Connect an owner thread with a sink.

        Args:
            group_protocol: For the hint in an error.
            mailbox: Gets a request back for messages that held no record of an owned partition.
            connection: Is back when a record arrives.
        """
        self.sink = sink
        self._group_id = group_id
        self._group_protocol = group_protocol
        self._mailbox = mailbox
        self._connection = connection
        self._gate = LoopGate(loop, self._report_fault)
        self._missing: set[str] = set()
        self._fenced: set[int] = set()

    # In the owner thread

    @property
    def loop_is_closed(self) -> bool:
        """True once the event loop is closed."""
        return self._gate.is_closed

    def notify(self, method: Callable[..., None], *args: Any) -> bool:
        """Have the event loop call a method of this object or of the sink; False if the loop is closed."""
        return self._gate.call(method, *args)

    # On the event loop

    def _report_fault(self, error: BaseException) -> None:
        self.sink.on_client_error(self._transport_error(error))

    def take_in(self, messages: list[Message], owned: Owned) -> None:
        """Pass messages on as records; the request goes back if none of them is a record of an owned partition."""
        try:
            batches = self.sort(messages, owned)
            if batches:
                self.sink.on_received(batches)
            else:
                self._mailbox.request_batch()
        except BaseException as error:  # also a KeyboardInterrupt: positions are still stored while the loop ends
            self._fence(_epochs_of(messages, owned), error)
            if not isinstance(error, Exception):
                raise

    def _fence(self, epochs: set[int], error: BaseException) -> None:
        self._fenced |= epochs
        self._mailbox.fence(epochs)
        try:
            self.sink.on_lost(sorted(epochs))
        finally:
            self._report_fault(error)

    def _transport_error(self, error: BaseException) -> Exception:
        if isinstance(error, EventzrKafkaError):
            return error
        text = f"{self._group_id}: the messages of a fetch could not be read: {error_location(error)}; {_AFTER_A_FAULT}"
        failure = TransportError(text)
        failure.__cause__ = error
        return failure

    def sort(self, messages: list[Message], owned: Owned) -> list[Batch]:
        """Return records by epoch, without those of a partition that was revoked while they were fetched."""
        found: dict[int, list[Record]] = {}
        at: tuple[str | None, int | None] = (None, None)
        put: Callable[[Record], None] = _drop
        for message in messages:
            try:
                error = message.error()
                if error is not None:
                    self.message_failed(error, message, owned)
                    continue
                topic, partition = message.topic(), message.partition()
                if (topic, partition) == at:  # records of one partition follow each other
                    topic = at[0]  # one string for all of them
                else:
                    at = topic, partition
                    epoch = owned.get(cast("tuple[str, int]", at))
                    put = _drop if epoch is None or epoch in self._fenced else found.setdefault(epoch, []).append
                try:
                    given: Any = message.headers()
                    headers = STRUCTURED_HEADERS if given == _STRUCTURED_HEADERS else given or ()
                    if headers is given:
                        given.count(PROBE)
                except Exception:  # noqa: BLE001 -- see headers
                    headers = UNREADABLE_HEADERS
                key, value, timestamp = message.key(), message.value(), message.timestamp()[1]
                fields = (topic, partition, message.offset(), key, value, headers, timestamp)
                put(_new_record(Record, fields))  # half the cost of Record(…), paid for every record
            except Exception as fault:
                text = (
                    f"{self._group_id}: {_place(message)} could not be read: {error_location(fault)}; {_AFTER_A_FAULT}"
                )
                raise TransportError(text) from fault
        if found:
            self._connection.on_success()
        return [Batch(epoch, records) for epoch, records in found.items()]

    def message_failed(self, error: KafkaError, message: Message, owned: Owned) -> None:
        """Handle an error that arrived in place of a message."""
        topic = message.topic()
        if error.code() in _FINAL_ERRORS or is_fatal(error):
            self.client_failed(KafkaException(error), topic)
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._warn_of_missing_topic(topic or "?")
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            epoch = owned.get(cast("tuple[str, int]", (topic, message.partition())))
            offset = message.offset()
            if epoch is not None:
                self._mailbox.stall(epoch, OFFSET_INVALID if offset is None else offset)
        else:
            self._connection.on_error(error)

    def _warn_of_missing_topic(self, topic: str) -> None:
        if topic not in self._missing:
            self._missing.add(topic)
            log.warning(
                "%s: topic %s does not exist; waiting until it is created",
                self._group_id,
                printable(topic),
            )

    def client_failed(self, error: Exception, topic: str | None = None) -> None:
        """Stop the sink, because the client cannot go on; `topic` is the topic that the error is about."""
        if isinstance(error, AuthenticationError):
            self.sink.on_client_error(error)
            return
        reason = describe_client_error(error)
        is_unknown = self._group_protocol == "consumer" and "API version not supported" in reason
        hint = _NO_PROTOCOL if is_unknown else _DENIED if topic and "TOPIC_AUTHORIZATION" in reason else ""
        place = f"{self._group_id}: topic {printable(topic, limit=249)}" if topic else self._group_id
        failure = TransportError(f"{place}: the Kafka client cannot go on: {reason}{hint}")
        failure.__cause__ = error
        self.sink.on_client_error(failure)


def _epochs_of(messages: list[Message], owned: Owned) -> set[int]:
    """Return the epochs of some messages; all epochs if the messages cannot be asked."""
    try:
        places = {(message.topic(), message.partition()) for message in messages}
    except Exception:  # noqa: BLE001 -- a damaged message
        return set(owned.values())
    return {epoch for place, epoch in owned.items() if place in places}


def _place(message: Message) -> str:
    try:
        return f"{message.topic()}[{message.partition()}]@{message.offset()}"
    except Exception:  # noqa: BLE001 -- a damaged message
        return "a record"


def _drop(_record: Record) -> None:
    """Drop a record of a revoked partition: its new owner reads it."""
