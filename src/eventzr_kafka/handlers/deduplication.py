"""Handlers that an inbox keeps duplicates from.

A wrapped handler is of the same kind as the one inside: ``async def`` or ``def``, for one event or a list of them. Only
consumers with an inbox pay for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from eventzr_kafka.errors import BatchItemError, ConfigurationError
from eventzr_kafka.events.context import enter_batch, leave
from eventzr_kafka.handlers.inbox import Delivery, Handled, Inbox, InboxChoice, is_inbox, key_of
from eventzr_kafka.handlers.signature import MessageContext, Route
from eventzr_kafka.hooks import ConsumerHooks, DuplicateSkipped, notify
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["Guard", "Tidier", "guard_of", "inbox_of"]

log = logging.getLogger("eventzr_kafka.consumer")

_TIDY_EVERY, _TIDY_PAUSE = 60.0, 0.05  # seconds between two rounds, and between two steps of one
_LAST_STEP = 5.0  # seconds that a step may still take when the runner ends


async def guard_of(handler: object, choice: InboxChoice | None, hooks: ConsumerHooks) -> Guard | None:
    """Make what wraps the handlers of a consumer object, if its class has an inbox.

    Raises:
        ConfigurationError: The inbox cannot work, or the function that makes it returned something else.
    """
    if choice is None:
        return None
    inbox = inbox_of(handler, choice)
    await inbox.prepare()
    return Guard(inbox, hooks)


def inbox_of(handler: object, choice: InboxChoice) -> Inbox:
    """The inbox of a consumer object.

    Raises:
        ConfigurationError: The function that makes it returned something else.
    """
    inbox = choice(handler) if callable(choice) else choice
    if not is_inbox(inbox):
        name = type(handler).__qualname__
        raise ConfigurationError(f"{name}: inbox= made a {type(inbox).__name__}, which is no inbox")
    return inbox


class Guard:
    """Wraps the handlers of one consumer object."""

    def __init__(self, inbox: Inbox, hooks: ConsumerHooks) -> None:
        """Take the inbox; the event loop runs by now."""
        self.inbox = inbox
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()

    def around(self, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler; the result wants the context in any case.

        Raises:
            ConfigurationError: The inbox does not fit it.
        """
        self.inbox.check(route.label, is_async=route.is_async)
        return self._around_async(route, method) if route.is_async else self._around_def(route, method)

    def _around_async(self, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(deliveries: Sequence[Delivery], session: Any) -> None:
            with _in_hand(route, deliveries):
                await method(*_arguments(route, deliveries, session))

        async def call(*given: Any) -> None:
            deliveries = _deliveries(route, given)
            try:
                handled = await self.inbox.handle(deliveries, handle)
            except BatchItemError as error:
                raise _with_duplicates(error, deliveries) from error.__cause__
            self._tell(route, handled)
            _raise_failure(handled, deliveries)

        return call

    def _around_def(self, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        def handle(deliveries: Sequence[Delivery], session: Any) -> None:
            with _in_hand(route, deliveries):
                method(*_arguments(route, deliveries, session))

        def call(*given: Any) -> None:
            deliveries = _deliveries(route, given)
            try:
                handled = self.inbox.handle_in_thread(deliveries, handle)
            except BatchItemError as error:
                raise _with_duplicates(error, deliveries) from error.__cause__
            if handled.duplicates:
                self._loop.call_soon_threadsafe(self._tell, route, handled)
            _raise_failure(handled, deliveries)

        return call

    def _tell(self, route: Route, handled: Handled) -> None:
        for event, context in handled.duplicates:
            record = context.record
            log.debug("%s, event %s: %s: skipped, a duplicate", record.position, printable(event.id), route.label)
            fact = DuplicateSkipped(
                group_id=context.group_id,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                handler=route.label,
            )
            notify(self._hooks.on_duplicate_skipped, fact)


def _deliveries(route: Route, given: tuple[Any, ...]) -> Sequence[Delivery]:
    return [(given[0], given[1])] if route.batch is None else list(zip(*given, strict=True))


def _arguments(route: Route, deliveries: Sequence[Delivery], session: Any) -> tuple[Any, ...]:
    events = [event for event, _ in deliveries]
    contexts = [MessageContext(context.record, context.group_id, session) for _, context in deliveries]
    arguments = (events, contexts) if route.takes_context else (events,)
    return arguments if route.batch is not None else tuple(each[0] for each in arguments)


@contextmanager
def _in_hand(route: Route, deliveries: Sequence[Delivery]) -> Generator[None]:
    """A batch without its duplicates: what the handler publishes belongs to the tenant of what is left."""
    if route.batch is None:
        yield
        return
    token = enter_batch([event for event, _ in deliveries])
    try:
        yield
    finally:
        leave(token)


def _raise_failure(handled: Handled, deliveries: Sequence[Delivery]) -> None:
    if handled.failure is not None:
        raise _with_duplicates(handled.failure, deliveries) from handled.failure.__cause__


def _with_duplicates(error: BatchItemError, deliveries: Sequence[Delivery]) -> BatchItemError:
    """The error for all deliveries of the events that it names: a duplicate in one batch has had no effect either."""
    named = {id(event) for event in error.events}
    keys = {key_of(delivery) for delivery in deliveries if id(delivery[0]) in named}
    more = [delivery[0] for delivery in deliveries if key_of(delivery) in keys and id(delivery[0]) not in named]
    return BatchItemError(*error.events, *more) if more else error


class Tidier:
    """Has inboxes forget what is too old, once a minute and in small steps; on the running event loop."""

    def __init__(self, inboxes: Iterable[Inbox]) -> None:
        """Begin."""
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run(list(inboxes)))

    async def end(self) -> None:
        """Begin no other step; the one that runs is let finish: a driver may not survive being broken off."""
        self._ending.set()
        _, late = await asyncio.wait([self._task], timeout=_LAST_STEP)
        for task in late:
            task.cancel()

    async def _run(self, inboxes: Sequence[Inbox]) -> None:
        while inboxes and not self._ending.is_set():
            for inbox in inboxes:
                await self._tidy(inbox)
            await self._pause(_TIDY_EVERY)

    async def _tidy(self, inbox: Inbox) -> None:
        try:
            while not self._ending.is_set() and await inbox.tidy():
                await self._pause(_TIDY_PAUSE)
        except Exception as error:  # noqa: BLE001 -- the database's; the next round tries again
            log.warning("an inbox cannot forget old events: %s; trying again", error_location(error))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
