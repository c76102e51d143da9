"""A Kafka event source through `lambda_handler`: each record ends in an outcome, or comes again with all behind it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import wraps
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.odd_errors import ODD
from tests.unit.conftest import FakeProducer
from tests.unit.lambda_events import DOCUMENTED, TOPIC, Context, again, lambda_event, record

from eventzr_kafka import (
    BatchItemError,
    CloudEvent,
    KafkaSettings,
    MemoryInbox,
    MessageContext,
    Record,
    Reject,
    RetryLater,
    RetryPolicy,
    encode,
    kafka_consumer,
    on_batch,
    on_message,
)
from eventzr_kafka.aws_lambda import BatchIncompleteError, EventSourceError, lambda_handler
from eventzr_kafka.aws_lambda.container import event_loop
from eventzr_kafka.aws_lambda.event import read_event
from eventzr_kafka.dead_letters.letter import read_letter
from eventzr_kafka.errors import ConfigurationError, EventzrKafkaError, RoutingError
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure
from eventzr_marketplace_events import OrderCompleted

ON = KafkaSettings(enabled=True)
AT_ONCE = RetryPolicy(attempts=3, wait_initial=0)
LATE = 100.0  # seconds that no invocation has


@pytest.fixture(autouse=True)
def container() -> Iterator[None]:
    """A container of its own for each test."""
    event_loop.cache_clear()
    yield
    loop = event_loop()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    event_loop.cache_clear()


Plan: TypeAlias = Exception | list[Exception] | None


class Recorder:
    """What a handler was given, and what it is to do about it: an error, or a list of them for one call each."""

    def __init__(self, plans: dict[int, Plan] | None = None) -> None:
        given = plans or {}
        self.plans = {number: plan for number, plan in given.items() if not isinstance(plan, list)}
        self.once = {number: plan for number, plan in given.items() if isinstance(plan, list)}
        self.done: list[tuple[str, int]] = []
        self.calls = 0

    def meet(self, event: CloudEvent[Any]) -> None:
        self.calls += 1
        number = event.data["n"]
        error = self.plans.get(number)
        if number in self.once:
            error = self.once[number].pop(0) if self.once[number] else None
        if error is not None:
            raise error
        self.done.append((event.tenantid, number))

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.done]


@kafka_consumer(group_id="g", retry=AT_ONCE)
class Awaits(Recorder):
    @on_message(TOPIC)
    async def handle(self, event: CloudEvent[Any]) -> None:
        await asyncio.sleep(0)
        self.meet(event)


@kafka_consumer(group_id="g", retry=AT_ONCE)
class Blocks(Recorder):
    @on_message(TOPIC)
    def handle(self, event: CloudEvent[Any]) -> None:
        self.thread = threading.current_thread().name
        self.meet(event)


def invoke(consumer: object, event: object, producer: FakeProducer | None = None, context: object = None) -> Any:
    handler = lambda_handler(consumer, settings=ON, transport=lambda _: producer or FakeProducer())
    return handler(event, context or Context())


def letters(producer: FakeProducer) -> list[int]:
    found = [read_letter(Record(each.topic, 0, 0, *each[1:])) for each in producer.records]
    return [letter.record.offset for letter in found if letter is not None]


# What comes in


def test_documented_event_is_read_exactly() -> None:
    (batch,) = read_event(DOCUMENTED)

    assert batch.name == "mytopic-0"
    (found,) = batch.records
    assert found[:3] == ("mytopic", 0, 15)
    assert found.value == b"Hello, this is a test."
    assert found.headers == (("headerKey", b"headerValue"),)
    assert found.timestamp == 1545084650987


@pytest.mark.parametrize("source", ["aws:kafka", "SelfManagedKafka", "aws:SelfManagedKafka"])
@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_both_modes_reach_the_handler(source: str, mode: str) -> None:
    consumer = Awaits()

    response = invoke(consumer, lambda_event([record(1, "ténant", mode=mode), record(2, mode=mode)], source))

    assert response == {"batchItemFailures": []}
    assert sorted(consumer.done) == [("t1", 2), ("ténant", 1)]


class Mapped(Mapping[str, Any]):
    """An event as the decorators of Powertools hand it on."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> Any:
        return self._raw[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def test_decorators_take_the_handler() -> None:
    recorder = Awaits()
    function = lambda_handler(recorder, settings=ON)

    @wraps(function)
    def decorated(event: dict[str, Any], context: object) -> object:
        assert inspect.isfunction(function)
        return function(Mapped(event), context)

    assert decorated(lambda_event([record(1)]), Context()) == {"batchItemFailures": []}
    assert recorder.done == [("t1", 1)]
    assert (decorated.__name__, decorated.__module__) == ("Awaits", __name__)
    assert function.settings is ON


def test_headers_are_signed_bytes() -> None:
    given = record(1)._replace(headers=(("a", bytes(range(256))), ("a", b"")))

    (batch,) = read_event(lambda_event([given]))

    assert batch.records == [given]


def test_missing_key_and_a_tombstone_are_judged_as_in_a_runner() -> None:
    producer = FakeProducer()
    missing, tombstone = record(1)._replace(key=None), record(2)._replace(value=None, headers=())

    response = invoke(Awaits(), lambda_event([missing, tombstone, record(3)]), producer)

    assert response == {"batchItemFailures": []}
    assert sorted(letters(producer)) == [1, 2]
    assert {each.key for each in producer.records} == {None, b"t1"}


def test_tombstone_may_be_skipped() -> None:
    @kafka_consumer(group_id="g", on_tombstone="skip", sources={"other-svc"})
    class Picky(Awaits):
        pass

    producer = FakeProducer()
    tombstone = record(1)._replace(value=None, headers=())

    assert invoke(Picky(), lambda_event([tombstone, record(2)]), producer) == {"batchItemFailures": []}
    assert letters(producer) == [2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eventSource": "aws:sqs"}, "eventSource is 'aws:sqs'"),
        ({"records": None}, "records: "),
        ({"records": {"x-1": DOCUMENTED["records"]["mytopic-0"]}}, "another partition"),
        ({"records": {"mytopic-0": 2 * DOCUMENTED["records"]["mytopic-0"]}}, "listed twice"),
    ],
)
def test_event_not_of_kafka_is_refused_before_any_call(change: dict[str, Any], words: str) -> None:
    with pytest.raises(EventSourceError, match=words):
        invoke(Awaits(), {**DOCUMENTED, **change})


def test_declared_topic_is_not_suggested() -> None:
    record_of_it = record(1)._replace(topic=str(OrderCompleted.__topic__))
    with pytest.raises(RoutingError, match=r"no handler for topic 'eventzr.marketplace.order.completed.v1', which"):
        invoke(Awaits(), lambda_event([record_of_it]))


def test_topic_without_handler_is_named() -> None:
    consumer = Awaits()

    with pytest.raises(RoutingError, match=r"no handler for topic 'mytopic'.*no record was handled"):
        invoke(consumer, {**DOCUMENTED, "records": {**lambda_event([record(1)])["records"], **DOCUMENTED["records"]}})
    assert consumer.calls == 0


@pytest.mark.parametrize(
    ("topic", "hint"),
    [
        ("eventzr.marketplace.listing.created.v1", "redelivers them: add a handler, or fix the event source mapping"),
        ("eventzr.marketplace.listing.craeted.v1", "did you mean 'eventzr.marketplace.listing.created.v1'?"),
        ("others.topic", "'others.topic' is declared nowhere; add a handler, or fix the event source mapping"),
    ],
)
def test_unhandled_topic_has_a_hint(topic: str, hint: str) -> None:
    with pytest.raises(RoutingError) as caught:
        invoke(Awaits(), lambda_event([record(1, topic=topic)]))
    assert hint in str(caught.value)
    assert str(caught.value).count(topic) <= 2


# What becomes of it


def test_short_waits_are_awaited_before_a_dead_letter() -> None:
    producer, consumer = FakeProducer(), Awaits({1: [ValueError(), ValueError()], 2: ValueError(), 3: Reject("no")})

    response = invoke(consumer, lambda_event(map(record, range(5))), producer)

    assert response == {"batchItemFailures": []}
    assert consumer.numbers == [0, 1, 4]
    assert letters(producer) == [2, 3]


def test_long_wait_redelivers_all_behind_it() -> None:
    consumer = Awaits({3: RetryLater(after=LATE)})
    event = lambda_event([*map(record, range(6)), *(record(n, "t2", partition=1) for n in range(6, 9))])

    response = invoke(consumer, event)

    assert again(response) == [3, 4, 5]
    assert again(response, f"{TOPIC}-1") == []
    assert response["batchItemFailures"][0] == {"itemIdentifier": {"partition": f"{TOPIC}-0", "offset": 3}}


def test_attempts_count_over_redelivery() -> None:
    producer, consumer = FakeProducer(), Awaits({1: RetryLater(after=LATE)})
    handler = lambda_handler(consumer, settings=ON, transport=lambda _: producer)
    event = lambda_event([record(1)])

    responses = [again(handler(event, Context())) for _ in range(3)]

    assert responses == [[1], [1], []]
    assert letters(producer) == [1]


def test_handler_running_at_the_end_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    @kafka_consumer(group_id="g")
    class Hangs(Recorder):
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            if event.data["n"] == 2:
                await asyncio.Event().wait()
            self.meet(event)

    consumer = Hangs()

    response = invoke(consumer, lambda_event([record(1), record(2, "slow"), record(3)]), context=Context(300))

    assert again(response) == [2]
    assert consumer.numbers == [1, 3]
    assert "1 running handlers were cancelled" in caplog.text


def test_nothing_runs_without_time_left() -> None:
    consumer = Awaits()

    assert again(invoke(consumer, lambda_event(map(record, range(3))), context=Context(0))) == [0, 1, 2]
    assert consumer.numbers == []


def test_def_handlers_run_in_threads() -> None:
    consumer = Blocks({1: [ValueError()]})

    assert invoke(consumer, lambda_event(map(record, range(3)))) == {"batchItemFailures": []}
    assert consumer.numbers == [0, 1, 2]
    assert consumer.thread.startswith("eventzr-kafka-handler")


def test_batch_gets_whole_invocation() -> None:
    @kafka_consumer(group_id="g", retry=AT_ONCE)
    class Batches(Recorder):
        sizes: list[int]

        @on_batch(TOPIC, max_size=500, max_wait=60)
        async def handle(self, events: list[CloudEvent[Any]], contexts: list[MessageContext]) -> None:
            self.sizes = [*getattr(self, "sizes", []), len(events)]
            assert {context.group_id for context in contexts} == {"g"}
            late = [event for event in events if event.data["n"] == 7]
            if late:
                raise BatchItemError(*late) from RetryLater(after=LATE)

    consumer = Batches()

    response = invoke(consumer, lambda_event(record(n, f"t{n % 3}") for n in range(10)))

    assert consumer.sizes == [10]
    assert again(response) == [7]


def test_event_loop_outlives_invocations() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @kafka_consumer(group_id="g")
    class Notes:
        @on_message(TOPIC)
        async def handle(self, _event: CloudEvent[Any]) -> None:
            loops.append(asyncio.get_running_loop())

    handler = lambda_handler(Notes, settings=ON)
    for number in range(2):
        handler(lambda_event([record(number)]), Context())

    assert loops[0] is loops[1]


def test_stop_policy_keeps_partition(caplog: pytest.LogCaptureFixture) -> None:
    @kafka_consumer(group_id="g", retry=RetryPolicy(attempts=1, on_exhausted="stop"))
    class Stops(Awaits):
        pass

    response = invoke(Stops({1: ValueError()}), lambda_event(map(record, range(3))))

    assert again(response) == [1, 2]
    assert len(caplog.messages) == 1
    assert f"{TOPIC}[0]@1, event e1, tenant t1" in caplog.text


@pytest.mark.parametrize("enabled", [False, True])
def test_unwritable_dead_letter_makes_its_event_redelivered(
    enabled: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer = FakeProducer()
    producer.failure = DeliveryFailure("UNKNOWN_TOPIC_OR_PART", "no such topic", unknown=False)
    consumer = Awaits({1: Reject("no")})
    handler = lambda_handler(consumer, settings=KafkaSettings(enabled=enabled), transport=lambda _: producer)

    half_an_hour = Context(1_800_000)  # longer than a test may take: nothing is waited for
    response = handler(lambda_event([*map(record, range(3)), record(4, "t2")]), half_an_hour)

    assert again(response)[:2] == [1, 2]
    assert ("topic g.dlq does not exist" if enabled else "KAFKA_ENABLED=true") in caplog.text


def test_late_dead_letters_are_given_up() -> None:
    class Silent(FakeProducer):
        closed = 0

        def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
            self.kept = record, report
            return True

        def close(self) -> None:
            self.closed += 1

    producer = Silent()

    assert again(invoke(Awaits({1: Reject("no")}), lambda_event([record(1)]), producer, Context(200))) == [1]
    assert producer.closed == 1


def test_dead_letter_in_flight_counts_in_a_left_partition() -> None:
    reports: list[DeliveryCallback] = []
    under_way = asyncio.Event()

    class Slow(FakeProducer):
        def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
            self.records.append(record)
            reports.append(report)
            under_way.set()
            return True

    @kafka_consumer(group_id="g", retry=AT_ONCE)
    class Leaves(Recorder):
        @on_message(TOPIC)
        async def handle(self, event: CloudEvent[Any]) -> None:
            if event.data["n"] == 1:
                await under_way.wait()
                asyncio.get_running_loop().call_later(0.05, reports[0], Acknowledgement(0, 0))
            self.meet(event)

    producer = Slow()
    consumer = Leaves({1: RetryLater(after=LATE), 2: Reject("no")})

    response = invoke(consumer, lambda_event([record(1), record(2, "t2")]), producer)

    assert letters(producer) == [2]
    assert again(response) == [1]


def test_late_dead_letter_client_serves_the_next_invocation() -> None:
    may_start = threading.Event()
    made: list[FakeProducer] = []

    class Slow(FakeProducer):
        def start(self, reported: Callable[[], None]) -> None:
            made.append(self)
            assert may_start.wait(10)
            super().start(reported)

    handler = lambda_handler(Awaits({1: Reject("no")}), settings=ON, transport=lambda _: Slow())

    assert again(handler(lambda_event([record(1)]), Context(200))) == [1]
    may_start.set()
    assert again(handler(lambda_event([record(1)]), Context())) == []
    assert [letters(producer) for producer in made] == [[1]]


def test_without_reports_an_error_redelivers_the_whole_batch() -> None:
    handler = lambda_handler(Awaits({1: RetryLater(after=LATE)}), settings=ON, report_item_failures=False)

    with pytest.raises(BatchIncompleteError, match=rf"{TOPIC}\[0\]@1$"):
        handler(lambda_event(map(record, range(3))), Context())


def test_handler_is_a_class_an_object_or_a_factory_function() -> None:
    for given_handler in (Awaits, Awaits(), Awaits, lambda: Awaits({})):
        assert invoke(given_handler, lambda_event([record(1)])) == {"batchItemFailures": []}
    with pytest.raises(RoutingError, match="is not a consumer"):
        lambda_handler(dict, settings=ON)


def test_inbox_keeps_a_redelivered_event_from_its_handler() -> None:
    @kafka_consumer(group_id="g", inbox=MemoryInbox())
    class Remembers(Awaits):
        pass

    consumer = Remembers({2: [RetryLater(after=LATE)]})
    handler = lambda_handler(consumer, settings=ON)
    event = lambda_event([record(1), record(2, "t2"), record(3, "t3")])

    assert [again(handler(event, Context()))[:1] for _ in range(2)] == [[2], []]
    assert sorted(consumer.numbers) == [1, 2, 3]


def test_one_id_of_two_tenants_is_two_events() -> None:
    @kafka_consumer(group_id="g", inbox=MemoryInbox())
    class Remembers(Awaits):
        pass

    consumer = Remembers()
    twins = [("t1", "svc-a"), ("t2", "svc-a"), ("t1", "svc-b"), ("t1", "svc-a")]
    written = [
        encode(CloudEvent(id="42", source=source, type=TOPIC, tenantid=tenant, data={"n": n}))
        for n, (tenant, source) in enumerate(twins)
    ]
    records = [Record(TOPIC, 0, n, out.key, out.value, out.headers, 5) for n, out in enumerate(written)]

    assert again(invoke(consumer, lambda_event(records))) == []
    assert sorted(consumer.numbers) == [0, 1, 2]


def test_broken_inbox_is_an_error_before_any_handler_is_called() -> None:
    class Broken(MemoryInbox):
        async def check_tables(self) -> None:
            raise ConfigurationError("table eventzr_inbox is missing")

    @kafka_consumer(group_id="g", inbox=Broken())
    class Waits(Awaits):
        pass

    consumer = Waits()

    with pytest.raises(ConfigurationError, match="eventzr_inbox is missing"):
        invoke(consumer, lambda_event([record(1)]))
    assert consumer.calls == 0


def test_parked_keys_are_refused() -> None:
    @kafka_consumer(group_id="g", after_dead_letter="park_key")
    class Parks(Awaits):
        pass

    with pytest.raises(RoutingError, match="needs a runner"):
        lambda_handler(Parks, settings=ON)


# Whatever comes

FAILURES = st.sampled_from([None, DeliveryFailure("_TRANSPORT", "gone", unknown=True)])
PLANS = st.sampled_from(
    [None, None, None, "once", "always", "reject", "late", "tombstone", "garbage", "keyless"],
)


def _planned(kind: str | None) -> Plan:
    errors: dict[str | None, Plan] = {
        "once": [ValueError()],
        "always": ValueError(),
        "reject": Reject("no"),
        "late": RetryLater(after=LATE),
    }
    return errors.get(kind)


def _bent(kind: str | None, given: Record) -> Record:
    changes: dict[str | None, dict[str, Any]] = {
        "tombstone": {"value": None, "headers": ()},
        "garbage": {"value": b"\xff{"},
        "keyless": {"key": None},
    }
    return given._replace(**changes.get(kind, {}))


@st.composite
def backlogs(draw: st.DrawFn) -> list[tuple[str | None, Record]]:
    """Records of up to three partitions, with gaps between their offsets, and what is to become of each."""
    found: list[tuple[str | None, Record]] = []
    for partition in range(draw(st.integers(1, 3))):
        offsets = sorted(draw(st.sets(st.integers(0, 40), max_size=10)))
        for offset in offsets:
            number, tenant = 100 * partition + offset, f"t{partition}{draw(st.integers(0, 2))}"
            given_record = record(offset, tenant, partition=partition, data={"n": number})
            kind = draw(PLANS)
            found.append((kind, _bent(kind, given_record)))
    return found


@pytest.mark.slow
@given(backlogs(), st.sampled_from(["tenant", "subject", "partition", "none"]), FAILURES)
def test_no_record_is_lost_or_overtaken(
    backlog: list[tuple[str | None, Record]], ordering: Any, failure: DeliveryFailure | None
) -> None:
    @kafka_consumer(group_id="g", retry=AT_ONCE, ordering=ordering, on_tombstone="skip")
    class Ordered(Awaits):
        pass

    logging.disable(logging.CRITICAL)
    numbers = {100 * each.partition + each.offset: each for _, each in backlog}
    plans = [_planned(kind) for kind, _ in backlog]
    consumer, producer = Ordered(dict(zip(numbers, plans, strict=True))), FakeProducer()
    producer.failure = failure  # of the first invocation's dead letters
    handler = lambda_handler(consumer, settings=ON, transport=lambda _: producer)

    rest = [each for _, each in backlog]
    for _ in range(40):
        if not rest:
            break
        consumer.done.clear()
        written = len(producer.records)
        response = handler(lambda_event(rest), Context())
        reported = {p: again(response, f"{TOPIC}-{p}") for p in range(3)}
        _check_outcomes(rest, reported, consumer, producer, written)
        if ordering != "none":
            _check_order(reported, consumer, numbers)
        producer.failure = None
        rest = [each for each in rest if reported[each.partition] and each.offset >= reported[each.partition][0]]
    logging.disable(logging.NOTSET)
    assert rest == []


def _check_outcomes(
    rest: list[Record], reported: dict[int, list[int]], consumer: Recorder, producer: FakeProducer, written: int
) -> None:
    handled = {(number // 100, number % 100) for number in consumer.numbers}
    found = [read_letter(Record(each.topic, 0, 0, *each[1:])) for each in producer.records[written:]]
    lettered = {(letter.record.partition, letter.record.offset) for letter in found if letter}
    skipped = {(each.partition, each.offset) for each in rest if each.value is None}
    to_come = {(partition, offset) for partition, offsets in reported.items() for offset in offsets}
    everything = {(each.partition, each.offset) for each in rest}
    assert everything == handled | lettered | (skipped - to_come) | to_come
    assert not to_come & (handled | lettered)


def _check_order(reported: dict[int, list[int]], consumer: Recorder, numbers: dict[int, Record]) -> None:
    done: dict[tuple[str, int], list[int]] = {}
    for tenant, number in consumer.done:
        done.setdefault((tenant, number // 100), []).append(number % 100)
    for (tenant, partition), offsets in done.items():
        assert offsets == sorted(offsets)
        waiting = [o for o in reported[partition] if (numbers[100 * partition + o].key or b"").decode() == tenant]
        assert not waiting or offsets[-1] < waiting[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS: list[list[Any]] = [
    ["eventSource"],
    ["records"],
    ["records", f"{TOPIC}-0"],
    ["records", f"{TOPIC}-0", 1],
    *(["records", f"{TOPIC}-0", 1, name] for name in ("topic", "partition", "offset", "timestamp")),
    *(["records", f"{TOPIC}-0", 1, name] for name in ("key", "value", "headers")),
    ["records", f"{TOPIC}-0", 1, "headers", 0],
    ["records", f"{TOPIC}-0", 1, "headers", 0, "content-type"],
]


@pytest.mark.slow
@given(st.sampled_from(PATHS), JSON | st.binary(max_size=30).map(lambda raw: raw.decode("latin-1")))
def test_damaged_event_is_refused_or_every_record_ends(path: list[Any], put: Any) -> None:
    logging.disable(logging.CRITICAL)
    event = deepcopy(lambda_event(map(record, range(3))))
    spot: Any = event
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = put
    consumer, producer = Awaits(), FakeProducer()
    with contextlib.suppress(EventzrKafkaError):
        response = invoke(consumer, event, producer)
        count = sum(map(len, event["records"].values()))
        assert len(consumer.done) + len(producer.records) + len(response["batchItemFailures"]) == count
    logging.disable(logging.NOTSET)


@given(JSON)
def test_anything_else_is_a_typed_error(event: Any) -> None:
    with pytest.raises(EventSourceError):
        invoke(Awaits(), event)


# Errors that are hard to judge


@pytest.mark.parametrize("name", ODD)
def test_odd_error_is_one_failed_event(name: str) -> None:
    class Odd(Awaits):
        def meet(self, event: CloudEvent[Any]) -> None:
            if event.data["n"] == 1:
                ODD[name]()
            super().meet(event)

    producer = FakeProducer()
    response = invoke(consumer := Odd(), lambda_event([record(1), record(2)]), producer)

    assert response == {"batchItemFailures": []}
    assert letters(producer) == [1]
    assert consumer.numbers == [2]


def test_system_exit_on_lambda_leaves_an_event_once_then_fails() -> None:
    class Exits(Awaits):
        def meet(self, event: CloudEvent[Any]) -> None:
            if event.data["n"] == 1:
                raise SystemExit(3)
            super().meet(event)

    producer, consumer = FakeProducer(), Exits()
    handler = lambda_handler(consumer, settings=ON, transport=lambda _: producer)
    batch = lambda_event([record(1), record(2)])

    first = handler(batch, Context())
    assert len(first["batchItemFailures"]) == 2
    assert (consumer.numbers, letters(producer)) == ([], [])

    assert handler(batch, Context()) == {"batchItemFailures": []}
    assert letters(producer) == [1]
    assert consumer.numbers == [2]
