"""`LambdaProducer`: made beside the function's loading, settled before each return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.lambda_events import TOPIC, Context, again, lambda_event, record

from eventzr_kafka import CloudEvent, EventData, KafkaSettings, kafka_consumer, on_message
from eventzr_kafka.aws_lambda import LambdaProducer, UnacknowledgedError, lambda_handler
from eventzr_kafka.aws_lambda.container import event_loop
from eventzr_kafka.errors import ProducerError, ProducerStateError, SettingsError
from eventzr_kafka.kafka.record import OutgoingRecord
from eventzr_kafka.kafka.transport import Acknowledgement, DeliveryCallback, DeliveryFailure, DeliveryOutcome

ON = KafkaSettings(enabled=True)
PURGED = DeliveryFailure("_PURGE_QUEUE", "purged", unknown=False)


@pytest.fixture(autouse=True)
def container() -> Iterator[None]:
    event_loop.cache_clear()
    yield
    event_loop().close()
    event_loop.cache_clear()


class Client:
    """Acknowledges what waits when it is flushed, if the broker is there; purges it when it is closed."""

    def __init__(self) -> None:
        self.started_in = ""
        self.waiting: list[DeliveryCallback] = []
        self.is_there = True
        self.closed = False
        self.produced = 0

    def start(self, reported: Callable[[], None]) -> None:
        self.started_in = threading.current_thread().name
        self.reported = reported

    def produce(self, record: OutgoingRecord, report: DeliveryCallback) -> bool:
        assert record.key is not None
        assert not self.closed
        self.produced += 1
        self.waiting.append(report)
        return True

    def flush(self, timeout: float) -> int:
        assert timeout <= 60
        if self.is_there:
            self._report(Acknowledgement(0, 1))
        return len(self.waiting)

    def close(self) -> None:
        self.closed = True
        self._report(PURGED)

    def _report(self, outcome: DeliveryOutcome) -> None:
        while self.waiting:
            self.waiting.pop(0)(outcome)
        self.reported()


class Clients:
    """Makes them, and remembers."""

    def __init__(self) -> None:
        self.made: list[Client] = []
        self.error: Exception | None = None

    def __call__(self, _settings: KafkaSettings) -> Client:
        if self.error is not None:
            raise self.error
        self.made.append(Client())
        return self.made[-1]


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def producer(clients: Clients) -> LambdaProducer:
    return LambdaProducer(settings=ON, transport=clients)


def event(number: int = 1) -> CloudEvent[Any]:
    return CloudEvent(id=f"e{number}", source="s", type=TOPIC, tenantid="t1", data=number)


def test_client_is_made_in_a_thread(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    def function(number: Any, _context: Any) -> str:
        return producer.enqueue(event(number)).event_id

    assert [function(number, Context()) for number in range(2)] == ["e0", "e1"]
    assert [client.started_in for client in clients.made] == ["eventzr-kafka start"]


def test_only_the_first_invocation_waits_for_the_client() -> None:
    may_start = threading.Event()

    class Slow(Client):
        def start(self, reported: Callable[[], None]) -> None:
            assert may_start.wait(10)
            super().start(reported)

    producer = LambdaProducer(settings=ON, transport=lambda _: Slow())

    @producer.flushed
    def function(_event: Any, _context: Any) -> bool:
        return producer.enqueue(event()).done()

    threading.Timer(0.05, may_start.set).start()
    assert function({}, Context()) is False


def test_late_client_ends_the_invocation_and_serves_the_next() -> None:
    may_start = threading.Event()

    class Slow(Client):
        def start(self, reported: Callable[[], None]) -> None:
            assert may_start.wait(10)
            super().start(reported)

    producer = LambdaProducer(settings=ON, transport=lambda _: Slow())
    function = producer.flushed(lambda _event, _context: producer.enqueue(event()).event_id)

    with pytest.raises(ProducerStateError, match=r"not made yet.*no handler was called"):
        function({}, Context(60))
    may_start.set()
    assert function({}, Context()) == "e1"


@pytest.mark.parametrize("later", ["before the freeze", "in the next invocation"])
def test_def_handler_cannot_publish_after_its_invocation(
    producer: LambdaProducer, clients: Clients, later: str, caplog: pytest.LogCaptureFixture
) -> None:
    go_on, told, refused = threading.Event(), threading.Event(), list[ProducerError]()

    @kafka_consumer(group_id="g")
    class Lingers:
        @on_message(TOPIC)
        def handle(self, _event: CloudEvent[Any]) -> None:
            assert go_on.wait(10)
            try:
                producer.enqueue(event())
            except ProducerError as error:
                refused.append(error)
            told.set()

    def finish(_event: Any = None, _context: Any = None) -> bool:
        go_on.set()
        return told.wait(10)

    handler = lambda_handler(Lingers, producer=producer, settings=ON)
    assert again(handler(lambda_event([record(1)]), Context(60))) == [1]
    assert finish() if later == "before the freeze" else producer.flushed(finish)({}, Context())

    assert [type(error) for error in refused] == [ProducerStateError]
    assert "event e1 for bench.thing.happened.v1 is not sent: the invocation that it belongs to is over" in caplog.text
    assert clients.made[0].produced == 0


def test_two_producers_of_a_function_keep_invocations_apart(producer: LambdaProducer, clients: Clients) -> None:
    other = LambdaProducer(settings=ON, transport=clients)

    @other.flushed
    @producer.flushed
    def function(_event: Any, _context: Any) -> list[str]:
        return [each.enqueue(event()).event_id for each in (producer, other)]

    assert function({}, Context()) == ["e1", "e1"]
    with pytest.raises(ProducerStateError, match="no invocation is under way"):
        producer.enqueue(event())


def test_events_not_acknowledged_in_time_are_never_sent(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    def function(numbers: Any, _context: Any) -> None:
        clients.made[-1].is_there = 9 in numbers
        for number in numbers:
            producer.enqueue(event(number))

    with pytest.raises(UnacknowledgedError, match=rf"2 events .* e1 for {TOPIC}, e2 .*same event ids") as caught:
        function([1, 2], Context(60))
    assert caught.value.events == (("e1", TOPIC), ("e2", TOPIC))
    assert (clients.made[0].closed, clients.made[0].waiting) == (True, [])

    function([9], Context())
    assert len(clients.made) == 2


def test_awaited_failure_is_not_reraised(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    async def function(_event: Any, _context: Any) -> str:
        delivery = producer.enqueue(event())
        clients.made[-1].close()
        clients.made[-1].closed = False
        with pytest.raises(ProducerError):
            await delivery
        return "told"

    assert function({}, Context()) == "told"


def test_late_async_function_is_cancelled(producer: LambdaProducer) -> None:
    @producer.flushed
    async def function(_event: Any, _context: Any) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        function({}, Context(60))


def test_cancelled_function_names_events(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    async def function(_event: Any, _context: Any) -> None:
        clients.made[-1].is_there = False
        await asyncio.gather(*(producer.publish(event(number)) for number in range(2)))

    with pytest.raises(UnacknowledgedError) as caught:
        function({}, Context(60))
    assert [event_id for event_id, _ in caught.value.events] == ["e0", "e1"]


def test_failing_function_is_settled(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    def function(_event: Any, _context: Any) -> None:
        producer.enqueue(event())
        raise KeyError

    with pytest.raises(KeyError):
        function({}, Context())
    assert clients.made[0].waiting == []


def test_failed_client_is_raised_and_retried(clients: Clients) -> None:
    clients.error = SettingsError("KAFKA_CA_FILE", "no file")
    producer = LambdaProducer(settings=ON, transport=clients)
    function = producer.flushed(lambda _event, _context: producer.enqueue(event()).event_id)

    with pytest.raises(SettingsError):
        function({}, Context())
    clients.error = None
    assert function({}, Context()) == "e1"


def test_snapshot_has_no_client_and_no_ids(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[bool] = []
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setattr("eventzr_kafka.aws_lambda.producer.renew_ids", lambda: renewed.append(True))
    producer = LambdaProducer(settings=ON, transport=clients)
    function = producer.flushed(lambda _event, _context: producer.enqueue(event()).event_id)
    assert (clients.made, renewed) == ([], [])

    assert [function({}, Context()) for _ in range(2)] == ["e1", "e1"]
    assert (len(clients.made), renewed) == (1, [True])


def test_publishing_consumer_returns_when_all_is_acknowledged(producer: LambdaProducer, clients: Clients) -> None:
    @kafka_consumer(group_id="g")
    class Publishes:
        @on_message(TOPIC)
        async def handle(self, incoming: CloudEvent[Any]) -> None:
            producer.enqueue(event(incoming.data["n"]))

    handler = lambda_handler(Publishes, producer=producer, settings=ON)
    assert handler(lambda_event([record(1), record(2)]), Context()) == {"batchItemFailures": []}

    clients.made[0].is_there = False
    with pytest.raises(UnacknowledgedError, match="e3"):
        handler(lambda_event([record(3)]), Context(60))


class Payload(EventData, topic="lambda.payload.v1", source="s"):
    n: int = 1


def test_many_events_are_awaited_in_an_invocation(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    async def function(_event: Any, _context: Any) -> list[str]:
        call = asyncio.create_task(producer.publish_many([Payload(), Payload()], tenant_id="t1"))
        await asyncio.sleep(0)
        clients.made[0].flush(1)
        return [result.status for result in await call]

    assert function({}, Context()) == ["acknowledged", "acknowledged"]


def test_many_events_need_an_invocation(producer: LambdaProducer, clients: Clients) -> None:
    @producer.flushed
    def function(_event: Any, _context: Any) -> None:
        producer.enqueue(Payload(), tenant_id="t1")  # its class is known from now on

    function({}, Context())
    with pytest.raises(ProducerStateError, match="no invocation is under way"):
        producer.publish_many_sync([Payload()], tenant_id="t1")
    with pytest.raises(ProducerStateError, match="no invocation is under way"):
        producer.enqueue(Payload(), tenant_id="t1")
    assert clients.made[0].produced == 1
