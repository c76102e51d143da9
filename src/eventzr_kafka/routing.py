"""`@kafka_consumer` and `@on_message`: from a decorated class to a table of routes.

Everything is checked when the class is decorated, and nothing is inspected when a message comes.

1. A handler is a method ``(self, event)`` or ``(self, event, context)``, ``async def`` or ``def``, and returns None.
2. ``event`` is annotated ``CloudEvent[X]``. With `on_message(X)` the annotation is X or a base of it; with a topic
   string the payload class comes from the annotation.
3. Bare ``CloudEvent`` means the class declared for the topic. A topic that no class is declared for is read as plain
   JSON, unless it looks like a misspelling; ``CloudEvent[Any]`` reads any topic as plain JSON.
4. A consumer handles a topic in one method.
5. No handler goes missing in silence: to override, redefine or hide one without its decorator is an error, and so is
   an undecorated subclass that changes handlers. ``name = None`` in a subclass drops a handler.
6. Every error names file, line, class and method, and ends in the lines that would be right.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import takewhile
from types import FrameType, FunctionType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    Never,
    NoReturn,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Union,
    Unpack,
    get_args,
    get_origin,
    overload,
)

from eventzr_kafka import catalogue
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.event import CloudEvent, EventData, declared_events, topic_of
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

DataT = TypeVar("DataT", bound=EventData)
SelfT = TypeVar("SelfT")
ClassT = TypeVar("ClassT", bound=type)
ResultT = TypeVar("ResultT", bound=Coroutine[Any, Any, None] | None)
ParamsT = ParamSpec("ParamsT")
ReturnT = TypeVar("ReturnT")

Target: TypeAlias = str | type[EventData]

_MARK = "__eventzr_kafka_on_message__"  # on a method: what `on_message` was given
_NOTED = "__eventzr_kafka_handlers__"  # in a class: the methods that were marked in its body, by name
_DEFINITION = "__eventzr_kafka_consumer__"
_TOPIC = re.compile(r"[A-Za-z0-9._\-]{1,249}")
_EXAMPLE = "your.topic.v1"


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

    def __init__(self, target: Target) -> None:
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
            RoutingError: It is no plain method, handles a topic already, or the topic is none.
        """
        body = next((frame for frame in _stack() if _is_class_body(frame)), None)
        owner = body.f_code.co_qualname if body is not None else ""
        noted: dict[str, FunctionType] = body.f_locals.setdefault(_NOTED, {}) if body is not None else {}
        fault = _target_fault(self.target, method) or _method_fault(self.target, method, owner, noted)
        if fault is not None:
            name = getattr(_function_in(method), "__name__", type(method).__name__)
            raise RoutingError(_line(body), _short(f"{owner}.{name}".lstrip(".")), fault)
        noted[method.__name__] = method
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
        RoutingError: It is neither, or the method is no handler.
    """
    if isinstance(event, FunctionType | classmethod | staticmethod):  # the decorator without its parentheses
        named = {f"CloudEvent[{_name(declared)}]": declared for declared in declared_events().values()}
        right = _right(named.get(_written(event), _EXAMPLE), event)
        raise RoutingError(_line(), _short(event.__qualname__), f"needs a payload class or a topic; write{right}")
    return OnMessage(event)


def _with_group_id(decorator: Callable[ParamsT, ReturnT]) -> Callable[ParamsT, ReturnT]:
    """Say what is missing where Python would only count arguments: ``@kafka_consumer`` without parentheses."""

    @wraps(decorator)
    def checked(*args: ParamsT.args, **kwargs: ParamsT.kwargs) -> ReturnT:
        if args or "group_id" not in kwargs:
            label = _short(getattr(args[0], "__qualname__", "@kafka_consumer")) if args else "@kafka_consumer"
            group_id = args[0] if args and isinstance(args[0], str) else "your-service-consumer"
            raise RoutingError(_line(), label, f'needs a group; write\n    @kafka_consumer(group_id="{group_id}")')
        return decorator(*args, **kwargs)

    return checked


@_with_group_id
def kafka_consumer(*, group_id: str, **options: Unpack[ConsumerOptionsDict]) -> Callable[[ClassT], ClassT]:
    """Make a class a Kafka consumer; its `@on_message` methods become the routes.

    The class stays what it is: construct it with whatever it needs and give the object to a runner.

    Args:
        group_id: The consumer group, such as ``your-service-marketplace-consumer``. Members of a group share the work.
        **options: See `ConsumerOptions`.

    Raises:
        RoutingError: A handler or an option is declared wrongly; it names file, line, method and the mend.
    """

    def decorate(cls: ClassT) -> ClassT:
        here = next((frame for frame in _stack() if frame.f_globals.get("__name__") == cls.__module__), None)
        location, label = _line(here), _short(cls.__qualname__)
        fault = _class_fault(cls, group_id)
        if fault is not None:
            raise RoutingError(location, label, fault)
        try:
            chosen = consumer_options(**options)
        except ValueError as error:
            raise RoutingError(location, label, str(error)) from error
        setattr(cls, _DEFINITION, ConsumerDefinition(group_id, tuple(_routes(cls)), chosen, location))
        return cls

    return decorate


def definition_of(handler: object) -> ConsumerDefinition:
    """The definition that `@kafka_consumer` left on the class of a handler.

    Raises:
        RoutingError: The class is not decorated, or changes handlers of one that is; or it is no object but the class.
    """
    cls = handler if isinstance(handler, type) else type(handler)
    definition: ConsumerDefinition | None = getattr(cls, _DEFINITION, None)
    if definition is None:
        problem = 'is no consumer; write\n    @kafka_consumer(group_id="your-service-consumer")'
    elif isinstance(handler, type):
        problem = f"is a class: pass an object of it, {cls.__name__}(…), so that its dependencies are in place"
    elif changed := _changed_below(cls, definition):
        mend = f'@kafka_consumer(group_id="{definition.group_id}")'
        problem = f"changes {', '.join(changed)} of a consumer and is not decorated itself; write\n    {mend}"
    else:
        return definition
    raise RoutingError(_source_line(cls), _short(cls.__qualname__), problem)


def _changed_below(cls: type, definition: ConsumerDefinition) -> list[str]:
    """The handlers that were added or overridden below the class that is decorated."""
    methods = {route.method for route in definition.routes}
    changed: set[str] = set()
    for base in takewhile(lambda base: _DEFINITION not in vars(base), cls.__mro__):
        changed |= vars(base).get(_NOTED, {}).keys() | (methods & vars(base).keys())
    return sorted(changed)


def _class_fault(cls: object, group_id: object) -> str | None:
    if not isinstance(cls, type):
        return "is no class: put @kafka_consumer on the class that holds the handlers"
    if not isinstance(group_id, str) or not group_id.strip():
        return 'group_id must be a non-empty string; write\n    @kafka_consumer(group_id="your-service-consumer")'
    if _DEFINITION in vars(cls):
        return "is decorated twice: one class, one group; for another group decorate a subclass"
    if next(_handlers(cls), None) is None:
        return f"has no handler; write{_right(_EXAMPLE, None)}"
    return None


def _target_fault(target: Any, method: object) -> str | None:
    if topic_of(target) is not None or (isinstance(target, str) and _TOPIC.fullmatch(target)):
        return None
    if isinstance(target, str):
        near = catalogue.suggest(target)
        meant = f"did you mean {near!r}?" if near else "1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'"
        return f"{target!r} is no topic ({meant}); write{_right(near or _EXAMPLE, method)}"
    inner = _payload_of(target)
    if topic_of(inner) is not None:
        return f"@on_message takes the payload class alone; write{_right(inner, method)}"
    event = f"CloudEvent[{_name(target)}]" if isinstance(target, type) else None
    return f"{_name(target)} declares no topic: name one; write{_right(_EXAMPLE, method, event)}"


def _method_fault(target: Target, method: Any, owner: str, noted: dict[str, FunctionType]) -> str | None:
    if not isinstance(method, FunctionType):
        kind = type(method).__name__
        return f"is a {kind}: put @on_message innermost, on a plain method; write{_right(target, method)}"
    if method.__name__ == "<lambda>" or method.__qualname__ != f"{owner}.{method.__name__}":
        problem = "is no method: define it in its class, and use functools.wraps in a decorator between"
        return f"{problem}; write{_right(target, method)}"
    other = _right(target, method, suffix="_2")
    if hasattr(method, _MARK):
        first = _right(getattr(method, _MARK), method)
        return f"handles a topic already: one method a topic; write{first}{other}"
    if method.__name__ in noted:
        return f"replaces the handler of that name above it: give it a name of its own; write{other}"
    return None


def _handlers(cls: type) -> Iterator[tuple[str, type, FunctionType]]:
    """Name, owner and function of every handler; whatever was marked must still be there, or be None."""
    members: dict[str, tuple[type, Any]] = {}
    noted: dict[str, FunctionType] = {}
    for base in reversed(cls.__mro__):
        members |= {name: (base, member) for name, member in vars(base).items()}
        noted |= vars(base).get(_NOTED, {})
    for name, (owner, member) in members.items():
        if isinstance(member, FunctionType) and hasattr(member, _MARK):
            yield name, owner, member
        elif name in noted and member is not None:
            raise _lost(f"{_short(cls.__qualname__)}.{name}", owner, member, noted[name])


def _lost(label: str, owner: type, member: Any, method: FunctionType) -> RoutingError:
    target = getattr(method, _MARK)
    if isinstance(member, classmethod | staticmethod):
        problem = "is a classmethod or staticmethod: a handler is a plain method"
    elif vars(owner).get(_NOTED, {}).get(method.__name__) is method:
        problem = "is hidden by a second definition, or by a decorator that returns no function with functools.wraps"
    else:
        problem = f"overrides a handler: repeat its decorator, or set {method.__name__} = None to drop it"
        method = member if isinstance(member, FunctionType) else method
    return RoutingError(_file_line(inspect.unwrap(method)), label, f"{problem}; write{_right(target, method)}")


def _routes(cls: type) -> Iterator[Route]:
    seen: dict[str, _Handler] = {}
    for name, owner, method in _handlers(cls):
        handler = _Handler(cls, owner, name, method)
        route = handler.route()
        first = seen.setdefault(route.topic, handler)
        if first is not handler:
            problem = f"topic {route.topic!r} is already handled by {first.label}: do both there"
            raise handler.refusal(problem, right=first.right())
        yield route


class _Handler:
    """One decorated method under inspection; every refusal names it and shows the lines that would do."""

    def __init__(self, cls: type, owner: type, name: str, method: FunctionType) -> None:
        self.label = f"{_short(cls.__qualname__)}.{name}"
        self._target: Target = getattr(method, _MARK)
        self._method = method
        self._name = name
        self._scope = {**_locals_around(owner), **vars(owner), cls.__name__: cls}
        self._type_arguments = _type_arguments(cls).get(owner, {})
        self._event: str | None = None  # its annotation, once that is known to be right

    def route(self) -> Route:
        topic = self._target if isinstance(self._target, str) else str(topic_of(self._target))
        event, *context = self._parameters()
        hints = self._hints()
        data_type = self._data_type(topic, event, hints)
        self._event = _written(self._method)
        if context and hints.get(context[0]) is not MessageContext:
            raise self.refusal(f"parameter {context[0]!r} is not annotated MessageContext")
        if hints.get("return") not in (None, NoneType, Never, NoReturn):
            raise self.refusal("returns a value, which nobody would read")
        return Route(
            topic=topic,
            data_type=data_type,
            event_type=None if data_type is Any else topic,
            method=self._name,
            label=self.label,
            is_async=inspect.iscoroutinefunction(self._method),
            takes_context=bool(context),
        )

    def right(self, target: Target | None = None) -> str:
        return _right(target or self._target, self._method, self._event)

    def refusal(self, problem: str, *, right: str | None = None) -> RoutingError:
        location = _file_line(inspect.unwrap(self._method))
        return RoutingError(location, self.label, f"{problem}; write{right or self.right()}")

    def _parameters(self) -> list[str]:
        """The names after ``self``."""
        method = self._method
        if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            raise self.refusal("yields: a handler is awaited or called once")
        if inspect.iscoroutinefunction(inspect.unwrap(method)) and not inspect.iscoroutinefunction(method):
            problem = f"a decorator, {_file_line(method)}, hides this `async def` in a `def`, where nobody awaits it"
            right = f"\n    async def {method.__code__.co_name}(*args: Any, **kwargs: Any) -> None:"
            raise self.refusal(problem, right=right)
        parameters = list(inspect.signature(method, follow_wrapped=False).parameters.values())
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            parameters = list(inspect.signature(method).parameters.values())
        if len(parameters) not in (2, 3) or any(p.kind > p.POSITIONAL_OR_KEYWORD for p in parameters):
            raise self.refusal("takes (self, event) or (self, event, context)")
        return [p.name for p in parameters[1:]]

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._method, localns=self._scope)
        except Exception as error:  # to evaluate an annotation may raise anything
            reason = str(error).partition("\n")[0]
            mend = ": import it outside of TYPE_CHECKING" if isinstance(error, NameError) else ""
            raise self.refusal(f"an annotation cannot be resolved ({reason}){mend}") from error

    def _data_type(self, topic: str, event: str, hints: dict[str, Any]) -> Any:
        if event not in hints:
            raise self.refusal(f"parameter {event!r} is not annotated")
        annotated = _payload_of(hints[event], self._type_arguments)
        if annotated is None:
            kind = _name(hints[event], full=True)
            raise self.refusal(f"parameter {event!r} is not annotated eventzr_kafka.CloudEvent[…] but {kind}")
        if isinstance(annotated, str | TypeVar):
            raise self.refusal(f"parameter {event!r} is annotated CloudEvent[{annotated}], which names no class yet")
        declared = catalogue.lookup(topic) if isinstance(self._target, str) else self._target
        if annotated is CloudEvent or annotated is EventData:
            return declared or self._undeclared(topic, Any if annotated is CloudEvent else EventData)
        return annotated if annotated is Any else self._agreed(topic, declared, annotated)

    def _undeclared(self, topic: str, data_type: Any) -> Any:
        near = catalogue.suggest(topic)
        if near is None:
            return data_type
        problem = f"topic {topic!r} is declared nowhere (did you mean {near!r}?; CloudEvent[Any] takes any JSON)"
        raise self.refusal(problem, right=self.right(near))

    def _agreed(self, topic: str, declared: type[EventData] | None, annotated: Any) -> Any:
        members = _members(annotated)
        if declared is not None and any(_is_a(declared, member) for member in members):
            narrowed = declared | None if NoneType in members else declared
            return annotated if get_origin(annotated) is Annotated else narrowed
        strangers = [member for member in members if topic_of(member) not in (None, topic)]
        if not strangers and isinstance(self._target, str):
            return annotated
        if declared is not None:
            raise self.refusal(f"topic {topic!r} carries {_name(declared)}, not {_name(annotated)}")
        carried = topic_of(strangers[0])
        problem = f"topic {topic!r} is not that of {_name(annotated)} (did you mean {carried!r}?)"
        raise self.refusal(problem, right=self.right(carried))


def _payload_of(hint: Any, type_arguments: dict[Any, Any] | None = None) -> Any:
    """X of ``CloudEvent[X]``, `CloudEvent` itself if it is bare, or None for any other annotation."""
    hint = getattr(hint, "__value__", hint)  # of a ``type`` statement
    if hint is CloudEvent:
        return CloudEvent
    generic = getattr(hint, "__pydantic_generic_metadata__", {})
    if generic.get("origin") is not CloudEvent:
        return None
    if type_arguments and generic["parameters"]:
        return _payload_of(hint[tuple(type_arguments.get(p, p) for p in generic["parameters"])])
    return generic["args"][0]


def _type_arguments(cls: type) -> dict[Any, dict[Any, Any]]:
    """For each generic base of a class, what its type variables stand for."""
    known: dict[Any, dict[Any, Any]] = {}
    for base in cls.__mro__:
        own = known.get(base, {})
        for alias in vars(base).get("__orig_bases__", ()):
            origin = get_origin(alias)
            arguments = [own.get(a, a) if isinstance(a, TypeVar) else a for a in get_args(alias)]
            known.setdefault(origin, dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False)))
    return known


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the one type."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _is_a(declared: type, member: Any) -> bool:
    try:
        return issubclass(declared, member)
    except TypeError:  # no class, or one that forbids the question: dict[str, Any], a TypedDict, a Protocol
        return False


# The lines that would be right


def _right(target: Target, method: Any, event: str | None = None, *, suffix: str = "") -> str:
    """Decorator and ``def`` as they should be, with the method's own names."""
    function = _function_in(method)
    declared = catalogue.lookup(target) if isinstance(target, str) else target
    if event is None and declared is not None:
        event = f"CloudEvent[{_name(declared)}]"
    if event is None:
        written = _written(function)
        event = written if re.fullmatch(r"(\w+\.)*CloudEvent(\[.*\])?", written) else "CloudEvent"
    said = f'"{target}"' if isinstance(target, str) else _name(target)
    return f"\n    @on_message({said})\n    {_signature(function, event, suffix)}"


def _signature(function: Any, event: str, suffix: str) -> str:
    if not isinstance(function, FunctionType):
        return f"async def handle(self, event: {event}) -> None:"
    own, first, *context = _parameter_names(function)
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    name = f"{function.__name__ if function.__name__.isidentifier() else 'handle'}{suffix}"
    rest = "".join(f", {parameter}: MessageContext" for parameter in context)
    return f"{'async ' if is_async else ''}def {name}({own}, {first}: {event}{rest}) -> None:"


def _function_in(method: Any) -> Any:
    """What was written, inside of a wrapper, a classmethod, a property or a partialmethod."""
    return inspect.unwrap(getattr(method, "fget", None) or getattr(method, "func", method))


def _parameter_names(function: FunctionType) -> list[str]:
    """``self``, even if it was forgotten, the event, and the context if there is one."""
    parameters = inspect.signature(function).parameters.values()
    given = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    bound = given and (given[0].name in {"self", "cls"} or (len(given) > 1 and given[0].annotation is given[0].empty))
    own = given.pop(0).name if bound else "self"
    event = given.pop(0).name if given else "event"
    contexts = [p.name for p in given if len(given) == 1 or "MessageContext" in str(p.annotation)]
    return ["self" if own == "cls" else own, event, *contexts[:1]]


def _written(method: Any) -> str:
    """The annotation of the event as the method has it."""
    function = _function_in(method)
    if not isinstance(function, FunctionType):
        return ""
    return _name(function.__annotations__.get(_parameter_names(function)[1], ""))


def _name(hint: Any, *, full: bool = False) -> str:
    """A type as code writes it; without its modules unless it shall be told from a namesake."""
    if isinstance(hint, str):
        return hint
    if not isinstance(hint, type) or get_origin(hint) is not None:
        return re.sub(r"(?:[a-z_]\w*\.|<locals>\.)+", "", repr(hint))
    payload = _payload_of(hint)
    name = _short(hint.__qualname__) if payload in (None, CloudEvent) else f"CloudEvent[{_name(payload)}]"
    return f"{hint.__module__}.{name}" if full else name


def _short(qualname: str) -> str:
    return qualname.rpartition("<locals>.")[2]


# Where it stands


def _stack() -> Iterator[FrameType]:
    """The frames outside of this module, innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") != __name__:
            yield frame
        frame = frame.f_back


def _is_class_body(frame: FrameType) -> bool:
    return bool(frame.f_locals.get("__qualname__") == frame.f_code.co_qualname)


def _locals_around(cls: type) -> dict[str, Any]:
    """What the functions around a local class know; annotations in it may name that."""
    names: dict[str, Any] = {}
    for frame in _stack():
        if cls.__qualname__.startswith(f"{frame.f_code.co_qualname}.<locals>."):
            names = {**frame.f_locals, **names}
    return names


def _line(frame: FrameType | None = None) -> str:
    frame = frame or next(_stack())
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _file_line(function: FunctionType) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def _source_line(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__module__
