"""Routes joined with the object whose methods they call, ready for the loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from eventzr_kafka.codec.decoder import decoder_for
from eventzr_kafka.codec.selection import EventReader, SelectiveDecoder
from eventzr_kafka.errors import HandlerResultError
from eventzr_kafka.events.event_data import Sources
from eventzr_kafka.handlers.deduplication import Deduplicator
from eventzr_kafka.handlers.options import BatchOptions, ConsumerOptions
from eventzr_kafka.handlers.retry import DEFAULT_RETRY, RetryPolicy
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.safe_text import list_some

__all__ = ["BoundRoute", "bind"]

log = logging.getLogger("eventzr_kafka.consumer")

_Call: TypeAlias = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BoundRoute:
    """A route and the object whose method it calls, with what the loop needs at hand.

    Attributes:
        call: Takes ``(event)``, or ``(event, context)`` if `context` is set; lists of them for a batch.
        batch: Set if it takes batches.
    """

    topic: str
    label: str
    decoder: EventReader
    call: _Call
    context: bool
    batch: BatchOptions | None = None
    retry: RetryPolicy = DEFAULT_RETRY


def bind(
    handler: object,
    routes: Iterable[Route],
    options: ConsumerOptions,
    pool: Executor,
    deduplicator: Deduplicator | None = None,
) -> list[BoundRoute]:
    """Join the routes of a class with an object of it; a ``def`` handler will run in the pool.

    One log line names the handlers whose `sources` is ``any``.

    Args:
        deduplicator: Keeps duplicates from the handlers, if the consumer has an inbox.
    """
    routes = list(routes)
    trusting = [route.label for route in routes if _sources(route, options) == "any"]
    if trusting:
        log.warning('%s: handles events of any source (sources="any")', list_some(trusting))
    return [
        BoundRoute(
            topic=route.topic,
            label=route.label,
            decoder=_decoder(route, options),
            call=_call(handler, route, pool, deduplicator, options.handler_timeout),
            context=route.takes_context or deduplicator is not None,
            batch=route.batch,
            retry=route.retry or options.retry,
        )
        for route in routes
    ]


def _sources(route: Route, options: ConsumerOptions) -> Sources | None:
    return route.sources or options.sources or route.accepts  # the nearest one counts


def _decoder(route: Route, options: ConsumerOptions) -> EventReader:
    sources = _sources(route, options)
    decoder = decoder_for(
        route.data_type,
        event_type=route.event_type,
        limits=options.limits,
        sources=None if sources == "any" else sources,
        lone_surrogates=options.lone_surrogates,
    )
    return decoder.read if route.when is None else SelectiveDecoder(decoder, route.when, route.label)


def _call(
    handler: object, route: Route, pool: Executor, deduplicator: Deduplicator | None, timeout: float | None
) -> _Call:
    method: Callable[..., Any] = getattr(handler, route.method)
    if not route.is_async:
        method = _without_result(method)
    if deduplicator is not None:
        method = deduplicator.wrap(route, method)
    if not route.is_async:
        return _threaded(method, pool)
    return method if timeout is None else _timed(method, timeout)


def _without_result(method: Callable[..., Any]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        result = method(*args)
        if result is not None:  # most likely a coroutine, which would not be awaited
            raise HandlerResultError(getattr(method, "__qualname__", repr(method)), type(result).__name__)

    return call


def _threaded(method: Callable[..., None], pool: Executor) -> _Call:
    def run(*args: Any) -> None:
        try:
            method(*args)
        except StopIteration as error:  # a future cannot hold it, and the event loop would not hear of it
            raise RuntimeError("the handler raised StopIteration") from error
        except KeyboardInterrupt as error:  # signals reach the main thread alone: it is the handler's own
            raise RuntimeError("the handler raised KeyboardInterrupt") from error

    async def call(*args: Any) -> None:
        in_context = partial(contextvars.copy_context().run, run, *args)
        await asyncio.get_running_loop().run_in_executor(pool, in_context)

    return call


def _timed(method: _Call, timeout: float) -> _Call:
    """For a coroutine: a thread would go on."""

    async def call(*args: Any) -> None:
        async with asyncio.timeout(timeout):
            await method(*args)

    return call
