"""A producer on librdkafka: any thread queues records, one thread serves the broker's reports.

1. Every queued record is in the set of those under way until it is reported. What the client forgets, as after a fatal
   error, is reported from the set. One small object for each: the garbage collector looks at all that are under way.
2. Callbacks never raise. The client does: `poll` and `flush` raise its fatal error, once, in place of `error_cb`.
3. After a time-out the record may have arrived: the failure says so.
4. Events whose batch was refused for a neighbour are sent again one by one, see refused. Not with
   `enable.gapless.guarantee`: there the order counts more, and the caller sends them again.
5. A client that can send nothing more, after a fatal error or because it has lost its brokers for good, is given up for
   another one; what it still held is reported as failed. Whoever asks for `enable.gapless.guarantee` gets no other one:
   it would write new records before he can write those again that failed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventzr_kafka._confluent.config import producer_config
from eventzr_kafka._confluent.oauth import make_client, token_callback
from eventzr_kafka._confluent.outage import Hearing, Outage, describe_client_error, describe_with_hint, is_fatal
from eventzr_kafka._confluent.refused import RefusedBatches
from eventzr_kafka.errors import ProducerStateError
from eventzr_kafka.kafka.record import Header, OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome
from eventzr_kafka.safe_text import error_location, printable
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentProducer", "dead_letter_client"]

log = logging.getLogger("eventzr_kafka.producer")

_LARGEST = 1_000_000_000  # bytes of a record that the client can send
_POLL = 0.1  # seconds between two calls of `reported` when nothing happens
_GRACE = 1.0  # seconds for the reports of a client that has ended; they say more than that it has
_LEAST = 5.0  # seconds between two clients, so that a lasting fault does not make hundreds of them
_FOR_ITS_BATCH = {  # refused with its batch, and perhaps not for its own fault
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
    """A record that is under way; the client calls it with its report."""

    __slots__ = ("_producer", "headers", "report", "topic")

    def __init__(
        self, producer: ConfluentProducer, report: DeliveryCallback, topic: str, headers: Sequence[Header]
    ) -> None:
        self._producer = producer
        self.report = report
        self.topic = topic
        self.headers = headers  # a report has the key and the value, but not these

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        try:
            self._producer.on_delivery(self, error, message)
        except Exception as fault:  # noqa: BLE001 -- see rule 2; without a report its caller would wait for ever
            self._producer.on_fault(self, fault)


class ConfluentProducer:
    """A `ProducerTransport`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Take the configuration; nothing connects before `start`."""
        self._config = producer_config(settings)
        self._login = token_callback(self._config)
        self._outage = Outage(log, "producer", settings.brokers, self._login)
        self._under_way: set[_Sent] = set()
        self._batch_bytes = settings.batch_bytes
        self._batches = RefusedBatches(lambda: ConfluentProducer(_one_in_a_batch(settings)), settings.batch_bytes)
        self._refused = self._batches.episodes  # is looked at for each event, and empty
        self._closing = threading.Event()
        self._room = 1024 * int(self._config["queue.buffering.max.kbytes"])
        self._is_gapless = str(self._config.get("enable.gapless.guarantee")).lower() == "true"
        self._is_alone = str(self._config.get("batch.num.messages")) == "1"
        self._ended: DeliveryFailure | None = None  # why the client sends nothing more
        self._hearing = Hearing()
        self._given_up: Producer | None = None

    def start(self, reported: Callable[[], None]) -> None:
        """Make the client and the thread that serves it."""
        self._reported = reported
        self._client = self._connect()
        self._thread = threading.Thread(target=self._serve, name="eventzr-kafka producer", daemon=True)
        self._thread.start()

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        """Queue a record; False if there is no room."""
        if self._ended is not None:
            report(replace(self._ended, unknown=False, local=True))
            return True
        if self._refused and (waits := self._batches.wait(record, report)) is not None:
            return waits
        sent = _Sent(self, report, record.topic, record.headers)
        self._under_way.add(sent)
        try:
            self._client.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=sent,
            )
        except BufferError:
            self._under_way.discard(sent)
            if len(record.value or b"") <= self._room:
                return False
            text = "the event is larger than all that the client may hold"
            report(DeliveryFailure("_QUEUE_FULL", text, unknown=False, local=True))
        except KafkaException as error:
            self._report(sent, replace(self._failure(error.args[0]), local=True))
        except (TypeError, ValueError) as error:  # such as a header name that is not text; UnicodeError is a ValueError
            text = f"the client cannot write this record: {type(error).__name__}"
            self._report(sent, DeliveryFailure("_INVALID_ARG", text, unknown=False, local=True))
        except RuntimeError as error:  # what the client says when it is closed
            self._under_way.discard(sent)
            raise ProducerStateError("the producer was closed") from error
        return True

    def flush(self, timeout: float) -> int:
        """Wait for the reports; returns how many are missing."""
        deadline = time.monotonic() + timeout
        self._attempt("flushing", self._drive, self._client.flush, timeout)
        while self._refused and (left := deadline - time.monotonic()) > 0:
            self._batches.advance(self._busy_topics)
            self._batches.flush(min(left, _POLL))
        self._reported()
        return len(self._under_way) + self._batches.count

    def close(self) -> None:
        """Purge what is not acknowledged, report it, and end the thread."""
        self._attempt("closing", self._client.purge)
        self._attempt("closing", self._drive, self._client.flush, 1.0)
        self._closing.set()
        self._thread.join(timeout=5.0)
        self._batches.close()
        self._report_all(
            DeliveryFailure("_DESTROY", "the producer was closed before the broker acknowledged", unknown=True)
        )
        self._attempt("closing", self._client.close)

    def _attempt(self, what: str, call: Callable[..., object], *arguments: object) -> None:
        """Do what may fail without harm: each record that is not acknowledged is reported all the same."""
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 -- of the client
            log.warning("producer: %s, going on: %s", what, describe_client_error(error))

    def _connect(self) -> Producer:
        self._connected = time.monotonic()
        heard = self._hearing.give()
        callbacks = {"error_cb": heard(self._outage.on_error), "stats_cb": heard(self._outage.on_statistics)}
        return make_client(Producer, {**self._config, **callbacks, "statistics.interval.ms": 1000})

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self._drive(self._client.poll, _POLL)
                if self._outage.for_good and self._ended is None:
                    self._client.purge()
                    self._end("it has lost its brokers for good")
                if self._ended is not None:
                    self._go_on_without(self._ended)
                if self._given_up is not None:  # each time: another thread may have queued a record just now
                    self._empty(self._given_up)
                self._batches.advance(self._busy_topics)
                self._reported()
            except Exception as error:  # noqa: BLE001 -- without this thread no delivery would ever be reported
                log.error("producer: serving reports failed, going on: %s", error_location(error))  # noqa: TRY400 -- no texts

    def _drive(self, wait: Callable[[float], Any], seconds: float) -> None:
        """Poll or flush."""
        try:
            wait(seconds)
        except KafkaException as error:
            if not is_fatal(error.args[0]):
                raise
            self._end(describe_with_hint(error.args[0]))

    def _end(self, reason: str) -> None:
        """Let nothing more come to the client."""
        self._ended_at = time.monotonic()
        self._ended = DeliveryFailure("_FATAL", reason, unknown=True)
        if self._is_gapless:
            log.info("producer: the client has ended, as enable.gapless.guarantee asks: %s", reason)
        else:
            log.error("producer: the client has ended, what it held fails, going on with another: %s", reason)

    def _go_on_without(self, failure: DeliveryFailure) -> None:
        """Have everything reported that the client holds, and make another one when it is time."""
        if len(self._client) and time.monotonic() < self._ended_at + _GRACE:
            return
        self._empty(self._client)
        self._report_all(failure)
        if not self._is_gapless and time.monotonic() > self._connected + _LEAST:
            another = self._connect()
            self._given_up, self._client = self._client, another
            self._outage.forgotten, self._ended = 0, None

    def _empty(self, client: Producer) -> None:
        client.purge()
        with suppress(KafkaException):  # it has ended, whatever it says
            client.poll(0)

    def on_delivery(self, sent: _Sent, error: KafkaError | None, message: Message) -> None:
        """The client's report on one record."""
        if error is None:
            self._report(sent, Acknowledgement(message.partition() or 0, message.offset() or 0))
            self._outage.over()
            if self._refused:
                self._batches.stored(sent.topic, message.key(), message.partition() or 0, message.offset() or 0)
        elif error.code() in _FOR_ITS_BATCH and self._had_company(sent, message):
            self._take_back(sent, message, self._failure(error))
        else:
            self._report(sent, self._failure(error))

    def on_fault(self, sent: _Sent, fault: Exception) -> None:
        """The report could not be taken in: the record may have arrived."""
        log.error(
            "producer: a report on %s was not taken in: %s", printable(sent.topic, limit=249), error_location(fault)
        )
        self._report(sent, DeliveryFailure("_FAIL", "the client's report was not taken in", unknown=True))

    def _had_company(self, sent: _Sent, message: Message) -> bool:
        """Whether its batch perhaps held others: they are not reported yet, or were sent back just now."""
        if self._is_gapless or self._is_alone or len(message.value() or b"") > self._batch_bytes:
            return False
        return sent.topic in self._refused or any(
            other.topic == sent.topic for other in list(self._under_way) if other is not sent
        )

    def _take_back(self, sent: _Sent, message: Message, failure: DeliveryFailure) -> None:
        record = OutgoingRecord(sent.topic, message.key(), message.value(), sent.headers)
        if sent in self._under_way:
            self._batches.take(record, sent.report, failure)
            self._under_way.discard(sent)

    def _busy_topics(self) -> set[str]:
        return {sent.topic for sent in list(self._under_way)}

    def _report(self, sent: _Sent, outcome: DeliveryOutcome) -> None:
        try:
            self._under_way.remove(sent)
        except KeyError:  # reported already, by another thread perhaps
            return
        sent.report(outcome)

    def _report_all(self, failure: DeliveryFailure) -> None:
        for sent in list(self._under_way):
            self._report(sent, failure)
        self._reported()

    def _failure(self, error: KafkaError) -> DeliveryFailure:
        cause = (self._login.error if self._login is not None else None) or self._outage.refusal
        text = printable(error.str(), limit=200) if cause is None else str(cause)
        return DeliveryFailure(error.name(), text, unknown=error.code() in _MAY_HAVE_ARRIVED, cause=cause)


def _one_in_a_batch(settings: KafkaSettings) -> KafkaSettings:
    return replace(settings, librdkafka={**settings.librdkafka, "batch.num.messages": 1})


def dead_letter_client(settings: KafkaSettings) -> ConfluentProducer:
    """The client of dead letters: whatever a topic took in must fit into another one."""
    return ConfluentProducer(replace(settings, librdkafka={"message.max.bytes": _LARGEST, **settings.librdkafka}))
