"""What the thread that owns the client makes of rebalances, driven by hand over a client that only writes down."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from unittest.mock import patch

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Offset
from tests.unit.manual_time import ManualTime

from eventzr_kafka._confluent import client_owner as module
from eventzr_kafka._confluent.arrivals import Arrivals, log
from eventzr_kafka._confluent.client_owner import ClientOwner
from eventzr_kafka._confluent.commit_results import CommitResults
from eventzr_kafka._confluent.connection import ConnectionMonitor
from eventzr_kafka._confluent.consumer import ConfluentConsumer
from eventzr_kafka._confluent.mailbox import Mailbox
from eventzr_kafka._confluent.member import Member
from eventzr_kafka.engine.commit_metadata import ranges_of, write_metadata
from eventzr_kafka.handlers.options import ConsumerOptions, Ordering
from eventzr_kafka.kafka.losses import Loss
from eventzr_kafka.kafka.record import TopicPartition
from eventzr_kafka.kafka.transport import MAX_OUTSTANDING, Assignment, Batch, Paused, Position
from eventzr_kafka.settings import KafkaSettings

TOPIC = "bench.thing.happened.v1"


class Fetched:
    """A message of the client."""

    def __init__(self, offset: int, partition: int = 0) -> None:
        self._offset = offset
        self._partition = partition

    def error(self) -> KafkaError | None:
        return None

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"t1"

    def value(self) -> bytes:
        return b"{}"

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


class Failed(Fetched):
    """An error in place of a message."""

    def __init__(self, code: int = KafkaError.UNKNOWN_TOPIC_OR_PART) -> None:
        super().__init__(-1)
        self._code = code

    def error(self) -> KafkaError:
        return KafkaError(self._code)


class Client:
    """In place of the confluent `Consumer`; ``meanwhile`` runs inside the next `consume`, as callbacks do."""

    def __init__(self) -> None:
        self.ready: list[Fetched] = []
        self.meanwhile: Callable[[], None] | None = None
        self.group: dict[int, Offset] = {}
        self.unreadable: KafkaException | None = None
        self.unstorable: KafkaException | None = None
        self.stored: list[tuple[int, int, str | None]] = []
        self.assigned: list[tuple[int, int]] = []
        self.paused: set[int] = set()  # as in librdkafka, whether they are assigned or not
        self.resumed: list[int] = []
        self.positions: dict[int, int] = {}
        self.calls: list[str] = []
        self.watermarks: dict[int, tuple[int, int]] = {}
        self.answer: Callable[[tuple[int, int, str | None]], None] | None = None
        self.time = ManualTime(1000.0)

    def consume(self, count: int, timeout: float) -> list[Fetched]:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        self.time.now += 0 if self.ready else timeout
        taken, self.ready = self.ready[:count], self.ready[count:]
        self.positions.update({message.partition(): message.offset() + 1 for message in taken})
        return taken

    def position(self, partitions: list[Offset]) -> list[Offset]:
        return [Offset(p.topic, p.partition, self.positions.get(p.partition, OFFSET_INVALID)) for p in partitions]

    def poll(self, _timeout: float) -> None:
        return None

    def committed(self, partitions: list[Offset], timeout: float) -> list[Offset]:
        assert timeout > 0
        if self.unreadable is not None:
            raise self.unreadable
        return [self.group.get(p.partition, p) for p in partitions]

    def incremental_assign(self, partitions: list[Offset]) -> None:
        self.calls.append("assign")
        self.assigned += [(p.partition, p.offset) for p in partitions]
        for partition in partitions:
            self.positions.pop(partition.partition, None)

    def incremental_unassign(self, partitions: list[Offset]) -> None:
        self.calls.append("unassign")
        for partition in partitions:
            self.positions.pop(partition.partition, None)

    def get_watermark_offsets(self, partition: Offset, timeout: float) -> tuple[int, int] | None:
        assert timeout > 0
        return self.watermarks.get(partition.partition)

    def subscribe(self, _topics: list[str], **_callbacks: Any) -> None:
        return None

    def pause(self, partitions: list[Offset]) -> None:
        assert all(p.partition in self.positions for p in partitions), "paused while the client may be starting it"
        self.paused |= {p.partition for p in partitions}

    def resume(self, partitions: list[Offset]) -> None:
        self.calls.append("resume")
        self.resumed += [p.partition for p in partitions]
        self.paused -= {p.partition for p in partitions}

    def commit(self, *, asynchronous: bool) -> None:
        assert asynchronous
        self.calls.append("commit")
        if self.answer is not None:
            self.answer(self.stored[-1])

    def close(self) -> None:
        self.calls.append("close")

    def store_offsets(self, *, offsets: list[Offset]) -> None:
        if self.unstorable is not None:
            raise self.unstorable
        self.stored += [(p.partition, p.offset, p.metadata) for p in offsets]


class Joined(Client):
    """A client with its callbacks."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.callbacks: dict[str, Callable[..., None]] = dict(config)
        self.closed = threading.Event()

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.callbacks.update(callbacks)

    def close(self) -> None:
        self.closed.set()


class Sink:
    """Writes down what it is told; ``hand_over`` says when a revoked partition is done, at once if left alone."""

    def __init__(self) -> None:
        self.assignments: list[Assignment] = []
        self.ended: list[int] = []
        self.reports: list[dict[int, int]] = []
        self.losses: list[tuple[int, Loss]] = []
        self.errors: list[Exception] = []
        self.hand_over: Callable[[Callable[[], None]], None] = lambda done: done()

    def on_assigned(self, assignments: Sequence[Assignment]) -> None:
        self.assignments += assignments

    def on_received(self, batches: Sequence[Batch]) -> None:
        raise AssertionError(batches)

    def on_offsets_lost(self, epoch: int, loss: Loss) -> None:
        self.losses.append((epoch, loss))

    def on_progress(self, offsets: Mapping[int, int]) -> None:
        self.reports.append(dict(offsets))

    def on_revoked(self, epochs: Sequence[int], done: Callable[[], None]) -> None:
        self.ended += epochs
        self.hand_over(done)

    def on_lost(self, epochs: Sequence[int]) -> None:
        self.ended += epochs

    def on_client_error(self, error: Exception) -> None:
        self.errors.append(error)


class Ids:
    """Topic ids, as the test says."""

    def __init__(self) -> None:
        self.latest: dict[str, str] = {}

    def fresh(self) -> dict[str, str]:
        return self.latest

    def start(self) -> None:
        """Look nowhere."""

    def end(self) -> None:
        """Look no more."""


class AtOnce:
    """An event loop that runs each call where it is asked to."""

    def call_soon_threadsafe(self, method: Callable[..., None], *args: Any) -> None:
        method(*args)

    def is_closed(self) -> bool:
        return False


class Owner:
    """The owner thread's object, driven by the test in place of the thread."""

    def __init__(self, loop: object | None = None, *, stops: bool = False) -> None:
        self.client = Client()
        self.sink = Sink()
        self.time = self.client.time
        clock = self.time.clock
        self.connection = ConnectionMonitor(log, "g", KafkaSettings(), clock=clock)
        self.commits = CommitResults("g", clock)
        self.mailbox = Mailbox()
        self.arrivals = Arrivals(
            "g", "classic", self.sink, self.mailbox, self.connection, cast("Any", loop or AtOnce())
        )
        self.ids = Ids()
        ids = cast("Any", self.ids)
        member = Member("g", (TOPIC,), {"group.protocol": "classic"}, 2000, 5, ids, stops=stops, clock=clock)
        with patch.object(module, "make_client", self._make_client):
            self.thread = ClientOwner(member, self.mailbox, self.arrivals, self.connection, self.commits)

    def _make_client(self, _kind: object, _config: dict[str, Any]) -> Client:
        return self.client

    def assign(self, *partitions: int) -> None:
        self.thread._on_assign(self.thread._client, offsets(*partitions))

    def revoke(self, *partitions: int) -> None:
        self.thread._on_revoke(self.thread._client, offsets(*partitions))

    def lose(self, *partitions: int) -> None:
        self.thread._on_lost(self.thread._client, offsets(*partitions))

    def hold(self, *messages: Fetched) -> None:
        """Have the client bring these while nobody asks for more."""
        self.client.ready += messages
        for _ in messages:
            self.thread._keep_membership()

    def fetch(self) -> dict[int, list[tuple[int, int]]]:
        """Partition and offset of the next records, by epoch."""
        batches = self.arrivals.sort(self.thread._fetch(), self.thread._owned)
        return {batch.epoch: [(r.partition, r.offset) for r in batch.records] for batch in batches}

    def begin(self, *partitions: int) -> None:
        """Assign these, and have each of them bring a record."""
        self.assign(*partitions)
        self.client.ready += [Fetched(0, partition) for partition in partitions]
        self.fetch()

    def turn(self) -> None:
        """What the thread does once for a credit."""
        assert self.mailbox._requests.acquire(blocking=False)
        self.thread._serve_request()

    def credits(self) -> int:
        return self.mailbox._requests._value

    def store(self, *positions: Position) -> None:
        self.mailbox.store(positions)
        self.thread._store_positions()


def offsets(*partitions: int) -> list[Offset]:
    return [Offset(TOPIC, partition) for partition in partitions]


def position(epoch: int, offset: int, metadata: str = "", *, partition: int = 0) -> Position:
    return Position(TopicPartition(TOPIC, partition), epoch, offset, metadata)


def failure(code: int = KafkaError._STATE) -> KafkaException:
    return KafkaException(KafkaError(code))


def raise_failure(_partitions: list[Offset]) -> None:
    raise failure()


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records if record.levelname == "WARNING")


@pytest.fixture
def owner() -> Owner:
    return Owner()


# A client that has forgotten its brokers


def test_lost_client_is_given_up_with_its_partitions(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Joined] = []

    def make(_kind: object, config: dict[str, Any]) -> Joined:
        made.append(Joined(config))
        return made[-1]

    monkeypatch.setattr(module, "make_client", make)
    owner.thread._client = owner.thread._join()
    owner.assign(0)
    made[0].ready = [Fetched(0)]
    owner.thread._keep_membership()
    for _ in range(3):
        made[0].callbacks["stats_cb"]("{}")
    first = made[0]
    owner.mailbox._reading.clear()
    monkeypatch.setattr(owner.thread, "_keep_membership", owner.mailbox.close)
    owner.thread.run()
    owner.mailbox.closing = False

    second = made[1]
    assert first.closed.wait(60)
    assert not second.closed.is_set()
    assert owner.sink.ended == [1]
    assert owner.fetch() == {}
    assert warnings(caplog, "has forgotten its brokers") == 1
    for _ in range(3):  # it says so until it is closed
        first.callbacks["stats_cb"]("{}")
    assert not owner.connection.brokers_forgotten
    first.callbacks["on_assign"](first, offsets(0))
    assert owner.thread._owned == {}
    second.callbacks["on_assign"](second, offsets(0))
    first.callbacks["on_lost"](first, offsets(0))
    assert owner.thread._owned == {(TOPIC, 0): 2}


# Records and epochs


def test_held_records_keep_their_epoch(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(Fetched(40), Fetched(41))
    assert owner.fetch() == {1: [(0, 40), (0, 41)]}
    assert owner.fetch() == {}


def test_held_records_of_a_lost_partition_are_dropped(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(Fetched(40), Fetched(41))

    def rebalance() -> None:
        owner.lose(0)
        owner.assign(0)

    owner.client.group[0] = Offset(TOPIC, 0, 10)
    owner.client.meanwhile = rebalance
    owner.thread._keep_membership()
    assert owner.sink.assignments[-1] == Assignment(TopicPartition(TOPIC, 0), 2, 10)
    assert owner.fetch() == {}
    owner.client.ready = [Fetched(10)]
    assert owner.fetch() == {2: [(0, 10)]}


def test_record_held_in_a_rebalance_gets_the_new_epoch(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(Fetched(40))

    def rebalance() -> None:
        owner.lose(0)
        owner.assign(0)
        owner.client.ready = [Fetched(10)]

    owner.client.meanwhile = rebalance
    owner.thread._keep_membership()
    assert owner.fetch() == {2: [(0, 10)]}


def test_other_held_records_survive(owner: Owner) -> None:
    owner.assign(0, 1)
    owner.hold(Fetched(40), Fetched(7, partition=1))
    owner.client.meanwhile = lambda: owner.lose(0)
    owner.thread._keep_membership()
    assert owner.fetch() == {2: [(1, 7)]}


def test_records_lost_in_a_fetch_are_dropped(owner: Owner) -> None:
    owner.assign(0, 1)
    owner.client.ready = [Fetched(40), Fetched(7, partition=1), Fetched(41), Fetched(8, partition=1)]
    owner.client.meanwhile = lambda: owner.lose(0)
    assert owner.fetch() == {2: [(1, 7), (1, 8)]}


def test_records_revoked_in_a_fetch_are_dropped(owner: Owner) -> None:
    owner.assign(0, 1)
    owner.client.ready = [Fetched(40), Fetched(7, partition=1)]
    owner.client.meanwhile = lambda: owner.revoke(0)
    assert owner.fetch() == {2: [(1, 7)]}


def test_late_records_keep_their_epoch(owner: Owner) -> None:
    owner.assign(0)
    owner.client.ready = [Fetched(5)]
    heard_late = owner.thread._fetch(), owner.thread._owned
    owner.lose(0)
    owner.assign(0)
    assert [batch.epoch for batch in owner.arrivals.sort(*heard_late)] == [1]


def test_only_fetches_of_its_own_count(owner: Owner) -> None:
    owner.assign(0)
    owner.client.ready = [Fetched(7, partition=1), Failed()]
    owner.turn()
    assert owner.credits() == MAX_OUTSTANDING
    received: list[Sequence[Batch]] = []
    cast("Any", owner.sink).on_received = received.append
    owner.client.ready = [Fetched(40), Failed()]
    owner.turn()
    assert [batch.epoch for batch in received[0]] == [1]
    assert owner.credits() == MAX_OUTSTANDING - 1


def test_only_paused_partitions_stop(owner: Owner) -> None:
    owner.begin(0, 1, 2)
    paused: list[set[int]] = []
    for epochs in ([1, 3], [2], "all", ()):
        owner.mailbox.pause(cast("Paused", epochs))
        owner.turn()
        paused.append(set(owner.client.paused))
    assert paused == [{0, 2}, {1}, {0, 1, 2}, set()]


def test_partition_pauses_after_a_record(owner: Owner) -> None:
    owner.begin(0)
    owner.assign(1)
    owner.mailbox.pause([1, 2])
    owner.turn()
    assert owner.client.paused == {0}
    owner.client.ready = [Fetched(0, 1)]
    owner.fetch()
    owner.turn()
    assert owner.client.paused == {0, 1}


def test_records_of_a_full_pause_are_held(owner: Owner) -> None:
    owner.mailbox.pause("all")
    owner.assign(0)
    owner.client.ready = [Fetched(0), Fetched(1)]
    owner.thread._keep_membership()
    assert owner.client.paused == {0}
    owner.mailbox.pause(())
    assert owner.fetch() == {1: [(0, 0)]}


def test_full_pause_hands_over_nothing(owner: Owner) -> None:
    owner.assign(0)
    owner.client.meanwhile = owner.mailbox.close
    owner.client.ready = [Fetched(0)]
    owner.mailbox.pause("all")
    owner.thread.run()
    assert owner.sink.errors == []  # the sink raises when it is given records
    assert owner.credits() == MAX_OUTSTANDING


def test_lost_paused_partition_is_resumed(owner: Owner) -> None:
    owner.begin(0, 1)
    owner.mailbox.pause([1])
    owner.turn()
    owner.lose(0)
    assert owner.client.paused == {0}
    owner.client.calls.clear()
    owner.assign(0)
    assert owner.client.paused == set()
    assert owner.client.calls == ["resume", "assign"]


def test_rebalance_repeats_the_pauses(owner: Owner) -> None:
    owner.begin(0, 1)
    owner.assign(2)
    owner.mailbox.pause([1])
    owner.turn()
    for rebalance in (owner.lose, owner.assign, owner.revoke):
        owner.client.paused = {1}  # it passed over both
        rebalance(2)
        owner.turn()
        assert owner.client.paused == {0}


def test_lost_partition_is_not_touched(owner: Owner) -> None:
    owner.begin(0)
    owner.mailbox.pause([1])
    owner.turn()
    owner.lose(0)
    owner.client.resumed.clear()
    owner.mailbox.pause(())
    owner.turn()
    assert owner.client.resumed == []


def test_many_held_records_pause_all(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(*(Fetched(offset) for offset in range(99)))
    assert owner.client.paused == set()
    owner.hold(Fetched(99))
    assert owner.client.paused == {0}
    owner.thread._pause(owner.mailbox.paused)
    assert owner.client.paused == set()


@pytest.mark.parametrize(
    ("code", "name"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED"), (KafkaError._FATAL, "_FATAL")],
)
def test_error_is_reported_without_demand(owner: Owner, code: int, name: str) -> None:
    owner.assign(0)
    owner.mailbox.pause("all")
    owner.hold(Failed(code), Fetched(40), Fetched(7, partition=1))
    assert [name in str(error) and f"topic {TOPIC}" in str(error) for error in owner.sink.errors] == [True]
    assert len(owner.thread._held) == 1  # the other partition is not ours


def test_rebalances_add_no_held_records(owner: Owner) -> None:
    owner.mailbox.pause("all")
    for _ in range(10):
        owner.assign(0, 1)
        owner.hold(Fetched(40), Fetched(7, partition=1), Fetched(7, partition=2))
        owner.lose(0)
    assert len(owner.thread._held) == 10  # of partition 1, which this client goes on reading


def test_new_demand_wakes_the_owner(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventzr_kafka._confluent.client_owner._POLL_SECONDS", 5.0)

    def close(_timeout: float) -> None:
        owner.mailbox.close()

    monkeypatch.setattr(owner.client, "poll", close)
    owner.mailbox.pause("all")
    thread = threading.Thread(target=owner.thread.run, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    owner.mailbox.pause(())
    thread.join(60)
    assert not thread.is_alive()


def test_hop_is_no_larger_than_batch(owner: Owner) -> None:
    owner.assign(0)
    owner.client.ready = [Fetched(offset) for offset in range(3_000)]
    (records,) = owner.fetch().values()
    assert len(records) == 2000


@pytest.mark.parametrize(("ordering", "batch"), [("tenant", 2000), ("subject", 500)])
async def test_hops_shrink_with_subjects(ordering: Ordering, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    members: list[Member] = []

    def own_client(member: Member, *_others: object) -> None:
        members.append(member)

    monkeypatch.setattr("eventzr_kafka._confluent.consumer._run_owner", own_client)
    consumer = ConfluentConsumer(KafkaSettings(), "g", ConsumerOptions(ordering=ordering))
    consumer.start([TOPIC], Sink())
    assert await consumer.close(5)
    assert [member.batch for member in members] == [batch]


# Positions


def test_live_position_is_stored_once(owner: Owner) -> None:
    owner.assign(0)
    owner.store(position(1, 12, "m"))
    owner.store()
    assert owner.client.stored == [(0, 12, "m")]


def test_last_of_several_is_stored(owner: Owner) -> None:
    owner.assign(0)
    owner.store(position(1, 12, "m"), position(1, 14, "n"))
    assert owner.client.stored == [(0, 14, "n")]


def test_position_of_ended_epoch_is_not(owner: Owner) -> None:
    owner.assign(0)
    owner.lose(0)
    owner.store(position(1, 12))
    owner.assign(0)
    owner.store(position(1, 13), position(2, 3, "live"))
    assert owner.client.stored == [(0, 3, "live")]


def test_unstored_position_is_retried(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    owner.assign(0)
    owner.client.unstorable = failure()
    owner.store(position(1, 12, "m"))
    owner.store()
    assert warnings(caplog, "offset not stored") == 1
    owner.client.unstorable = None
    owner.store()
    assert owner.client.stored == [(0, 12, "m")]


def test_retry_replaces_no_newer_position(owner: Owner) -> None:
    owner.assign(0)
    owner.client.unstorable = failure()
    owner.store(position(1, 12))
    owner.client.unstorable = None
    owner.store(position(1, 14))
    owner.store()
    assert owner.client.stored == [(0, 14, "")]


def test_unstored_position_ends_with_epoch(owner: Owner) -> None:
    owner.assign(0)
    owner.client.unstorable = failure()
    owner.store(position(1, 12))
    owner.client.unstorable = None
    owner.lose(0)
    owner.assign(0)
    owner.store()
    assert owner.client.stored == []


LONG = write_metadata(12, ranges_of(sorted(random.Random(1).sample(range(13, 9_000), 4_000))))  # noqa: S311


def refuse_above(owner: Owner, limit: int) -> Callable[[tuple[int, int, str | None]], None]:
    """Answer commits as a broker with this ``offset.metadata.max.bytes`` does."""

    def answer(stored: tuple[int, int, str | None]) -> None:
        partition, offset, metadata = stored
        fault = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE) if len(metadata or "") > limit else None
        owner.commits.on_commit(fault, [Offset(TOPIC, partition, offset, metadata=metadata or "")])

    return answer


def test_refused_metadata_is_stored_shorter(owner: Owner) -> None:
    owner.assign(0)
    owner.store(position(1, 12, LONG))
    refuse_above(owner, 64)(owner.client.stored[-1])
    owner.store()
    owner.store()
    assert [len(metadata or "") for _, _, metadata in owner.client.stored] == [len(LONG), pytest.approx(1000, abs=24)]


def test_refused_replaces_no_newer_position(owner: Owner) -> None:
    owner.assign(0)
    owner.store(position(1, 12, LONG))
    refuse_above(owner, 64)(owner.client.stored[-1])
    owner.store(position(1, 14))
    assert owner.client.stored[-1] == (0, 14, "")


def test_refused_lost_partition_is_forgotten(owner: Owner) -> None:
    owner.assign(0)
    owner.store(position(1, 12, LONG))
    refuse_above(owner, 64)(owner.client.stored[-1])
    owner.lose(0)
    owner.assign(0)
    owner.store()
    assert len(owner.client.stored) == 1


def test_leaving_learns_accepted_metadata(owner: Owner) -> None:
    owner.assign(0)
    owner.client.answer = refuse_above(owner, 64)
    owner.mailbox.store([position(1, 12, LONG)])
    owner.thread.leave()
    assert owner.client.calls[-5:] == ["commit", "commit", "commit", "commit", "close"]
    assert 16 < len(owner.client.stored[-1][2] or "") <= 64


def test_leaving_asks_nothing_if_accepted(owner: Owner) -> None:
    owner.assign(0)
    owner.store(position(1, 12, LONG))
    refuse_above(owner, 4096)(owner.client.stored[-1])
    owner.mailbox.store([position(1, 14, LONG[:60])])
    owner.thread.leave()
    assert "commit" not in owner.client.calls


def test_leaving_proves_nothing_if_unmoved(owner: Owner) -> None:
    owner.assign(0)
    owner.client.answer = lambda _: owner.commits.on_commit(KafkaError(KafkaError._NO_OFFSET), [])
    owner.mailbox.store([position(1, 12, LONG)])
    owner.thread.leave()
    assert owner.client.calls.count("commit") == 1
    assert owner.client.calls[-1] == "close"


def test_leaving_waits_for_no_late_answer(owner: Owner) -> None:
    owner.assign(0)
    owner.mailbox.store([position(1, 12, LONG)])
    owner.thread.leave()
    assert owner.client.calls[-2:] == ["commit", "close"]


# Offsets that are gone


class Stalled(Failed):
    """The client has found no record at its offset, and reads the partition no more."""

    def __init__(self, offset: int, partition: int = 0) -> None:
        super().__init__(KafkaError._AUTO_OFFSET_RESET)
        self._offset = offset
        self._partition = partition


class Unreadable(Offset):
    """A partition of an answer whose offset could not be read; the client's own class takes no error."""

    @property
    def error(self) -> KafkaError:  # type: ignore[override]
        return KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)


def stall(owner: Owner, offset: int, watermarks: tuple[int, int] | None) -> None:
    """Have partition 0 stop at an offset of a log with these ends."""
    owner.client.assigned.clear()
    owner.client.watermarks = {} if watermarks is None else {0: watermarks}
    owner.hold(Stalled(offset))
    owner.thread._restart_stalled()


def test_retention_gap_is_reported(owner: Owner) -> None:
    owner.assign(0)
    stall(owner, 3, (10, 20))
    assert owner.client.calls[-3:] == ["unassign", "resume", "assign"]
    assert owner.client.assigned == [(0, 10)]
    assert owner.sink.losses == [(1, Loss(3, 10, "retention"))]
    assert owner.sink.ended == []


def test_shrunken_log_is_read_in_a_new_epoch(owner: Owner) -> None:
    owner.assign(0)
    stall(owner, 30, (10, 20))
    assert owner.client.assigned == [(0, 10)]
    assert owner.sink.ended == [1]
    renewed = Assignment(TopicPartition(TOPIC, 0), 2, None, "", "", Loss(30, None, "truncated"))
    assert owner.sink.assignments[-1] == renewed
    assert owner.thread._owned == {(TOPIC, 0): 2}


def test_needless_stop_resumes_in_place(owner: Owner) -> None:
    owner.assign(0)
    stall(owner, 15, (10, 20))
    assert owner.client.assigned == [(0, 15)]
    assert (owner.sink.losses, owner.sink.ended) == ([], [])


@pytest.mark.parametrize(("committed", "begins"), [(None, 10), (12, 12)])
def test_unknown_offset_asks_the_group(owner: Owner, committed: int | None, begins: int) -> None:
    owner.client.unreadable = failure(KafkaError._TIMED_OUT)
    owner.assign(0)
    owner.client.unreadable = None
    if committed is not None:
        owner.client.group[0] = Offset(TOPIC, 0, committed)
    stall(owner, OFFSET_INVALID, (10, 20))
    assert owner.client.assigned == [(0, begins)]
    assert owner.sink.losses == []


def test_unreadable_offset_begins_nothing(owner: Owner) -> None:
    owner.assign(0)
    owner.client.group[0] = Unreadable(TOPIC, 0, OFFSET_INVALID)
    stall(owner, OFFSET_INVALID, (10, 20))
    assert owner.client.assigned == []
    assert owner.mailbox.take_stalled() == {1: OFFSET_INVALID}


def test_late_offset_may_be_of_an_old_topic(owner: Owner) -> None:
    owner.client.unreadable = failure(KafkaError._TIMED_OUT)
    owner.ids.latest = {TOPIC: "new"}
    owner.assign(0)
    owner.client.unreadable = None
    owner.client.group[0] = Offset(TOPIC, 0, 12, metadata=write_metadata(12, [], "former"))
    stall(owner, OFFSET_INVALID, (10, 20))
    assert owner.client.assigned == [(0, OFFSET_BEGINNING)]
    assert owner.sink.assignments[-1].loss == Loss(12, None, "recreated")


def test_held_records_come_before_a_gap(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(Fetched(2))
    stall(owner, 3, (10, 20))
    assert owner.client.assigned == []
    assert owner.fetch() == {1: [(0, 2)]}
    owner.thread._restart_stalled()
    assert owner.client.assigned == [(0, 10)]


def test_unreadable_log_is_retried(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    owner.assign(0)
    stall(owner, 3, None)
    owner.client.watermarks = {0: (10, 20)}
    owner.thread._restart_stalled()  # too early
    assert owner.client.assigned == []
    monkeypatch.setattr(owner.thread, "_restart_at", 0.0)
    owner.thread._restart_stalled()
    assert owner.client.assigned == [(0, 10)]


def test_lost_partition_stays_lost(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(Stalled(3))
    owner.lose(0)
    owner.assign(0)
    owner.client.assigned.clear()
    owner.thread._restart_stalled()
    assert owner.client.assigned == []


def test_strict_member_stops_at_a_loss() -> None:
    owner = Owner(stops=True)
    owner.assign(0)
    stall(owner, 3, (10, 20))
    assert owner.client.assigned == []
    assert owner.sink.losses == [(1, Loss(3, 10, "retention"))]


def test_offset_of_an_old_topic_is_dropped(owner: Owner) -> None:
    owner.client.group[0] = Offset(TOPIC, 0, 7, metadata=write_metadata(7, [(9, 12)], "former"))
    owner.client.group[1] = Offset(TOPIC, 1, 7, metadata=write_metadata(7, [(9, 12)], "new"))
    owner.ids.latest = {TOPIC: "new"}
    owner.assign(0, 1)
    assert owner.client.assigned == [(0, OFFSET_BEGINNING), (1, 7)]
    first, second = owner.sink.assignments
    assert (first.position, first.metadata, first.loss) == (None, "", Loss(7, None, "recreated"))
    assert (second.position, second.loss, second.topic_id) == (7, None, "new")


def test_recreated_topic_is_read_anew(owner: Owner) -> None:
    owner.ids.latest = {TOPIC: "former"}
    owner.begin(0)
    owner.ids.latest = {TOPIC: "former"}
    owner.thread._notice_new_topics()
    assert owner.sink.ended == []
    owner.client.assigned.clear()
    owner.ids.latest = {TOPIC: "new"}
    for _ in range(2):
        owner.thread._notice_new_topics()
    assert owner.client.assigned == [(0, OFFSET_BEGINNING)]
    assert owner.sink.ended == [1]
    assert owner.sink.assignments[-1].topic_id == "new"
    assert owner.sink.assignments[-1].loss == Loss(1, None, "recreated")


def test_rebalance_hides_no_recreated_topic(owner: Owner) -> None:
    owner.ids.latest = {TOPIC: "former"}
    owner.begin(0)
    owner.ids.latest = {TOPIC: "new"}
    owner.assign(1)  # it looks the ids up, too
    owner.client.assigned.clear()
    for _ in range(2):
        owner.thread._notice_new_topics()
    assert owner.client.assigned == [(0, OFFSET_BEGINNING), (1, OFFSET_BEGINNING)]
    assert owner.sink.ended == [1, 2]


def test_failed_assignment_is_retried(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    owner.ids.latest = {TOPIC: "former"}
    owner.begin(0)
    owner.store(position(1, 1))
    owner.ids.latest = {TOPIC: "new"}
    with monkeypatch.context() as patched:
        patched.setattr(owner.client, "incremental_assign", raise_failure)
        owner.thread._notice_new_topics()
    owner.client.assigned.clear()
    owner.thread._restart_stalled()
    assert owner.client.assigned == [(0, OFFSET_BEGINNING)]
    assert owner.sink.assignments[-1].loss == Loss(1, None, "recreated")


def test_unfinished_goes_with_its_topic(owner: Owner) -> None:
    owner.ids.latest = {TOPIC: "former"}
    owner.begin(0)
    owner.client.positions[0] = 40
    owner.store(position(1, 12))
    owner.ids.latest = {TOPIC: "new"}
    owner.thread._notice_new_topics()
    assert owner.sink.assignments[-1].loss == Loss(12, None, "recreated")


# How far the client is


def test_progress_is_reported_each_second(owner: Owner) -> None:
    owner.assign(0, 1)
    owner.client.positions[0] = 13  # it has brought nothing of the other one
    owner.thread._report_progress()
    owner.thread._report_progress()
    owner.time.now += 1.0
    owner.client.positions[0] = 14
    owner.thread._report_progress()
    assert owner.sink.reports == [{1: 13}, {1: 14}]


def test_held_records_are_not_passed(owner: Owner) -> None:
    owner.assign(0)
    owner.hold(Fetched(40))
    owner.thread._report_progress()
    assert owner.sink.reports == []
    assert owner.fetch() == {1: [(0, 40)]}
    owner.thread._report_progress()
    assert owner.sink.reports == [{1: 41}]


# Assignments


def test_committed_offset_is_assigned(owner: Owner) -> None:
    owner.client.group[0] = Offset(TOPIC, 0, 10, metadata="done: 12")
    owner.assign(0, 1)
    assert owner.sink.assignments == [
        Assignment(TopicPartition(TOPIC, 0), 1, 10, "done: 12"),
        Assignment(TopicPartition(TOPIC, 1), 2, None, ""),
    ]
    assert owner.client.assigned == [(0, 10), (1, OFFSET_BEGINNING)]


def test_unreadable_commits_are_left_to_the_client(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    owner.client.unreadable = failure(KafkaError._TIMED_OUT)
    owner.assign(0, 1)
    assert [(a.epoch, a.position, a.metadata) for a in owner.sink.assignments] == [(1, None, ""), (2, None, "")]
    assert owner.client.assigned == [(p.partition, p.offset) for p in offsets(0, 1)]
    assert warnings(caplog, "commit metadata not readable") == 1
    assert owner.sink.errors == []


# Revocation


async def test_revocation_stores_last_offset() -> None:
    owner = Owner(asyncio.get_running_loop())
    owner.assign(0)
    asked: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
    owner.sink.hand_over = asked.put_nowait
    async with asyncio.timeout(60):
        revocation = asyncio.create_task(asyncio.to_thread(owner.revoke, 0))
        done = await asked.get()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not revocation.done()
        owner.mailbox.store([position(1, 13, "last")])
        done()
        await revocation
    assert owner.sink.ended == [1]
    assert owner.client.stored == [(0, 13, "last")]
    owner.store(position(1, 14))
    assert owner.client.stored == [(0, 13, "last")]


def test_lost_partition_stores_nothing(owner: Owner) -> None:
    owner.assign(0)
    owner.mailbox.store([position(1, 13)])
    owner.lose(0, 1)
    owner.store()
    assert owner.sink.ended == [1]
    assert owner.client.stored == []


# Callbacks never raise


@pytest.fixture
def deserted() -> Owner:
    """An owner whose event loop is closed."""
    loop = asyncio.new_event_loop()
    loop.close()
    return Owner(loop)


def test_rebalance_survives_closed_loop(deserted: Owner) -> None:
    deserted.assign(0, 1)
    deserted.mailbox.store([position(1, 13)])
    revocation = threading.Thread(target=deserted.revoke, args=(0,), daemon=True)
    revocation.start()
    revocation.join(60)
    assert not revocation.is_alive()  # nobody would ever say that it is done
    deserted.lose(1)
    assert deserted.client.stored == [(0, 13, "")]
    assert deserted.thread._owned == {}


def test_errors_survive_closed_loop(deserted: Owner) -> None:
    deserted.client.unreadable = deserted.client.unstorable = failure()
    deserted.assign(0)
    deserted.mailbox.store([position(1, 13)])
    deserted.revoke(0)
    deserted.hold(Failed(KafkaError._FATAL), Failed(KafkaError._ALL_BROKERS_DOWN))


def test_member_of_closed_loop_ends_itself(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    owner = Owner(loop)
    loop.close()
    owner.thread.run()
    owner.revoke(0)
    owner.thread.leave()
    assert owner.mailbox.closing
    assert owner.client.calls[-1] == "close"
    assert [record.message for record in caplog.records] == [
        "g: the event loop was closed without stop(): leaving the group; events in flight are redelivered"
    ]
