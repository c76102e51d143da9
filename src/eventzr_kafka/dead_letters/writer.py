"""The writer of dead letters: it waits for the broker's acknowledgement; the first letter makes the client.

1. A letter that the topic refuses as too large is sent compressed, by a second client: with gzip, which every Kafka
   client can read. If it still does not fit, it shrinks step by step, see `letter`; the last step always fits.
2. A letter that the client cannot write shrinks in the same way.
3. A fault of the topic, not of the letter, is raised with a hint. An operator can repair it, so the caller tries again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.codec.size_hints import TOO_LARGE
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Shrink, write_letter
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.kafka.record import OutgoingRecord, Record
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryFailure, DeliveryOutcome, ProducerTransport
from eventzr_kafka.lifecycle.shutdown import LoopWatch
from eventzr_kafka.settings import KafkaSettings

__all__ = ["DeadLetterWriter", "make_letter_writer"]

log = logging.getLogger("eventzr_kafka.consumer")

_FULL_QUEUE_PAUSE = 0.25  # seconds until a full queue is tried again
_FLUSH_TIMEOUT = 5.0  # seconds that letters in flight may take when the writer closes
_LARGE = 1_048_576  # bytes of a value whose hash takes long enough to need a thread
_UNFIT = {*TOO_LARGE, "_INVALID_ARG"}
_SHRINKS: tuple[Shrink, ...] = (0, 1, 2, 3)
_HINTS = {
    "INVALID_RECORD": "set its cleanup.policy to delete: compaction refuses letters without a key and deletes others",
    "INVALID_TIMESTAMP": "set the clock of this machine by NTP, or the topic's message.timestamp.type to LogAppendTime",
    "TOPIC_AUTHORIZATION_FAILED": "allow this identity to write to it: eventzr-kafka iam-policy shows how",
    "TOPIC_EXCEPTION": "Kafka does not allow this topic name: give the group another id",
    **dict.fromkeys(_UNFIT, "raise its max.message.bytes: it does not even take a letter that only names its record"),
}


class DeadLetterWriter:
    """The clients for the dead letters of a process: a plain one, and one that compresses what is too large."""

    def __init__(
        self,
        make_transport: Callable[[], ProducerTransport],
        make_compressing: Callable[[], ProducerTransport] | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare; the first record makes a client.

        Args:
            make_transport: Makes a client; it and the client's `start` may block, and are called in a thread.
            make_compressing: Makes the client that compresses; without it letters shrink at once.
        """
        self._plain = _Client(make_transport)
        self._compressing = self._plain if make_compressing is None else _Client(make_compressing)
        self._sleep = clock.sleep
        self._closed = False

    async def write_letter(
        self, record: Record, facts: DeadLetterFacts, is_wanted: Callable[[], bool] = lambda: True
    ) -> Acknowledgement:
        """Write the dead letter of a record, compressed or shrunk if it does not fit otherwise.

        Args:
            is_wanted: Called right before the letter is sent, which may be a while after the call.

        Returns:
            The place of the letter in the topic.

        Raises:
            DeliveryError: The broker did not acknowledge the letter, or `is_wanted` returned False.
        """
        for client, shrink in self._attempts():
            if shrink < 2 or len(record.value or b"") < _LARGE:
                outgoing = write_letter(record, facts, shrink=shrink)
            else:
                outgoing = await asyncio.to_thread(write_letter, record, facts, shrink=shrink)
            outcome = await self._send(client, outgoing, is_wanted)
            if isinstance(outcome, Acknowledgement):
                if shrink >= 2:
                    _log_cut(record, outgoing)
                return outcome
            if outcome.reason not in _UNFIT or shrink == _SHRINKS[-1]:
                raise _not_written(outgoing, outcome, facts.event_id)
        raise AssertionError("the last attempt either succeeds or raises")

    def _attempts(self) -> Iterator[tuple[_Client, Shrink]]:
        """Pairs of a client and a shrink step; each fits a larger record than the pair before."""
        yield self._plain, 0
        for shrink in _SHRINKS:
            if shrink or self._compressing is not self._plain:
                yield self._compressing, shrink

    async def write(self, record: OutgoingRecord) -> Acknowledgement:
        """Write a record, such as a note; returns its place in the topic.

        Raises:
            DeliveryError: The broker did not acknowledge it.
        """
        outcome = await self._send(self._plain, record)
        if isinstance(outcome, DeliveryFailure):
            raise _not_written(record, outcome, None)
        return outcome

    async def close(self) -> None:
        """Wait a little for the letters in flight, and close the clients."""
        self._closed = self._plain.closed = self._compressing.closed = True
        await self._give_up(_FLUSH_TIMEOUT)

    async def give_up(self) -> None:
        """Drop the letters in flight and close the clients; the next record makes new ones."""
        await self._give_up(0.0)

    async def _give_up(self, timeout: float) -> None:
        await asyncio.gather(self._plain.give_up(timeout), self._compressing.give_up(timeout))

    async def _send(
        self, client: _Client, record: OutgoingRecord, is_wanted: Callable[[], bool] = lambda: True
    ) -> DeliveryOutcome:
        if self._closed:
            return DeliveryFailure("_DESTROY", "the writer is closed", unknown=False)
        transport = await client.transport()
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[DeliveryOutcome] = loop.create_future()

        def report(outcome: DeliveryOutcome) -> None:
            with suppress(RuntimeError):  # the loop is closed: the coroutine that waited has ended
                loop.call_soon_threadsafe(_set_outcome, delivered, outcome)

        while is_wanted():
            if transport.produce(record, report):
                return await delivered
            await self._sleep(_FULL_QUEUE_PAUSE)  # the client does not say when there is room
        return DeliveryFailure("_UNWANTED", "its partition was revoked meanwhile", unknown=False)


def make_letter_writer(
    make_client: Callable[[KafkaSettings], ProducerTransport], settings: KafkaSettings, *, clock: Clock = SYSTEM_CLOCK
) -> DeadLetterWriter:
    """Make the writer of a process: its second client compresses with gzip, which kafkajs reads without a plug-in."""
    compressing = replace(settings, librdkafka={**settings.librdkafka, "compression.type": "gzip"})
    return DeadLetterWriter(lambda: make_client(settings), lambda: make_client(compressing), clock=clock)


class _Client:
    """A client that is made when it is first needed.

    Attributes:
        closed: True once the writer is closed: a client that is made after that is closed at once.
    """

    def __init__(self, make_transport: Callable[[], ProducerTransport]) -> None:
        self._make_transport = make_transport
        self._creation: asyncio.Future[ProducerTransport] | None = None
        self.closed = False

    async def transport(self) -> ProducerTransport:
        """The started client; if the caller is cancelled while it starts, the next record finds it."""
        creation = self._creation
        if creation is None or _has_failed(creation):
            start = asyncio.to_thread(self._start, asyncio.get_running_loop())
            creation = self._creation = asyncio.ensure_future(start)
        return await asyncio.shield(creation)

    async def give_up(self, timeout: float) -> None:
        creation = self._creation
        if creation is None or not creation.done():  # a client that is still being made has sent nothing
            return
        self._creation = None
        if _has_failed(creation):
            return
        transport = creation.result()
        await asyncio.to_thread(transport.flush, timeout)
        await asyncio.to_thread(transport.close)

    def _start(self, loop: asyncio.AbstractEventLoop) -> ProducerTransport:
        transport = self._make_transport()
        transport.start(LoopWatch(loop, "dead letters", transport.close))  # each report wakes the loop by itself
        if self.closed:  # the writer was closed while this thread made the client
            transport.close()
        return transport


def _has_failed(creation: asyncio.Future[ProducerTransport]) -> bool:
    return creation.done() and (creation.cancelled() or creation.exception() is not None)


def _set_outcome(delivered: asyncio.Future[DeliveryOutcome], outcome: DeliveryOutcome) -> None:
    if not delivered.done():
        delivered.set_result(outcome)


def _log_cut(record: Record, written: OutgoingRecord) -> None:
    log.warning(
        "%s: its dead letter is written without the value of %s bytes, which does not fit into %s even compressed; "
        "the record stays in its own topic until retention: replay it before that, and raise max.message.bytes of %s",
        record.position,
        f"{len(record.value or b''):,}",
        written.topic,
        written.topic,
    )


def _not_written(record: OutgoingRecord, failure: DeliveryFailure, event_id: str | None) -> DeliveryError:
    if failure.reason in {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"}:
        hint = f"create it: eventzr-kafka topics apply, or kafka-topics --create --topic {record.topic}"
        return DeliveryError(event_id or "?", record.topic, f"topic {record.topic} does not exist", hint)
    hint = _HINTS.get(failure.reason, "it is tried again")
    return DeliveryError(event_id or "?", record.topic, f"{failure.reason}: {failure.text}", hint)
