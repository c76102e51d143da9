"""The Protocols of a Kafka client, as small as the SDK needs them.

``_confluent`` implements them on a real client, ``testing`` in memory. All methods are called on the event loop and
return at once; slow work happens in a thread, and its results arrive through the sink, also on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import OutgoingRecord, Record, TopicPartition

__all__ = [
    "MAX_OUTSTANDING",
    "Acknowledgement",
    "Assignment",
    "Batch",
    "ConsumerSink",
    "ConsumerTransport",
    "DeliveryCallback",
    "DeliveryFailure",
    "DeliveryOutcome",
    "LogReader",
    "Paused",
    "Position",
    "ProducerTransport",
]


MAX_OUTSTANDING = 2  # calls of `on_received` that a transport may make before the next `request_batch`
Paused: TypeAlias = Collection[int] | Literal["all"]  # epochs


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition that this member owns from now on.

    Attributes:
        epoch: The number of this period of ownership; it grows with every assignment in this process.
        position: The group's committed offset, or None if it has none.
        metadata: The metadata committed with it.
        topic_id: The id of the topic, to be committed too; empty if it is not known.
        loss: The records lost between the committed offset and the first one that will be read, if already known.
    """

    partition: TopicPartition
    epoch: int
    position: int | None = None
    metadata: str = ""
    topic_id: str = ""
    loss: Loss | None = None


class Batch(NamedTuple):
    """Records of one partition, read in one epoch, in offset order."""

    epoch: int
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Position:
    """The offset that may be committed for one epoch of one partition."""

    partition: TopicPartition
    epoch: int
    offset: int
    metadata: str = ""


class ConsumerSink(Protocol):
    """Receives the events of a transport, on the event loop, in the order in which they happened."""

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        """Take newly owned partitions; their records follow."""
        ...

    def on_received(self, batches: Sequence[Batch]) -> None:
        """Take records to be handled."""
        ...

    def on_progress(self, offsets: Mapping[int, int]) -> None:
        """Take, by epoch, the offset below which every record was passed to `on_received`.

        It may be higher than the last received record: the last offsets of a partition may be transaction markers.
        """
        ...

    def on_offsets_lost(self, epoch: int, loss: Loss) -> None:
        """Note that records of this epoch are lost. With ``on_offset_lost="stop"`` no more arrive."""
        ...

    def on_revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """End these epochs: call `done` once the last positions are stored, within the drain time-out."""
        ...

    def on_lost(self, epochs: Sequence[int]) -> None:
        """Forget these epochs: they have ended, and nothing of them may be committed."""
        ...

    def on_client_error(self, error: Exception) -> None:
        """Stop: the client cannot go on."""
        ...


class ConsumerTransport(Protocol):
    """A member of a consumer group."""

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join the group. Called once, with the event loop running."""
        ...

    def store(self, positions: Sequence[Position]) -> None:
        """Commit these positions at the client's next interval. Ended epochs are ignored."""
        ...

    def request_batch(self) -> None:
        """Ask for one more list of batches. `MAX_OUTSTANDING` requests may be open; each `on_received` answers one."""
        ...

    def pause(self, epochs: Paused) -> None:
        """Pause these epochs, or all, and read all others. The member stays in the group.

        An epoch without a record so far, or with records in flight, may still bring some, unless all are paused.
        """
        ...

    @property
    def problem(self) -> str | None:
        """The reason why stored positions cannot be committed now, or None; the transport keeps trying."""
        ...

    async def close(self, timeout: float) -> bool:
        """Commit stored positions and leave the group; return True if that was done within `timeout` seconds."""
        ...


class Acknowledgement(NamedTuple):
    """The position at which the broker stored a record."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    """The reason why the broker did not acknowledge a record.

    Attributes:
        reason: The client's name of the error, for example ``_MSG_TIMED_OUT``.
        unknown: True if the record may have arrived anyway.
        cause: The error behind it, for example an `AuthenticationError`.
        local: True if the client refused the record itself: it was sent to no broker.
    """

    reason: str
    text: str
    unknown: bool
    cause: Exception | None = None
    local: bool = False


DeliveryOutcome: TypeAlias = Acknowledgement | DeliveryFailure
DeliveryCallback: TypeAlias = Callable[[DeliveryOutcome], None]


class ProducerTransport(Protocol):
    """A client that writes records. Its methods may be called from any thread."""

    def start(self, reported: Callable[[], None]) -> None:
        """Make the client; blocks for as long as that takes (a second with OAuth).

        Args:
            reported: Called from the client's thread after each batch of reports, and several times a second besides.
        """
        ...

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        """Queue a record; False if there is no room. `report` is called from the client's thread."""
        ...

    def flush(self, timeout: float) -> int:
        """Wait until all records are reported, `timeout` seconds at most; return how many are not."""
        ...

    def close(self) -> None:
        """End the client; records that are not acknowledged are reported as failed."""
        ...


class LogReader(Protocol):
    """Reads a whole topic from its beginning and follows it. It joins no group and commits nothing."""

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Begin. Called once, with the event loop running; the functions are called on it.

        Args:
            topic: The topic, which need not exist yet: it is read once it does.
            on_records: Takes records; those of a partition in their order.
            on_caught_up: Called once, after all records that existed at the start; at once if there are none.
            on_failure: Called once, when the client cannot go on.
        """
        ...

    async def close(self, timeout: float) -> bool:
        """Stop; return True if that was done within `timeout` seconds."""
        ...
