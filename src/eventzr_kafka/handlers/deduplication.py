"""Wraps handlers so that events which the inbox knows already are skipped.

A wrapped handler is of the same kind as the one inside: ``async def`` or ``def``, for one event or a list of them.
Consumers without an inbox have no wrapper, and pay nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from eventzr_kafka.errors import BatchItemError, ConfigurationError
from eventzr_kafka.events.context import enter_batch, leave
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.signature import Route
from eventzr_kafka.hooks import ConsumerHooks, DuplicateSkipped, notify
from eventzr_kafka.inbox.protocol import Handled, Inbox, InboxChoice, ReceivedEvent, inbox_key, is_inbox
from eventzr_kafka.lifecycle.waiting import sleep_until_set
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["Deduplicator", "InboxCleaner", "make_deduplicator", "make_inbox"]

log = logging.getLogger("eventzr_kafka.consumer")

_PURGE_EVERY, _PURGE_PAUSE = 60.0, 0.05  # seconds between two rounds, and between two steps of one
_LAST_STEP = 5.0  # seconds that a step may still take when the runner ends


async def make_deduplicator(handler: object, choice: InboxChoice | None, hooks: ConsumerHooks) -> Deduplicator | None:
    """Make the wrapper of a consumer object's handlers; None if its class has no inbox.

    Raises:
        ConfigurationError: The inbox cannot work, or the function that makes it returned something else.
    """
    if choice is None:
        return None
    inbox = make_inbox(handler, choice)
    await inbox.check_tables()
    return Deduplicator(inbox, hooks)


def make_inbox(handler: object, choice: InboxChoice) -> Inbox:
    """Return the inbox of a consumer object, made by the function that was given if it was one.

    Raises:
        ConfigurationError: The function that makes it returned something else.
    """
    inbox = choice(handler) if callable(choice) else choice
    if not is_inbox(inbox):
        name = type(handler).__qualname__
        raise ConfigurationError(f"{name}: inbox= made a {type(inbox).__name__}, which is not an inbox")
    return inbox


class Deduplicator:
    """Wraps the handlers of one consumer object."""

    def __init__(self, inbox: Inbox, hooks: ConsumerHooks) -> None:
        """Keep the inbox; the event loop must be running."""
        self.inbox = inbox
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()

    def wrap(self, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler; the wrapper takes the context, whether or not the handler does.

        Raises:
            ConfigurationError: The inbox cannot serve the handler.
        """
        self.inbox.check_handler(route.label, is_async=route.is_async, session=route.session)
        return self._wrap_async(route, method) if route.is_async else self._wrap_def(route, method)

    def _wrap_async(self, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(deliveries: Sequence[ReceivedEvent], session: Any) -> None:
            with _in_hand(route, deliveries):
                await method(*_arguments(route, deliveries, session))

        async def call(*given: Any) -> None:
            deliveries = _deliveries(route, given)
            try:
                handled = await self.inbox.handle(deliveries, handle)
            except BatchItemError as error:
                raise _with_duplicates(error, deliveries) from error.__cause__
            self._report(route, handled)
            _raise_failure(handled, deliveries)

        return call

    def _wrap_def(self, route: Route, method: Callable[..., Any]) -> Callable[..., Any]:
        def handle(deliveries: Sequence[ReceivedEvent], session: Any) -> None:
            with _in_hand(route, deliveries):
                method(*_arguments(route, deliveries, session))

        def call(*given: Any) -> None:
            deliveries = _deliveries(route, given)
            try:
                handled = self.inbox.handle_in_thread(deliveries, handle)
            except BatchItemError as error:
                raise _with_duplicates(error, deliveries) from error.__cause__
            if handled.duplicates:
                self._loop.call_soon_threadsafe(self._report, route, handled)
            _raise_failure(handled, deliveries)

        return call

    def _report(self, route: Route, handled: Handled) -> None:
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


def _deliveries(route: Route, given: tuple[Any, ...]) -> Sequence[ReceivedEvent]:
    return [(given[0], given[1])] if route.batch is None else list(zip(*given, strict=True))


def _arguments(route: Route, deliveries: Sequence[ReceivedEvent], session: Any) -> tuple[Any, ...]:
    events = [event for event, _ in deliveries]
    contexts = [MessageContext(context.record, context.group_id, session) for _, context in deliveries]
    arguments = (events, contexts) if route.takes_context else (events,)
    return arguments if route.batch is not None else tuple(each[0] for each in arguments)


@contextmanager
def _in_hand(route: Route, deliveries: Sequence[ReceivedEvent]) -> Generator[None]:
    """Take a batch in hand without its duplicates: published events inherit the tenant of the events that are left."""
    if route.batch is None:
        yield
        return
    token = enter_batch([event for event, _ in deliveries])
    try:
        yield
    finally:
        leave(token)


def _raise_failure(handled: Handled, deliveries: Sequence[ReceivedEvent]) -> None:
    if handled.failure is not None:
        raise _with_duplicates(handled.failure, deliveries) from handled.failure.__cause__


def _with_duplicates(error: BatchItemError, deliveries: Sequence[ReceivedEvent]) -> BatchItemError:
    """The same error, naming also the duplicates of its events in the batch: their effect is missing as well."""
    named = {id(event) for event in error.events}
    keys = {inbox_key(delivery) for delivery in deliveries if id(delivery[0]) in named}
    more = [delivery[0] for delivery in deliveries if inbox_key(delivery) in keys and id(delivery[0]) not in named]
    return BatchItemError(*error.events, *more) if more else error


class InboxCleaner:
    """Has inboxes forget events that are too old, once a minute and in small steps, on the running event loop."""

    def __init__(self, inboxes: Iterable[Inbox]) -> None:
        """Start the task."""
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run(list(inboxes)))

    async def stop(self) -> None:
        """Start no further step, and wait for the running one: a driver may not survive a cancellation."""
        self._ending.set()
        _, late = await asyncio.wait([self._task], timeout=_LAST_STEP)
        for task in late:
            task.cancel()

    async def _run(self, inboxes: Sequence[Inbox]) -> None:
        while inboxes and not self._ending.is_set():
            for inbox in inboxes:
                await self._purge_expired(inbox)
            await sleep_until_set(self._ending, _PURGE_EVERY)

    async def _purge_expired(self, inbox: Inbox) -> None:
        try:
            while not self._ending.is_set() and await inbox.purge_expired():
                await sleep_until_set(self._ending, _PURGE_PAUSE)
        except Exception as error:  # noqa: BLE001 -- the database's; the next round tries again
            log.warning("an inbox cannot forget old events: %s; trying again", error_location(error))
