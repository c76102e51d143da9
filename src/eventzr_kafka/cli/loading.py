"""``module:Class`` → consumer object, or one line that says what is wrong with it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from eventzr_kafka.errors import ConfigurationError, RoutingError
from eventzr_kafka.handlers.decorators import definition_of, is_consumer
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["UsageError", "find", "import_module", "load", "trace_of"]

_EXAMPLE = "service.handlers:MarketplaceEventHandler"
_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")
_OURS = str(Path(__file__).parent.parent)
_FOREIGN = ("<frozen ", _OURS, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))


class UsageError(ConfigurationError):
    """What was typed on the command line does not work."""


def load(target: str) -> object:
    """The consumer object that a target names.

    Args:
        target: ``module:Class``, where the class needs no arguments; or ``module:name`` of an object of a consumer
            class, or of a function without arguments that returns one.

    Raises:
        UsageError: It cannot be had; the message is one line.
        RoutingError: The module declares a consumer wrongly.
    """
    return _checked(target, _made(target, find(target)))


def find(target: str) -> Any:
    """What ``module:name`` names, as it is.

    Raises:
        UsageError: There is no such thing.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        raise UsageError(f"{printable(target)!r} is no module:Class{_meant(target)}")
    return _attribute(import_module(match["module"]), match["name"])


def import_module(name: str) -> ModuleType:
    """Import a module as ``python -m`` would, that is from the current directory first.

    Raises:
        UsageError: It is not there, or fails; then the message names the line of the user's code.
        RoutingError: It declares a consumer wrongly.
    """
    if _here() not in sys.path:
        sys.path.insert(0, _here())
    try:
        return importlib.import_module(name)
    except ConfigurationError:
        raise  # says itself where and what
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(_not_found(name, error.name)) from None
        raise _failed(f"importing {name}", error) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"importing {name}", error) from error


def trace_of(error: BaseException) -> str:
    """A traceback that begins in the user's code: without the frames of the SDK and of the import system."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None and _is_foreign(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    except Exception:  # noqa: BLE001 -- an error of a foreign class, whose attributes raise
        return error_location(error)


def _here() -> str:
    return str(Path.cwd())


def _meant(target: str) -> str:
    path, _, name = target.partition(":")
    if path.endswith(".py"):
        module = ".".join(Path(path).with_suffix("").parts)
        return f": write {module}:{name or 'Class'}"
    if not name and "." in path:
        return ": write {}:{}".format(*path.rsplit(".", 1))
    return f": write, for example, {_EXAMPLE}"


def _not_found(name: str, missing: str) -> str:
    if missing == name and "." not in name:
        return f"module {name!r} is neither in {_here()} nor installed"
    if missing == name:
        package, _, last = name.rpartition(".")
        return f"package {package!r} has no module {last!r}"
    return f"module {name!r}: {missing!r} is neither in {_here()} nor installed"


def _failed(what: str, error: BaseException) -> UsageError:
    kind, text = type(error).__qualname__, printable(str(error), limit=200)
    if isinstance(error, SyntaxError) and error.filename:
        return UsageError(f"{what} failed: {error.filename}:{error.lineno}: {kind}: {error.msg}")
    return UsageError(f"{what} failed: {_location(error)}: {kind}{f': {text}' if text else ''}")


def _location(error: BaseException) -> str:
    lines = list(_lines(error.__traceback__))
    mine = [line for line in lines if not _is_foreign(line[0])]
    filename, number = (mine or lines)[-1]
    return f"{filename}:{number}"


def _lines(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    for frame, number in traceback.walk_tb(trace):
        yield frame.f_code.co_filename, number


def _is_foreign(filename: str) -> bool:
    return filename.startswith(_FOREIGN)


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise UsageError(f"module {module.__name__!r} has no {name!r}{_instead(module, name)}") from None


def _instead(module: ModuleType, name: str) -> str:
    consumers = [key for key, value in vars(module).items() if is_consumer(value)]
    near = difflib.get_close_matches(name, [*consumers, *vars(module)], n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; its consumers: {', '.join(consumers)}" if consumers else " and no consumer at all"


def _made(target: str, found: Any) -> object:
    if isinstance(found, type):
        if not is_consumer(found):
            raise UsageError(f"{target} is no consumer: decorate the class with @kafka_consumer(group_id=…)")
        return _built(target, found)
    if inspect.isfunction(found):
        return _built(target, found)
    return found


def _built(target: str, maker: Callable[[], object]) -> object:
    needed = _needed(maker)
    if needed:
        raise UsageError(
            f"{target} needs arguments ({', '.join(needed)}): write a function without any that makes the object, "
            f"and give {target.partition(':')[0]}:that_function; or make the object there and give its name"
        )
    if inspect.iscoroutinefunction(maker):
        raise UsageError(f"{target} is async: give a plain function, and connect in the first call of a handler")
    try:
        return maker()
    except Exception as error:
        raise _failed(f"{target}()", error) from error


def _needed(maker: Callable[[], object]) -> list[str]:
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # a constructor in C
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


def _checked(target: str, handler: object) -> object:
    try:
        definition_of(handler)
    except RoutingError:
        kind = type(handler).__qualname__
        raise UsageError(f"{target} is no consumer: it is {kind!r}, not an object of a @kafka_consumer class") from None
    return handler
