"""`@kafka_consumer`, `@on_message` and `@on_batch`: from a decorated class to a table of routes.

Everything is checked when the class is decorated; nothing is inspected when a message arrives. The rules for one method
are in `signature`. The rules for the class:

1. A consumer handles a topic in one method.
2. No handler is lost in silence: to override, redefine or hide one without its decorator is an error, and so is an
   undecorated subclass that changes handlers. ``name = None`` in a subclass drops a handler.
3. Every error names file, line, class and method, and ends in the lines to write.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import wraps
from itertools import takewhile
from types import FrameType, FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, overload

from eventzr_kafka.errors import RoutingError
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import TOPIC_NAME, EventData, declared_events, topic_of
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.options import BatchOptions, ConsumerOptions, ConsumerOptionsDict, consumer_options
from eventzr_kafka.handlers.retry import RetryPolicy
from eventzr_kafka.handlers.signature import (
    EXAMPLE_TOPIC,
    MARK,
    Handler,
    Mark,
    Route,
    Target,
    file_line,
    function_in,
    payload_of,
    right_lines,
    short_name,
    type_name,
    written_event,
)
from eventzr_kafka.inbox.protocol import InboxChoice, fits_session, inbox_fault

__all__ = [
    "ConsumerDefinition",
    "OnBatch",
    "OnMessage",
    "definition_of",
    "is_consumer",
    "kafka_consumer",
    "on_batch",
    "on_message",
]

DataT = TypeVar("DataT", bound=EventData)
SelfT = TypeVar("SelfT")
ClassT = TypeVar("ClassT", bound=type)
ResultT = TypeVar("ResultT", bound=Coroutine[Any, Any, None] | None)
ParamsT = ParamSpec("ParamsT")
ReturnT = TypeVar("ReturnT")

_NOTED = "__eventzr_kafka_handlers__"  # in a class: the methods that were marked in its body, by name
_DEFINITION = "__eventzr_kafka_consumer__"


@dataclass(frozen=True, slots=True)
class ConsumerDefinition:
    """Definition that `@kafka_consumer` made of a class.

    Attributes:
        inbox: Its inbox, or a function that makes it from the consumer object.
    """

    group_id: str
    routes: tuple[Route, ...]
    options: ConsumerOptions
    location: str
    inbox: InboxChoice | None = None


class OnMessage(Generic[DataT]):
    """The decorator that `on_message` returns; its type is what mypy and pyright hold a handler against."""

    def __init__(self, target: Target, retry: RetryPolicy | None = None) -> None:
        self._mark = Mark(target, None, retry)

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

    def __init__(self, target: Target, options: BatchOptions, retry: RetryPolicy | None = None) -> None:
        self._mark = Mark(target, options, retry)

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
    body = next((each for each in _stack() if each.f_locals.get("__qualname__") == each.f_code.co_qualname), None)
    owner = body.f_code.co_qualname if body is not None else ""
    noted: dict[str, FunctionType] = body.f_locals.setdefault(_NOTED, {}) if body is not None else {}
    fault = _target_fault(mark, method) or _method_fault(mark, method, owner, noted)
    if fault is not None:
        name = getattr(function_in(method), "__name__", type(method).__name__)
        raise RoutingError(_line(body), short_name(f"{owner}.{name}".lstrip(".")), fault)
    noted[method.__name__] = method
    setattr(method, MARK, mark)
    return method


@overload
def on_message(event: type[DataT], /, *, retry: RetryPolicy | None = ...) -> OnMessage[DataT]: ...
@overload
def on_message(event: str, /, *, retry: RetryPolicy | None = ...) -> OnMessage[Any]: ...
def on_message(event: Any, /, *, retry: RetryPolicy | None = None) -> OnMessage[Any]:
    """Make a method the handler of one topic.

    Args:
        event: A payload class that declares its topic, or the topic itself.
        retry: Its own retry policy; None for that of the consumer.

    Raises:
        RoutingError: `event` is neither, or the method cannot be a handler.
    """
    _require_target(event, None)
    return OnMessage(event, retry)


@overload
def on_batch(
    event: type[DataT], /, *, max_size: int = ..., max_wait: float = ..., retry: RetryPolicy | None = ...
) -> OnBatch[DataT]: ...
@overload
def on_batch(
    event: str, /, *, max_size: int = ..., max_wait: float = ..., retry: RetryPolicy | None = ...
) -> OnBatch[Any]: ...
def on_batch(
    event: Any, /, *, max_size: int = 500, max_wait: float = 1.0, retry: RetryPolicy | None = None
) -> OnBatch[Any]:
    """Make a method the handler of one topic that takes many events at a time, ``list[CloudEvent[X]]``.

    Events of one ordering key are in the list in their order, and none is handed over while an earlier one of its key
    is in flight. The method returns when all are done; `BatchItemError` names the events that failed, and the others
    count as done. After any other error all have failed; before one becomes a dead letter, each is retried alone.

    Args:
        event: A payload class that declares its topic, or the topic itself.
        max_size: Number of events at which a batch is handed over, 1 or more.
        max_wait: Seconds after its first event at which it is handed over, however few there are; 0 to wait for none.
        retry: As for `on_message`.

    Raises:
        RoutingError: As for `on_message`, or a number is out of range.
    """
    try:
        options = BatchOptions(max_size=max_size, max_wait=max_wait)
    except ValueError as error:
        raise RoutingError(_line(), "@on_batch", str(error)) from error
    _require_target(event, options)
    return OnBatch(event, options, retry)


def _require_target(event: Any, batch: BatchOptions | None) -> None:
    """Explain a decorator that was written without its parentheses."""
    if isinstance(event, FunctionType | classmethod | staticmethod):
        mark = Mark(EXAMPLE_TOPIC, batch)
        named = {mark.of(f"CloudEvent[{type_name(declared)}]"): declared for declared in declared_events().values()}
        right = right_lines(replace(mark, target=named.get(written_event(event), EXAMPLE_TOPIC)), event)
        raise RoutingError(_line(), short_name(event.__qualname__), f"needs a payload class or a topic; write{right}")


def _with_group_id(decorator: Callable[ParamsT, ReturnT]) -> Callable[ParamsT, ReturnT]:
    """Explain ``@kafka_consumer`` without parentheses, of which Python would only count the arguments."""

    @wraps(decorator)
    def checked(*args: ParamsT.args, **kwargs: ParamsT.kwargs) -> ReturnT:
        if args or "group_id" not in kwargs:
            label = short_name(getattr(args[0], "__qualname__", "@kafka_consumer")) if args else "@kafka_consumer"
            group_id = args[0] if args and isinstance(args[0], str) else "your-service-consumer"
            raise RoutingError(_line(), label, f'needs a group; write\n    @kafka_consumer(group_id="{group_id}")')
        return decorator(*args, **kwargs)

    return checked


@_with_group_id
def kafka_consumer(
    *, group_id: str, inbox: InboxChoice | None = None, **options: Unpack[ConsumerOptionsDict]
) -> Callable[[ClassT], ClassT]:
    """Make a class a Kafka consumer; its `@on_message` methods become the routes.

    The class stays what it is: construct it with whatever it needs and give the object to a runner.

    Args:
        group_id: The consumer group, such as ``your-service-marketplace-consumer``. Members of a group share the work.
        inbox: Skips duplicates, such as a `SqlInbox`; or a function that makes it from the consumer object, such as
            ``lambda self: SqlInbox(self.sessions)``.
        **options: See `ConsumerOptions`.

    Raises:
        RoutingError: A handler or an option is declared wrongly; it names file, line, method and the hint.
    """

    def decorate(cls: ClassT) -> ClassT:
        here = next((frame for frame in _stack() if frame.f_globals.get("__name__") == cls.__module__), None)
        location, label = _line(here), short_name(cls.__qualname__)
        fault = _class_fault(cls, group_id) or inbox_fault(inbox)
        if fault is not None:
            raise RoutingError(location, label, fault)
        try:
            chosen = consumer_options(**options)
        except ValueError as error:
            raise RoutingError(location, label, str(error)) from error
        setattr(cls, _DEFINITION, ConsumerDefinition(group_id, tuple(_routes(cls, inbox)), chosen, location, inbox))
        return cls

    return decorate


def is_consumer(cls: object) -> bool:
    """True for a class that `@kafka_consumer` has decorated, and for a subclass of one."""
    return isinstance(cls, type) and hasattr(cls, _DEFINITION)


def definition_of(handler: object) -> ConsumerDefinition:
    """The definition that `@kafka_consumer` left on the class of a handler.

    Raises:
        RoutingError: The class is not decorated, or changes handlers of one that is; or the class itself was given.
    """
    cls = handler if isinstance(handler, type) else type(handler)
    definition: ConsumerDefinition | None = getattr(cls, _DEFINITION, None)
    if definition is None:
        problem = 'is not a consumer; write\n    @kafka_consumer(group_id="your-service-consumer")'
    elif isinstance(handler, type):
        problem = f"is a class: pass an object of it, {cls.__name__}(…), so that its dependencies are in place"
    elif changed := _changed_below(cls, definition):
        hint = f'@kafka_consumer(group_id="{definition.group_id}")'
        problem = f"changes {', '.join(changed)} of a consumer and is not decorated itself; write\n    {hint}"
    else:
        return definition
    raise RoutingError(_source_line(cls), short_name(cls.__qualname__), problem)


def _changed_below(cls: type, definition: ConsumerDefinition) -> list[str]:
    """The handlers that were added or overridden below the class that is decorated."""
    methods = {route.method for route in definition.routes}
    changed: set[str] = set()
    for base in takewhile(lambda base: _DEFINITION not in vars(base), cls.__mro__):
        changed |= vars(base).get(_NOTED, {}).keys() | (methods & vars(base).keys())
    return sorted(changed)


def _class_fault(cls: object, group_id: object) -> str | None:
    if not isinstance(cls, type):
        return "is not a class: put @kafka_consumer on the class that holds the handlers"
    if not isinstance(group_id, str) or not group_id.strip():
        return 'group_id must be a non-empty string; write\n    @kafka_consumer(group_id="your-service-consumer")'
    if not TOPIC_NAME.fullmatch(f"{group_id}.dlq"):
        return f"group_id={group_id!r}: a-z, A-Z, 0-9, '.', '_' and '-' only, 245 at most: it names a topic too"
    if _DEFINITION in vars(cls):
        return "is decorated twice: one class, one group; for another group decorate a subclass"
    if next(_handlers(cls), None) is None:
        return f"has no handler; write{right_lines(Mark(EXAMPLE_TOPIC), None)}"
    return None


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


def _handlers(cls: type) -> Iterator[tuple[str, type, FunctionType]]:
    """Name, owner and function of every handler; a method that was marked must still be there, or be None."""
    members: dict[str, tuple[type, Any]] = {}
    noted: dict[str, FunctionType] = {}
    for base in reversed(cls.__mro__):
        members |= {name: (base, member) for name, member in vars(base).items()}
        noted |= vars(base).get(_NOTED, {})
    for name, (owner, member) in members.items():
        if isinstance(member, FunctionType) and hasattr(member, MARK):
            yield name, owner, member
        elif name in noted and member is not None:
            raise _lost(f"{short_name(cls.__qualname__)}.{name}", owner, member, noted[name])


def _lost(label: str, owner: type, member: Any, method: FunctionType) -> RoutingError:
    mark = getattr(method, MARK)
    if isinstance(member, classmethod | staticmethod):
        problem = "is a classmethod or staticmethod: a handler is a plain method"
    elif vars(owner).get(_NOTED, {}).get(method.__name__) is method:
        problem = "is hidden by a second definition, or by a decorator whose function lacks functools.wraps"
    else:
        problem = f"overrides a handler: repeat its decorator, or set {method.__name__} = None to drop it"
        method = member if isinstance(member, FunctionType) else method
    return RoutingError(file_line(inspect.unwrap(method)), label, f"{problem}; write{right_lines(mark, method)}")


def _routes(cls: type, inbox: InboxChoice | None) -> Iterator[Route]:
    seen: dict[str, Handler] = {}
    for name, owner, method in _handlers(cls):
        handler = Handler(cls, owner, name, method, _locals_around(owner))
        route = handler.route()
        first = seen.setdefault(route.topic, handler)
        if first is not handler:
            problem = f"topic {route.topic!r} is already handled by {first.label}: do both there"
            raise handler.refusal(problem, right=first.right())
        if inbox is None and not fits_session(route.session, None):
            problem = f"takes a MessageContext[{type_name(route.session)}], and its consumer has no inbox"
            raise handler.refusal(problem, right='\n    @kafka_consumer(group_id="…", inbox=SqlInbox(sessions))')
        yield route


def _stack() -> Iterator[FrameType]:
    """The frames outside of this module, innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") != __name__:
            yield frame
        frame = frame.f_back


def _locals_around(cls: type) -> dict[str, Any]:
    """Local names of the functions around a local class; its annotations may use them."""
    names: dict[str, Any] = {}
    for frame in _stack():
        if cls.__qualname__.startswith(f"{frame.f_code.co_qualname}.<locals>."):
            names = {**frame.f_locals, **names}
    return names


def _line(frame: FrameType | None = None) -> str:
    frame = frame or next(_stack())
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _source_line(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__module__
