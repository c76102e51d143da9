"""A replay over letters that stand in a list, with handlers that do as told and notes that go into another list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from eventzr_kafka import CloudEvent, MessageContext, Record, encode, kafka_consumer, on_batch, on_message
from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.codec.selection import SelectiveDecoder
from eventzr_kafka.dead_letters.journal import DeadLetterJournal, Entry
from eventzr_kafka.dead_letters.letter import Cut, DeadLetterFacts, Note, read_note, write_letter
from eventzr_kafka.engine.replay import BeforeReplay, Replay, ReplayResult
from eventzr_kafka.errors import DeliveryError, Reject, RetryLater
from eventzr_kafka.events.context import current_tenant
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of
from eventzr_kafka.handlers.options import Ordering
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.kafka.record import OutgoingRecord

TOPIC, BATCHED, THREADED, LOST = "some.topic.v1", "some.batch.v1", "some.def.v1", "some.lost.v1"
QUICK = RetryPolicy(attempts=3, wait_initial=0.0)


@kafka_consumer(group_id="g", retry=QUICK, max_concurrency=2, on_tombstone="skip", handler_timeout=5.0)
class Handler:
    """Notes what it is given; `act` decides what a call does."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.act: Callable[[int], Any] = lambda _n: None

    @on_message(TOPIC)
    async def one(self, event: CloudEvent[Any], context: MessageContext) -> None:
        assert current_tenant() == event.tenantid
        assert context.group_id == "g"
        assert context.record.topic == TOPIC
        self.calls.append(event.data["n"])
        doing = self.act(event.data["n"])
        if doing is not None:
            await doing

    @on_batch(BATCHED, max_size=10, max_wait=1.0)
    async def many(self, events: list[CloudEvent[Any]]) -> None:
        assert len(events) == 1
        assert current_tenant() == events[0].tenantid
        self.calls.append(events[0].data["n"])

    @on_message(THREADED)
    def threaded(self, event: CloudEvent[Any]) -> None:
        self.calls.append(event.data["n"])


class Setting:
    """Letters, a replay of them, and what came of it."""

    def __init__(self, ordering: Ordering = "tenant") -> None:
        self.handler = Handler()
        self.letters: list[tuple[Entry, Record]] = []
        self.notes: list[Note] = []
        self.outcomes: list[ReplayResult] = []
        self.pool = ThreadPoolExecutor(2)
        definition = definition_of(self.handler)
        self.options = replace(definition.options, ordering=ordering)
        bound = bind(self.handler, definition.routes, definition.options, self.pool)
        self.routes = {route.topic: route for route in bound}
        self.replay = Replay("g", self.routes, self.options, self.write, self.outcomes.append)

    async def write(self, record: OutgoingRecord) -> None:
        note = read_note(Record(record.topic, 0, 0, record.key, record.value, record.headers))
        assert note is not None
        self.notes.append(note)

    def add(
        self,
        n: int,
        tenant: str = "t",
        *,
        topic: str = TOPIC,
        event_id: str | None = None,
        source: str = "s",
        value: bytes | None = b"",
        lane: str = "",
    ) -> None:
        """A letter of event n; with a value of its own in place of the event's."""
        event_id = event_id or f"e{n}"
        out = encode(CloudEvent(id=event_id, source=source, type=topic, tenantid=tenant, data={"n": n}))
        record = Record(topic, 0, n, out.key, out.value, out.headers, 5)
        if value != b"":
            record = record._replace(value=value, headers=())
        facts = DeadLetterFacts(
            group_id="g",
            handler="Handler.one",
            error="E",
            reason="r",
            attempts=5,
            first_failure=1.0,
            last_failure=float(n),
            event_id=event_id,
            event_source=source,
            ordering_key=lane,
        )
        letter = write_letter(record, facts)
        journal = DeadLetterJournal()
        journal.add([Record("g.dlq", 0, n, letter.key, letter.value, letter.headers)])
        self.letters += [(entry, record) for entry in journal.open]

    async def run(self) -> None:
        async with asyncio.timeout(60):
            await self.replay.run(self.letters)

    def of(self, outcome: str) -> list[int]:
        return sorted(each.entry.letter.record.offset for each in self.outcomes if each.outcome == outcome)


@pytest.fixture
async def setting() -> AsyncGenerator[Setting]:
    found = Setting()
    yield found
    found.pool.shutdown()


def cut_first(setting: Setting, *, value: bytes | None = None) -> None:
    """Cut the value out of the first letter; `value` is what its topic has in its place."""
    entry, record = setting.letters[0]
    entry.letter = replace(entry.letter, cut=Cut.measure(record.value))
    setting.letters[0] = entry, record if value is None else record._replace(value=value)


async def test_letter_without_value_takes_that_of_its_topic(setting: Setting) -> None:
    setting.add(1)
    cut_first(setting)
    await setting.run()
    assert (setting.of("replayed"), setting.handler.calls) == ([1], [1])


async def test_letter_without_headers_stays_open(setting: Setting) -> None:
    setting.add(1)
    entry, record = setting.letters[0]
    entry.letter = replace(entry.letter, cut=Cut.measure(None, headers_too=True))
    setting.letters[0] = entry, record._replace(value=None, headers=())
    await setting.run()
    assert setting.of("value_gone") == [1]


async def test_letter_whose_value_is_gone_stays_open_with_its_key(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    for number, tenant in ((1, "t"), (2, "t"), (3, "another")):
        setting.add(number, tenant)
    cut_first(setting, value=b"")
    await setting.run()
    assert (setting.of("value_gone"), setting.of("behind"), setting.of("replayed")) == ([1], [2], [3])
    assert "not replayed: neither its dead letter nor its topic has the value" in caplog.text
    assert [note.origin[2] for note in setting.notes] == [3]


def failing(*numbers: int, error: BaseException | None = None) -> Callable[[int], None]:
    def act(n: int) -> None:
        if n in numbers:
            raise error or ValueError

    return act


async def test_letters_run_in_order_of_their_key_and_are_closed(setting: Setting) -> None:
    for n in range(6):
        setting.add(n, tenant="ab"[n % 2])

    await setting.run()

    assert [n for n in setting.handler.calls if n % 2 == 0] == [0, 2, 4]
    assert [n for n in setting.handler.calls if n % 2] == [1, 3, 5]
    assert setting.of("replayed") == [0, 1, 2, 3, 4, 5]
    assert sorted((note.kind, note.origin, note.timestamp) for note in setting.notes) == [
        ("replayed", (TOPIC, 0, n), 5) for n in range(6)
    ]


async def test_lanes_run_up_to_the_limit(setting: Setting) -> None:
    running = most = 0

    async def act() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1

    setting.handler.act = lambda _n: act()
    for n in range(8):
        setting.add(n, tenant=f"t{n}")

    await setting.run()

    assert most == 2


async def test_letter_that_fails_again_is_noted_and_holds_its_key(setting: Setting) -> None:
    setting.handler.act = failing(1)
    for n in range(4):
        setting.add(n, tenant="a" if n < 3 else "b")

    await setting.run()

    assert (setting.of("replayed"), setting.of("failed"), setting.of("behind")) == ([0, 3], [1], [2])
    assert setting.handler.calls.count(1) == QUICK.attempts
    (failed,) = [note for note in setting.notes if note.kind == "failed"]
    assert (failed.origin, failed.attempts) == ((TOPIC, 0, 1), 5 + QUICK.attempts)
    assert failed.why.startswith("ValueError at ")


@pytest.mark.parametrize(
    ("ordering", "behind"), [("tenant", [1, 3]), ("subject", [1, 3]), ("partition", [1, 2]), ("none", [])]
)
async def test_group_order_defines_lanes(ordering: Ordering, behind: list[int]) -> None:
    setting = Setting(ordering)
    setting.handler.act = failing(0)
    setting.add(0, tenant="a", lane="x")
    setting.add(1, tenant="a", lane="x")
    setting.add(2, tenant="b", lane="x")
    setting.add(3, tenant="a", lane="x" if ordering in ("tenant", "subject") else "y")

    await setting.run()

    setting.pool.shutdown()
    assert setting.of("behind") == behind


async def test_failed_lane_stays_closed_later(setting: Setting) -> None:
    setting.handler.act = failing(0)
    setting.add(0)
    await setting.run()
    setting.letters.clear()
    setting.add(1)

    await setting.run()

    assert (setting.of("failed"), setting.of("behind")) == ([0], [1])


async def test_passing_failure_is_retried(setting: Setting) -> None:
    def act(n: int) -> None:
        if setting.handler.calls.count(n) < 3:
            raise RetryLater(after=0.0)

    setting.handler.act = act
    setting.add(0)

    await setting.run()

    assert setting.handler.calls == [0, 0, 0]
    assert setting.of("replayed") == [0]


async def test_rejected_letter_is_tried_once(setting: Setting) -> None:
    setting.handler.act = failing(0, error=Reject("no such order"))
    setting.add(0)

    await setting.run()

    assert setting.handler.calls == [0]
    assert [(note.why, note.attempts) for note in setting.notes] == [("no such order", 6)]


async def test_self_cancelling_handler_failed(setting: Setting) -> None:
    setting.handler.act = failing(0, error=asyncio.CancelledError())
    setting.add(0)

    await setting.run()

    assert setting.of("failed") == [0]


async def test_letter_waiting_for_its_retry_delays_no_other_key(setting: Setting) -> None:
    for n in (0, 1):
        setting.add(n, tenant=f"t{n}")
    setting.add(2, tenant="t2")
    done = asyncio.Event()

    def act(n: int) -> None:
        if n == 2:
            setting.replay.stop()  # ends the wait of the others
            done.set()
        else:
            raise RetryLater(after=3600.0)

    setting.handler.act = act

    await setting.run()

    assert done.is_set()
    assert sorted(setting.handler.calls) == [0, 1, 2]
    assert (setting.of("replayed"), setting.of("failed")) == ([2], [0, 1])


async def test_event_with_two_letters_runs_once(setting: Setting) -> None:
    setting.add(0, event_id="same")
    setting.add(1, event_id="same")
    setting.add(2, tenant="other", event_id="same")

    await setting.run()

    assert sorted(setting.handler.calls) == [0, 2]
    assert setting.of("duplicate") == [1]
    (note,) = [note for note in setting.notes if note.origin == (TOPIC, 0, 1)]
    assert (note.kind, note.why) == ("replayed", f"the event was replayed from {TOPIC}[0]@0")


@pytest.mark.virtual_time
@pytest.mark.parametrize("ordering", ["partition", "none"])
async def test_event_in_two_lanes_runs_once(ordering: Ordering) -> None:
    setting = Setting(ordering)
    running = asyncio.Event()

    async def meet() -> None:
        running.set()
        await asyncio.sleep(0.01)

    setting.handler.act = lambda _n: meet()
    setting.add(0, event_id="same", lane="x")
    setting.add(1, event_id="same", lane="y")

    await setting.run()

    setting.pool.shutdown()
    assert len(setting.handler.calls) == 1
    assert (len(setting.of("replayed")), len(setting.of("duplicate"))) == (1, 1)


async def test_stop_policy_leaves_letter_open(setting: Setting) -> None:
    stops = {
        topic: replace(route, retry=RetryPolicy(attempts=1, on_exhausted="stop"))
        for topic, route in setting.routes.items()
    }
    setting.replay = Replay("g", stops, setting.options, setting.write, setting.outcomes.append)
    setting.handler.act = failing(0)
    setting.add(0)
    setting.add(1, tenant="other")

    await setting.run()

    assert (setting.of("failed"), setting.of("replayed")) == ([0], [1])


@pytest.mark.virtual_time
async def test_note_comes_before_the_next_run(setting: Setting) -> None:
    acknowledged = asyncio.Event()
    write = setting.write

    async def slowly(record: OutgoingRecord) -> None:
        await acknowledged.wait()
        await write(record)

    setting.replay = Replay("g", setting.routes, setting.options, slowly, setting.outcomes.append)
    setting.add(0)
    setting.add(1)
    task = asyncio.create_task(setting.run())
    await asyncio.sleep(0.01)
    calls = list(setting.handler.calls)
    acknowledged.set()
    await task

    assert calls == [0]
    assert setting.handler.calls == [0, 1]


async def test_one_id_of_two_sources_is_two(setting: Setting) -> None:
    setting.add(0, event_id="42", source="svc-a")
    setting.add(1, event_id="42", source="svc-b")

    await setting.run()

    assert setting.handler.calls == [0, 1]
    assert setting.of("replayed") == [0, 1]


async def test_replayed_event_is_not_rerun(setting: Setting) -> None:
    setting.add(0, event_id="same")
    earlier, _ = setting.letters.pop()
    setting.add(1, event_id="same")
    assert earlier.event is not None
    setting.replay = Replay(
        "g",
        setting.routes,
        setting.options,
        setting.write,
        setting.outcomes.append,
        before=BeforeReplay({earlier.event: earlier}),
    )

    await setting.run()

    assert setting.handler.calls == []
    assert setting.of("duplicate") == [1]


async def test_letters_without_handler_stay(setting: Setting) -> None:
    setting.add(0, topic=LOST)
    setting.add(1)

    await setting.run()

    assert (setting.of("no_handler"), setting.of("replayed")) == ([0], [1])
    assert [note.origin for note in setting.notes] == [(TOPIC, 0, 1)]


async def test_replay_gives_batches_one_event_and_def_a_thread(setting: Setting) -> None:
    setting.add(0, topic=BATCHED)
    setting.add(1, topic=THREADED)

    await setting.run()

    assert setting.handler.calls == [0, 1]
    assert setting.of("replayed") == [0, 1]


async def test_poison_fails_without_a_call(setting: Setting) -> None:
    setting.add(0, value=b"no json")

    await setting.run()

    assert setting.handler.calls == []
    assert [(note.kind, note.attempts) for note in setting.notes] == [("failed", 5)]


async def test_tombstone_is_skipped_by_policy(setting: Setting) -> None:
    setting.add(0, value=None)

    await setting.run()

    assert setting.of("replayed") == [0]
    assert setting.notes[0].why == "skipped, by the consumer's policy"


async def test_stop_finishes_and_begins_nothing(setting: Setting) -> None:
    setting.handler.act = lambda _n: setting.replay.stop()
    for n in range(3):
        setting.add(n)

    await setting.run()

    assert setting.handler.calls == [0]
    assert (setting.of("replayed"), setting.of("interrupted")) == ([0], [1, 2])
    assert len(setting.notes) == 1


async def test_nameless_record_has_no_twin(setting: Setting) -> None:
    setting.add(0)
    setting.letters = [
        (Entry(replace(entry.letter, facts=replace(entry.letter.facts, event_id=None))), record)
        for entry, record in setting.letters
    ]

    await setting.run()

    assert setting.of("replayed") == [0]


async def test_unwritable_note_ends_the_replay_and_counts_no_letter(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_record: OutgoingRecord) -> None:
        raise DeliveryError("e", "g.dlq", "broken", "fix it")

    monkeypatch.setattr(setting.replay, "_write", refuse)
    for n in range(10):
        setting.add(n, tenant=f"t{n % 5}")

    with pytest.raises(DeliveryError):
        await setting.run()

    assert len(setting.handler.calls) <= 2  # as many as ran at once
    assert setting.of("replayed") == []


async def test_cancelled_replay_is_cancelled(setting: Setting) -> None:
    began = asyncio.Event()

    async def hang() -> None:
        began.set()
        await asyncio.Event().wait()

    setting.handler.act = lambda _n: hang()
    setting.add(0)
    task = asyncio.create_task(setting.run())
    await began.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert setting.notes == []


async def test_unwanted_event_closes_its_letter() -> None:
    setting = Setting()
    skipping = replace(setting.routes[TOPIC], decoder=_never())
    setting.replay = Replay("g", {TOPIC: skipping}, setting.options, setting.write, setting.outcomes.append)
    setting.add(1)
    await setting.replay.run(setting.letters)
    assert [(result.outcome, result.why) for result in setting.outcomes] == [
        ("replayed", "skipped, by the consumer's policy")
    ]
    assert setting.handler.calls == []
    assert [note.kind for note in setting.notes] == ["replayed"]


def _never() -> SelectiveDecoder:
    return SelectiveDecoder(decoder_for(Any, event_type=None), lambda _event: False, "Handler.one")
