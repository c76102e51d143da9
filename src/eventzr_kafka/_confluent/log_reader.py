"""Reads a whole topic, every partition from its beginning, on librdkafka; commits nothing.

1. The client assigns itself all partitions and does not join a group. The broker asks for a group's name all the same:
   it gets one whose rights this process has anyway.
2. A partition is read when a record at or beyond its end has arrived, or when the client reports the end: compaction
   and transaction markers leave offsets without a record.
3. A missing topic is an answer, not an error. A follower asks for it until it exists.
4. The client's queue and one batch bound the memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.config import consumer_config
from eventzr_kafka._confluent.connection import describe_kafka_error, is_fatal
from eventzr_kafka._confluent.headers import read_headers
from eventzr_kafka._confluent.loop_gate import LoopGate
from eventzr_kafka._confluent.tls_faults import find_tls_fault, may_be_tls
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.errors import TransportError
from eventzr_kafka.kafka.record import Record, TopicPartition
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentLogReader"]

_MAX_BATCH = 500  # records
_POLL_SECONDS = 0.1  # that a call waits
_IDLE_SECONDS = 30.0  # without a record, after which reading fails
_METADATA_SECONDS = 10.0
_PARTITIONS_SECONDS = 5.0  # between two requests for new partitions
_MISSING_TOPIC_SECONDS = 1.0  # between two requests for a missing topic
_FINAL_ERRORS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
}
_ELECTING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # from a broker that does not know the new topic yet
}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class ConfluentLogReader:
    """A `LogReader`; make one for each topic."""

    def __init__(self, settings: KafkaSettings, group_id: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Check the configuration; nothing connects yet.

        Args:
            group_id: A group that this process has rights on, see rule 1.
        """
        self._clock = clock
        self._settings = settings
        config = consumer_config(settings, group_id, "classic")
        self._config = {
            **config,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "statistics.interval.ms": 0,
        }
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._closed.set()

    def read(self, topic: str, first: Mapping[int, int] | None = None) -> Iterator[list[Record]] | None:
        """Return the records of a topic up to its ends as of now, batch by batch; None if the topic does not exist.

        Blocks. Any thread may advance the iterator, one at a time.

        Args:
            first: The only partitions to read, each with its first offset; None reads all of them.

        Raises:
            TransportError: The broker cannot be reached, or refuses; also while iterating.
        """
        with self._client(topic) as client:
            partitions = _partitions_of(client, topic)
            wanted = partitions if first is None else [number for number in partitions if number in first]
            ends = {number: _end_offset(client, topic, number, self._clock) for number in wanted}
        return self._read(topic, ends, first or {}) if partitions else None

    def _read(self, topic: str, ends: dict[int, int], first: Mapping[int, int]) -> Iterator[list[Record]]:
        progress = _Progress(ends)
        with self._client(topic) as client:
            client.assign([Offset(topic, number, first.get(number, OFFSET_BEGINNING)) for number in progress.missing])
            deadline = self._clock.monotonic() + _IDLE_SECONDS
            while progress.missing:
                records = [
                    _record(message) for message in client.consume(_MAX_BATCH, _POLL_SECONDS) if progress.take(message)
                ]
                if records:
                    yield records
                    deadline = self._clock.monotonic() + _IDLE_SECONDS
                elif self._clock.monotonic() > deadline:
                    raise TransportError(f"{topic}: no record arrived for {_IDLE_SECONDS:g} s; is the broker running?")

    def committed(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """Return the group's committed offset of each partition of these topics, 0 where it has none; blocks.

        Raises:
            TransportError: The broker cannot be reached, or refuses.
        """
        with self._client(", ".join(topics)) as client:
            asked = [Offset(topic, number) for topic in topics for number in _partitions_of(client, topic)]
            found = client.committed(asked, timeout=_METADATA_SECONDS) if asked else []
        return {TopicPartition(each.topic, each.partition): max(each.offset, 0) for each in found}

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Read the topic and follow it, in a thread of its own."""

        def fail(error: Exception) -> None:
            self._closing.set()
            on_failure(error)

        gate = LoopGate(asyncio.get_running_loop(), fail)
        self._closed.clear()
        arguments = (topic, gate, on_records, on_caught_up, on_failure)
        threading.Thread(target=self._follow, args=arguments, name=f"eventzr-kafka {topic}", daemon=True).start()

    async def close(self, timeout: float) -> bool:
        """Stop following; return True if the client was closed within `timeout` seconds."""
        self._closing.set()
        return await asyncio.to_thread(self._closed.wait, timeout)

    # In the thread

    def _follow(
        self,
        topic: str,
        gate: LoopGate,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        def notify(function: Callable[..., None], *args: Any) -> None:
            # One batch is on its way to the loop, never two: memory stays bounded, see rule 4.
            if not gate.call_and_wait(function, *args, give_up=self._closing.is_set):
                self._closing.set()

        def is_over() -> bool:
            return self._closing.is_set() or gate.is_closed

        try:
            with self._client(topic) as client:
                pass_on, catch_up = partial(notify, on_records), partial(notify, on_caught_up)
                _Follower(client, topic, pass_on, catch_up, is_over, self._clock).run()
        except Exception as error:  # noqa: BLE001 -- the caller reports every error
            notify(on_failure, error)
        finally:
            self._closed.set()

    @contextmanager
    def _client(self, topic: str) -> Generator[Consumer]:
        """Make a client, and close it in the end; its errors become `TransportError`."""
        try:
            client = Consumer(self._config)
            try:
                yield client
            finally:
                client.close()
        except KafkaException as error:
            fault = find_tls_fault(self._settings) if may_be_tls(error.args[0]) else None
            reason = fault or f"{self._settings.brokers}: {topic}: {describe_kafka_error(error.args[0])}"
            raise TransportError(reason) from error


class _Progress:
    """The progress of reading a topic up to its ends.

    Attributes:
        missing: Partitions that are not read to their end yet.
    """

    def __init__(self, ends: dict[int, int]) -> None:
        self._ends = ends
        self.missing = {number for number, end in ends.items() if end > 0}

    def take(self, message: Message) -> bool:
        """Note a message; return True if it is a record that existed at the start."""
        number, offset = message.partition() or 0, message.offset() or 0
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self.missing.discard(number)
            else:
                _raise_if_final(error)
            return False
        end = self._ends.get(number, 0)
        if offset >= end - 1:
            self.missing.discard(number)
        return offset < end


class _Follower:
    """Follows one topic with one client."""

    def __init__(
        self,
        client: Consumer,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        is_over: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._client = client
        self._topic = topic
        self._on_records = on_records
        self._on_caught_up = on_caught_up
        self._is_over = is_over
        self._clock = clock
        self._has_caught_up = False
        self._known: set[int] = set()
        self._progress: _Progress | None = None
        self._request_at = 0.0

    def run(self) -> None:
        """Follow the topic until it is over."""
        while not self._is_over():
            if self._clock.monotonic() >= self._request_at:
                self._find_partitions()
            self._report_caught_up()
            if self._known:
                self._pass_on(self._client.consume(_MAX_BATCH, _POLL_SECONDS))
            else:
                self._clock.block(_POLL_SECONDS)

    def _find_partitions(self) -> None:
        """Assign the partitions that exist and are not read yet."""
        try:
            partitions = _partitions_of(self._client, self._topic)
            new = [number for number in partitions if number not in self._known]
            if self._progress is None:
                ends = {number: _end_offset(self._client, self._topic, number, self._clock) for number in new}
                self._progress = _Progress(ends)
        except KafkaException as error:
            _raise_if_final(error.args[0])
            self._request_at = self._clock.monotonic() + _MISSING_TOPIC_SECONDS
            return
        self._request_at = self._clock.monotonic() + (_PARTITIONS_SECONDS if partitions else _MISSING_TOPIC_SECONDS)
        if new:
            self._client.incremental_assign([Offset(self._topic, number, OFFSET_BEGINNING) for number in new])
            self._known.update(new)

    def _pass_on(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if self._progress is not None:
                self._progress.take(message)
        records = [_record(message) for message in messages if message.error() is None]
        if records:
            self._on_records(records)

    def _report_caught_up(self) -> None:
        if self._progress is not None and not self._progress.missing and not self._has_caught_up:
            self._has_caught_up = True
            self._on_caught_up()


def _partitions_of(client: Consumer, topic: str) -> list[int]:
    """Return the partitions of a topic; none if it does not exist."""
    found = client.list_topics(topic, timeout=_METADATA_SECONDS).topics.get(topic)
    if found is None or (found.error is not None and found.error.code() in _MISSING):
        return []
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _end_offset(client: Consumer, topic: str, partition: int, clock: Clock) -> int:
    """Return the offset at which a partition ends; asks again while a leader is being elected, as for a new topic."""
    deadline = clock.monotonic() + _METADATA_SECONDS
    while True:
        try:
            _, end = client.get_watermark_offsets(Offset(topic, partition), timeout=_METADATA_SECONDS)
            return int(end)
        except KafkaException as error:
            if error.args[0].code() not in _ELECTING or clock.monotonic() > deadline:
                raise
        clock.block(_POLL_SECONDS)


def _raise_if_final(error: KafkaError) -> None:
    if is_fatal(error) or error.code() in _FINAL_ERRORS:
        raise KafkaException(error)


def _record(message: Message) -> Record:
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=read_headers(message),
        timestamp=message.timestamp()[1],
    )
