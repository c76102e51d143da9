"""One turn after another, on rows and a client that are slow in their own ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
from tests.outbox.fake_kafka import TOO_LARGE, TOO_LARGE_FOR_CLIENT, FakeKafka

from eventzr_kafka import CloudEvent, KafkaSettings, OutgoingRecord, encode
from eventzr_kafka.outbox import RelayHooks, RelayOptions, turn, waiting
from eventzr_kafka.outbox.rows import OutboxRow
from eventzr_kafka.outbox.sending import Sender
from eventzr_kafka.outbox.turn import Turns
from eventzr_kafka.transport import Acknowledgement, Failure, Report

FATAL = Failure("_FATAL", "another batch failed", unknown=True)
CLOSED = Failure("_DESTROY", "closed", unknown=True)
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

    def __init__(self, outcome: Acknowledgement | Failure) -> None:
        self._outcome = outcome
        self._is_full = self._closed = False
        self._report: Report | None = None

    def start(self, reported: Callable[[], None]) -> None:
        self._reported = reported

    def produce(self, record: OutgoingRecord, report: Report) -> bool:
        if self._is_full or record.key is None:
            return False
        self._is_full, self._report = True, report
        asyncio.get_running_loop().call_later(SOON, self._tell, report)
        return True

    def _tell(self, report: Report) -> None:
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


async def test_a_broken_client_is_replaced_although_there_is_more_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE", SOON / 2)
    monkeypatch.setattr(waiting, "_FIRST", SOON)
    clients = [SmallClient(FATAL), *(SmallClient(Acknowledgement(0, 0)) for _ in range(20))]
    rows: Any = SlowRows()
    sender = Sender(KafkaSettings(), lambda _: clients.pop(0), asyncio.Event())
    await sender.start()
    turns = Turns(rows, sender, RelayOptions(), RelayHooks())
    for _ in range(12):
        await turns.take()
    assert not rows.pending


class MemoryRows:
    """Pending rows, and which were parked."""

    def __init__(self) -> None:
        self.pending: list[OutboxRow] = []
        self.parked: list[str] = []
        self.marked: list[str] = []

    def add(self, tenant: str, topic: str, event_id: str, data: str = "") -> None:
        record = encode(CloudEvent(id=event_id, source="s", type=topic, tenantid=tenant, data=data))
        self.pending.append(OutboxRow(len(self.pending), 0, tenant, event_id, topic, "[]", record.value))

    async def read(self, waiting: Collection[str], count: int, _size: int) -> Sequence[OutboxRow]:
        return [row for row in self.pending if row.tenant_id not in waiting][:count]

    async def mark_published(self, rows: Iterable[OutboxRow]) -> int:
        self.marked += [row.event_id for row in rows]
        self.pending = [row for row in self.pending if row not in rows]
        return 1

    async def park(self, row: OutboxRow, _failure: str) -> bool:
        self.pending.remove(row)
        self.parked.append(row.event_id)
        return True

    async def note_failure(self, row: OutboxRow, failure: str) -> None: ...


class Bench:
    """Turns on rows in memory and a Kafka that fails on command; one partition of the topic a.b never answers."""

    def __init__(self, options: RelayOptions) -> None:
        self.rows = MemoryRows()
        self.kafka = FakeKafka()
        self.kafka.silent = {"stuck"}
        self.rows.add("stuck", "a.b", "stuck")
        self.sender = Sender(KafkaSettings(), self.kafka.client, asyncio.Event())
        rows: Any = self.rows
        self.turns = Turns(rows, self.sender, options, RelayHooks())

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():
                await self.turns.take()
                await asyncio.sleep(0.001)


@pytest.fixture
def options() -> RelayOptions:
    return RelayOptions()


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch, options: RelayOptions) -> AsyncGenerator[Bench]:
    monkeypatch.setattr(turn, "_PATIENCE", 0.01)
    monkeypatch.setattr(waiting, "_FIRST", 0.02)
    monkeypatch.setattr(waiting, "_LONGEST", 0.1)
    made = Bench(options)
    await made.sender.start()
    await made.turns.take()
    assert [row.event_id for row in made.sender.under_way.values()] == ["stuck"]
    yield made
    await made.sender.close()


async def test_a_topic_goes_on_after_its_trial_while_a_row_of_another_one_is_under_way_for_ever(bench: Bench) -> None:
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
async def test_a_refused_row_is_parked_while_a_row_of_its_topic_is_under_way_for_ever(
    bench: Bench, refusal: Failure
) -> None:
    bench.kafka.failures = {"7": refusal}
    for number in range(20):
        bench.rows.add("t1", "a.b", f"{number}")
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.rows.parked == ["7"]
    assert list(dict.fromkeys(bench.kafka.of("t1"))) == [f"{number}" for number in range(20) if number != 7]


async def test_a_row_larger_than_a_batch_is_parked_at_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.kafka.failures = {"large": TOO_LARGE}
    bench.rows.add("t1", "a.b", "large", "x" * (KafkaSettings().batch_bytes + 1))
    for number in range(20):
        bench.rows.add("t1", "a.b", f"{number}")
    await bench.until(lambda: len(bench.kafka.of("t1")) == 20)
    assert bench.rows.parked == ["large"]
    assert bench.kafka.clients == 2  # the one that is refused a batch has ended
    assert "raise max.message.bytes of the topic" in caplog.text
    assert "a broker refused a batch" not in caplog.text


async def test_a_row_that_the_client_refuses_costs_no_client(bench: Bench) -> None:
    bench.kafka.failures = {"large": TOO_LARGE_FOR_CLIENT}
    bench.rows.add("t1", "a.b", "large")
    bench.rows.add("t1", "a.b", "behind")
    await bench.until(lambda: bench.kafka.of("t1") == ["behind"])
    assert bench.rows.parked == ["large"]
    assert bench.kafka.clients == 1


@pytest.mark.parametrize("options", [RelayOptions(on_unpublishable="stop_lane")])
async def test_a_stopped_lane_goes_on_while_a_row_of_its_topic_is_under_way_for_ever(bench: Bench) -> None:
    bench.kafka.failures = {"large": TOO_LARGE}
    bench.rows.add("t1", "a.b", "large")
    bench.rows.add("t1", "a.b", "behind")
    await bench.until(lambda: "lanes that wait for a row that the broker refuses: 1" in bench.turns.problems)
    bench.kafka.failures.clear()
    await bench.until(lambda: len(bench.rows.pending) == 1)
    assert bench.kafka.of("t1") == ["large", "behind"]


async def test_a_row_that_cannot_be_read_is_parked_and_is_no_problem_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.rows.pending.append(OutboxRow(9, 0, "t1", "odd", "a.b", "no JSON", b""))
    await bench.until(lambda: bench.rows.parked == ["odd"])
    monkeypatch.setattr(turn, "_LONG", 0.0)
    assert ["has not answered" in problem for problem in bench.turns.problems] == [True]  # about the stuck one


async def test_a_partition_that_does_not_answer_leaves_room_for_others(bench: Bench) -> None:
    for number in range(2_500):
        bench.kafka.silent.add(f"s{number}")
        bench.rows.add(f"s{number}", "a.b", f"s{number}")
    bench.rows.add("t1", "a.b", "x")
    await bench.until(lambda: bench.kafka.of("t1") == ["x"])


async def test_what_gets_no_answer_for_long_is_a_problem(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.turns.problems == []
    monkeypatch.setattr(turn, "_LONG", 0.0)
    assert "the broker has not answered for 0 s" in bench.turns.problems[0]


async def test_rows_that_are_only_sent_again_are_a_problem_until_one_is_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "_LONG", 0.0)
    bench.kafka.failures = {"x": Failure("_GAPLESS_GUARANTEE", "a hole", unknown=True)}
    bench.rows.add("t1", "a.b", "x")
    await bench.until(lambda: any("nothing was published for 0 s: _" in each for each in bench.turns.problems))
    bench.kafka.failures.clear()
    await bench.until(lambda: "x" in bench.rows.marked)
    assert not any("nothing was published" in problem for problem in bench.turns.problems)


async def test_the_batches_grow_again_after_a_refused_one(bench: Bench) -> None:
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


async def test_each_published_row_is_marked_once(bench: Bench) -> None:
    for number in range(10):
        bench.rows.add("t1", "a.b", f"{number}")
        await bench.until(lambda: len(bench.rows.pending) == 1)
    await bench.turns.take()
    assert bench.rows.marked == [f"{number}" for number in range(10)]
