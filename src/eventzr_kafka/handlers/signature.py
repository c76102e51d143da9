"""One handler: the route that comes of a method, or the lines that would be right.

1. A handler is a method ``(self, event)`` or ``(self, event, context)``, ``async def`` or ``def``, and returns None.
2. ``event`` is annotated ``CloudEvent[X]``. With `on_message(X)` the annotation is X or a base of it; with a topic
   string the payload class comes from the annotation.
3. With `on_batch` it takes ``list[CloudEvent[X]]``, and ``list[MessageContext]`` for a context.
4. Bare ``CloudEvent`` means the class declared for the topic. A topic that no class is declared for is read as plain
   JSON, unless it looks like a misspelling; ``CloudEvent[Any]`` reads any topic as plain JSON.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import FunctionType, NoneType, UnionType
from typing import Annotated, Any, Never, NoReturn, TypeAlias, TypeVar, Union, get_args, get_origin

from eventzr_kafka.codec.selection import Predicate
from eventzr_kafka.errors import RoutingError
from eventzr_kafka.events import catalogue
from eventzr_kafka.events.event import CloudEvent
from eventzr_kafka.events.event_data import EventData, Sources, sources_accepted_by, topic_of
from eventzr_kafka.events.event_model import event_model
from eventzr_kafka.events.message_context import MessageContext
from eventzr_kafka.handlers.options import BatchOptions
from eventzr_kafka.handlers.retry import RetryPolicy

__all__ = [
    "EXAMPLE_TOPIC",
    "MARK",
    "Handler",
    "Mark",
    "Route",
    "Target",
    "file_line",
    "function_in",
    "payload_of",
    "right_lines",
    "short_name",
    "type_name",
    "written_event",
]

Target: TypeAlias = str | type[EventData]

MARK = "__eventzr_kafka_on_message__"  # on a method: the `Mark` that its decorator left
EXAMPLE_TOPIC = "your.topic.v1"


@dataclass(frozen=True, slots=True)
class Route:
    """The method that gets the events of one topic.

    Attributes:
        data_type: Class of the payload; `Any` for plain JSON.
        event_type: The only ``type`` that the topic may carry; None lets every type pass.
        method: Name of the handler's method.
        label: ``Class.method``, for people.
        is_async: Whether the method is ``async def``; a ``def`` runs in a thread.
        takes_context: True if the handler takes the `MessageContext`.
        session: X of its ``MessageContext[X]``; `Any` if it names none.
        batch: Set if it takes lists of events.
        retry: Its own policy, or None for that of the consumer.
        when: Chooses the events that are handled; None for all.
        sources: Its own `sources`, or None for those of the consumer.
        accepts: The sources that the class declared for the topic accepts; None for every one.
    """

    topic: str
    data_type: Any
    event_type: str | None
    method: str
    label: str
    is_async: bool
    takes_context: bool
    session: Any = Any
    batch: BatchOptions | None = None
    retry: RetryPolicy | None = None
    when: Predicate | None = None
    sources: Sources | None = None
    accepts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The arguments of `on_message` or `on_batch`.

    Attributes:
        batch: Set by `on_batch`.
        retry, when, sources: As in `Route`.
    """

    target: Target
    batch: BatchOptions | None = None
    retry: RetryPolicy | None = None
    when: Predicate | None = None
    sources: Sources | None = None

    def of(self, payload: str) -> str:
        """The annotation of the first parameter, given that of one event."""
        return payload if self.batch is None else f"list[{payload}]"

    @property
    def decorator(self) -> str:
        """The decorator as code writes it."""
        target = f'"{self.target}"' if isinstance(self.target, str) else type_name(self.target)
        given = "".join(f", {name}=…" for name in ("retry", "when", "sources") if getattr(self, name) is not None)
        if self.batch is None:
            return f"@on_message({target}{given})"
        return f"@on_batch({target}, max_size={self.batch.max_size}, max_wait={self.batch.max_wait:g}{given})"


class Handler:
    """One decorated method under inspection; every refusal names it and shows the lines that would do."""

    def __init__(self, cls: type, owner: type, name: str, method: FunctionType, names: dict[str, Any]) -> None:
        self.label = f"{short_name(cls.__qualname__)}.{name}"
        self._mark: Mark = getattr(method, MARK)
        self._target = self._mark.target
        self._method = method
        self._name = name
        self._scope = {**names, **vars(owner), cls.__name__: cls}
        self._type_arguments = _type_arguments(cls).get(owner, {})
        self._event: str | None = None  # its annotation, once that is known to be right

    def route(self) -> Route:
        """Work out the route of its events.

        Raises:
            RoutingError: The method cannot be a handler.
        """
        topic = self._target if isinstance(self._target, str) else str(topic_of(self._target))
        event, *context = self._parameters()
        hints = self._hints()
        data_type = self._data_type(topic, event, hints)
        self._event = written_event(self._method)
        session = self._session_type(context[0], hints) if context else Any
        if hints.get("return") not in (None, NoneType, Never, NoReturn):
            raise self.refusal("returns a value, which would be lost")
        return Route(
            topic=topic,
            data_type=data_type,
            event_type=topic if data_type is not Any and catalogue.lookup(topic) is not None else None,
            method=self._name,
            label=self.label,
            is_async=inspect.iscoroutinefunction(self._method),
            takes_context=bool(context),
            session=session,
            batch=self._mark.batch,
            retry=self._mark.retry,
            when=self._mark.when,
            sources=self._mark.sources,
            accepts=sources_accepted_by(catalogue.lookup(topic) or self._target),
        )

    def right(self, target: Target | None = None) -> str:
        """The lines that would be right, with its own annotation where that is."""
        return right_lines(replace(self._mark, target=target or self._target), self._method, self._event)

    def refusal(self, problem: str, *, right: str | None = None) -> RoutingError:
        """The error that names it."""
        location = file_line(inspect.unwrap(self._method))
        return RoutingError(location, self.label, f"{problem}; write{right or self.right()}")

    def _parameters(self) -> list[str]:
        """The names after ``self``."""
        method = self._method
        if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            raise self.refusal("yields: a handler is awaited or called once")
        if inspect.iscoroutinefunction(inspect.unwrap(method)) and not inspect.iscoroutinefunction(method):
            problem = f"a decorator, {file_line(method)}, hides this `async def` in a `def`, which does not await it"
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
            return typing.get_type_hints(self._method, localns=self._scope, include_extras=True)
        except Exception as error:  # to evaluate an annotation may raise anything
            raise self._unresolved(error) from error

    def _unresolved(self, error: Exception) -> Exception:
        reason = str(error).partition("\n")[0]
        hint = ": import it outside of TYPE_CHECKING" if isinstance(error, NameError) else ""
        return self.refusal(f"an annotation cannot be resolved ({reason}){hint}")

    def _session_type(self, parameter: str, hints: dict[str, Any]) -> Any:
        hint = _one_of(self._mark, hints.get(parameter))
        if hint is MessageContext:
            return Any
        if get_origin(hint) is not MessageContext:
            raise self.refusal(f"parameter {parameter!r} is not annotated {self._mark.of('MessageContext')}")
        (session,) = get_args(hint)
        session = self._type_arguments.get(session, session)
        return Any if isinstance(session, TypeVar) else session

    def _data_type(self, topic: str, event: str, hints: dict[str, Any]) -> Any:
        if event not in hints:
            raise self.refusal(f"parameter {event!r} is not annotated")
        annotated = payload_of(_one_of(self._mark, hints[event]), self._type_arguments)
        if annotated is None:
            kind = type_name(hints[event], full=True)
            wanted = self._mark.of("eventzr_kafka.CloudEvent[…]")
            raise self.refusal(f"parameter {event!r} is not annotated {wanted} but {kind}")
        if isinstance(annotated, TypeVar):
            raise self.refusal(f"parameter {event!r} is annotated CloudEvent[{annotated}], which names no class yet")
        try:
            event_model(annotated)
        except Exception as error:  # of something that is not a type
            raise self._unresolved(error) from error
        declared = catalogue.lookup(topic) if isinstance(self._target, str) else self._target
        if annotated is CloudEvent or annotated is EventData:
            return declared or self._undeclared(topic, Any if annotated is CloudEvent else EventData)
        return annotated if annotated is Any else self._agreed(topic, declared, annotated)

    def _undeclared(self, topic: str, data_type: Any) -> Any:
        near = catalogue.suggest(topic)
        if near is None:
            return data_type
        problem = f"{catalogue.describe_undeclared(topic, '')} (CloudEvent[Any] takes any JSON)"
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
            raise self.refusal(f"topic {topic!r} carries {type_name(declared)}, not {type_name(annotated)}")
        carried = topic_of(strangers[0])
        problem = f"topic {topic!r} is not that of {type_name(annotated)} (did you mean {carried!r}?)"
        raise self.refusal(problem, right=self.right(carried))


def _one_of(mark: Mark, hint: Any) -> Any:
    """The annotation of one event, or context, in that of the parameter."""
    hint = _without_metadata(hint)
    if mark.batch is None:
        return hint
    return _without_metadata(next(iter(get_args(hint)), None)) if get_origin(hint) in (list, Sequence) else None


def _without_metadata(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


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


def payload_of(hint: Any, type_arguments: dict[Any, Any] | None = None) -> Any:
    """X of ``CloudEvent[X]``, `CloudEvent` itself if it is bare, or None for any other annotation."""
    hint = getattr(hint, "__value__", hint)  # of a ``type`` statement
    if hint is CloudEvent:
        return CloudEvent
    if get_origin(hint) is not CloudEvent:
        return None
    if type_arguments and hint.__parameters__:
        return payload_of(hint[tuple(type_arguments.get(p, p) for p in hint.__parameters__)])
    return get_args(hint)[0]


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


def right_lines(mark: Mark, method: Any, event: str | None = None, *, suffix: str = "") -> str:
    """Decorator and ``def`` as they should be, with the method's own names.

    Args:
        event: The annotation of the first parameter, if that is known to be right.
    """
    function = function_in(method)
    declared = catalogue.lookup(mark.target) if isinstance(mark.target, str) else mark.target
    if event is None and declared is not None:
        event = mark.of(f"CloudEvent[{type_name(declared)}]")
    if event is None:
        written = written_event(function)
        one = r"(\w+\.)*CloudEvent(\[.*\])?"
        event = written if re.fullmatch(one if mark.batch is None else rf"list\[{one}\]", written) else None
    return f"\n    {mark.decorator}\n    {_signature(function, mark, event or mark.of('CloudEvent'), suffix)}"


def _signature(function: Any, mark: Mark, event: str, suffix: str) -> str:
    if not isinstance(function, FunctionType):
        return f"async def handle(self, event{'s' if mark.batch else ''}: {event}) -> None:"
    own, first, *context = _parameter_names(function)
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    name = f"{function.__name__ if function.__name__.isidentifier() else 'handle'}{suffix}"
    rest = "".join(f", {parameter}: {mark.of('MessageContext')}" for parameter in context)
    return f"{'async ' if is_async else ''}def {name}({own}, {first}: {event}{rest}) -> None:"


def function_in(method: Any) -> Any:
    """Return the function inside of a wrapper, a classmethod, a property or a partialmethod."""
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


def written_event(method: Any) -> str:
    """The annotation of the event as the method has it."""
    function = function_in(method)
    if not isinstance(function, FunctionType):
        return ""
    return type_name(function.__annotations__.get(_parameter_names(function)[1], ""))


def type_name(hint: Any, *, full: bool = False) -> str:
    """A type as code writes it; without its modules, unless another type has its name."""
    if isinstance(hint, str):
        return hint
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(["None" if part is NoneType else type_name(part, full=full) for part in get_args(hint)])
    if not isinstance(hint, type) or get_origin(hint) is not None:
        return re.sub(r"(?:[a-z_]\w*\.|<locals>\.)+", "", repr(hint))
    name = short_name(hint.__qualname__)
    return f"{hint.__module__}.{name}" if full else name


def short_name(qualname: str) -> str:
    """A qualified name without the functions around it."""
    return qualname.rpartition("<locals>.")[2]


def file_line(function: FunctionType) -> str:
    """Return the line at which a function begins."""
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
