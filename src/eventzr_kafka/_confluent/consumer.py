"""A member of a consumer group on librdkafka: one thread owns the client, one hop per batch leads to the event loop.

1. Every call on the client is made by the owner thread; since librdkafka 2.16 any other would wait for a running poll.
2. Callbacks never raise: an exception in one loses messages.
3. A partition's epoch ends when its revoke callback returns. Positions of ended epochs are not stored, records are not
   delivered; a position is never committed directly, because a former owner's commit would rewind the group.
4. The owner keeps polling while the intake is paused, so that the membership is kept.
5. Messages become records on the event loop, where they are used and end: memory that goes from core to core is slow.
   What the owner owned when it fetched them goes along, so that they cannot count for a later epoch.
6. librdkafka passes over a pause, a resume or the start of a partition when its own thread and the owner ask for two
   of them at once, and says nothing (its issue 5591); and a pause outlives the assignment. So partitions are resumed
   before they are assigned, paused only after they brought a record, and all is told again after a rebalance.
7. A client that has lost its brokers for good is given up for another one, and not heard any more.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.config import consumer_config
from eventzr_kafka._confluent.oauth import make_client, token_callback
from eventzr_kafka._confluent.outage import Hearing, Outage, describe_kafka_error, is_fatal
from eventzr_kafka.encoder import STRUCTURED_HEADERS
from eventzr_kafka.errors import AuthenticationError, TransportError, printable
from eventzr_kafka.options import ConsumerOptions
from eventzr_kafka.record import Record, TopicPartition
from eventzr_kafka.settings import KafkaSettings
from eventzr_kafka.transport import CREDITS, Assignment, Batch, ConsumerSink, Paused, Position

__all__ = ["ConfluentConsumer"]

_Owned: TypeAlias = Mapping[tuple[str, int], int]  # epochs by topic and partition
_new_record = cast("Callable[[type[Record], Any], Record]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
log = logging.getLogger("eventzr_kafka.consumer")

_BATCH = 2000  # records of one hop, at most
_READ_BATCH = 500  # the same where the event loop reads all of them at once, to know their subjects
_POLL = 0.1  # seconds that an idle owner waits; a record ends the wait
_HELD = 100  # polls without a request for more, after which the partitions are paused
_STRUCTURED_HEADERS = list(STRUCTURED_HEADERS)  # one object for most records is less for the garbage collector
_GRACE = 1.0  # seconds beyond the drain time-out that the event loop may be late
_COMMITTED_TIMEOUT = 10.0
_NO_PROTOCOL = '; use group_protocol="classic", or brokers of Kafka 4.0 or newer'
_HOPELESS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


class ConfluentConsumer:
    """A `ConsumerTransport`."""

    def __init__(self, settings: KafkaSettings, group_id: str, options: ConsumerOptions) -> None:
        """Take the configuration; nothing connects before `start`."""
        self._config = consumer_config(settings, group_id, options.group_protocol)
        self._group_id = group_id
        self._drain_timeout = options.drain_timeout
        self._batch = _READ_BATCH if options.ordering == "subject" else _BATCH
        self._outage = Outage(log, group_id, settings.brokers, token_callback(self._config))
        self._lock = threading.Lock()
        self._positions: dict[int, Position] = {}
        self._credits = threading.Semaphore(CREDITS)
        self._closed = threading.Event()
        self._closing = False
        self._want_paused: Paused = ()
        self._reading = threading.Event()  # clear while all partitions are to stand still
        self._reading.set()
        self._paused: set[tuple[str, int]] | None = None  # not known after a rebalance, see rule 6
        self._owned: _Owned = {}  # never changed, only replaced
        self._hearing = Hearing()
        self._held: list[Message] = []  # of partitions that are owned, since they were fetched
        self._last_epoch = 0
        self._missing: set[str] = set()
        self._unstored: set[int] = set()

    # On the event loop

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join the group from a thread of its own."""
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._topics = list(topics)
        threading.Thread(target=self._own, name=f"eventzr-kafka {self._group_id}", daemon=True).start()

    def store(self, positions: Sequence[Position]) -> None:
        """Leave positions for the owner to store."""
        with self._lock:
            for position in positions:
                self._positions[position.epoch] = position

    def more(self) -> None:
        """Let the owner bring one more list of batches."""
        self._credits.release()

    def pause(self, epochs: Paused) -> None:
        """Have the owner stop the intake of these, and start that of the others."""
        self._want_paused = epochs
        if epochs == "all":
            self._reading.clear()
        else:
            self._reading.set()

    async def close(self, timeout: float) -> bool:
        """Have the owner commit and leave; it is a daemon thread, so a client that hangs does not hold the process."""
        self._closing = True
        deadline = self._loop.time() + timeout
        while not self._closed.is_set() and self._loop.time() < deadline:  # noqa: ASYNC110 -- set by a thread
            await asyncio.sleep(0.01)
        return self._closed.is_set()

    def _take_in(self, messages: list[Message], owned: _Owned) -> None:
        batches = self._sort(messages, owned)
        if batches:
            self._sink.received(batches)
        else:
            self._credits.release()

    def _sort(self, messages: list[Message], owned: _Owned) -> list[Batch]:
        """Records by epoch, without those of a partition that was revoked while they were fetched."""
        found: dict[int, list[Record]] = {}
        at: tuple[str | None, int | None] = (None, None)
        put: Callable[[Record], None] = _drop
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(error, message.topic())
                continue
            topic, partition = message.topic(), message.partition()
            if (topic, partition) == at:  # records of a partition come in runs
                topic = at[0]  # one string for all of them
            else:
                at = topic, partition
                epoch = owned.get(cast("tuple[str, int]", at))
                put = found.setdefault(epoch, []).append if epoch is not None else _drop
            found_headers, timestamp = message.headers(), message.timestamp()[1]
            headers = STRUCTURED_HEADERS if found_headers == _STRUCTURED_HEADERS else found_headers or ()
            fields = (topic, partition, message.offset(), message.key(), message.value(), headers, timestamp)
            put(_new_record(Record, fields))  # half the price of Record(…), for every record that is read
        if found:
            self._outage.over()
        return [Batch(epoch, records) for epoch, records in found.items()]

    # In the owner thread

    def _own(self) -> None:
        try:
            self._join()
            try:
                self._run()
            finally:
                self._store_positions()
                self._consumer.close()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the runner must hear of it
            self._fail(error)
        finally:
            self._closed.set()

    def _join(self) -> None:
        """Make the client and subscribe; a client that was there before is not heard any more."""
        heard = self._hearing.give()
        callbacks = {"error_cb": heard(self._outage.on_error), "stats_cb": heard(self._outage.on_statistics)}
        self._consumer = make_client(Consumer, {**self._config, **callbacks})
        self._consumer.subscribe(
            self._topics,
            on_assign=heard(self._on_assign),
            on_revoke=heard(self._on_revoke),
            on_lost=heard(self._on_lost),
        )

    def _join_anew(self) -> None:
        """Give up a client that will find no broker again; closing takes it a minute, which nobody waits for."""
        told = "%s: the client has lost its brokers for good; joining anew, once the old session has ended"
        log.warning(told, self._group_id)
        given_up = self._consumer
        if self._owned:
            self._on_lost(given_up, [Offset(*partition) for partition in self._owned])
        self._join()
        self._outage.forgotten = 0
        threading.Thread(target=given_up.close, name=f"eventzr-kafka {self._group_id} given up", daemon=True).start()

    def _run(self) -> None:
        while not self._closing:
            if self._outage.for_good:
                self._join_anew()
            self._store_positions()
            if not self._reading.is_set():
                self._keep_membership()
                self._reading.wait(_POLL)
            elif self._credits.acquire(timeout=_POLL):
                self._bring()
            else:
                self._keep_membership()

    def _bring(self) -> None:
        """Use up one credit, unless there is nothing to bring."""
        self._pause(self._want_paused)
        messages = self._fetch()
        if not messages or not self._tell(self._take_in, messages, self._owned):
            self._credits.release()

    def _keep_membership(self) -> None:
        """Nobody asks for more: poll, keep what comes along, and pause when that goes on."""
        for message in self._consumer.consume(1, 0):
            error = message.error()
            if error is not None:
                self._tell(self._on_message_error, error, message.topic())
            elif (message.topic(), message.partition()) in self._owned:
                self._held.append(message)
        if self._want_paused == "all" or len(self._held) >= _HELD:
            self._pause("all")

    def _fetch(self) -> list[Message]:
        """What has been fetched already; else the next record as soon as it comes."""
        held, self._held = self._held, []
        messages = held or self._consumer.consume(self._batch, 0)
        if messages:
            return messages
        first = self._consumer.poll(_POLL)
        return [first] if first is not None else []

    def _store_positions(self) -> None:
        with self._lock:
            positions, self._positions = self._positions, {}
        for position in positions.values():
            if self._owned.get(position.partition) == position.epoch:
                self._store_position(position)

    def _store_position(self, position: Position) -> None:
        topic, partition = position.partition
        try:
            self._consumer.store_offsets(
                offsets=[Offset(topic, partition, position.offset, metadata=position.metadata)]
            )
        except KafkaException as error:
            if position.epoch not in self._unstored:
                self._unstored.add(position.epoch)
                reason = describe_kafka_error(error.args[0])
                log.warning(
                    "%s: %s[%d]: position not stored, trying again: %s", self._group_id, topic, partition, reason
                )
            with self._lock:
                self._positions.setdefault(position.epoch, position)  # unless there is a newer one by now

    def _pause(self, epochs: Paused) -> None:
        """Have the client read nothing of these, if they have brought a record yet, and all the rest."""
        wanted = {owned for owned, epoch in self._owned.items() if epochs == "all" or epoch in epochs}
        if wanted == self._paused:
            return
        positions = self._consumer.position([Offset(*partition) for partition in self._owned])
        begun = {(p.topic, p.partition) for p in positions if p.offset >= 0}
        pausing = (wanted & begun) - (self._paused or set())
        self._consumer.pause([Offset(*partition) for partition in pausing])
        self._consumer.resume([Offset(*partition) for partition in begun - wanted])
        self._paused = wanted & begun

    # Callbacks of the client, in the owner thread; none of them raises

    def _on_assign(self, consumer: Consumer, partitions: list[Offset]) -> None:
        if self._closing:  # a client that is closing answers no questions
            return
        committed = self._committed(consumer, partitions)
        assignments = [self._assign(partition) for partition in committed]
        try:
            consumer.resume([Offset(p.topic, p.partition) for p in committed])  # see rule 6
            consumer.incremental_assign([Offset(p.topic, p.partition, p.offset) for p in committed])
            self._paused = None
        except KafkaException as error:
            self._fail(error)
        self._tell(self._sink.assigned, assignments)

    def _committed(self, consumer: Consumer, partitions: list[Offset]) -> list[Offset]:
        """The group's offsets with their metadata; where they cannot be had, the client reads the offsets itself."""
        if not partitions:
            return []
        found, fault = partitions, None
        try:
            found = consumer.committed(partitions, timeout=_COMMITTED_TIMEOUT)
            fault = next((partition.error for partition in found if partition.error is not None), None)
        except KafkaException as error:
            fault = error.args[0]
        if fault is not None:
            reason = describe_kafka_error(fault)
            told = "%s: commit metadata not readable (%s): events that were finished may run again"
            log.warning(told, self._group_id, reason)
        return found

    def _assign(self, committed: Offset) -> Assignment:
        self._last_epoch += 1
        self._owned = {**self._owned, (committed.topic, committed.partition): self._last_epoch}
        position = committed.offset if committed.offset >= 0 else None
        partition = TopicPartition(committed.topic, committed.partition)
        return Assignment(partition, self._last_epoch, position, committed.metadata or "")

    def _on_revoke(self, _consumer: Consumer, partitions: list[Offset]) -> None:
        epochs = [self._owned[p.topic, p.partition] for p in partitions if (p.topic, p.partition) in self._owned]
        done = threading.Event()
        if not self._closing and epochs and self._tell(self._sink.revoked, epochs, done.set):
            done.wait(self._drain_timeout + _GRACE)
        self._store_positions()
        self._disown(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[Offset]) -> None:
        self._tell(self._sink.lost, self._disown(partitions))

    def _disown(self, partitions: list[Offset]) -> list[int]:
        owned = dict(self._owned)
        ended = [owned.pop((p.topic, p.partition), None) for p in partitions]
        self._owned = owned
        self._held = [message for message in self._held if (message.topic(), message.partition()) in owned]
        self._paused = None
        return [epoch for epoch in ended if epoch is not None]

    def _on_message_error(self, error: KafkaError, topic: str | None) -> None:
        if error.code() in _HOPELESS or is_fatal(error):
            self._fail(KafkaException(error))
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._on_missing(topic or "?")
        else:
            self._outage.on_error(error)

    def _on_missing(self, topic: str) -> None:
        if topic not in self._missing:
            self._missing.add(topic)
            log.warning(
                "%s: topic %s does not exist; waiting for somebody to create it",
                self._group_id,
                printable(topic),
            )

    # Out of the owner thread

    def _fail(self, error: Exception) -> None:
        if isinstance(error, AuthenticationError):
            self._tell(self._sink.failed, error)
            return
        reason = describe_kafka_error(error.args[0]) if isinstance(error, KafkaException) else type(error).__name__
        is_unknown = self._config["group.protocol"] == "consumer" and "API version not supported" in reason
        mend = _NO_PROTOCOL if is_unknown else ""
        failure = TransportError(f"{self._group_id}: the Kafka client cannot go on: {reason}{mend}")
        failure.__cause__ = error
        self._tell(self._sink.failed, failure)

    def _tell(self, method: Callable[..., None], *args: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._hear, method, args)
        except RuntimeError:  # the event loop is closed: nobody is left to hear it
            return False
        return True

    def _hear(self, method: Callable[..., None], args: tuple[Any, ...]) -> None:
        """On the event loop: what the sink cannot take in stops it, rather than going missing in the loop's log."""
        try:
            method(*args)
        except Exception as error:  # noqa: BLE001 -- a fault of the SDK; the runner must hear of it
            self._sink.failed(error)


def _drop(_record: Record) -> None:
    """The partition was revoked: its new owner reads the record."""
