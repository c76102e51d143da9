"""`lambda_handler`: a consumer class in, the handler of a Kafka event source out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

from eventzr_kafka.aws_lambda.container import Deadline, event_loop
from eventzr_kafka.aws_lambda.errors import BatchIncompleteError
from eventzr_kafka.aws_lambda.event import EventSourceBatch, read_event
from eventzr_kafka.aws_lambda.invocation import Container, Invocation
from eventzr_kafka.dead_letters.writer import DeadLetterWriter, compressing
from eventzr_kafka.engine.handler_threads import HandlerThreads
from eventzr_kafka.errors import ProducerStateError, RoutingError
from eventzr_kafka.events import catalogue
from eventzr_kafka.handlers.binding import bind
from eventzr_kafka.handlers.decorators import definition_of, is_consumer
from eventzr_kafka.handlers.deduplication import make_deduplicator
from eventzr_kafka.hooks import ConsumerHooks
from eventzr_kafka.kafka.transport import ProducerTransport
from eventzr_kafka.safe_text import printable
from eventzr_kafka.settings import KafkaSettings

if TYPE_CHECKING:
    from eventzr_kafka.aws_lambda.producer import LambdaProducer

__all__ = ["LambdaFunction", "LambdaHandler", "Response", "lambda_handler"]

log = logging.getLogger("eventzr_kafka.consumer")


class ItemIdentifier(TypedDict):
    """Where a record is: ``topic-partition``, and its offset."""

    partition: str
    offset: int


class ItemFailure(TypedDict):
    """A record that has to come again."""

    itemIdentifier: ItemIdentifier


class Response(TypedDict):
    """What AWS wants to be told; an empty list if every record has its outcome."""

    batchItemFailures: list[ItemFailure]


class LambdaHandler:
    """A consumer as the handler of a Kafka event source, in the form of an object; see `lambda_handler`.

    Attributes:
        settings: How dead letters reach Kafka.
        consumer: Class of the consumer.
    """

    def __init__(
        self,
        handler: object,
        *,
        producer: LambdaProducer | None = None,
        settings: KafkaSettings | None = None,
        report_item_failures: bool = True,
        margin: float = 2.0,
        hooks: ConsumerHooks | None = None,
        transport: Callable[[KafkaSettings], ProducerTransport] | None = None,
    ) -> None:
        """Prepare; the arguments are those of `lambda_handler`."""
        self.settings = settings or KafkaSettings.from_env()
        self._handler = _made(handler)
        self.consumer = type(self._handler)
        self._definition = definition_of(self._handler)
        self._producer = producer
        self._reports = report_item_failures
        self._margin = margin
        self._hooks = hooks or ConsumerHooks()
        self._make_transport = transport or _real_transport
        self._container: Container | None = None
        if self._definition.options.after_dead_letter == "park_key":
            problem = 'after_dead_letter="park_key" is for a runner: a Lambda function does not follow the dead letters'
            raise RoutingError(self._definition.location, type(self._handler).__qualname__, problem)

    def __call__(self, event: object, context: Any = None) -> Response:
        """Run the records of one invocation.

        Raises:
            EventSourceError: The event is none of a Kafka event source.
            RoutingError: A topic of it has no handler; nothing was run.
            ConfigurationError: The inbox of the consumer cannot work; nothing was run.
            BatchIncompleteError: Records have to come again, and `report_item_failures` is off.
            UnacknowledgedError: Events of `producer` were not acknowledged in time; the whole batch comes again.
        """
        deadline = Deadline(context, self._margin)
        batches = read_event(event)
        self._require_routes(batches)
        if self._producer is None:
            unfinished = self._run(batches, deadline)
        else:
            with self._producer.invocation(deadline):
                unfinished = self._run(batches, deadline)
        return self._response(batches, unfinished)

    def _run(self, batches: Sequence[EventSourceBatch], deadline: Deadline) -> dict[str, list[int]]:
        return event_loop().run_until_complete(self._invoke(batches, deadline))

    async def _invoke(self, batches: Sequence[EventSourceBatch], deadline: Deadline) -> dict[str, list[int]]:
        if self._container is None:
            self._container = await deadline.limit(self._make_container())
        return await Invocation(self._container, batches, deadline).run()

    def _response(self, batches: Sequence[EventSourceBatch], unfinished: dict[str, list[int]]) -> Response:
        again = [
            ItemFailure(itemIdentifier=ItemIdentifier(partition=name, offset=offset))
            for name, offsets in unfinished.items()
            for offset in offsets
        ]
        if again and not self._reports:
            first = {batch.name: batch.partition for batch in batches}
            raise BatchIncompleteError(
                [f"{first[n].topic}[{first[n].partition}]@{o[0]}" for n, o in unfinished.items()]
            )
        return Response(batchItemFailures=again)

    async def _make_container(self) -> Container:
        """Made in the first invocation, where the event loop runs."""
        options = self._definition.options
        deduplicator = await make_deduplicator(self._handler, self._definition.inbox, self._hooks)
        pool = HandlerThreads(options.max_concurrency)
        routes = bind(self._handler, self._definition.routes, options, pool, deduplicator)
        return Container(
            group_id=self._definition.group_id,
            options=options,
            routes={route.topic: route for route in routes},
            dead_letters=DeadLetterWriter(
                lambda: self._dead_letter_client(self.settings),
                lambda: self._dead_letter_client(compressing(self.settings)),
            ),
            hooks=self._hooks,
        )

    def _dead_letter_client(self, settings: KafkaSettings) -> ProducerTransport:
        if not settings.enabled:
            raise ProducerStateError(
                "Kafka is disabled, as it is on Lambda by default: set KAFKA_ENABLED=true and KAFKA_BROKERS"
            )
        return self._make_transport(settings)

    def _require_routes(self, batches: Sequence[EventSourceBatch]) -> None:
        known = {route.topic for route in self._definition.routes}
        for topic in [batch.partition.topic for batch in batches if batch.partition.topic not in known]:
            near = catalogue.suggest(topic)
            meant = f" (did you mean {near!r}?)" if near else ""
            problem = (
                f"no handler for topic {printable(topic, limit=249)!r}{meant}, which the event source mapping brings; "
                "nothing was run, and its records wait: add a handler, or fix the mapping"
            )
            raise RoutingError(self._definition.location, type(self._handler).__qualname__, problem)


class LambdaFunction(Protocol):
    """The handler of a Kafka event source, which is a function.

    Attributes:
        settings: How dead letters reach Kafka.
    """

    settings: KafkaSettings

    def __call__(self, event: object, context: Any = None) -> Response:
        """Run the records of one invocation; see `LambdaHandler`."""
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

    Codec, routing, lanes, inbox, retries and dead letters are those of `ConsumerRunner`. A record that cannot be
    given an outcome within the invocation is reported, with all that has none behind it, and comes again. Nothing
    connects here, and no thread begins.

    It is a function, as decorators of Powertools and others want it::

        handler = tracer.capture_lambda_handler(lambda_handler(MarketplaceEventHandler))

    Args:
        handler: A `@kafka_consumer` class, an object of one, or a function that makes such an object.
        producer: Is ready before a handler runs, and flushed before the invocation ends.
        settings: How dead letters reach Kafka; from the environment if left out.
        report_item_failures: Whether the event source mapping has ``ReportBatchItemFailures``. Without it AWS
            ignores the report and records would be lost: set this to False then, and an error makes the whole batch
            come again.
        margin: Seconds before the function's time-out at which work stops; half the time at most.
        hooks: Optional callbacks, called when something fails.
        transport: Makes the client that writes dead letters; for tests.

    Raises:
        RoutingError: It is no consumer, or asks for what a Lambda function cannot do.
        SettingsError: An environment variable is malformed.
    """
    made = LambdaHandler(
        handler,
        producer=producer,
        settings=settings,
        report_item_failures=report_item_failures,
        margin=margin,
        hooks=hooks,
        transport=transport,
    )

    def handle(event: object, context: Any = None) -> Response:
        return made(event, context)

    kind = made.consumer
    handle.__name__, handle.__qualname__, handle.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    handle.__doc__ = kind.__doc__
    function = cast("LambdaFunction", handle)
    function.settings = made.settings
    return function


def _made(handler: object) -> object:
    if isinstance(handler, type):
        return handler() if is_consumer(handler) else handler  # what is none is refused by its definition
    if callable(handler) and not is_consumer(type(handler)):
        return handler()
    return handler


def _real_transport(settings: KafkaSettings) -> ProducerTransport:
    from eventzr_kafka._confluent.producer import dead_letter_client  # noqa: PLC0415 -- loads the client library

    return dead_letter_client(settings)
