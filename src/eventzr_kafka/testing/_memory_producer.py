"""A producer of a `MemoryBroker`: a `ProducerTransport` that behaves as the one on librdkafka.

1. Records of a partition reach the log, and are reported, in the order in which they were produced.
2. Reports come from the client's thread; with a virtual clock there is none, and they come from the event loop.
3. A record that is in the log when the brokers go down is acknowledged once they are back, with the offset it has: the
   producer is idempotent. After `delivery_timeout` it is reported as failed, though it may have arrived.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from eventzr_kafka.errors import ProducerStateError
from eventzr_kafka.kafka.record import OutgoingRecord, TopicPartition
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome
from eventzr_kafka.testing._memory_cluster import Cluster, DeliveryFault, now, on_loop
from eventzr_kafka.testing.virtual_time import VirtualTimeLoop, virtual_loop

__all__ = ["MemoryProducer", "Sending"]

_POLL = 0.1  # seconds between two calls of `reported` when nothing happens
_OVERHEAD = 70  # bytes of a batch of one record besides key, value and headers

_UNKNOWN_TOPIC = DeliveryFailure("_UNKNOWN_TOPIC", "Local: Unknown topic", unknown=False)
_TOO_LARGE = DeliveryFailure("MSG_SIZE_TOO_LARGE", "Broker: Message size too large", unknown=False)
_TIMED_OUT = DeliveryFailure("_MSG_TIMED_OUT", "Local: Message timed out", unknown=True)
_PURGED = DeliveryFailure("_PURGE_QUEUE", "Local: Purged in queue", unknown=False)
_PURGED_IN_FLIGHT = DeliveryFailure("_PURGE_INFLIGHT", "Local: Purged in flight", unknown=True)


@dataclass(slots=True)
class Sending:
    """A record in flight.

    Attributes:
        due: The time of its next step, at the earliest; it also waits for the records before it.
        retries: The refusals that are left before the broker takes it.
    """

    record: OutgoingRecord
    report: DeliveryCallback
    fault: DeliveryFault
    expires: float
    due: float
    retries: int
    outcome: DeliveryOutcome = _TIMED_OUT


@dataclass(slots=True)
class _Lane:
    """The records in flight to one partition, in order."""

    unsent: deque[Sending] = field(default_factory=deque[Sending])
    in_flight: deque[Sending] = field(default_factory=deque[Sending])


class MemoryProducer:
    """A `ProducerTransport`; made by `MemoryBroker.producer`."""

    def __init__(self, cluster: Cluster) -> None:
        """Prepare; `start` begins to send."""
        self._cluster = cluster
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._changed = threading.Condition(cluster.lock)
        self._loop: VirtualTimeLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake_scheduled = False
        self._serving = threading.RLock()
        self._closed = False

    # The port

    def start(self, reported: Callable[[], None]) -> None:
        """Begin to send: in a thread, or on a virtual clock."""
        self._reported = reported
        self._loop = virtual_loop()
        with self._cluster.lock:
            self._cluster.clients.append(self)
        if self._loop is None:
            threading.Thread(target=self._serve_in_thread, name="eventzr-kafka memory producer", daemon=True).start()
        else:
            self._serve_soon()

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        """Queue a record; False if there is no room."""
        with self._cluster.lock:
            if self._closed:
                raise ProducerStateError("the producer was closed")
            if self._pending() >= self._cluster.options.queue_size:
                self._cluster.note("queue full", record.topic)
                return False
            self._queue(record, report)
            self._serve_soon()
        return True

    def flush(self, timeout: float) -> int:
        """Wait for the reports; returns how many are missing."""
        deadline = now() + timeout
        self._serve()
        while self._pending() and now() < deadline:
            self._wait(min(_POLL, deadline - now()))
        self._reported()
        return self._pending()

    def close(self) -> None:
        """Give up the records that are not acknowledged, and report them as failed."""
        with self._cluster.lock:
            self._closed = True
            if self in self._cluster.clients:
                self._cluster.clients.remove(self)
            lanes, self._lanes = self._lanes, {}
            self._changed.notify_all()
        for lane in lanes.values():
            for sending in lane.in_flight:
                sending.report(_PURGED_IN_FLIGHT)
            for sending in lane.unsent:
                sending.report(_PURGED)
        self._reported()

    # Queueing

    def _queue(self, record: OutgoingRecord, report: DeliveryCallback) -> None:
        known = record.topic in self._cluster.topics
        partition = self._cluster.choose_partition(record.topic, record.key) if known else -1
        lane = self._lanes.setdefault(TopicPartition(record.topic, partition), _Lane())
        fault, at, options = self._cluster.fault_of(record), now(), self._cluster.options
        due = at + self._cluster.delay(options.append_delay)
        lane.unsent.append(Sending(record, report, fault, at + options.delivery_timeout, due, fault.retries))

    def _pending(self) -> int:
        return sum(len(lane.unsent) + len(lane.in_flight) for lane in self._lanes.values())

    # Serving

    def wake(self) -> None:
        """Do nothing: a producer does not read."""

    def _serve_soon(self) -> None:
        if self._loop is None:
            self._changed.notify_all()
        elif not self._wake_scheduled:
            self._wake_scheduled = True
            on_loop(self._loop, self._serve_in_time, self._loop)

    def cluster_changed(self) -> None:
        """Go on sending once the brokers are up."""
        self._serve_soon()

    def _serve_in_thread(self) -> None:
        while not self._closed:
            with self._cluster.lock:
                self._changed.wait(self._idle_time())
            self._serve()
            self._reported()

    def _serve_in_time(self, loop: VirtualTimeLoop) -> None:
        self._wake_scheduled = False
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = loop.call_later(self._idle_time(), self._serve_on_loop, loop)

    def _serve_on_loop(self, loop: VirtualTimeLoop) -> None:
        self._serve()
        self._reported()
        self._serve_in_time(loop)

    def _wait(self, seconds: float) -> None:
        if self._loop is not None:
            self._loop.sleep(seconds)
            return
        with self._cluster.lock:
            self._changed.wait(seconds)

    def _idle_time(self) -> float:
        """Seconds until the next record is due, or the next call of `reported`."""
        running = self._cluster.running
        heads = [queue[0] for lane in self._lanes.values() for queue in (lane.unsent, lane.in_flight) if queue]
        next_due = min((min(s.due, s.expires) if running else s.expires for s in heads), default=float("inf"))
        return max(0.0, min(_POLL, next_due - now()))

    def _serve(self) -> None:
        with self._serving:
            with self._cluster.lock:
                settled = list(self._take_settled(now()))
            for sending in settled:
                for _ in range(sending.fault.reports):
                    sending.report(sending.outcome)
        with self._cluster.lock:
            self._changed.notify_all()  # for a thread that waits in `flush`

    def _take_settled(self, at: float) -> Iterator[Sending]:
        """Send the records that are due; take those to report now out of their lanes."""
        for partition, lane in self._lanes.items():
            if self._cluster.running:
                self._send(partition, lane, at)
                while lane.in_flight and lane.in_flight[0].due <= at:
                    yield lane.in_flight.popleft()
            for queue in (lane.in_flight, lane.unsent):
                while queue and queue[0].expires <= at:
                    queue[0].outcome = _TIMED_OUT
                    yield queue.popleft()

    def _send(self, partition: TopicPartition, lane: _Lane, at: float) -> None:
        while lane.unsent and lane.unsent[0].due <= at:
            sending = lane.unsent[0]
            if sending.retries:
                sending.retries -= 1
                sending.due = at + self._cluster.options.retry_backoff
                return
            lane.unsent.popleft()
            sending.outcome = self._append(partition, sending)
            sending.due = at + self._cluster.delay(self._cluster.options.acknowledgement_delay) + sending.fault.late
            lane.in_flight.append(sending)

    def _append(self, partition: TopicPartition, sending: Sending) -> DeliveryOutcome:
        record, fault = sending.record, sending.fault
        topic = self._cluster.topics.get(record.topic)
        if topic is None or partition.partition < 0:
            return self._refuse(record, _UNKNOWN_TOPIC)
        if _size(record) > topic.max_message_bytes:
            return self._refuse(record, _TOO_LARGE)
        if fault.failure is not None and not fault.arrives:
            return self._refuse(record, fault.failure)
        offset = topic.partitions[partition.partition].end
        for _ in range(fault.copies):
            self._cluster.append(partition, record.key, record.value, record.headers)
        return fault.failure or Acknowledgement(partition.partition, offset)

    def _refuse(self, record: OutgoingRecord, failure: DeliveryFailure) -> DeliveryFailure:
        self._cluster.note("refused", record.topic, failure.reason)
        return failure


def _size(record: OutgoingRecord) -> int:
    headers = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return _OVERHEAD + len(record.key or b"") + len(record.value or b"") + headers
