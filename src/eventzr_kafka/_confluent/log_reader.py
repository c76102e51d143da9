"""Reads a whole topic, every partition from its beginning, on librdkafka; nothing is committed.

1. The client assigns itself all partitions and joins no group. The broker wants a group's name all the same: it is that
   of a group whose rights this process has anyway.
2. A partition has been read when a record at or beyond its end was seen, or the client says that the end is reached:
   offsets that compaction or transaction markers leave out are waited for by nobody.
3. A topic that does not exist is an answer, not an error; when following, it is looked for until it is there.
4. Memory is bounded by the client's queue and by one batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.config import consumer_config
from eventzr_kafka._confluent.headers import read_headers
from eventzr_kafka._confluent.outage import describe_kafka_error, is_fatal
from eventzr_kafka.errors import TransportError
from eventzr_kafka.kafka.record import Record, TopicPartition
from eventzr_kafka.settings import KafkaSettings

__all__ = ["ConfluentLogReader"]

_BATCH = 500  # records of one batch, at most
_POLL = 0.1  # seconds that a call waits
_PATIENCE = 30.0  # seconds without any progress, after which a reading is given up
_METADATA_TIMEOUT = 10.0
_LOOK_AGAIN = 5.0  # seconds between two looks for new partitions
_LOOK_FOR_TOPIC = 1.0  # the same for a topic that is missing
_HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
}
_ELECTING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # of a broker that has not heard of it yet
}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class ConfluentLogReader:
    """A `LogReader`; one for each topic."""

    def __init__(self, settings: KafkaSettings, group_id: str) -> None:
        """Take the configuration; nothing connects yet.

        Args:
            group_id: A group that this process may use, see rule 1.
        """
        self._brokers = settings.brokers
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
        """The records of a topic up to its ends as of now, batch by batch; None if there is no such topic.

        Blocks; the iterator may be advanced from any thread, by one at a time.

        Args:
            first: The only partitions that are read, each with its first offset; None for all that there is.

        Raises:
            TransportError: The broker cannot be reached, or refuses; also while iterating.
        """
        with self._client(topic) as client:
            partitions = _partitions_of(client, topic)
            wanted = partitions if first is None else [number for number in partitions if number in first]
            ends = {number: _end(client, topic, number) for number in wanted}
        return self._read(topic, ends, first or {}) if partitions else None

    def _read(self, topic: str, ends: dict[int, int], first: Mapping[int, int]) -> Iterator[list[Record]]:
        progress = _Progress(ends)
        with self._client(topic) as client:
            client.assign([Offset(topic, number, first.get(number, OFFSET_BEGINNING)) for number in progress.missing])
            deadline = time.monotonic() + _PATIENCE
            while progress.missing:
                records = [_record(message) for message in client.consume(_BATCH, _POLL) if progress.take(message)]
                if records:
                    yield records
                    deadline = time.monotonic() + _PATIENCE
                elif time.monotonic() > deadline:
                    raise TransportError(f"{topic}: nothing came for {_PATIENCE:g} s; is the broker running?")

    def committed(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """The group's committed offset of each partition of these topics, 0 where it has none; blocks.

        Raises:
            TransportError: The broker cannot be reached, or refuses.
        """
        with self._client(", ".join(topics)) as client:
            asked = [Offset(topic, number) for topic in topics for number in _partitions_of(client, topic)]
            found = client.committed(asked, timeout=_METADATA_TIMEOUT) if asked else []
        return {TopicPartition(each.topic, each.partition): max(each.offset, 0) for each in found}

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Read the topic and go on following it, from a thread of its own."""
        self._loop = asyncio.get_running_loop()
        self._on_records = on_records
        self._on_caught_up = on_caught_up
        self._on_failure = on_failure
        self._closed.clear()
        threading.Thread(target=self._follow, args=[topic], name=f"eventzr-kafka {topic}", daemon=True).start()

    async def close(self, timeout: float) -> bool:
        """Stop following; whether the client was closed within `timeout` seconds."""
        self._closing.set()
        return await asyncio.to_thread(self._closed.wait, timeout)

    # In the thread

    def _follow(self, topic: str) -> None:
        try:
            with self._client(topic) as client:
                _Follower(client, topic, self._tell_records, self._tell_caught_up, self._is_over).run()
        except Exception as error:  # noqa: BLE001 -- whatever it is, somebody must hear of it
            self._tell(self._on_failure, error)
        finally:
            self._closed.set()

    def _is_over(self) -> bool:
        return self._closing.is_set() or self._loop.is_closed()

    def _tell_records(self, records: Sequence[Record]) -> None:
        self._tell(self._on_records, records)

    def _tell_caught_up(self) -> None:
        self._tell(self._on_caught_up)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        """Call it on the event loop and wait until it was called: one batch is under way, never two."""
        heard = threading.Event()

        def hear() -> None:
            try:
                what(*args)
            except Exception as error:  # noqa: BLE001 -- rather than going missing in the loop's log
                self._closing.set()
                self._on_failure(error)
            finally:
                heard.set()

        try:
            self._loop.call_soon_threadsafe(hear)
        except RuntimeError:  # the loop is closed: nobody is left to hear it
            self._closing.set()
            return
        while not heard.wait(_POLL) and not self._closing.is_set():
            pass

    @contextmanager
    def _client(self, topic: str) -> Generator[Consumer]:
        """A client, closed in the end; what it cannot do is raised as `TransportError`."""
        try:
            client = Consumer(self._config)
            try:
                yield client
            finally:
                client.close()
        except KafkaException as error:
            raise TransportError(f"{self._brokers}: {topic}: {describe_kafka_error(error.args[0])}") from error


class _Progress:
    """How far a topic has been read.

    Attributes:
        missing: Partitions that have not been read to their end.
    """

    def __init__(self, ends: dict[int, int]) -> None:
        self._ends = ends
        self.missing = {number for number, end in ends.items() if end > 0}

    def take(self, message: Message) -> bool:
        """Note how far a message leads; whether it is a record that was there at the start."""
        number, offset = message.partition() or 0, message.offset() or 0
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self.missing.discard(number)
            else:
                _raise_if_hopeless(error)
            return False
        end = self._ends.get(number, 0)
        if offset >= end - 1:
            self.missing.discard(number)
        return offset < end


class _Follower:
    """One client that follows one topic."""

    def __init__(
        self,
        client: Consumer,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._client = client
        self._topic = topic
        self._on_records = on_records
        self._on_caught_up = on_caught_up
        self._is_over = is_over
        self._known: set[int] = set()
        self._progress: _Progress | None = None
        self._look_at = 0.0

    def run(self) -> None:
        """Follow until it is closed."""
        while not self._is_over():
            if time.monotonic() >= self._look_at:
                self._look()
            self._tell_if_caught_up()
            if self._known:
                self._pass_on(self._client.consume(_BATCH, _POLL))
            else:
                time.sleep(_POLL)

    def _look(self) -> None:
        """Find the partitions that are there and not yet read."""
        try:
            partitions = _partitions_of(self._client, self._topic)
            new = [number for number in partitions if number not in self._known]
            if self._progress is None:
                self._progress = _Progress({number: _end(self._client, self._topic, number) for number in new})
        except KafkaException as error:
            _raise_if_hopeless(error.args[0])
            self._look_at = time.monotonic() + _LOOK_FOR_TOPIC
            return
        self._look_at = time.monotonic() + (_LOOK_AGAIN if partitions else _LOOK_FOR_TOPIC)
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

    def _tell_if_caught_up(self) -> None:
        if self._progress is not None and not self._progress.missing and self._on_caught_up is not _nothing:
            on_caught_up, self._on_caught_up = self._on_caught_up, _nothing
            on_caught_up()


def _nothing() -> None:
    """It has been told already."""


def _partitions_of(client: Consumer, topic: str) -> list[int]:
    """The partitions of a topic; none if it does not exist."""
    found = client.list_topics(topic, timeout=_METADATA_TIMEOUT).topics.get(topic)
    if found is None or (found.error is not None and found.error.code() in _MISSING):
        return []
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _end(client: Consumer, topic: str, partition: int) -> int:
    """Where the partition ends; asked again while its leader is being elected, as after its creation."""
    deadline = time.monotonic() + _METADATA_TIMEOUT
    while True:
        try:
            _, end = client.get_watermark_offsets(Offset(topic, partition), timeout=_METADATA_TIMEOUT)
            return int(end)
        except KafkaException as error:
            if error.args[0].code() not in _ELECTING or time.monotonic() > deadline:
                raise
        time.sleep(_POLL)


def _raise_if_hopeless(error: KafkaError) -> None:
    if is_fatal(error) or error.code() in _HOPELESS:
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
