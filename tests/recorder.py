"""A recorder at the edge of a consumer's transport: what is stored for commit was handed over and has its outcome.

For each epoch of each partition it keeps what the transport handed over, and for each position that the consumer stores
it asks three things: was everything below it handed over, without a gap that no transaction or retention explains; has
each record below it an outcome; and does the position not go beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventzr_kafka.engine.clients import RealClients
from eventzr_kafka.engine.commit_metadata import read_metadata
from eventzr_kafka.engine.ledger import Ledger
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import Assignment, Batch, ConsumerSink, ConsumerTransport, Paused, Position

__all__ = ["Gap", "Recorder"]

Gap = tuple[TopicPartition, int, int]


class _Handed:
    """What was handed over in one epoch.

    Attributes:
        end: The offset below which everything was handed over.
        open: Offsets that were handed over and not yet seen below a stored position.
    """

    def __init__(self, assignment: Assignment, epoch: Any) -> None:
        self.partition = assignment.partition
        self.epoch = epoch
        self.end = assignment.position
        position = assignment.position or 0
        self.known = read_metadata(position, assignment.metadata) if assignment.position is not None else set[int]()
        self.open: set[int] = set()


class Recorder:
    """Wraps the transports of consumers, and writes down what they did wrong.

    Attributes:
        faults: One line for each position that should not have been stored.
        gaps: Offsets that were never handed over, between two that were.
        stored: How many positions were looked at.
    """

    def __init__(self, on_fault: Callable[[str], None] = lambda _fault: None, *, gapless: bool = False) -> None:
        """Begin without any.

        Args:
            on_fault: Called with each line at once.
            gapless: Whether a gap is a fault: the topics know neither transactions nor retention.
        """
        self._gapless = gapless
        self.faults: list[str] = []
        self.gaps: list[Gap] = []
        self.stored = 0
        self._on_fault = on_fault
        self._handed: dict[tuple[int, int], _Handed] = {}
        self._outcomes: dict[int, tuple[Ledger, set[int]]] = {}  # the ledger is kept: its id must not be used again
        self._members = 0

    def watch_runners(self, patch: Callable[[Any, str, Any], None] = setattr) -> None:
        """Wrap the transports of all runners that are made from here on.

        Args:
            patch: Such as `monkeypatch.setattr`.
        """
        make, finish = RealClients.consumer, Ledger.finish
        outcomes = self._outcomes

        def noted(ledger: Ledger, offset: int) -> None:
            outcomes.setdefault(id(ledger), (ledger, set()))[1].add(offset)
            finish(ledger, offset)

        def wrapped(self_: Any, *arguments: Any) -> ConsumerTransport:
            return self.wrap(make(self_, *arguments))

        patch(Ledger, "finish", noted)
        patch(RealClients, "consumer", wrapped)

    def wrap(self, transport: ConsumerTransport) -> ConsumerTransport:
        """A transport that does the same, with its sink, and is recorded."""
        self._members += 1
        return _Recorded(transport, self, self._members)

    # What the transport and its consumer do

    def assigned(self, member: int, assignments: Sequence[Assignment], sink: ConsumerSink) -> None:
        epochs = getattr(sink, "_epochs", {})
        for assignment in assignments:
            self._handed[member, assignment.epoch] = _Handed(assignment, epochs.get(assignment.epoch))

    def received(self, member: int, batches: Sequence[Batch]) -> None:
        for number, records in batches:
            handed = self._handed.get((member, number))
            if handed is None:
                self._fault(f"{records[0].position}: handed over in epoch {number}, which was never assigned")
                continue
            for record in records:
                if handed.end is not None and record.offset < handed.end:  # the topic was cut or made anew
                    handed.open.clear()
                    handed.known.clear()
                elif handed.end is not None and record.offset > handed.end:
                    self._gap(handed, record.offset)
                handed.open.add(record.offset)
                handed.end = record.offset + 1

    def passed(self, member: int, offsets: Mapping[int, int]) -> None:
        for number, offset in offsets.items():
            handed = self._handed.get((member, number))
            if handed is not None and (handed.end is None or offset > handed.end):
                if handed.end is not None:
                    self._gap(handed, offset)
                handed.end = offset

    def skipped(self, member: int, number: int, after: int) -> None:
        """Take note of records that are gone: a loss that is reported is not a gap."""
        handed = self._handed.get((member, number))
        if handed is not None:
            handed.end = max(after, handed.end or 0)

    def store(self, member: int, positions: Sequence[Position]) -> None:
        for position in positions:
            self.stored += 1
            handed = self._handed.get((member, position.epoch))
            place = f"{position.partition.topic}[{position.partition.partition}]@{position.offset}"
            if handed is None or handed.partition != position.partition:
                self._fault(f"{place}: stored in epoch {position.epoch}, which was never assigned")
                continue
            if position.offset > (handed.end or 0):
                self._fault(f"{place}: stored, but handed over is what is below {handed.end}")
            below = {offset for offset in handed.open if offset < position.offset}
            if handed.epoch is not None:
                _, outcomes = self._outcomes.get(id(handed.epoch.ledger), (None, set[int]()))
                missing = below - outcomes - handed.known
                if missing:
                    self._fault(f"{place}: stored, but {sorted(missing)[:5]} have no outcome")
            handed.open -= below

    def _gap(self, handed: _Handed, after: int) -> None:
        self.gaps.append((handed.partition, handed.end or 0, after))
        if self._gapless:
            self._fault(f"{handed.partition.topic}[{handed.partition.partition}]@{handed.end}: not handed over")

    def _fault(self, line: str) -> None:
        self.faults.append(line)
        self._on_fault(line)


class _Recorded:
    """A transport between a recorder and the real one."""

    def __init__(self, transport: ConsumerTransport, recorder: Recorder, member: int) -> None:
        self._transport = transport
        self._recorder = recorder
        self._member = member

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        self._transport.start(topics, _RecordedSink(sink, self._recorder, self._member))

    def store(self, positions: Sequence[Position]) -> None:
        self._recorder.store(self._member, positions)
        self._transport.store(positions)

    def request_batch(self) -> None:
        self._transport.request_batch()

    def pause(self, epochs: Paused) -> None:
        self._transport.pause(epochs)

    @property
    def problem(self) -> str | None:
        return self._transport.problem

    async def close(self, timeout: float) -> bool:
        return await self._transport.close(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _RecordedSink:
    """A sink between a transport and the real one."""

    def __init__(self, sink: ConsumerSink, recorder: Recorder, member: int) -> None:
        self._sink = sink
        self._recorder = recorder
        self._member = member

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        self._sink.on_assigned(assignments)
        self._recorder.assigned(self._member, assignments, self._sink)

    def on_received(self, batches: Sequence[Batch]) -> None:
        self._recorder.received(self._member, batches)
        self._sink.on_received(batches)

    def on_progress(self, offsets: Mapping[int, int]) -> None:
        self._recorder.passed(self._member, offsets)
        self._sink.on_progress(offsets)

    def on_offsets_lost(self, epoch: int, loss: Loss) -> None:
        if loss.after is not None:
            self._recorder.skipped(self._member, epoch, loss.after)
        self._sink.on_offsets_lost(epoch, loss)

    def on_revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        self._sink.on_revoked(epochs, done)

    def on_lost(self, epochs: Sequence[int]) -> None:
        self._sink.on_lost(epochs)

    def on_client_error(self, error: Exception) -> None:
        self._sink.on_client_error(error)
