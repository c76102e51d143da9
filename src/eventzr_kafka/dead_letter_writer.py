"""Writes dead letters and waits for the broker's word; the client is made with the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from eventzr_kafka.dead_letter import DeadLetterFacts, Shrink, write_letter
from eventzr_kafka.errors import DeliveryError
from eventzr_kafka.record import OutgoingRecord, Record
from eventzr_kafka.shutdown import LoopWatch
from eventzr_kafka.transport import Acknowledgement, Failure, ProducerTransport

__all__ = ["DeadLetterWriter"]

_FULL = 0.25  # seconds until a full queue is tried again
_FLUSH = 5.0  # seconds that what is under way may take when the writer closes
_TOO_LARGE = {"MSG_SIZE_TOO_LARGE", "_MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE"}
_SHRINKS: tuple[Shrink, ...] = (0, 1, 2)


class DeadLetterWriter:
    """One client for the dead letters of a process."""

    def __init__(self, make_transport: Callable[[], ProducerTransport]) -> None:
        """Take what makes the client; nothing is made before the first record.

        Args:
            make_transport: Makes it; that and its `start` may block, and are called in a thread.
        """
        self._make_transport = make_transport
        self._client: asyncio.Future[ProducerTransport] | None = None
        self._closed = False

    async def write_letter(
        self, record: Record, facts: DeadLetterFacts, is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Write the dead letter of a record; its headers shrink until it fits.

        Args:
            is_wanted: Asked when it is about to be sent, which may be a while after the call.

        Raises:
            DeliveryError: The broker did not acknowledge, or it was not wanted any more.
        """
        for shrink in _SHRINKS:
            outgoing = write_letter(record, facts, shrink=shrink)
            outcome = await self._send(outgoing, is_wanted)
            if isinstance(outcome, Acknowledgement):
                return
            if outcome.reason not in _TOO_LARGE or shrink == _SHRINKS[-1]:
                raise _not_written(outgoing, outcome, facts.event_id)

    async def write(self, record: OutgoingRecord) -> None:
        """Write a record.

        Raises:
            DeliveryError: The broker did not acknowledge.
        """
        outcome = await self._send(record)
        if isinstance(outcome, Failure):
            raise _not_written(record, outcome, None)

    async def close(self) -> None:
        """Wait a little for what is under way, and give the client up."""
        self._closed = True
        await self._give_up(_FLUSH)

    async def give_up(self) -> None:
        """Send nothing more of what is under way; the next record makes another client."""
        await self._give_up(0.0)

    async def _give_up(self, timeout: float) -> None:
        client = self._client
        if client is None or not client.done():  # one that is still being made holds nothing
            return
        self._client = None
        if _failed(client):
            return
        transport = client.result()
        await asyncio.to_thread(transport.flush, timeout)
        await asyncio.to_thread(transport.close)

    async def _send(
        self, record: OutgoingRecord, is_wanted: Callable[[], bool] = lambda: True
    ) -> Acknowledgement | Failure:
        if self._closed:
            return Failure("_DESTROY", "the writer is closed", unknown=False)
        transport = await self._started()
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Acknowledgement | Failure] = loop.create_future()

        def report(outcome: Acknowledgement | Failure) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, told, outcome)

        while is_wanted():
            if transport.produce(record, report):
                return await told
            await asyncio.sleep(_FULL)  # the client does not tell when there is room
        return Failure("_UNWANTED", "nobody waits for it any more", unknown=False)

    async def _started(self) -> ProducerTransport:
        """The client; whoever gives up waiting for it leaves it to the next record."""
        client = self._client
        if client is None or _failed(client):
            loop = asyncio.get_running_loop()
            client = self._client = asyncio.ensure_future(asyncio.to_thread(self._start, loop))
        return await asyncio.shield(client)

    def _start(self, loop: asyncio.AbstractEventLoop) -> ProducerTransport:
        transport = self._make_transport()
        transport.start(LoopWatch(loop, "dead letters", transport.close))  # reports are passed on one by one
        if self._closed:  # meanwhile, and it waits for no client that holds nothing
            transport.close()
        return transport


def _failed(client: asyncio.Future[ProducerTransport]) -> bool:
    return client.done() and (client.cancelled() or client.exception() is not None)


def _settle(told: asyncio.Future[Acknowledgement | Failure], outcome: Acknowledgement | Failure) -> None:
    if not told.done():
        told.set_result(outcome)


def _not_written(record: OutgoingRecord, failure: Failure, event_id: str | None) -> DeliveryError:
    mend = f"create it: eventzr-kafka topics apply, or kafka-topics --create --topic {record.topic}"
    missing = failure.reason in {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"}
    problem = f"topic {record.topic} does not exist" if missing else f"{failure.reason}: {failure.text}"
    return DeliveryError(event_id or "?", record.topic, problem, mend if missing else "it is tried again")
