"""AWS Lambda: a consumer class as the handler of a Kafka event source, and a producer that a container keeps.

::

    from eventzr_kafka.aws_lambda import LambdaProducer, lambda_handler

    producer = LambdaProducer(source="orders-svc")
    handler = lambda_handler(lambda: OrderHandler(producer), producer=producer)

`lambda_handler` is a function, and returns one, since AWS and the decorators of Powertools call the handler as one.
`LambdaProducer` is a class, as `EventProducer` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventzr_kafka.aws_lambda.errors import BatchIncompleteError, EventSourceError, UnacknowledgedError
from eventzr_kafka.aws_lambda.handler import BatchResponse, LambdaFunction, lambda_handler

if TYPE_CHECKING:
    from eventzr_kafka.aws_lambda.producer import LambdaProducer

__all__ = [
    "BatchIncompleteError",
    "BatchResponse",
    "EventSourceError",
    "LambdaFunction",
    "LambdaProducer",
    "UnacknowledgedError",
    "lambda_handler",
]


def __getattr__(name: str) -> Any:
    if name == "LambdaProducer":
        from eventzr_kafka.aws_lambda import producer  # noqa: PLC0415 -- only for functions that publish

        return producer.LambdaProducer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
