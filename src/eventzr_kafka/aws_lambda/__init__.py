"""AWS Lambda: a consumer class as the handler of a Kafka event source, and a producer that a container keeps.

::

    from eventzr_kafka.aws_lambda import lambda_handler

    handler = lambda_handler(MarketplaceEventHandler)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventzr_kafka.aws_lambda.errors import BatchIncompleteError, EventSourceError, UnacknowledgedError
from eventzr_kafka.aws_lambda.handler import LambdaFunction, LambdaHandler, lambda_handler

if TYPE_CHECKING:
    from eventzr_kafka.aws_lambda.producer import LambdaProducer, lambda_producer

__all__ = [
    "BatchIncompleteError",
    "EventSourceError",
    "LambdaFunction",
    "LambdaHandler",
    "LambdaProducer",
    "UnacknowledgedError",
    "lambda_handler",
    "lambda_producer",
]


def __getattr__(name: str) -> Any:
    if name in ("LambdaProducer", "lambda_producer"):
        from eventzr_kafka.aws_lambda import producer  # noqa: PLC0415 -- only for functions that publish

        return getattr(producer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
