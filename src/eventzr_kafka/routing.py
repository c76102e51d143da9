"""`@kafka_consumer` and `@on_message`: from a decorated class to a table of routes.

Everything is checked when the class is decorated, and nothing is inspected when a message comes.

1. A handler is a method ``(self, event)`` or ``(self, event, context)``, ``async def`` or ``def``, and returns None.
2. ``event`` is annotated ``CloudEvent[X]``. With `on_message(X)` the annotation is X or a base of it; with a topic
   string the payload class comes from the annotation.
3. Bare ``CloudEvent`` means the class declared for the topic. A topic that no class is declared for is read as plain
   JSON, unless it looks like a misspelling; ``CloudEvent[Any]`` reads any topic as plain JSON.
4. A consumer handles a topic in one method.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Generic, TypeVar, Unpack, cast, overload

from eventzr_kafka import catalogue
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.event import CloudEvent, EventData, topic_of
from eventzr_kafka.options import ConsumerOptions, ConsumerOptionsDict, consumer_options
from eventzr_kafka.record import Record

__all__ = [
    "ConsumerDefinition",
    "MessageContext",
    "OnMessage",
    "Route",
    "definition_of",
    "kafka_consumer",
    "on_message",
]

DataT = TypeVar("DataT")
SelfT = TypeVar("SelfT")
ClassT = TypeVar("ClassT", bound=type)
ResultT = TypeVar("ResultT", bound=Coroutine[Any, Any, None] | None)

_MARK = "__eventzr_kafka_on_message__"
_DEFINITION = "__eventzr_kafka_consumer__"


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a handler may want to know about the delivery, besides the event.

    Attributes:
        record: The record as the broker delivered it.
        group_id: The consumer group.
    """

    record: Record
    group_id: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where the events of one topic go.

    Attributes:
        data_type: Class of the payload; `Any` for plain JSON.
        event_type: The only ``type`` that the topic may carry; None lets every type pass.
        method: Name of the handler's method.
        label: ``Class.method``, for people.
        is_async: Whether the method is ``async def``; a ``def`` runs in a thread.
        takes_context: Whether it wants the `MessageContext`.
    """

    topic: str
    data_type: Any
    event_type: str | None
    method: str
    label: str
    is_async: bool
    takes_context: bool


@dataclass(frozen=True, slots=True)
class ConsumerDefinition:
    """What `@kafka_consumer` found on a class."""

    group_id: str
    routes: tuple[Route, ...]
    options: ConsumerOptions
    location: str


class OnMessage(Generic[DataT]):
    """The decorator that `on_message` returns; its type is what mypy and pyright hold a handler against."""

    def __init__(self, target: str | type[EventData]) -> None:
        self.target = target

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
            RoutingError: It is no plain method, or handles another topic already.
        """
        if not isinstance(method, FunctionType):
            kind = type(method).__name__
            raise RoutingError(
                _caller(), repr(self.target), f"is on a {kind}: put @on_message on a plain method, innermost"
            )
        owner = method.__qualname__.rpartition(".")[0]
        if not owner or owner.endswith("<locals>"):
            problem = (
                f"is no method: write it inside a class decorated with @kafka_consumer, as\n    {_signature(method)}"
            )
            raise RoutingError(_location(method), method.__qualname__, problem)
        if hasattr(method, _MARK):
            problem = "handles a topic already: write one method a topic, and let both call a third"
            raise RoutingError(_location(method), method.__qualname__, problem)
        setattr(method, _MARK, self.target)
        return method


@overload
def on_message(event: type[DataT], /) -> OnMessage[DataT]: ...
@overload
def on_message(event: str, /) -> OnMessage[Any]: ...
def on_message(event: Any, /) -> OnMessage[Any]:
    """Make a method the handler of one topic.

    Args:
        event: A payload class that declares its topic, or the topic itself.

    Raises:
        RoutingError: It is neither.
    """
    if isinstance(event, str) and event:
        return OnMessage(event)
    if topic_of(event) is None:
        name = getattr(event, "__qualname__", repr(event))
        problem = "declares no topic: write class X(EventData, topic=…), or pass the topic as a string"
        raise RoutingError(_caller(), f"@on_message({name})", problem)
    return OnMessage(event)


def kafka_consumer(*, group_id: str, **options: Unpack[ConsumerOptionsDict]) -> Callable[[ClassT], ClassT]:
    """Make a class a Kafka consumer; its `@on_message` methods become the routes.

    The class stays what it is: construct it with whatever it needs and give the object to a runner.

    Args:
        group_id: The consumer group, such as ``your-service-marketplace-consumer``. Members of a group share the work.
        **options: See `ConsumerOptions`.

    Raises:
        RoutingError: A handler or an option is declared wrongly; it names file, line, method and the mend.
    """
    frame = sys._getframe(1)  # noqa: SLF001 -- the names that annotations in a local class may use
    names = {**frame.f_globals, **frame.f_locals}

    def decorate(cls: ClassT) -> ClassT:
        location = _class_location(cls)
        if not isinstance(group_id, str) or not group_id.strip():  # pyright: ignore[reportUnnecessaryIsInstance] -- untyped callers
            raise RoutingError(location, cls.__qualname__, "group_id must be a non-empty string")
        routes = tuple(_routes(cls, names))
        if not routes:
            raise RoutingError(location, cls.__qualname__, "has no handler: put @on_message(…) on its methods")
        try:
            chosen = consumer_options(**options)
        except ValueError as error:
            raise RoutingError(location, cls.__qualname__, str(error)) from error
        setattr(cls, _DEFINITION, ConsumerDefinition(group_id, routes, chosen, location))
        return cls

    return decorate


def definition_of(handler: object) -> ConsumerDefinition:
    """The definition that `@kafka_consumer` left on the class of a handler.

    Raises:
        RoutingError: The class is not decorated, or the class was passed in place of an object.
    """
    cls = type(handler)
    if isinstance(handler, type):
        problem = f"is a class: pass an object of it, {handler.__qualname__}(…), so that its dependencies are in place"
        raise RoutingError(_class_location(handler), handler.__qualname__, problem)
    definition = getattr(cls, _DEFINITION, None)
    if definition is None:
        problem = """is no consumer: decorate the class with @kafka_consumer(group_id="…")"""
        raise RoutingError(_class_location(cls), cls.__qualname__, problem)
    return cast("ConsumerDefinition", definition)


def _routes(cls: type, names: Mapping[str, Any]) -> Iterator[Route]:
    seen: dict[str, str] = {}
    members = {name: member for base in reversed(cls.__mro__) for name, member in vars(base).items()}
    for name, method in members.items():
        inner = getattr(method, "__func__", None)
        if inner is not None and hasattr(inner, _MARK):
            problem = f"is a {type(method).__name__}: a handler is a plain method, as\n    {_signature(inner)}"
            raise RoutingError(_location(inner), f"{cls.__qualname__}.{name}", problem)
        target = getattr(method, _MARK, None)
        if target is None:
            continue
        route = _Handler(cls, name, method, names).route(target)
        if route.topic in seen:
            problem = f"topic {route.topic!r} is already handled by {seen[route.topic]}: one method a topic"
            raise RoutingError(_location(method), route.label, problem)
        seen[route.topic] = route.label
        yield route


class _Handler:
    """One decorated method under inspection; every refusal names it and shows the signature that would do."""

    def __init__(self, cls: type, name: str, method: FunctionType, names: Mapping[str, Any]) -> None:
        self._method = method
        self._name = name
        self._label = f"{cls.__qualname__}.{name}"
        self._names = {**names, cls.__name__: cls}
        self._wanted: str | None = None

    def route(self, target: str | type[EventData]) -> Route:
        topic = target if isinstance(target, str) else str(topic_of(target))
        declared = catalogue.lookup(topic)
        self._wanted = declared.__qualname__ if declared is not None else None
        takes_context = self._parameters() == 3
        data_type = self._payload(topic, declared)
        return Route(
            topic=topic,
            data_type=data_type,
            event_type=None if data_type is Any else topic,
            method=self._name,
            label=self._label,
            is_async=inspect.iscoroutinefunction(self._method),
            takes_context=takes_context,
        )

    def _refuse(self, problem: str) -> RoutingError:
        mend = f"{problem}; write\n    {_signature(self._method, self._wanted)}"
        return RoutingError(_location(self._method), self._label, mend)

    def _parameters(self) -> int:
        parameters = list(inspect.signature(self._method).parameters.values())
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(positional) != len(parameters) or len(positional) not in (2, 3):
            raise self._refuse("takes (self, event) or (self, event, context)")
        if inspect.isasyncgenfunction(self._method) or inspect.isgeneratorfunction(self._method):
            raise self._refuse("yields: a handler is awaited or called once")
        return len(positional)

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._method, localns=self._names)
        except (NameError, TypeError) as error:
            problem = f"an annotation cannot be resolved ({error}): import its name outside of TYPE_CHECKING"
            raise self._refuse(problem) from error

    def _payload(self, topic: str, declared: type[EventData] | None) -> Any:
        hints = self._hints()
        _, event, *context = inspect.signature(self._method).parameters
        if hints.get("return") not in (None, type(None)):
            raise self._refuse("returns a value, which nobody would read")
        if context and hints.get(context[0]) is not MessageContext:
            raise self._refuse(f"parameter {context[0]!r} is not annotated MessageContext")
        annotated = _payload_of(hints.get(event))
        if annotated is _NOT_AN_EVENT:
            raise self._refuse(f"parameter {event!r} is not annotated CloudEvent[…]")
        if annotated is _BARE:
            return declared or self._undeclared(topic)
        self._check_agreement(topic, declared, annotated)
        broader = declared is not None and isinstance(annotated, type) and issubclass(declared, annotated)
        return declared if broader else annotated

    def _undeclared(self, topic: str) -> Any:
        near = catalogue.suggest(topic)
        if near is not None:
            meant = f"topic {topic!r} is declared nowhere; did you mean {near!r}?"
            raise self._refuse(f"{meant} To read it as plain JSON, annotate CloudEvent[Any]")
        return Any

    def _check_agreement(self, topic: str, declared: type[EventData] | None, annotated: Any) -> None:
        carried = topic_of(annotated)
        target = getattr(self._method, _MARK)
        by_class = not isinstance(target, str)
        fits = isinstance(annotated, type) and declared is not None and issubclass(declared, annotated)
        if (carried is not None and carried != topic) or (by_class and annotated is not Any and not fits):
            kind = annotated.__qualname__ if isinstance(annotated, type) else str(annotated)
            subject = f"@on_message({target.__qualname__ if by_class else repr(target)})"
            near = catalogue.suggest(topic) if declared is None else None
            hint = f"; did you mean {near!r}?" if near else ""
            raise self._refuse(f"{subject} contradicts the annotation CloudEvent[{kind}]{hint}")


_BARE = object()
_NOT_AN_EVENT = object()


def _payload_of(hint: Any) -> Any:
    if hint is CloudEvent:
        return _BARE
    if not (isinstance(hint, type) and issubclass(hint, CloudEvent)):
        return _NOT_AN_EVENT
    arguments = hint.__pydantic_generic_metadata__["args"]
    return arguments[0] if arguments else _BARE


def _signature(method: FunctionType, payload: str | None = None) -> str:
    event = f"CloudEvent[{payload}]" if payload else "CloudEvent"
    kind = "async def" if inspect.iscoroutinefunction(method) else "def"
    return f"{kind} {method.__name__}(self, event: {event}) -> None:"


def _location(function: FunctionType) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def _class_location(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__module__


def _caller() -> str:
    frame = sys._getframe(2)  # noqa: SLF001 -- the line that the error is about
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
