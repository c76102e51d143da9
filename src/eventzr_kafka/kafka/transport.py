"""The ports: what the SDK asks of a Kafka client, and nothing more.

Implemented by ``_confluent`` on a real client and by ``testing`` in memory. All methods are called on the event loop
and return at once; whatever takes time happens behind them and comes back through the sink, also on the event loop.
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


MAX_OUTSTANDING = 2  # calls of `received` that a transport may make before it is asked for more
Paused: TypeAlias = Collection[int] | Literal["all"]  # epochs


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition that this member owns from now on.

    Attributes:
        epoch: Grows with every assignment in this process; names this period of ownership.
        position: The group's committed offset, or None where it has none.
        metadata: What was committed beside it.
        topic_id: Of the topic, to be committed too; empty where it is not known.
        loss: What was lost between the committed offset and the first one that will be read, if that is known already.
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
    """What may be committed for one epoch of one partition."""

    partition: TopicPartition
    epoch: int
    offset: int
    metadata: str = ""


class ConsumerSink(Protocol):
    """What a transport tells the runner, on the event loop, in the order in which it happened."""

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """These partitions are owned; records follow."""
        ...

    def received(self, batches: Sequence[Batch]) -> None:
        """Records to be run."""
        ...

    def passed(self, offsets: Mapping[int, int]) -> None:
        """By epoch: everything below this offset that is a record has been `received`.

        It says more than `received` where the last offsets of a partition are not records, as transactions leave them.
        """
        ...

    def offsets_lost(self, epoch: int, loss: Loss) -> None:
        """Records that were to come in this epoch are gone. With ``on_offset_lost="stop"`` no more come."""
        ...

    def revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        """These epochs end: `done` is called once the last positions are stored, within the drain time-out."""
        ...

    def lost(self, epochs: Sequence[int]) -> None:
        """These epochs have ended already; nothing of them may be committed."""
        ...

    def on_client_error(self, error: Exception) -> None:
        """The client cannot go on."""
        ...


class ConsumerTransport(Protocol):
    """One member of one consumer group."""

    def start(self, topics: Sequence[str], sink: ConsumerSink) -> None:
        """Join the group. Called once, with the event loop running."""
        ...

    def store(self, positions: Sequence[Position]) -> None:
        """Have these positions committed at the client's next interval. Ended epochs are ignored."""
        ...

    def request_batch(self) -> None:
        """Ask for one more batch list: `MAX_OUTSTANDING` of them may be under way, each `received` uses one up."""
        ...

    def pause(self, epochs: Paused) -> None:
        """Stop the intake of these epochs, or of all, and start that of the others. Membership is kept meanwhile.

        An epoch that has brought nothing yet, or whose records are on the way, may bring some, unless all are to stop.
        """
        ...

    @property
    def problem(self) -> str | None:
        """Why what is stored cannot be committed at the moment, or None; the transport tries again by itself."""
        ...

    async def close(self, timeout: float) -> bool:
        """Commit what is stored and leave the group; whether that was done within `timeout` seconds."""
        ...


class Acknowledgement(NamedTuple):
    """Where the broker put a record."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    """Why the broker did not acknowledge a record.

    Attributes:
        reason: The client's name of the error, such as ``_MSG_TIMED_OUT``.
        unknown: Whether the record may have arrived all the same.
        cause: What is behind it, such as an `AuthenticationError`.
        local: Whether the client answered by itself, when it was given the record: no broker has seen it.
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
        """Wait until all is reported, `timeout` seconds at most; returns how many records are not."""
        ...

    def close(self) -> None:
        """Give the client up; what is not acknowledged is reported as failed."""
        ...


class LogReader(Protocol):
    """Reads a whole topic from its beginning and goes on following it, without a group: nothing is committed."""

    def start(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record]], None],
        on_caught_up: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """Begin. Called once, with the event loop running; the functions are called on it.

        Args:
            topic: It need not exist yet: it is read once it does.
            on_records: Takes records, of each partition in its order.
            on_caught_up: Called once, when everything has been passed on that was there at the start; at once if that
                is nothing.
            on_failure: Called once, when the client cannot go on.
        """
        ...

    async def close(self, timeout: float) -> bool:
        """Stop; whether that was done within `timeout` seconds."""
        ...
