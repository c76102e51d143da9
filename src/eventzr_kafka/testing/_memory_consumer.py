"""A member of a consumer group of a `MemoryBroker`: a `ConsumerTransport` that behaves as the one on librdkafka.

1. All its code runs on the event loop on which `start` was called; other threads only schedule calls there.
2. Stored positions are committed within an interval (or at once, if that is 0), when a partition is revoked, and when
   the member leaves. Positions of epochs that have ended are ignored.
3. While a partition is handed over the member fetches nothing, as the owner thread of a real client does.
4. A member without a connection keeps what it owns until its session has timed out; then all of it is lost, and the
   member joins again as soon as it can.
5. A crashed member sends nothing, commits nothing and answers nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eventzr_kafka.engine.commit_metadata import shorten
from eventzr_kafka.errors import TransportError
from eventzr_kafka.handlers.options import ConsumerOptions
from eventzr_kafka.kafka.losses import Loss, find_loss
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import MAX_OUTSTANDING, Assignment, Batch, ConsumerSink, Paused, Position
from eventzr_kafka.testing._memory_cluster import AT_ONCE, Cluster, on_loop
from eventzr_kafka.testing._memory_group import Group
from eventzr_kafka.testing._memory_log import PartitionLog

__all__ = ["MemoryConsumer"]

_GRACE = 1.0  # seconds beyond the drain time-out, as of a real client
_CLOSE_POLL = 0.01  # seconds between two looks of a member that is closing


@dataclass(slots=True)
class _Owned:
    """An assigned partition, the offset at which reading began, and the next one to read."""

    epoch: int
    log: PartitionLog
    began: int
    next_offset: int
    stalled: bool = False


@dataclass(slots=True)
class _HandOver:
    """Partitions that are being revoked; ``answered`` once the sink is done with them, or out of time."""

    partitions: Sequence[TopicPartition]
    timer: asyncio.TimerHandle
    answered: bool = False


class MemoryConsumer:
    """A `ConsumerTransport`; made by `MemoryBroker.consumer`.

    Attributes:
        member_id: Changes when the member has been expelled and joins again.
    """

    def __init__(self, cluster: Cluster, group: Group, name: str, options: ConsumerOptions) -> None:
        """Prepare; it joins with `start`."""
        self.member_id = self.name = name
        self.topics: Sequence[str] = ()
        self._cluster = cluster
        self._group = group
        self._drain_timeout = options.drain_timeout
        self._stops_at_loss = options.on_offset_lost == "stop"
        self._isolated = False
        self._closing = False
        self._ended = False
        self._paused: Paused = ()
        self._credits = MAX_OUTSTANDING
        self._fetch_scheduled = False
        self._last_epoch = 0
        self._lives = 1
        self._owned: dict[TopicPartition, _Owned] = {}
        self._positions: dict[int, Position] = {}
        self._hand_over: _HandOver | None = None
        self._session: asyncio.TimerHandle | None = None
        self._commit_timer: asyncio.TimerHandle | None = None

    @property
    def reachable(self) -> bool:
        """True while the member has a connection to its group."""
        return self._cluster.running and not self._ended and not self._isolated

    # The port

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join the group."""
        self.loop = asyncio.get_running_loop()
        self.topics = list(topics)
        self._sink = sink
        with self._cluster.lock:
            self._cluster.clients.append(self)
            if self.reachable:
                self._group.join(self)

    def store(self, positions: Sequence[Position]) -> None:
        """Keep positions until the next commit."""
        self._positions.update({position.epoch: position for position in positions})
        if self._cluster.options.commit_interval == AT_ONCE:
            self._commit_if_possible()
        elif self._commit_timer is None:
            self._commit_later()

    def request_batch(self) -> None:
        """Allow one more call of `on_received`."""
        self._credits += 1
        self.wake()

    def pause(self, epochs: Paused) -> None:
        """Stop fetching for these epochs, and go on for the others."""
        self._paused = epochs
        self.wake()

    @property
    def problem(self) -> str | None:
        """None: the group takes every commit of a partition's owner."""
        return None

    async def close(self, timeout: float) -> bool:
        """Commit and leave; without a connection the group expels the member after its session time-out."""
        self._closing = True
        deadline = self.loop.time() + timeout
        while not self._ended and not self._can_leave() and self.loop.time() < deadline:  # noqa: ASYNC110 -- many causes
            await asyncio.sleep(_CLOSE_POLL)
        with self._cluster.lock:
            leaves = self._can_leave()
            if leaves:
                self._commit()
                self._group.leave(self.member_id)
            self._end()
        return leaves

    def _can_leave(self) -> bool:
        return self.reachable and self._hand_over is None

    # Faults; called under the cluster's lock

    def crash(self) -> None:
        """End without leaving the group."""
        self._note("crashed")
        self._end()

    def isolate(self) -> None:
        """Cut the connection."""
        self._note("isolated")
        self._isolated = True
        self.cluster_changed()

    def heal(self) -> None:
        """Restore the connection."""
        self._note("healed")
        self._isolated = False
        self.cluster_changed()

    def fail(self, reason: str) -> None:
        """Report to the runner that the client cannot go on."""
        self._note("failed")
        error = TransportError(f"{self._group.group_id}: the Kafka client cannot go on: {reason}")
        on_loop(self.loop, self._sink.on_client_error, error)

    def cluster_changed(self) -> None:
        """React to a connection that was lost or came back."""
        on_loop(self.loop, self._look_at_connection)

    def _look_at_connection(self) -> None:
        with self._cluster.lock:
            if self._ended:
                return
            if self.reachable:
                self._reconnect()
            else:
                self._watch_session()

    def _reconnect(self) -> None:
        if self._session is not None:
            self._session.cancel()
            self._session = None
        if self.member_id not in self._group.members:
            if self._owned or self._hand_over is not None:
                self._lose()
            self._group.join(self)
        elif self._hand_over is not None and self._hand_over.answered:
            self._finish_hand_over()
        self._group.resume()
        self.wake()

    def _watch_session(self) -> None:
        if self._session is None and self.member_id in self._group.members:
            self._session = self.loop.call_later(self._cluster.options.session_timeout, self._time_out)

    def _time_out(self) -> None:
        with self._cluster.lock:
            self._session = None
            self._group.leave(self.member_id, "expelled")
            if not self._ended:
                self.loop.call_later(self._cluster.delay(self._cluster.options.lost_delay), self._notice_expulsion)

    def _notice_expulsion(self) -> None:
        with self._cluster.lock:
            if not self._ended and self.member_id not in self._group.members:
                self._lose()

    def _lose(self) -> None:
        """Forget the owned partitions; the member will join under another id."""
        self._lives += 1
        lost = [owned.epoch for owned in self._owned.values()]
        self._note("lost", len(lost))
        self.member_id = f"{self.name}.{self._lives}"
        self._owned.clear()
        self._drop_hand_over()
        if lost:
            self._sink.on_lost(lost)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._owned.clear()
        self._drop_hand_over()
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        self._cluster.clients.remove(self)
        self._watch_session()

    # Assignments

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Own these partitions from now on."""
        on_loop(self.loop, self._assign, self.member_id, partitions)

    def _assign(self, member_id: str, partitions: Sequence[TopicPartition]) -> None:
        with self._cluster.lock:
            if self._closing or not self._is_current(member_id):
                return
            self._sink.on_assigned([self._own(partition) for partition in partitions])
            self.wake()

    def _is_current(self, member_id: str) -> bool:
        """True if a call for this membership is still valid."""
        return not self._ended and member_id == self.member_id and member_id in self._group.members

    def _own(self, partition: TopicPartition) -> Assignment:
        self._last_epoch += 1
        offset, metadata = self._group.committed.get(partition, (None, ""))
        log = self._cluster.log_of(partition)
        began = log.start if offset is None else offset
        self._owned[partition] = _Owned(self._last_epoch, log, began, began)
        return Assignment(partition, self._last_epoch, offset, metadata)

    def revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Give these partitions up, within the drain time-out."""
        on_loop(self.loop, self._revoke, self.member_id, partitions)

    def _revoke(self, member_id: str, partitions: Sequence[TopicPartition]) -> None:
        with self._cluster.lock:
            if not self._is_current(member_id):
                return
            epochs = [self._owned[partition].epoch for partition in partitions if partition in self._owned]
            timer = self.loop.call_later(self._drain_timeout + _GRACE, self._answer, member_id)
            self._hand_over = _HandOver(partitions, timer)
            if self._closing or not epochs:
                self._answer(member_id)
            else:
                self._sink.on_revoked(epochs, lambda: on_loop(self.loop, self._answer, member_id))

    def _answer(self, member_id: str) -> None:
        with self._cluster.lock:
            if self._hand_over is None or not self._is_current(member_id):
                return
            self._hand_over.answered = True
            if self.reachable:
                self._finish_hand_over()

    def _finish_hand_over(self) -> None:
        self._commit()
        for partition in self._hand_over.partitions if self._hand_over else ():
            self._owned.pop(partition, None)
        self._drop_hand_over()
        self._group.release(self.member_id)
        self.wake()

    def _drop_hand_over(self) -> None:
        if self._hand_over is not None:
            self._hand_over.timer.cancel()
            self._hand_over = None

    # Fetching and committing

    def wake(self) -> None:
        """Schedule a fetch, if there may be something to fetch."""
        with self._cluster.lock:
            if self._fetch_scheduled or not self._may_fetch():
                return
            self._fetch_scheduled = True
            delay = self._cluster.delay(self._cluster.options.fetch_delay)
            on_loop(self.loop, self.loop.call_later, delay, self._fetch)

    def _may_fetch(self) -> bool:
        waits = self._closing or self._hand_over is not None
        return bool(self._credits) and self.reachable and not waits and self._has_unread_records()

    def _has_unread_records(self) -> bool:
        return any(
            not owned.stalled
            and (owned.next_offset != owned.log.end or owned.log is not self._cluster.log_of(partition))
            for partition, owned in self._owned.items()
            if self._paused != "all" and owned.epoch not in self._paused
        )

    def _unpaused(self) -> list[TopicPartition]:
        paused = self._paused
        return [] if paused == "all" else [p for p, owned in self._owned.items() if owned.epoch not in paused]

    def _fetch(self) -> None:
        with self._cluster.lock:
            self._fetch_scheduled = False
            if not self._may_fetch():
                return  # the event that allows it again wakes this member
            self._report_losses()
            batches = self._read()
            if batches:
                self._credits -= 1
                for epoch, records in batches:
                    self._note("received", epoch, records[0].offset, len(records))
                self._sink.on_received(batches)
            read = [owned for owned in self._owned.values() if owned.next_offset > owned.began and not owned.stalled]
            self._sink.on_progress({owned.epoch: owned.next_offset for owned in read})
            self.wake()

    def _report_losses(self) -> None:
        """Report records that retention has deleted, and go on at the first offset that is left."""
        for partition, owned in sorted(self._owned.items()):
            log = self._cluster.log_of(partition)
            loss = find_loss(owned.next_offset, log.start, log.end)
            if log is not owned.log:
                loss = Loss(owned.next_offset, None, "recreated")
            if loss is None or owned.stalled:
                continue
            owned.stalled = self._stops_at_loss
            if loss.after is not None or owned.stalled:
                owned.next_offset = log.start
                self._sink.on_offsets_lost(owned.epoch, loss)
            else:
                self._sink.on_lost([owned.epoch])
                self._sink.on_assigned([replace(self._own(partition), position=None, metadata="", loss=loss)])

    def _read(self) -> list[Batch]:
        """Read records of some partitions, in an order chosen by chance, so that none is always the first."""
        room = self._cluster.chance.randint(*self._cluster.options.batch)
        partitions = sorted(self._unpaused())
        self._cluster.chance.shuffle(partitions)
        batches: list[Batch] = []
        for partition in partitions:
            owned, log = self._owned[partition], self._owned[partition].log
            if owned.stalled:
                continue
            records = log.read(owned.next_offset, room)
            if records:
                room -= len(records)
                owned.next_offset = records[-1].offset + 1
            if not log.read(owned.next_offset, 1):
                owned.next_offset = log.end  # past offsets that are not records
            if records:
                batches.append(Batch(owned.epoch, records))
        return batches

    def _commit_later(self) -> None:
        delay = self._cluster.delay(self._cluster.options.commit_interval)
        self._commit_timer = self.loop.call_later(delay, self._commit_in_time)

    def _commit_in_time(self) -> None:
        self._commit_timer = None
        self._commit_if_possible()
        if self._positions:
            self._commit_later()

    def _commit_if_possible(self) -> None:
        with self._cluster.lock:
            if self.reachable and self._hand_over is None:
                self._commit()

    def _commit(self) -> None:
        """Commit the stored positions of epochs that have not ended."""
        stored, self._positions = self._positions, {}
        current = {owned.epoch for owned in self._owned.values()}
        limit = self._cluster.options.max_metadata_bytes
        positions = [
            replace(position, metadata=shorten(position.offset, position.metadata, limit))
            for position in stored.values()
            if position.epoch in current
        ]
        self._group.commit(self.member_id, positions)

    def _note(self, verb: str, *fact: object) -> None:
        self._cluster.note(verb, self._group.group_id, self.member_id, *fact)
