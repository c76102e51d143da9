"""`lambda_handler`: makes a consumer class the handler of a Kafka event source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

from eventzr_kafka.aws_lambda.container import Deadline, event_loop
from eventzr_kafka.aws_lambda.errors import BatchIncompleteError
from eventzr_kafka.aws_lambda.event import EventSourceBatch, read_event
from eventzr_kafka.aws_lambda.invocation import Invocation, LambdaConsumer
from eventzr_kafka.dead_letters.writer import DeadLetterWriter, make_letter_writer
from eventzr_kafka.engine.clients import RealClients
from eventzr_kafka.engine.handler_threads import HandlerThreads
from eventzr_kafka.errors import ProducerStateError, RoutingError
from eventzr_kafka.events import catalogue
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import ConsumerDefinition, definition_of, is_consumer
from eventzr_kafka.handlers.deduplication import make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from eventzr_kafka.aws_lambda.producer import LambdaProducer

__all__ = ["BatchResponse", "LambdaFunction", "lambda_handler"]

_MakeClient = Callable[[KafkaSettings], ProducerTransport]


class ItemIdentifier(TypedDict):
    """The place of a record: ``topic-partition``, and its offset."""

    partition: str
    offset: int


class ItemFailure(TypedDict):
    """A record that AWS must redeliver."""

    itemIdentifier: ItemIdentifier


class BatchResponse(TypedDict):
    """The answer that AWS reads; an empty list if every record has its outcome."""

    batchItemFailures: list[ItemFailure]


class LambdaFunction(Protocol):
    """The handler of a Kafka event source, which is a function.

    Attributes:
        settings: Settings of the client that writes dead letters.
    """

    settings: KafkaSettings

    def __call__(self, event: object, context: Any = None) -> BatchResponse:
        """Handle the records of one invocation.

        Raises:
            EventSourceError: The event is not one of a Kafka event source; no record was handled.
            RoutingError: A topic of the event has no handler; no record was handled.
            ConfigurationError: The inbox of the consumer cannot work; no record was handled.
            BatchIncompleteError: Records must be redelivered, and `report_item_failures` is off.
            UnacknowledgedError: Events of `producer` were not acknowledged in time; AWS redelivers the whole batch.
        """
        ...


def lambda_handler(
    handler: object,
    *,
    producer: LambdaProducer | None = None,
    settings: KafkaSettings | None = None,
    report_item_failures: bool = True,
    margin: float = 2.0,
    hooks: ConsumerHooks | None = None,
    transport: Callable[[KafkaSettings], ProducerTransport] | None = None,
) -> LambdaFunction:
    """Make a consumer the handler of a Kafka event source.

    Codec, routing, ordering, inbox, retries and dead letters are those of `ConsumerRunner`. A record without an outcome
    at the end of the invocation is reported, with all unfinished ones behind it in its partition, and AWS redelivers
    them. The call connects to nothing and starts no thread.

    The result is a function, so decorators of Powertools and other libraries take it::

        handler = tracer.capture_lambda_handler(lambda_handler(MarketplaceEventHandler))

    Args:
        handler: A `@kafka_consumer` class, an object of one, or a function that makes such an object.
        producer: Made ready before the records are handled, and flushed before the invocation ends.
        settings: Settings of the client that writes dead letters; from the environment if left out.
        report_item_failures: True if the event source mapping has ``ReportBatchItemFailures``. A mapping without it
            ignores the report, and unfinished records would be lost: pass False then. An error is raised in place of
            the report, and AWS redelivers the whole batch.
        margin: Seconds before the function's time-out at which work stops; half of the remaining time at most.
        hooks: Optional callbacks, called when an event fails.
        transport: Makes the client that writes dead letters; for tests.

    Raises:
        RoutingError: `handler` is not a consumer, or has an option that a Lambda function cannot keep.
        SettingsError: An environment variable is malformed.
    """
    settings = settings or KafkaSettings.from_env()
    instance = _make_instance(handler)
    kind, definition = type(instance), definition_of(instance)
    if definition.options.after_dead_letter == "park_key":
        problem = 'after_dead_letter="park_key" needs a runner: a Lambda function does not follow the dead-letter topic'
        raise RoutingError(definition.location, kind.__qualname__, problem)
    hooks = hooks or ConsumerHooks()
    writer = _dead_letter_writer(settings, transport or RealClients().producer)
    consumer: LambdaConsumer | None = None  # made in the first invocation, where the event loop runs

    async def invoke(batches: Sequence[EventSourceBatch], deadline: Deadline) -> dict[str, list[int]]:
        nonlocal consumer
        if consumer is None:
            consumer = await deadline.limit(_make_consumer(instance, definition, writer, hooks))
        return await Invocation(consumer, batches, deadline).run()

    def handle(event: object, context: Any = None) -> BatchResponse:
        deadline = Deadline(context, margin)
        batches = read_event(event)
        _require_routes(definition, kind, batches)
        if producer is None:
            unfinished = event_loop().run_until_complete(invoke(batches, deadline))
        else:
            with producer.invocation(deadline):
                unfinished = event_loop().run_until_complete(invoke(batches, deadline))
        if unfinished and not report_item_failures:
            raise BatchIncompleteError(_first_positions(batches, unfinished))
        return _make_response(unfinished)

    handle.__name__, handle.__qualname__, handle.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    handle.__doc__ = kind.__doc__
    function = cast("LambdaFunction", handle)
    function.settings = settings
    return function


def _make_instance(handler: object) -> object:
    if isinstance(handler, type):
        return handler() if is_consumer(handler) else handler  # `definition_of` refuses another class
    if callable(handler) and not is_consumer(type(handler)):
        return handler()
    return handler


def _dead_letter_writer(settings: KafkaSettings, make_client: _MakeClient) -> DeadLetterWriter:
    def make(given: KafkaSettings) -> ProducerTransport:
        if not settings.enabled:
            raise ProducerStateError(
                "Kafka is disabled, as it is on Lambda by default: set KAFKA_ENABLED=true and KAFKA_BROKERS"
            )
        return make_client(given)

    return make_letter_writer(make, settings)


async def _make_consumer(
    instance: object, definition: ConsumerDefinition, writer: DeadLetterWriter, hooks: ConsumerHooks
) -> LambdaConsumer:
    options = definition.options
    deduplicator = await make_deduplicator(instance, definition.inbox, hooks)
    pool = HandlerThreads(options.max_concurrency)
    routes = bind(instance, definition.routes, options, pool, deduplicator)
    return LambdaConsumer(
        group_id=definition.group_id,
        options=options,
        routes={route.topic: route for route in routes},
        writer=writer,
        hooks=hooks,
    )


def _require_routes(definition: ConsumerDefinition, kind: type, batches: Sequence[EventSourceBatch]) -> None:
    known = {route.topic for route in definition.routes}
    for topic in [batch.partition.topic for batch in batches if batch.partition.topic not in known]:
        hint = "add a handler, or fix the event source mapping"
        if catalogue.lookup(topic) is None:
            hint = catalogue.describe_undeclared(topic, hint)
        problem = (
            f"no handler for topic {printable(topic, limit=249)!r}, which the mapping delivers; "
            f"no record was handled, and AWS redelivers them: {hint}"
        )
        raise RoutingError(definition.location, kind.__qualname__, problem)


def _first_positions(batches: Sequence[EventSourceBatch], unfinished: dict[str, list[int]]) -> list[str]:
    partitions = {batch.name: batch.partition for batch in batches}
    return [
        f"{partitions[name].topic}[{partitions[name].partition}]@{offsets[0]}" for name, offsets in unfinished.items()
    ]


def _make_response(unfinished: dict[str, list[int]]) -> BatchResponse:
    return BatchResponse(
        batchItemFailures=[
            ItemFailure(itemIdentifier=ItemIdentifier(partition=name, offset=offset))
            for name, offsets in unfinished.items()
            for offset in offsets
        ]
    )
