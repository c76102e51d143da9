"""A producer on librdkafka: any thread queues records, one thread serves the client's delivery reports.

1. Every queued record is in the set of in-flight records until it is reported. Records that the client forgets, as
   after a fatal error, are reported from the set. One small object for each record: the garbage collector visits all
   that are in flight.
2. Callbacks never raise. The client does: `poll` and `flush` raise its fatal error, once, in place of `error_cb`.
3. After a time-out the record may have arrived: the failure has the mark `unknown`.
4. Records whose batch was refused because of another record are sent again one by one, see refused. Not with
   `enable.gapless.guarantee`: there the order counts more, and the caller sends them again.
5. A dead client, after a fatal error or when it has forgotten its brokers, is replaced by a new one; the records that
   it still held are reported as failed. With `enable.gapless.guarantee` it is not replaced: a new client would write
   new records before the caller can write the failed ones again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventzr_kafka._confluent.config import producer_config
from eventzr_kafka._confluent.connection import (
    CallbackGate,
    ConnectionMonitor,
    describe_client_error,
    describe_with_hint,
    is_fatal,
)
from eventzr_kafka._confluent.oauth import make_client, token_callback
from eventzr_kafka._confluent.refused import RefusedBatches
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import ProducerStateError
from eventzr_kafka.kafka.record import Header, OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome
from eventzr_kafka.safe_text import error_location, printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentProducer", "dead_letter_client"]

log = logging.getLogger("eventzr_kafka.producer")

_MAX_MESSAGE_BYTES = 1_000_000_000  # the largest value that librdkafka takes for message.max.bytes
_POLL_SECONDS = 0.1  # between two calls of `reported` when nothing happens
_GRACE_SECONDS = 1.0  # for the reports of a dead client: they name the reason of each record
_MIN_CLIENT_SECONDS = 5.0  # between two clients, so that a lasting fault does not make hundreds of them
_BATCH_ERRORS = {  # they refuse a whole batch, perhaps because of another record in it
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError._INVALID_DIFFERENT_RECORD,
}
_MAY_HAVE_ARRIVED = {
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._PURGE_INFLIGHT,
    KafkaError.REQUEST_TIMED_OUT,
}


class _Sent:
    """A record in flight; the client calls it with the delivery report."""

    __slots__ = ("_producer", "headers", "report", "topic")

    def __init__(
        self, producer: ConfluentProducer, report: DeliveryCallback, topic: str, headers: Sequence[Header]
    ) -> None:
        self._producer = producer
        self.report = report
        self.topic = topic
        self.headers = headers  # the report has the key and the value, but not the headers

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        try:
            if error is None:
                self._producer.on_stored(self, message)
            else:
                self._producer.on_failure(self, error, message)
        except Exception as fault:  # noqa: BLE001 -- see rule 2; without a report the caller would wait for ever
            self._producer.on_fault(self, fault)


class _NotStarted:
    """Stands for the client before `start`: every call is refused with a message."""

    def __getattr__(self, name: str) -> Any:
        raise ProducerStateError("the producer is not started: call start()")


class ConfluentProducer:
    """A `ProducerTransport`."""

    def __init__(self, settings: KafkaSettings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Check the configuration; nothing connects before `start`."""
        self._config = producer_config(settings)
        self._login = token_callback(self._config)
        self._connection = ConnectionMonitor(log, "producer", settings, self._login, clock=clock)
        self._monotonic = clock.monotonic
        self._in_flight: set[_Sent] = set()
        self._batch_bytes = settings.batch_bytes
        self._batches = RefusedBatches(
            lambda: ConfluentProducer(_without_batches(settings), clock=clock), settings.batch_bytes
        )
        self._refused = self._batches.episodes  # read for each event; mostly empty
        self._closing = threading.Event()
        self._queue_bytes = 1024 * int(self._config["queue.buffering.max.kbytes"])
        self._is_gapless = str(self._config.get("enable.gapless.guarantee")).lower() == "true"
        self._sends_alone = str(self._config.get("batch.num.messages")) == "1"
        self._gate = CallbackGate()
        self._client = cast("Producer", _NotStarted())
        self._thread: threading.Thread | None = None
        self._reported = _ignore_reports
        self._connected_at = 0.0
        self._death: DeliveryFailure | None = None  # the failure of every record that a dead client is given
        self._died_at = 0.0
        self._replaced: Producer | None = None

    def start(self, reported: Callable[[], None]) -> None:
        """Make the client and the thread that serves it."""
        self._reported = reported
        self._client = self._connect()
        self._thread = threading.Thread(target=self._serve, name="eventzr-kafka producer", daemon=True)
        self._thread.start()

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        """Queue a record; False if there is no room."""
        if self._death is not None:
            report(replace(self._death, unknown=False, local=True))
            return True
        if self._refused and (waits := self._batches.wait(record, report)) is not None:
            return waits
        sent = _Sent(self, report, record.topic, record.headers)
        self._in_flight.add(sent)
        try:
            self._client.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=sent,
            )
        except BufferError:
            self._in_flight.discard(sent)
            if len(record.value or b"") <= self._queue_bytes:
                return False
            text = "the event is larger than the client's whole queue"
            report(DeliveryFailure("_QUEUE_FULL", text, unknown=False, local=True))
        except KafkaException as error:
            self._report(sent, replace(self._failure(error.args[0]), local=True))
        except (TypeError, ValueError) as error:  # such as a header name that is not text; UnicodeError is a ValueError
            text = f"the client cannot write this record: {type(error).__name__}"
            self._report(sent, DeliveryFailure("_INVALID_ARG", text, unknown=False, local=True))
        except RuntimeError as error:  # the client raises it once it is closed
            self._in_flight.discard(sent)
            raise ProducerStateError("the producer was closed") from error
        return True

    def flush(self, timeout: float) -> int:
        """Wait for the reports; return how many are missing."""
        deadline = self._monotonic() + timeout
        self._attempt("flushing", self._poll_or_flush, self._client.flush, timeout)
        while self._refused and (left := deadline - self._monotonic()) > 0:
            self._batches.advance(self._busy_topics)
            self._batches.flush(min(left, _POLL_SECONDS))
        self._reported()
        return len(self._in_flight) + self._batches.count

    def close(self) -> None:
        """Purge and report the records that are not acknowledged, and end the thread."""
        self._attempt("closing", self._client.purge)
        self._attempt("closing", self._poll_or_flush, self._client.flush, 1.0)
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._batches.close()
        self._report_all(
            DeliveryFailure("_DESTROY", "the producer was closed before the broker acknowledged", unknown=True)
        )
        self._attempt("closing", self._client.close)

    def _attempt(self, step: str, call: Callable[..., object], *arguments: object) -> None:
        """Make a call that may fail without harm: records that are not acknowledged are reported all the same."""
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 -- of the client
            log.warning("producer: %s failed, going on: %s", step, describe_client_error(error))

    def _connect(self) -> Producer:
        self._connected_at = self._monotonic()
        gated = self._gate.for_next_client()
        callbacks = {"error_cb": gated(self._connection.on_error), "stats_cb": gated(self._connection.on_statistics)}
        return make_client(Producer, {**self._config, **callbacks, "statistics.interval.ms": 1000})

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self._poll_or_flush(self._client.poll, _POLL_SECONDS)
                if self._connection.brokers_forgotten and self._death is None:
                    self._client.purge()
                    self._mark_dead("it has forgotten its brokers")
                if self._death is not None:
                    self._replace_client(self._death)
                if self._replaced is not None:  # each time: another thread may have queued a record just now
                    self._drain(self._replaced)
                self._batches.advance(self._busy_topics)
                self._reported()
            except Exception as error:  # noqa: BLE001 -- without this thread no delivery would ever be reported
                log.error("producer: serving reports failed, going on: %s", error_location(error))  # noqa: TRY400 -- no texts

    def _poll_or_flush(self, call: Callable[[float], Any], seconds: float) -> None:
        """Call the client's `poll` or `flush`; a fatal error marks the client as dead."""
        try:
            call(seconds)
        except KafkaException as error:
            if not is_fatal(error.args[0]):
                raise
            self._mark_dead(describe_with_hint(error.args[0]))

    def _mark_dead(self, reason: str) -> None:
        """Give the client no more records."""
        self._died_at = self._monotonic()
        self._death = DeliveryFailure("_FATAL", reason, unknown=True)
        if self._is_gapless:
            log.info("producer: the client is dead, as enable.gapless.guarantee asks: %s", reason)
        else:
            log.error("producer: the client is dead; its records fail, a new client takes over: %s", reason)

    def _replace_client(self, failure: DeliveryFailure) -> None:
        """Report every record that the dead client holds, and make another client when it is time."""
        if len(self._client) and self._monotonic() < self._died_at + _GRACE_SECONDS:
            return
        self._drain(self._client)
        self._report_all(failure)
        if not self._is_gapless and self._monotonic() > self._connected_at + _MIN_CLIENT_SECONDS:
            client = self._connect()
            self._replaced, self._client = self._client, client
            self._connection.watch_next_client()
            self._death = None

    def _drain(self, client: Producer) -> None:
        client.purge()
        with suppress(KafkaException):  # a dead client raises its fatal error again
            client.poll(0)

    def on_stored(self, sent: _Sent, message: Message) -> None:
        """Report a record that the broker has acknowledged."""
        place = Acknowledgement(message.partition() or 0, message.offset() or 0)
        self._report(sent, place)
        self._connection.on_success()
        if self._refused:
            self._batches.note_stored(sent.topic, message.key(), *place)

    def on_failure(self, sent: _Sent, error: KafkaError, message: Message) -> None:
        """Report a record that was not acknowledged, or send it again if its batch was refused."""
        if error.code() in _BATCH_ERRORS and self._shared_its_batch(sent, message):
            self._take_back(sent, message, self._failure(error))
        else:
            self._report(sent, self._failure(error))

    def on_fault(self, sent: _Sent, fault: Exception) -> None:
        """Report a record whose delivery report raised an error: it may have arrived."""
        log.error(
            "producer: the delivery report on a record for %s could not be read: %s",
            printable(sent.topic, limit=249),
            error_location(fault),
        )
        self._report(sent, DeliveryFailure("_FAIL", "the client's delivery report could not be read", unknown=True))

    def _shared_its_batch(self, sent: _Sent, message: Message) -> bool:
        """Return True if the batch may have held other records: these are in flight, or were just refused, too."""
        if self._is_gapless or self._sends_alone or len(message.value() or b"") > self._batch_bytes:
            return False
        return sent.topic in self._refused or any(
            other.topic == sent.topic for other in list(self._in_flight) if other is not sent
        )

    def _take_back(self, sent: _Sent, message: Message, failure: DeliveryFailure) -> None:
        record = OutgoingRecord(sent.topic, message.key(), message.value(), sent.headers)
        if sent in self._in_flight:
            self._batches.take(record, sent.report, failure)
            self._in_flight.discard(sent)

    def _busy_topics(self) -> set[str]:
        return {sent.topic for sent in list(self._in_flight)}

    def _report(self, sent: _Sent, outcome: DeliveryOutcome) -> None:
        try:
            self._in_flight.remove(sent)
        except KeyError:  # another thread has reported it already
            return
        sent.report(outcome)

    def _report_all(self, failure: DeliveryFailure) -> None:
        for sent in list(self._in_flight):
            self._report(sent, failure)
        self._reported()

    def _failure(self, error: KafkaError) -> DeliveryFailure:
        cause = (self._login.error if self._login is not None else None) or self._connection.refusal
        text = str(cause) if cause is not None else self._connection.tls_fault or printable(error.str(), limit=200)
        return DeliveryFailure(error.name(), text, unknown=error.code() in _MAY_HAVE_ARRIVED, cause=cause)


def _ignore_reports() -> None:
    """Stand in for the callback of `start`."""


def _without_batches(settings: KafkaSettings) -> KafkaSettings:
    return replace(settings, librdkafka={**settings.librdkafka, "batch.num.messages": 1})


def dead_letter_client(settings: KafkaSettings) -> ConfluentProducer:
    """Make the client for dead letters. It sends records of any size: a record that one topic took must fit another."""
    return ConfluentProducer(
        replace(settings, librdkafka={"message.max.bytes": _MAX_MESSAGE_BYTES, **settings.librdkafka})
    )
