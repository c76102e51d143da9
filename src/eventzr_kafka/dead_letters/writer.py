"""Writes dead letters and waits for the broker's word; the client is made with the first one.

1. A letter that the topic refuses as too large goes out compressed, by a second client: with gzip, which every Kafka
   client can read. If it still does not fit, it shrinks, see `dead_letter`, until nothing is left to be too large.
2. So does a letter that the client cannot write.
3. A fault of the topic, and not of the letter, is raised and named with its hint: the caller tries again, since an
   operator can put it right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from eventzr_kafka.codec.size_hints import TOO_LARGE
from eventzr_kafka.dead_letters.letter import DeadLetterFacts, Shrink, write_letter
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.kafka.record import OutgoingRecord, Record
from eventzr_kafka.kafka.transport import Acknowledgement, Failure, ProducerTransport
from eventzr_kafka.lifecycle.shutdown import LoopWatch
from eventzr_kafka.settings import KafkaSettings

__all__ = ["DeadLetterWriter", "compressing"]

log = logging.getLogger("eventzr_kafka.consumer")

_FULL = 0.25  # seconds until a full queue is tried again
_FLUSH = 5.0  # seconds that what is under way may take when the writer closes
_LARGE = 1_048_576  # bytes of a value that takes a while to be hashed
_UNFIT = {*TOO_LARGE, "_INVALID_ARG"}
_SHRINKS: tuple[Shrink, ...] = (0, 1, 2, 3)
_HINTS = {
    "INVALID_RECORD": "set its cleanup.policy to delete: compacted, it refuses letters without a key and loses others",
    "INVALID_TIMESTAMP": "set the clock of this machine by NTP, or the topic's message.timestamp.type to LogAppendTime",
    "TOPIC_AUTHORIZATION_FAILED": "allow this identity to write to it: eventzr-kafka iam-policy shows how",
    "TOPIC_EXCEPTION": "no topic can have this name: give the group another id",
    **dict.fromkeys(_UNFIT, "raise its max.message.bytes: it does not even take a letter that only names its record"),
}


def compressing(settings: KafkaSettings) -> KafkaSettings:
    """The settings of a client that compresses: with gzip, since stock kafkajs reads nothing else."""
    return replace(settings, client={**settings.client, "compression.type": "gzip"})


class DeadLetterWriter:
    """The clients for the dead letters of a process: one, and a second one for letters that are too large."""

    def __init__(
        self,
        make_transport: Callable[[], ProducerTransport],
        make_compressing: Callable[[], ProducerTransport] | None = None,
    ) -> None:
        """Take what makes the clients; nothing is made before the first record.

        Args:
            make_transport: Makes one; that and its `start` may block, and are called in a thread.
            make_compressing: Makes the one that compresses; if left out, letters shrink at once.
        """
        self._plain = _Client(make_transport)
        self._compressing = self._plain if make_compressing is None else _Client(make_compressing)
        self._closed = False

    async def write_letter(
        self, record: Record, facts: DeadLetterFacts, is_wanted: Callable[[], bool] = lambda: True
    ) -> Acknowledgement:
        """Write the dead letter of a record, compressed or shrunk if it does not fit otherwise; says where it is.

        Args:
            is_wanted: Asked when it is about to be sent, which may be a while after the call.

        Raises:
            DeliveryError: The broker did not acknowledge, or it was not wanted any more.
        """
        for client, shrink in self._ways():
            if shrink < 2 or len(record.value or b"") < _LARGE:
                outgoing = write_letter(record, facts, shrink=shrink)
            else:
                outgoing = await asyncio.to_thread(write_letter, record, facts, shrink=shrink)
            outcome = await self._send(client, outgoing, is_wanted)
            if isinstance(outcome, Acknowledgement):
                if shrink >= 2:
                    _say_cut(record, outgoing)
                return outcome
            if outcome.reason not in _UNFIT or shrink == _SHRINKS[-1]:
                raise _not_written(outgoing, outcome, facts.event_id)
        raise AssertionError("the last way is given up with an error")

    def _ways(self) -> Iterator[tuple[_Client, Shrink]]:
        """The ways to write a letter, each for a larger one than that before."""
        yield self._plain, 0
        for shrink in _SHRINKS:
            if shrink or self._compressing is not self._plain:
                yield self._compressing, shrink

    async def write(self, record: OutgoingRecord) -> Acknowledgement:
        """Write a record; says where it is.

        Raises:
            DeliveryError: The broker did not acknowledge.
        """
        outcome = await self._send(self._plain, record)
        if isinstance(outcome, Failure):
            raise _not_written(record, outcome, None)
        return outcome

    async def close(self) -> None:
        """Wait a little for what is under way, and give the clients up."""
        self._closed = self._plain.closed = self._compressing.closed = True
        await self._give_up(_FLUSH)

    async def give_up(self) -> None:
        """Send nothing more of what is under way; the next record makes another client."""
        await self._give_up(0.0)

    async def _give_up(self, timeout: float) -> None:
        await asyncio.gather(self._plain.give_up(timeout), self._compressing.give_up(timeout))

    async def _send(
        self, client: _Client, record: OutgoingRecord, is_wanted: Callable[[], bool] = lambda: True
    ) -> Acknowledgement | Failure:
        if self._closed:
            return Failure("_DESTROY", "the writer is closed", unknown=False)
        transport = await client.started()
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Acknowledgement | Failure] = loop.create_future()

        def report(outcome: Acknowledgement | Failure) -> None:
            with suppress(RuntimeError):  # the loop is closed: nothing waits any more
                loop.call_soon_threadsafe(_settle, told, outcome)

        while is_wanted():
            if transport.produce(record, report):
                return await told
            await asyncio.sleep(_FULL)  # the client does not say when there is room
        return Failure("_UNWANTED", "nothing waits for it any more", unknown=False)


class _Client:
    """A client that is made when it is needed.

    Attributes:
        closed: Whether no other client is wanted.
    """

    def __init__(self, make_transport: Callable[[], ProducerTransport]) -> None:
        self._make_transport = make_transport
        self._made: asyncio.Future[ProducerTransport] | None = None
        self.closed = False

    async def started(self) -> ProducerTransport:
        """The client; a caller that gives up waiting for it leaves it to the next record."""
        made = self._made
        if made is None or _failed(made):
            made = self._made = asyncio.ensure_future(asyncio.to_thread(self._start, asyncio.get_running_loop()))
        return await asyncio.shield(made)

    async def give_up(self, timeout: float) -> None:
        made = self._made
        if made is None or not made.done():  # one that is still being made holds nothing
            return
        self._made = None
        if _failed(made):
            return
        transport = made.result()
        await asyncio.to_thread(transport.flush, timeout)
        await asyncio.to_thread(transport.close)

    def _start(self, loop: asyncio.AbstractEventLoop) -> ProducerTransport:
        transport = self._make_transport()
        transport.start(LoopWatch(loop, "dead letters", transport.close))  # reports are passed on one by one
        if self.closed:  # meanwhile, and nothing waits for a client that holds nothing
            transport.close()
        return transport


def _failed(made: asyncio.Future[ProducerTransport]) -> bool:
    return made.done() and (made.cancelled() or made.exception() is not None)


def _settle(told: asyncio.Future[Acknowledgement | Failure], outcome: Acknowledgement | Failure) -> None:
    if not told.done():
        told.set_result(outcome)


def _say_cut(record: Record, written: OutgoingRecord) -> None:
    log.warning(
        "%s: its dead letter is written without the value of %s bytes, which does not fit into %s even compressed; "
        "the record stays in its own topic until retention: replay it before that, and raise max.message.bytes of %s",
        record.position,
        f"{len(record.value or b''):,}",
        written.topic,
        written.topic,
    )


def _not_written(record: OutgoingRecord, failure: Failure, event_id: str | None) -> DeliveryError:
    if failure.reason in {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"}:
        hint = f"create it: eventzr-kafka topics apply, or kafka-topics --create --topic {record.topic}"
        return DeliveryError(event_id or "?", record.topic, f"topic {record.topic} does not exist", hint)
    hint = _HINTS.get(failure.reason, "it is tried again")
    return DeliveryError(event_id or "?", record.topic, f"{failure.reason}: {failure.text}", hint)
