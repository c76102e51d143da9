"""The thread that owns the client of a consumer: it fetches, stores positions, pauses and takes part in rebalances.

1. Only the owner thread calls the client: since librdkafka 2.16 a call of another thread waits for a running poll.
2. Callbacks never raise: an exception in one loses messages.
3. A partition's epoch ends when its revoke callback returns. Positions of ended epochs are not stored, and their
   records are not delivered. A position is never committed directly: the commit of a former owner would rewind the
   group.
4. The owner thread keeps polling while all partitions are paused: a member that does not poll is expelled.
5. librdkafka ignores a pause, a resume or the start of a partition without an error if its own thread asks for another
   one at the same time (its issue 5591), and a pause outlives the assignment. So partitions are resumed before they
   are assigned and paused only after their first record, and all pauses are set again after a rebalance.
6. A client that has forgotten its brokers is replaced, and its callbacks do nothing any more.
7. A member whose event loop is closed leaves the group: it could not deliver its records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.arrivals import Arrivals, Owned, log
from eventzr_kafka._confluent.commit_results import CommitResults
from eventzr_kafka._confluent.connection import (
    CallbackGate,
    ConnectionMonitor,
    describe_client_error,
    describe_kafka_error,
)
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka._confluent.member import Member
from eventzr_kafka._confluent.oauth import make_client
from eventzr_kafka.engine.commit_metadata import is_of_topic, shorten
from eventzr_kafka.kafka.losses import Loss, find_loss
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment, Paused, Position

__all__ = ["ClientOwner"]

_POLL_SECONDS = 0.1  # that an idle owner waits; a record ends the wait
_MAX_HELD = 100  # messages that arrive without a request, after which all partitions are paused
_GRACE_SECONDS = 1.0  # beyond the drain time-out that the event loop may be late
_COMMITTED_SECONDS = 10.0  # that reading the committed offsets may take
_PROGRESS_SECONDS = 1.0  # between two reports of the client's positions
_RESTART_SECONDS = 1.0  # until a stalled partition is tried again
_WATERMARK_SECONDS = 3.0  # that asking for the first and last offset of a log may take
_PROVING_SECONDS = 3.0  # that a closing member may take to find out how much metadata the broker accepts


class ClientOwner:
    """The client and its state; made, used and ended in the owner thread alone."""

    def __init__(
        self,
        member: Member,
        mailbox: Mailbox,
        arrivals: Arrivals,
        connection: ConnectionMonitor,
        commits: CommitResults,
    ) -> None:
        """Make the client and subscribe; blocks, for a second if it logs in with tokens."""
        self._member = member
        self._monotonic = member.clock.monotonic
        self._mailbox = mailbox
        self._arrivals = arrivals
        self._connection = connection
        self._commits = commits
        self._stored: dict[TopicPartition, Position] = {}  # the last one of each owned partition
        self._gate = CallbackGate()
        self._owned: Owned = {}  # replaced, never changed: the event loop gets it with each list of messages
        self._held: list[Message] = []  # arrived without a request; of owned partitions only
        self._paused: set[tuple[str, int]] | None = None  # unknown after a rebalance, see rule 5
        self._report_at = 0.0
        self._restart_at = 0.0
        self._ids: Mapping[str, str] = {}  # topic ids, as far as _notice_new_topics has compared them
        self._last_epoch = 0
        self._unstored: set[int] = set()
        member.topic_ids.start()
        self._client = self._join()

    def run(self) -> None:
        """Serve the mailbox until it is closed."""
        while not self._mailbox.closing:
            if self._arrivals.loop_is_closed:
                self._mailbox.close()  # no callback waits for the event loop any more
                text = (
                    "%s: the event loop was closed without stop(): leaving the group; events in flight are redelivered"
                )
                log.warning(text, self._member.group_id)
                return
            if self._connection.brokers_forgotten:
                self._replace_client()
            self._store_positions()
            self._report_progress()
            self._restart_stalled()
            self._notice_new_topics()
            if self._mailbox.all_paused:
                self._keep_membership()
                self._mailbox.wait_until_reading(_POLL_SECONDS)
            elif self._mailbox.take_request(_POLL_SECONDS):
                self._serve_request()
            else:
                self._keep_membership()

    def leave(self) -> None:
        """Store the last positions, commit what is stored, and leave the group."""
        try:
            self._store_positions()
            self._prove_metadata()
        finally:
            self._commits.closing = True
            self._member.topic_ids.end()
            self._client.close()

    def _prove_metadata(self) -> None:
        """Before closing, commit metadata that the broker may refuse as too long: closing commits only once."""
        deadline = self._monotonic() + _PROVING_SECONDS
        with suppress(KafkaException):  # closing commits anyway
            while self._longest_metadata() > self._commits.proven and self._monotonic() < deadline:
                answers = self._commits.answers
                self._client.commit(asynchronous=True)  # the stored offsets of the assigned partitions
                while self._commits.answers == answers and self._monotonic() < deadline:
                    self._client.consume(1, _POLL_SECONDS)  # messages are dropped here: their offsets are not stored
                if self._commits.nothing_left:  # only closing commits offsets that have not grown
                    return
                self._store_positions()

    def _longest_metadata(self) -> int:
        return max((min(len(p.metadata), self._commits.limit) for p in self._stored.values()), default=0)

    # Joining

    def _join(self) -> Consumer:
        """Make a client and subscribe; from now on the callbacks of the client before do nothing."""
        gated = self._gate.for_next_client()

        def callback(method: Callable[..., None]) -> Callable[..., None]:
            return gated(self._guarded(method))

        callbacks = {
            "error_cb": callback(self._connection.on_error),
            "stats_cb": callback(self._connection.on_statistics),
            "on_commit": callback(self._commits.on_commit),
        }
        client = make_client(Consumer, {**self._member.config, **callbacks})
        try:
            client.subscribe(
                list(self._member.topics),
                on_assign=callback(self._on_assign),
                on_revoke=callback(self._on_revoke),
                on_lost=callback(self._on_lost),
            )
        except Exception:
            client.close()
            raise
        return client

    def _replace_client(self) -> None:
        """Replace a client that has forgotten its brokers; closing it takes a minute, in a thread of its own."""
        text = "%s: the client has forgotten its brokers; a new one joins once the session of the old one has ended"
        log.warning(text, self._member.group_id)
        replaced = self._client
        if self._owned:
            self._on_lost(replaced, [Offset(*partition) for partition in self._owned])
        self._client = self._join()
        self._connection.watch_next_client()
        name = f"eventzr-kafka {self._member.group_id} replaced"
        threading.Thread(target=replaced.close, name=name, daemon=True).start()

    # Fetching

    def _serve_request(self) -> None:
        """Send one list of messages to the event loop; without messages the request stays."""
        self._pause(self._mailbox.paused)
        messages = self._fetch()
        if not messages or not self._arrivals.notify(self._arrivals.take_in, messages, self._owned):
            self._mailbox.request_batch()

    def _keep_membership(self) -> None:
        """Poll without a request: keep the messages that arrive, and pause all partitions when they are many."""
        for message in self._client.consume(1, 0):
            error = message.error()
            if error is not None:
                self._arrivals.notify(self._arrivals.message_failed, error, message, self._owned)
            elif (message.topic(), message.partition()) in self._owned:
                self._held.append(message)
        if self._mailbox.paused == "all" or len(self._held) >= _MAX_HELD:
            self._pause("all")

    def _fetch(self) -> list[Message]:
        """Return the messages that are fetched already, or else the next one as soon as it arrives."""
        held, self._held = self._held, []
        messages = held or self._client.consume(self._member.batch, 0)
        if messages:
            return messages
        first = self._client.poll(_POLL_SECONDS)
        return [first] if first is not None else []

    def _report_progress(self) -> None:
        """Report the client's positions once a second: they pass transaction markers, too, which are not messages."""
        now = self._monotonic()
        if self._held or not self._owned or now < self._report_at:
            return
        self._report_at = now + _PROGRESS_SECONDS
        positions = self._client.position([Offset(*partition) for partition in self._owned])
        passed = {self._owned[p.topic, p.partition]: p.offset for p in positions if p.offset >= 0}
        self._arrivals.notify(self._arrivals.sink.on_progress, passed)

    def _pause(self, epochs: Paused) -> None:
        """Pause the partitions of these epochs that have brought a record, and resume all others."""
        wanted = {owned for owned, epoch in self._owned.items() if epochs == "all" or epoch in epochs}
        if wanted == self._paused:
            return
        positions = self._client.position([Offset(*partition) for partition in self._owned])
        begun = {(p.topic, p.partition) for p in positions if p.offset >= 0}
        pausing = (wanted & begun) - (self._paused or set())
        self._client.pause([Offset(*partition) for partition in pausing])
        self._client.resume([Offset(*partition) for partition in begun - wanted])
        self._paused = wanted & begun

    # Positions

    def _store_positions(self) -> None:
        if self._commits.take_refused_metadata():
            for position in self._stored.values():
                self._mailbox.put_back(position)
        for position in self._mailbox.take_positions():
            if self._owned.get(position.partition) == position.epoch:
                self._store_position(position)

    def _store_position(self, position: Position) -> None:
        topic, partition = position.partition
        metadata = shorten(position.offset, position.metadata, self._commits.limit)
        try:
            self._client.store_offsets(offsets=[Offset(topic, partition, position.offset, metadata=metadata)])
            self._stored[position.partition] = position
        except Exception as error:  # noqa: BLE001 -- events without a stored position run again
            if position.epoch not in self._unstored:
                self._unstored.add(position.epoch)
                text = "%s: %s[%d]: offset not stored, trying again: %s"
                log.warning(text, self._member.group_id, topic, partition, describe_client_error(error))
            self._mailbox.put_back(position)

    # Offsets that do not exist any more

    def _restart_stalled(self) -> None:
        """Go on with partitions that the client has stopped, because their offset does not exist."""
        if self._held or self._monotonic() < self._restart_at:  # held messages come first: their offsets are lower
            return
        stalled = self._mailbox.take_stalled()
        for partition, epoch in self._owned.items() if stalled else ():
            if epoch in stalled and not self._restart(TopicPartition(*partition), epoch, stalled[epoch]):
                self._mailbox.stall(epoch, stalled[epoch])
                self._restart_at = self._monotonic() + _RESTART_SECONDS

    def _restart(self, partition: TopicPartition, epoch: int, offset: int) -> bool:
        """Read a partition from its next existing offset; False if that is not possible now."""
        try:
            if offset == OFFSET_BEGINNING:
                return self._read_recreated(partition, epoch)
            if offset < 0:  # the client could not read the group's offset
                (found,) = self._client.committed([Offset(*partition)], timeout=_COMMITTED_SECONDS)
                if found.error is not None:
                    return False
                offset = found.offset
                if offset >= 0 and not is_of_topic(found.metadata, self._ids.get(partition.topic, "")):
                    return self._continue_from(partition, epoch, OFFSET_BEGINNING, Loss(offset, None, "recreated"))
            low, high = self._client.get_watermark_offsets(Offset(*partition), timeout=_WATERMARK_SECONDS) or (-1, -1)
            loss = find_loss(offset, low, high) if offset >= 0 else None
            return low >= 0 and self._continue_from(partition, epoch, low if loss or offset < 0 else offset, loss)
        except KafkaException:
            return False

    def _notice_new_topics(self) -> None:
        """Read recreated topics from their beginning: the client itself does not notice that a topic was recreated."""
        ids = self._member.topic_ids.latest
        if ids is self._ids:
            return
        known, self._ids = self._ids, ids
        for (topic, number), epoch in self._owned.items():
            if known.get(topic, ids.get(topic)) != ids.get(topic):
                try:
                    self._read_recreated(TopicPartition(topic, number), epoch)
                except KafkaException:
                    self._mailbox.stall(epoch, OFFSET_BEGINNING)  # tried again like a stalled one

    def _read_recreated(self, partition: TopicPartition, epoch: int) -> bool:
        (at,) = self._client.position([Offset(*partition)])
        stored = self._stored.get(partition)  # events without an outcome are lost with the old topic
        loss = Loss(max(at.offset, 0) if stored is None else stored.offset, None, "recreated")
        return self._continue_from(partition, epoch, OFFSET_BEGINNING, loss)

    def _continue_from(self, partition: TopicPartition, epoch: int, offset: int, loss: Loss | None) -> bool:
        if loss is None or not self._member.stops:
            with suppress(KafkaException):  # an attempt before may have unassigned it already
                self._client.incremental_unassign([Offset(*partition)])
            self._client.resume([Offset(*partition)])  # see rule 5
            self._client.incremental_assign([Offset(*partition, offset)])
            self._paused = None
        if loss is not None and (loss.after is not None or self._member.stops):
            self._arrivals.notify(self._arrivals.sink.on_offsets_lost, epoch, loss)
        elif loss is not None:  # offsets begin at 0 again: the old epoch must not be committed
            self._arrivals.notify(self._arrivals.sink.on_lost, self._disown([Offset(*partition)]))
            self._arrivals.notify(self._arrivals.sink.on_assigned, [self._own(partition, loss=loss)])
        return True

    # Callbacks, which the client calls inside of `poll`, `consume` and `close`; they never raise

    def _guarded(self, method: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback: an error of it stops the sink, and the client assigns or unassigns the partitions itself.

        Partitions that the client assigned itself belong to no epoch, and their records are dropped.
        """

        def call(*args: Any) -> None:
            try:
                method(*args)
            except Exception as error:  # noqa: BLE001 -- see rule 2
                self._arrivals.notify(self._arrivals.client_failed, error)

        return call

    def _on_assign(self, client: Consumer, partitions: list[Offset]) -> None:
        if self._mailbox.closing:  # a closing client answers no questions
            return
        committed, readable = self._committed(client, partitions)
        if partitions:
            noticed = {topic: self._ids[topic] for topic, _ in self._owned if topic in self._ids}
            self._ids = {**self._member.topic_ids.fresh(), **noticed}  # _notice_new_topics compares the others
        assignments = [self._assign(partition) for partition in committed]
        starts = [OFFSET_BEGINNING if a.position is None else a.position for a in assignments]
        starts = starts if readable else [OFFSET_INVALID] * len(starts)
        try:
            client.resume([Offset(p.topic, p.partition) for p in committed])  # see rule 5
            client.incremental_assign([Offset(*a.partition, at) for a, at in zip(assignments, starts, strict=True)])
        except Exception:
            self._disown(committed)  # the sink does not know them: their records are dropped
            raise
        self._paused = None
        self._arrivals.notify(self._arrivals.sink.on_assigned, assignments)

    def _committed(self, client: Consumer, partitions: list[Offset]) -> tuple[list[Offset], bool]:
        """Return the group's offsets with their metadata, and True if they could be read."""
        if not partitions:
            return [], True
        found, fault = partitions, None
        try:
            found = client.committed(partitions, timeout=_COMMITTED_SECONDS)
            fault = next((partition.error for partition in found if partition.error is not None), None)
        except KafkaException as error:
            fault = error.args[0]
        if fault is not None:
            text = "%s: commit metadata not readable (%s): events that have finished may run again"
            log.warning(text, self._member.group_id, describe_kafka_error(fault))
        return found, fault is None

    def _assign(self, committed: Offset) -> Assignment:
        partition = TopicPartition(committed.topic, committed.partition)
        position = committed.offset if committed.offset >= 0 else None
        if position is not None and not is_of_topic(committed.metadata, self._ids.get(partition.topic, "")):
            return self._own(partition, loss=Loss(position, None, "recreated"))
        return self._own(partition, position, committed.metadata or "")

    def _own(
        self, partition: TopicPartition, position: int | None = None, metadata: str = "", *, loss: Loss | None = None
    ) -> Assignment:
        self._last_epoch += 1
        self._owned = {**self._owned, partition: self._last_epoch}
        topic_id = self._ids.get(partition.topic, "")
        return Assignment(partition, self._last_epoch, position, metadata, topic_id, loss)

    def _on_revoke(self, _client: Consumer, partitions: list[Offset]) -> None:
        epochs = [self._owned[p.topic, p.partition] for p in partitions if (p.topic, p.partition) in self._owned]
        if epochs and not self._mailbox.closing:
            done = threading.Event()
            if self._arrivals.notify(self._arrivals.sink.on_revoked, epochs, done.set):
                done.wait(self._member.drain_timeout + _GRACE_SECONDS)
        self._store_positions()
        self._disown(partitions)

    def _on_lost(self, _client: Consumer, partitions: list[Offset]) -> None:
        self._arrivals.notify(self._arrivals.sink.on_lost, self._disown(partitions))

    def _disown(self, partitions: list[Offset]) -> list[int]:
        owned = dict(self._owned)
        ended = [owned.pop((p.topic, p.partition), None) for p in partitions]
        self._owned = owned
        self._stored = {partition: position for partition, position in self._stored.items() if partition in owned}
        self._held = [message for message in self._held if (message.topic(), message.partition()) in owned]
        self._paused = None
        return [epoch for epoch in ended if epoch is not None]
