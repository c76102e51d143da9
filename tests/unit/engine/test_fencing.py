"""A fault between fetch and ledger: the epochs it touches end at once, on both sides, and others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import KafkaError
from tests.unit.confluent.test_owner_thread import TOPIC, AtOnce, Fetched, Sink, position

from eventzr_kafka import CloudEvent, KafkaSettings, Record, kafka_consumer, on_message
from eventzr_kafka._confluent.arrivals import Arrivals, log
from eventzr_kafka._confluent.connection import ConnectionMonitor
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka.engine.ledger import Ledger
from eventzr_kafka.errors import ConsumerError, TransportError
from eventzr_kafka.kafka.record import UnreadableHeaders
from eventzr_kafka.kafka.transport import MAX_OUTSTANDING, Batch

if TYPE_CHECKING:
    from tests.unit.conftest import Group

OWNED = {(TOPIC, 0): 1, (TOPIC, 1): 2}


class Broken(Fetched):
    """A message of which one part cannot be had."""

    def __init__(self, offset: int, part: str, error: BaseException, partition: int = 0) -> None:
        super().__init__(offset, partition)
        self._error = error
        setattr(self, part, self._raise)

    def _raise(self) -> Any:
        raise self._error


class Damaged(Fetched):
    """A message whose list of headers came back although a name of it is missing."""

    def headers(self) -> Any:
        class Hole(list[Any]):
            def count(self, _value: Any) -> int:
                raise SystemError("bad argument to internal function")

        return Hole([("content-type", b"x"), ("?", b"y")])


class TakingSink(Sink):
    """Takes records in, but for what `refusal` says."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.refusal: BaseException | None = None

    def on_received(self, batches: Sequence[Batch]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.batches += batches

    def offsets(self) -> list[tuple[int, list[int]]]:
        return [(epoch, [record.offset for record in records]) for epoch, records in self.batches]


class Hops:
    """The loop's side of a member that owns two partitions, in epochs 1 and 2."""

    def __init__(self) -> None:
        self.sink = TakingSink()
        self.mailbox = Mailbox()
        connection = ConnectionMonitor(log, "g", KafkaSettings())
        self.arrivals = Arrivals("g", "classic", self.sink, self.mailbox, connection, cast("Any", AtOnce()))

    def bring(self, *messages: Fetched) -> None:
        self.arrivals.notify(self.arrivals.take_in, cast("Any", list(messages)), OWNED)


@pytest.fixture
def hops() -> Hops:
    return Hops()


@pytest.mark.parametrize(
    "message",
    [
        Broken(6, "headers", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
        Broken(6, "headers", SystemError("returned a result with an exception set")),
        Damaged(6),
    ],
)
def test_bad_headers_mark_one_record(hops: Hops, message: Fetched) -> None:
    hops.bring(Fetched(5), message, Fetched(7))
    ((_, records),) = hops.sink.batches
    assert [isinstance(record.headers, UnreadableHeaders) for record in records] == [False, True, False]
    assert records[1] == Record(TOPIC, 0, 6, b"t1", b"{}", (), 0)
    assert hops.sink.errors == []


@pytest.mark.parametrize("part", ["key", "value", "timestamp", "offset", "partition", "topic", "error"])
def test_lost_hop_lets_no_later_one_in(hops: Hops, part: str) -> None:
    hops.bring(Fetched(5), Fetched(90, 1))
    hops.mailbox.store([position(1, 6), position(2, 91, partition=1)])
    hops.bring(Fetched(6), Broken(7, part, RuntimeError("quotes a payload")), Fetched(8))
    hops.bring(Fetched(9), Fetched(91, 1))  # was under way already
    hops.mailbox.store([position(1, 10), position(2, 92, partition=1)])
    everything_ended = part in ("partition", "topic")  # where a message does not say what it belongs to
    assert hops.sink.offsets() == [(1, [5]), (2, [90]), *([] if everything_ended else [(2, [91])])]
    assert hops.sink.ended == ([1, 2] if everything_ended else [1])
    kept = [] if everything_ended else [position(2, 92, partition=1)]
    assert hops.mailbox.take_positions() == kept
    (error,) = hops.sink.errors
    assert type(error) is TransportError
    assert "quotes a payload" not in str(error)
    if part not in ("partition", "topic", "offset"):
        assert f"{TOPIC}[0]@7" in str(error)


def test_refused_hop_ends_the_sink(hops: Hops) -> None:
    hops.sink.refusal = RuntimeError("quotes a payload")
    hops.bring(Fetched(6))
    hops.sink.refusal = None
    hops.bring(Fetched(7))
    hops.bring(Fetched(90, 1))
    assert hops.sink.offsets() == [(2, [90])]
    assert [type(error) for error in hops.sink.errors] == [TransportError]
    assert "quotes a payload" not in str(hops.sink.errors[0])


def test_interrupted_hop_is_fenced(hops: Hops) -> None:
    hops.sink.refusal = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        hops.bring(Fetched(6))
    hops.sink.refusal = None
    hops.bring(Fetched(7))
    assert hops.sink.offsets() == []


def test_fenced_epoch_returns_credit(hops: Hops) -> None:
    hops.bring(Broken(6, "value", RuntimeError()))
    credits_left = hops.mailbox._requests._value
    hops.bring(Fetched(7))
    assert hops.mailbox._requests._value == credits_left + 1 <= MAX_OUTSTANDING + 1


class Interrupted(Ledger):
    """A ledger that is cut short between two of its steps."""

    __slots__ = ()

    def receive(self, offsets: Sequence[int]) -> set[int]:
        self._next = offsets[-1] + 1
        raise MemoryError


async def test_fenced_epoch_commits_nothing(
    make_group: Callable[[object], Group], make_record: Callable[..., Record]
) -> None:
    @kafka_consumer(group_id="g")
    class Handler:
        def __init__(self) -> None:
            self.handled: list[str] = []

        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            self.handled.append(event.id)

    group = make_group(handler := Handler())
    group.assign(1, 0)
    group.assign(2, 1)
    broken = group.consumer._epochs[1]
    broken.ledger = Interrupted(0)
    group.consumer.on_received([Batch(1, [make_record(0)]), Batch(2, [make_record(5, partition=1)])])
    group.receive(make_record(1))
    await group.settle()
    group.store()
    assert handler.handled == ["e5"]
    assert group.transport.stored.keys() == {2}
    (error,) = group.errors
    assert type(error) is ConsumerError
    assert f"{TOPIC}[0]@0" in str(error)
    await asyncio.sleep(0)


def test_refusal_message_is_no_fault(hops: Hops) -> None:
    class Refused(Fetched):
        def error(self) -> KafkaError:
            return KafkaError(KafkaError._ALL_BROKERS_DOWN)

    hops.bring(Fetched(5), Refused(-1), Fetched(6))
    assert hops.sink.offsets() == [(1, [5, 6])]
