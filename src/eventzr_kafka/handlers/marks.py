"""`@on_message` and `@on_batch`: the marks that make a method the handler of a topic.

`kafka_consumer` turns the marked methods of a class into its routes. What a method looks like is checked there, see
`signature`; here is checked what can be seen at its definition.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import FunctionType
from typing import Any, Generic, TypeVar, overload

from eventzr_kafka.codec.selection import Predicate
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import TOPIC_NAME, EventData, Sources, declared_events, topic_of
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.frames import code_line, outer_frames
from eventzr_kafka.handlers.options import BatchOptions, checked_sources
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.handlers.signature import (
    EXAMPLE_TOPIC,
    MARK,
    Mark,
    function_in,
    payload_of,
    right_lines,
    short_name,
    type_name,
    written_event,
)

__all__ = ["NOTED", "OnBatch", "OnMessage", "on_batch", "on_message"]

DataT = TypeVar("DataT", bound=EventData)
SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT", bound=Coroutine[Any, Any, None] | None)

NOTED = "__eventzr_kafka_handlers__"  # in a class: the methods that were marked in its body, by name


class OnMessage(Generic[DataT]):
    """The decorator that `on_message` returns; its type is what mypy and pyright hold a handler against."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    @overload
    def __call__(
        self, method: Callable[[SelfT, CloudEvent[DataT]], ResultT], /
    ) -> Callable[[SelfT, CloudEvent[DataT]], ResultT]: ...
    @overload
    def __call__(
        self, method: Callable[[SelfT, CloudEvent[DataT], MessageContext], ResultT], /
    ) -> Callable[[SelfT, CloudEvent[DataT], MessageContext], ResultT]: ...
    def __call__(self, method: Any, /) -> Any:
        """Mark a method as the handler of the topic.

        Raises:
            RoutingError: It is not a plain method, or handles a topic already, or the topic has a wrong form.
        """
        return _marked(method, self._mark)


class OnBatch(Generic[DataT]):
    """The decorator that `on_batch` returns."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    @overload
    def __call__(
        self, method: Callable[[SelfT, list[CloudEvent[DataT]]], ResultT], /
    ) -> Callable[[SelfT, list[CloudEvent[DataT]]], ResultT]: ...
    @overload
    def __call__(
        self, method: Callable[[SelfT, list[CloudEvent[DataT]], list[MessageContext]], ResultT], /
    ) -> Callable[[SelfT, list[CloudEvent[DataT]], list[MessageContext]], ResultT]: ...
    def __call__(self, method: Any, /) -> Any:
        """Mark a method as the handler of the topic; raises as `OnMessage` does."""
        return _marked(method, self._mark)


def _marked(method: Any, mark: Mark) -> Any:
    # A class body is run in a frame of its own, which holds the class's ``__qualname__``.
    body = next((each for each in outer_frames() if each.f_locals.get("__qualname__") == each.f_code.co_qualname), None)
    owner = body.f_code.co_qualname if body is not None else ""
    noted: dict[str, FunctionType] = body.f_locals.setdefault(NOTED, {}) if body is not None else {}
    fault = _target_fault(mark, method) or _method_fault(mark, method, owner, noted)
    if fault is not None:
        name = getattr(function_in(method), "__name__", type(method).__name__)
        raise RoutingError(code_line(body), short_name(f"{owner}.{name}".lstrip(".")), fault)
    noted[method.__name__] = method
    setattr(method, MARK, mark)
    return method


@overload
def on_message(
    event: type[DataT],
    /,
    *,
    when: Predicate | None = ...,
    sources: Sources | None = ...,
    retry: RetryPolicy | None = ...,
) -> OnMessage[DataT]: ...
@overload
def on_message(
    event: str, /, *, when: Predicate | None = ..., sources: Sources | None = ..., retry: RetryPolicy | None = ...
) -> OnMessage[Any]: ...
def on_message(
    event: Any,
    /,
    *,
    when: Predicate | None = None,
    sources: Sources | None = None,
    retry: RetryPolicy | None = None,
) -> OnMessage[Any]:
    """Make a method the handler of one topic.

    Args:
        event: A payload class that declares its topic, or the topic itself.
        when: Chooses the events that are handled, such as ``lambda event: "orderId" in event.data``. It is given each
            event as plain JSON, with the names of the wire, before source and payload are checked. The event is
            handled if it returns True, and skipped if it returns False; an error that it raises is the handler's.
        sources: Its own set of sources, or ``any``, as in `ConsumerOptions`; None for that of the consumer.
        retry: Its own retry policy; None for that of the consumer.

    Raises:
        RoutingError: `event` is neither, an option is wrong, or the method cannot be a handler.
    """
    return OnMessage(_make_mark(event, None, when, sources, retry))


@overload
def on_batch(
    event: type[DataT],
    /,
    *,
    max_size: int = ...,
    max_wait: float = ...,
    when: Predicate | None = ...,
    sources: Sources | None = ...,
    retry: RetryPolicy | None = ...,
) -> OnBatch[DataT]: ...
@overload
def on_batch(
    event: str,
    /,
    *,
    max_size: int = ...,
    max_wait: float = ...,
    when: Predicate | None = ...,
    sources: Sources | None = ...,
    retry: RetryPolicy | None = ...,
) -> OnBatch[Any]: ...
def on_batch(
    event: Any,
    /,
    *,
    max_size: int = 500,
    max_wait: float = 1.0,
    when: Predicate | None = None,
    sources: Sources | None = None,
    retry: RetryPolicy | None = None,
) -> OnBatch[Any]:
    """Make a method the handler of one topic that takes many events at a time, ``list[CloudEvent[X]]``.

    Events of one ordering key are in the list in their order, and none is handed over while an earlier one of its key
    is in flight. The method returns when all are done; `BatchItemError` names the events that failed, and the others
    count as done. After any other error all have failed; before one becomes a dead letter, each is retried alone.

    Args:
        event: A payload class that declares its topic, or the topic itself.
        max_size: Number of events at which a batch is handed over, 1 or more.
        max_wait: Seconds after its first event at which it is handed over, however few there are; 0 to wait for none.
        when: As for `on_message`. Skipped events are not in the list, but `max_size` counts them.
        sources: As for `on_message`.
        retry: As for `on_message`.

    Raises:
        RoutingError: As for `on_message`, or a number is out of range.
    """
    try:
        options = BatchOptions(max_size=max_size, max_wait=max_wait)
    except ValueError as error:
        raise RoutingError(code_line(), "@on_batch", str(error)) from error
    return OnBatch(_make_mark(event, options, when, sources, retry))


def _make_mark(
    event: Any,
    batch: BatchOptions | None,
    when: Predicate | None,
    sources: Sources | None,
    retry: RetryPolicy | None,
) -> Mark:
    _require_target(event, batch)
    mark = Mark(event, batch, retry, when, sources)
    try:
        mark = replace(mark, sources=checked_sources(sources))
    except ValueError as error:
        raise RoutingError(code_line(), mark.decorator, str(error)) from error
    if when is not None and (fault := _predicate_fault(when)) is not None:
        line = mark.decorator.replace("when=…", "when=lambda event: …")
        raise RoutingError(code_line(), mark.decorator, f"when= {fault}; write\n    {line}")
    return mark


def _predicate_fault(when: Any) -> str | None:
    if not callable(when):
        return f"is a {type(when).__name__}: it must be a function that takes the event and returns a bool"
    function = getattr(when, "func", when)  # of a functools.partial
    call = function if inspect.isroutine(function) else type(function).__call__
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        return "is an async function: the choice is made before anything is awaited"
    return None


def _require_target(event: Any, batch: BatchOptions | None) -> None:
    """Explain a decorator that was written without its parentheses."""
    if isinstance(event, FunctionType | classmethod | staticmethod):
        mark = Mark(EXAMPLE_TOPIC, batch)
        named = {mark.of(f"CloudEvent[{type_name(declared)}]"): declared for declared in declared_events().values()}
        right = right_lines(replace(mark, target=named.get(written_event(event), EXAMPLE_TOPIC)), event)
        raise RoutingError(
            code_line(), short_name(event.__qualname__), f"needs a payload class or a topic; write{right}"
        )


def _target_fault(mark: Mark, method: object) -> str | None:
    target: Any = mark.target
    if topic_of(target) is not None or (isinstance(target, str) and TOPIC_NAME.fullmatch(target)):
        return None
    if isinstance(target, str):
        near = catalogue.suggest(target)
        meant = f"did you mean {near!r}?" if near else "1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'"
        right = right_lines(replace(mark, target=near or EXAMPLE_TOPIC), method)
        return f"{target!r} is not a topic ({meant}); write{right}"
    inner = payload_of(target)
    if topic_of(inner) is not None:
        name = mark.decorator.partition("(")[0]
        return f"{name} takes the payload class alone; write{right_lines(replace(mark, target=inner), method)}"
    event = mark.of(f"CloudEvent[{type_name(target)}]") if isinstance(target, type) else None
    right = right_lines(replace(mark, target=EXAMPLE_TOPIC), method, event)
    return f"{type_name(target)} declares no topic: name one; write{right}"


def _method_fault(mark: Mark, method: Any, owner: str, noted: dict[str, FunctionType]) -> str | None:
    if not isinstance(method, FunctionType):
        kind, name = type(method).__name__, mark.decorator.partition("(")[0]
        return f"is a {kind}: put {name} innermost, on a plain method; write{right_lines(mark, method)}"
    if method.__name__ == "<lambda>" or method.__qualname__ != f"{owner}.{method.__name__}":
        problem = "is not a method: define it in its class, and use functools.wraps in a decorator between"
        return f"{problem}; write{right_lines(mark, method)}"
    other = right_lines(mark, method, suffix="_2")
    if hasattr(method, MARK):
        first = right_lines(getattr(method, MARK), method)
        return f"handles a topic already: one method a topic; write{first}{other}"
    if method.__name__ in noted:
        return f"replaces the handler of that name above it: give it a name of its own; write{other}"
    return None
