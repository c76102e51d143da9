"""A producer on librdkafka: any thread queues records, one thread serves the broker's reports.

1. Every queued record is in the set of those under way until it is reported. What the client forgets, as after a fatal
   error, is reported from the set. One small object for each: the garbage collector looks at all that are under way.
2. Callbacks never raise. The client does: `poll` and `flush` raise its fatal error, once, in place of `error_cb`.
3. After a time-out the record may have arrived: the failure says so.
4. A client that can send nothing more, after a fatal error or because it has lost its brokers for good, is given up for
   another one; what it still held is reported as failed. Whoever asks for `enable.gapless.guarantee` gets no other one:
   it would write new records before he can write those again that failed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventzr_kafka._confluent.config import producer_config
from eventzr_kafka._confluent.oauth import make_client, token_callback
from eventzr_kafka._confluent.outage import Hearing, Outage, describe_with_mend, is_fatal
from eventzr_kafka.errors import ProducerStateError, describe, printable
from eventzr_kafka.record import OutgoingRecord
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.transport import Acknowledgement, Failure, Report

__all__ = ["ConfluentProducer", "dead_letter_client"]

log = logging.getLogger("eventzr_kafka.producer")

_LARGEST = 1_000_000_000  # bytes of a record that the client can send
_POLL = 0.1  # seconds between two calls of `reported` when nothing happens
_GRACE = 1.0  # seconds for the reports of a client that has ended; they say more than that it has
_LEAST = 5.0  # seconds between two clients, so that a lasting fault does not make hundreds of them
_MAY_HAVE_ARRIVED = {
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._PURGE_INFLIGHT,
    KafkaError.REQUEST_TIMED_OUT,
}


class _Sent:
    """A record that is under way; the client calls it with its report."""

    __slots__ = ("_producer", "report")

    def __init__(self, producer: ConfluentProducer, report: Report) -> None:
        self._producer = producer
        self.report = report

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._producer.on_delivery(self, error, message)


class ConfluentProducer:
    """A `ProducerTransport`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Take the configuration; nothing connects before `start`."""
        self._config = producer_config(settings)
        self._login = token_callback(self._config)
        self._outage = Outage(log, "producer", settings.brokers, self._login)
        self._under_way: set[_Sent] = set()
        self._closing = threading.Event()
        self._room = 1024 * int(self._config["queue.buffering.max.kbytes"])
        self._is_gapless = str(self._config.get("enable.gapless.guarantee")).lower() == "true"
        self._ended: Failure | None = None  # why the client sends nothing more
        self._hearing = Hearing()
        self._given_up: Producer | None = None

    def start(self, reported: Callable[[], None]) -> None:
        """Make the client and the thread that serves it."""
        self._reported = reported
        self._client = self._connect()
        self._thread = threading.Thread(target=self._serve, name="eventzr-kafka producer", daemon=True)
        self._thread.start()

    def produce(self, record: OutgoingRecord, report: Report) -> bool:
        """Queue a record; False if there is no room."""
        if self._ended is not None:
            report(replace(self._ended, unknown=False, local=True))
            return True
        sent = _Sent(self, report)
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
            text = "larger than all that the client may hold: raise its queue.buffering.max.kbytes"
            report(Failure("_MSG_SIZE_TOO_LARGE", text, unknown=False, local=True))
        except KafkaException as error:
            self._report(sent, replace(self._failure(error.args[0]), local=True))
        except (TypeError, ValueError) as error:  # such as a header name that is not text; UnicodeError is a ValueError
            text = f"the client cannot write this record: {type(error).__name__}"
            self._report(sent, Failure("_INVALID_ARG", text, unknown=False, local=True))
        except RuntimeError as error:  # what the client says when it is closed
            self._under_way.discard(sent)
            raise ProducerStateError("the producer was closed") from error
        return True

    def flush(self, timeout: float) -> int:
        """Wait for the reports; returns how many are missing."""
        self._drive(self._client.flush, timeout)
        self._reported()
        return len(self._under_way)

    def close(self) -> None:
        """Purge what is not acknowledged, report it, and end the thread."""
        self._client.purge()
        self._drive(self._client.flush, 1.0)
        self._closing.set()
        self._thread.join(timeout=5.0)
        self._report_all(Failure("_DESTROY", "the producer was closed before the broker acknowledged", unknown=True))
        self._client.close()

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
                self._reported()
            except Exception as error:  # noqa: BLE001 -- without this thread no delivery would ever be reported
                log.error("producer: serving reports failed, going on: %s", describe(error))  # noqa: TRY400 -- no texts

    def _drive(self, wait: Callable[[float], Any], seconds: float) -> None:
        """Poll or flush."""
        try:
            wait(seconds)
        except KafkaException as error:
            if not is_fatal(error.args[0]):
                raise
            self._end(describe_with_mend(error.args[0]))

    def _end(self, reason: str) -> None:
        """Let nothing more come to the client."""
        self._ended_at = time.monotonic()
        self._ended = Failure("_FATAL", reason, unknown=True)
        if self._is_gapless:
            log.info("producer: the client has ended, as enable.gapless.guarantee asks: %s", reason)
        else:
            log.error("producer: the client has ended, what it held fails, going on with another: %s", reason)

    def _go_on_without(self, failure: Failure) -> None:
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
        else:
            self._report(sent, self._failure(error))

    def _report(self, sent: _Sent, outcome: Acknowledgement | Failure) -> None:
        try:
            self._under_way.remove(sent)
        except KeyError:  # reported already, by another thread perhaps
            return
        sent.report(outcome)

    def _report_all(self, failure: Failure) -> None:
        for sent in list(self._under_way):
            self._report(sent, failure)
        self._reported()

    def _failure(self, error: KafkaError) -> Failure:
        cause = (self._login.error if self._login is not None else None) or self._outage.refusal
        text = printable(error.str(), limit=200) if cause is None else str(cause)
        return Failure(error.name(), text, unknown=error.code() in _MAY_HAVE_ARRIVED, cause=cause)


def dead_letter_client(settings: KafkaSettings) -> ConfluentProducer:
    """The client of dead letters: whatever a topic took in must fit into another one."""
    return ConfluentProducer(replace(settings, client={"message.max.bytes": _LARGEST, **settings.client}))
