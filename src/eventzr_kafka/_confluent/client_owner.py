"""The thread that owns the client of a consumer: it fetches, stores positions, pauses and takes part in rebalances.

1. Every call on the client is made by the owner thread; since librdkafka 2.16 any other would wait for a running poll.
2. Callbacks never raise: an exception in one loses messages.
3. A partition's epoch ends when its revoke callback returns. Positions of ended epochs are not stored, records are not
   delivered; a position is never committed directly, because a former owner's commit would rewind the group.
4. The owner keeps polling while the intake is paused, so that the membership is kept.
5. librdkafka passes over a pause, a resume or the start of a partition when its own thread and the owner ask for two
   of them at once, without an error (its issue 5591); and a pause outlives the assignment. So partitions are resumed
   before they are assigned, paused only after they brought a record, and all is asked for again after a rebalance.
6. A client that has lost its brokers for good is given up for another one, and its callbacks do nothing any more.
7. A member whose event loop is closed leaves the group by itself: what it would hold, it could not hand on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as Offset

from eventzr_kafka._confluent.arrivals import Arrivals, Owned, log
from eventzr_kafka._confluent.commit_results import CommitResults
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka._confluent.member import Member
from eventzr_kafka._confluent.oauth import make_client
from eventzr_kafka._confluent.outage import Hearing, Outage, describe_client_error, describe_kafka_error
from eventzr_kafka.engine.commit_metadata import is_of_topic, shorten
from eventzr_kafka.kafka.losses import Loss, find_loss
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment, Paused, Position

__all__ = ["ClientOwner", "own_client"]

_POLL = 0.1  # seconds that an idle owner waits; a record ends the wait
_HELD = 100  # polls without a request for more, after which the partitions are paused
_GRACE = 1.0  # seconds beyond the drain time-out that the event loop may be late
_COMMITTED_TIMEOUT = 10.0
_REPORT = 1.0  # seconds between two reports of how far the client is
_RESTART = 1.0  # seconds until a partition that stands still is tried again
_WATERMARKS = 3.0  # seconds that a question for the ends of a log may take
_PROVING = 3.0  # seconds that a closing member may take to find out which metadata the broker takes


def own_client(member: Member, mailbox: Mailbox, arrivals: Arrivals, outage: Outage, commits: CommitResults) -> None:
    """Join the group, fetch until the mailbox asks for the end, and leave; the body of the owner thread."""
    try:
        owner = ClientOwner(member, mailbox, arrivals, outage, commits)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the runner must hear of it
        member.topic_ids.end()
        arrivals.notify(arrivals.client_failed, error)
        return
    for step in (owner.run, owner.leave):  # leaving also after a fault, so that the group need not wait for a session
        try:
            step()
        except Exception as error:  # noqa: BLE001 -- as above; of two the runner takes the first
            arrivals.notify(arrivals.client_failed, error)


class ClientOwner:
    """The client and what its thread knows of it; made, used and ended in that thread alone."""

    def __init__(
        self, member: Member, mailbox: Mailbox, arrivals: Arrivals, outage: Outage, commits: CommitResults
    ) -> None:
        """Make the client and subscribe; blocks, for a second where it logs in with tokens."""
        self._member = member
        self._mailbox = mailbox
        self._arrivals = arrivals
        self._outage = outage
        self._commits = commits
        self._stored: dict[TopicPartition, Position] = {}  # the last of each partition that is owned
        self._hearing = Hearing()
        self._owned: Owned = {}  # never changed, only replaced: the event loop gets it with each list of messages
        self._held: list[Message] = []  # of partitions that are owned, since they were fetched
        self._paused: set[tuple[str, int]] | None = None  # not known after a rebalance, see rule 5
        self._report_at = 0.0
        self._restart_at = 0.0
        self._ids: Mapping[str, str] = {}  # of the topics, as they were looked at last
        self._last_epoch = 0
        self._unstored: set[int] = set()
        member.topic_ids.start()
        self._client = self._join()

    def run(self) -> None:
        """Do what the mailbox asks for, until that is to end."""
        while not self._mailbox.closing:
            if self._arrivals.loop_is_closed:
                self._abandon()
                return
            if self._outage.for_good:
                self._join_anew()
            self._store_positions()
            self._report_progress()
            self._restart_stalled()
            self._notice_new_topics()
            if self._mailbox.stands_still:
                self._keep_membership()
                self._mailbox.wait_until_reading(_POLL)
            elif self._mailbox.wait_for_credit(_POLL):
                self._bring()
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
        """Commit before closing what the broker may refuse for its length: closing has no second try."""
        deadline = time.monotonic() + _PROVING
        with suppress(KafkaException):  # closing commits all the same
            while self._longest_metadata() > self._commits.proven and time.monotonic() < deadline:
                answers = self._commits.answers
                self._client.commit(asynchronous=True)  # what is stored, and of what is assigned alone
                while self._commits.answers == answers and time.monotonic() < deadline:
                    self._client.consume(1, _POLL)  # its messages are dropped: their offsets are not stored
                if self._commits.nothing_left:  # offsets that stand still are committed by closing alone
                    return
                self._store_positions()

    def _longest_metadata(self) -> int:
        return max((min(len(p.metadata), self._commits.limit) for p in self._stored.values()), default=0)

    def _abandon(self) -> None:
        self._mailbox.close()  # so that no callback waits for the event loop
        text = "%s: the event loop was closed without stop(): leaving the group; events in hand are redelivered"
        log.warning(text, self._member.group_id)

    # Joining

    def _join(self) -> Consumer:
        """Make a client and subscribe; the callbacks of one that was there before do nothing from here on."""
        heard = self._hearing.give()

        def callback(method: Callable[..., None]) -> Callable[..., None]:
            return heard(self._guarded(method))

        callbacks = {
            "error_cb": callback(self._outage.on_error),
            "stats_cb": callback(self._outage.on_statistics),
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

    def _join_anew(self) -> None:
        """Give up a client that will find no broker again; closing it takes a minute, in a thread of its own."""
        text = "%s: the client has lost its brokers for good; joining anew, once the old session has ended"
        log.warning(text, self._member.group_id)
        given_up = self._client
        if self._owned:
            self._on_lost(given_up, [Offset(*partition) for partition in self._owned])
        self._client = self._join()
        self._outage.forgotten = 0
        name = f"eventzr-kafka {self._member.group_id} given up"
        threading.Thread(target=given_up.close, name=name, daemon=True).start()

    # Fetching

    def _bring(self) -> None:
        """Use up one credit, unless there is nothing to bring."""
        self._pause(self._mailbox.paused)
        messages = self._fetch()
        if not messages or not self._arrivals.notify(self._arrivals.take_in, messages, self._owned):
            self._mailbox.request_batch()

    def _keep_membership(self) -> None:
        """Poll while no credit is left, hold what comes along, and pause when that goes on."""
        for message in self._client.consume(1, 0):
            error = message.error()
            if error is not None:
                self._arrivals.notify(self._arrivals.message_failed, error, message, self._owned)
            elif (message.topic(), message.partition()) in self._owned:
                self._held.append(message)
        if self._mailbox.paused == "all" or len(self._held) >= _HELD:
            self._pause("all")

    def _fetch(self) -> list[Message]:
        """Return what has been fetched already; else the next message as soon as it comes."""
        held, self._held = self._held, []
        messages = held or self._client.consume(self._member.batch, 0)
        if messages:
            return messages
        first = self._client.poll(_POLL)
        return [first] if first is not None else []

    def _report_progress(self) -> None:
        """Report once a second how far the client is: past a transaction's marks too, which come as no message."""
        now = time.monotonic()
        if self._held or not self._owned or now < self._report_at:
            return
        self._report_at = now + _REPORT
        positions = self._client.position([Offset(*partition) for partition in self._owned])
        passed = {self._owned[p.topic, p.partition]: p.offset for p in positions if p.offset >= 0}
        self._arrivals.notify(self._arrivals.sink.passed, passed)

    def _pause(self, epochs: Paused) -> None:
        """Have the client read nothing of these, if they have brought a record yet, and all the rest."""
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
        if self._commits.take_too_long():
            for position in self._stored.values():
                self._mailbox.keep(position)
        for position in self._mailbox.take_positions():
            if self._owned.get(position.partition) == position.epoch:
                self._store_position(position)

    def _store_position(self, position: Position) -> None:
        topic, partition = position.partition
        metadata = shorten(position.offset, position.metadata, self._commits.limit)
        try:
            self._client.store_offsets(offsets=[Offset(topic, partition, position.offset, metadata=metadata)])
            self._stored[position.partition] = position
        except Exception as error:  # noqa: BLE001 -- what is not stored runs again
            if position.epoch not in self._unstored:
                self._unstored.add(position.epoch)
                text = "%s: %s[%d]: position not stored, trying again: %s"
                log.warning(text, self._member.group_id, topic, partition, describe_client_error(error))
            self._mailbox.keep(position)

    # Offsets that are gone

    def _restart_stalled(self) -> None:
        """Go on with partitions that the client has stopped, because their offset is not there."""
        if self._held or time.monotonic() < self._restart_at:  # what is held comes before what is gone
            return
        stalled = self._mailbox.take_stalled()
        for partition, epoch in self._owned.items() if stalled else ():
            if epoch in stalled and not self._restart(TopicPartition(*partition), epoch, stalled[epoch]):
                self._mailbox.stall(epoch, stalled[epoch])
                self._restart_at = time.monotonic() + _RESTART

    def _restart(self, partition: TopicPartition, epoch: int, offset: int) -> bool:
        """Read a partition from where its log goes on; False if that cannot be found out or done now."""
        try:
            if offset == OFFSET_BEGINNING:
                return self._start_anew(partition, epoch)
            if offset < 0:  # the client could not read the group's either
                (found,) = self._client.committed([Offset(*partition)], timeout=_COMMITTED_TIMEOUT)
                if found.error is not None:
                    return False
                offset = found.offset
                if offset >= 0 and not is_of_topic(found.metadata, self._ids.get(partition.topic, "")):
                    return self._go_on(partition, epoch, OFFSET_BEGINNING, Loss(offset, None, "recreated"))
            low, high = self._client.get_watermark_offsets(Offset(*partition), timeout=_WATERMARKS) or (-1, -1)
            loss = find_loss(offset, low, high) if offset >= 0 else None
            return low >= 0 and self._go_on(partition, epoch, low if loss or offset < 0 else offset, loss)
        except KafkaException:
            return False

    def _notice_new_topics(self) -> None:
        """Read topics from their beginning that were deleted and made anew, without the client noticing it."""
        ids = self._member.topic_ids.latest
        if ids is self._ids:
            return
        known, self._ids = self._ids, ids
        for (topic, number), epoch in self._owned.items():
            if known.get(topic, ids.get(topic)) != ids.get(topic):
                try:
                    self._start_anew(TopicPartition(topic, number), epoch)
                except KafkaException:
                    self._mailbox.stall(epoch, OFFSET_BEGINNING)  # tried again like any other

    def _start_anew(self, partition: TopicPartition, epoch: int) -> bool:
        (at,) = self._client.position([Offset(*partition)])
        stored = self._stored.get(partition)  # what was read and has no outcome is gone with the rest
        loss = Loss(max(at.offset, 0) if stored is None else stored.offset, None, "recreated")
        return self._go_on(partition, epoch, OFFSET_BEGINNING, loss)

    def _go_on(self, partition: TopicPartition, epoch: int, offset: int, loss: Loss | None) -> bool:
        if loss is None or not self._member.stops:
            with suppress(KafkaException):  # it may have been given up, or a try before has got so far
                self._client.incremental_unassign([Offset(*partition)])
            self._client.resume([Offset(*partition)])  # see rule 5
            self._client.incremental_assign([Offset(*partition, offset)])
            self._paused = None
        if loss is not None and (loss.after is not None or self._member.stops):
            self._arrivals.notify(self._arrivals.sink.offsets_lost, epoch, loss)
        elif loss is not None:  # offsets begin again: what is known of the former ones does not hold for them
            self._arrivals.notify(self._arrivals.sink.lost, self._disown([Offset(*partition)]))
            self._arrivals.notify(self._arrivals.sink.assigned, [self._own(partition, loss=loss)])
        return True

    # Callbacks of the client, inside its `poll`, `consume` and `close`; none of them raises

    def _guarded(self, method: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback: what it raises stops the sink, and the client itself assigns or gives up the partitions.

        What the client itself assigned then belongs to no epoch, and its records are dropped.
        """

        def call(*args: Any) -> None:
            try:
                method(*args)
            except Exception as error:  # noqa: BLE001 -- see rule 2
                self._arrivals.notify(self._arrivals.client_failed, error)

        return call

    def _on_assign(self, client: Consumer, partitions: list[Offset]) -> None:
        if self._mailbox.closing:  # a client that is closing answers no questions
            return
        committed, readable = self._committed(client, partitions)
        if partitions:
            noticed = {topic: self._ids[topic] for topic, _ in self._owned if topic in self._ids}
            self._ids = {**self._member.topic_ids.fresh(), **noticed}  # changes are for _notice_new_topics
        assignments = [self._assign(partition) for partition in committed]
        starts = [OFFSET_BEGINNING if a.position is None else a.position for a in assignments]
        starts = starts if readable else [OFFSET_INVALID] * len(starts)
        try:
            client.resume([Offset(p.topic, p.partition) for p in committed])  # see rule 5
            client.incremental_assign([Offset(*a.partition, at) for a, at in zip(assignments, starts, strict=True)])
        except Exception:
            self._disown(committed)  # what they bring is dropped: the sink does not know them
            raise
        self._paused = None
        self._arrivals.notify(self._arrivals.sink.assigned, assignments)

    def _committed(self, client: Consumer, partitions: list[Offset]) -> tuple[list[Offset], bool]:
        """Return the group's offsets with their metadata, and whether they could be read; else the client reads it."""
        if not partitions:
            return [], True
        found, fault = partitions, None
        try:
            found = client.committed(partitions, timeout=_COMMITTED_TIMEOUT)
            fault = next((partition.error for partition in found if partition.error is not None), None)
        except KafkaException as error:
            fault = error.args[0]
        if fault is not None:
            text = "%s: commit metadata not readable (%s): events that were finished may run again"
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
            if self._arrivals.notify(self._arrivals.sink.revoked, epochs, done.set):
                done.wait(self._member.drain_timeout + _GRACE)
        self._store_positions()
        self._disown(partitions)

    def _on_lost(self, _client: Consumer, partitions: list[Offset]) -> None:
        self._arrivals.notify(self._arrivals.sink.lost, self._disown(partitions))

    def _disown(self, partitions: list[Offset]) -> list[int]:
        owned = dict(self._owned)
        ended = [owned.pop((p.topic, p.partition), None) for p in partitions]
        self._owned = owned
        self._stored = {partition: position for partition, position in self._stored.items() if partition in owned}
        self._held = [message for message in self._held if (message.topic(), message.partition()) in owned]
        self._paused = None
        return [epoch for epoch in ended if epoch is not None]
