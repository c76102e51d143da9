"""``module:Class`` → consumer object, or a `UsageError` of one line with the cause and a hint."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from eventzr_kafka.cli.usage import UsageError
from eventzr_kafka.errors import ConfigurationError, RoutingError
from eventzr_kafka.events import catalogue
from eventzr_kafka.handlers.decorators import definition_of, is_consumer
from eventzr_kafka.safe_text import error_location, printable

__all__ = ["find_target", "import_module", "load_consumer", "trace_of"]

_EXAMPLE = "service.handlers:MarketplaceEventHandler"
_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*)")
_OURS = str(Path(__file__).parent.parent)
_FOREIGN = ("<frozen ", _OURS, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))


def load_consumer(target: str) -> object:
    """The consumer object that a target names.

    Args:
        target: ``module:Class``, where the class needs no arguments; or ``module:name`` of an object of a consumer
            class, or of a function without arguments that returns one.

    Raises:
        UsageError: The target does not exist, or does not make a consumer object; the message is one line.
        RoutingError: The module declares a consumer wrongly.
    """
    found = find_target(target)
    if isinstance(found, type) and not is_consumer(found):
        raise UsageError(f"{target} is not a consumer: decorate the class with @kafka_consumer(group_id=…)")
    handler = _construct(target, found) if isinstance(found, type) or inspect.isfunction(found) else found
    try:
        definition_of(handler)
    except RoutingError:
        kind = type(handler).__qualname__
        problem = f"{target} is not a consumer: it is {kind!r}, not an object of a @kafka_consumer class"
        raise UsageError(problem) from None
    return handler


def find_target(target: str) -> Any:
    """The class, function or object that ``module:name`` names.

    Raises:
        UsageError: There is none.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        raise UsageError(f"{printable(target)!r} is not module:Class{_suggestion(target)}")
    module, name = import_module(match["module"]), match["name"]
    try:
        return getattr(module, name)
    except AttributeError:
        raise UsageError(f"module {module.__name__!r} has no {name!r}{_similar_names(module, name)}") from None


def import_module(name: str) -> ModuleType:
    """Import a module as ``python -m`` would, that is from the current directory first.

    Raises:
        UsageError: The module does not exist, or its code fails; the message then names the line of the user's code.
        RoutingError: It declares a consumer wrongly.
    """
    if _here() not in sys.path:
        sys.path.insert(0, _here())
    try:
        return importlib.import_module(name)
    except ConfigurationError:
        raise  # has its own place and hint
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(_not_found(name, error.name)) from None
        raise _failure(f"importing {name}", error) from error
    except (Exception, SystemExit) as error:
        raise _failure(f"importing {name}", error) from error


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


def _suggestion(target: str) -> str:
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


def _failure(action: str, error: BaseException) -> UsageError:
    kind, text = type(error).__qualname__, printable(str(error), limit=200)
    if isinstance(error, SyntaxError) and error.filename:
        return UsageError(f"{action} failed: {error.filename}:{error.lineno}: {kind}: {error.msg}")
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name == catalogue.MARKETPLACE_EVENTS:
        hint = f"; {catalogue.install_hint()}"
    return UsageError(f"{action} failed: {_location(error)}: {kind}{f': {text}' if text else ''}{hint}")


def _location(error: BaseException) -> str:
    """The last line of the user's own code; else the last line of all."""
    lines = [(frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(error.__traceback__)]
    mine = [(filename, number) for filename, number in lines if not _is_foreign(filename)]
    filename, number = (mine or lines)[-1]
    return f"{filename}:{number}"


def _is_foreign(filename: str) -> bool:
    return filename.startswith(_FOREIGN)


def _similar_names(module: ModuleType, name: str) -> str:
    consumers = [key for key, value in vars(module).items() if is_consumer(value)]
    near = difflib.get_close_matches(name, [*consumers, *vars(module)], n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; its consumers: {', '.join(consumers)}" if consumers else " and no consumer at all"


def _construct(target: str, maker: Callable[[], object]) -> object:
    needed = _required_parameters(maker)
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
        raise _failure(f"{target}()", error) from error


def _required_parameters(maker: Callable[[], object]) -> list[str]:
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # a constructor in C
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
