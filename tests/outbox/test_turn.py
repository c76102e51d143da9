"""One turn after another, on rows and a client that are slow in their own ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
from tests.outbox.fake_kafka import TOO_LARGE, TOO_LARGE_FOR_CLIENT, FakeKafka

from eventzr_kafka import CloudEvent, KafkaSettings, OutgoingRecord, encode
from eventzr_kafka.clock import SYSTEM_CLOCK, Clock
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome
from eventzr_kafka.outbox import RelayHooks, RelayOptions, RowDelayed, RowParked, RowsPublished, delays, turn
from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.outbox.sending import Sender, SendResult
from eventzr_kafka.outbox.turn import Turns

FATAL = DeliveryFailure("_FATAL", "another batch failed", unknown=True)
CLOSED = DeliveryFailure("_DESTROY", "closed", unknown=True)
SOON = 0.01  # seconds until a report; a turn waits less for it, and reads longer


class SlowRows:
    """Pending rows of two tenants."""

    def __init__(self) -> None:
        self.pending = [OutboxRow(number, 0, tenant, tenant, "a.b", "[]", b"") for number, tenant in enumerate("ab")]

    async def read(self, waiting: Collection[str], count: int, _size: int) -> Sequence[OutboxRow]:
        await asyncio.sleep(2 * SOON)
        return [row for row in self.pending if row.tenant_id not in waiting][:count]

    async def mark_published(self, rows: Iterable[OutboxRow]) -> int:
        self.pending = [row for row in self.pending if row not in rows]
        return 1


class SmallClient:
    """Has room for one record, and reports it soon."""

    def __init__(self, outcome: DeliveryOutcome) -> None:
        self._outcome = outcome
        self._is_full = self._closed = False
        self._report: DeliveryCallback | None = None

    def start(self, reported: Callable[[], None]) -> None:
        self._reported = reported

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        if self._is_full or record.key is None:
            return False
        self._is_full, self._report = True, report
        asyncio.get_running_loop().call_later(SOON, self._tell, report)
        return True

    def _tell(self, report: DeliveryCallback) -> None:
        if self._closed:
            return
        self._is_full = False
        self._report = None
        report(self._outcome)
        self._reported()

    def flush(self, timeout: float) -> int:
        return int(timeout)

    def close(self) -> None:
        self._closed = True
        if self._report is not None:
            self._report(CLOSED)


async def test_broken_client_is_replaced_with_rows_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE", SOON / 2)
    monkeypatch.setattr(delays, "_FIRST", SOON)
    clients = [SmallClient(FATAL), *(SmallClient(Acknowledgement(0, 0)) for _ in range(20))]
    rows: Any = SlowRows()
    sender = Sender(KafkaSettings(), lambda _: clients.pop(0), asyncio.Event())
    await sender.start()
    turns = Turns(rows, sender, RelayOptions(), RelayHooks())
    for _ in range(12):
        await turns.take_turn()
    assert not rows.pending


class MemoryRows:
    """Pending rows, and which were parked."""

    def __init__(self) -> None:
        self.pending: list[OutboxRow] = []
        self.parked: list[str] = []
        self.marked: list[str] = []
        self.fenced: set[str] = set()  # event ids of rows that another relay has taken
        self.notes: list[tuple[str, str]] = []
        self.read_with: tuple[int, int] = (0, 0)

    def add(self, tenant: str, topic: str, event_id: str, data: str = "") -> None:
        record = encode(CloudEvent(id=event_id, source="s", type=topic, tenantid=tenant, data=data))
        self.pending.append(OutboxRow(len(self.pending), 0, tenant, event_id, topic, "[]", record.value))

    async def read(self, waiting: Collection[str], count: int, size: int) -> Sequence[OutboxRow]:
        self.read_with = (count, size)
        return [row for row in self.pending if row.tenant_id not in waiting][:count]

    async def mark_published(self, rows: Iterable[OutboxRow]) -> int:
        self.marked += [row.event_id for row in rows]
        self.pending = [row for row in self.pending if row not in rows]
        return sum(row.event_id not in self.fenced for row in rows)

    async def park(self, row: OutboxRow, failure: str) -> bool:
        self.pending.remove(row)
        self.parked.append(row.event_id)
        self.notes.append((row.event_id, failure))
        return row.event_id not in self.fenced

    async def note_failure(self, row: OutboxRow, failure: str) -> None:
        self.notes.append((row.event_id, failure))


class Bench:
    """Turns on rows in memory and a Kafka that fails on command; one partition of the topic a.b never answers."""

    def __init__(self, options: RelayOptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self.rows = MemoryRows()
        self.kafka = FakeKafka()
        self.kafka.silent = {"stuck"}
        self.rows.add("stuck", "a.b", "stuck")
        self.sender = Sender(KafkaSettings(), self.kafka.client, asyncio.Event())
        rows: Any = self.rows
        self.facts: list[object] = []
        note = self.facts.append
        hooks = RelayHooks(on_rows_published=note, on_row_parked=note, on_row_delayed=note)
        self.turns = Turns(rows, self.sender, options, hooks, clock=clock)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():
                await self.turns.take_turn()
                await asyncio.sleep(0.001)


@pytest.fixture
def options() -> RelayOptions:
    return RelayOptions()


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch, options: RelayOptions) -> AsyncGenerator[Bench]:
    monkeypatch.setattr(turn, "_PATIENCE", 0.01)
    monkeypatch.setattr(delays, "_FIRST", 0.02)
    monkeypatch.setattr(delays, "_LONGEST", 0.1)
    made = Bench(options)
    await made.sender.start()
    await made.turns.take_turn()
    assert [row.event_id for row in made.sender.in_flight.values()] == ["stuck"]
    yield made
    await made.sender.close()


async def test_topic_goes_on_beside_an_endless_row_of_another(bench: Bench) -> None:
    bench.kafka.missing = {"c.d"}
    for number in range(20):
        bench.rows.add(f"t{number}", "c.d", f"{number}")
        bench.rows.add(f"t{number}", "a.b", f"{number} behind")
    await bench.until(lambda: bench.kafka.asked > 2)
    assert bench.kafka.of("t7") == []
    assert "c.d: _UNKNOWN_TOPIC: no such topic" in bench.turns.problems[0]
    bench.kafka.missing.clear()
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.kafka.of("t7") == ["7", "7 behind"]
    assert bench.turns.problems == []


@pytest.mark.parametrize("refusal", [TOO_LARGE, TOO_LARGE_FOR_CLIENT])
async def test_refused_row_is_parked_beside_an_endless_one(bench: Bench, refusal: DeliveryFailure) -> None:
    bench.kafka.failures = {"7": refusal}
    for number in range(20):
        bench.rows.add("t1", "a.b", f"{number}")
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.rows.parked == ["7"]
    assert list(dict.fromkeys(bench.kafka.of("t1"))) == [f"{number}" for number in range(20) if number != 7]


async def test_oversized_row_is_parked_at_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.kafka.failures = {"large": TOO_LARGE}
    bench.rows.add("t1", "a.b", "large", "x" * (KafkaSettings().batch_bytes + 1))
    for number in range(20):
        bench.rows.add("t1", "a.b", f"{number}")
    await bench.until(lambda: len(bench.kafka.of("t1")) == 20)
    assert bench.rows.parked == ["large"]
    assert bench.kafka.clients == 2  # the one that is refused a batch has ended
    assert "raise max.message.bytes of the topic" in caplog.text
    assert "a broker refused a batch" not in caplog.text


async def test_row_the_client_refuses_keeps_client(bench: Bench) -> None:
    bench.kafka.failures = {"large": TOO_LARGE_FOR_CLIENT}
    bench.rows.add("t1", "a.b", "large")
    bench.rows.add("t1", "a.b", "behind")
    await bench.until(lambda: bench.kafka.of("t1") == ["behind"])
    assert bench.rows.parked == ["large"]
    assert bench.kafka.clients == 1


@pytest.mark.parametrize("options", [RelayOptions(on_unpublishable="stop_tenant")])
async def test_stopped_tenant_goes_on_beside_an_endless_row(bench: Bench) -> None:
    bench.kafka.failures = {"large": TOO_LARGE}
    bench.rows.add("t1", "a.b", "large")
    bench.rows.add("t1", "a.b", "behind")
    await bench.until(lambda: "tenants that wait for a row that the broker refuses: 1" in bench.turns.problems)
    bench.kafka.failures.clear()
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.kafka.of("t1") == ["large", "behind"]


async def test_unreadable_row_is_parked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.rows.pending.append(OutboxRow(9, 0, "t1", "odd", "a.b", "no JSON", b""))
    await bench.until(lambda: bench.rows.parked == ["odd"])
    monkeypatch.setattr(turn, "_LONG", 0.0)
    assert ["has not answered" in problem for problem in bench.turns.problems] == [True]  # about the stuck one


async def test_silent_partition_leaves_room(bench: Bench) -> None:
    for number in range(2_500):
        bench.kafka.silent.add(f"s{number}")
        bench.rows.add(f"s{number}", "a.b", f"s{number}")
    bench.rows.add("t1", "a.b", "x")
    await bench.until(lambda: bench.kafka.of("t1") == ["x"])


async def test_long_silence_is_a_problem(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.turns.problems == []
    monkeypatch.setattr(turn, "_LONG", 0.0)
    assert "the broker has not answered for 0 s" in bench.turns.problems[0]


async def test_resent_rows_are_a_problem_until_one_is_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_LONG", 0.0)
    bench.kafka.failures = {"x": DeliveryFailure("_GAPLESS_GUARANTEE", "a hole", unknown=True)}
    bench.rows.add("t1", "a.b", "x")
    await bench.until(lambda: any("nothing was published for 0 s: _" in each for each in bench.turns.problems))
    bench.kafka.failures.clear()
    await bench.until(lambda: "x" in bench.rows.marked)
    assert not any("nothing was published" in problem for problem in bench.turns.problems)


async def test_batches_grow_again_after_a_refusal(bench: Bench) -> None:
    bench.kafka.failures = {"7": TOO_LARGE}
    for number in range(20):
        bench.rows.add("t1", "a.b", f"{number}")
    most = bench.turns._size
    await bench.until(lambda: bench.turns._size < most)
    await bench.until(lambda: bench.rows.parked == ["7"])
    for number in range(20, 60):
        bench.rows.add("t1", "a.b", f"{number}")
        await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.turns._size == most


async def test_published_row_is_marked_once(bench: Bench) -> None:
    for number in range(10):
        bench.rows.add("t1", "a.b", f"{number}")
        await bench.until(lambda: len(bench.rows.pending) == 1)
    await bench.turns.take_turn()
    assert bench.rows.marked == [f"{number}" for number in range(10)]


class StoppedTime:
    """A clock whose time a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.clock = Clock(monotonic=lambda: self.now)


def row_of(number: int, *, bucket: int = 0, topic: str = "a.b", value: bytes | None = b"") -> OutboxRow:
    return OutboxRow(number, bucket, f"t{number}", f"e{number}", topic, "[]", value)


def lines(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(start)]


async def test_published_and_fenced_rows_count(bench: Bench) -> None:
    bench.rows.fenced = {"y"}
    bench.rows.add("t1", "a.b", "x")
    bench.rows.add("t2", "a.b", "y")
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.facts == [RowsPublished(marked=1, fenced=1)]


async def test_parked_row_is_logged_with_a_hint(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.kafka.failures = {"large": TOO_LARGE_FOR_CLIENT}
    bench.rows.add("t1", "a.b", "large")
    bench.rows.pending.append(OutboxRow(9, 0, "t2", "odd", "a.b", "no JSON", b""))
    await bench.until(lambda: len(bench.rows.parked) == 2)
    failure = "MSG_SIZE_TOO_LARGE: too large"
    hint = (
        "that is the client's own limit: raise KafkaSettings(librdkafka={'message.max.bytes': …}), "
        "or send a reference in place of the content, and requeue the row"
    )
    unreadable = "_BAD_MSG: the row cannot be read: JSONDecodeError"
    assert lines(caplog, "parked: ") == [
        f"parked: outbox row 1, event large for a.b: {failure}; the tenant's later events go on; {hint}",
        f"parked: outbox row 9, event odd for a.b: {unreadable}; the tenant's later events go on",
    ]
    assert bench.facts == [RowParked("t1", "large", "a.b", failure), RowParked("t2", "odd", "a.b", unreadable)]
    assert bench.rows.notes == [("large", failure), ("odd", unreadable)]


async def test_row_of_another_relay_is_not_reported(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.kafka.failures = {"large": TOO_LARGE_FOR_CLIENT}
    bench.rows.fenced = {"large"}
    bench.rows.add("t1", "a.b", "large")
    await bench.until(lambda: bench.rows.parked == ["large"])
    assert (bench.facts, lines(caplog, "parked")) == ([], [])


async def test_waiting_topic_is_logged_twice(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "eventzr_kafka.outbox")
    bench.kafka.missing = {"c.d"}
    bench.rows.add("t1", "c.d", "x")
    bench.rows.add("t2", "c.d", "y")
    await bench.until(lambda: bench.kafka.asked > 3)
    failure = "_UNKNOWN_TOPIC: no such topic"
    assert bench.facts[:2] == [RowDelayed("t1", "x", "c.d", failure, seconds) for seconds in (0.02, 0.04)]
    assert bench.rows.notes[0] == ("x", failure)
    bench.kafka.missing.clear()
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert lines(caplog, "not published") == [
        f"not published: outbox row 1, event x for c.d: {failure}; the rows behind it wait"
    ]
    assert lines(caplog, "events for") == ["events for c.d are published again"]


@pytest.mark.parametrize("options", [RelayOptions(on_unpublishable="stop_tenant")])
async def test_stopped_tenant_reports_its_wait(bench: Bench) -> None:
    bench.kafka.failures = {"large": TOO_LARGE_FOR_CLIENT}
    bench.rows.add("t1", "a.b", "large")
    await bench.until(lambda: bool(bench.facts))
    assert bench.facts == [RowDelayed("t1", "large", "a.b", "MSG_SIZE_TOO_LARGE: too large", 0.1)]
    assert bench.rows.parked == []


async def test_long_failure_text_is_cut(bench: Bench) -> None:
    bench.kafka.failures = {"x": DeliveryFailure("_INVALID_ARG", "\x1b" + 300 * "y", unknown=False, local=True)}
    bench.rows.add("t1", "a.b", "x")
    await bench.until(lambda: bench.rows.parked == ["x"])
    assert bench.rows.notes == [("x", f"_INVALID_ARG: ?{198 * 'y'}…")]


@pytest.mark.parametrize(
    ("number", "size", "room"),
    [
        (0, 0, (10, 100)),
        (30, 0, (10, 100)),
        (35, 0, (5, 100)),
        (40, 0, (0, 100)),
        (3, 100, (10, 100)),
        (3, 120, (10, 40)),
        (3, 133, (10, 1)),
        (4, 100, (0, 0)),
    ],
)
async def test_four_batches_may_be_under_way(number: int, size: int, room: tuple[int, int]) -> None:
    bench = Bench(RelayOptions(batch_rows=10, batch_bytes=100))
    bench.sender.in_flight = {at: row_of(at, value=bytes(size) or None) for at in range(number)}
    await bench.turns._read()
    assert bench.rows.read_with == room


async def test_unmarked_rows_keep_buckets_busy() -> None:
    bench = Bench(RelayOptions())
    bench.sender.in_flight = {1: row_of(1, bucket=3)}
    bench.turns._on_acknowledged(row_of(2, bucket=5))
    assert bench.turns.busy_buckets() == {3, 5}
    await bench.turns._mark()
    assert bench.turns.busy_buckets() == {3}


async def test_30_s_of_silence_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE", 0.01)
    time = StoppedTime()
    bench = Bench(RelayOptions(), time.clock)
    await bench.sender.start()
    await bench.turns.take_turn()
    time.now = 130.0
    await bench.turns.take_turn()
    assert bench.turns.problems == []
    time.now = 131.0
    assert bench.turns.problems == ["the broker has not answered for 31 s about the oldest row in flight"]
    await bench.sender.close()


async def test_30_s_of_failures_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE", 0.01)
    time = StoppedTime()
    bench = Bench(RelayOptions(), time.clock)
    bench.rows.pending.clear()
    bench.rows.add("t1", "a.b", "x")
    bench.kafka.failures = {"x": DeliveryFailure("_GAPLESS_GUARANTEE", "a hole", unknown=True)}
    await bench.sender.start()
    for time.now in (100.0, 120.0, 130.0):
        await bench.turns.take_turn()
    assert bench.turns.problems == []
    time.now = 131.0
    assert bench.turns.problems == ["nothing was published for 31 s: _GAPLESS_GUARANTEE: a hole"]
    await bench.sender.close()


async def test_waiting_topic_resends_no_row() -> None:
    time = StoppedTime()
    bench = Bench(RelayOptions(), time.clock)
    again, missing = (
        DeliveryFailure("_STATE", "no", unknown=True),
        DeliveryFailure("_UNKNOWN_TOPIC", "no", unknown=False),
    )
    await bench.turns._settle([SendResult(row_of(1), again), SendResult(row_of(2), missing)])
    time.now = 200.0
    assert not any("nothing was published" in problem for problem in bench.turns.problems)


async def test_turn_counts_sent_and_settled() -> None:
    bench = Bench(RelayOptions())
    bench.rows.pending.clear()
    await bench.sender.start()
    assert await bench.turns.take_turn() == (0, 0)
    bench.rows.add("t1", "a.b", "x")
    bench.rows.add("t2", "c.d", "y")
    bench.kafka.missing = {"c.d"}
    assert await bench.turns.take_turn() == (2, 2)
    bench.rows.add("t3", "c.d", "z")
    assert await bench.turns.take_turn() == (2, 2)  # both are set aside
    bench.kafka.failures = {"w": FATAL}
    bench.rows.add("t4", "a.b", "w")
    assert await bench.turns.take_turn() == (1, 0)
    await bench.sender.close()


async def test_all_results_of_a_turn_count() -> None:
    bench = Bench(RelayOptions())
    again = DeliveryFailure("_STATE", "no", unknown=True)
    missing = DeliveryFailure("_UNKNOWN_TOPIC", "no", unknown=False)
    failures = [None, None, missing, missing, again]
    results = [SendResult(row_of(at, topic=f"a.{at}"), failure) for at, failure in enumerate(failures)]
    assert await bench.turns._settle(results) == 4


async def test_finish_waits_for_sent_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(RelayOptions())
    waits: list[tuple[int, float]] = []

    async def wait_for_results(left: int, seconds: float) -> list[SendResult]:
        waits.append((left, seconds))
        return [SendResult(row_of(1), None)]

    monkeypatch.setattr(bench.sender, "wait_for_results", wait_for_results)
    await bench.turns.finish(7.0)
    assert (waits, bench.rows.marked) == ([(0, 7.0)], ["e1"])


@pytest.mark.parametrize(("before", "after"), [(2_000, 250), (17, 2), (7, 1), (1, 1)])
async def test_refused_batch_shrinks_the_next(before: int, after: int) -> None:
    bench = Bench(RelayOptions(batch_rows=before))
    await bench.turns._settle([SendResult(row_of(1), TOO_LARGE), SendResult(row_of(2), None)])
    assert bench.turns._size == after
    await bench.turns._settle([])
    assert bench.turns._size == after
    await bench.turns._settle([SendResult(row_of(2), None)])
    assert bench.turns._size == min(2 * after, before)


async def test_row_refused_alone_shrinks_nothing() -> None:
    bench = Bench(RelayOptions(batch_rows=80))
    bench.rows.pending.append(row_of(1))
    await bench.turns._settle([SendResult(row_of(1), TOO_LARGE, alone=True), SendResult(row_of(2), FATAL)])
    assert bench.turns._size == 80
    bench.turns._size = 3
    assert [row.id for row in bench.turns._choose([row_of(at) for at in range(9)]).rows] == [0, 1, 2]


async def test_unanswered_tenant_waits_if_late() -> None:
    bench = Bench(RelayOptions(), StoppedTime().clock)
    await bench.turns._settle([SendResult(row_of(1), FATAL), SendResult(row_of(2), FATAL, late=True)])
    assert bench.turns._delays.tenants_to_skip((), 100.0) == {"t2"}
    bench.turns.buckets_changed()
    assert bench.turns._delays.tenants_to_skip((), 100.0) == set()


async def test_broken_client_closes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE", 0.01)
    bench = Bench(RelayOptions())
    bench.kafka.silent.clear()
    bench.kafka.failures = {"stuck": FATAL}
    await bench.sender.start()
    assert await bench.turns.take_turn() == (1, 0)
    bench.kafka.failures.clear()
    assert await bench.turns.take_turn() == (1, 1)
    assert (bench.kafka.clients, bench.kafka.closed) == (2, 1)
    await bench.sender.close()


def test_row_is_named_with_whole_topic() -> None:
    row = row_of(3, topic="t" * 249)
    assert turn._describe_row(row) == f"outbox row 3, event e3 for {'t' * 249}"
