"""`@kafka_consumer`: from a class with marked methods to a table of routes.

Everything is checked when the class is decorated; nothing is inspected when a message arrives. The rules for one method
are in `signature`, its decorators in `marks`. The rules for the class:

1. A consumer handles a topic in one method.
2. No handler is lost in silence: to override, redefine or hide one without its decorator is an error, and so is an
   undecorated subclass that changes handlers. ``name = None`` in a subclass drops a handler.
3. Every error names file, line, class and method, and ends in the lines to write.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import takewhile
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, Unpack

from eventzr_kafka.errors import RoutingError
from eventzr_kafka.events.event_data import TOPIC_NAME
from eventzr_kafka.handlers.frames import code_line, outer_frames
from eventzr_kafka.handlers.marks import NOTED
from eventzr_kafka.handlers.options import ConsumerOptions, ConsumerOptionsDict, consumer_options
from eventzr_kafka.handlers.signature import (
    EXAMPLE_TOPIC,
    MARK,
    Handler,
    Mark,
    Route,
    file_line,
    right_lines,
    short_name,
    type_name,
)
from eventzr_kafka.inbox.protocol import InboxChoice, fits_session, inbox_fault

__all__ = ["ConsumerDefinition", "definition_of", "is_consumer", "kafka_consumer"]

ClassT = TypeVar("ClassT", bound=type)
ParamsT = ParamSpec("ParamsT")
ReturnT = TypeVar("ReturnT")

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


def _with_group_id(decorator: Callable[ParamsT, ReturnT]) -> Callable[ParamsT, ReturnT]:
    """Explain ``@kafka_consumer`` without parentheses, of which Python would only count the arguments."""

    @wraps(decorator)
    def checked(*args: ParamsT.args, **kwargs: ParamsT.kwargs) -> ReturnT:
        if args or "group_id" not in kwargs:
            label = short_name(getattr(args[0], "__qualname__", "@kafka_consumer")) if args else "@kafka_consumer"
            group_id = args[0] if args and isinstance(args[0], str) else "your-service-consumer"
            raise RoutingError(code_line(), label, f'needs a group; write\n    @kafka_consumer(group_id="{group_id}")')
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
        here = next((frame for frame in outer_frames() if frame.f_globals.get("__name__") == cls.__module__), None)
        location, label = code_line(here), short_name(cls.__qualname__)
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
    raise RoutingError(_sourcecode_line(cls), short_name(cls.__qualname__), problem)


def _changed_below(cls: type, definition: ConsumerDefinition) -> list[str]:
    """The handlers that were added or overridden below the class that is decorated."""
    methods = {route.method for route in definition.routes}
    changed: set[str] = set()
    for base in takewhile(lambda base: _DEFINITION not in vars(base), cls.__mro__):
        changed |= vars(base).get(NOTED, {}).keys() | (methods & vars(base).keys())
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


def _handlers(cls: type) -> Iterator[tuple[str, type, FunctionType]]:
    """Name, owner and function of every handler; a method that was marked must still be there, or be None."""
    members: dict[str, tuple[type, Any]] = {}
    noted: dict[str, FunctionType] = {}
    for base in reversed(cls.__mro__):
        members |= {name: (base, member) for name, member in vars(base).items()}
        noted |= vars(base).get(NOTED, {})
    for name, (owner, member) in members.items():
        if isinstance(member, FunctionType) and hasattr(member, MARK):
            yield name, owner, member
        elif name in noted and member is not None:
            raise _lost(f"{short_name(cls.__qualname__)}.{name}", owner, member, noted[name])


def _lost(label: str, owner: type, member: Any, method: FunctionType) -> RoutingError:
    mark = getattr(method, MARK)
    if isinstance(member, classmethod | staticmethod):
        problem = "is a classmethod or staticmethod: a handler is a plain method"
    elif vars(owner).get(NOTED, {}).get(method.__name__) is method:
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


def _locals_around(cls: type) -> dict[str, Any]:
    """Local names of the functions around a local class; its annotations may use them."""
    names: dict[str, Any] = {}
    for frame in outer_frames():
        if cls.__qualname__.startswith(f"{frame.f_code.co_qualname}.<locals>."):
            names = {**frame.f_locals, **names}
    return names


def _sourcecode_line(cls: type) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return cls.__module__
